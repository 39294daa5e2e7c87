//! What keeps a lock or a number from being had.

use std::io;
use std::path::{Path, PathBuf};

use cohab_core::limits::LOCK_NAME_BYTES_MAX;

use crate::Holder;

/// Why a lock was not acquired, or a number not taken. Nothing is held afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the lock.
    #[error("{} is held{}", called(lock, name.as_deref()), held_by(holder.as_deref()))]
    Busy {
        /// The lock's file.
        lock: PathBuf,
        /// The name that the application knows the lock by, if it is one of [`Locks`](crate::Locks).
        name: Option<String>,
        /// Who says to hold it, if that could be read.
        holder: Option<Box<Holder>>,
    },
    /// The wait was cancelled.
    #[error("waiting for {} was cancelled", called(lock, name.as_deref()))]
    Cancelled {
        /// The lock's file.
        lock: PathBuf,
        /// The name that the application knows the lock by.
        name: Option<String>,
    },
    /// The thread holds the lock already, and would have waited for itself.
    #[error("this thread holds the lock {name:?} already and would wait for itself")]
    Reentrant {
        /// The lock's name.
        name: String,
    },
    /// One request names a lock twice.
    #[error("the lock {name:?} is asked for twice in one request")]
    Duplicate {
        /// The lock's name.
        name: String,
    },
    /// No lock can have that name.
    #[error("a lock's name has 1 to {LOCK_NAME_BYTES_MAX} bytes, not {bytes}")]
    Name {
        /// The length of the name, in bytes.
        bytes: usize,
    },
    /// Neither of a counter's two copies is valid.
    #[error(
        "the counter {} is damaged; once nothing relies on a lower number being refused, remove it, and it begins \
         anew above the highest number known elsewhere",
        path.display()
    )]
    Damaged {
        /// The counter's file.
        path: PathBuf,
    },
    /// A counter is at the largest number there is.
    #[error("the counter {} cannot go beyond {}", path.display(), u64::MAX)]
    Exhausted {
        /// The counter's file.
        path: PathBuf,
    },
    /// A file, or the directory it is in, cannot be used.
    #[error(transparent)]
    File(#[from] cohab_fs::Error),
    /// The system refused to lock.
    #[error("locking {} failed", lock.display())]
    Io {
        /// The lock's file.
        lock: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// An operation on a file that the system refused.
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File(cohab_fs::Error::Io { action, path: path.to_owned(), source })
    }

    /// Says which of an application's locks an error is about.
    pub(crate) fn named(mut self, lock_name: &str) -> Self {
        if let Self::Busy { name, .. } | Self::Cancelled { name, .. } = &mut self {
            *name = Some(lock_name.to_owned());
        }
        self
    }
}

fn called(lock: &Path, name: Option<&str>) -> String {
    name.map_or_else(|| lock.display().to_string(), |name| format!("the lock {name:?}"))
}

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| " by another process".to_owned(), |holder| format!(" by {holder}"))
}
