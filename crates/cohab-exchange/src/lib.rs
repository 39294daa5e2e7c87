//! The text formats in which data comes into a store and leaves it.
//!
//! Each format is a module: [`jsonl`] and [`deb822`] give entries of a namespace from lines and stanzas,
//! [`tree`] from a directory, [`operation`] the steps of a transaction, and [`dump`] carries whole namespaces
//! from one store to another and comes out the same byte for byte. [`input`] opens what a user names,
//! decompresses it and guesses its format. Where bytes meet JSON, they do as [`Text`].
//!
//! Everything streams: memory is one line, stanza or file, each within its limit in [`cohab_core::limits`],
//! however large the input. Every reader stops at its first [`Error`], which names the line and quotes what is
//! wrong with it.
//!
//! # Limitations
//!
//! Nothing here knows a store: whether a namespace exists, and what an operation does, is the caller's concern.
//! Encodings other than UTF-8 are carried as bytes, never converted.
//!
//! ```
//! use cohab_exchange::{deb822, dump, jsonl};
//!
//! let packages = "Package: hello\nVersion: 2.10\n\nPackage: hello\nVersion: 2.12\n";
//! let mut stanzas = deb822::Stanzas::new(packages.as_bytes());
//! let mut dump = dump::Writer::begin(Vec::new())?;
//! dump.namespace(&dump::NamespaceHeader::new("packages".parse()?))?;
//! while let Some(stanza) = stanzas.next()? {
//!     dump.entry(stanza.key, stanza.body)?;
//! }
//! dump.end_namespace()?;
//! let dump = String::from_utf8(dump.finish()?)?;
//! assert!(dump.contains(r#"{"key":"hello=2.12","value":"Package: hello\nVersion: 2.12"}"#));
//!
//! let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\"}\n";
//! let read: Result<Vec<_>, _> = jsonl::entries(lines.as_bytes()).collect();
//! assert_eq!(read.unwrap_err().to_string(), "line 2: missing field `value`: `{\"key\":\"b\"}`");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod deb822;
pub mod dump;
mod error;
pub mod input;
pub mod jsonl;
mod lines;
mod object;
pub mod operation;
mod text;
pub mod tree;

pub use error::{Error, Result};
pub use operation::{Expectation, Operation, operations};
pub use text::Text;
