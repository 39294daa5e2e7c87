//! The entries of one namespace.

#![expect(unsafe_code, reason = "entries are found by their addresses")]

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cohab_core::limits::KEY_BYTES_MAX;
use cohab_core::{Version, planted};
use crossbeam::epoch::Guard;

use crate::block::{Address, Entry, Head, Label, Lookup, Tenant, chunk};
use crate::cache::{Policy, Shared};
use crate::counts::Counts;
use crate::intervals::{Advance, At, Intervals};
use crate::shelf::Shelf;

/// How many types the values of one space may be decoded as.
const TYPES_MAX: usize = 8;

/// A value of so many bytes is not freed along with others, but as soon as it can be.
const LARGE: usize = 4 << 10;

/// What is cached of one namespace of one store. Shared by all threads of the process.
#[derive(Debug)]
pub struct Space {
    shared: Arc<Shared>,
    /// There if the space has a budget of its own.
    own: Option<Own>,
    policy: Policy,
    number: u32,
    intervals: Arc<Intervals>,
    counts: Arc<Counts>,
    /// The types that values are kept decoded as; each has places of its own.
    types: [OnceLock<TypeId>; TYPES_MAX],
}

#[derive(Debug)]
struct Own {
    shelf: Shelf,
    /// What the common shelf was reduced by for it, until that is given back.
    granted: AtomicUsize,
}

/// What happened in a space so far, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that an entry answered.
    pub hits: u64,
    /// Reads that none did.
    pub misses: u64,
    /// Entries that were refused because they would have been stale: found by a read of another version, or read from
    /// a snapshot that a commit had overtaken.
    pub refusals: u64,
    /// Entries that went for others' sake.
    pub evictions: u64,
    /// Entries that went because their key was written.
    pub invalidations: u64,
    /// How often all entries went at once, because it was not known which keys were written.
    pub floors: u64,
    /// How many entries there are.
    pub entries: u64,
    /// What they occupy, in bytes, without the cache's bookkeeping.
    pub bytes: u64,
    /// The version through which the entries are right.
    pub horizon: Version,
}

impl Space {
    pub(crate) fn new(shared: Arc<Shared>, policy: Policy) -> Self {
        let number = shared.number();
        let (counts, intervals) = shared.ledger.open(number);
        let own = match policy {
            Policy::Own(bytes) => {
                let granted = shared.reserve(bytes);
                Some(Own {
                    shelf: Shelf::new(granted, shared.ledger.clone()),
                    granted: AtomicUsize::new(granted),
                })
            }
            Policy::Shared | Policy::Pinned | Policy::Off => None,
        };
        Self { shared, own, policy, number, intervals, counts, types: [const { OnceLock::new() }; TYPES_MAX] }
    }

    /// Returns how its entries are kept.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Returns whether it keeps entries at all.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.policy != Policy::Off
    }

    /// Returns the version through which the entries are right.
    pub fn horizon(&self) -> Version {
        self.intervals.horizon()
    }

    /// Returns whether a read has to [`advance`](Self::advance) the horizon first, to be answered.
    #[inline]
    pub fn is_behind(&self, at: At) -> bool {
        at.changed > self.intervals.horizon()
    }

    /// Answers a read, if there is an entry that holds for it, with a reference count of the value.
    ///
    /// Cost: one probe; neither a system call nor an allocation nor a lock.
    #[inline]
    pub fn get(&self, key: &[u8], at: At) -> Lookup<Bytes> {
        match self.lend(key, at, &crossbeam::epoch::pin()) {
            Lookup::Value(value) => Lookup::Value(value.clone()),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unknown => Lookup::Unknown,
        }
    }

    /// Answers a read by lending the value out for as long as the caller is [pinned](crate::pin).
    ///
    /// That is no lock, but what is dropped from the cache meanwhile is freed only afterwards.
    #[inline]
    pub fn lend<'g>(&self, key: &[u8], at: At, guard: &'g Guard) -> Lookup<&'g Bytes> {
        self.counted(self.probe(key, 0, at, guard).map_or(Lookup::Unknown, |(_, head)| head.value()))
    }

    /// Answers a read with the value as it was decoded by `C`, if it was kept like that.
    #[inline]
    pub fn get_decoded<V: Send + Sync + 'static, C: 'static>(&self, key: &[u8], at: At) -> Lookup<Arc<V>> {
        let guard = crossbeam::epoch::pin();
        let found = self.place_of::<(V, C)>(false).and_then(|place| self.probe(key, place, at, &guard));
        self.counted(found.map_or(Lookup::Unknown, |(entry, _)| {
            // SAFETY: found while pinned, which this still is.
            unsafe { entry.decoded() }
        }))
    }

    #[inline]
    fn probe<'g>(&self, key: &[u8], place: u64, at: At, guard: &'g Guard) -> Option<(Address, &'g Head)> {
        let generation = self.intervals.answering(at)?;
        let tenant = Tenant::new(self.number, generation);
        let (entry, head) =
            self.shelf().find(self.hash(key, tenant, place), guard, |head| head.is_of(tenant, key))?;
        if head.valid_from() > at.version && !planted!(SnapshotReadsNewer) {
            Counts::add(&self.counts.refusals, 1);
            return None;
        }
        Some((entry, head))
    }

    #[inline]
    fn counted<T>(&self, found: Lookup<T>) -> Lookup<T> {
        if !matches!(found, Lookup::Unknown) {
            self.counts.hits.count();
        }
        found
    }

    /// Counts a read that went to the store.
    pub fn note_miss(&self) {
        Counts::add(&self.counts.misses, 1);
    }

    /// Keeps what a read from a snapshot found: a value and the version that set it, or that there is none.
    ///
    /// `at` is the snapshot's. Returns whether it was kept; not if the namespace has changed since the snapshot, and
    /// not if a full cache sees the key for the first time.
    pub fn fill(&self, key: &[u8], found: Option<(Version, &[u8])>, at: At) -> bool {
        let value_len = found.map_or(0, |(_, value)| value.len());
        self.put(key, 0, found.map(|(version, _)| version), at, value_len, |head| {
            Entry::stored(head, found.map(|(_, value)| value))
        })
    }

    /// Keeps a value decoded, as [`fill`](Self::fill) does. `value_bytes` is what it occupies, as near as is known.
    ///
    /// A space keeps values in eight types at most, a type being what a codec makes of the bytes; those of further ones are not kept.
    pub fn fill_decoded<V: Send + Sync + 'static, C: 'static>(
        &self,
        key: &[u8],
        found: Option<(Version, Arc<V>)>,
        value_bytes: usize,
        at: At,
    ) -> bool {
        let Some(place) = self.place_of::<(V, C)>(true) else { return false };
        let version = found.as_ref().map(|(version, _)| *version);
        let value = found.map(|(_, value)| value as Arc<dyn Any + Send + Sync>);
        let value_bytes = if value.is_some() { chunk(value_bytes + size_of::<[usize; 2]>()) } else { 0 };
        self.put(key, place, version, at, value_bytes, |head| Entry::decoded(head, value, value_bytes))
    }

    fn put(
        &self,
        key: &[u8],
        place: u64,
        version: Option<Version>,
        at: At,
        value_len: usize,
        entry: impl FnOnce(&Label<'_>) -> Entry,
    ) -> bool {
        if !self.is_on() || key.len() > KEY_BYTES_MAX || !self.shelf().fits(key.len() + value_len + 128) {
            return false;
        }
        // An absent key has been absent since the namespace last changed, at least.
        let valid_from = version.unwrap_or(at.changed);
        debug_assert!(valid_from <= at.changed && at.changed <= at.version, "{valid_from:?} {at:?}");
        let hash = self.shared.hash(key);
        let is_pinned =
            self.policy == Policy::Pinned && self.shared.ledger.pinned_bytes() < self.shared.pinned_max();
        if !is_pinned && !self.shelf().admits(hash ^ place) {
            return false;
        }
        // Pinned all along: freeing what others have let go of may run their code, which is not to be under a lock.
        let guard = crossbeam::epoch::pin();
        let is_kept = self.shared.alone(hash, || {
            let Some(generation) = self.intervals.filling(at) else { return false };
            let tenant = Tenant::new(self.number, generation);
            let entry = entry(&Label { valid_from, tenant, is_pinned, key });
            self.shelf().insert(mix(hash, tenant, place), entry);
            true
        });
        if !is_kept {
            Counts::add(&self.counts.refusals, 1);
        } else if value_len >= LARGE {
            // What had to go for it is as large, perhaps, and not to be left for later.
            drop(guard);
            crossbeam::epoch::pin().flush();
        }
        is_kept
    }

    /// Moves the horizon to where a snapshot stands.
    ///
    /// If the namespace has changed on the way, `touched` is called with the version to begin after, and with a
    /// function to be called for each key that was written and the version that did. It returns whether it knew of
    /// all of them; if not, no entry there is answers any more. Whoever comes meanwhile to advance it, too, waits.
    ///
    /// Cost: what `touched` costs, and some hundred nanoseconds for each key.
    pub fn advance(&self, to: At, touched: impl FnOnce(Version, &mut dyn FnMut(&[u8], Version)) -> bool) {
        let advance = self
            .intervals
            .advance(to, |since| touched(since, &mut |key, version| self.drop_key(key, version)));
        if advance == Advance::Raised {
            Counts::add(&self.counts.floors, 1);
            self.counts.pinned_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Drops what was known of a key before a version.
    fn drop_key(&self, key: &[u8], version: Version) {
        let hash = self.shared.hash(key);
        let gone = self.shared.alone(hash, || {
            // Under the lock, so that whoever filled before has filled this generation.
            let tenant = Tenant::new(self.number, self.intervals.generation());
            let is_outdated = |head: &Head| head.is_of(tenant, key) && head.valid_from() < version;
            // For the same reason a type which was new to whoever filled before is among them.
            let types = self.types.iter().take_while(|known| known.get().is_some()).count();
            let places = 0..=types as u64;
            places.filter(|place| self.shelf().remove_if(mix(hash, tenant, *place), is_outdated)).count()
        });
        Counts::add(&self.counts.invalidations, gone as u64);
    }

    /// Lets no entry that there is at present answer any more.
    pub fn clear(&self) {
        self.intervals.forget();
        self.counts.pinned_bytes.store(0, Ordering::Relaxed);
    }

    /// Lets go of everything for good, while others may still have it: what it had is there for other spaces.
    pub fn retire(&self) {
        self.clear();
        if let Some(own) = &self.own {
            let _guard = crossbeam::epoch::pin();
            let granted = own.granted.swap(0, Ordering::AcqRel);
            own.shelf.set_budget(0);
            self.shared.release(granted);
        }
    }

    /// Returns whether there is room without anything having to go.
    pub fn has_room(&self) -> bool {
        self.is_on() && self.shelf().has_room()
    }

    /// Returns what happened so far, and what it holds.
    pub fn stats(&self) -> Stats {
        let counts = &*self.counts;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: counts.hits.total(),
            misses: get(&counts.misses),
            refusals: get(&counts.refusals),
            evictions: get(&counts.evictions),
            invalidations: get(&counts.invalidations),
            floors: get(&counts.floors),
            entries: get(&counts.entries),
            bytes: get(&counts.bytes),
            horizon: self.horizon(),
        }
    }

    #[inline]
    fn shelf(&self) -> &Shelf {
        self.own.as_ref().map_or(&self.shared.common, |own| &own.shelf)
    }

    #[inline]
    fn hash(&self, key: &[u8], tenant: Tenant, place: u64) -> u64 {
        mix(self.shared.hash(key), tenant, place)
    }

    /// Returns the place of values of a type; 0 is for bytes. A new type gets one, if it is to and there is one left.
    fn place_of<T: 'static>(&self, is_new: bool) -> Option<u64> {
        let id = TypeId::of::<T>();
        let is_its = |known: &OnceLock<TypeId>| {
            let known = if is_new { Some(known.get_or_init(|| id)) } else { known.get() };
            known == Some(&id)
        };
        self.types.iter().position(is_its).map(|index| index as u64 + 1)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.shared.ledger.close(self.number);
        self.retire();
    }
}

/// Where an entry lies: a key's hash, for each tenant and type another.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn mix(hash: u64, tenant: Tenant, place: u64) -> u64 {
    let product = u128::from(hash ^ place) * u128::from(tenant.get() ^ 0x9E37_79B9_7F4A_7C15);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cache;

    const fn at(version: u64) -> At {
        At { version: Version::new(version), changed: Version::new(version) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as what is found")]
    fn value(bytes: &[u8]) -> Option<(Version, &[u8])> {
        Some((Version::new(1), bytes))
    }

    /// A space at version 1, of a cache with room for many small entries.
    fn space(policy: Policy) -> (Cache, Space) {
        let cache = Cache::new(1 << 20);
        let space = cache.space(policy);
        space.advance(at(1), |_, _| true);
        (cache, space)
    }

    fn pinned_bytes(space: &Space) -> u64 {
        space.counts.pinned_bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn a_space_that_is_off_keeps_nothing() {
        let policies = [Policy::Shared, Policy::Own(1 << 19), Policy::Pinned, Policy::Off];
        for policy in policies {
            let (_cache, space) = space(policy);
            let is_on = policy != Policy::Off;
            assert_eq!((space.policy(), space.is_on(), space.has_room()), (policy, is_on, is_on));
            assert_eq!(space.fill(b"key", value(b"v"), at(1)), is_on);
            assert_eq!(space.get(b"key", at(1)) == Lookup::Value("v".into()), is_on);
            assert_eq!(space.stats().entries, u64::from(is_on));
        }
    }

    #[test]
    fn everything_that_happens_is_counted() {
        let (_cache, space) = space(Policy::Shared);
        space.fill(b"key", value(b"v"), at(1));
        space.fill(b"absent", None, at(1));
        space.note_miss();
        assert_eq!(space.get(b"nothing", at(1)), Lookup::Unknown);
        assert_eq!(space.get(b"key", at(1)), Lookup::Value("v".into()));
        assert_eq!(space.get(b"absent", at(1)), Lookup::Absent);
        // From before it was set.
        assert_eq!(space.get(b"key", at(0)), Lookup::Unknown);
        let Stats { hits, misses, refusals, evictions, invalidations, floors, entries, bytes, horizon } =
            space.stats();
        assert_eq!(
            [hits, misses, refusals, evictions, invalidations, floors, entries],
            [2, 1, 1, 0, 0, 0, 2]
        );
        assert!(bytes > 2 * 48 && bytes < 2 * 200, "{bytes}");
        assert_eq!(horizon, Version::new(1));

        assert!(space.is_behind(at(2)) && !space.is_behind(at(1)) && !space.is_behind(at(0)));
        space.advance(at(2), |_, written| {
            written(b"key", Version::new(2));
            written(b"nothing", Version::new(2));
            true
        });
        // A commit was faster.
        assert!(!space.fill(b"key", value(b"v"), at(1)));
        space.advance(at(3), |_, _| false);
        space.advance(at(3), |_, _| panic!("is known"));
        let Stats { refusals, invalidations, floors, entries, .. } = space.stats();
        assert_eq!([refusals, invalidations, floors, entries], [2, 1, 1, 1]);
        assert_eq!(space.get(b"absent", at(3)), Lookup::Unknown, "all went at once");
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let (_cache, space) = space(Policy::Shared);
        let key = vec![1; KEY_BYTES_MAX + 1];
        assert!(space.fill(&key[1..], value(b"v"), at(1)) && !space.fill(&key, value(b"v"), at(1)));
        // With its key and what is kept beside it an entry takes less than half.
        let most = (1..1 << 20).rev().find(|len| space.shelf().fits(*len)).expect("something does");
        let value_of = |len: usize| vec![1; len - key[1..].len()];
        assert!(!space.fill(&key[1..], value(&value_of(most - 127)), at(1)));
        assert!(space.fill(&key[1..], value(&value_of(most - 128)), at(1)));
        assert!(!space.fill_decoded::<_, ()>(b"k", Some((Version::new(1), Arc::new(1_u8))), most, at(1)));
        assert!(space.fill_decoded::<_, ()>(b"k", Some((Version::new(1), Arc::new(1_u8))), most / 2, at(1)));
        assert!(space.fill_decoded::<u8, ()>(b"k", None, most, at(1)), "there is nothing that takes room");
    }

    #[test]
    fn a_full_cache_takes_in_what_was_asked_for_before() {
        let (_cache, space) = space(Policy::Shared);
        let count = (0..100_000_u32).take_while(|key| {
            space.fill(&key.to_be_bytes(), value(&[7; 300]), at(1));
            space.has_room()
        });
        let count = u32::try_from(count.count()).expect("is small");
        let keys: Vec<_> = (count + 1..count + 201).map(u32::to_be_bytes).collect();
        // As bytes, and decoded, are two things to ask for.
        let decoded =
            |key| space.fill_decoded::<_, ()>(key, Some((Version::new(1), Arc::new(1_u8))), 1, at(1));
        let (first, first_decoded) = keys.iter().fold((0, 0), |(bytes, decoded_), key| {
            (bytes + u32::from(space.fill(key, value(&[7; 300]), at(1))), decoded_ + u32::from(decoded(key)))
        });
        assert!(first < 10 && first_decoded < 10, "{first} and {first_decoded} of 200 are let in at once");
        let second = keys.iter().filter(|key| space.fill(&key[..], value(&[7; 300]), at(1))).count();
        assert!(second > 150, "{second} of 200 are let in when they come again");
        assert!(space.stats().evictions > 0);
    }

    #[test]
    fn a_value_is_kept_in_eight_types_and_goes_in_all_of_them() {
        struct Codec<const N: usize>;
        let (_cache, space) = space(Policy::Shared);
        macro_rules! each {
            ($do:ident) => {
                [$do!(0), $do!(1), $do!(2), $do!(3), $do!(4), $do!(5), $do!(6), $do!(7), $do!(8)]
            };
        }
        macro_rules! fill {
            ($n:literal) => {
                space.fill_decoded::<_, Codec<$n>>(b"key", Some((Version::new(1), Arc::new($n))), 8, at(1))
            };
        }
        macro_rules! get {
            ($n:literal) => {
                match space.get_decoded::<i32, Codec<$n>>(b"key", at(1)) {
                    Lookup::Value(value) => Some(*value),
                    _ => None,
                }
            };
        }
        assert_eq!(each!(get), [None; 9]);
        assert!(space.fill(b"key", value(b"bytes"), at(1)));
        assert_eq!(each!(fill), [true, true, true, true, true, true, true, true, false]);
        assert_eq!(each!(get), std::array::from_fn(|n| i32::try_from(n).ok().filter(|n| *n < 8)));
        assert_eq!(space.get(b"key", at(1)), Lookup::Value("bytes".into()));
        assert_eq!((space.stats().hits, space.stats().entries), (9, 9));
        space.advance(at(2), |_, written| {
            written(b"key", Version::new(2));
            true
        });
        assert_eq!((space.stats().invalidations, space.stats().entries, space.stats().bytes), (9, 0, 0));
    }

    #[test]
    fn half_of_a_cache_may_be_pinned_and_to_the_byte() {
        let cache = Cache::new(1 << 20);
        let filled = |cache: &Cache, count: u32| {
            let space = cache.space(Policy::Pinned);
            (0..count).for_each(|key| _ = space.fill(&key.to_be_bytes(), value(&[7; 300]), at(1)));
            space
        };
        let one = pinned_bytes(&filled(&cache, 1));
        assert!(one > 300);
        // It goes on being pinned by nobody.
        let exactly = Cache::new(usize::try_from(2000 * one).expect("is small"));
        let space = filled(&exactly, 999);
        assert_eq!(pinned_bytes(&space), 999 * one);
        space.fill(b"the last", value(&[7; 296]), at(1));
        assert_eq!(pinned_bytes(&space), 1000 * one);
        space.fill(b"too much", value(&[7; 296]), at(1));
        assert_eq!((pinned_bytes(&space), space.stats().entries), (1000 * one, 1001));

        // What is written is pinned no more, nor what goes at once.
        space.advance(at(2), |_, written| {
            written(&7_u32.to_be_bytes(), Version::new(2));
            written(b"too much", Version::new(2));
            true
        });
        assert_eq!(pinned_bytes(&space), 999 * one);
        space.advance(at(3), |_, _| false);
        assert_eq!(pinned_bytes(&space), 0);
        let other = filled(&exactly, 10);
        assert_eq!(pinned_bytes(&other), 10 * one);
        other.clear();
        assert_eq!(pinned_bytes(&other), 0);
    }

    #[test]
    fn what_was_pinned_until_everything_went_is_not_taken_off_twice() {
        let cache = Cache::new(1 << 16);
        let space = cache.space(Policy::Pinned);
        for key in 0..20_u32 {
            assert!(space.fill(&key.to_be_bytes(), value(&[7; 300]), at(1)));
        }
        space.clear();
        assert!(space.fill(b"new", value(&[7; 300]), at(1)));
        let one = pinned_bytes(&space);
        // Others take the room of those that nobody can read any more.
        let used = cache.space(Policy::Shared);
        used.advance(at(1), |_, _| true);
        let read = |key: u32| {
            if used.get(&key.to_be_bytes(), at(1)) == Lookup::Unknown {
                used.fill(&key.to_be_bytes(), value(&[7; 300]), at(1));
            }
        };
        (0..500).for_each(read);
        let count = u32::try_from(used.stats().entries).expect("is small") + 15;
        (0..20).for_each(|_| (500..500 + count).for_each(read));
        assert!(space.stats().entries < 15, "{:?} {:?}", space.stats(), used.stats());
        assert_eq!(pinned_bytes(&space), one);
        assert_eq!(space.stats().bytes, one * space.stats().entries);
    }

    #[test]
    fn a_space_that_is_gone_leaves_nothing_to_account_for() {
        let (cache, first) = space(Policy::Pinned);
        assert!(first.fill(b"key", value(b"v"), at(1)));
        let (shared, counts) = (first.shared.clone(), first.counts.clone());
        let occupied = shared.common.occupied();
        assert!(shared.ledger.pinned_bytes() > 0);
        drop(first);
        assert_eq!(shared.ledger.pinned_bytes(), 0);
        assert_eq!(shared.common.occupied(), occupied, "others take its room in time");
        // Of which nobody is told any more.
        shared.common.set_budget(0);
        assert_eq!((shared.common.occupied(), counts.entries.load(Ordering::Relaxed)), (0, 1));
        shared.common.set_budget(1 << 20);
        let next = cache.space(Policy::Pinned);
        next.advance(at(1), |_, _| true);
        assert_eq!((next.get(b"key", at(1)), next.stats().entries), (Lookup::Unknown, 0));
    }

    /// Values of many KiB are not to pile up until others need their room.
    #[test]
    fn what_is_large_is_freed_soon() {
        let (_cache, space) = space(Policy::Shared);
        let value = Arc::new(1_u8);
        let mut is_soon = 0;
        // Other tests keep what is dropped meanwhile, for a moment; and what is small is let go of by the dozen.
        for key in 0..100_000_u32 {
            let large = Some((Version::new(1), value.clone()));
            let key = (key % 2).to_be_bytes();
            assert!(space.fill_decoded::<_, ()>(&key, large, LARGE - 16, at(1)));
            is_soon = if Arc::strong_count(&value) < 12 { is_soon + 1 } else { 0 };
            if is_soon == 50 {
                return;
            }
        }
        panic!("there were always more than two");
    }

    #[test]
    fn keys_tenants_and_types_lie_in_different_places() {
        let tenant = Tenant::new(1, 0);
        let count =
            |hashes: &mut dyn Iterator<Item = u64>| hashes.collect::<std::collections::HashSet<_>>().len();
        let hash = |i: u64| i.wrapping_mul(0xd134_2543_de82_ef95);
        for i in 0..1000 {
            assert_eq!(count(&mut (0..=8).map(|place| mix(hash(i), tenant, place))), 9, "{i}");
        }
        let tenants = (0..30).flat_map(|space| (0..30).map(move |generation| Tenant::new(space, generation)));
        assert_eq!(count(&mut tenants.map(|tenant| mix(hash(7), tenant, 0))), 900);
        // Where only the upper half of a key's hash differs, the lower one of the mix does.
        assert!(count(&mut (0..1000).map(|i| mix(i << 48, tenant, 0) & 0xffff)) > 900);
        let ones: u32 = (0..1000).map(|i| mix(hash(i), tenant, 0).count_ones()).sum();
        assert!((31_000..33_000).contains(&ones), "{ones} of 64,000 bits are set");
    }
}
