//! How long to wait for a lock, and how to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a waiter sleeps at first, and at most, between two attempts.
///
/// The kernel could wake a waiter at once, but only one that can neither be cancelled nor bounded in time except by
/// signals, which a library must not use. So waiting polls: a waiter costs at most 50 system calls of under a
/// microsecond each a second, and a lock is idle for 20 ms at most, on average for 10, before a waiter takes it.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How long even somebody who does not want to wait does: an onlooker may hold the lock for a moment
/// ([`LockFile::current`](crate::LockFile::current)).
pub(crate) const GRACE: Duration = Duration::from_millis(3);

/// How long to wait for a lock that somebody else holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wait {
    /// Not at all, apart from the few milliseconds that tell a holder from an onlooker.
    #[default]
    Try,
    /// For that long at the most. Time during which the machine is suspended may not count.
    For(Duration),
    /// Until the lock is free.
    Forever,
}

/// Ends waits, from any thread. Clones are the same token; once cancelled, it stays so.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Returns a token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every wait with this token end within 20 ms, and every later one at once.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Returns whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What is left of a wait.
#[derive(Debug)]
pub(crate) struct Patience<'a> {
    /// `None` for a wait without end.
    deadline: Option<Instant>,
    cancel: &'a Cancel,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(wait: Wait, cancel: &'a Cancel) -> Self {
        let time = match wait {
            Wait::Try => Some(Duration::ZERO),
            Wait::For(time) => Some(time),
            Wait::Forever => None,
        };
        // A time that no clock will ever reach is for ever.
        Self { deadline: time.and_then(|time| Instant::now().checked_add(time)), cancel }
    }

    /// Returns one that has at least `time` left.
    pub(crate) fn at_least(&self, time: Duration) -> Self {
        let deadline = self.deadline.map(|deadline| deadline.max(Instant::now() + time));
        Self { deadline, cancel: self.cancel }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Sleeps until it is time for another attempt, or returns `false` if there is to be none.
    pub(crate) fn sleep(&self, pause: &mut Pause) -> bool {
        let left =
            self.deadline.map_or(POLL.1, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(pause.0.min(left));
        pause.0 = (pause.0 * 2).min(POLL.1);
        true
    }
}

/// The time until the next attempt, which grows from one to the next.
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(POLL.0)
    }
}
