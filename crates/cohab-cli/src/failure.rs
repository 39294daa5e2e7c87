//! What goes wrong, as the user of the command is told.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::path::Path;

use cohab::{Holder, Kind};

/// An error that ends the command: what happened, why, what to do next, and the exit code for scripts.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: &'static str,
    code: u8,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    holder: Option<Holder>,
    is_silent: bool,
}

impl Failure {
    fn new(kind: &'static str, code: u8, message: impl Display) -> Self {
        let (message, causes) = (message.to_string(), Vec::new());
        Self(Box::new(Inner { kind, code, message, causes, hint: None, holder: None, is_silent: false }))
    }

    /// The arguments make no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new("usage", 2, message)
    }

    /// What was given, as an argument or in a file, breaks a rule.
    pub(crate) fn input(message: impl Display) -> Self {
        Self::new(Kind::InvalidInput.as_str(), 2, message)
    }

    /// What was asked for is not there.
    pub(crate) fn not_found(message: impl Display) -> Self {
        Self::new(Kind::NotFound.as_str(), 1, message)
    }

    /// What was asked for is no longer kept.
    pub(crate) fn too_old(message: impl Display) -> Self {
        Self::new("too_old", 7, message)
    }

    /// What was waited for did not happen.
    pub(crate) fn timed_out(message: impl Display) -> Self {
        Self::new(Kind::TimedOut.as_str(), code(Kind::TimedOut), message)
    }

    /// The state of the store does not permit it.
    pub(crate) fn conflict(message: impl Display) -> Self {
        Self::new(Kind::Conflict.as_str(), 8, message)
    }

    /// What is to be made is there already.
    pub(crate) fn exists(message: impl Display) -> Self {
        Self::new(Kind::Exists.as_str(), 8, message)
    }

    /// Data on disk is damaged.
    pub(crate) fn corrupt(message: impl Display) -> Self {
        Self::new(Kind::Corrupt.as_str(), 4, message)
    }

    /// A check of the demonstration failed.
    pub(crate) fn unexpected(message: impl Display) -> Self {
        Self::new("unexpected", 1, message)
    }

    /// The system refused something.
    pub(crate) fn io(message: impl Display, error: &io::Error) -> Self {
        let failure = match error.kind() {
            io::ErrorKind::NotFound => Self::not_found(message),
            io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => Self::input(message),
            _ => Self::new(Kind::Io.as_str(), 74, message),
        };
        failure.cause(error)
    }

    /// The results could not be handed over. That nobody wants them any more is no error.
    pub(crate) fn output(error: &io::Error) -> Self {
        let mut failure = Self::io("writing to the standard output failed", error);
        failure.0.is_silent = error.kind() == io::ErrorKind::BrokenPipe;
        failure
    }

    /// A program could not be started, told with the codes by which shells tell it.
    pub(crate) fn not_started(program: impl Display, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        Self::new("not_started", code, format!("starting {program} failed")).cause(error)
    }

    /// The user pressed Ctrl-C.
    pub(crate) fn interrupted() -> Self {
        Self::new("interrupted", 130, "interrupted")
    }

    /// This program is wrong.
    pub(crate) fn defect(message: impl Display) -> Self {
        Self::new("internal", 70, format!("this is a defect of cohab: {message}"))
            .hint("please report it with the command that led to it")
    }

    /// Says what to do next.
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.0.hint = Some(hint.to_string());
        self
    }

    /// Adds a reason, to be printed below the message.
    pub(crate) fn cause(mut self, cause: impl Display) -> Self {
        self.0.causes.push(cause.to_string());
        self
    }

    /// Says where it happened, in front of the message.
    pub(crate) fn within(mut self, place: impl Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.0.kind
    }

    pub(crate) fn code(&self) -> u8 {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn causes(&self) -> &[String] {
        &self.0.causes
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.0.holder.as_ref()
    }

    /// Whether this is the quiet end of a command whose reader has gone.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_silent
    }

    /// The message and its causes in one line.
    pub(crate) fn summary(&self) -> String {
        let mut summary = self.0.message.clone();
        for cause in &self.0.causes {
            summary = format!("{summary}: {cause}");
        }
        summary
    }
}

/// The exit code for each kind of the facade's errors.
fn code(kind: Kind) -> u8 {
    match kind {
        Kind::NotFound => 1,
        Kind::InvalidInput
        | Kind::Decode
        | Kind::ReadOnly
        | Kind::Reentrant
        | Kind::UsedAfterFork
        | Kind::Unsupported
        | Kind::Plugin => 2,
        Kind::Busy | Kind::InUse | Kind::Stalled => 3,
        Kind::Corrupt => 4,
        Kind::Format => 5,
        Kind::NeedsRecovery => 6,
        Kind::TimedOut | Kind::Lagged | Kind::TooOld | Kind::NoHistory | Kind::SnapshotExpired => 7,
        Kind::Conflict
        | Kind::Exists
        | Kind::Gap
        | Kind::AlreadyApplied
        | Kind::Foreign
        | Kind::Diverged
        | Kind::Refused => 8,
        Kind::Fenced | Kind::StoreReplaced => 9,
        Kind::Cancelled => 130,
        // Poisoned, an unknown outcome, an operation given up, and what the system refused.
        _ => 74,
    }
}

/// The messages of an error's sources, the nearest first.
fn sources(error: &dyn StdError) -> Vec<String> {
    std::iter::successors(error.source(), |&source| source.source()).map(ToString::to_string).collect()
}

impl From<cohab::Error> for Failure {
    fn from(error: cohab::Error) -> Self {
        let mut failure = Self::new(error.kind().as_str(), code(error.kind()), &error);
        failure.0.causes = sources(&error);
        if error.kind() == Kind::Plugin {
            // What is wrong with a plugin is said in the message, and kept as the source for programs.
            failure.0.causes.retain(|cause| !failure.0.message.ends_with(cause.as_str()));
        }
        failure.0.hint = error.hint_text().map(str::to_owned);
        failure.0.holder = error.holder().cloned();
        if error.kind() == Kind::Poisoned {
            // The facade's hint is for programs that go on.
            failure = failure.hint("run it again; `cohab doctor` tells whether the store is sound");
        }
        if let [_, _, ..] = error.refusals() {
            let refusals = error.refusals();
            failure.0.message = format!("{} preconditions failed, so nothing was changed", refusals.len());
            failure.0.causes = refusals.iter().map(ToString::to_string).collect();
        }
        failure
    }
}

impl From<cohab_exchange::Error> for Failure {
    fn from(error: cohab_exchange::Error) -> Self {
        use cohab_exchange::Error as E;
        let mut failure = match &error {
            E::Format { .. } => Self::new(Kind::Format.as_str(), 5, &error),
            // The system gives its errors a number; a decompressor's error is about the input.
            E::Read { source, .. } | E::Io { source, .. } if source.raw_os_error().is_none() => {
                Self::input(&error).cause(source)
            }
            E::Read { source, .. } | E::Write { source, .. } | E::Io { source, .. } => {
                Self::io(&error, source)
            }
            _ => Self::input(&error),
        };
        if failure.0.causes.is_empty() {
            failure.0.causes = sources(&error);
        }
        failure
    }
}

/// Names a file in an error about what is in it, unless the error names it itself.
pub(crate) fn in_file(path: &Path) -> impl Fn(cohab_exchange::Error) -> Failure + '_ {
    move |error| {
        let names_it =
            matches!(error, cohab_exchange::Error::Io { .. } | cohab_exchange::Error::Unfit { .. });
        let failure = Failure::from(error);
        match path {
            _ if names_it => failure,
            path if path == Path::new("-") => failure.within("standard input"),
            path => failure.within(path.display()),
        }
    }
}
