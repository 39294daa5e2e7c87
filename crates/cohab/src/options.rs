//! How a store is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cohab_core::limits::{CACHE_BYTES, STALL_AFTER};
use cohab_core::{Clock, SystemClock};
use cohab_engine::Storage;
use cohab_registry::Home;

use crate::identity::Identity;
use crate::layout::TABLES;
use crate::{Cache, CachePolicy, Freshness, Result, Retention, Role, RoleChange, Stall, Store};

type OnRole = Arc<dyn Fn(&RoleChange) + Send + Sync>;
type OnStall = Arc<dyn Fn(&Stall) + Send + Sync>;

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

/// Who brings the cache up to date after a commit of another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum CatchUp {
    /// The next who reads the namespace: it goes through what was written, up to a bound, and drops that.
    #[default]
    OnRead,
    /// A thread that is woken by the commit, so that reads find it done.
    Background,
}

/// Settings for opening a store; see [`Store::options`].
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each switches something else")]
pub struct Options {
    pub(crate) role: Role,
    pub(crate) create: bool,
    pub(crate) wait: Duration,
    pub(crate) freshness: Freshness,
    pub(crate) retention: Retention,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) is_registered: bool,
    pub(crate) is_exclusive: bool,
    pub(crate) hands_over: bool,
    pub(crate) snapshot_age_max: Option<Duration>,
    pub(crate) stall_after: Duration,
    pub(crate) on_role: Option<OnRole>,
    pub(crate) on_stall: Option<OnStall>,
    pub(crate) cache: Option<Cache>,
    pub(crate) cache_policies: BTreeMap<Box<str>, CachePolicy>,
    pub(crate) catch_up: CatchUp,
    #[cfg(feature = "scripts")]
    pub(crate) runs_plugins: bool,
    pub(crate) engine: cohab_engine::Options,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: Role::Writer,
            create: true,
            wait: Duration::ZERO,
            freshness: Freshness::Latest,
            retention: Retention::default(),
            clock: Arc::new(SystemClock),
            identity: Identity::default(),
            is_registered: true,
            is_exclusive: false,
            hands_over: true,
            snapshot_age_max: None,
            stall_after: STALL_AFTER,
            on_role: None,
            on_stall: None,
            cache: None,
            cache_policies: BTreeMap::new(),
            catch_up: CatchUp::default(),
            #[cfg(feature = "scripts")]
            runs_plugins: true,
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

    /// Sets how new the snapshots of [`Store::snapshot`] are. Default: [`Freshness::Latest`].
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Says which application this is, for those who look at the store's instances.
    #[must_use]
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.identity.app = Some(app.into());
        self
    }

    /// Says which channel of the application this is, such as `stable` or `nightly`.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.identity.channel = Some(channel.into());
        self
    }

    /// Says which application, channel and instance this is, as the home does that the store lies in.
    #[must_use]
    pub fn of_home(mut self, home: &Home) -> Self {
        self.identity.app = Some(home.app().to_owned());
        self.identity.channel = Some(home.channel().to_owned());
        self.identity.label = home.label().map(str::to_owned);
        self
    }

    /// Says which version of the application this is.
    #[must_use]
    pub fn app_version(mut self, version: impl Into<String>) -> Self {
        self.identity.app_version = Some(version.into());
        self
    }

    /// Tells this instance from others of the same application.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.identity.label = Some(label.into());
        self
    }

    /// Sets whether the handle is listed among the store's instances. Default: yes, where the directory can be
    /// written. For a reader that is gone in a moment the two files are not worth their while.
    #[must_use]
    pub fn register(mut self, is_registered: bool) -> Self {
        self.is_registered = is_registered;
        self
    }

    /// Opens the store for this process alone. Required on a network file system, where locks and shared memory cannot
    /// be relied on between machines: there is a writer *or* there are readers. Default: no.
    #[must_use]
    pub fn exclusive(mut self, is_exclusive: bool) -> Self {
        self.is_exclusive = is_exclusive;
        self.engine = self.engine.exclusive(is_exclusive);
        self
    }

    /// Sets whether a writer gives its role to a stand-by that asks for it ([`Store::promote`]). Default: yes.
    #[must_use]
    pub fn hand_over(mut self, hands_over: bool) -> Self {
        self.hands_over = hands_over;
        self
    }

    /// As the writer, sets the age after which a snapshot is refused as [`Kind::SnapshotExpired`] in every process.
    ///
    /// A snapshot pins the pages it can reach, so one that is kept for hours makes the file grow. Default: no bound.
    ///
    /// [`Kind::SnapshotExpired`]: crate::Kind::SnapshotExpired
    #[must_use]
    pub fn snapshot_age_max(mut self, age: Duration) -> Self {
        self.snapshot_age_max = Some(age);
        self
    }

    /// Hears when the handle becomes the writer, or no longer is. Called on a thread of the store's own.
    #[must_use]
    pub fn on_role_change(mut self, f: impl Fn(&RoleChange) + Send + Sync + 'static) -> Self {
        self.on_role = Some(Arc::new(f));
        self
    }

    /// Hears when a commit, or a reader's look at a commit, has waited for `after` or longer, and who may be holding it
    /// up. It goes on waiting: nothing is taken from a process that is only stopped.
    #[must_use]
    pub fn on_stall(mut self, after: Duration, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.stall_after = after;
        self.on_stall = Some(Arc::new(f));
        self
    }

    /// Sets how long a reader waits for a writer that is stopped half-way in a commit, before it reports
    /// [`Kind::Stalled`](crate::Kind::Stalled). Default: ten seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.engine = self.engine.patience(patience);
        self
    }

    /// Sets how much of the past the log keeps from now on. Default: [`Retention::default`].
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the cache that values are kept in by those who read through it ([`Store::cached`]). Handles that are given
    /// the same one, of this store or another, share its budget. Default: one of 64 MiB for each handle, which
    /// occupies nothing until it is used.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Sets how values of the namespace of a name are cached. Default: [`CachePolicy::Shared`].
    #[must_use]
    pub fn cache_policy(mut self, namespace: impl Into<Box<str>>, policy: CachePolicy) -> Self {
        self.cache_policies.insert(namespace.into(), policy);
        self
    }

    /// Sets who brings the cache up to date after a commit of another process. Default: [`CatchUp::OnRead`].
    #[must_use]
    pub fn catch_up(mut self, catch_up: CatchUp) -> Self {
        self.catch_up = catch_up;
        self
    }

    /// Sets whether the handle, while it is the writer, calls the store's plugins for what was committed and when they are
    /// due, and looks whether their files have changed. Default: yes. Plugins that are asked before a commit always are;
    /// [`Plugins::catch_up`](crate::Plugins::catch_up) does the rest for a handle that does not.
    #[cfg(feature = "scripts")]
    #[must_use]
    pub fn run_plugins(mut self, runs: bool) -> Self {
        self.runs_plugins = runs;
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
