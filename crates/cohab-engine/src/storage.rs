//! Where the file's bytes are: the seam between the B-tree and the operating system.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::BackendError;
use redb::backends::FileBackend;

/// Reads and writes the bytes of the store's file.
///
/// The engine calls it from several threads at once. A `write` becomes durable with the next `sync_data`; the
/// engine relies on nothing else.
#[expect(clippy::len_without_is_empty, reason = "a file is measured, never asked whether it is empty")]
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Returns the length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`. Reading past the end is an error.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Makes the file shorter or longer; what is new reads as zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
}

/// Plain positioned reads and writes.
#[derive(Debug)]
pub struct FileStorage {
    file: Arc<File>,
}

impl FileStorage {
    /// Uses an open file.
    pub fn new(file: Arc<File>) -> Self {
        Self { file }
    }
}

#[cfg(unix)]
mod at {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(out, offset)
    }

    pub(super) fn write(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
        if planted!(ShortWriteAccepted) {
            return file.write_at(data, offset).map(drop);
        }
        file.write_all_at(data, offset)
    }
}

#[cfg(windows)]
mod at {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(super) fn read(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match file.seek_read(out, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => (offset, out) = (offset + n as u64, &mut out[n..]),
            }
        }
        Ok(())
    }

    pub(super) fn write(file: &File, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            match file.seek_write(data, offset)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => (offset, data) = (offset + n as u64, &data[n..]),
            }
        }
        Ok(())
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        at::read(&self.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if planted!(DataNotSynced) {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        at::write(&self.file, offset, data)
    }
}

/// What the system said when it last refused to write. redb tells nobody what happens while it closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<io::Error>>>);

impl Refusal {
    /// Returns it, once.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn noted<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.inspect_err(|error| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cohab_fs::copy_of(error));
        })
    }
}

/// An open file, for the B-tree and for whoever reads a page without it.
#[derive(Debug)]
pub(crate) struct Opened {
    storage: Box<dyn Storage>,
    /// Held shared by whoever reads, so that the file is not closed under a read: once its locks are gone, somebody else
    /// may shorten the file or use its pages anew, and a map would not notice.
    is_closed: RwLock<bool>,
}

impl Opened {
    pub(crate) fn new(storage: Box<dyn Storage>) -> Self {
        Self { storage, is_closed: RwLock::new(false) }
    }

    /// Has no more read.
    pub(crate) fn close(&self) {
        *self.is_closed.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.is_closed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Opened {
    fn len(&self) -> io::Result<u64> {
        self.storage.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let is_closed = self.is_closed.read().unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            return Err(io::Error::other("the file is closed"));
        }
        self.storage.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.storage.write(offset, data)
    }
}

/// Hands redb our storage for bytes and its own file backend for the range locks between processes.
#[derive(Debug)]
pub(crate) struct Backend {
    opened: Arc<Opened>,
    locks: FileBackend,
    refusal: Refusal,
}

impl Backend {
    pub(crate) fn new(opened: Arc<Opened>, locks: FileBackend) -> Self {
        Self { opened, locks, refusal: Refusal::default() }
    }

    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.opened.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.opened.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.refusal.noted(self.opened.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.refusal.noted(self.opened.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.refusal.noted(self.opened.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.opened.close();
        self.locks.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks.query_lock_range(start, end)
    }
}
