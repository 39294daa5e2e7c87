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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pairs: &[(&[u8], &[u8])]) -> Contents {
        let mut contents = Contents::EMPTY;
        for (key, value) in pairs {
            contents.add(key, value);
        }
        contents
    }

    #[test]
    fn pairs_are_counted_in_and_out() {
        let mut contents = counted(&[(b"a", b"1234"), (b"bc", b"")]);
        assert_eq!((contents.keys, contents.bytes), (2, 7));
        contents.remove(b"a", b"1234");
        assert_eq!(contents, counted(&[(b"bc", b"")]));
        contents.remove(b"bc", b"");
        assert_eq!(contents, Contents::EMPTY);
    }

    #[test]
    fn counts_that_damage_made_wrong_stay_at_zero() {
        let mut contents = Contents::EMPTY;
        contents.remove(b"key", b"value");
        assert_eq!((contents.keys, contents.bytes), (0, 0));
    }

    #[test]
    fn what_is_the_same_is_decided_by_everything_but_the_version() {
        let one = counted(&[(b"k", b"v")]);
        assert!(one.is_same_as(&Contents { data_version: Version::new(9), ..one }));
        let others = [
            Contents { keys: 2, ..one },
            Contents { bytes: 3, ..one },
            Contents { digest: Digest::EMPTY, ..one },
        ];
        for other in others {
            assert!(!one.is_same_as(&other), "{other:?}");
        }
    }
}
