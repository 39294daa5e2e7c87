//! Panics that are caught by design.
//!
//! libFuzzer's glue ends the process at every panic, also at one that would have been caught. A B-tree on damaged pages
//! and a script engine may panic, and cohab makes errors of that, which is what is to be tested: so panics within those
//! libraries are left to unwind. One that nobody catches still ends the process.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::abort;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The last panic within one of the libraries.
static LAST: Mutex<String> = Mutex::new(String::new());

/// Lets panics unwind that come from within a library whose name begins with one of these. To be called first.
pub fn unwind_from(libraries: &'static [&'static str]) {
    let fatal = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !libraries.iter().any(|library| is_within(info, library)) {
            fatal(info);
            abort();
        }
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
        // On a thread of cohab's own nobody would notice that the panic has ended it.
        let is_own = thread::current().name().is_some_and(|name| name.starts_with("cohab"));
        if is_own && !Backtrace::force_capture().to_string().contains("guarded") {
            eprintln!("a panic that nobody catches, on the thread {:?}", thread::current().name());
            fatal(info);
            abort();
        }
    }));
}

/// Runs what is tested, and ends the process with the last panic's message if one was not caught within.
pub fn caught<T>(run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        eprintln!("a panic that nobody caught: {}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        abort();
    })
}

fn is_within(info: &PanicHookInfo<'_>, library: &str) -> bool {
    // A file of a library lies in `…/redb-4.4.0/src/…`; what the compiler inlined from `core` is attributed to its caller.
    let file = info.location().map_or("", |location| location.file());
    file.split(['/', '\\']).any(|part| {
        part.strip_prefix(library).is_some_and(|rest| rest.strip_prefix('-').is_some_and(starts_with_digit))
    })
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}
