//! All files of a plugin, as one unit.

use std::fmt;

use bytes::Bytes;

/// All files of a plugin: what is loaded, hashed, stored and handed on as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bundle {
    files: Vec<(String, Bytes)>,
    hash: ContentHash,
}

/// The BLAKE3 hash of a bundle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash([u8; 32]);

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x?}", self.0)
    }
}

impl Bundle {
    /// Returns a file's bytes.
    pub fn file(&self, name: &str) -> Option<&Bytes> {
        self.files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes)
    }

    /// Returns the hash of all of it.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }
}
