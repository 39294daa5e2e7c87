//! Noticing operations that wait for too long.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cohab_registry::Instance;

use crate::uptime::uptime_ms;

/// An operation has waited for longer than [`Options::on_stall`](crate::Options::on_stall) allows.
///
/// It goes on waiting, and ends as soon as what holds it up goes on or dies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// What waits: `commit`, or `snapshot`.
    pub operation: &'static str,
    /// For how long it has waited so far.
    pub waited: Duration,
    /// The instances that may hold it up: those that are stopped, or all others if none is. A process that has not
    /// registered is not among them.
    pub suspects: Vec<Instance>,
}

/// Watches one operation at a time.
#[derive(Debug)]
pub(crate) struct Watchdog {
    operation: &'static str,
    /// When the operation began to wait, in milliseconds of uptime; zero while nothing waits.
    since: AtomicU64,
    is_reported: AtomicBool,
}

/// The operation waits until this is dropped.
pub(crate) struct Waiting<'w>(&'w Watchdog);

impl Watchdog {
    pub(crate) const fn new(operation: &'static str) -> Self {
        Self { operation, since: AtomicU64::new(0), is_reported: AtomicBool::new(false) }
    }

    /// Begins to count.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.is_reported.store(false, Ordering::Relaxed);
        self.since.store(uptime_ms(), Ordering::Release);
        Waiting(self)
    }

    /// Returns what waits for longer than it should, once.
    pub(crate) fn stalled(&self, after: Duration) -> Option<(&'static str, Duration)> {
        let since = self.since.load(Ordering::Acquire);
        if since == 0 {
            return None;
        }
        let waited = Duration::from_millis(uptime_ms().saturating_sub(since));
        (waited >= after && !self.is_reported.swap(true, Ordering::Relaxed))
            .then_some((self.operation, waited))
    }
}

impl Waiting<'_> {
    /// Runs what is not waiting, such as the application's own closure.
    pub(crate) fn pause<T>(&self, f: impl FnOnce() -> T) -> T {
        self.0.since.store(0, Ordering::Release);
        let value = f();
        self.0.since.store(uptime_ms(), Ordering::Release);
        value
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Release);
    }
}
