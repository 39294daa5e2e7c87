//! What ends calls, as errors.

use std::fmt::Write as _;

use wasmtime::{Error, Trap, WasmBacktrace};

use super::STACK_BYTES_MAX;
use super::imports::State;
use crate::{CallError, CallErrorKind, Manifest};

/// How many callers a message names.
const FRAMES_SHOWN_MAX: usize = 4;

/// How much of a function's name a message shows.
const NAME_CHARS_SHOWN_MAX: usize = 128;

/// An error that ends a call because of what the guest handed over.
pub(super) fn forbidden(message: impl Into<String>) -> Error {
    Error::new(CallError::new(CallErrorKind::Forbidden, message))
}

/// Says what ended a call.
pub(super) fn call_error(error: Error, manifest: &Manifest, state: &State, fuel: u64) -> CallError {
    let place = error.downcast_ref::<WasmBacktrace>().and_then(|backtrace| place(backtrace, manifest));
    let with_place = |kind, message: String| {
        let message = match &place {
            Some(place) => format!("{message} ({place})"),
            None => message,
        };
        CallError::new(kind, message)
    };
    let Some(&trap) = error.downcast_ref::<Trap>() else {
        return match error.downcast::<CallError>() {
            Ok(CallError { kind, message, source: None }) => with_place(kind, message),
            Ok(with_source) => with_source,
            // Memory that the system does not give, mostly.
            Err(error) => CallError::new(CallErrorKind::Host, format!("{}: {error:#}", manifest.entry)),
        };
    };
    match trap {
        Trap::OutOfFuel => {
            let message = format!("it did more than the {fuel} steps it may (`[limits] fuel`)");
            with_place(CallErrorKind::OutOfFuel, message)
        }
        Trap::StackOverflow => {
            let message = format!("it called deeper than the {} KiB of stack it may", STACK_BYTES_MAX >> 10);
            with_place(CallErrorKind::OutOfMemory, message)
        }
        // Most languages trap when they are out of memory.
        _ if state.was_denied_memory => with_place(CallErrorKind::OutOfMemory, memory_message(manifest)),
        trap => {
            let what = trap.to_string();
            let what = what.strip_prefix("wasm trap: ").unwrap_or(&what);
            let message = match place {
                Some(place) => format!("{place}: {what}"),
                None => format!("{}: {what}", manifest.entry),
            };
            CallError::new(CallErrorKind::Trapped, message)
        }
    }
}

/// An error for who wants more memory than it may have.
pub(super) fn out_of_memory(manifest: &Manifest) -> CallError {
    CallError::new(CallErrorKind::OutOfMemory, memory_message(manifest))
}

fn memory_message(manifest: &Manifest) -> String {
    format!(
        "it needs more than the {} of memory it may (`[limits] memory`)",
        bytes_shown(manifest.limits.memory)
    )
}

/// A number of bytes, in MiB or KiB if it is whole ones.
pub(super) fn bytes_shown(bytes: u64) -> String {
    match bytes {
        1.. if bytes.trailing_zeros() >= 20 => format!("{} MiB", bytes >> 20),
        1.. if bytes.trailing_zeros() >= 10 => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// The function in which it happened, and those that called it.
fn place(backtrace: &WasmBacktrace, manifest: &Manifest) -> Option<String> {
    let mut frames = backtrace.frames().iter().map(|frame| match frame.func_name() {
        Some(name) => format!("`{}`", name.chars().take(NAME_CHARS_SHOWN_MAX).collect::<String>()),
        None => format!("{}", frame.func_index()),
    });
    let mut place = format!("{}: wasm function {}", manifest.entry, frames.next()?);
    for (nth, caller) in frames.enumerate() {
        match nth {
            0 => place += ", called from ",
            FRAMES_SHOWN_MAX => {
                place += ", …";
                break;
            }
            _ => place += ", ",
        }
        write!(place, "{caller}").expect("a string takes what is written");
    }
    Some(place)
}
