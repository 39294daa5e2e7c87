//! What can go wrong, sorted by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The engine's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not there, and the options do not say to create it.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// The file, or what stands in its place, is not ours to open: a symbolic link, a directory, somebody
    /// else's file.
    #[error("{} {problem}", path.display())]
    Untrusted {
        /// What was refused.
        path: PathBuf,
        /// Why, as the end of a sentence.
        problem: String,
    },
    /// Another process, or another handle in this one, has the file open for writing.
    #[error("{} is open for writing elsewhere", .0.display())]
    Locked(PathBuf),
    /// The last writer ended without closing and the file can only be repaired by one that may write.
    #[error("{} was not closed properly and needs a writer to recover it", .0.display())]
    NeedsRecovery(PathBuf),
    /// Recovery was stopped by its progress callback. Opening again starts over.
    #[error("recovery of {} was stopped", .0.display())]
    RecoveryStopped(PathBuf),
    /// The file is of another format than this build reads.
    #[error("{} has a format of redb that this build does not read: {detail}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// An entry, or a page on the way to it, is damaged. Nothing was returned that could be wrong.
    #[error("table `{table}` is damaged{}: {detail}", at_key(.key.as_deref()))]
    Corrupt {
        /// The table, or `file` if the damage is not in one.
        table: &'static str,
        /// The key that was read when the damage was met, if one was.
        key: Option<Box<[u8]>>,
        /// What was found.
        detail: String,
    },
    /// An earlier commit failed, so its outcome is unknown and the handle takes no more writes. Call
    /// [`Engine::reopen`](crate::Engine::reopen).
    #[error("an earlier commit failed; the engine takes no more writes until it is reopened")]
    Poisoned,
    /// The commit failed after it had begun: whether it is in the file is unknown until
    /// [`Engine::reopen`](crate::Engine::reopen) has looked.
    #[error("the commit failed and its outcome is unknown until the engine is reopened")]
    CommitUnknown(#[source] Box<Error>),
    /// The engine was opened for reading only.
    #[error("the engine is open for reading only")]
    ReadOnly,
    /// The engine was closed, or reopened since the snapshot was taken.
    #[error("the engine was closed or reopened since")]
    Closed,
    /// The operation needs the file for itself, but a snapshot or transaction is still open.
    #[error("a snapshot or transaction is still open, here or in another process")]
    InUse,
    /// Another process has been in the middle of switching to its commit, or of taking a snapshot, for too long: it was
    /// probably stopped. Nothing is wrong with the file; once it goes on, or dies, so do the others.
    #[error("another process has held the header of {} for {} s", path.display(), waited.as_secs_f32())]
    Stalled {
        /// The file.
        path: PathBuf,
        /// How long this one waited.
        waited: std::time::Duration,
    },
    /// The operating system refused an operation.
    #[error("{action} failed")]
    Io {
        /// What was attempted.
        action: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

fn at_key(key: Option<&[u8]>) -> String {
    key.map(|key| format!(" at key {:?}", key.escape_ascii().to_string())).unwrap_or_default()
}

impl Error {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }

    pub(crate) fn corrupt(table: &'static str, key: Option<&[u8]>, detail: impl Into<String>) -> Self {
        Self::Corrupt { table, key: key.map(Into::into), detail: detail.into() }
    }

    /// Whether the system failed the operation: afterwards the file's state is anybody's guess.
    pub(crate) fn is_system_failure(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Poisoned)
    }

    pub(crate) fn from_open(path: &Path, error: redb::DatabaseError, writer: bool) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::Locked(path.to_owned()),
            redb::DatabaseError::RepairAborted if writer => Self::RecoveryStopped(path.to_owned()),
            redb::DatabaseError::RepairAborted => Self::NeedsRecovery(path.to_owned()),
            redb::DatabaseError::UpgradeRequired(version) => {
                Self::Format { path: path.to_owned(), detail: format!("file format {version}") }
            }
            redb::DatabaseError::Storage(error) => match Self::from(error) {
                Self::Io { source, .. } => Self::io(format!("opening {}", path.display()), source),
                other => other,
            },
            other => Self::corrupt("file", None, other.to_string()),
        }
    }
}

impl From<cohab_fs::Error> for Error {
    fn from(error: cohab_fs::Error) -> Self {
        match error {
            cohab_fs::Error::NotFound(path) => Self::NotFound(path),
            cohab_fs::Error::Untrusted { path, problem } => Self::Untrusted { path, problem },
            cohab_fs::Error::Io { action, path, source } => {
                Self::io(format!("{action} {}", path.display()), source)
            }
            other => Self::io(other.to_string(), io::ErrorKind::Other.into()),
        }
    }
}

impl From<redb::StorageError> for Error {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Self::corrupt("file", None, "it ends before a page that it should hold")
            }
            redb::StorageError::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                Self::corrupt("file", None, source.to_string())
            }
            redb::StorageError::Io(source) => Self::io("access to the store's file", source),
            redb::StorageError::PreviousIo => Self::Poisoned,
            redb::StorageError::DatabaseClosed => Self::Closed,
            other => Self::corrupt("file", None, other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for Error {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::corrupt("file", None, other.to_string()),
        }
    }
}

impl From<redb::TableError> for Error {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::corrupt("file", None, other.to_string()),
        }
    }
}

impl From<redb::CommitError> for Error {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => error.into(),
            other => Self::corrupt("file", None, other.to_string()),
        }
    }
}

impl From<redb::CompactionError> for Error {
    fn from(error: redb::CompactionError) -> Self {
        match error {
            redb::CompactionError::Storage(error) => error.into(),
            _ => Self::InUse,
        }
    }
}
