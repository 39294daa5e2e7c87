//! Turns a panic of the B-tree on damaged pages into an error.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Result};

/// Runs `operation` and reports a panic in it as damage of `table`.
///
/// Unwind safety: what the operation was working on is not used again by the caller, because an engine error
/// ends a transaction, and the tables of a snapshot are only ever read.
pub(crate) fn guarded<T, E>(table: &'static str, operation: impl FnOnce() -> Result<T, E>) -> Result<T>
where
    Error: From<E>,
{
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => result.map_err(Error::from),
        Err(panic) => Err(Error::corrupt(table, None, format!("the engine panicked: {}", reason(&*panic)))),
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason was given")
}
