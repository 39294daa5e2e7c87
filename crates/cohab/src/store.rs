//! The handle of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use cohab_core::{Epoch, InstanceId, StoreId, Token, Version};
use cohab_engine::Engine;
use cohab_fs::fork::Generation;
use cohab_lock::Holder;
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored};
use cohab_registry::Registration;

use crate::ages::Ages;
use crate::caches::Caches;
use crate::commit;
use crate::coordination::Coordination;
use crate::directory::{Card, Directory};
use crate::followers::Followers;
use crate::group::Queue;
use crate::keeper::Keeper;
use crate::latest::{Latest, replaced};
use crate::layout::CATALOG;
use crate::lineage::Lineage;
#[cfg(feature = "scripts")]
use crate::plugins::Supervisor;
use crate::replica::check_writable;
use crate::stall::Watchdog;
use crate::telemetry::Telemetry;
use crate::uptime::uptime_ms;
use crate::writing::Writing;
use crate::{Batch, Error, Freshness, Kind, Options, Result, Role, Snapshot, Transaction};

/// How long the handle's own threads may have a snapshot open, which they do for microseconds.
const OWN_LOOK: Duration = Duration::from_millis(500);

/// A store, open for writing or for reading. Clones share the handle, and any number of threads may use it.
#[derive(Clone)]
pub struct Store {
    /// Before what it keeps: it lets go of that first, so that the store is closed when the last handle is dropped.
    pub(crate) _keeper: Option<Arc<Keeper>>,
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// For snapshots, which may outlive the handle.
    pub(crate) handle: Weak<Self>,
    pub(crate) path: PathBuf,
    /// `None` for a backup, which is a file.
    pub(crate) directory: Option<Directory>,
    pub(crate) options: Options,
    pub(crate) id: StoreId,
    pub(crate) instance: InstanceId,
    /// The process that opened the handle, as opposed to one forked from it.
    pub(crate) process: Generation,
    /// Before what it reads, because fields are dropped in order.
    pub(crate) latest: Latest,
    /// There while the handle is the writer.
    pub(crate) writing: ArcSwapOption<Writing>,
    /// There once the handle was a reader. It stays when the handle becomes the writer, for the snapshots it took.
    pub(crate) reading: ArcSwapOption<Engine>,
    pub(crate) queue: Queue,
    /// The last version known to be durable and acknowledged.
    pub(crate) durable: AtomicU64,
    pub(crate) coordination: Option<Coordination>,
    pub(crate) ages: Arc<Ages>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) lineage: Lineage,
    pub(crate) followers: Followers,
    pub(crate) commits: Watchdog,
    pub(crate) looks: Watchdog,
    /// How many threads ask for the writer's role through this handle.
    pub(crate) asking: AtomicUsize,
    /// Until when a handle that has stepped down leaves precedence to others, in milliseconds of uptime.
    pub(crate) resting: AtomicU64,
    pub(crate) registration: Option<Registration>,
    pub(crate) telemetry: Telemetry,
    #[cfg(feature = "scripts")]
    pub(crate) plugins: Supervisor,
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

    /// Writes a store's card, `store.json`, anew from what its data says, and returns the store's identity.
    ///
    /// The way out when the card was torn or lost; it changes nothing else.
    ///
    /// # Errors
    ///
    /// [`Kind::Busy`] if the store is open for writing; [`Kind::Corrupt`] if its data does not say who it is.
    pub fn rewrite_card(path: impl AsRef<Path>) -> Result<StoreId> {
        let directory = Directory::existing(path.as_ref())?;
        let _lock = directory.lock_for_writing(&Holder::this_process("repair"), Duration::ZERO)?;
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

    /// Returns what the handle is for, at present: a stand-by that has taken over is a writer.
    pub fn role(&self) -> Role {
        self.inner.role()
    }

    /// Returns the epoch in which this handle writes, if it is the writer.
    pub fn epoch(&self) -> Option<Epoch> {
        self.inner.writing.load().as_ref().map(|writing| writing.epoch)
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
        Ok(self.inner.engine()?.file_bytes()?)
    }

    /// Returns the store as it is after the last commit, or as fresh as [`Options::freshness`] asks for.
    ///
    /// Cost, unless there was a commit since the last snapshot: a load from memory that is shared with the writer, and
    /// a reference count; no system call. After a commit one thread takes a snapshot for all others. Never waits for a
    /// transaction at work; it may wait for the disk to have a commit that was just made.
    ///
    /// # Errors
    ///
    /// [`Kind::Stalled`] if the writer is stopped half-way in a commit; [`Kind::StoreReplaced`];
    /// [`Kind::UsedAfterFork`]; [`Kind::Poisoned`] after a failed commit that shows in the file although its outcome is
    /// unknown. Otherwise the last acknowledged version can still be read then; snapshots from before the failure may
    /// not.
    #[inline]
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot(self.inner.options.freshness)
    }

    /// Returns the store as fresh as this read needs it.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot); [`Kind::TimedOut`] if a version was waited for in vain;
    /// [`Kind::InvalidInput`] for a token of another store.
    #[inline]
    pub fn snapshot_at(&self, freshness: Freshness) -> Result<Snapshot> {
        self.inner.snapshot(freshness)
    }

    /// Takes a new snapshot, also on a handle whose snapshots are [`Freshness::Pinned`], and returns it.
    pub fn refresh(&self) -> Result<Snapshot> {
        self.inner.snapshot(Freshness::Latest)
    }

    /// Waits until the store is past a version, and returns a snapshot that is, or `None` if the time was over first.
    ///
    /// If the handle has a snapshot that is past it already, that is the one, although there may be a newer one.
    ///
    /// The wait is for a word in shared memory: the kernel wakes this process some ten microseconds after the commit.
    pub fn wait_past(&self, version: Version, wait: Duration) -> Result<Option<Snapshot>> {
        let Some(next) = version.get().checked_add(1) else { return Ok(None) };
        let token = self.token(Version::new(next));
        match self.snapshot_at(Freshness::AtLeast { token, wait }) {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(error) if error.kind() == Kind::TimedOut => Ok(None),
            Err(error) => Err(error),
        }
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
    /// [`Kind::Fenced`] or [`Kind::StoreReplaced`] if this is the writer no longer; [`Kind::Busy`] with the writer on a
    /// stand-by; [`Kind::ReadOnly`] on a reader.
    pub fn write<T>(&self, f: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T>) -> Result<Committed<T>> {
        self.inner.write(f)
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
        self.inner.submit(batch)
    }

    /// Returns whether an earlier commit failed, so that the handle takes no more writes.
    pub fn is_poisoned(&self) -> bool {
        self.inner.writing.load().as_ref().is_some_and(|writing| writing.engine.is_poisoned())
    }

    /// Closes the file and opens it again: the way out of [`Kind::Poisoned`].
    ///
    /// Returns the version that the store is at, which tells whether a commit of unknown outcome is in it. Older
    /// snapshots report [`Kind::Closed`].
    ///
    /// # Errors
    ///
    /// [`Kind::StoreReplaced`] if the file is not the one that was open, and [`Kind::Fenced`] if somebody else has taken
    /// over: then the handle is of no more use. [`Kind::Io`] if the system failed: then the handle takes no writes, as before,
    /// and this may be called again.
    pub fn reopen(&self) -> Result<Version> {
        let inner = &*self.inner;
        inner.check_process()?;
        let _turn = inner.queue.turn()?;
        if let Some(writing) = &*inner.writing.load() {
            writing.check_known()?;
        }
        let engine = inner.engine()?;
        let _watched = inner.commits.wait();
        // Nobody takes a snapshot before it is known whose file this is and what of it is durable.
        let version = inner.change_source(|| {
            inner.recovering(|| engine.reopen())?;
            let opened = engine.sync().and_then(|()| engine.snapshot()).map_err(Error::from);
            let root = opened.and_then(|snapshot| {
                let root = read_root(&snapshot)?;
                // What this handle has committed itself is not among what it has shown; those are its own.
                root.iter().try_for_each(|root| inner.check_lineage(&snapshot, root))?;
                Ok(root)
            });
            let is_ours =
                |root: &Root| root.store == inner.id && root.version >= inner.durable().max(inner.seen());
            match root {
                Ok(Some(root)) if is_ours(&root) => {
                    inner.note_durable(root.version);
                    Ok(root.version)
                }
                // What it holds cannot be told as long as it cannot be read, or what is there not be made durable.
                Err(error) if matches!(error.kind(), Kind::Io | Kind::Poisoned | Kind::Stalled) => {
                    engine.poison();
                    Err(error)
                }
                other => {
                    engine.close()?;
                    Err(other.err().unwrap_or_else(|| replaced(&inner.path)))
                }
            }
        })?;
        inner.announce(version);
        // A commit of unknown outcome may have been one of plugins. As long as it is not known who is to be asked, nobody writes.
        if inner.writing.load().is_some() {
            crate::guard::begin_writing(inner).inspect_err(|_| engine.poison())?;
        }
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
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        Ok(match self.inner.alone(Engine::check)? {
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
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        let _watched = self.inner.commits.wait();
        self.inner.alone(Engine::compact)
    }
}

impl Inner {
    pub(crate) fn write<T>(
        &self,
        f: impl FnOnce(&mut Transaction<'_, '_>) -> Result<T>,
    ) -> Result<Committed<T>> {
        self.check_process()?;
        let _turn = self.queue.turn()?;
        commit::run(self, |commit| {
            check_writable(&commit.root)?;
            let mut transaction = Transaction::begin(commit);
            let value = f(&mut transaction)?;
            transaction.ask_plugins()?;
            let (commit, version) = transaction.finish()?;
            Ok((commit, Committed { version, value }))
        })
    }

    pub(crate) fn submit(&self, batch: Batch) -> Result<Version> {
        self.check_process()?;
        batch.check()?;
        let commit = |batch| self.queue.submit(batch, |batches| commit::run_group(self, batches))?;
        #[cfg(feature = "planted")]
        let batch = batch.tear(commit)?;
        commit(batch)
    }

    /// Does something to the file that is only possible while no snapshot is open.
    ///
    /// The handle's own threads look at the store now and then, for a moment, and are waited for.
    fn alone<T>(&self, f: impl Fn(&Engine) -> cohab_engine::Result<T>) -> Result<T> {
        let deadline = Instant::now() + OWN_LOOK;
        loop {
            self.forget_latest();
            match f(&*self.engine()?) {
                Err(cohab_engine::Error::InUse) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(1));
                }
                done => return Ok(done?),
            }
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self.options.role {
            _ if self.writing.load().is_some() => Role::Writer,
            Role::Standby | Role::Auto => Role::Standby,
            // A writer that has handed over.
            Role::Writer | Role::Reader => Role::Reader,
        }
    }

    /// Refuses the handle in a process that was forked from the one that opened it: its locks, its threads and its
    /// snapshots are the parent's.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.process.is_current() { Ok(()) } else { Err(used_after_fork()) }
    }

    /// Returns what the handle writes with.
    pub(crate) fn writing(&self) -> Result<Arc<Writing>> {
        self.check_process()?;
        if let Some(writing) = self.writing.load_full() {
            return Ok(writing);
        }
        match (&self.directory, self.role()) {
            (Some(directory), Role::Standby) => {
                let mut error =
                    Error::new(Kind::Busy, "the store is open for writing elsewhere; this stands by");
                if let Some(holder) = directory.writer_lock().current() {
                    error = Error::busy(format!("the store is written by {holder}; this stands by"), holder);
                }
                Err(error.hint("let the writer do it, or take over with `Store::promote`"))
            }
            _ => Err(cohab_engine::Error::ReadOnly.into()),
        }
    }

    /// Returns the file, through which the handle writes or reads at present.
    pub(crate) fn engine(&self) -> Result<EngineRef> {
        self.check_process()?;
        if let Some(writing) = self.writing.load_full() {
            return Ok(EngineRef::Writing(writing));
        }
        let reading = self.reading.load_full().ok_or(cohab_engine::Error::Closed)?;
        Ok(EngineRef::Reading(reading))
    }

    /// Returns the last version that is known to be durable.
    #[inline]
    pub(crate) fn durable(&self) -> Version {
        Version::new(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn note_durable(&self, version: Version) {
        self.durable.fetch_max(version.get(), Ordering::AcqRel);
    }

    /// Notes what the store is at, as the one who begins to write it and knows.
    pub(crate) fn set_durable(&self, version: Version) {
        self.durable.store(version.get(), Ordering::Release);
    }

    pub(crate) fn is_writer_alive(&self) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.writer_lock().is_held())
    }

    /// Leaves precedence to others for a moment.
    pub(crate) fn rest(&self) {
        self.resting.store(uptime_ms() + 2000, Ordering::Relaxed);
    }

    pub(crate) fn is_resting(&self) -> bool {
        uptime_ms() < self.resting.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // The file and its locks are the parent's; closing them properly would write to them.
            std::mem::forget(self.writing.swap(None));
            std::mem::forget(self.reading.swap(None));
            std::mem::forget(self.latest.take());
            // Its locks may have been another thread's.
            std::mem::forget(self.caches.clone());
        }
    }
}

/// The file that a handle has open.
pub(crate) enum EngineRef {
    Writing(Arc<Writing>),
    Reading(Arc<Engine>),
}

impl std::ops::Deref for EngineRef {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Writing(writing) => &writing.engine,
            Self::Reading(reading) => reading,
        }
    }
}

#[cold]
pub(crate) fn used_after_fork() -> Error {
    Error::new(Kind::UsedAfterFork, "the store was opened by the process that this one was forked from")
        .hint("open the store anew in the child")
}

/// Reads the store's own row, or `None` in a file that has none.
pub(crate) fn read_root(snapshot: &cohab_engine::Snapshot) -> Result<Option<Root>> {
    let row = snapshot.get(CATALOG, ROOT_KEY)?;
    row.map(|row| Root::decode(&row)).transpose().map_err(Error::from)
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
