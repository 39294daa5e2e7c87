//! The order-independent digest of a set of keys and values.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// Sums up a set of key/value pairs so that two sets are equal if their digests are.
///
/// The digest is the sum, modulo 2¹²⁸, of one 128-bit XXH3 hash per pair. Addition commutes and can be undone,
/// so a digest is kept up to date from what a write removes and adds, in O(1), whatever order writes come in
/// (an additive multiset hash, after Clarke et al., "Incremental Multiset Hash Functions", ASIACRYPT 2003).
/// It finds accidents, not adversaries: somebody who chooses the values can make two sets collide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(u128);

impl Digest {
    /// The digest of no pairs at all.
    pub const EMPTY: Self = Self(0);

    /// Counts a pair in. Cost: one pass over key and value, no allocation.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(pair(key, value));
    }

    /// Counts a pair out that was counted in before.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(pair(key, value));
    }

    /// Returns the sum of two digests: that of the two sets together.
    #[must_use]
    pub const fn combine(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

/// The key's hash seeds the value's, so that bytes cannot wander from one to the other.
fn pair(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("digest {0:?} is not 32 hexadecimal digits")]
pub struct DigestParseError(String);

impl FromStr for Digest {
    type Err = DigestParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let raw = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        raw.map(Self).ok_or_else(|| DigestParseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_do_not_wander_between_key_and_value() {
        let mut split_early = Digest::EMPTY;
        split_early.add(b"a", b"bc");
        let mut split_late = Digest::EMPTY;
        split_late.add(b"ab", b"c");
        assert_ne!(split_early, split_late);
    }

    #[test]
    fn the_digest_is_the_one_written_in_the_format_document() {
        let mut digest = Digest::EMPTY;
        digest.add(b"key", b"value");
        assert_eq!(digest.to_string(), "e84582f5c8fe2c1351ad8f295ea71283");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("+84582f5c8fe2c1351ad8f295ea71283".parse::<Digest>().is_err());
    }

    #[test]
    fn the_digest_of_two_sets_is_the_sum_of_theirs() {
        let mut both = Digest::EMPTY;
        let [first, second] = [b"a", b"b"].map(|key| {
            let mut digest = Digest::EMPTY;
            digest.add(key, b"value");
            both.add(key, b"value");
            digest
        });
        assert_eq!(first.combine(second), both);
        assert_eq!(format!("{first:?}"), first.to_string());
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for text in ["", "00", &"0".repeat(31), &"0".repeat(33), &"g".repeat(32)] {
            let refused = text.parse::<Digest>().expect_err(text);
            assert_eq!(refused.to_string(), format!("digest {text:?} is not 32 hexadecimal digits"));
        }
        assert_eq!("0".repeat(32).parse(), Ok(Digest::EMPTY));
    }

    proptest! {
        #[test]
        fn kept_step_by_step_it_equals_one_made_from_the_final_set(
            steps in prop::collection::vec((0..8u8, prop::option::of(0..4u8)), 0..64),
        ) {
            let mut kept = Digest::EMPTY;
            let mut model = BTreeMap::new();
            for (key, value) in steps {
                let before = match value {
                    Some(value) => model.insert([key], [value]),
                    None => model.remove(&[key]),
                };
                if let Some(before) = before {
                    kept.remove(&[key], &before);
                }
                if let Some(value) = value {
                    kept.add(&[key], &[value]);
                }
            }
            let mut fresh = Digest::EMPTY;
            model.iter().rev().for_each(|(key, value)| fresh.add(key, value));
            prop_assert_eq!(kept, fresh);
        }
    }
}
