//! The entries of one namespace.

use std::any::{Any, TypeId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cohab_core::Version;

use crate::cache::{Policy, Shared};
use crate::counts::Counts;
use crate::entry::{Entry, Head, Lookup, Tenant, chunk};
use crate::intervals::{Advance, At, Intervals};
use crate::shelf::Shelf;

/// How many types the values of one space may be decoded as.
const TYPES_MAX: usize = 8;

/// What is cached of one namespace of one store. Shared by all threads of the process.
#[derive(Debug)]
pub struct Space {
    shared: Arc<Shared>,
    /// There if the space has a budget of its own.
    own: Option<Own>,
    policy: Policy,
    number: u32,
    intervals: Intervals,
    counts: Arc<Counts>,
    /// The types that values are kept decoded as; each has places of its own.
    types: [OnceLock<TypeId>; TYPES_MAX],
}

#[derive(Debug)]
struct Own {
    shelf: Shelf,
    granted: usize,
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
        let counts = shared.ledger.open(number);
        let own = match policy {
            Policy::Own(bytes) => {
                let granted = shared.reserve(bytes);
                Some(Own { shelf: Shelf::new(granted, shared.ledger.clone()), granted })
            }
            Policy::Shared | Policy::Pinned | Policy::Off => None,
        };
        Self {
            shared,
            own,
            policy,
            number,
            intervals: Intervals::new(),
            counts,
            types: [const { OnceLock::new() }; TYPES_MAX],
        }
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

    /// Answers a read, if there is an entry that holds for it.
    ///
    /// Cost: one probe; neither a system call nor an allocation, and no lock outlives the call.
    #[inline]
    pub fn get(&self, key: &[u8], at: At) -> Lookup<Bytes> {
        self.counted(self.probe(key, 0, at).map_or(Lookup::Unknown, Entry::into_value))
    }

    /// Answers a read with the value decoded, if it was kept in that type.
    #[inline]
    pub fn get_decoded<V: Send + Sync + 'static>(&self, key: &[u8], at: At) -> Lookup<Arc<V>> {
        let found = self.place_of::<V>(false).and_then(|place| self.probe(key, place, at));
        self.counted(found.map_or(Lookup::Unknown, Entry::into_decoded))
    }

    #[inline]
    fn probe(&self, key: &[u8], place: u64, at: At) -> Option<Entry> {
        let generation = self.intervals.answering(at)?;
        let tenant = Tenant::new(self.number, generation);
        let entry = self.shelf().get(self.hash(key, tenant, place))?;
        if !entry.is_of(tenant, key) {
            return None;
        }
        if entry.valid_from() > at.version {
            Counts::add(&self.counts.refusals, 1);
            return None;
        }
        Some(entry)
    }

    #[inline]
    fn counted<T>(&self, found: Lookup<T>) -> Lookup<T> {
        match found {
            Lookup::Unknown => Counts::add(&self.counts.misses, 1),
            Lookup::Value(_) | Lookup::Absent => self.counts.hits.count(),
        }
        found
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
    /// A space keeps values in [eight](Self::fill_decoded) types at most; those of further ones are not kept.
    pub fn fill_decoded<V: Send + Sync + 'static>(
        &self,
        key: &[u8],
        found: Option<(Version, Arc<V>)>,
        value_bytes: usize,
        at: At,
    ) -> bool {
        let Some(place) = self.place_of::<V>(true) else { return false };
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
        entry: impl FnOnce(&Head<'_>) -> Entry,
    ) -> bool {
        if !self.is_on() || !self.shelf().fits(key.len() + value_len + 128) {
            return false;
        }
        // An absent key has been absent since the namespace last changed, at least.
        let valid_from = version.unwrap_or(at.changed);
        debug_assert!(valid_from <= at.changed && at.changed <= at.version, "{valid_from:?} {at:?}");
        let hash = self.shared.hash(key);
        let is_pinned = self.policy == Policy::Pinned
            && self.counts.bytes.load(Ordering::Relaxed) < self.shared.pinned_max();
        if !is_pinned && !self.shelf().admits(hash ^ place) {
            return false;
        }
        let is_kept = self.shared.alone(hash, || {
            let Some(generation) = self.intervals.filling(at) else { return false };
            let tenant = Tenant::new(self.number, generation);
            let entry = entry(&Head { valid_from, tenant, is_pinned, key });
            self.shelf().insert(mix(hash, tenant, place), entry);
            true
        });
        if !is_kept {
            Counts::add(&self.counts.refusals, 1);
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
        }
    }

    /// Drops what was known of a key before a version.
    fn drop_key(&self, key: &[u8], version: Version) {
        let hash = self.shared.hash(key);
        // Only the one who advances drops, and only that changes the generation.
        let tenant = Tenant::new(self.number, self.intervals.generation());
        let is_outdated = |entry: &Entry| entry.is_of(tenant, key) && entry.valid_from() < version;
        let gone = self.shared.alone(hash, || {
            // Under the lock, so that a type which was new to whoever filled before is among them.
            let types = self.types.iter().take_while(|known| known.get().is_some()).count();
            let places = 0..=types as u64;
            places
                .filter(|place| self.shelf().remove_if(mix(hash, tenant, *place), is_outdated).is_some())
                .count()
        });
        Counts::add(&self.counts.invalidations, gone as u64);
    }

    /// Lets no entry that there is at present answer any more.
    pub fn clear(&self) {
        self.intervals.forget();
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
    fn place_of<V: 'static>(&self, is_new: bool) -> Option<u64> {
        let id = TypeId::of::<V>();
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
        if let Some(own) = &self.own {
            self.shared.release(own.granted);
        }
    }
}

/// Where an entry lies: a key's hash, for each tenant and type another.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
fn mix(hash: u64, tenant: Tenant, place: u64) -> u64 {
    let product = u128::from(hash ^ place) * u128::from(tenant.get() ^ 0x9E37_79B9_7F4A_7C15);
    (product >> 64) as u64 ^ product as u64
}
