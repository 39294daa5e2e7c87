//! Where entries lie until they have to make room: a quick_cache within a budget in bytes, and an index in front of it
//! that is read without locks.
//!
//! The shelf owns its entries. One leaves it in three steps: out of quick_cache, out of the index, and, when nobody is
//! left who was pinned by then and may be looking at it, out of memory.

#![expect(unsafe_code, reason = "entries are kept and found by their addresses")]

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::epoch::Guard;
use quick_cache::sync::Cache;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter};
use smallvec::SmallVec;

use crate::block::{Address, Entry, Head};
use crate::counts::Ledger;
use crate::doorkeeper::Doorkeeper;
use crate::index::Index;

/// How often the budget is compared with what the bookkeeping has grown to, in fills.
const REBALANCE_EVERY: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Shelf {
    entries: Cache<u64, Address, HeapBytes, Hashed, Account>,
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
        let account = Account { occupied: Arc::default(), index: Arc::new(Index::new(budget)), ledger };
        Self {
            entries: Cache::with_options(options, HeapBytes, Hashed, account.clone()),
            doorkeeper: Doorkeeper::new(budget),
            budget: AtomicU64::new(budget as u64),
            capacity: AtomicU64::new(budget as u64),
            account,
            fills: AtomicU64::new(0),
        }
    }

    /// Finds the entry of a hash that `is_it` holds for. It stays where it is for as long as the caller is pinned.
    #[inline]
    pub(crate) fn find<'g>(
        &self,
        hash: u64,
        _guard: &'g Guard,
        is_it: impl Fn(&Head) -> bool,
    ) -> Option<(Address, &'g Head)> {
        // SAFETY: an entry is freed after it was taken out of the index, by when the caller was pinned.
        let found = self.account.index.find(hash, |entry| is_it(unsafe { entry.head() }));
        let entry = match found {
            Some(entry) => entry,
            None if self.account.index.is_partial() => self.find_shelved(hash, is_it)?,
            None => return None,
        };
        // SAFETY: as above.
        let head = unsafe { entry.head() };
        if head.note_use() {
            // Once after quick_cache has looked, which is all that it needs to know.
            self.entries.get(&hash);
        }
        Some((entry, head))
    }

    /// Finds an entry that has no place in the index, and gives it one.
    #[cold]
    fn find_shelved(&self, hash: u64, is_it: impl Fn(&Head) -> bool) -> Option<Address> {
        let mut found = None;
        self.with(hash, |entry| {
            // SAFETY: the shelf owns it, and cannot let go of it now.
            found = is_it(unsafe { entry.head() }).then_some(entry);
            if found.is_some() {
                self.account.index.insert(hash, entry);
            }
        });
        found
    }

    /// Shows the entry of a hash while nobody can take it out.
    fn with(&self, hash: u64, f: impl FnOnce(Address)) {
        // Its way to run something under the shard's lock.
        self.entries.remove_if(&hash, |entry| {
            f(*entry);
            false
        });
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
        let entry = entry.into_address();
        self.account.add(entry);
        for (other, gone) in self.entries.insert_with_lifecycle(hash, entry) {
            self.account.remove(gone, other != hash);
        }
        self.with(hash, |entry| self.account.index.insert(hash, entry));
        let fills = self.fills.fetch_add(1, Ordering::Relaxed);
        if fills.is_power_of_two() || fills.is_multiple_of(REBALANCE_EVERY) {
            self.rebalance();
        }
    }

    /// Takes the entry out if it is one that `condition` holds for, and returns whether it was.
    pub(crate) fn remove_if(&self, hash: u64, condition: impl FnOnce(&Head) -> bool) -> bool {
        // SAFETY: the shelf owns it, and cannot let go of it while it looks.
        let removed = self.entries.remove_if(&hash, |entry| condition(unsafe { entry.head() }));
        let Some((_, entry)) = removed else { return false };
        self.account.index.remove(hash, entry);
        self.account.remove(entry, false);
        true
    }

    /// Returns what entries occupy.
    pub(crate) fn occupied(&self) -> u64 {
        self.account.occupied.load(Ordering::Relaxed)
    }

    /// Returns what it occupies besides entries.
    pub(crate) fn bookkeeping(&self) -> u64 {
        let policy = self.entries.memory_used().total();
        (policy + self.doorkeeper.bytes() + self.account.index.bytes()) as u64
    }

    pub(crate) fn set_budget(&self, budget: u64) {
        self.budget.store(budget, Ordering::Relaxed);
        self.rebalance();
    }

    /// Leaves to entries what the bookkeeping does not need.
    fn rebalance(&self) {
        let capacity = self.budget.load(Ordering::Relaxed).saturating_sub(self.bookkeeping()).max(1);
        let before = self.capacity.load(Ordering::Relaxed);
        // Smaller steps are not worth the locks.
        if before.abs_diff(capacity) > before / 128 {
            self.capacity.store(capacity, Ordering::Relaxed);
            // What has to go is not freed under the locks.
            let _guard = crossbeam::epoch::pin();
            self.entries.set_capacity(capacity);
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        for (_, entry) in self.entries.drain() {
            // SAFETY: the shelf owns it, and nobody has the shelf any more to find it with.
            drop(unsafe { entry.into_entry() });
        }
    }
}

/// An entry weighs what it occupies.
#[derive(Clone, Debug)]
struct HeapBytes;

impl Weighter<u64, Address> for HeapBytes {
    fn weight(&self, _hash: &u64, entry: &Address) -> u64 {
        // SAFETY: asked for entries in the shelf, which owns them.
        unsafe { entry.heap_bytes() as u64 }
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
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
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
    index: Arc<Index>,
    /// Whose they are.
    ledger: Arc<Ledger>,
}

impl Account {
    fn add(&self, entry: Address) {
        // SAFETY: the caller has just made it.
        let (bytes, head) = unsafe { (entry.heap_bytes() as u64, entry.head()) };
        self.occupied.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.add(head, bytes);
    }

    /// Accounts for an entry that is neither in quick_cache nor in the index any more, and has it freed.
    fn remove(&self, entry: Address, is_evicted: bool) {
        // SAFETY: it has been taken out, by the caller alone.
        let (bytes, head) = unsafe { (entry.heap_bytes(), entry.head()) };
        self.occupied.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.ledger.remove(head, bytes as u64, is_evicted);
        let guard = crossbeam::epoch::pin();
        // SAFETY: it is found no more, and runs when those who have found it are pinned no more.
        let entry = unsafe { entry.into_entry() };
        guard.defer(move || drop(entry));
    }
}

impl Lifecycle<u64, Address> for Account {
    /// What had to go, so that it is accounted for after the lock was let go of.
    type RequestState = SmallVec<[(u64, Address); 2]>;

    fn is_pinned(&self, _hash: &u64, entry: &Address) -> bool {
        // SAFETY: asked for entries in the shelf, which owns them.
        let head = unsafe { entry.head() };
        // Whatever was used since the last look has another chance.
        head.was_used() || self.ledger.is_pinned(head)
    }

    fn begin_request(&self) -> Self::RequestState {
        SmallVec::new()
    }

    fn on_evict(&self, gone: &mut Self::RequestState, hash: u64, entry: Address) {
        // Under the shard's lock, as whoever puts one into the index is.
        self.index.remove(hash, entry);
        gone.push((hash, entry));
    }

    fn end_request(&self, gone: Self::RequestState) {
        for (_, entry) in gone {
            self.remove(entry, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use cohab_core::Version;

    use super::*;
    use crate::block::{Label, Tenant};
    use crate::counts::Counts;

    const TENANT: Tenant = Tenant::new(0, 0);

    fn label(key: &[u8]) -> Label<'_> {
        Label { valid_from: Version::new(1), tenant: TENANT, is_pinned: false, key }
    }

    fn shelf(budget: usize) -> (Shelf, Arc<Counts>) {
        let ledger = Arc::<Ledger>::default();
        let (counts, _) = ledger.open(TENANT.space());
        (Shelf::new(budget, ledger), counts)
    }

    fn insert(shelf: &Shelf, hash: u64, len: usize) {
        shelf.insert(hash, Entry::stored(&label(&hash.to_le_bytes()), Some(&vec![1; len])));
    }

    fn has(shelf: &Shelf, hash: u64) -> bool {
        let is_it = |head: &Head| head.is_of(TENANT, &hash.to_le_bytes());
        shelf.find(hash, &crossbeam::epoch::pin(), is_it).is_some()
    }

    /// Numbers that look random, as hashes do (`SplitMix64`).
    fn hashes(count: u64) -> impl Iterator<Item = u64> {
        (1..=count).map(|i| {
            let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    #[test]
    fn what_finds_no_place_in_the_index_is_found_all_the_same() {
        let (shelf, _) = shelf(1 << 20);
        let of_one_bucket: Vec<u64> = (0..20).map(|i| i << 48 | i << 20 | 5).collect();
        for hash in &of_one_bucket {
            insert(&shelf, *hash, 10);
        }
        for _ in 0..2 {
            for hash in &of_one_bucket {
                assert!(has(&shelf, *hash), "{hash:x}");
                // And has a place then.
                let is_it = |entry: Address| {
                    // SAFETY: the shelf owns it and lets nothing go here.
                    unsafe { entry.head() }.is_of(TENANT, &hash.to_le_bytes())
                };
                assert!(shelf.account.index.find(*hash, is_it).is_some(), "{hash:x}");
            }
        }
        assert!(!has(&shelf, 77 << 48 | 5));
        // Another may have the hash.
        assert!(shelf.find(of_one_bucket[3], &crossbeam::epoch::pin(), |_| false).is_none());
    }

    #[test]
    fn nothing_else_is_asked_as_long_as_the_index_knows_all() {
        let (shelf, _) = shelf(1 << 20);
        insert(&shelf, 5, 10);
        let is_it = |entry: Address| {
            shelf.account.index.remove(5, entry);
            true
        };
        assert!(shelf.account.index.find(5, is_it).is_some());
        assert!(!has(&shelf, 5), "that it is there, only the index could have said");
    }

    #[test]
    fn what_comes_and_goes_is_accounted_for() {
        let (shelf, counts) = shelf(1 << 20);
        let state = || [get(&counts.entries), get(&counts.bytes), get(&counts.evictions), shelf.occupied()];
        insert(&shelf, 1, 100);
        let [.., one] = state();
        assert!(one > 100);
        assert_eq!(state(), [1, one, 0, one]);
        insert(&shelf, 2, 100);
        assert_eq!(state(), [2, 2 * one, 0, 2 * one]);
        // In the place of another: that is no eviction.
        insert(&shelf, 2, 100);
        assert_eq!(state(), [2, 2 * one, 0, 2 * one]);
        assert!(!shelf.remove_if(2, |_| false) && !shelf.remove_if(3, |_| true));
        assert_eq!(state(), [2, 2 * one, 0, 2 * one]);
        assert!(shelf.remove_if(2, |head| head.is_of(TENANT, &2_u64.to_le_bytes())));
        assert_eq!(state(), [1, one, 0, one]);
        assert!(!has(&shelf, 2) && has(&shelf, 1));

        // More than there is room for.
        let count = 2 * (1 << 20) / one;
        hashes(count).for_each(|hash| insert(&shelf, hash, 100));
        let [entries, bytes, evictions, occupied] = state();
        assert_eq!((entries + evictions, entries * one, bytes), (count + 1, bytes, occupied));
        assert!(evictions > count / 3, "{evictions} of {count}");
        assert_eq!(hashes(count).chain([1]).filter(|hash| has(&shelf, *hash)).count() as u64, entries);
        assert!(occupied + shelf.bookkeeping() <= 1 << 20);
    }

    #[test]
    fn there_is_room_until_a_sixteenth_is_left() {
        let (shelf, _) = shelf(1 << 20);
        let mut before = 0;
        for hash in hashes(100_000) {
            let (capacity, occupied) = (get(&shelf.capacity), shelf.occupied());
            let full = capacity - capacity / 16;
            assert_eq!(shelf.has_room(), occupied < full, "{occupied} of {capacity}");
            // As long as there is, everything is let in.
            assert_eq!(shelf.admits(hash), occupied < full);
            if occupied >= full {
                assert!(before < full);
                assert!(shelf.admits(hash), "comes again");
                return;
            }
            before = occupied;
            insert(&shelf, hash, 300);
        }
        unreachable!("it is full some time");
    }

    #[test]
    fn the_last_sixteenth_is_no_room() {
        let (shelf, _) = shelf(1 << 20);
        (1..=15).for_each(|hash| insert(&shelf, hash, 100));
        shelf.capacity.store(shelf.occupied() / 15 * 16, Ordering::Relaxed);
        assert!(!shelf.has_room());
        shelf.capacity.fetch_add(2, Ordering::Relaxed);
        assert!(shelf.has_room());
    }

    #[test]
    fn what_takes_less_than_half_of_a_shard_fits() {
        for budget in [1 << 16, 1 << 20, 64 << 20] {
            let (shelf, _) = shelf(budget);
            let half = usize::try_from(shelf.entries.shard_capacity() / 2).expect("is small");
            assert!(half * 2 * ((budget >> 22).max(1)) <= budget + (1 << 12), "{half} of {budget}");
            assert!(half >= (budget / 2).min(1 << 20), "{half} of {budget}");
            assert!(shelf.fits(half - 1) && !shelf.fits(half), "{half} of {budget}");
        }
    }

    #[test]
    fn what_the_bookkeeping_takes_is_not_left_to_entries() {
        let (shelf, _) = shelf(1 << 20);
        let left = |budget: u64| budget - shelf.bookkeeping();
        let is_near = |a: u64, b: u64| a.abs_diff(b) <= b / 64;
        assert_eq!(get(&shelf.capacity), 1 << 20);
        insert(&shelf, 1, 10);
        assert!(shelf.bookkeeping() > 1 << 15, "the index came with the first one");
        assert_eq!(get(&shelf.capacity), left(1 << 20));
        let before = get(&shelf.capacity);
        for hash in hashes(3 * REBALANCE_EVERY) {
            insert(&shelf, hash, 0);
        }
        assert!(before > get(&shelf.capacity), "it has grown");
        assert!(is_near(get(&shelf.capacity), left(1 << 20)));

        // Small steps are not worth the trouble.
        let before = get(&shelf.capacity);
        shelf.set_budget(before + shelf.bookkeeping() - before / 128);
        assert_eq!(get(&shelf.capacity), before);
        shelf.set_budget(before + shelf.bookkeeping() - before / 100);
        assert_eq!(get(&shelf.capacity), before - before / 100);
        shelf.set_budget(1 << 19);
        assert!(is_near(get(&shelf.capacity), left(1 << 19)));
        assert!(shelf.occupied() <= get(&shelf.capacity), "what is too much has gone");
        shelf.set_budget(0);
        assert_eq!((get(&shelf.capacity), shelf.occupied()), (1, 0));
    }

    /// What is read again and again stays, and what was is in nobody's way.
    #[test]
    fn what_is_used_stays() {
        let (shelf, counts) = shelf(1 << 16);
        let (used, forgotten) = (hashes(40).collect::<Vec<_>>(), hashes(80).skip(40).collect::<Vec<_>>());
        used.iter().chain(&forgotten).for_each(|hash| insert(&shelf, *hash, 100));
        assert!(forgotten.iter().all(|hash| has(&shelf, *hash)));
        for (count, hash) in hashes(20_000).skip(80).enumerate() {
            insert(&shelf, hash, 100);
            if count % 50 == 0 {
                assert!(used.iter().all(|hash| has(&shelf, *hash)), "after {count}");
            }
        }
        // As many as there is room for if those go that nobody reads any more.
        let others: Vec<_> = hashes(get(&counts.entries) + 20).skip(80).collect();
        for round in 0..10 {
            for hash in &others {
                if !has(&shelf, *hash) {
                    insert(&shelf, *hash, 100);
                }
            }
            assert!(used.iter().all(|hash| has(&shelf, *hash)), "in round {round}");
        }
        let found = |hashes: &[u64]| hashes.iter().filter(|hash| has(&shelf, **hash)).count();
        assert_eq!(found(&others), others.len());
        assert!(found(&forgotten) < forgotten.len() - 10);
    }

    #[test]
    fn what_is_left_goes_with_the_shelf() {
        let value: Arc<dyn Any + Send + Sync> = Arc::new(7);
        let (shelf, _) = shelf(1 << 16);
        for hash in hashes(10) {
            shelf.insert(hash, Entry::decoded(&label(&hash.to_le_bytes()), Some(value.clone()), 8));
        }
        assert_eq!(Arc::strong_count(&value), 11);
        drop(shelf);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    /// quick_cache hashes nothing but the keys, which are hashes.
    #[test]
    fn a_hash_is_hashed_to_itself_and_bytes_to_something() {
        assert_eq!(Hashed.hash_one(0x0123_4567_89ab_cdef_u64), 0x0123_4567_89ab_cdef);
        let mut hasher = Hashed.build_hasher();
        hasher.write(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(hasher.finish(), 0x0102_0304_0506_0708);
        hasher.write(&[3]);
        assert_eq!(hasher.finish(), 0x0203_0405_0607_0802);
    }
}
