//! Locks between real processes, and what they leave behind.

mod file;
mod fork;
mod locks;
mod processes;
mod space;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_lock::{Guard, Holder, Locks, Mode, Request, Wait};

/// Long enough for anything that is going to happen.
const LONG: Wait = Wait::For(Duration::from_mins(1));

/// A directory, and the locks of a store in it.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("there is room for a directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn locks(&self) -> Locks {
        locks_in(self.path())
    }

    /// Returns the one file of the locks with that extension.
    fn file(&self, extension: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.path().join("locks")).expect("a lock was taken");
        let mut paths = entries.map(|entry| entry.expect("can be read").path());
        let is_sought = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
        paths.find(is_sought).expect("there is such a file")
    }
}

fn locks_in(dir: &Path) -> Locks {
    Locks::in_dir(&dir.join("locks"))
}

fn me() -> Holder {
    Holder::this_process("test")
}

/// Acquires a lock that is expected to be free or to come free.
fn acquired(locks: &Locks, name: &str, mode: Mode) -> Guard {
    locks.acquire(name, mode, &Request::new(&me()).wait(LONG)).expect("comes free")
}

/// Asserts that something took no longer than a waiter's longest nap, give or take a busy machine.
fn assert_prompt(since: Instant) {
    assert!(since.elapsed() < Duration::from_secs(2), "took {:?}", since.elapsed());
}

/// Asserts that the kernel tells these processes, unless a container keeps it from telling any.
fn assert_pids(told: &[u32], expected: &[u32]) {
    assert!(told.is_empty() || told == expected, "{told:?} instead of {expected:?}");
}
