//! The checksum that stands before every stored value.
//!
//! ```text
//! stored value = checksum (8 bytes, little endian) ‖ payload
//! checksum     = fold((R(payload) ^ 9E3779B97F4A7C15) × (R(key) ^ R(table name)))
//! ```
//!
//! R is rapidhash v3; fold adds the halves of the 128-bit product without carry. The product binds a value to its
//! table and key: a value that turns up anywhere else does not verify. A row takes about half the time that XXH3
//! would, which counts where every row of a scan is verified.

use std::fmt;
use std::ops::Deref;

use rapidhash::v3::{DEFAULT_RAPID_SECRETS, rapidhash_v3_inline};
use redb::AccessGuard;

use crate::guard::guarded;
use crate::{Error, Result, Table};

pub(crate) type Guard<'a> = AccessGuard<'a, &'static [u8]>;

/// Bytes that the checksum takes before the payload.
pub(crate) const SEAL_BYTES: usize = 8;

#[inline]
fn hash(bytes: &[u8]) -> u64 {
    rapidhash_v3_inline::<true, false, false>(bytes, &DEFAULT_RAPID_SECRETS)
}

/// Puts values under checksums and takes them out again, for one table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    table: Table,
    seed: u64,
}

impl Seal {
    pub(crate) fn new(table: Table) -> Self {
        Self { table, seed: hash(table.name().as_bytes()) }
    }

    /// Returns the name of the table, for errors.
    pub(crate) fn table(self) -> &'static str {
        self.table.name()
    }

    /// Returns the table whose values it is for.
    pub(crate) fn of(self) -> Table {
        self.table
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "folding takes the halves apart")]
    fn checksum(self, key: &[u8], payload: &[u8]) -> [u8; SEAL_BYTES] {
        // An odd constant, so that a payload and a key of equal hashes do not cancel out.
        let product = u128::from(hash(payload) ^ 0x9E37_79B9_7F4A_7C15) * u128::from(hash(key) ^ self.seed);
        ((product >> 64) as u64 ^ product as u64).to_le_bytes()
    }

    /// Writes the stored form of the value that `parts` make up into `out`.
    pub(crate) fn close(self, key: &[u8], parts: &[&[u8]], out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&[0; SEAL_BYTES]);
        for part in parts {
            out.extend_from_slice(part);
        }
        let checksum = self.checksum(key, &out[SEAL_BYTES..]);
        out[..SEAL_BYTES].copy_from_slice(&checksum);
    }

    /// Returns whether a stored value is the one that was put under this key.
    #[inline]
    pub(crate) fn verify(self, key: &[u8], stored: &[u8]) -> Result<()> {
        match stored.split_at_checked(SEAL_BYTES) {
            Some((checksum, payload))
                if planted!(ChecksumSkipped) || checksum == self.checksum(key, payload) =>
            {
                if self.table.is_long_enough(payload) {
                    Ok(())
                } else {
                    Err(self.refuse(key, "the value is too short"))
                }
            }
            Some(_) => Err(self.refuse(key, "the checksum does not match")),
            None => Err(self.refuse(key, "the value is too short for its checksum")),
        }
    }

    #[cold]
    fn refuse(self, key: &[u8], detail: &str) -> Error {
        Error::corrupt(self.table.name(), Some(key), detail)
    }

    /// Looks up a value through `find`, verifies it and hands out its payload.
    ///
    /// A guard finds its bytes when it is asked for them, which on a damaged page panics: so the verification that
    /// asks first is guarded too, and whoever asks later gets the same bytes again.
    #[inline]
    pub(crate) fn find<'a>(
        self,
        key: &[u8],
        find: impl FnOnce() -> Result<Option<Guard<'a>>, redb::StorageError>,
    ) -> Result<Option<Value<'a>>> {
        // A guard is large: it goes to its place at once instead of through the layers in between.
        let mut found = None;
        guarded(self.table(), || {
            found = find()?;
            found.as_ref().map_or(Ok(()), |guard| self.verify(key, guard.value()))
        })?;
        Ok(found.map(|guard| Value { guard }))
    }
}

/// A verified value, borrowed from the engine's page without a copy. Dereferences to its bytes.
pub struct Value<'a> {
    guard: Guard<'a>,
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.guard.value()[SEAL_BYTES..]
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_verifies_only_where_it_was_put() {
        let seal = Seal::new(Table::new(0, "one"));
        let mut stored = Vec::new();
        seal.close(b"key", &[b"va", b"lue"], &mut stored);
        assert_eq!(&stored[SEAL_BYTES..], b"value");
        seal.verify(b"key", &stored).expect("the value is where it was put");
        assert!(seal.verify(b"yek", &stored).is_err(), "another key");
        assert!(Seal::new(Table::new(1, "two")).verify(b"key", &stored).is_err(), "another table");
        assert!(seal.verify(b"key", &stored[..7]).is_err(), "cut off");
        let long = Seal::new(Table::new(0, "one").bytes_min(6));
        assert!(long.verify(b"key", &stored).is_err(), "shorter than any of the table");
        for bit in 0..stored.len() * 8 {
            stored[bit / 8] ^= 1 << (bit % 8);
            assert!(seal.verify(b"key", &stored).is_err(), "bit {bit} flipped");
            stored[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
