//! The lock that proves that an instance lives.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_fs::Access;
use cohab_fs::fork::{self, Released};
use same_file::Handle;

use crate::{Error, Result};

/// How long to try for an exclusive lock: onlookers hold it shared for microseconds, and a reaper that finds a lock
/// which its registrant has only just created holds it for hardly longer.
const GRACE: Duration = Duration::from_millis(20);

/// How long to pause between two attempts.
const PAUSE: Duration = Duration::from_micros(200);

/// What an onlooker finds out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// The lock is held.
    Live,
    /// The lock is free, or is being removed.
    Dead,
}

/// Looks whether the lock at a path is held; `Dead` if there is none. Creates nothing.
pub(crate) fn look(path: &Path) -> Result<Life> {
    let file = match cohab_fs::open(path, Access::Read) {
        Ok(file) => file,
        Err(cohab_fs::Error::NotFound(_)) => return Ok(Life::Dead),
        Err(error) => return Err(error.into()),
    };
    // Shared, so that two who look at the same time do not take each other for the instance.
    match cohab_fs::uninterrupted(|| file.try_lock_shared()) {
        Ok(()) => {
            // Not left to closing: a process that is being started has a copy of the descriptor for a moment.
            let _ = file.unlock();
            Ok(Life::Dead)
        }
        Err(TryLockError::WouldBlock) => Ok(if is_marked(path, &file)? { Life::Dead } else { Life::Live }),
        Err(TryLockError::Error(error)) => Err(Error::io("locking", path, error)),
    }
}

/// A byte in the file says that whoever holds the lock is removing it. It is not read, because where locks are
/// mandatory it could not be.
fn is_marked(path: &Path, file: &File) -> Result<bool> {
    file.metadata().map(|metadata| metadata.len() > 0).map_err(|error| Error::io("examining", path, error))
}

/// An exclusive lock, and with it the right to what is named after its id.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub(crate) struct Claim {
    // Declared, and so dropped, before the file.
    _released: Released,
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Takes the lock, creating its file if need be; `None` if somebody keeps it.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let deadline = Instant::now() + GRACE;
        loop {
            let file = cohab_fs::open(path, Access::Create)?;
            // Before it is locked, so that no forked child can have the lock.
            let released = fork::release_in_child(&file);
            match cohab_fs::uninterrupted(|| file.try_lock()) {
                // Otherwise a reaper has removed the file after it was opened, and a lock on it means nothing.
                Ok(()) if still_names(path, &file)? => {
                    return Ok(Some(Self { _released: released, file, path: path.to_owned() }));
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(Error::io("locking", path, error)),
            }
        }
    }

    /// Declares the instance gone, to onlookers too, although the lock is still held.
    pub(crate) fn mark(&self) -> Result<()> {
        self.file.set_len(1).map_err(|error| Error::io("marking", &self.path, error))
    }

    /// Takes back what a reaper that did not finish has declared.
    pub(crate) fn unmark(&self) -> Result<()> {
        if is_marked(&self.path, &self.file)? {
            self.file.set_len(0).map_err(|error| Error::io("marking", &self.path, error))?;
        }
        Ok(())
    }

    /// Removes the file, then releases the lock: in between, nobody can take what is about to go for theirs.
    pub(crate) fn remove(&self) -> Result<()> {
        let removed = std::fs::remove_file(&self.path);
        // A fork between the guard's drop and the file's would take the lock along.
        let _ = self.file.unlock();
        removed.map_err(|error| Error::io("removing", &self.path, error))
    }
}

fn still_names(path: &Path, file: &File) -> Result<bool> {
    let named = match cohab_fs::open(path, Access::Read) {
        Ok(named) => named,
        Err(cohab_fs::Error::NotFound(_)) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let compare = || io::Result::Ok(Handle::from_file(named)? == Handle::from_file(file.try_clone()?)?);
    compare().map_err(|error| Error::io("examining", path, error))
}
