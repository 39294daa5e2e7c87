//! Storage that fails on demand.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cohab::Options;
use cohab::testing::Storage;

/// Whether a failing operation stays broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The operation fails once, and those after it work.
    Once,
    /// The operation and all of its kind after it fail.
    ForEver,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Read,
    Write,
    Sync,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    kind: Kind,
    /// How many operations of the kind still work.
    left: u64,
    failure: Failure,
    errno: i32,
}

/// `ENOSPC`, which has this number on every Unix there is.
const NO_SPACE: i32 = 28;

/// `EIO`, likewise.
const IO_ERROR: i32 = 5;

/// Controls the failures of one store's storage. Clones share the control.
#[derive(Clone, Default)]
pub struct Faults {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    plan: Mutex<Option<Plan>>,
    failed: AtomicU64,
}

impl Faults {
    /// Puts the failing layer into a store's options.
    pub fn install(&self, options: Options) -> Options {
        let shared = self.shared.clone();
        options.storage_layer(move |inner| Box::new(Layer { inner, shared: shared.clone() }))
    }

    /// Fails a read with an I/O error, after `left` that work.
    pub fn fail_read(&self, left: u64, failure: Failure) {
        self.plan(Plan { kind: Kind::Read, left, failure, errno: IO_ERROR });
    }

    /// Fails a write, or growth of the file, with "no space left", after `left` that work. Half of its bytes are
    /// written.
    pub fn fail_write(&self, left: u64, failure: Failure) {
        self.plan(Plan { kind: Kind::Write, left, failure, errno: NO_SPACE });
    }

    /// Fails a sync with an I/O error, after `left` that work.
    pub fn fail_sync(&self, left: u64, failure: Failure) {
        self.plan(Plan { kind: Kind::Sync, left, failure, errno: IO_ERROR });
    }

    fn plan(&self, plan: Plan) {
        self.shared.failed.store(0, Ordering::SeqCst);
        *self.shared.plan() = Some(plan);
    }

    /// Lets everything work again, and returns how many operations have failed since the plan was made.
    pub fn heal(&self) -> u64 {
        *self.shared.plan() = None;
        self.shared.failed.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the error that an operation is to fail with.
    fn meet(&self, kind: Kind) -> Option<io::Error> {
        let mut slot = self.plan();
        let plan = slot.as_mut().filter(|plan| plan.kind == kind)?;
        if plan.left > 0 {
            plan.left -= 1;
            return None;
        }
        let errno = plan.errno;
        if plan.failure == Failure::Once {
            *slot = None;
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        Some(io::Error::from_raw_os_error(errno))
    }
}

struct Layer {
    inner: Box<dyn Storage>,
    shared: Arc<Shared>,
}

impl Storage for Layer {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.shared.meet(Kind::Read).map_or_else(|| self.inner.read(offset, out), Err)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.inner.len()?
            && let Some(error) = self.shared.meet(Kind::Write)
        {
            return Err(error);
        }
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.meet(Kind::Sync).map_or_else(|| self.inner.sync_data(), Err)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.shared.meet(Kind::Write) {
            // A full disk takes what still fits.
            Some(error) => self.inner.write(offset, &data[..data.len() / 2]).and(Err(error)),
            None => self.inner.write(offset, data),
        }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("plan", &*self.shared.plan()).finish_non_exhaustive()
    }
}
