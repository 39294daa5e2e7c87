//! The command `cohab`: a store from the shell, and from scripts in any language.
//!
//! Everything here goes through the facade crate `cohab` and the text formats of `cohab-exchange`; this crate adds
//! what they must not do: it reads arguments and the environment, prints, and says with an exit code how it went.
//! Whatever a program in Rust may want to do with a store is in those crates, not here.
//!
//! Each command is a file in `commands`, which parses its arguments and speaks to a `Session`.
//! The session opens the store and owns the `Output`, which knows the four forms of output. What
//! goes wrong becomes a `Failure`, and there is one place that prints those.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | not found, or a difference found |
//! | 2 | wrong usage or bad input, or a plugin that cannot be run; nothing was done |
//! | 3 | busy: another process holds the store or a lock, is stopped in a commit, or has a snapshot open where none may be |
//! | 4 | corrupt |
//! | 5 | a format or version that this build does not read |
//! | 6 | needs recovery, in a place that cannot be written |
//! | 7 | too old or too late: no longer within the log's retention, never recorded, or not reached in time |
//! | 8 | conflict: a precondition failed, a plugin refused, a name is taken, or a delta does not lead on from where a replica is |
//! | 9 | overtaken: a lock or the store has a later holder, or the store was replaced by another |
//! | 70 | a defect of this program |
//! | 74 | the system refused an operation; the outcome of a commit may be unknown |
//! | 130 | interrupted |
//!
//! `cohab run` ends with the code of the command that it ran, 128 and the signal's number if that was killed, 126 or
//! 127 if it could not be started.
//!
//! ```
//! let code = cohab_cli::run(["cohab", "--version"].map(Into::into));
//! assert_eq!(code, std::process::ExitCode::SUCCESS);
//! ```

mod arguments;
mod commands;
mod demo;
mod failure;
mod instances;
mod interrupt;
mod moment;
mod panics;
mod report;
mod session;
mod terminal;
mod transfer;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::report::Reporter;
use crate::session::Session;

/// Runs the command with its arguments, the first of which is the program's name, and returns how to exit.
///
/// Installs a panic hook and a handler for interrupts, so it is for a process that does nothing else.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    panics::keep_quiet();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut reporter = Reporter::guess(&arguments);
    let outcome = panics::catch(|| command(&arguments, &mut reporter));
    let code = outcome.unwrap_or_else(|failure| reporter.report(&failure));
    ExitCode::from(code)
}

/// Runs the command as [`run`] does, and `cohab demo` if the arguments are flags without a command.
pub fn run_or_demo(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let starts_with_flag = arguments.get(1).is_none_or(|first| first.as_encoded_bytes().starts_with(b"-"));
    if starts_with_flag && usage::is_command_missing(&arguments) {
        arguments.splice(..arguments.len().min(1), ["cohab".into(), "demo".into()]);
    }
    run(arguments)
}

/// Runs the command, and returns its exit code if it came to its end.
fn command(arguments: &[OsString], reporter: &mut Reporter) -> Result<u8, Failure> {
    if arguments.len() < 2 {
        return Ok(usage::summary());
    }
    let arguments = match Arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage::explain(&error),
    };
    *reporter = Reporter::new(&arguments.global);
    interrupt::install();
    let mut session = Session::new(arguments.global);
    let outcome = arguments.command.run(&mut session);
    // What a command wrote before it failed is handed over before its error is told.
    let flushed = session.out.flush();
    let exit = outcome?;
    flushed?;
    #[cfg(feature = "scripts")]
    session.settle();
    Ok(exit.code())
}
