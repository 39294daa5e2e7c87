//! Which locks the threads of this process hold, so that none waits for itself.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use cohab_fs::fork::{Generation, generation};

use crate::Mode;

/// A lock, whatever path leads to its directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    #[cfg(unix)]
    dir: (u64, u64),
    #[cfg(not(unix))]
    dir: std::path::PathBuf,
    hash: u128,
}

impl Key {
    pub(crate) fn of(dir: &Path, hash: u128) -> io::Result<Self> {
        #[cfg(unix)]
        let dir = {
            let metadata = dir.metadata()?;
            (std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata))
        };
        #[cfg(not(unix))]
        let dir = dir.canonicalize()?;
        Ok(Self { dir, hash })
    }
}

/// That a thread holds a lock, until this is dropped by whomever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claim {
    key: Key,
    mode: Mode,
    thread: ThreadId,
    /// A forked child inherits the table and the thread's identity, but not the locks.
    generation: Generation,
}

/// What is held; few at a time, so that a search costs next to nothing beside the lock itself.
static CLAIMS: Mutex<Vec<Claim>> = Mutex::new(Vec::new());

fn claims() -> MutexGuard<'static, Vec<Claim>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// The present thread's claim to a lock, or `None` if it would wait for itself.
    pub(crate) fn new(key: Key, mode: Mode) -> Option<Self> {
        let claim = Self { key, mode, thread: thread::current().id(), generation: generation() };
        let is_in_the_way = |held: &Claim| {
            (&held.key, held.thread, held.generation) == (&claim.key, claim.thread, claim.generation)
                && (held.mode, mode) != (Mode::Shared, Mode::Shared)
        };
        let is_free = !claims().iter().any(is_in_the_way);
        is_free.then_some(claim)
    }

    /// Enters the claim, once the lock is held.
    pub(crate) fn enter(self) -> Entered {
        claims().push(self.clone());
        Entered(self)
    }
}

/// A claim in the table.
#[derive(Debug)]
pub(crate) struct Entered(Claim);

impl Drop for Entered {
    fn drop(&mut self) {
        // In a forked child the table may have been locked by a thread that is not there.
        if self.0.generation.is_current() {
            let mut claims = claims();
            if let Some(position) = claims.iter().position(|claim| *claim == self.0) {
                claims.swap_remove(position);
            }
        }
    }
}
