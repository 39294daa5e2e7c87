//! The transaction log: what a transaction did, as a record that can be read, verified and undone.
//!
//! Every version of a store has one record. It begins with a [`Header`], lists each change with the image before
//! and after, sums up the namespaces it touched, and ends with a count. A record is cut into *chunks*, which the
//! caller stores under [`chunk_key`]s; a transaction of any size is written with one chunk in memory. Every
//! record names the [`Chain`] hash of the one before, so that the log cannot lose or change a record unnoticed.
//!
//! This crate encodes and decodes. It never reads or writes a file, and decides what retention trims without
//! trimming it.
//!
//! ```
//! use cohab_core::{Epoch, InstanceId, NamespaceId, Timestamp, Version};
//! use cohab_log::{Chain, Change, Header, Item, RecordWriter, items};
//!
//! let header = Header {
//!     version: Version::new(1),
//!     epoch: Epoch::new(1),
//!     instance: InstanceId::generate(),
//!     time: Timestamp::from_micros(0),
//!     label: "first".into(),
//!     previous: Chain::START,
//! };
//! let mut chunks = Vec::new();
//! let mut store = |_key: &[u8], chunk: &[u8]| -> Result<(), std::convert::Infallible> {
//!     chunks.push(chunk.to_vec());
//!     Ok(())
//! };
//! let mut record = RecordWriter::begin(&header);
//! record.change(NamespaceId::FIRST, Change::Insert { key: b"k", value: b"v" });
//! let end = record.finish(&mut store)?;
//!
//! assert_eq!(chunks.len(), 1);
//! assert_eq!(end.chain, Chain::START.extend(&chunks));
//! let changes = items(&chunks[0]).filter(|item| matches!(item, Ok(Item::Change(_)))).count();
//! assert_eq!(changes, 1);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod chain;
mod delta;
mod net;
mod record;
mod retention;
mod writer;

pub use chain::{Chain, ChainBuilder};
pub use delta::{DeltaError, DeltaHeader, DeltaKind, DeltaReader, DeltaWriter, Piece, Position};
pub use net::{Image, Net, NetChange, NetNamespace, NetRecord, Sides};
pub use record::{
    Change, Damaged, Header, Item, Items, Summary, chunk_key, header, items, parse_chunk_key, record_start,
};
pub use retention::{LogExtent, Retention};
pub use writer::{Finished, RecordWriter};
