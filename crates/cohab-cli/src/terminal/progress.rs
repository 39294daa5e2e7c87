//! How far a long operation is.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on the standard error, or nothing at all where nobody watches. It goes when this is dropped.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Begins to show progress in bytes, against a total if there is one.
    pub(crate) fn begin(what: &'static str, bytes: Option<u64>, is_shown: bool) -> Self {
        if !is_shown {
            return Self(None);
        }
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(10));
        let template = match bytes {
            Some(_) => {
                "{msg} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left"
            }
            None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self(Some(bar.with_message(what)))
    }

    /// Says how many bytes are done so far.
    pub(crate) fn set(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }

    /// Says that so many more bytes are done.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// Says how many bytes there are to do, once that is known.
    pub(crate) fn of(&self, bytes: Option<u64>) {
        if let (Some(bar), Some(bytes)) = (&self.0, bytes) {
            bar.set_length(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
