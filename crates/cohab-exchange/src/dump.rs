//! The dump: namespaces with everything in them, as JSON lines that are the same wherever the data lies.
//!
//! ```text
//! {"cohab_dump":1}
//! {"namespace":{"name":"a","title":"","description":"","labels":{},"protected":false,"history":"full"}}
//! {"key":"k1","value":"v1"}
//! {"key":"k2","value":{"base64":"/w=="}}
//! {"end":{"namespace":"a","keys":2,"bytes":7,"digest":"…","header":"…"}}
//! {"end_of_dump":{"namespaces":1,"keys":2}}
//! ```
//!
//! Namespaces come in the order of their names and entries in the order of their keys, and nothing is written
//! that is particular to one store: no identities, versions or times. Equal data therefore gives equal bytes,
//! and a dump that is loaded and dumped again is the dump it was.
//!
//! A namespace's `end` carries the count of its keys, the bytes of its keys and values, the [`Digest`] of its
//! entries (which a store keeps as well, so the two can be compared) and the digest of what the line of its
//! `namespace` says. A reader accepts a dump as a whole or not at all: one that is cut off anywhere, or in which
//! anything was changed by accident, ends in an error and not in [`Event::End`].
//!
//! ```
//! use cohab_exchange::dump::{Event, NamespaceHeader, Reader, Writer};
//!
//! let mut dump = Writer::begin(Vec::new())?;
//! dump.namespace(&NamespaceHeader::new("flags".parse()?))?;
//! dump.entry(b"dark-mode", b"on")?;
//! dump.end_namespace()?;
//! let dump = dump.finish()?;
//!
//! let mut reader = Reader::new(&dump[..]);
//! let mut values = Vec::new();
//! while let Some(event) = reader.next()? {
//!     if let Event::Entry { value, .. } = event {
//!         values.push(value.to_vec());
//!     }
//! }
//! assert_eq!(values, [b"on"]);
//!
//! let mut cut_off = Reader::new(&dump[..dump.len() - 1]);
//! let error = loop {
//!     match cut_off.next() {
//!         Ok(event) => assert!(event.is_some(), "what is not whole does not end without an error"),
//!         Err(error) => break error.to_string(),
//!     }
//! };
//! assert!(error.starts_with("the dump is cut off after line 4"), "{error}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use cohab_core::{Digest, Name};
use serde::{Deserialize, Serialize};

mod line;
mod progress;
mod reader;
mod writer;

pub use reader::{Event, Reader};
pub use writer::Writer;

/// The number of the dump format this build writes, and the only one it reads.
pub const FORMAT: u64 = 1;

/// What a dump says about a namespace before its entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamespaceHeader {
    /// What it is called in paths and commands.
    pub name: Name,
    /// What it is called for readers; may be empty.
    pub title: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Free key/value pairs.
    pub labels: BTreeMap<String, String>,
    /// Whether dropping it is refused.
    pub protected: bool,
    /// How much of its past is kept: `full` or `off`.
    pub history: String,
}

impl NamespaceHeader {
    /// Names a namespace and leaves everything else at its default.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            title: String::new(),
            description: String::new(),
            labels: BTreeMap::new(),
            protected: false,
            history: "full".to_owned(),
        }
    }
}

/// What a dump says about a namespace after its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamespaceEnd {
    /// The namespace that ends.
    pub name: Name,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes its keys and values have.
    pub bytes: u64,
    /// The digest of its keys and values.
    pub digest: Digest,
}

/// What a dump says at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Totals {
    /// How many namespaces it has.
    pub namespaces: u64,
    /// How many keys they have together.
    pub keys: u64,
}

/// The counts as an error tells them.
impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} namespaces, {} keys", self.namespaces, self.keys)
    }
}

#[cfg(test)]
mod tests;
