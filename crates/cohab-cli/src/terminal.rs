//! Printing: one result or many, in each of the four forms, and progress.

mod output;
mod printable;
mod progress;
mod record;
mod table;

use std::io::Write;

pub(crate) use output::{Format, List, Output};
pub(crate) use printable::{age, percent, printable, rate, size};
pub(crate) use progress::Progress;
pub(crate) use record::{Cell, Record};

/// Tells something on the standard error, at once.
pub(crate) fn tell(text: &str) {
    let mut err = std::io::stderr().lock();
    // Whoever closed the standard error does not want to know.
    _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Returns whether nobody reads the standard output any more, which otherwise only shows when there is something to print.
pub(crate) fn is_output_closed() -> bool {
    #[cfg(unix)]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let stdout = std::io::stdout();
        let mut streams = [PollFd::new(&stdout, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let has_news = poll(&mut streams, Some(&at_once)).is_ok_and(|streams| streams > 0);
        has_news && streams[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }
    // There a failure to print has to tell.
    #[cfg(not(unix))]
    false
}
