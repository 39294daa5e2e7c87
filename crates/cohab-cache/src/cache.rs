//! A process's cache: the budget, and the spaces that share it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_inline};

use crate::counts::Ledger;
use crate::shelf::Shelf;
use crate::space::Space;
use crate::sync::{Mutex, PoisonError};

/// How many locks fills and invalidations share, each key having one of them.
const LOCKS: usize = 64;

/// How the entries of a space are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Policy {
    /// Within the cache's common budget.
    #[default]
    Shared,
    /// Within a budget of its own, in bytes, which the common one is reduced by. It gets what is left if that is less.
    Own(usize),
    /// Within the common budget, but never evicted for others' sake. Half of the budget at most is kept like this;
    /// what is beyond it is kept as if it were [`Shared`](Self::Shared).
    Pinned,
    /// Not at all.
    Off,
}

/// A cache that any number of stores and threads share. Clones are the same cache.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) common: Shelf,
    pub(crate) ledger: Arc<Ledger>,
    budget: usize,
    /// What the common shelf was reduced by.
    reserved: Mutex<usize>,
    next_space: AtomicU32,
    /// Unknown outside, so that nobody can choose keys that meet in one place.
    secrets: RapidSecrets,
    locks: Box<[CachePadded<Mutex<()>>]>,
}

impl Cache {
    /// Makes a cache that occupies up to so many bytes, bookkeeping included. Nothing is allocated beforehand.
    pub fn new(bytes: usize) -> Self {
        let ledger = Arc::<Ledger>::default();
        let shared = Shared {
            common: Shelf::new(bytes, ledger.clone()),
            ledger,
            budget: bytes,
            reserved: Mutex::new(0),
            next_space: AtomicU32::new(0),
            secrets: RapidSecrets::seed(RandomState::new().hash_one(0)),
            locks: (0..LOCKS).map(|_| CachePadded::new(Mutex::new(()))).collect(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns how many bytes it may occupy.
    pub fn budget(&self) -> usize {
        self.shared.budget
    }

    /// Returns how many bytes it occupies, bookkeeping included, but for spaces with a budget of their own.
    pub fn bytes(&self) -> u64 {
        self.shared.common.occupied() + self.shared.common.bookkeeping()
    }

    /// Makes a space for the entries of one namespace of one store.
    ///
    /// When the space is dropped its entries can be found no more; they go as others need their room.
    pub fn space(&self, policy: Policy) -> Space {
        Space::new(self.shared.clone(), policy)
    }
}

impl Shared {
    /// Returns a number that no other space has.
    pub(crate) fn number(&self) -> u32 {
        self.next_space.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        rapidhash_v3_inline::<true, false, false>(key, &self.secrets)
    }

    /// Runs a fill or an invalidation of a key alone.
    pub(crate) fn alone<T>(&self, hash: u64, f: impl FnOnce() -> T) -> T {
        let lock = &self.locks[(hash >> 32) as usize % LOCKS];
        let _alone = lock.lock().unwrap_or_else(PoisonError::into_inner);
        f()
    }

    /// Takes a part of the common budget away, as far as there is one.
    pub(crate) fn reserve(&self, bytes: usize) -> usize {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let granted = bytes.min(self.budget - *reserved);
        *reserved += granted;
        self.common.set_budget((self.budget - *reserved) as u64);
        granted
    }

    /// Gives a part of the common budget back.
    pub(crate) fn release(&self, bytes: usize) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        *reserved -= bytes;
        self.common.set_budget((self.budget - *reserved) as u64);
    }

    /// Returns how much may be pinned.
    pub(crate) fn pinned_max(&self) -> u64 {
        self.budget as u64 / 2
    }
}

#[cfg(test)]
mod tests {
    use cohab_core::Version;

    use super::*;
    use crate::At;

    const AT: At = At { version: Version::new(1), changed: Version::new(1) };

    /// Fills a space with far more than the cache has room for.
    fn flood(space: &Space) {
        for key in 0..8000_u32 {
            for _ in 0..2 {
                space.fill(&key.to_be_bytes(), Some((Version::new(1), &[7; 300])), AT);
            }
        }
    }

    #[test]
    fn a_cache_says_what_it_may_occupy_and_what_it_does() {
        let cache = Cache::new(1 << 20);
        assert_eq!(cache.budget(), 1 << 20);
        let (one, other) = (cache.space(Policy::Shared), cache.space(Policy::Shared));
        flood(&one);
        flood(&other);
        let entries = one.stats().bytes + other.stats().bytes;
        assert!(one.stats().bytes > 0 && other.stats().bytes > 0);
        assert_eq!(cache.bytes(), entries + cache.shared.common.bookkeeping());
        assert!(entries > 1 << 19 && cache.bytes() <= 1 << 20, "{entries} of {}", cache.bytes());
    }

    #[test]
    fn what_some_have_of_their_own_is_missing_from_what_is_common_until_it_is_given_back() {
        let (cache, common) = (Cache::new(1 << 20), 1 << 20);
        let (shared, reserved) =
            (cache.space(Policy::Shared), || *cache.shared.reserved.lock().expect("works"));
        flood(&shared);
        assert!(cache.bytes() > common / 100 * 85);
        let first = cache.space(Policy::Own(600 << 10));
        assert_eq!(reserved(), 600 << 10);
        assert!(cache.bytes() <= common - (600 << 10), "what is too much is gone");
        // There is less left than it asks for.
        let second = cache.space(Policy::Own(600 << 10));
        assert_eq!(reserved(), 1 << 20);
        flood(&shared);
        assert!(cache.bytes() <= common / 5, "little but the bookkeeping: {}", cache.bytes());
        for (own, budget) in [(&first, 600), (&second, 424)] {
            flood(own);
            let bytes = own.stats().bytes;
            assert!(bytes <= budget << 10 && bytes > budget << 9, "{bytes} of {budget} KiB");
        }
        drop(second);
        assert_eq!(reserved(), 600 << 10);
        flood(&shared);
        let bytes = cache.bytes();
        assert!(bytes <= common - (600 << 10) && bytes > common / 4, "{bytes}");
        first.retire();
        first.retire();
        assert_eq!((reserved(), first.stats().entries), (0, 0));
        flood(&shared);
        assert!(cache.bytes() > common / 100 * 85);
    }

    #[test]
    fn spaces_are_told_apart_and_keys_too() {
        let cache = Cache::new(1 << 20);
        let spaces = [cache.space(Policy::Shared), cache.space(Policy::Shared), cache.space(Policy::Shared)];
        for space in &spaces {
            space.advance(AT, |_, _| true);
        }
        for key in 0..100_u32 {
            assert!(spaces[1].fill(&key.to_be_bytes(), Some((Version::new(1), &key.to_le_bytes())), AT));
        }
        for key in 0..100_u32 {
            let found = spaces[1].get(&key.to_be_bytes(), AT);
            assert_eq!(found, crate::Lookup::Value(key.to_le_bytes().to_vec().into()));
        }
        assert_eq!(spaces.map(|space| space.stats().entries), [0, 100, 0]);
    }

    /// Or they would wait here for ever.
    #[test]
    fn keys_of_different_locks_do_not_wait_for_each_other() {
        let shared = &Cache::new(0).shared;
        let nested = (0..LOCKS as u64).fold(0, |depth, lock| {
            shared.alone(lock << 32, || depth + shared.alone(((lock + 1) % LOCKS as u64 + 64) << 32, || 1))
        });
        assert_eq!(nested, LOCKS);
    }
}
