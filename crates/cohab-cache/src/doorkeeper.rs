//! Who is let into a full cache: a key that was asked for before.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// The keys that were missed of late, as fingerprints, each in the one place its hash gives it.
///
/// A key that is read once costs a full cache an eviction and an allocation and gains nothing. So the first miss is
/// only noted here, where others soon overwrite it, and a second one that still finds the note is let in (the
/// doorkeeper of `TinyLFU`: Einziger, Friedman, Manes, 2017, with places instead of a Bloom filter, so that it needs
/// no clearing).
#[derive(Debug)]
pub(crate) struct Doorkeeper {
    places: OnceLock<Box<[AtomicU16]>>,
    len: usize,
}

impl Doorkeeper {
    pub(crate) fn new(budget: usize) -> Self {
        Self { places: OnceLock::new(), len: (budget / 512).next_power_of_two().clamp(1 << 10, 1 << 24) }
    }

    /// Returns whether the key was noted before, and notes it if not.
    #[expect(clippy::cast_possible_truncation, reason = "the halves serve different ends")]
    pub(crate) fn admits(&self, hash: u64) -> bool {
        let places = self.places.get_or_init(|| (0..self.len).map(|_| AtomicU16::new(0)).collect());
        let place = &places[hash as u32 as usize % self.len];
        let fingerprint = (hash >> 48) as u16 | 1;
        if place.load(Ordering::Relaxed) == fingerprint {
            return true;
        }
        place.store(fingerprint, Ordering::Relaxed);
        false
    }

    /// Returns how much memory it occupies.
    pub(crate) fn bytes(&self) -> usize {
        self.places.get().map_or(0, |places| size_of_val(&**places))
    }
}
