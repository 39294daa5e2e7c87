//! What a record is made of, and how it is read.

use cohab_core::{Contents, Epoch, InstanceId, NamespaceId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::Chain;

/// How a record begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version that the transaction made.
    pub version: Version,
    /// The epoch of the writer that committed it.
    pub epoch: Epoch,
    /// The instance that committed it.
    pub instance: InstanceId,
    /// When it was committed, by that machine's wall clock.
    pub time: Timestamp,
    /// What the application called it; may be empty.
    pub label: String,
    /// The chain of everything before it.
    pub previous: Chain,
}

/// One change of one key, with what it takes to undo it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change<'a> {
    /// A key that was not there got a value.
    Insert {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
        /// Its value from now on.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
    },
    /// A key's value was replaced, be it by the same bytes.
    Update {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
        /// Its value until now.
        #[serde(with = "serde_bytes")]
        before: &'a [u8],
        /// The version that had set it.
        before_version: Version,
        /// Its value from now on.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
    },
    /// A key was removed.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
        /// Its value until now.
        #[serde(with = "serde_bytes")]
        before: &'a [u8],
        /// The version that had set it.
        before_version: Version,
    },
}

impl<'a> Change<'a> {
    /// Returns the key that changed.
    pub const fn key(&self) -> &'a [u8] {
        match *self {
            Self::Insert { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// Returns the value before the change, if there was one.
    pub const fn before(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Insert { .. } => None,
            Self::Update { before, .. } | Self::Delete { before, .. } => Some(before),
        }
    }

    /// Returns the version that had set the value before, if there was one.
    pub const fn before_version(&self) -> Option<Version> {
        match *self {
            Self::Insert { .. } => None,
            Self::Update { before_version, .. } | Self::Delete { before_version, .. } => Some(before_version),
        }
    }

    /// Returns the value after the change, if there is one.
    pub const fn after(&self) -> Option<&'a [u8]> {
        match *self {
            Self::Insert { value, .. } | Self::Update { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

/// What a namespace holds before and after the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The namespace.
    pub namespace: NamespaceId,
    /// What it held before.
    pub before: Contents,
    /// What it holds now; nothing if it was purged.
    pub after: Contents,
}

/// A piece of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Item<'a> {
    /// The first piece of every record.
    Begin(Header),
    /// The changes that follow, up to the next of these, are this namespace's.
    Namespace(NamespaceId),
    /// A change.
    #[serde(borrow)]
    Change(Change<'a>),
    /// A namespace's metadata changed: its catalogue records before and after.
    Metadata {
        /// The namespace.
        namespace: NamespaceId,
        /// Its record before; none if it was created.
        #[serde(borrow)]
        before: Option<&'a serde_bytes::Bytes>,
        /// Its record after; none if it was purged.
        #[serde(borrow)]
        after: Option<&'a serde_bytes::Bytes>,
    },
    /// Data of a namespace with history off changed: this many changes are not in the record.
    Unrecorded {
        /// The namespace.
        namespace: NamespaceId,
        /// How many changes there were.
        changes: u64,
    },
    /// What a touched namespace holds now.
    Summary(Summary),
    /// The last piece of every record.
    End {
        /// How many changes the record has listed.
        changes: u64,
    },
}

/// Bytes that no record consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log record is damaged at byte {offset} of its chunk")]
pub struct Damaged {
    /// Where in the chunk decoding stopped.
    pub offset: usize,
}

/// Decodes the items of one chunk, one after the other. Cost: no copy of keys or values.
pub fn items(chunk: &[u8]) -> Items<'_> {
    Items { rest: chunk, len: chunk.len() }
}

/// The items of one chunk. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let damaged = Damaged { offset: self.len - self.rest.len() };
        let decoded = postcard::take_from_bytes(self.rest).map_err(|_| damaged);
        self.rest = decoded.as_ref().map_or(&[], |(_, rest)| rest);
        Some(decoded.map(|(item, _)| item))
    }
}

/// Decodes the header of a record from its first chunk.
pub fn header(first_chunk: &[u8]) -> Result<Header, Damaged> {
    match items(first_chunk).next() {
        Some(Ok(Item::Begin(header))) => Ok(header),
        _ => Err(Damaged { offset: 0 }),
    }
}

/// Returns the key under which a chunk of a record is stored. Keys sort by version, then by chunk.
pub fn chunk_key(version: Version, chunk: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&version.get().to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Returns the key at which a record, or the next one there is, begins.
pub fn record_start(version: Version) -> [u8; 12] {
    chunk_key(version, 0)
}

/// Undoes [`chunk_key`].
pub fn parse_chunk_key(key: &[u8]) -> Option<(Version, u32)> {
    let (version, chunk) = key.split_first_chunk::<8>()?;
    let chunk = chunk.try_into().ok()?;
    Some((Version::new(u64::from_be_bytes(*version)), u32::from_be_bytes(chunk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_has_the_images_that_it_says() {
        let (key, before, value, before_version) = (b"k", b"b", b"v", Version::new(3));
        let check = |change: Change<'_>, before: Option<&[u8]>, after: Option<&[u8]>| {
            assert_eq!((change.key(), change.before(), change.after()), (&b"k"[..], before, after));
            assert_eq!(change.before_version(), before.map(|_| Version::new(3)));
        };
        check(Change::Insert { key, value }, None, Some(value));
        check(Change::Update { key, before, before_version, value }, Some(before), Some(value));
        check(Change::Delete { key, before, before_version }, Some(before), None);
    }

    #[test]
    fn keys_of_chunks_sort_by_version_and_then_by_chunk() {
        let key = |version, chunk| chunk_key(Version::new(version), chunk);
        assert_eq!(key(0x0102, 0x0304), [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 4]);
        assert!(key(1, u32::MAX) < key(2, 0) && key(2, 255) < key(2, 256));
        assert_eq!(record_start(Version::new(2)), key(2, 0));
        assert_eq!(parse_chunk_key(&key(7, 9)), Some((Version::new(7), 9)));
        for len in [0, 7, 8, 11] {
            assert_eq!(parse_chunk_key(&key(7, 9)[..len]), None, "{len} bytes");
        }
        assert_eq!(parse_chunk_key(&[0; 13]), None, "one byte more");
    }

    #[test]
    fn damage_is_told_by_where_it_is_and_ends_the_record() {
        let namespace = postcard::to_stdvec(&Item::Namespace(NamespaceId::FIRST)).expect("is encoded");
        let chunk = [&namespace[..], &[0xFF, 0xFF], &namespace].concat();
        let read: Vec<_> = items(&chunk).collect();
        let damaged = Damaged { offset: namespace.len() };
        assert_eq!(read, [Ok(Item::Namespace(NamespaceId::FIRST)), Err(damaged)]);
        let message = format!("log record is damaged at byte {} of its chunk", namespace.len());
        assert_eq!(damaged.to_string(), message);
        assert_eq!(header(&namespace), Err(Damaged { offset: 0 }), "a record begins with its header");
        assert_eq!(header(&[]), Err(Damaged { offset: 0 }));
    }
}
