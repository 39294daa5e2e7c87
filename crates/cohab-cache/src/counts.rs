//! What happened, counted without threads getting in each other's way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam::utils::CachePadded;

/// Threads beyond this many share a counter with another.
const STRIPES: usize = 16;

/// A counter with a cache line for each thread.
#[derive(Debug, Default)]
pub(crate) struct Counter([CachePadded<AtomicU64>; STRIPES]);

impl Counter {
    #[inline]
    pub(crate) fn count(&self) {
        thread_local!(static STRIPE: usize = stripe());
        // While a thread ends its stripe may be gone; any will do.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
        self.0[stripe].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.load(Ordering::Relaxed)).sum()
    }
}

fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
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
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// The counts of all spaces that are in use, by their number.
#[derive(Debug, Default)]
pub(crate) struct Ledger(RwLock<HashMap<u32, Arc<Counts>>>);

impl Ledger {
    pub(crate) fn open(&self, space: u32) -> Arc<Counts> {
        let counts = Arc::<Counts>::default();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(space, counts.clone());
        counts
    }

    pub(crate) fn close(&self, space: u32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&space);
    }

    pub(crate) fn add(&self, space: u32, bytes: u64) {
        self.with(space, |counts| {
            counts.entries.fetch_add(1, Ordering::Relaxed);
            counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        });
    }

    pub(crate) fn remove(&self, space: u32, bytes: u64, is_evicted: bool) {
        self.with(space, |counts| {
            counts.entries.fetch_sub(1, Ordering::Relaxed);
            counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
            counts.evictions.fetch_add(u64::from(is_evicted), Ordering::Relaxed);
        });
    }

    fn with(&self, space: u32, f: impl FnOnce(&Counts)) {
        // What a space leaves behind when it is closed is nobody's any more.
        if let Some(counts) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&space) {
            f(counts);
        }
    }
}
