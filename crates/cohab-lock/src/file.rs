//! One lock, which is one file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cohab_core::limits::HOLDER_BYTES_MAX;
use cohab_core::planted;
use cohab_fs::Access;
use cohab_fs::fork::{Generation, Released, generation, release_in_child};
use serde::{Deserialize, Serialize};

use crate::kernel::{self, List, Sight};
use crate::wait::{GRACE, Patience, Pause};
use crate::{Cancel, Error, Holder, Wait};

/// Who else may hold a lock at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody.
    Exclusive,
    /// Others who share it.
    Shared,
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
        self.acquire_with(holder, Mode::Exclusive, Wait::For(wait), &Cancel::new())
    }

    /// Acquires the lock, alone or shared with others.
    ///
    /// Of several who share it the record names the one that came last.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] with the holder once the time is over, [`Error::Cancelled`]; errors of the file system at
    /// once. That the record cannot be written, for want of space for instance, is none.
    pub fn acquire_with(
        &self,
        holder: &Holder,
        mode: Mode,
        wait: Wait,
        cancel: &Cancel,
    ) -> Result<Held, Error> {
        let mut held = self.lock(mode, &Patience::new(wait, cancel))?;
        held.write_record(holder.since_now().to_json());
        Ok(held)
    }

    /// Acquires the lock without saying who has it.
    pub(crate) fn lock(&self, mode: Mode, patience: &Patience<'_>) -> Result<Held, Error> {
        match Locked::acquire(&self.lock, Access::Create, mode, patience)? {
            Some(locked) => Ok(Held { locked, mode, path: self.record.clone(), record: Vec::new() }),
            None => {
                Err(Error::Busy { lock: self.lock.clone(), name: None, holder: self.holder().map(Box::new) })
            }
        }
    }

    /// Reads who says to hold the lock. A hint: after a crash the record outlives its process.
    pub fn holder(&self) -> Option<Holder> {
        Holder::read(&self.record)
    }

    /// Returns who holds the lock right now, or `None` if nobody does. Creates nothing.
    ///
    /// The answer may be out of date when it arrives.
    pub fn current(&self) -> Option<Holder> {
        let sight = self.look(&List::read()).ok()??;
        // Who left no word may still be known to the kernel.
        let unknown = || Holder { pid: sight.pids.first().copied().unwrap_or_default(), ..Holder::default() };
        Some(self.holder().unwrap_or_else(unknown))
    }

    /// Returns whether somebody else holds the lock alone. Creates nothing. Cost: three system calls.
    ///
    /// The answer may be out of date when it arrives.
    pub fn is_held(&self) -> bool {
        let Ok(file) = cohab_fs::open(&self.lock, Access::Read) else { return false };
        match cohab_fs::uninterrupted(|| file.try_lock_shared()) {
            Ok(()) => {
                // By name: a process that is being started has a copy of the descriptor.
                let _ = file.unlock();
                false
            }
            Err(error) => matches!(error, TryLockError::WouldBlock),
        }
    }

    /// Returns how the lock is held, if it is. Creates nothing.
    pub(crate) fn look(&self, list: &List) -> Result<Option<Sight>, Error> {
        let file = cohab_fs::open(&self.lock, Access::Read)?;
        kernel::look(&file, self.holder().map(|holder| holder.pid), list)
            .map_err(|source| Error::Io { lock: self.lock.clone(), source })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.lock
    }

    pub(crate) fn record_path(&self) -> &Path {
        &self.record
    }
}

/// A lock that is held until this is dropped or the process ends. A forked child holds nothing.
#[derive(Debug)]
#[must_use = "dropping it lets another process have the lock"]
pub struct Held {
    locked: Locked,
    mode: Mode,
    path: PathBuf,
    /// What was written about the holder.
    record: Vec<u8>,
}

impl Held {
    /// Says who holds the lock.
    ///
    /// The record informs people, so nothing waits for the disk, and a failure does not cost the lock. Then the
    /// record of somebody who crashed has to go, for it would name the wrong one.
    pub(crate) fn write_record(&mut self, record: Vec<u8>) {
        if cohab_fs::replace_hint(&self.path, &record).is_err() {
            let _ = fs::remove_file(&self.path);
        }
        self.record = record;
    }

    pub(crate) fn file(&self) -> &File {
        &self.locked.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.locked.generation.is_current() {
            return;
        }
        // While the lock is still held: afterwards the record might be the next holder's. Others who share the lock
        // may have put theirs in the place of ours.
        let found = || cohab_fs::read_small(&self.path, HOLDER_BYTES_MAX).ok();
        if planted!(LockFileRemoved) {
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
        if self.mode == Mode::Exclusive || found().as_ref() == Some(&self.record) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A locked file, and nothing about who locked it. Dropping it unlocks the file.
#[derive(Debug)]
pub(crate) struct Locked {
    generation: Generation,
    /// Before the file, because fields are dropped in order and the descriptor is registered while it is open.
    _released: Released,
    file: File,
}

impl Locked {
    /// Locks a file, or returns `None` once patience has run out.
    pub(crate) fn acquire(
        path: &Path,
        access: Access,
        mode: Mode,
        patience: &Patience<'_>,
    ) -> Result<Option<Self>, Error> {
        let failed = |source| Error::Io { lock: path.to_owned(), source };
        let (patience, mut pause) = (patience.at_least(GRACE), Pause::default());
        let mut opened = Self::open(path, access)?;
        loop {
            if patience.is_cancelled() {
                return Err(Error::Cancelled { lock: path.to_owned(), name: None });
            }
            let tried = match mode {
                Mode::Exclusive => opened.file.try_lock(),
                Mode::Shared => opened.file.try_lock_shared(),
            };
            match tried {
                Ok(()) if planted!(LockFileRemoved) || is_named(path, &opened.file).map_err(failed)? => {
                    return Ok(Some(opened));
                }
                // Somebody has removed the file while we waited, and a lock that nobody else can find excludes
                // nobody.
                Ok(()) => opened = Self::open(path, access)?,
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {
                    if !patience.sleep(&mut pause) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn open(path: &Path, access: Access) -> Result<Self, Error> {
        let file = cohab_fs::open(path, access)?;
        Ok(Self { generation: generation(), _released: release_in_child(&file), file })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Said aloud, because a child that was forked a moment before the descriptor was registered has a copy, and
        // with it would keep a lock that was merely closed. In a child it would be the parent's lock.
        if self.generation.is_current() {
            let _ = self.file.unlock();
        }
    }
}

/// Returns whether a path still leads to an open file.
#[cfg(unix)]
fn is_named(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let open = file.metadata()?;
    Ok(path.symlink_metadata().is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
}

#[cfg(not(unix))]
fn is_named(_path: &Path, _file: &File) -> io::Result<bool> {
    Ok(true)
}
