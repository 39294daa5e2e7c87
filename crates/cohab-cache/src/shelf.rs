//! Where entries lie until they have to make room: a quick_cache within a budget in bytes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use crate::counts::Ledger;
use crate::doorkeeper::Doorkeeper;
use crate::entry::Entry;

/// How often the budget is compared with what the bookkeeping has grown to, in fills.
const REBALANCE_EVERY: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Shelf {
    entries: Cache<u64, Entry, HeapBytes, Hashed, Account>,
    doorkeeper: Doorkeeper,
    /// What may be occupied, bookkeeping included.
    budget: AtomicU64,
    /// What entries may occupy, which is what the bookkeeping leaves.
    capacity: AtomicU64,
    account: Account,
    fills: AtomicU64,
}

impl Shelf {
    pub(crate) fn new(budget: usize, ledger: Arc<Ledger>) -> Self {
        // Each shard has its part of the budget, so few of them keep large values, and many keep threads apart.
        let shards = (budget >> 22).next_power_of_two().clamp(1, 64);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(budget / 512)
            .weight_capacity(budget as u64)
            .build()
            .expect("everything that has to be given is");
        let account = Account { occupied: Arc::default(), ledger };
        Self {
            entries: Cache::with_options(options, HeapBytes, Hashed, account.clone()),
            doorkeeper: Doorkeeper::new(budget),
            budget: AtomicU64::new(budget as u64),
            capacity: AtomicU64::new(budget as u64),
            account,
            fills: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<Entry> {
        self.entries.get(&hash)
    }

    /// Returns whether a key that was missed is worth its place.
    pub(crate) fn admits(&self, hash: u64) -> bool {
        self.has_room() || self.doorkeeper.admits(hash)
    }

    /// Returns whether it is so empty that nothing has to go for another entry.
    pub(crate) fn has_room(&self) -> bool {
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.occupied() < capacity - capacity / 16
    }

    /// Returns whether an entry of this size fits at all.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        (bytes as u64) < self.entries.shard_capacity() / 2
    }

    /// Puts an entry in, in the place of one of the same hash, and at the cost of others if there is no room.
    pub(crate) fn insert(&self, hash: u64, entry: Entry) {
        self.account.add(&entry);
        let gone = self.entries.insert_with_lifecycle(hash, entry);
        for (other, entry) in &gone {
            self.account.remove(entry, *other != hash);
        }
        if self.fills.fetch_add(1, Ordering::Relaxed) % REBALANCE_EVERY == REBALANCE_EVERY - 1 {
            self.rebalance();
        }
    }

    /// Takes the entry out if it is one that `condition` holds for.
    pub(crate) fn remove_if(&self, hash: u64, condition: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let (_, entry) = self.entries.remove_if(&hash, condition)?;
        self.account.remove(&entry, false);
        Some(entry)
    }

    /// Returns what entries occupy.
    pub(crate) fn occupied(&self) -> u64 {
        self.account.occupied.load(Ordering::Relaxed)
    }

    /// Returns what it occupies besides entries.
    pub(crate) fn bookkeeping(&self) -> u64 {
        (self.entries.memory_used().total() + self.doorkeeper.bytes()) as u64
    }

    pub(crate) fn set_budget(&self, budget: u64) {
        self.budget.store(budget, Ordering::Relaxed);
        self.rebalance();
    }

    /// Leaves to entries what the bookkeeping does not need.
    fn rebalance(&self) {
        let capacity = self.budget.load(Ordering::Relaxed).saturating_sub(self.bookkeeping()).max(1);
        let before = self.capacity.swap(capacity, Ordering::Relaxed);
        // Smaller steps are not worth the locks.
        if before.abs_diff(capacity) > before / 128 {
            self.entries.set_capacity(capacity);
        }
    }
}

/// An entry weighs what it occupies.
#[derive(Clone, Debug)]
struct HeapBytes;

impl Weighter<u64, Entry> for HeapBytes {
    fn weight(&self, _hash: &u64, entry: &Entry) -> u64 {
        entry.heap_bytes() as u64
    }
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug)]
struct Hashed;

#[derive(Clone, Copy, Debug)]
struct HashedKey(u64);

impl BuildHasher for Hashed {
    type Hasher = HashedKey;

    #[inline]
    fn build_hasher(&self) -> HashedKey {
        HashedKey(0)
    }
}

impl Hasher for HashedKey {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Keeps account of what comes and goes.
#[derive(Clone, Debug)]
struct Account {
    /// What the shelf's entries occupy.
    occupied: Arc<AtomicU64>,
    /// Whose they are.
    ledger: Arc<Ledger>,
}

impl Account {
    fn add(&self, entry: &Entry) {
        let bytes = entry.heap_bytes() as u64;
        self.occupied.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.add(entry.tenant().space(), bytes);
    }

    fn remove(&self, entry: &Entry, is_evicted: bool) {
        let bytes = entry.heap_bytes() as u64;
        self.occupied.fetch_sub(bytes, Ordering::Relaxed);
        self.ledger.remove(entry.tenant().space(), bytes, is_evicted);
    }
}

impl Lifecycle<u64, Entry> for Account {
    /// What had to go, so that it is freed after the lock was.
    type RequestState = SmallVec<[(u64, Entry); 2]>;

    fn is_pinned(&self, _hash: &u64, entry: &Entry) -> bool {
        entry.is_pinned()
    }

    fn begin_request(&self) -> Self::RequestState {
        SmallVec::new()
    }

    fn on_evict(&self, gone: &mut Self::RequestState, hash: u64, entry: Entry) {
        gone.push((hash, entry));
    }

    fn end_request(&self, gone: Self::RequestState) {
        for (_, entry) in &gone {
            self.remove(entry, true);
        }
    }
}
