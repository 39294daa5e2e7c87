//! Printing: one result or many, in each of the four forms, and progress.

mod output;
mod printable;
mod progress;
mod record;
mod table;

use std::io::Write;

pub(crate) use output::{Format, Output};
pub(crate) use printable::{age, percent, printable, rate, size};
pub(crate) use progress::Progress;
pub(crate) use record::{Cell, Record};

/// Tells something on the standard error, at once.
pub(crate) fn tell(text: &str) {
    let mut err = std::io::stderr().lock();
    // Whoever closed the standard error does not want to know.
    _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
