//! A file that is open for reading only, beside whoever writes it.

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cohab_fs::Access;
use cohab_fs::fork::Released;
use redb::backends::FileBackend;
use redb::{BackendError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageBackend};

use crate::accounting;
use crate::branches::Source;
use crate::guard::guarded;
use crate::storage::{FileStorage, Opened};
use crate::{Error, Options, Result};

/// The bytes that a writer locks while it switches to its commit, and a reader while it takes a snapshot ("header
/// lock" in redb's `docs/design.md`).
const HEADER: (Bound<u64>, Bound<u64>) = (Bound::Included(0), Bound::Excluded(320));

/// A byte that nobody locks except along with the whole file (from those that redb reserves for itself).
const WHOLE_FILE: (Bound<u64>, Bound<u64>) =
    (Bound::Included((1 << 62) + 500), Bound::Included((1 << 62) + 500));

/// How often the header lock is tried at once: a writer that is not stopped holds it for microseconds.
const TRIES: u32 = 50;

/// How long to sleep between two tries after those, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(10));

pub(crate) struct Reader {
    /// In a forked child these descriptors stand for nothing, or the child would keep a dead reader's snapshots pinned.
    _inherited: Vec<Released>,
    database: ReadOnlyDatabase,
    header: FileBackend,
    file: Arc<File>,
    source: Arc<Source>,
    path: Arc<Path>,
    /// `None` where there is no writer to wait for, because the file is this process's alone.
    patience: Option<Duration>,
}

impl Reader {
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self> {
        let file = cohab_fs::open(path, Access::Read)?;
        let failed = |error| Error::io(format!("examining {}", path.display()), error);
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(Error::corrupt("file", None, format!("{} is empty", path.display())));
        }
        let header = FileBackend::new(file.try_clone().map_err(failed)?);
        let header = header.map_err(|error| Error::from_open(path, error, false))?;
        let patience = (!options.is_exclusive).then_some(options.patience);
        if let Some(patience) = patience {
            wait_for_header(&header, path, patience)?;
        }
        let database = guarded("file", || {
            let opened = options.builder().open_read_only(same_file(path, &file));
            opened.map_err(|error| Error::from_open(path, error, false))
        })?;
        let inherited = cohab_fs::fork::release_file_in_child(&file);
        let file = Arc::new(file);
        let opened = Arc::new(Opened::new(Box::new(FileStorage::new(file.clone()))));
        accounting::verify_for_reader(&*opened, path)?;
        let path: Arc<Path> = path.into();
        let source = Source::new(opened, path.clone());
        Ok(Self { _inherited: inherited, database, header, file, source, path, patience })
    }

    pub(crate) fn begin_read(&self) -> Result<ReadTransaction> {
        if let Some(patience) = self.patience {
            wait_for_header(&self.header, &self.path, patience)?;
        }
        guarded("file", || self.database.begin_read())
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes durable what any process has written to the file.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| Error::io(format!("syncing {}", self.path.display()), error))
    }
}

/// Waits until no writer is switching to its commit.
///
/// redb takes the lock in a call that waits in the kernel for as long as it takes; a writer that was stopped with the
/// lock in its hands would hang every reader without a word. So it is tried here first, on a descriptor of our own.
/// A writer that is stopped just between the two still hangs a reader, until it goes on.
fn wait_for_header(header: &FileBackend, path: &Path, patience: Duration) -> Result<()> {
    wait_until(path, patience, || header.try_lock_shared_range(HEADER.0, HEADER.1), header)
}

/// Waits, as one who is about to write, until no reader is taking a snapshot.
pub(crate) fn wait_for_readers(file: &File, path: &Path, patience: Duration) -> Result<()> {
    let header = file.try_clone().map_err(|e| Error::io(format!("opening {}", path.display()), e))?;
    let header = FileBackend::new(header).map_err(|error| Error::from_open(path, error, true))?;
    wait_until(path, patience, || header.try_lock_range(HEADER.0, HEADER.1), &header)
}

fn wait_until(
    path: &Path,
    patience: Duration,
    mut lock: impl FnMut() -> Result<bool, BackendError>,
    header: &FileBackend,
) -> Result<()> {
    let mut begin = None;
    let mut pause = PAUSE.0;
    let mut tries = 0;
    loop {
        match lock() {
            Ok(true) => {
                let _ = header.unlock_range(HEADER.0, HEADER.1);
                return Ok(());
            }
            Ok(false) => {}
            // A platform without range locks has nothing to wait for; anything else redb will meet, too, and tell.
            Err(_) => return Ok(()),
        }
        tries += 1;
        if tries < TRIES {
            std::thread::yield_now();
            continue;
        }
        if begin.is_none() {
            match header.try_lock_shared_range(WHOLE_FILE.0, WHOLE_FILE.1) {
                Ok(false) => return Err(Error::Locked(path.to_owned())),
                Ok(true) => _ = header.unlock_range(WHOLE_FILE.0, WHOLE_FILE.1),
                Err(_) => {}
            }
        }
        if begin.get_or_insert_with(Instant::now).elapsed() >= patience {
            return Err(Error::Stalled { path: path.to_owned(), waited: patience });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// A path by which redb opens the very file that was just examined, whatever the name points to by now.
#[cfg(target_os = "linux")]
fn same_file(_path: &Path, file: &File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[cfg(not(target_os = "linux"))]
fn same_file(path: &Path, _file: &File) -> PathBuf {
    path.to_owned()
}
