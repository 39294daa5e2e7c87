//! Embedded storage for applications that run as several instances on one machine.
//!
//! A [`Store`] is a directory. One process writes to it, any number read, and none waits for another. Data lives in
//! *namespaces*, ordered maps from bytes to bytes; everything a transaction does to any of them happens at one
//! [`Version`], or not at all. What people say about a namespace – its name, title, labels, protection – is kept
//! apart from what it holds, so that no edit of the one can touch the other.
//!
//! ```
//! use cohab::Store;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("store");
//! let store = Store::open(path)?;
//! store.write(|tx| {
//!     tx.create_namespace("flags")?;
//!     tx.put("flags", "dark-mode", "on")?;
//!     tx.put("flags", "new-editor", "off")
//! })?;
//!
//! let snapshot = store.snapshot()?;
//! let flags = snapshot.namespace("flags")?;
//! assert_eq!(flags.get("dark-mode")?.as_deref(), Some(&b"on"[..]));
//! for entry in flags.prefix("new-")? {
//!     let entry = entry?;
//!     assert_eq!((entry.key(), entry.value()), (&b"new-editor"[..], &b"off"[..]));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! - [`Store::write`] runs a closure that reads its own writes; [`Store::submit`] takes a [`Batch`] with
//!   preconditions and shares one commit among the threads that submit at the same time. When either returns, the
//!   change survives a crash of the process and of the machine.
//! - A [`Snapshot`] never changes. [`Snapshot::namespace`] reads from one namespace of it.
//! - Every version has a record in the log, with the values before and after ([`Snapshot::log`]), within the store's
//!   [`Retention`].
//! - Every value carries a checksum bound to its namespace and key, verified whenever it is read. Damage is an error
//!   that names the place, never a wrong value.
//! - [`typed`] puts types over the bytes.
//!
//! # Features
//!
//! None is on by itself. `plugins` adds plugins (`Store::plugins`), `scripts` those without a WebAssembly engine, which takes
//! minutes to compile. `json` adds a codec for typed namespaces, `stream` watching as a `futures::Stream`. With `metrics`
//! a handle hands the numbers of its cache, the version it has seen, the age of its oldest snapshot and the number of
//! instances to the recorder of the crate `metrics`, once a second. With `tracing` there are events at changes of role,
//! stalls and recovery, and where the cache loses a namespace's entries. The guide lists their names.
//!
//! # Limitations
//!
//! The bounds are in [`limits`]. Stores belong on a local file system.

mod ages;
mod apply;
mod background;
mod backup;
mod batch;
mod cached;
mod caches;
mod commit;
mod compare;
mod coordination;
mod delta;
mod directory;
mod entries;
mod error;
mod follow;
mod followers;
mod group;
mod guard;
mod history;
mod identity;
mod instances;
mod keeper;
mod kept;
mod latest;
mod layout;
mod lineage;
mod locks;
mod log;
mod maintain;
mod materialized;
mod namespaces;
mod open;
mod opened;
mod options;
mod past;
#[cfg(feature = "scripts")]
mod plugins;
mod prefetch;
mod range;
mod refresh;
mod replica;
mod role;
mod snapshot;
mod stall;
mod store;
mod succession;
mod sync;
mod telemetry;
mod transaction;
pub mod typed;
mod undo;
mod uptime;
mod verify;
mod view;
mod walk;
mod watch;
mod writing;

pub use apply::Applied;
pub use batch::{Batch, Precondition, Refusal};
pub use cached::Cached;
pub use caches::NamespaceCache;
pub use cohab_cache::{Cache, Policy as CachePolicy, Stats as CacheStats};
pub use cohab_core::{
    Clock, Digest, Epoch, InstanceId, Name, NameError, NamespaceId, StoreId, SystemClock, Timestamp, Token,
    Version, limits,
};
pub use cohab_lock::{Cancel, Holder, LockState, Mode as LockMode, Wait};
pub use cohab_log::{Chain, Change, Retention};
pub use cohab_namespace::{
    Contents, Dropped, History, Kept, Lapse, Metadata, Operation, Purpose, Safety, Update,
};
pub use cohab_registry::{
    CacheRecord, Description, Home, Instance, Isolation, Lease, NamespaceCacheRecord, Port, PortPreference,
    Reaped, Registration, Registry,
};
pub use delta::{Delta, DeltaKind};
pub use directory::FORMAT;
pub use entries::{Entry, EntryRef, Range, Value};
pub use error::{Error, Kind, Result};
pub use follow::{Followed, Follower};
pub use followers::FollowerRecord;
pub use history::{Diff, KeyCommit, KeyDiff, KeyHistory, KeyVersion, NamespaceDiff};
pub use kept::NamedSnapshot;
pub use latest::Freshness;
pub use locks::{Fence, Lock};
pub use log::{Log, LogItem, LogRecord};
pub use maintain::Maintenance;
pub use materialized::{FoldChange, Materialized, Rebuild, Refreshed, View};
pub use namespaces::DropMode;
pub use options::{CatchUp, Mapping, Options};
#[cfg(feature = "scripts")]
pub use plugins::{
    AddPlugin, Grants as PluginGrants, Level as PluginLevel, LoadError as PluginLoadError, PluginFailure,
    PluginLogLine, PluginMode, PluginRecord, PluginSource, PluginStatus, Plugins, ReloadPlugin,
    Stage as PluginStage, Tier as PluginTier,
};
pub use prefetch::Prefetch;
pub use range::KeyRange;
pub use replica::Upstream;
pub use role::{Role, RoleChange};
pub use snapshot::{NamespaceInfo, Snapshot};
pub use stall::Stall;
pub use store::{Committed, Integrity, Store};
pub use transaction::{NamespaceMut, Transaction};
pub use undo::{RolledBack, Undone};
pub use verify::{Checkpoint, Difference, KeyBounds, Progress, Report, Verifier, VerifyOptions};
pub use view::{Direction, NamespaceView};
#[cfg(feature = "stream")]
pub use watch::WatchStream;
pub use watch::{Filter, KeyChange, Watch, WatchEvent, WatchStop};

/// What tests of a store's faults need; not part of the promise of this crate.
#[doc(hidden)]
pub mod testing {
    pub use cohab_engine::Storage;

    /// Decodes a store's card, and encodes it again.
    pub fn card(bytes: &[u8]) -> crate::Result<Vec<u8>> {
        let card = crate::directory::Card::parse(bytes, std::path::Path::new("store"))?;
        Ok(serde_json::to_vec(&card).expect("plain fields always serialize"))
    }

    /// Decodes what a store says of how far a plugin has come, and encodes it again.
    #[cfg(feature = "scripts")]
    pub fn cursor(bytes: &[u8]) -> crate::Result<Vec<u8>> {
        crate::plugins::cursor_again(bytes)
    }
}

/// The code that the project's front page shows.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
