//! How long snapshots are kept: each one pins pages of the file for as long as it lives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cohab_core::{Timestamp, Version};
use cohab_fs::fork::{self, Generation};

use crate::store::used_after_fork;
use crate::uptime::uptime_ms;
use crate::{Error, Kind, Result};

/// The open snapshots of one handle.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    /// By when they were opened, in order.
    open: Mutex<BTreeMap<Opened, (Version, Timestamp)>>,
    opened: AtomicU64,
    /// The oldest one in use when it was asked for the last time.
    observed: Mutex<Option<(Version, Timestamp)>>,
    /// The age at which a snapshot expires, in milliseconds; zero if none does.
    max_ms: AtomicU64,
}

/// When a snapshot was opened, and a number, because two may be opened at the same time.
type Opened = (u64, u64);

/// One open snapshot.
#[derive(Debug)]
pub(crate) struct Age {
    ages: Arc<Ages>,
    opened: Opened,
    /// The process whose snapshot it is: in one forked from it nothing is pinned, so pages may change under it.
    process: Generation,
}

impl Ages {
    fn open(&self) -> MutexGuard<'_, BTreeMap<Opened, (Version, Timestamp)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a snapshot that was just opened.
    pub(crate) fn begin(self: &Arc<Self>, version: Version, now: Timestamp) -> Age {
        let opened = (uptime_ms(), self.opened.fetch_add(1, Ordering::Relaxed));
        self.open().insert(opened, (version, now));
        Age { ages: self.clone(), opened, process: fork::generation() }
    }

    /// Returns the version of the oldest open snapshot but for one, and when it was opened.
    pub(crate) fn oldest_but(&self, idle: Option<&Age>) -> Option<(Version, Timestamp)> {
        let open = self.open();
        let mut others = open.iter().filter(|(opened, _)| idle.is_none_or(|idle| **opened != idle.opened));
        others.next().map(|(_, oldest)| *oldest)
    }

    /// Returns the oldest snapshot if it was the oldest at the last call, too: one that is used for a moment, however
    /// often, is not one that is kept.
    pub(crate) fn kept(&self, oldest: Option<(Version, Timestamp)>) -> Option<(Version, Timestamp)> {
        let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *observed, oldest);
        oldest.filter(|_| before == oldest)
    }

    /// Sets the age at which snapshots expire.
    pub(crate) fn set_max(&self, max: Option<Duration>) {
        let max = max.map_or(0, |max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX).max(1));
        self.max_ms.store(max, Ordering::Relaxed);
    }
}

impl Age {
    /// Returns whether the snapshot is older than the writer allows. Cost: one load, where there is no bound.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        let max_ms = self.ages.max_ms.load(Ordering::Relaxed);
        max_ms != 0 && self.ms() > max_ms
    }

    /// Returns whether the snapshot is this process's own, rather than that of one that this was forked from.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.process.is_current()
    }

    /// Refuses a snapshot that is older than the writer allows, or another process's. Cost: two loads, where there is
    /// no bound.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_over() || !self.is_own() { Err(self.refusal()) } else { Ok(()) }
    }

    fn ms(&self) -> u64 {
        uptime_ms().saturating_sub(self.opened.0)
    }

    #[cold]
    fn refusal(&self) -> Error {
        if !self.is_own() {
            return used_after_fork();
        }
        let (age_ms, max_ms) = (self.ms(), self.ages.max_ms.load(Ordering::Relaxed));
        let message = format!("the snapshot is {age_ms} ms old; the store's writer allows {max_ms} ms");
        Error::new(Kind::SnapshotExpired, message).hint("drop it and take a new one")
    }
}

impl Drop for Age {
    fn drop(&mut self) {
        self.ages.open().remove(&self.opened);
    }
}
