//! What a handle tells of itself to those who watch over it: numbers now and then, events as they happen.
//!
//! Nothing here is on the way of a read that the cache answers. Without the features `metrics` and `tracing` all that
//! is left of it is the beat at which an instance's record gets the cache's numbers.

#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "metrics")]
mod metrics;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cohab_core::limits::NUMBERS_TICK;

#[cfg(feature = "tracing")]
pub(crate) use self::events::{
    beginning_to_write, catch_up, lapsed, recovery, role_changed, stalled, taking_over,
};
#[cfg(not(feature = "tracing"))]
pub(crate) use self::silence::{
    beginning_to_write, catch_up, lapsed, recovery, role_changed, stalled, taking_over,
};
use crate::store::Inner;
use crate::uptime::uptime_ms;

/// What was told last, and when.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    recorded: Beat,
    #[cfg(feature = "metrics")]
    published: metrics::Published,
}

impl Telemetry {
    /// Returns whether it is time to put the cache's numbers into the record, which it is from then on no more.
    pub(crate) fn is_record_due(&self) -> bool {
        self.recorded.is_due(NUMBERS_TICK)
    }
}

/// Says when it is time again.
#[derive(Debug, Default)]
struct Beat {
    /// When it was, in milliseconds of uptime; zero if it never was.
    last: AtomicU64,
}

impl Beat {
    /// Returns true to one who asks when so much time has gone by, or never asked before.
    fn is_due(&self, every: Duration) -> bool {
        let (now, last) = (uptime_ms().max(1), self.last.load(Ordering::Relaxed));
        let is_over = last == 0 || u128::from(now.saturating_sub(last)) >= every.as_millis();
        is_over && self.last.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Hands the numbers to whoever collects them, if it is time to.
#[cfg(feature = "metrics")]
pub(crate) fn publish(inner: &Inner) {
    inner.telemetry.published.publish_if_due(inner);
}

/// Hands over what has come together since, as the handle is about to be closed.
#[cfg(feature = "metrics")]
pub(crate) fn publish_last(inner: &Inner) {
    inner.telemetry.published.publish(inner);
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn publish(_inner: &Inner) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn publish_last(_inner: &Inner) {}

/// Nobody listens.
#[cfg(not(feature = "tracing"))]
mod silence {
    use std::path::Path;
    use std::time::Duration;

    use cohab_core::{NamespaceId, Version};

    use crate::RoleChange;
    use crate::store::Inner;

    pub(crate) struct Unheard;

    impl Unheard {
        #[expect(clippy::unused_self, reason = "it has something to say where somebody listens")]
        pub(crate) fn end(self, _is_known: bool) {}
    }

    pub(crate) fn role_changed(_inner: &Inner, _change: &RoleChange) {}

    pub(crate) fn stalled(_inner: &Inner, _operation: &'static str, _waited: Duration) {}

    pub(crate) fn taking_over(_inner: &Inner) -> Unheard {
        Unheard
    }

    pub(crate) fn beginning_to_write(_store: &Path) -> Unheard {
        Unheard
    }

    pub(crate) fn recovery(_store: &Path) -> Unheard {
        Unheard
    }

    pub(crate) fn lapsed(_snapshots: &[crate::NamedSnapshot]) {}

    pub(crate) fn catch_up(_id: NamespaceId, _since: Version, _until: Version) -> Unheard {
        Unheard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_due_once() {
        let beat = Beat::default();
        assert!(beat.is_due(Duration::from_hours(1)), "it never was");
        assert!(!beat.is_due(Duration::from_hours(1)));
        assert!(beat.is_due(Duration::ZERO));
    }
}
