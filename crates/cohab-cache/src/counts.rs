//! What happened, counted without threads getting in each other's way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam::utils::CachePadded;

use crate::block::Head;
use crate::intervals::Intervals;

/// So many threads at a time have a counter of their own.
const STRIPES: usize = 16;

/// A counter with a cache line for each thread.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    own: [CachePadded<AtomicU64>; STRIPES],
    /// Where the threads count that have no stripe.
    others: CachePadded<AtomicU64>,
}

impl Counter {
    #[inline]
    pub(crate) fn count(&self) {
        thread_local!(static STRIPE: Stripe = Stripe::take());
        // While a thread ends its stripe may be another's already.
        match STRIPE.try_with(|stripe| stripe.0).ok().flatten() {
            // Nobody else writes it, so it needs no exchange, which would hold up the loads behind it.
            Some(stripe) => {
                let own = &self.own[stripe];
                own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
            None => _ = self.others.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        let own: u64 = self.own.iter().map(|stripe| stripe.load(Ordering::Relaxed)).sum();
        own + self.others.load(Ordering::Relaxed)
    }
}

/// A thread's stripe, which the next thread may have when this one has ended.
struct Stripe(Option<usize>);

/// Which stripes are taken.
static TAKEN: Mutex<[bool; STRIPES]> = Mutex::new([false; STRIPES]);

impl Stripe {
    fn take() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let free = taken.iter().position(|is_taken| !is_taken);
        if let Some(free) = free {
            taken[free] = true;
        }
        Self(free)
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        if let Some(stripe) = self.0 {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner)[stripe] = false;
        }
    }
}

/// What is counted for each space.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: Counter,
    pub(crate) misses: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) invalidations: AtomicU64,
    pub(crate) floors: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// What those occupy that may not go.
    pub(crate) pinned_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// What is known of all spaces that are in use, by their number.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    spaces: RwLock<HashMap<u32, Account>>,
}

type Account = (Arc<Counts>, Arc<Intervals>);

impl Ledger {
    pub(crate) fn open(&self, space: u32) -> Account {
        let (counts, intervals) = (Arc::<Counts>::default(), Arc::new(Intervals::new()));
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        spaces.insert(space, (counts.clone(), intervals.clone()));
        (counts, intervals)
    }

    pub(crate) fn close(&self, space: u32) {
        self.spaces.write().unwrap_or_else(PoisonError::into_inner).remove(&space);
    }

    pub(crate) fn add(&self, entry: &Head, bytes: u64) {
        self.with(entry, |counts, intervals| {
            counts.entries.fetch_add(1, Ordering::Relaxed);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
            if is_pinned(entry, intervals) {
                counts.pinned_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        });
    }

    pub(crate) fn remove(&self, entry: &Head, bytes: u64, is_evicted: bool) {
        self.with(entry, |counts, intervals| {
            counts.entries.fetch_sub(1, Ordering::Relaxed);
            counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
            counts.evictions.fetch_add(u64::from(is_evicted), Ordering::Relaxed);
            if is_pinned(entry, intervals) {
                // Should the space forget everything at this moment, there is nothing to take it from.
                let less = |pinned: u64| Some(pinned.saturating_sub(bytes));
                let _ = counts.pinned_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
        });
    }

    /// Returns whether an entry may not go.
    pub(crate) fn is_pinned(&self, entry: &Head) -> bool {
        entry.is_pinned() && self.with(entry, |_, intervals| is_pinned(entry, intervals)).unwrap_or(false)
    }

    /// Returns what the pinned entries of all spaces occupy.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        spaces.values().map(|(counts, _)| counts.pinned_bytes.load(Ordering::Relaxed)).sum()
    }

    fn with<T>(&self, entry: &Head, f: impl FnOnce(&Counts, &Intervals) -> T) -> Option<T> {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        // What a space leaves behind when it is closed is nobody's any more.
        spaces.get(&entry.tenant().space()).map(|(counts, intervals)| f(counts, intervals))
    }
}

/// An entry is pinned for as long as it can still answer anybody.
fn is_pinned(entry: &Head, intervals: &Intervals) -> bool {
    entry.is_pinned() && entry.tenant().generation() == intervals.generation()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// More than have a counter of their own, and all at once.
    #[test]
    fn nothing_that_many_threads_count_is_lost() {
        const THREADS: usize = 3 * STRIPES;
        const TIMES: u64 = 1000;
        let (counter, all_there) = (Counter::default(), Barrier::new(THREADS));
        for round in 1..=2 {
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        counter.count();
                        all_there.wait();
                        (1..TIMES).for_each(|_| counter.count());
                    });
                }
            });
            assert_eq!(counter.total(), round * TIMES * THREADS as u64);
        }
        assert!(counter.others.load(Ordering::Relaxed) > 0, "some had none of their own");
        assert!(counter.own.iter().any(|stripe| stripe.load(Ordering::Relaxed) > 0));

        // One after the other has a counter of its own, because those before have left theirs.
        let counter = Counter::default();
        for _ in 0..THREADS {
            std::thread::scope(|scope| _ = scope.spawn(|| counter.count()));
        }
        assert_eq!((counter.total(), counter.others.load(Ordering::Relaxed)), (THREADS as u64, 0));
    }
}
