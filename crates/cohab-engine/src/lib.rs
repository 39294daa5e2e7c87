//! The storage engine: a handful of byte-to-byte tables in one file, changed atomically, read in snapshots.
//!
//! The engine is [redb](https://docs.rs/redb), a copy-on-write B-tree, behind types of our own. A file has **one
//! writer**, which opens it with [`Engine::open`]; processes that only read open it with
//! [`Engine::open_reader`], beside the writer and without waiting for it. A [`Transaction`] changes any number
//! of tables and becomes durable as a whole when [`Engine::write`] returns; a [`Snapshot`] never changes.
//!
//! What the engine adds to redb:
//!
//! - **Checksums that bind.** Every value is stored with a checksum over its table, key and bytes, which is
//!   verified on every read; redb verifies its pages only when asked to. A read that finds nothing verifies the
//!   neighbours instead, so that a damaged key does not pass for an absent one.
//! - **No panics.** A damaged page can make redb panic. The panic is caught and becomes [`Error::Corrupt`].
//! - **A handle that knows when it is finished.** After a failed commit the outcome is unknown, so the engine is
//!   poisoned and takes no more writes until [`Engine::reopen`] has found out.
//! - **Files of our own making**: opened without following symbolic links, mode 0600 whatever the umask, and
//!   locked against redb versions that do not know the multi-process locks.
//! - **Reads through a memory map** where the platform has one ([`Mapping`]).
//!
//! # Limitations
//!
//! A single flipped bit can make a page claim that it is empty, or point at an older copy of the same page; a
//! range then skips entries without an error. [`Engine::check`] finds those, and so does whoever compares what
//! it read with a count or digest kept elsewhere, as the layers above do. With [`Mapping::On`] an I/O error of
//! the disk under the file arrives as a `SIGBUS`, as in every store that maps its file.
//!
//! ```
//! use cohab_engine::{Engine, Error, Options, Table};
//!
//! const FRUIT: Table = Table::new(0, "fruit");
//!
//! let dir = tempfile::tempdir()?;
//! let engine = Engine::open(&dir.path().join("data.redb"), Options::new(&[FRUIT]))?;
//! engine.write(|tx| {
//!     tx.insert(FRUIT, b"apple", &[b"red"])?;
//!     tx.insert(FRUIT, b"pear", &[b"gre", b"en"])?;
//!     Ok::<_, Error>(())
//! })?;
//!
//! let snapshot = engine.snapshot()?;
//! assert_eq!(&*snapshot.get(FRUIT, b"pear")?.expect("was just inserted"), b"green");
//! assert!(snapshot.get(FRUIT, b"plum")?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "planted")]
#[macro_use(planted)]
extern crate cohab_core;

/// No defect is planted.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($defect:ident) => {
        false
    };
}

mod accounting;
mod branches;
mod copy;
mod engine;
mod entries;
mod error;
mod format;
mod gap;
mod guard;
mod mapped;
mod reader;
mod seal;
mod snapshot;
mod storage;
mod table;
mod transaction;
mod unfinished;

pub use copy::CopyProgress;
pub use engine::{Engine, Integrity, Mapping, Options};
pub use entries::{Direction, Entries, Entry};
pub use error::{Error, Result};
pub use mapped::MappedStorage;
pub use seal::Value;
pub use snapshot::Snapshot;
pub use storage::{FileStorage, Storage};
pub use table::Table;
pub use transaction::Transaction;
