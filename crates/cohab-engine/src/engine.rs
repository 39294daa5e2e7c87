//! Opening, committing, and what is done to the file as a whole.

use std::fmt;
use std::fs::{File, Metadata, TryLockError};
use std::io;
use std::ops::{ControlFlow, Deref};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use cohab_fs::Access;
use cohab_fs::fork::Released;
use redb::backends::FileBackend;
use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase};

use crate::accounting;
use crate::branches::{Branches, Source};
use crate::guard::guarded;
use crate::reader::{Reader, wait_for_readers};
use crate::storage::{Backend, FileStorage, Opened, Refusal, Storage};
use crate::unfinished::is_unfinished;
use crate::{Error, MappedStorage, Result, Snapshot, Table, Transaction};

/// Whether the writer reads its file through a memory map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Mapping {
    /// Through a map where the system has one, else by system call.
    #[default]
    On,
    /// By system call.
    Off,
}

type RecoveryProgress = Arc<dyn Fn(f64) -> ControlFlow<()> + Send + Sync>;
type StorageLayer = Arc<dyn Fn(Box<dyn Storage>) -> Box<dyn Storage> + Send + Sync>;

/// How a file is opened.
#[derive(Clone)]
pub struct Options {
    tables: &'static [Table],
    cache_bytes: usize,
    mapping: Mapping,
    create: bool,
    pub(crate) is_exclusive: bool,
    pub(crate) patience: Duration,
    recovery: RecoveryProgress,
    layer: Option<StorageLayer>,
}

impl Options {
    /// Names the tables that the file has; the rest are defaults: 64 MiB of cache, mapped reads, create the file
    /// if there is none.
    pub fn new(tables: &'static [Table]) -> Self {
        Self {
            tables,
            cache_bytes: 64 << 20,
            mapping: Mapping::default(),
            create: true,
            is_exclusive: false,
            patience: Duration::from_secs(10),
            recovery: Arc::new(|_| ControlFlow::Continue(())),
            layer: None,
        }
    }

    /// Sets how many bytes of pages, clean and dirty together, the engine may keep in memory.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how the writer reads its file.
    #[must_use]
    pub fn mapping(mut self, mapping: Mapping) -> Self {
        self.mapping = mapping;
        self
    }

    /// Sets whether a file that is missing or empty is created (the default) or an error.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Sets whether the file is this process's alone: a writer keeps readers out too, and a reader keeps writers out.
    /// For file systems whose range locks or maps cannot be relied on between machines. Default: no.
    #[must_use]
    pub fn exclusive(mut self, is_exclusive: bool) -> Self {
        self.is_exclusive = is_exclusive;
        self
    }

    /// Sets how long a reader waits for a writer that is stopped in the middle of switching to its commit, before it
    /// reports [`Error::Stalled`]. Default: ten seconds.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Follows a recovery. The callback gets the part done, 0 to 1, and may break it off.
    ///
    /// After a crash, recovery loads what the last commit recorded and takes milliseconds at any size, without a
    /// call of this. Only a file whose record is missing, as an interrupted compaction leaves it, is walked whole.
    #[must_use]
    pub fn on_recovery(mut self, f: impl Fn(f64) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        self.recovery = Arc::new(f);
        self
    }

    /// Puts a layer between the engine and its storage, for tests that fail operations or observe them.
    #[must_use]
    pub fn storage_layer(
        mut self,
        layer: impl Fn(Box<dyn Storage>) -> Box<dyn Storage> + Send + Sync + 'static,
    ) -> Self {
        self.layer = Some(Arc::new(layer));
        self
    }

    pub(crate) fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        let recovery = self.recovery.clone();
        builder
            .set_concurrency_mode(if self.is_exclusive {
                ConcurrencyMode::ExclusiveWriter
            } else {
                ConcurrencyMode::SingleWriter
            })
            .set_cache_size(self.cache_bytes)
            .set_repair_callback(move |session| {
                if recovery(session.progress()).is_break() {
                    session.abort();
                }
            });
        builder
    }

    fn storage(&self, file: &Arc<File>) -> Box<dyn Storage> {
        let mapped = match self.mapping {
            Mapping::On if !self.is_exclusive => MappedStorage::new(file.clone()).ok(),
            _ => None,
        };
        let storage: Box<dyn Storage> = match mapped {
            Some(mapped) => Box::new(mapped),
            None => Box::new(FileStorage::new(file.clone())),
        };
        match &self.layer {
            Some(layer) => layer(storage),
            None => storage,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("tables", &self.tables)
            .field("cache_bytes", &self.cache_bytes)
            .field("mapping", &self.mapping)
            .field("create", &self.create)
            .finish_non_exhaustive()
    }
}

/// What an integrity check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Integrity {
    /// Every page verifies.
    Sound,
    /// Every page of data verifies; the accounting of free pages did not match and was rebuilt.
    Repaired,
}

enum Db {
    Writer {
        /// In a forked child these descriptors stand for nothing, or the child would keep a dead writer's locks.
        _inherited: Vec<Released>,
        /// Dropped before the lock below, so that nobody opens the file while it is being closed.
        database: Database,
        source: Arc<Source>,
        /// A second handle for reading once the first one has failed: redb refuses reads then, too.
        rescue: OnceLock<Reader>,
        refusal: Refusal,
        old_versions_out: Unlocking,
    },
    Reader(Reader),
}

/// An open file.
pub struct Engine {
    path: PathBuf,
    options: Options,
    writer: bool,
    poisoned: AtomicBool,
    /// How often the file was opened again.
    reopened: AtomicU64,
    /// `None` once closed, or when a reopening failed.
    db: RwLock<Option<Db>>,
}

impl Engine {
    /// Opens a file as its only writer, creating it if the options say so, and recovers it if its last writer
    /// did not close it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another writer has it, [`Error::NotFound`], [`Error::Untrusted`], [`Error::Corrupt`]
    /// if it is not a database or too damaged to open, [`Error::RecoveryStopped`].
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let access = if options.create { Access::Create } else { Access::Write };
        Self::open_writer(path, options, access)
    }

    /// Creates a file that must not exist yet.
    pub(crate) fn create_new(path: &Path, options: Options) -> Result<Self> {
        Self::open_writer(path, options.create(true), Access::CreateNew)
    }

    fn open_writer(path: &Path, options: Options, access: Access) -> Result<Self> {
        let db = writer(path, &options, access)?;
        Ok(Self::with(path, options, true, db))
    }

    /// Opens a file for reading only, beside its writer if there is one.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open), and [`Error::NeedsRecovery`] if the last writer died: then somebody must open
    /// the file as a writer first.
    pub fn open_reader(path: &Path, options: Options) -> Result<Self> {
        let db = Db::Reader(Reader::open(path, &options)?);
        Ok(Self::with(path, options, false, db))
    }

    fn with(path: &Path, options: Options, writer: bool, db: Db) -> Self {
        let poisoned = AtomicBool::new(false);
        let (reopened, db) = (AtomicU64::new(0), RwLock::new(Some(db)));
        Self { path: path.to_owned(), options, writer, poisoned, reopened, db }
    }

    fn db(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether an earlier commit failed, so that writes are refused until [`reopen`](Self::reopen).
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Returns how often the file was opened again, which ends the snapshots from before. A reader does it by itself when a
    /// read has failed.
    pub fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Acquire)
    }

    /// Has the handle take no more writes until [`reopen`](Self::reopen).
    pub fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Takes a snapshot of the last commit. Cost: five system calls, for a reader seven, and a few pages, without waiting
    /// for a writer at work.
    ///
    /// Works on a poisoned handle too, and then may show the commit whose outcome is unknown. A reader may see a
    /// commit whose writer still waits for the disk: see [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// [`Error::Stalled`] for a reader whose writer is stopped half-way in its commit.
    pub fn snapshot(&self) -> Result<Snapshot> {
        match self.try_snapshot() {
            // redb refuses all that follows a read that has failed, also when the device has come to itself again.
            Err(Error::Poisoned) if !self.writer => {
                self.reopen()?;
                self.try_snapshot()
            }
            other => other,
        }
    }

    fn try_snapshot(&self) -> Result<Snapshot> {
        let db = self.db();
        // One that could not be reopened is not closed for good.
        let without = || if self.writer && self.is_poisoned() { Error::Poisoned } else { Error::Closed };
        let (transaction, source) = match db.as_ref().ok_or_else(without)? {
            Db::Writer { rescue, .. } if self.is_poisoned() => {
                if rescue.get().is_none() {
                    // Of two that come at the same time, one opens it in vain.
                    let _ = rescue.set(Reader::open(&self.path, &self.options)?);
                }
                let rescue = rescue.get().ok_or(Error::Closed)?;
                (rescue.begin_read()?, rescue.source())
            }
            Db::Writer { database, source, .. } => (guarded("file", || database.begin_read())?, source),
            Db::Reader(reader) => (reader.begin_read()?, reader.source()),
        };
        Snapshot::open(&transaction, Branches::of_last(source)?, self.options.tables)
    }

    /// Runs `f` in a write transaction and commits it if `f` returns `Ok`.
    ///
    /// When this returns `Ok`, the changes survive a crash of the process and of the machine. When `f` fails or
    /// panics, nothing has changed. Waits for another transaction of this handle to end.
    ///
    /// # Errors
    ///
    /// What `f` returned; [`Error::CommitUnknown`] if the commit failed half-way, after which the handle is
    /// [`Error::Poisoned`]; [`Error::ReadOnly`].
    pub fn write<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if self.is_poisoned() {
            return Err(Error::Poisoned.into());
        }
        let db = self.db();
        let (database, source) = match db.as_ref().ok_or(Error::Closed)? {
            Db::Writer { database, source, .. } => (database, source),
            Db::Reader(_) => return Err(Error::ReadOnly.into()),
        };
        let mut inner = guarded("file", || database.begin_write())?;
        inner.set_quick_repair(true);
        let mut transaction = Transaction::new(&inner, Branches::of_last(source)?);
        // A panic must not unwind through the open transaction: its pages would leak, and recovery would have to
        // walk the whole file to find them.
        let outcome = catch_unwind(AssertUnwindSafe(|| f(&mut transaction)));
        let (failed, discarded) = (transaction.failed(), transaction.discarded());
        let closed = dropped(transaction);
        if failed || closed.is_err() {
            self.poison();
        }
        match outcome {
            Ok(Ok(done)) if !discarded => {
                closed?;
                let committed = guarded("file", || inner.commit());
                let committed =
                    committed.or_else(|e| if planted!(FailedCommitAcknowledged) { Ok(()) } else { Err(e) });
                committed.map_err(|error| {
                    self.poison();
                    Error::CommitUnknown(Box::new(error))
                })?;
                Ok(done)
            }
            abandoned => {
                if guarded("file", || inner.abort()).is_err() {
                    self.poison();
                }
                match abandoned {
                    Ok(failed) => failed,
                    Err(panic) => resume_unwind(panic),
                }
            }
        }
    }

    /// Closes the file and opens it again, recovering it if need be: the way out of [`Error::Poisoned`].
    ///
    /// Afterwards the file holds either all or nothing of a commit whose outcome was unknown. Snapshots taken
    /// before report [`Error::Closed`].
    ///
    /// # Errors
    ///
    /// As for opening. A writer that cannot be opened again is poisoned, and reads on if the file can be opened for that; this
    /// may be called again.
    pub fn reopen(&self) -> Result<()> {
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if !self.writer {
            // One that cannot be opened again stays what it was.
            let opened = Reader::open(&self.path, &self.options)?;
            self.reopened.fetch_add(1, Ordering::AcqRel);
            return dropped(db.replace(Db::Reader(opened)));
        }
        // Until it is open again.
        self.poison();
        self.reopened.fetch_add(1, Ordering::AcqRel);
        dropped(db.take())?;
        match writer(&self.path, &self.options, Access::Write) {
            Ok(opened) => {
                *db = Some(opened);
                self.poisoned.store(false, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                *db = Reader::open(&self.path, &self.options).ok().map(Db::Reader);
                Err(error)
            }
        }
    }

    /// Makes what the last snapshot showed durable, whoever wrote it.
    ///
    /// A commit is in the file, for other processes to see, a moment before its writer has made it durable. Whoever
    /// must not act on what a power cut could take back calls this, or hears from the writer that it is durable.
    pub fn sync(&self) -> Result<()> {
        match self.db().as_ref().ok_or(Error::Closed)? {
            Db::Writer { old_versions_out: file, .. } => {
                file.sync_data().map_err(|e| Error::io(format!("syncing {}", self.path.display()), e))
            }
            Db::Reader(reader) => reader.sync(),
        }
    }

    /// Returns whether the path still names the file that is open. Cost: two system calls.
    ///
    /// A file that was renamed over an open one takes its place unnoticed: what is committed to the old one is lost.
    pub fn is_in_place(&self) -> Result<bool> {
        let db = self.db();
        let file = match db.as_ref().ok_or(Error::Closed)? {
            Db::Writer { old_versions_out: file, .. } => file,
            Db::Reader(reader) => reader.file(),
        };
        is_named_by(file, &self.path)
    }

    /// Closes the file, leaving it in a state that needs no recovery. Dropping the engine does the same.
    ///
    /// Snapshots taken before report [`Error::Closed`].
    pub fn close(&self) -> Result<()> {
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        dropped(db)
    }

    /// Closes the file, and returns what the system refused to write meanwhile, which leaves it to be recovered.
    pub(crate) fn close_and_tell(&self) -> Result<Option<io::Error>> {
        let refusal = match &*self.db() {
            Some(Db::Writer { refusal, .. }) => refusal.clone(),
            _ => Refusal::default(),
        };
        self.close()?;
        Ok(refusal.take())
    }

    /// Verifies every page of the file against its checksum and rebuilds the accounting of free pages.
    ///
    /// Cost: reads the whole file. Needs every snapshot of this handle to be gone.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a page is damaged; [`Error::InUse`] if a snapshot is still open.
    pub fn check(&self) -> Result<Integrity> {
        self.exclusively(|database| match database.check_integrity() {
            Ok(true) => Ok(Integrity::Sound),
            Ok(false) => Ok(Integrity::Repaired),
            Err(redb::DatabaseError::TransactionInProgress) => Err(Error::InUse),
            Err(error) => Err(Error::from_open(&self.path, error, true)),
        })
    }

    /// Moves pages together and gives the space at the end of the file back to the system.
    ///
    /// Returns whether there was anything to gain. Blocks whoever begins to read meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] if a snapshot is open, in this process or another.
    pub fn compact(&self) -> Result<bool> {
        self.exclusively(|database| database.compact().map_err(Error::from))
    }

    fn exclusively<T>(&self, f: impl FnOnce(&mut Database) -> Result<T>) -> Result<T> {
        if self.is_poisoned() {
            return Err(Error::Poisoned);
        }
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        match db.as_mut().ok_or(Error::Closed)? {
            Db::Writer { database, .. } => {
                let result = guarded("file", || f(database));
                if matches!(&result, Err(error) if !matches!(error, Error::InUse)) {
                    self.poison();
                }
                result
            }
            Db::Reader(_) => Err(Error::ReadOnly),
        }
    }

    /// Returns the length of the file in bytes.
    pub fn file_bytes(&self) -> Result<u64> {
        let metadata = std::fs::metadata(&self.path);
        metadata.map(|m| m.len()).map_err(|e| Error::io(format!("examining {}", self.path.display()), e))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Closing commits once more. If that fails there is nobody left to tell, and the next opener recovers.
        let _ = dropped(self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Drops what ends with an operation of the B-tree, which can panic on damaged pages as any other.
fn dropped<T>(ending: T) -> Result<()> {
    guarded("file", || {
        drop(ending);
        Ok::<_, Error>(())
    })
}

fn writer(path: &Path, options: &Options, access: Access) -> Result<Db> {
    let file = cohab_fs::open(path, access)?;
    let old_versions_out = Unlocking(cohab_fs::open(path, Access::Read)?);
    // Where a whole-file lock and range locks see each other, as over a network, redb's own lock does for both.
    if !options.is_exclusive {
        lock_out_old_versions(path, &old_versions_out)?;
    }
    let failed = |error| Error::io(format!("examining {}", path.display()), error);
    let mut len = file.metadata().map_err(failed)?.len();
    if options.create && is_unfinished(&file).map_err(failed)? {
        file.set_len(0).map_err(failed)?;
        len = 0;
    }
    if len == 0 && !options.create {
        return Err(Error::corrupt("file", None, format!("{} is empty", path.display())));
    }
    // Locks belong to an open file, and a map keeps its file open in a forked child: so the map gets a file of its own.
    let opened_again = Arc::new(cohab_fs::open(path, Access::Write)?);
    for other in [&*old_versions_out, &*opened_again] {
        if !is_same(&file, other, path)? {
            let problem = "was replaced while it was being opened".to_owned();
            return Err(Error::Untrusted { path: path.to_owned(), problem });
        }
    }
    if !options.is_exclusive {
        wait_for_readers(&opened_again, path, options.patience)?;
    }
    let opened = Arc::new(Opened::new(options.storage(&opened_again)));
    accounting::verify_for_writer(&*opened, path)?;
    let locks = FileBackend::new(file).map_err(|e| Error::from_open(path, e, true))?;
    let backend = Backend::new(opened.clone(), locks);
    let refusal = backend.refusal();
    let database = guarded("file", || {
        options.builder().create_with_backend(backend).map_err(|error| Error::from_open(path, error, true))
    })?;
    let inherited = cohab_fs::fork::release_file_in_child(&old_versions_out);
    let rescue = OnceLock::new();
    let source = Source::new(opened, path.into());
    Ok(Db::Writer { _inherited: inherited, database, source, rescue, refusal, old_versions_out })
}

fn is_named_by(file: &File, path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(named) => Ok(identity(&metadata(file, path)?) == identity(&named)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(format!("examining {}", path.display()), error)),
    }
}

fn is_same(one: &File, other: &File, path: &Path) -> Result<bool> {
    Ok(identity(&metadata(one, path)?) == identity(&metadata(other, path)?))
}

/// Examines an open file that went by this path.
fn metadata(file: &File, path: &Path) -> Result<Metadata> {
    file.metadata().map_err(|error| Error::io(format!("examining {}", path.display()), error))
}

/// Tells a file from others, whatever they are called.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> impl PartialEq + use<> {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// An open file cannot be replaced here.
#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> impl PartialEq + use<> {}

/// A file that is unlocked when it is dropped, by name: a process that another thread is just starting has a copy of the
/// descriptor, and with it would keep a lock that was merely closed. (In a forked child the descriptor stands for
/// nothing.)
struct Unlocking(File);

impl Deref for Unlocking {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Unlocking {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Takes the whole-file lock that redb versions before 4.3 take, on a descriptor of its own.
///
/// Those versions do not see the range locks of the multi-process mode: on Linux they would open a file that a
/// writer has open, commit, and lose the commit. The lock is released when the file is dropped.
fn lock_out_old_versions(path: &Path, file: &File) -> Result<()> {
    match cohab_fs::uninterrupted(|| file.try_lock()) {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(path.to_owned())),
        // A file system without locks refuses redb's own range locks in a moment, with a better reason.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(error)) => Err(Error::io(format!("locking {}", path.display()), error)),
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("path", &self.path)
            .field("writer", &self.writer)
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
