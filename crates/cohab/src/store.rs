//! The handle of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cohab_core::{Epoch, InstanceId, StoreId, Token, Version};
use cohab_engine::Engine;
use cohab_lock::{Held, Holder};
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored};

use crate::commit;
use crate::directory::{Card, Directory, missing};
use crate::group::Queue;
use crate::layout::{CATALOG, DATA, LOG};
use crate::{Batch, Error, Kind, Options, Result, Role, Snapshot, Transaction};

/// A store, open for writing or for reading. Clones share the handle, and any number of threads may use it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) directory: Option<Directory>,
    pub(crate) options: Options,
    pub(crate) id: StoreId,
    pub(crate) instance: InstanceId,
    pub(crate) epoch: Epoch,
    /// Before the lock, because fields are dropped in order: nobody gets the lock while the file is being closed.
    pub(crate) engine: Engine,
    pub(crate) queue: Queue,
    /// The last version whose commit returned `Ok` here.
    acknowledged: AtomicU64,
    /// The latest snapshot, shared until a commit makes it old.
    latest: Mutex<Option<Snapshot>>,
    _writer: Option<Held>,
}

/// What an integrity check of the file found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Integrity {
    /// Every page verifies.
    Sound,
    /// Every page of data verifies; the accounting of free pages did not match and was rebuilt.
    Repaired,
}

/// What a committed transaction returned, and the version it made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Committed<T> {
    /// The version from which on the change is there; the present one if the transaction changed nothing.
    pub version: Version,
    /// What the closure returned.
    pub value: T,
}

/// How long a reader waits for somebody else to recover the store.
const RECOVERY_WAIT: Duration = Duration::from_secs(10);

impl Store {
    /// Opens the store in a directory for writing, creating it if it is not there.
    ///
    /// # Errors
    ///
    /// As for [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Returns settings to open a store with.
    pub fn options() -> Options {
        Options::default()
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        match options.role {
            Role::Writer => Self::open_writer(path, options),
            Role::Reader if path.is_file() => Self::open_backup(path, options),
            Role::Reader => Self::open_reader(path, options),
        }
    }

    fn open_writer(path: &Path, options: Options) -> Result<Self> {
        let directory = if options.create { Directory::create(path)? } else { Directory::existing(path)? };
        let card = directory.card()?;
        if card.is_none() && !options.create {
            return Err(missing(path));
        }
        let instance = InstanceId::generate();
        let holder = Holder::this_process("writer").instance(instance);
        let lock = directory.writer_lock().acquire(&holder, options.wait)?;
        // Somebody may have made the store while we waited.
        let card = directory.card()?;
        let engine = Engine::open(&directory.data(), options.engine.clone().create(card.is_none()))?;
        let root = match read_root(&engine.snapshot()?)? {
            Some(root) => root,
            None if card.is_none() => create_root(&engine, &options)?,
            None => return Err(Error::corrupt(format!("{} holds no store", directory.data().display()))),
        };
        match card {
            Some(card) => check_identity(&directory, card, &root)?,
            None => directory.write_card(Card::new(root.store))?,
        }
        let epoch = root.epoch.next();
        Ok(Self::with(path, Some(directory), options, &root, instance, epoch, engine, Some(lock)))
    }

    fn open_reader(path: &Path, options: Options) -> Result<Self> {
        let directory = Directory::existing(path)?;
        let card = directory.card()?.ok_or_else(|| missing(path))?;
        let engine = open_reading(&directory, &options)?;
        let root = read_root(&engine.snapshot()?)?;
        let root =
            root.ok_or_else(|| Error::corrupt(format!("{} holds no store", directory.data().display())))?;
        check_identity(&directory, card, &root)?;
        Ok(Self::reading(path, Some(directory), options, &root, engine))
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
        Ok(Self::reading(path, None, options, &root, engine))
    }

    fn reading(
        path: &Path,
        directory: Option<Directory>,
        options: Options,
        root: &Root,
        engine: Engine,
    ) -> Self {
        Self::with(path, directory, options, root, InstanceId::generate(), root.epoch, engine, None)
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a handle is put together")]
    fn with(
        path: &Path,
        directory: Option<Directory>,
        options: Options,
        root: &Root,
        instance: InstanceId,
        epoch: Epoch,
        engine: Engine,
        writer: Option<Held>,
    ) -> Self {
        let inner = Inner {
            path: path.to_owned(),
            directory,
            options,
            id: root.store,
            instance,
            epoch,
            engine,
            queue: Queue::default(),
            acknowledged: AtomicU64::new(root.version.get()),
            latest: Mutex::default(),
            _writer: writer,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Writes a store's card, `store.json`, anew from what its data says, and returns the store's identity.
    ///
    /// The way out when the card was torn or lost; it changes nothing else.
    ///
    /// # Errors
    ///
    /// [`Kind::Busy`] if the store is open for writing; [`Kind::Corrupt`] if its data does not say who it is.
    pub fn rewrite_card(path: impl AsRef<Path>) -> Result<StoreId> {
        let directory = Directory::existing(path.as_ref())?;
        let _lock = directory.writer_lock().acquire(&Holder::this_process("repair"), Duration::ZERO)?;
        let options = Options::default();
        let engine = Engine::open(&directory.data(), options.engine.create(false))?;
        let root = read_root(&engine.snapshot()?)?;
        let root =
            root.ok_or_else(|| Error::corrupt(format!("{} holds no store", directory.data().display())))?;
        directory.write_card(Card::new(root.store))?;
        Ok(root.store)
    }

    /// Returns the store's identity.
    pub fn id(&self) -> StoreId {
        self.inner.id
    }

    /// Returns the identity of this handle.
    pub fn instance(&self) -> InstanceId {
        self.inner.instance
    }

    /// Returns the path it was opened with.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns what the handle is for.
    pub fn role(&self) -> Role {
        self.inner.options.role
    }

    /// Returns a token that tells another process to read at least this version.
    pub fn token(&self, version: Version) -> Token {
        Token { store: self.inner.id, version }
    }

    /// Returns who has the store open for writing, if anybody does.
    pub fn writer(&self) -> Option<Holder> {
        self.inner.directory.as_ref()?.writer_lock().current()
    }

    /// Returns the length of the store's file in bytes.
    pub fn file_bytes(&self) -> Result<u64> {
        Ok(self.inner.engine.file_bytes()?)
    }

    /// Returns the store as it is after the last commit.
    ///
    /// Cost for the writer: a reference count, unless there was a commit since the last snapshot. Never waits for a
    /// transaction at work.
    ///
    /// # Errors
    ///
    /// [`Kind::Poisoned`] after a failed commit that shows in the file although its outcome is unknown. Otherwise the
    /// last acknowledged version can still be read then; snapshots from before the failure may not.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut latest = self.inner.latest();
        if let Some(snapshot) = latest.as_ref() {
            return Ok(snapshot.clone());
        }
        let snapshot = Snapshot::open(self.inner.engine.snapshot()?)?;
        // A power cut could still take back what was never acknowledged.
        if self.is_poisoned() && snapshot.version().get() > self.inner.acknowledged.load(Ordering::Acquire) {
            return Err(Error::from(cohab_engine::Error::Poisoned));
        }
        // Only the writer knows when its snapshot has become old.
        if self.role() == Role::Writer {
            *latest = Some(snapshot.clone());
        }
        Ok(snapshot)
    }

    /// Runs a closure in a transaction and commits what it did, durably, at one version.
    ///
    /// The transaction reads its own writes. It is dropped whole if the closure returns an error or panics. One
    /// transaction runs at a time: this waits for those before it. A transaction that changes nothing commits
    /// nothing and makes no version.
    ///
    /// # Errors
    ///
    /// What the closure returned, [`Error::abort`] for reasons of its own; [`Kind::CommitUnknown`] if the commit
    /// failed half-way, after which the handle is [`Kind::Poisoned`] until [`reopen`](Self::reopen);
    /// [`Kind::ReadOnly`].
    pub fn write<T>(&self, f: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T>) -> Result<Committed<T>> {
        let _turn = self.inner.queue.turn();
        let committed = commit::run(&self.inner, |commit| {
            let mut transaction = Transaction::begin(commit);
            let value = f(&mut transaction)?;
            let (commit, version) = transaction.finish()?;
            Ok((commit, Committed { version, value }))
        });
        self.inner.settle(committed.as_ref().ok().map(|committed| committed.version));
        committed
    }

    /// Commits a batch, durably, at a version of its own, which it returns.
    ///
    /// Batches that several threads submit at the same time share one commit of the engine and thereby one wait for
    /// the disk. Each keeps its own version; a precondition that fails refuses its own batch alone. A batch without
    /// operations whose preconditions hold returns the present version.
    ///
    /// # Errors
    ///
    /// [`Kind::Conflict`] with every precondition that failed in [`Error::refusals`]; [`Kind::NotFound`] for a
    /// namespace that is not there; otherwise as for [`write`](Self::write).
    pub fn submit(&self, batch: Batch) -> Result<Version> {
        batch.check()?;
        self.inner.queue.submit(batch, |batches| {
            let results = commit::run_group(&self.inner, batches);
            self.inner.settle(results.iter().filter_map(|result| result.as_ref().ok().copied()).max());
            results
        })
    }

    /// Returns whether an earlier commit failed, so that the handle takes no more writes.
    pub fn is_poisoned(&self) -> bool {
        self.inner.engine.is_poisoned()
    }

    /// Closes the file and opens it again: the way out of [`Kind::Poisoned`].
    ///
    /// Returns the version that the store is at, which tells whether a commit of unknown outcome is in it. Older
    /// snapshots report [`Kind::Closed`].
    pub fn reopen(&self) -> Result<Version> {
        let _turn = self.inner.queue.turn();
        self.inner.forget_latest();
        self.inner.engine.reopen()?;
        let version = self.snapshot()?.version();
        self.inner.settle(Some(version));
        Ok(version)
    }

    /// Verifies every page of the file, and rebuilds the accounting of free pages if it is off.
    ///
    /// Cost: reads the whole file. For the writer only, without open snapshots. What the pages *say* is verified by
    /// [`Snapshot::verify`].
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`], after which the handle is poisoned; [`Kind::InUse`].
    pub fn check(&self) -> Result<Integrity> {
        let _turn = self.inner.queue.turn();
        self.inner.forget_latest();
        Ok(match self.inner.engine.check()? {
            cohab_engine::Integrity::Sound => Integrity::Sound,
            cohab_engine::Integrity::Repaired => Integrity::Repaired,
        })
    }

    /// Moves the file's pages together and gives what is free at its end back to the system.
    ///
    /// Returns whether there was anything to gain. Readers that begin meanwhile wait.
    ///
    /// # Errors
    ///
    /// [`Kind::InUse`] if a snapshot is open, here or in another process.
    pub fn compact(&self) -> Result<bool> {
        let _turn = self.inner.queue.turn();
        self.inner.forget_latest();
        Ok(self.inner.engine.compact()?)
    }
}

impl Inner {
    fn latest(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a commit has come to, before its caller hears of it.
    fn settle(&self, committed: Option<Version>) {
        if let Some(version) = committed {
            self.acknowledged.fetch_max(version.get(), Ordering::AcqRel);
        }
        self.forget_latest();
    }

    pub(crate) fn forget_latest(&self) {
        // Dropped outside the lock: letting go of a snapshot makes system calls.
        let old = self.latest().take();
        drop(old);
    }
}

/// Reads the store's own row, or `None` in a file that has none.
pub(crate) fn read_root(snapshot: &cohab_engine::Snapshot) -> Result<Option<Root>> {
    let row = snapshot.get(CATALOG, ROOT_KEY)?;
    row.map(|row| Root::decode(&row)).transpose().map_err(Error::from)
}

fn create_root(engine: &Engine, options: &Options) -> Result<Root> {
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

fn check_identity(directory: &Directory, card: Card, root: &Root) -> Result<()> {
    if card.store == root.store {
        return Ok(());
    }
    let (path, stated, found) = (directory.root().display(), card.store, root.store);
    Err(Error::corrupt(format!("{path}: store.json says store {stated}, but store.redb is store {found}")))
}

/// Opens the file for reading and recovers it first if its last writer died.
fn open_reading(directory: &Directory, options: &Options) -> Result<Engine> {
    let deadline = Instant::now() + RECOVERY_WAIT.max(options.wait);
    loop {
        let needs_recovery = match Engine::open_reader(&directory.data(), options.engine.clone()) {
            Err(error @ cohab_engine::Error::NeedsRecovery(_)) => Error::from(error),
            other => return Ok(other?),
        };
        match recover(directory, options) {
            Ok(()) => {}
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
    let holder = Holder::this_process("recovery");
    let _lock = directory.writer_lock().acquire(&holder, Duration::ZERO)?;
    Ok(Engine::open(&directory.data(), options.engine.clone().create(false))?.close()?)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.inner.path)
            .field("id", &self.inner.id)
            .field("role", &self.role())
            .field("instance", &self.inner.instance)
            .finish_non_exhaustive()
    }
}
