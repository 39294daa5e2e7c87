//! The hash chain that ties records together.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The BLAKE3 hash over a record's chunks and the chain before it: it stands for the whole history up to there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain([u8; 32]);

impl Chain {
    /// The chain before the first record.
    pub const START: Self = Self([0; 32]);

    /// Wraps the 32 bytes that stand for a history.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Returns the chain after a record whose chunks are given in order.
    #[must_use]
    pub fn extend(self, chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut link = ChainBuilder::after(self);
        for chunk in chunks {
            link.chunk(chunk.as_ref());
        }
        link.finish()
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One link of the chain, while its record is being written or read.
#[derive(Clone, Debug)]
pub struct ChainBuilder(blake3::Hasher);

impl ChainBuilder {
    /// Begins the link that follows `previous`.
    pub fn after(previous: Chain) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&previous.0);
        Self(hasher)
    }

    /// Takes a chunk in. Its length goes first, so that bytes cannot wander between chunks.
    pub fn chunk(&mut self, chunk: &[u8]) {
        self.0.update(&(chunk.len() as u64).to_le_bytes());
        self.0.update(chunk);
    }

    /// Returns the chain with the record in it.
    pub fn finish(self) -> Chain {
        Chain(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_the_one_written_in_the_format_document() {
        let chain = Chain::START.extend([b"ab", b"cd"]);
        // BLAKE3 over the chain before, and each chunk behind its length in eight bytes, little endian.
        let mut bytes = vec![0; 32];
        for chunk in [b"ab", b"cd"] {
            bytes.extend_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(chunk);
        }
        let hash = blake3::hash(&bytes);
        assert_eq!(chain.to_bytes(), *hash.as_bytes());
        assert_eq!(Chain::from_bytes(chain.to_bytes()), chain);
        assert_eq!((chain.to_string(), format!("{chain:?}")), (hash.to_string(), hash.to_string()));
    }

    #[test]
    fn each_piece_of_the_past_makes_another_chain() {
        let chain = Chain::START.extend([b"ab"]);
        let others = [
            Chain::START,
            Chain::START.extend([b"ac"]),
            Chain::START.extend([b"a", b"b"]),
            Chain::START.extend([&b"ab"[..], b""]),
            chain.extend([b"ab"]),
        ];
        for other in others {
            assert_ne!(other, chain);
        }
    }
}
