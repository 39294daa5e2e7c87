//! The catalogue: how records and their keys are laid out in the store.
//!
//! ```text
//! 00                        the store's own row             → Root
//! 01 ‖ name                 a namespace by name             → NamespaceId
//! 02 ‖ id                   what is said about a namespace  → Record
//! 03 ‖ id                   what is counted of its data     → Contents
//! 04 ‖ name ‖ 00 ‖ version ‖ id   a dropped namespace by name and when it was dropped → nothing
//! 05 ‖ id                   a purged namespace whose keys are not all removed → nothing
//! 06 ‖ lock name            a named lock                    → the highest fencing token shown
//! 07 ‖ snapshot name        a version that is kept          → Kept
//! ```
//!
//! An id is four bytes and a version eight, big endian. Every value begins with one byte that numbers its format, followed by its
//! fields in postcard's encoding.

use cohab_core::{Epoch, Name, NamespaceId, StoreId, Timestamp, Token, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Contents, Kept, Record};

/// The format of every value in the catalogue.
const FORMAT: u8 = 2;

/// The key of the store's own row.
pub const ROOT_KEY: &[u8] = &[0];

/// The first byte of the rows that find live namespaces by name.
pub const NAMES: u8 = 1;

/// The first byte of the rows that say what a namespace is.
pub const RECORDS: u8 = 2;
const CONTENTS: u8 = 3;

/// The first byte of the rows that find dropped namespaces by name.
pub const TRASH: u8 = 4;

/// The first byte of the rows that remember purged namespaces.
pub const RECLAIM: u8 = 5;

const FENCES: u8 = 6;

/// The first byte of the rows of named snapshots.
pub const KEPT: u8 = 7;

/// The store's own row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Root {
    /// The store's identity.
    pub store: StoreId,
    /// The store and version that this one was copied from, if it was.
    pub origin: Option<Token>,
    /// When the store was made.
    pub created_at: Timestamp,
    /// The last version committed.
    pub version: Version,
    /// How often the catalogue was written; some commits make no version.
    pub revision: u64,
    /// The epoch of the writer that committed it.
    pub epoch: Epoch,
    /// The identity that the next namespace gets; none once they are used up.
    pub next_namespace: Option<NamespaceId>,
    /// The log's chain through the last version.
    pub chain: [u8; 32],
    /// The oldest version that the log has a record of.
    pub log_oldest: Version,
    /// When that was committed.
    pub log_oldest_time: Timestamp,
    /// The bytes of all log records.
    pub log_bytes: u64,
    /// The oldest version that a named snapshot keeps.
    pub kept: Option<Version>,
    /// What this store is a replica of, or was.
    pub upstream: Option<Upstream>,
}

impl Root {
    /// The row of a store that nothing was committed to.
    pub const fn new(store: StoreId, created_at: Timestamp) -> Self {
        Self {
            store,
            origin: None,
            created_at,
            version: Version::ZERO,
            revision: 0,
            epoch: Epoch::ZERO,
            next_namespace: Some(NamespaceId::FIRST),
            chain: [0; 32],
            log_oldest: Version::new(1),
            log_oldest_time: created_at,
            log_bytes: 0,
            kept: None,
            upstream: None,
        }
    }
}

/// Where a replica stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Upstream {
    /// The store that it follows.
    pub store: StoreId,
    /// The version of that store which it holds.
    pub version: Version,
    /// That store's chain through the version.
    pub chain: [u8; 32],
    /// The replica's own version that made it so. At a later one, somebody else has written to it.
    pub local: Version,
    /// Set once it follows no more.
    pub promoted: bool,
}

/// Returns the key that finds a live namespace by name.
pub fn name_key(name: &Name) -> Vec<u8> {
    prefixed(NAMES, name.as_bytes())
}

/// Returns the key of what is said about a namespace.
pub fn record_key(id: NamespaceId) -> [u8; 5] {
    id_key(RECORDS, id)
}

/// Returns the key of what is counted of a namespace's data.
pub fn contents_key(id: NamespaceId) -> [u8; 5] {
    id_key(CONTENTS, id)
}

/// Returns the key that finds one dropped namespace.
pub fn trash_key(name: &Name, dropped: Version, id: NamespaceId) -> Vec<u8> {
    let mut key = trash_prefix(name);
    key.extend_from_slice(&dropped.get().to_be_bytes());
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Returns how the keys begin that find the dropped namespaces of one name, the one dropped last at the end.
pub fn trash_prefix(name: &Name) -> Vec<u8> {
    let mut key = prefixed(TRASH, name.as_bytes());
    // A name holds no zero byte, so no other name's rows come in between.
    key.push(0);
    key
}

/// Takes a key of the trash apart: the name, as it stands there, and the id.
pub fn parse_trash_key(key: &[u8]) -> Option<(&[u8], NamespaceId)> {
    let (rest, id) = key.split_last_chunk()?;
    let (rest, _version) = rest.split_last_chunk::<8>()?;
    let name = rest.strip_prefix(&[TRASH])?.strip_suffix(&[0])?;
    Some((name, NamespaceId::from_be_bytes(*id)))
}

/// Takes the key of what is said about a namespace apart.
pub fn parse_record_key(key: &[u8]) -> Option<NamespaceId> {
    let id = key.strip_prefix(&[RECORDS])?;
    id.try_into().ok().map(NamespaceId::from_be_bytes)
}

/// Returns the key that remembers a purged namespace until all its keys are removed.
pub fn reclaim_key(id: NamespaceId) -> [u8; 5] {
    id_key(RECLAIM, id)
}

/// Takes a key of a purged namespace apart.
pub fn parse_reclaim_key(key: &[u8]) -> Option<NamespaceId> {
    let id = key.strip_prefix(&[RECLAIM])?;
    id.try_into().ok().map(NamespaceId::from_be_bytes)
}

/// Returns the key that remembers the highest fencing token of a lock that was shown to the store.
pub fn fence_key(lock: &str) -> Vec<u8> {
    prefixed(FENCES, lock.as_bytes())
}

/// Returns the key of a named snapshot.
pub fn kept_key(name: &Name) -> Vec<u8> {
    prefixed(KEPT, name.as_bytes())
}

/// Takes the key of a named snapshot apart.
pub fn parse_kept_key(key: &[u8]) -> Option<Name> {
    Name::from_bytes(key.strip_prefix(&[KEPT])?).ok()
}

fn prefixed(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(rest.len() + 6);
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

fn id_key(kind: u8, id: NamespaceId) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [kind, a, b, c, d]
}

/// Bytes that are not the catalogue value they should be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damaged {
    /// The value is of a format that this build does not know.
    #[error("catalogue value has format {found}, this build reads {FORMAT}")]
    Format {
        /// The number it begins with.
        found: u8,
    },
    /// The bytes do not decode.
    #[error("catalogue value does not decode")]
    Bytes,
}

/// A value that the catalogue stores.
pub trait Stored: Serialize + DeserializeOwned {
    /// Encodes the value.
    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("writing into memory does not fail")
    }

    /// Decodes a value and refuses whatever [`encode`](Self::encode) would not have written.
    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        match bytes.split_first() {
            Some((&FORMAT, fields)) => match postcard::take_from_bytes(fields) {
                Ok((value, [])) => Ok(value),
                _ => Err(Damaged::Bytes),
            },
            Some((&found, _)) => Err(Damaged::Format { found }),
            None => Err(Damaged::Bytes),
        }
    }
}

impl Stored for Root {}
impl Stored for Record {}
impl Stored for Contents {}
impl Stored for Kept {}
impl Stored for NamespaceId {}
impl Stored for u64 {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Metadata, Update};

    fn name(text: &str) -> Name {
        Name::new(text).expect("is a name")
    }

    #[test]
    fn values_survive_their_encoding_and_nothing_else_decodes() {
        let mut record = Record::create(
            NamespaceId::new(7),
            Metadata::new(name("a/b")),
            Version::new(3),
            Timestamp::from_micros(9),
        )
        .expect("is within bounds");
        record = record
            .update(&Update::new().label("k", "v").title("t"), Version::new(4))
            .expect("is within bounds");
        let encoded = record.encode();
        assert_eq!(Record::decode(&encoded), Ok(record));
        for len in 0..encoded.len() {
            assert!(Record::decode(&encoded[..len]).is_err(), "cut off at {len}");
        }
        assert_eq!(Record::decode(&[&encoded[..], &[0]].concat()), Err(Damaged::Bytes), "one byte more");
        assert_eq!(Record::decode(&[&[9], &encoded[1..]].concat()), Err(Damaged::Format { found: 9 }));

        let root = Root::new(StoreId::generate(), Timestamp::from_micros(1));
        assert_eq!(Root::decode(&root.encode()), Ok(root));
    }

    #[test]
    fn a_name_finds_its_own_trash_and_no_other() {
        let id = NamespaceId::new(5);
        let key = |text: &str, dropped: u64| trash_key(&name(text), Version::new(dropped), id);
        assert!(key("a", 9).starts_with(&trash_prefix(&name("a"))));
        assert!(!key("a/b", 9).starts_with(&trash_prefix(&name("a"))));
        assert!(key("a", 9) < key("a", 10), "the one dropped last comes last");
        assert_eq!(parse_trash_key(&key("a/b", 9)), Some((&b"a/b"[..], id)));
        assert_eq!(parse_reclaim_key(&reclaim_key(id)), Some(id));
    }

    /// The bytes that `docs/format.md` draws.
    #[test]
    fn keys_are_those_of_the_format() {
        let (ab, id) = (name("a/b"), NamespaceId::new(0x0102_0304));
        let check = |key: &[u8], expected: &[u8]| assert_eq!(key, expected);
        check(ROOT_KEY, b"\x00");
        check(&name_key(&ab), b"\x01a/b");
        check(&record_key(id), b"\x02\x01\x02\x03\x04");
        check(&contents_key(id), b"\x03\x01\x02\x03\x04");
        check(&trash_prefix(&ab), b"\x04a/b\x00");
        check(
            &trash_key(&ab, Version::new(9), id),
            b"\x04a/b\x00\x00\x00\x00\x00\x00\x00\x00\x09\x01\x02\x03\x04",
        );
        check(&reclaim_key(id), b"\x05\x01\x02\x03\x04");
        check(&fence_key("lock"), b"\x06lock");
        check(&kept_key(&ab), b"\x07a/b");
    }

    #[test]
    fn a_key_is_taken_apart_as_what_it_is_and_as_nothing_else() {
        let (ab, id) = (name("a/b"), NamespaceId::new(5));
        assert_eq!(parse_record_key(&record_key(id)), Some(id));
        assert_eq!(parse_reclaim_key(&reclaim_key(id)), Some(id));
        assert_eq!(parse_kept_key(&kept_key(&ab)), Some(ab.clone()));
        let trash = trash_key(&ab, Version::new(9), id);
        for key in [&record_key(id)[..], &contents_key(id), &reclaim_key(id), &kept_key(&ab), &trash, b""] {
            assert_eq!(parse_record_key(key).is_some(), key == record_key(id), "{key:?}");
            assert_eq!(parse_reclaim_key(key).is_some(), key == reclaim_key(id), "{key:?}");
            assert_eq!(parse_kept_key(key).is_some(), key == kept_key(&ab), "{key:?}");
            assert_eq!(parse_trash_key(key).is_some(), key == trash, "{key:?}");
        }
        assert_eq!(parse_record_key(&record_key(id)[..4]), None, "cut off");
        assert_eq!(parse_kept_key(b"\x07a//b"), None, "is no name");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_decoders(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (Record::decode(&bytes), Root::decode(&bytes), Contents::decode(&bytes));
            let _ = (parse_trash_key(&bytes), parse_reclaim_key(&bytes), parse_kept_key(&bytes));
            let _ = Kept::decode(&bytes);
        }
    }
}
