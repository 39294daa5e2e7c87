//! What is in files, decoded from memory, for fuzz targets; not part of the promise of this crate.

use crate::{Holder, counter, locks};

/// The length of a counter's file.
pub const COUNTER_BYTES: usize = counter::FILE_BYTES;

/// Returns a counter's file that no number was taken from.
pub fn fresh_counter() -> [u8; COUNTER_BYTES] {
    counter::fresh()
}

/// Returns the number that a counter's file holds, unless it is damaged.
pub fn counter(image: &[u8; COUNTER_BYTES]) -> Option<u64> {
    counter::latest(image).map(|latest| latest.number)
}

/// Takes the next number from a counter's file, as [`Counter::advance`](crate::Counter::advance) does.
pub fn advance(image: &mut [u8; COUNTER_BYTES], floor: u64) -> Option<u64> {
    counter::advance_image(image, floor)
}

/// Reads the record of a lock's holder.
pub fn holder(bytes: &[u8]) -> Option<Holder> {
    Holder::from_json(bytes)
}

/// Encodes the record of a lock's holder.
pub fn encode_holder(holder: &Holder) -> Vec<u8> {
    holder.to_json()
}

/// Reads the record of a named lock, and encodes it again.
pub fn lock_record(bytes: &[u8]) -> Option<Vec<u8>> {
    locks::record_again(bytes)
}
