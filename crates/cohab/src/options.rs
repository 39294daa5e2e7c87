//! How a store is opened.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cohab_core::limits::CACHE_BYTES;
use cohab_core::{Clock, SystemClock};
use cohab_engine::Storage;

use crate::layout::TABLES;
use crate::{Result, Retention, Store};

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Role {
    /// Reads and writes; there is one such handle of a store at a time.
    #[default]
    Writer,
    /// Only reads, beside the writer if there is one. Creates nothing.
    Reader,
}

/// Whether the writer reads its file through a memory map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Mapping {
    /// Through a map where the platform has one. An I/O error of the disk then ends the process (`SIGBUS`).
    #[default]
    On,
    /// By system call; an I/O error of the disk is an [`Error`](crate::Error).
    Off,
}

/// Settings for opening a store; see [`Store::options`].
#[derive(Clone)]
pub struct Options {
    pub(crate) role: Role,
    pub(crate) create: bool,
    pub(crate) wait: Duration,
    pub(crate) retention: Retention,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: cohab_engine::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: Role::Writer,
            create: true,
            wait: Duration::ZERO,
            retention: Retention::default(),
            clock: Arc::new(SystemClock),
            engine: cohab_engine::Options::new(TABLES).cache_bytes(CACHE_BYTES),
        }
    }
}

impl Options {
    /// Sets what the handle is for. Default: [`Role::Writer`].
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets whether a writer creates a store that is not there yet. Default: yes. The parent directory must exist.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets how long to wait for another writer to end. Default: not at all.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how much of the past the log keeps from now on. Default: [`Retention::default`].
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how many bytes of the file's pages, clean and dirty together, are kept in memory. Default: 64 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.engine = self.engine.cache_bytes(bytes);
        self
    }

    /// Sets how the writer reads its file. Default: [`Mapping::On`].
    #[must_use]
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        self.engine = self.engine.mapping(match mapping {
            Mapping::On => cohab_engine::Mapping::On,
            Mapping::Off => cohab_engine::Mapping::Off,
        });
        self
    }

    /// Sets where wall time comes from. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Follows a recovery that has to walk the whole file. The callback gets the part done, 0 to 1, and may break it
    /// off, which leaves the store as it was.
    ///
    /// After an ordinary crash recovery takes milliseconds at any size and the callback is never called.
    #[must_use]
    pub fn on_recovery(mut self, f: impl Fn(f64) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.engine = self.engine.on_recovery(f);
        self
    }

    /// Puts a layer between the engine and its file, for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn storage_layer(
        mut self,
        layer: impl Fn(Box<dyn Storage>) -> Box<dyn Storage> + Send + Sync + 'static,
    ) -> Self {
        self.engine = self.engine.storage_layer(layer);
        self
    }

    /// Opens the store in a directory.
    ///
    /// A [`Role::Reader`] may also open a file that [`Store::backup`] wrote.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is no store and none is to be created;
    /// [`Kind::Busy`](crate::Kind::Busy) with the holder if another process writes;
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) if the path is something else than a store, or somebody
    /// else's; [`Kind::NeedsRecovery`](crate::Kind::NeedsRecovery) for a reader where the last writer died and nobody
    /// can write; [`Kind::Format`](crate::Kind::Format), [`Kind::Corrupt`](crate::Kind::Corrupt).
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(path.as_ref(), self)
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("role", &self.role)
            .field("create", &self.create)
            .field("wait", &self.wait)
            .field("retention", &self.retention)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}
