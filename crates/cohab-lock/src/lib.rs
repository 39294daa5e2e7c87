//! Locks between processes that the kernel releases, and records that say who holds them.
//!
//! A lock is an empty file, created once and never renamed over nor removed, locked with `flock` (`LockFileEx` on
//! Windows). The kernel releases it when the process that holds it is gone, however it went; nothing a crash
//! leaves behind has to be cleaned up. Beside it lies a record of the [`Holder`], which is there for messages
//! alone: it can be stale or missing, and no decision is made from it.
//!
//! # Limitations
//!
//! A stopped process is alive and keeps its lock. Waiting polls, so a lock that comes free is taken up to 50 ms
//! later. On network file systems `flock` may promise what it cannot keep.
//!
//! ```
//! use std::time::Duration;
//! use cohab_lock::{Holder, LockFile};
//!
//! let dir = tempfile::tempdir()?;
//! let lock = LockFile::in_dir(dir.path(), "writer");
//! let me = Holder::this_process("writer");
//! let held = lock.acquire(&me, Duration::ZERO)?;
//!
//! let refused = lock.acquire(&me, Duration::ZERO).unwrap_err();
//! assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
//!
//! drop(held);
//! lock.acquire(&me, Duration::ZERO)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod holder;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_fs::Access;
pub use holder::Holder;

/// How long a waiter sleeps at first, and at most, between two attempts.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// How long even somebody who does not want to wait does: an onlooker may hold the lock for a moment
/// ([`LockFile::current`]).
const GRACE: Duration = Duration::from_millis(3);

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else holds the lock.
    #[error("{} is held{}", lock.display(), held_by(.holder.as_deref()))]
    Busy {
        /// The lock's file.
        lock: PathBuf,
        /// Who says to hold it, if that could be read.
        holder: Option<Box<Holder>>,
    },
    /// The lock's file, or its record, cannot be used.
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

fn held_by(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| " by another process".to_owned(), |holder| format!(" by {holder}"))
}

/// A lock that may be acquired.
#[derive(Clone, Debug)]
pub struct LockFile {
    lock: PathBuf,
    record: PathBuf,
}

impl LockFile {
    /// Names the lock `<dir>/<name>.lock`, with its record in `<dir>/<name>.json`.
    pub fn in_dir(dir: &Path, name: &str) -> Self {
        Self { lock: dir.join(format!("{name}.lock")), record: dir.join(format!("{name}.json")) }
    }

    /// Acquires the lock for this process alone, waiting for `wait` at the most.
    ///
    /// The lock is this handle's, not the process's: a second `acquire` in the same process finds it busy.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] with the holder once the time is over; errors of the file system at once.
    pub fn acquire(&self, holder: &Holder, wait: Duration) -> Result<Held, Error> {
        let file = cohab_fs::open(&self.lock, Access::Create)?;
        let deadline = Instant::now().checked_add(wait.max(GRACE));
        let mut pause = POLL.0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(Error::Io { lock: self.lock.clone(), source });
                }
            }
            let left = deadline.map_or(POLL.1, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                let holder = self.holder().map(Box::new);
                return Err(Error::Busy { lock: self.lock.clone(), holder });
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(POLL.1);
        }
        let held = Held { _file: file, record: self.record.clone() };
        cohab_fs::replace(&self.record, &holder.to_json())?;
        Ok(held)
    }

    /// Reads who says to hold the lock. A hint: after a crash the record outlives its process.
    pub fn holder(&self) -> Option<Holder> {
        Holder::from_json(&fs::read(&self.record).ok()?)
    }

    /// Returns who holds the lock right now, or `None` if nobody does. Creates nothing.
    ///
    /// The answer may be out of date when it arrives.
    pub fn current(&self) -> Option<Holder> {
        let file = cohab_fs::open(&self.lock, Access::Read).ok()?;
        // Shared, so that two who look at the same time do not take each other for the holder.
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(self.holder().unwrap_or_default()),
            Ok(()) | Err(TryLockError::Error(_)) => None,
        }
    }
}

/// A lock that is held until this is dropped or the process ends.
#[derive(Debug)]
#[must_use = "dropping it lets another process have the lock"]
pub struct Held {
    /// Closing the file releases the lock.
    _file: File,
    record: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // While the lock is still held: afterwards the record might be the next holder's.
        let _ = fs::remove_file(&self.record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_gets_the_lock_when_it_comes_free() {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let lock = LockFile::in_dir(dir.path(), "job");
        let held = lock.acquire(&Holder::this_process("first"), Duration::ZERO).expect("is free");
        assert_eq!(lock.current().map(|holder| holder.role), Some("first".into()));
        std::thread::scope(|scope| {
            let waiter =
                scope.spawn(|| lock.acquire(&Holder::this_process("second"), Duration::from_mins(1)));
            std::thread::sleep(Duration::from_millis(20));
            drop(held);
            let held = waiter.join().expect("does not panic").expect("is free by now");
            assert_eq!(lock.holder().map(|holder| holder.role), Some("second".into()));
            drop(held);
        });
        assert!(lock.current().is_none());
        assert!(lock.holder().is_none(), "the record goes with the lock");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let lock = LockFile::in_dir(dir.path(), "job");
        fs::write(dir.path().join("job.json"), "{torn").expect("can be written");
        let held = lock.acquire(&Holder::this_process("writer"), Duration::ZERO).expect("is free");
        fs::write(dir.path().join("job.json"), "{torn").expect("can be written");
        let refused =
            lock.acquire(&Holder::this_process("writer"), Duration::from_millis(5)).expect_err("is held");
        assert!(refused.to_string().ends_with("is held by another process"), "{refused}");
        drop(held);
    }
}
