//! Panics: the storage engine's on damaged files, which it turns into errors itself, and our own defects.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::interrupt;

/// What the last panic said, and where it was.
static LAST: Mutex<Option<String>> = Mutex::new(None);

/// Prints nothing when a panic begins, because it may yet be caught and told as the error that it is.
///
/// On damaged pages the B-tree panics; the engine catches that and reports the damage. Which panic was one of those is
/// known only where a panic is not caught: [`catch`].
pub(crate) fn keep_quiet() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |location| format!(" ({location})"));
        let said = format!("{}{place}", panic.payload_as_str().unwrap_or("a panic without a message"));
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }));
}

/// Runs the command, and turns what unwinds out of it into a failure.
pub(crate) fn catch<T>(command: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(command));
    // An operation that was broken off may also end as an error that hides the reason.
    match outcome {
        Ok(Err(failure)) if interrupt::is_requested() && !failure.is_silent() => Err(Failure::interrupted()),
        Ok(outcome) => outcome,
        Err(_) if interrupt::is_requested() => Err(Failure::interrupted()),
        Err(_) => {
            let said = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(Failure::defect(said.unwrap_or_default()))
        }
    }
}
