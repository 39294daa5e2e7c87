//! What is counted of a namespace's data.

use serde::{Deserialize, Serialize};

use crate::{Digest, Version};

/// What is counted of a namespace's data, kept with every change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contents {
    /// The version that last changed its data; zero if none did.
    pub data_version: Version,
    /// How many keys it holds.
    pub keys: u64,
    /// How many bytes its keys and values have.
    pub bytes: u64,
    /// The digest of its keys and values.
    pub digest: Digest,
}

impl Contents {
    /// The contents of a new namespace.
    pub const EMPTY: Self = Self { data_version: Version::ZERO, keys: 0, bytes: 0, digest: Digest::EMPTY };

    /// Returns whether the same is counted, whichever version made it so.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.keys, self.bytes, self.digest) == (other.keys, other.bytes, other.digest)
    }

    /// Counts a pair in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.keys += 1;
        self.bytes += (key.len() + value.len()) as u64;
        self.digest.add(key, value);
    }

    /// Counts a pair out. Counts never go below zero, even where damage made them wrong.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.keys = self.keys.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub((key.len() + value.len()) as u64);
        self.digest.remove(key, value);
    }
}
