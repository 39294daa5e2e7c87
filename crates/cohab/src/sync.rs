//! The locks and atomics that group commit runs on. The model in `tests/loom.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
pub(crate) use std::thread::{self, ThreadId};

use std::time::{Duration, Instant};

/// How long to look again for what may come.
pub(crate) struct Patience {
    begin: Instant,
    time: Duration,
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self { begin: Instant::now(), time }
    }

    pub(crate) fn lasts(&self) -> bool {
        self.begin.elapsed() < self.time
    }
}
