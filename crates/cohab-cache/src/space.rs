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
        let value_bytes = if value.is_some() { chunk(value_bytes + 2 * size_of::<usize>()) } else { 0 };
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
