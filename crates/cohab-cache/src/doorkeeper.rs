//! Who is let into a full cache: a key that was asked for before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many keys a place remembers.
const KEYS: u32 = 4;

/// The keys that were missed of late, as fingerprints: of all whose hash leads to the same place, the last four.
///
/// A key that is read once costs a full cache an eviction and an allocation and gains nothing. So the first miss is
/// only noted here, where others soon take its place, and a second one that still finds the note is let in (the
/// doorkeeper of `TinyLFU`: Einziger, Friedman, Manes, 2017, with places instead of a Bloom filter, so that it needs
/// no clearing).
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    places: OnceLock<Box<[AtomicU64]>>,
    len: usize,
}

impl Doorkeeper {
    pub(crate) fn new(budget: usize) -> Self {
        Self { places: OnceLock::new(), len: (budget / 2048).next_power_of_two().clamp(1 << 8, 1 << 22) }
    }

    /// Returns whether the key was noted before, and notes it if not.
    #[expect(clippy::cast_possible_truncation, reason = "the halves serve different ends")]
    pub(crate) fn admits(&self, hash: u64) -> bool {
        let places = self.places.get_or_init(|| (0..self.len).map(|_| AtomicU64::new(0)).collect());
        let place = &places[hash as u32 as usize & (self.len - 1)];
        let fingerprint = hash >> 48 | 1;
        let noted = place.load(Ordering::Relaxed);
        if (0..KEYS).any(|key| noted >> (key * 16) & 0xFFFF == fingerprint) {
            return true;
        }
        // Should another thread note something at the same time, one of the two is forgotten.
        place.store(noted << 16 | fingerprint, Ordering::Relaxed);
        false
    }

    /// Returns how much memory it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.places.get().map_or(0, |places| size_of_val(&**places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_again_is_admitted_and_a_flood_of_others_is_not() {
        let doorkeeper = Doorkeeper::new(1 << 20);
        let hash = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        assert!(!doorkeeper.admits(hash(1)));
        assert!(doorkeeper.admits(hash(1)));
        let admitted = (100..100_000).filter(|i| doorkeeper.admits(hash(*i))).count();
        assert!(admitted < 200, "{admitted} of a flood");
        assert!(!doorkeeper.admits(hash(1)), "forgotten by now");
    }

    #[test]
    fn keys_that_share_a_place_do_not_keep_each_other_out() {
        let doorkeeper = Doorkeeper::new(1 << 20);
        let hashes = [1_u64 << 48 | 5, 3 << 48 | 5, 5 << 48 | 5, 7 << 48 | 5];
        assert!(!hashes.iter().any(|hash| doorkeeper.admits(*hash)));
        assert!(hashes.iter().all(|hash| doorkeeper.admits(*hash)));
        // A fifth takes the place of the first, and of no other.
        assert!(!doorkeeper.admits(9 << 48 | 5));
        assert!(hashes[1..].iter().all(|hash| doorkeeper.admits(*hash)));
        assert!(!doorkeeper.admits(hashes[0]));
    }

    #[test]
    fn no_key_is_known_before_it_comes() {
        let doorkeeper = Doorkeeper::new(1 << 20);
        for hash in [0, 5, 1 << 48 | 6, u64::MAX] {
            assert!(!doorkeeper.admits(hash), "{hash:x}");
            assert!(doorkeeper.admits(hash), "{hash:x}");
        }
    }

    #[test]
    fn it_has_a_place_for_each_two_kib_of_the_budget() {
        for (budget, places) in
            [(0, 1 << 8), (1 << 20, 1 << 9), ((1 << 20) + 2048, 1 << 10), (24 << 20, 1 << 14)]
        {
            let doorkeeper = Doorkeeper::new(budget);
            assert_eq!(doorkeeper.bytes(), 0, "nothing before it is needed");
            doorkeeper.admits(1);
            assert_eq!(doorkeeper.bytes(), 8 * places, "{budget}");
        }
        assert_eq!(Doorkeeper::new(1 << 50).len, 1 << 22);
    }
}
