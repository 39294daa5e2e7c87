//! The one error type of the facade.

use std::error::Error as StdError;
use std::fmt;

use cohab_core::Version;
use cohab_lock::Holder;

use crate::batch::Refusal;

/// The facade's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// The store, namespace or version is not there. Create it, or name another.
    NotFound,
    /// Something of that name is there already.
    Exists,
    /// The input breaks a rule or a bound; the message names both. Nothing was done.
    InvalidInput,
    /// Another process holds the writer's lock: [`Error::holder`]. Wait, or work through it.
    Busy,
    /// A plugin that is asked before a commit refuses it; the message says which one and why. Nothing was done.
    Refused,
    /// A plugin cannot be loaded or run, or its call failed; the message names it and the cause. Nothing was done.
    Plugin,
    /// A precondition failed, or a namespace is protected or not empty. Read again and decide anew.
    Conflict,
    /// Data on disk is damaged. Nothing wrong was returned. Restore a backup, or drop the namespace named.
    Corrupt,
    /// The store was written in a format that this build does not read. Use a newer cohab.
    Format,
    /// The last writer died and the store must be recovered by somebody who may write there.
    NeedsRecovery,
    /// An earlier commit failed; call [`Store::reopen`](crate::Store::reopen).
    Poisoned,
    /// The commit failed and may or may not be in the store; call [`Store::reopen`](crate::Store::reopen) and look.
    CommitUnknown,
    /// The handle only reads.
    ReadOnly,
    /// The operation needs the store to itself, but snapshots are open. Drop them, or try later.
    InUse,
    /// The handle was closed or reopened since the snapshot was taken. Take a new one.
    Closed,
    /// A stored key or value does not decode as the type it was asked for.
    Decode,
    /// The application's own closure gave up: [`Error::abort`].
    Aborted,
    /// The writer is stopped half-way in a commit, so that its readers cannot go on. They will, when it goes on or dies.
    Stalled,
    /// What was waited for did not happen in time.
    TimedOut,
    /// The wait was cancelled.
    Cancelled,
    /// The thread holds the lock already and would wait for itself.
    Reentrant,
    /// The versions asked for are no longer in the log: [`Error::oldest_version`].
    Lagged,
    /// The version asked for is older than what the log keeps: [`Error::oldest_version`]. Ask for that one or a later
    /// one; a longer [`Retention`](crate::Retention) or a named snapshot keeps more.
    TooOld,
    /// The past of a namespace is not known: its history was off, or it was purged. Nothing was done.
    NoHistory,
    /// A delta begins at another version than the replica is at. Make one from the version that it names.
    Gap,
    /// A delta ends at a version that the replica has reached already. Nothing is left to do.
    AlreadyApplied,
    /// A delta, or a source, is of another store than the one that the replica follows.
    Foreign,
    /// A replica is not what its source was: somebody wrote to one of them on the side. Nothing was merged.
    Diverged,
    /// The snapshot is older than the writer allows. Drop it and take a new one.
    SnapshotExpired,
    /// Somebody else has taken over since. Nothing was committed. Close the handle, or acquire the lock again.
    Fenced,
    /// The store's file was replaced by another under the open handle. Nothing more is committed. Open it anew.
    StoreReplaced,
    /// The handle was opened by the process that this one was forked from. Open the store anew.
    UsedAfterFork,
    /// The place does not offer what a store needs, such as a network file system.
    Unsupported,
    /// The operating system refused an operation; [`source`](StdError::source) says why.
    Io,
}

impl Kind {
    /// Returns the kind's name in snake_case, as machine-readable output carries it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::InvalidInput => "invalid_input",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Plugin => "plugin",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Format => "format",
            Self::NeedsRecovery => "needs_recovery",
            Self::Poisoned => "poisoned",
            Self::CommitUnknown => "commit_unknown",
            Self::ReadOnly => "read_only",
            Self::InUse => "in_use",
            Self::Closed => "closed",
            Self::Decode => "decode",
            Self::Aborted => "aborted",
            Self::Stalled => "stalled",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Reentrant => "reentrant",
            Self::Lagged => "lagged",
            Self::TooOld => "too_old",
            Self::NoHistory => "no_history",
            Self::Gap => "gap",
            Self::AlreadyApplied => "already_applied",
            Self::Foreign => "foreign",
            Self::Diverged => "diverged",
            Self::SnapshotExpired => "snapshot_expired",
            Self::Fenced => "fenced",
            Self::StoreReplaced => "store_replaced",
            Self::UsedAfterFork => "used_after_fork",
            Self::Unsupported => "unsupported",
            Self::Io => "io",
        }
    }
}

/// Whatever goes wrong in cohab. [`kind`](Self::kind) says what to do, the message what happened to what.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    holder: Option<Holder>,
    refusals: Vec<Refusal>,
    oldest: Option<Version>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let (message, refusals) = (message.into(), Vec::new());
        Self(Box::new(Inner {
            kind,
            message,
            hint: None,
            holder: None,
            refusals,
            oldest: None,
            source: None,
        }))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidInput, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
            .hint("`cohab doctor` shows how far the damage goes; `cohab init --from BACKUP` makes a store of a backup")
    }

    pub(crate) fn refused(refusals: Vec<Refusal>) -> Self {
        let list: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        let mut error = Self::new(Kind::Conflict, list.join("; "));
        error.0.refusals = refusals;
        error
    }

    pub(crate) fn busy(message: impl Into<String>, holder: Holder) -> Self {
        let mut error = Self::new(Kind::Busy, message);
        error.0.holder = Some(holder);
        error
    }

    pub(crate) fn lagged(missed: Version, oldest: Version) -> Self {
        let message = format!("version {missed} is no longer in the log, whose oldest is version {oldest}");
        let mut error = Self::new(Kind::Lagged, message);
        error.0.oldest = Some(oldest);
        error.hint("read the store as it is now, and go on from there; a longer retention keeps more")
    }

    pub(crate) fn too_old(asked: Version, oldest: Version) -> Self {
        let message = format!("version {asked} is older than what the log keeps, from version {oldest} on");
        let mut error = Self::new(Kind::TooOld, message);
        error.0.oldest = Some(oldest);
        error.hint(format!(
            "ask for version {oldest} or a later one; a longer retention, or a snapshot under a name, keeps more"
        ))
    }

    /// Wraps an application's own error, to leave a [`write`](crate::Store::write) without committing.
    ///
    /// [`source`](StdError::source) gives it back.
    pub fn abort(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Aborted, "the transaction was given up").source(reason)
    }

    /// Tells several callers of one failure, with all of its causes.
    pub(crate) fn duplicate(&self) -> Self {
        let Inner { kind, message, hint, holder, refusals, oldest, source } = &*self.0;
        let mut error = Self::new(*kind, message.clone());
        error.0.hint.clone_from(hint);
        error.0.holder.clone_from(holder);
        error.0.refusals.clone_from(refusals);
        error.0.oldest = *oldest;
        let Some(source) = source else { return error };
        if let Some(own) = source.downcast_ref::<Self>() {
            return error.source(own.duplicate());
        }
        match source.downcast_ref::<std::io::Error>() {
            Some(system) => error.source(cohab_fs::copy_of(system)),
            // What cannot be copied can still be quoted.
            None => error.source(source.to_string()),
        }
    }

    /// Puts another message in place of the usual one.
    pub(crate) fn because(mut self, message: impl Into<String>) -> Self {
        self.0.message = message.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns what the caller can do about it.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns what to do next, where there is something particular to say.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns who holds the lock, for [`Kind::Busy`], if the holder left word.
    pub fn holder(&self) -> Option<&Holder> {
        self.0.holder.as_ref()
    }

    /// Returns the oldest version that the log still has, for [`Kind::Lagged`] and [`Kind::TooOld`].
    pub fn oldest_version(&self) -> Option<Version> {
        self.0.oldest
    }

    /// Returns every precondition of a batch that failed.
    pub fn refusals(&self) -> &[Refusal] {
        &self.0.refusals
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, " ({source:?})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<cohab_core::NameError> for Error {
    fn from(error: cohab_core::NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<cohab_namespace::Error> for Error {
    fn from(error: cohab_namespace::Error) -> Self {
        let kind = match error {
            cohab_namespace::Error::Protected { .. }
            | cohab_namespace::Error::NotEmpty { .. }
            | cohab_namespace::Error::Conflict { .. } => Kind::Conflict,
            _ => Kind::InvalidInput,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<cohab_namespace::catalog::Damaged> for Error {
    fn from(error: cohab_namespace::catalog::Damaged) -> Self {
        match error {
            cohab_namespace::catalog::Damaged::Format { .. } => {
                Self::new(Kind::Format, error.to_string()).hint("open the store with the cohab that wrote it")
            }
            _ => Self::corrupt(error.to_string()),
        }
    }
}

impl From<cohab_log::Damaged> for Error {
    fn from(error: cohab_log::Damaged) -> Self {
        Self::corrupt(error.to_string())
    }
}

impl From<cohab_log::DeltaError> for Error {
    fn from(error: cohab_log::DeltaError) -> Self {
        use cohab_log::DeltaError as E;
        let kind = match error {
            E::NotADelta | E::TooLarge { .. } => Kind::InvalidInput,
            E::Format { .. } => Kind::Format,
            _ => Kind::Corrupt,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<cohab_fs::Error> for Error {
    fn from(error: cohab_fs::Error) -> Self {
        match error {
            cohab_fs::Error::NotFound(_) => Self::new(Kind::NotFound, error.to_string()),
            cohab_fs::Error::Untrusted { .. } => Self::invalid(error.to_string()),
            other => {
                let message = other.to_string();
                match StdError::source(&other).and_then(|source| source.downcast_ref::<std::io::Error>()) {
                    Some(source) => Self::new(Kind::Io, message).source(cohab_fs::copy_of(source)),
                    None => Self::new(Kind::Io, message),
                }
            }
        }
    }
}

impl From<cohab_lock::Error> for Error {
    fn from(error: cohab_lock::Error) -> Self {
        use cohab_lock::Error as E;
        let message = error.to_string();
        match error {
            E::Busy { holder, .. } => {
                let mut error = Self::new(Kind::Busy, message);
                error.0.holder = holder.map(|holder| *holder);
                error.hint(
                    "wait for it (`--wait SECONDS`), let it do the work, or end it; reading needs no lock",
                )
            }
            E::File(error) => error.into(),
            E::Cancelled { .. } => Self::new(Kind::Cancelled, message),
            E::Reentrant { .. } => {
                Self::new(Kind::Reentrant, message).hint("drop the lock that the thread has")
            }
            E::Name { .. } | E::Duplicate { .. } => Self::invalid(message),
            E::Damaged { .. } => Self::new(Kind::Corrupt, message),
            E::Io { source, .. } => Self::new(Kind::Io, message).source(source),
            _ => Self::new(Kind::Io, message),
        }
    }
}

impl From<cohab_registry::Error> for Error {
    fn from(error: cohab_registry::Error) -> Self {
        use cohab_registry::Error as E;
        let message = error.to_string();
        match error {
            E::File(error) => error.into(),
            E::Name { .. } => Self::invalid(message),
            E::InUse(_) => Self::new(Kind::Exists, message),
            E::Forked(_) => Self::new(Kind::UsedAfterFork, message),
            E::PortTaken { .. } => Self::new(Kind::Busy, message),
            E::NoHomeDirectory => Self::new(Kind::NotFound, message),
            E::Io { source, .. } | E::Bind { source, .. } => Self::new(Kind::Io, message).source(source),
            _ => Self::new(Kind::Io, message),
        }
    }
}

impl From<cohab_engine::Error> for Error {
    fn from(error: cohab_engine::Error) -> Self {
        use cohab_engine::Error as E;
        let message = error.to_string();
        match error {
            E::NotFound(_) => Self::new(Kind::NotFound, message),
            E::Untrusted { .. } => Self::invalid(message),
            E::Locked(_) => {
                Self::new(Kind::Busy, message).hint("wait until the other process has closed the store")
            }
            E::NeedsRecovery(_) => Self::new(Kind::NeedsRecovery, message).hint(
                "open the store once for writing, or run `cohab doctor --repair` where it can be written",
            ),
            E::RecoveryStopped(_) => Self::new(Kind::Aborted, message),
            E::Format { .. } => Self::new(Kind::Format, message),
            E::Corrupt { table, key, detail } => crate::layout::corrupt(table, key.as_deref(), &detail),
            E::Poisoned => Self::new(Kind::Poisoned, message).hint("call `Store::reopen`"),
            E::CommitUnknown(source) => Self::new(Kind::CommitUnknown, message)
                .hint("call `Store::reopen` and look")
                .source(Self::from(*source)),
            E::ReadOnly => Self::new(Kind::ReadOnly, "the store is open for reading only"),
            E::Closed => Self::new(Kind::Closed, message),
            E::InUse => Self::new(Kind::InUse, message),
            E::Stalled { .. } => Self::new(Kind::Stalled, message)
                .hint("`cohab ps` shows who is stopped; let it go on (`kill -CONT`), or end it"),
            E::Io { source, .. } => Self::new(Kind::Io, message).source(source),
            _ => Self::new(Kind::Io, message),
        }
    }
}
