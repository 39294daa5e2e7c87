//! The namespace model: what a namespace is called, what it holds, and what may be done to it.
//!
//! A namespace is three records in the store's catalogue. Its [`Record`] holds what people say about it and
//! changes with its metadata; its [`Contents`] hold what is counted of its data and change with its data; and a
//! row under its name points at both. Data is reached by [`NamespaceId`](cohab_core::NamespaceId) alone, so no
//! change of metadata can touch it: a rename rewrites two small rows whatever the namespace holds.
//!
//! Everything here is a pure function from a record to a record, or to bytes and back. The crate never sees a
//! data key, and never decides when a change becomes durable.
//!
//! ```
//! use cohab_core::{NamespaceId, Timestamp, Version};
//! use cohab_namespace::{Contents, Metadata, Record, Update};
//!
//! let metadata = Metadata::new("flags".parse()?);
//! let record = Record::create(NamespaceId::FIRST, metadata, Version::new(1), Timestamp::from_micros(0))?;
//!
//! let protect = Update::new().title("Feature flags").protected(true);
//! let record = record.update(&protect, Version::new(2))?;
//! assert_eq!(record.meta_version, Version::new(2));
//!
//! let refused = record.dropped(&Contents::EMPTY, false, Version::new(3), Timestamp::from_micros(0));
//! assert!(refused.unwrap_err().to_string().contains("protected"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod catalog;
mod error;
mod kept;
mod record;
mod update;

pub use cohab_core::Contents;
pub use error::{Error, Result};
pub use kept::{Kept, Lapse, Operation, Purpose, SAFETY_PREFIX, Safety};
pub use record::{Dropped, History, Metadata, Record};
pub use update::Update;
