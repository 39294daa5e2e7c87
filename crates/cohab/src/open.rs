//! Opening a store, in each of its roles, and recovering what a crash left on the way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use cohab_core::{InstanceId, StoreId};
use cohab_engine::Engine;
use cohab_fs::fork;
use cohab_lock::Holder;
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored};

use crate::caches::Caches;
use crate::coordination::Coordination;
use crate::directory::{Card, Directory, check_file_system, missing};
use crate::followers::Followers;
use crate::group::Queue;
use crate::guard;
use crate::keeper::Keeper;
use crate::latest::Latest;
use crate::layout::{CATALOG, DATA, LOG};
use crate::lineage::Lineage;
#[cfg(feature = "scripts")]
use crate::plugins::Supervisor;
use crate::stall::Watchdog;
use crate::store::{Inner, read_root};
use crate::telemetry::{self, Telemetry};
use crate::writing::Writing;
use crate::{CatchUp, Error, Kind, Options, Result, Role, Store};

/// How long a reader waits for somebody else to recover the store.
pub(crate) const RECOVERY_WAIT: Duration = Duration::from_secs(10);

/// How often a reader recovers a store before it takes the file for damaged.
const RECOVERIES_MAX: u32 = 5;

/// What a reader calls itself while it recovers the store.
pub(crate) const RECOVERY: &str = "recovery";

impl Store {
    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        if options.is_exclusive && matches!(options.role, Role::Standby | Role::Auto) {
            let message = "a store that is open exclusively has no stand-by";
            return Err(Error::invalid(message).hint("open it as the writer, or as a reader"));
        }
        match options.role {
            Role::Reader if is_file(path)? => Self::open_backup(path, options),
            Role::Reader => Self::open_reader(path, options),
            Role::Writer => Self::open_writer(path, options),
            Role::Standby => match Self::open_reader(path, options.clone()) {
                // There is nothing to stand by for.
                Err(error) if error.kind() == Kind::NotFound && options.create => {
                    Self::open_auto(path, options)
                }
                other => other,
            },
            Role::Auto => Self::open_auto(path, options),
        }
    }

    fn open_auto(path: &Path, options: Options) -> Result<Self> {
        match Self::open_writer(path, options.clone()) {
            Err(error) if error.kind() == Kind::Busy => Self::open_reader(path, options),
            other => other,
        }
    }

    fn open_writer(path: &Path, options: Options) -> Result<Self> {
        check_file_system(path, &options)?;
        let directory = if options.create { Directory::create(path)? } else { Directory::existing(path)? };
        let instance = InstanceId::generate();
        let (writing, root) = Writing::begin(&directory, &options, instance, options.wait)?;
        let store = Self::with(path, Some(directory), options, &root, instance)?;
        store.inner.writing.store(Some(Arc::new(writing)));
        store.inner.announce(root.version);
        guard::begin_writing(&store.inner)?;
        store.inner.update_record();
        Ok(store.kept())
    }

    fn open_reader(path: &Path, options: Options) -> Result<Self> {
        let directory = Directory::existing(path)?;
        check_file_system(path, &options)?;
        let card = directory.card()?.ok_or_else(|| missing(path))?;
        let open = || Engine::open_reader(&directory.data(), options.engine.clone());
        let engine = recovering(&directory, &options, RECOVERY_WAIT.max(options.wait), open)?;
        let root = read_root(&engine.snapshot()?)?;
        let root =
            root.ok_or_else(|| Error::corrupt(format!("{} holds no store", directory.data().display())))?;
        check_identity(&directory, card, &root)?;
        let store = Self::with(path, Some(directory), options, &root, InstanceId::generate())?;
        // What is visible may not be durable yet.
        store.inner.durable.store(0, Ordering::Relaxed);
        store.inner.reading.store(Some(Arc::new(engine)));
        Ok(store.kept())
    }

    fn open_backup(path: &Path, options: Options) -> Result<Self> {
        let not_a_store = || {
            Error::invalid(format!("{} is a file, neither a store's directory nor a backup", path.display()))
        };
        let engine = Engine::open_reader(path, options.engine.clone()).map_err(|error| match error {
            cohab_engine::Error::Corrupt { .. } => not_a_store(),
            other => other.into(),
        })?;
        let root = read_root(&engine.snapshot()?)?.ok_or_else(not_a_store)?;
        let store = Self::with(path, None, options, &root, InstanceId::generate())?;
        store.inner.reading.store(Some(Arc::new(engine)));
        Ok(store)
    }

    fn with(
        path: &Path,
        directory: Option<Directory>,
        options: Options,
        root: &Root,
        instance: InstanceId,
    ) -> Result<Self> {
        let is_shared = directory.is_some() && !options.is_exclusive;
        let coordination = directory.as_ref().filter(|_| is_shared);
        let coordination = coordination.map(|directory| Coordination::new(directory.page(), root.store));
        let registered = directory.as_ref().filter(|_| options.is_registered);
        let description = options.identity.description(instance, options.role);
        let registration = match registered.map(|directory| directory.registry().register(description)) {
            Some(Ok(registration)) => Some(registration),
            // Where nothing can be written, or the disk is full, the instance is not listed, and works all the same.
            Some(Err(
                cohab_registry::Error::Io { .. } | cohab_registry::Error::File(cohab_fs::Error::Io { .. }),
            ))
            | None => None,
            Some(Err(error)) => return Err(error.into()),
        };
        let caches = Arc::new(Caches::new(options.cache.clone(), options.cache_policies.clone()));
        let inner = Arc::new_cyclic(|handle| Inner {
            handle: handle.clone(),
            path: path.to_owned(),
            directory,
            options,
            id: root.store,
            instance,
            process: fork::generation(),
            latest: Latest::default(),
            writing: ArcSwapOption::empty(),
            reading: ArcSwapOption::empty(),
            queue: Queue::default(),
            durable: AtomicU64::new(root.version.get()),
            coordination,
            ages: Arc::default(),
            caches,
            lineage: Lineage::default(),
            followers: Followers::default(),
            commits: Watchdog::new("commit"),
            looks: Watchdog::new("snapshot"),
            asking: AtomicUsize::new(0),
            resting: AtomicU64::new(0),
            registration,
            telemetry: Telemetry::default(),
            #[cfg(feature = "scripts")]
            plugins: Supervisor::default(),
        });
        Ok(Self { _keeper: None, inner })
    }

    /// Begins what goes on beside the calls of a handle that stays open.
    fn kept(self) -> Self {
        let options = &self.inner.options;
        let is_kept = self.inner.registration.is_some()
            || options.role != Role::Reader
            || options.catch_up == CatchUp::Background;
        let keeper = is_kept.then(|| Arc::new(Keeper::start(&self.inner)));
        Self { _keeper: keeper, inner: self.inner }
    }
}

/// Whether a path leads to a file. That there is none is told by who opens it; that the system does not say, here.
fn is_file(path: &Path) -> Result<bool> {
    use std::io::ErrorKind as E;
    match path.metadata() {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) => match error.kind() {
            E::NotFound | E::NotADirectory | E::InvalidFilename | E::InvalidInput | E::PermissionDenied => {
                Ok(false)
            }
            _ if path.is_symlink() => Ok(false),
            _ => {
                let message = format!("examining {} failed", path.display());
                Err(Error::new(Kind::Io, message).source(error))
            }
        },
    }
}

pub(crate) fn create_root(engine: &Engine, options: &Options) -> Result<Root> {
    let root = Root::new(StoreId::generate(), options.clock.now());
    engine.write(|tx| {
        // Asking for a row makes the table, so that readers always find all three.
        tx.get(DATA, &[])?;
        tx.get(LOG, &[])?;
        tx.insert(CATALOG, ROOT_KEY, &[&root.encode()])?;
        Ok::<_, Error>(())
    })?;
    Ok(root)
}

pub(crate) fn check_identity(directory: &Directory, card: Card, root: &Root) -> Result<()> {
    if card.store == root.store {
        return Ok(());
    }
    let (path, stated, found) = (directory.root().display(), card.store, root.store);
    Err(Error::corrupt(format!("{path}: store.json says store {stated}, but store.redb is store {found}")))
}

impl Inner {
    /// Opens the file anew for reading, by `open`. Its last writer may have died since it was opened.
    pub(crate) fn recovering<T>(&self, open: impl Fn() -> cohab_engine::Result<T>) -> Result<T> {
        match &self.directory {
            // Whoever reads does not wait; the next read tries again.
            Some(directory) => recovering(directory, &self.options, Duration::ZERO, open),
            None => Ok(open()?),
        }
    }
}

/// Opens the file for reading, by `open`, and recovers it first if its last writer died. Waits for so long for somebody
/// else who is recovering it.
fn recovering<T>(
    directory: &Directory,
    options: &Options,
    wait: Duration,
    open: impl Fn() -> cohab_engine::Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + wait;
    let mut recoveries = 0;
    loop {
        let needs_recovery = match open() {
            Err(error @ cohab_engine::Error::NeedsRecovery(_)) => Error::from(error),
            other => return Ok(other?),
        };
        match recover(directory, options) {
            // The next writer may have died by now as well, but not that often: it is the header that says so and is wrong.
            Ok(()) if recoveries == RECOVERIES_MAX => {
                let data = directory.data();
                let message =
                    format!("{}: recovering it changes nothing, and it still needs that", data.display());
                return Err(Error::corrupt(message));
            }
            Ok(()) => recoveries += 1,
            // Where no writer may go on, the file is left so that it can be read all the same.
            Err(error) if error.kind() == Kind::Corrupt && recoveries < RECOVERIES_MAX => recoveries += 1,
            // Whoever holds the lock is recovering it, or is about to.
            Err(error) if error.kind() == Kind::Busy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() == Kind::Busy => return Err(error),
            Err(error) if error.kind() == Kind::Io => return Err(needs_recovery.source(error)),
            Err(error) => return Err(error),
        }
    }
}

/// Opens and closes the store as its writer, which recovers it.
fn recover(directory: &Directory, options: &Options) -> Result<()> {
    let holder = Holder::this_process(RECOVERY);
    let _lock = directory.writer_lock().acquire(&holder, Duration::ZERO)?;
    let _recovery = telemetry::recovery(directory.root());
    Ok(Engine::open(&directory.data(), options.engine.clone().create(false))?.close()?)
}
