//! Where readers look first: addresses of entries by the hash of their keys, read without a lock.
//!
//! A bucket is a cache line of eight places, each an address with sixteen bits of the hash. The index knows some of the
//! entries and need not know any: what does not find a place is found in the shelf. Whoever reads is pinned to an
//! epoch, and an entry is dropped only when nobody is left who was pinned when its address was taken out (Fraser,
//! "Practical lock-freedom", 2004).

#![expect(unsafe_code, reason = "the table is a map of its own, for the sake of large pages")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::MmapMut;

use crate::block::Address;

const WAYS: usize = 8;

/// Addresses of user space fit into so many bits; one that does not is not kept here.
const ADDRESS_BITS: u32 = 48;

#[derive(Debug)]
#[repr(align(64))]
struct Bucket([AtomicU64; WAYS]);

#[derive(Debug)]
pub(crate) struct Index {
    /// There once the first entry was put in, unless the system had no memory for it.
    table: OnceLock<Option<Table>>,
    len: usize,
    /// Set once an entry has found no place, or lost it to another.
    is_partial: AtomicBool,
}

/// Buckets in an anonymous map, whose pages come as they are touched.
#[derive(Debug)]
struct Table {
    /// Never touched but through the buckets.
    map: MmapMut,
    len: usize,
}

impl Table {
    fn new(len: usize) -> Option<Self> {
        let map = MmapMut::map_anon(len * size_of::<Bucket>()).ok()?;
        // Reads are scattered all over it, so with small pages every one would miss the processor's table of them.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Self { map, len })
    }

    #[inline]
    fn buckets(&self) -> &[Bucket] {
        // SAFETY: the map is as long as so many buckets, begins at a page and thereby aligned, and began with zeroes, which
        // are empty buckets; since then nothing but their atomic operations has touched it.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }
}

impl Index {
    /// An index for as many entries as usually fit a budget.
    pub(crate) fn new(budget: usize) -> Self {
        let len = (budget / 256 / WAYS).next_power_of_two().max(64);
        Self { table: OnceLock::new(), len, is_partial: AtomicBool::new(false) }
    }

    #[inline]
    fn bucket(&self, hash: u64) -> Option<&Bucket> {
        let table = self.table.get()?.as_ref()?;
        Some(&table.buckets()[Self::place(hash, table.len)])
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "other bits of the hash tell entries apart")]
    fn place(hash: u64, len: usize) -> usize {
        hash as usize & (len - 1)
    }

    #[inline]
    fn tag(hash: u64) -> u64 {
        hash >> ADDRESS_BITS << ADDRESS_BITS
    }

    /// Finds the entry of a hash that `is_it` holds for.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(Address) -> bool) -> Option<Address> {
        let tag = Self::tag(hash);
        let words = self.bucket(hash)?.0.each_ref().map(|place| place.load(Ordering::Acquire));
        // All at once: in which place it is nobody can predict, and a branch that is guessed wrong has what comes after
        // the read wait for the bucket.
        let has_tag = |(way, word): (usize, &u64)| u32::from(word ^ tag < 1 << ADDRESS_BITS) << way;
        let mut candidates: u32 = words.iter().enumerate().map(has_tag).sum();
        while candidates != 0 {
            let address = address(words[candidates.trailing_zeros() as usize % WAYS]);
            candidates &= candidates - 1;
            let Some(address) = address else { continue };
            address.prefetch();
            if is_it(address) {
                return Some(address);
            }
        }
        None
    }

    /// Gives an entry a place, if need be that of another.
    ///
    /// The caller makes sure that the entry is not taken out meanwhile.
    pub(crate) fn insert(&self, hash: u64, entry: Address) {
        let number = entry.expose() as u64;
        if number >> ADDRESS_BITS != 0 {
            self.is_partial.store(true, Ordering::Release);
            return;
        }
        self.table.get_or_init(|| Table::new(self.len));
        let Some(Bucket(places)) = self.bucket(hash) else {
            return self.is_partial.store(true, Ordering::Release);
        };
        let word = number | Self::tag(hash);
        let mut free = None;
        for place in places {
            match place.load(Ordering::Relaxed) {
                0 => free = free.or(Some(place)),
                known if known == word => return,
                _ => {}
            }
        }
        let victim = &places[(hash >> 32) as usize % WAYS];
        let is_taken =
            |place: &AtomicU64| place.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_err();
        if free.is_none_or(is_taken) {
            self.is_partial.store(true, Ordering::Release);
            victim.store(word, Ordering::Release);
        }
    }

    /// Returns whether an entry may be there that has no place here.
    #[inline]
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial.load(Ordering::Acquire)
    }

    /// Takes an entry out, if it is there. Whoever looks from now on does not find it.
    pub(crate) fn remove(&self, hash: u64, entry: Address) {
        let word = entry.expose() as u64 | Self::tag(hash);
        let Some(Bucket(places)) = self.bucket(hash) else { return };
        for place in places {
            // Two who insert may have given it two places.
            let _ = place.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Returns how much memory it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.table.get().and_then(Option::as_ref).map_or(0, |table| size_of_val(table.buckets()))
    }
}

#[inline]
fn address(word: u64) -> Option<Address> {
    Address::from_exposed((word & ((1 << ADDRESS_BITS) - 1)) as usize)
}

#[cfg(test)]
mod tests {
    use cohab_core::Version;

    use super::*;
    use crate::block::{Entry, Label, Tenant};

    /// Entries to take the addresses of.
    fn entries(count: usize) -> Vec<Address> {
        let label =
            Label { valid_from: Version::new(1), tenant: Tenant::new(0, 0), is_pinned: false, key: b"key" };
        (0..count).map(|_| Entry::stored(&label, None).into_address()).collect()
    }

    fn drop_all(entries: Vec<Address>) {
        for entry in entries {
            // SAFETY: nobody looks at it any more.
            drop(unsafe { entry.into_entry() });
        }
    }

    /// Different buckets, or the same and different tags, or the same of both.
    fn hash(bucket: u64, tag: u64) -> u64 {
        tag << ADDRESS_BITS | bucket
    }

    #[test]
    fn an_entry_is_found_by_its_hash_until_it_is_taken_out() {
        let (index, entries) = (Index::new(1 << 20), entries(40));
        let hashes: Vec<u64> = (0..40).map(|i| hash(i % 10 * 37, i / 10 * 0x4321)).collect();
        assert_eq!((index.bytes(), index.find(hashes[0], |_| true)), (0, None));
        index.remove(hashes[0], entries[0]);
        for (hash, entry) in hashes.iter().zip(&entries) {
            // Three times is once, or there would not be room for all.
            (0..3).for_each(|_| index.insert(*hash, *entry));
        }
        assert_eq!(index.bytes(), (1 << 20) / 256 / WAYS * 64);
        assert!(!index.is_partial());
        for (at, hash) in hashes.iter().enumerate() {
            let mut asked = 0;
            let found = index.find(*hash, |_| {
                asked += 1;
                true
            });
            assert_eq!((found, asked), (Some(entries[at]), 1), "others have other tags");
            assert_eq!(index.find(*hash, |_| false), None);
        }
        for (at, hash) in hashes.iter().enumerate() {
            index.remove(*hash, entries[at]);
            assert_eq!(index.find(*hash, |_| true), None);
            let left = hashes.iter().filter(|hash| index.find(**hash, |_| true).is_some()).count();
            assert_eq!(left, 39 - at);
        }
        drop_all(entries);
    }

    #[test]
    fn of_two_with_the_same_hash_the_right_one_is_found() {
        let (index, entries) = (Index::new(0), entries(3));
        for entry in &entries {
            index.insert(hash(7, 7), *entry);
        }
        for entry in &entries {
            assert_eq!(index.find(hash(7, 7), |it| it == *entry), Some(*entry));
        }
        index.remove(hash(7, 7), entries[1]);
        assert_eq!(index.find(hash(7, 7), |it| it == entries[1]), None);
        assert_eq!(index.find(hash(7, 7), |it| it == entries[2]), Some(entries[2]));
        drop_all(entries);
    }

    #[test]
    fn where_there_is_no_place_another_loses_its_own_and_it_is_said_that_the_index_does_not_know_all() {
        let (index, entries) = (Index::new(0), entries(WAYS + 1));
        // The bits that choose the victim.
        let hash = |i: usize| hash(7, 0) | (3 * i as u64) << 32;
        for (i, entry) in entries[..WAYS].iter().enumerate() {
            index.insert(hash(i), *entry);
            assert!(!index.is_partial());
        }
        index.insert(hash(WAYS + 1), entries[WAYS]);
        assert!(index.is_partial());
        let is_found = |entry: &&Address| index.find(hash(0), |it| it == **entry).is_some();
        assert_eq!(entries.iter().filter(is_found).count(), WAYS);
        assert!(is_found(&&entries[WAYS]));
        assert!(!is_found(&&entries[3 * (WAYS + 1) % WAYS]), "the hash chooses who loses its place");
        drop_all(entries);
    }

    #[test]
    fn an_address_that_is_too_large_is_not_kept() {
        let index = Index::new(0);
        let address = Address::from_exposed(1 << ADDRESS_BITS | 0x1000).expect("is not zero");
        index.insert(5, address);
        assert!(index.is_partial());
        assert_eq!((index.find(5, |_| true), index.bytes()), (None, 0));
    }

    #[test]
    fn there_are_as_many_places_as_entries_of_a_quarter_of_a_kib() {
        for (budget, buckets) in [(0, 64), (1 << 20, 512), ((1 << 20) + 4096, 1024), (64 << 20, 1 << 15)] {
            assert_eq!(Index::new(budget).len, buckets, "{budget}");
        }
    }
}
