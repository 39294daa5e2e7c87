//! Deltas: what takes a replica of a store from one version to another, as one value.
//!
//! A delta says on its own where it leads from and to, is sealed with a hash, and is compressed. Numbers are little
//! endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 8 | magic | `cohabdlt` |
//! | 2 | format | 1 |
//! | 4 | header length | in bytes |
//! | … | header | a [`DeltaHeader`] in postcard |
//! | 8 | plain length | the bytes of the body before it was compressed |
//! | 8 | pieces | how many the body has |
//! | 8 | body length | in bytes, compressed |
//! | … | body | one zstd frame, of a window of 8 MiB at the most |
//! | 32 | hash | BLAKE3 of everything before |
//!
//! The plain body is a sequence of blocks, none of them empty: a length of 4 bytes, and that many bytes of [`Piece`]s
//! in postcard, one after the other. No piece lies in two blocks. A block is closed once it has
//! [`LOG_CHUNK_BYTES`], so it is much longer only for one large piece, and whoever reads needs memory for one block.
//!
//! A complete delta lists all its versions, without gaps, and every other piece belongs to one of them. Entries
//! follow their namespace, with keys that ascend up to the next [`Piece::Namespace`] or [`Piece::Version`]. Writer and
//! reader hold pieces to the same rules (`rules.rs`).

use cohab_core::limits::{KEY_BYTES_MAX, LOG_CHUNK_BYTES, VALUE_BYTES_MAX};
use cohab_core::{Contents, InstanceId, NamespaceId, StoreId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::Chain;

mod reader;
mod rules;
mod writer;

pub use reader::DeltaReader;
pub use writer::DeltaWriter;

const MAGIC: [u8; 8] = *b"cohabdlt";

/// The number of the delta format this build writes, and the only one it reads.
const FORMAT: u16 = 1;

/// The longest block: one byte less than a full one, and then the largest entry with its tag and lengths.
const BLOCK_BYTES_MAX: usize = LOG_CHUNK_BYTES + KEY_BYTES_MAX + VALUE_BYTES_MAX + 64;

/// Where a store is: a version, and the chain of the log through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The version.
    pub version: Version,
    /// The chain of the log through that version's record.
    pub chain: Chain,
}

/// What a delta tells of the versions between its two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeltaKind {
    /// Nothing: each key that changed travels once, as it is at the end.
    Coalesced,
    /// Every version, as it was committed.
    Complete,
}

/// How a delta begins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeltaHeader {
    /// The store that it was made from.
    pub store: StoreId,
    /// What it tells of the versions in between.
    pub kind: DeltaKind,
    /// Where a replica has to be for it to apply.
    pub from: Position,
    /// Where the replica is afterwards; never an earlier version.
    pub to: Position,
    /// The identity that the store hands out next there; none if all are used up.
    pub next_namespace: Option<NamespaceId>,
}

impl DeltaHeader {
    /// Makes the header of a delta that leads `from` a position `to` a later one, or the same.
    pub const fn new(
        store: StoreId,
        kind: DeltaKind,
        from: Position,
        to: Position,
        next_namespace: Option<NamespaceId>,
    ) -> Self {
        Self { store, kind, from, to, next_namespace }
    }
}

/// A piece of a delta.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Piece<'a> {
    /// The pieces that follow, up to the next of these, are what this version did. Only complete deltas have it.
    Version {
        /// The version.
        version: Version,
        /// When it was committed, by the wall clock of the machine that did.
        time: Timestamp,
        /// The instance that committed it.
        instance: InstanceId,
        /// What the application called it; may be empty.
        label: &'a str,
    },
    /// What is said of a namespace from now on.
    Record {
        /// The namespace.
        namespace: NamespaceId,
        /// Its catalogue record; none if it was purged.
        #[serde(borrow)]
        record: Option<&'a serde_bytes::Bytes>,
    },
    /// The entries that follow, up to the next of these, are this namespace's.
    Namespace {
        /// The namespace.
        namespace: NamespaceId,
        /// What it held before.
        before: Contents,
        /// What it holds after the entries that follow.
        after: Contents,
        /// Whether they are all that it holds, so that what it held goes.
        is_whole: bool,
    },
    /// A key has this value from now on.
    Put {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
        /// Its value.
        #[serde(with = "serde_bytes")]
        value: &'a [u8],
    },
    /// A key is gone.
    Delete {
        /// The key.
        #[serde(with = "serde_bytes")]
        key: &'a [u8],
    },
}

/// Why bytes are not read as a delta, or pieces not written as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// The bytes do not begin as a delta does.
    #[error("this is no delta: it begins with other bytes; check which file it is")]
    NotADelta,
    /// The delta ends early.
    #[error("the delta is cut off; fetch it again")]
    Truncated,
    /// The delta is of another format, which is newer unless it is damaged.
    #[error("the delta has format {found}, this build reads format {FORMAT}; update cohab here")]
    Format {
        /// The format it says it has.
        found: u16,
    },
    /// The delta's bytes are not the ones that were written.
    #[error("the delta has changed since it was written: its hash is another; fetch it again")]
    Checksum,
    /// The delta holds more than is allowed here.
    #[error(
        "the delta has {bytes} bytes uncompressed, and {max} are allowed; span fewer versions, or allow more"
    )]
    TooLarge {
        /// The bytes of its body before it is compressed; of one that is being written, those up to here.
        bytes: u64,
        /// The most that were allowed.
        max: u64,
    },
    /// The delta is as it was written, but breaks a rule, and so does not say what happened.
    #[error("the delta breaks the format's rules: {what}; have it made again")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Says what is wrong with a delta whose bytes are intact.
const fn damaged(what: &'static str) -> DeltaError {
    DeltaError::Damaged { what }
}

#[cfg(test)]
mod tests;
