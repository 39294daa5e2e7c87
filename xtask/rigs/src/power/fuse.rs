//! A layer between the engine and its file that cuts the power in the middle of its work.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use cohab::Options;
use cohab::testing::Storage;

use super::report::Report;
use super::shutdown::{Journal, shut_down};

/// The operation that is cut short.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Point {
    /// Half of a write's bytes were handed to the system.
    Half,
    /// A write is done.
    Written,
    /// The file was made longer or shorter.
    Sized,
    /// A sync was about to begin.
    Unsynced,
    /// A sync is done.
    Synced,
}

/// Cuts the power of a file system at one operation of the store's file.
#[derive(Clone)]
pub(crate) struct Fuse {
    shared: Arc<Shared>,
}

struct Shared {
    mount: PathBuf,
    point: Option<Point>,
    left: AtomicI64,
    is_armed: AtomicBool,
    /// Whether nothing is synced, which a rig that is of use finds.
    skips_syncs: bool,
}

impl Fuse {
    /// Cuts at the operation of that kind that comes after `left` others. Without a point it never does.
    pub(crate) fn new(mount: PathBuf, point: Option<Point>, left: u32, skips_syncs: bool) -> Self {
        let shared = Shared {
            mount,
            point,
            left: AtomicI64::new(left.into()),
            is_armed: AtomicBool::new(false),
            skips_syncs,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to count.
    pub(crate) fn arm(&self) {
        self.shared.is_armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn install(&self, options: Options) -> Options {
        let shared = self.shared.clone();
        if shared.point.is_none() && !shared.skips_syncs {
            return options;
        }
        options.storage_layer(move |inner| Box::new(Layer { inner, shared: shared.clone() }))
    }
}

impl Shared {
    fn meets(&self, point: Point) -> bool {
        self.point == Some(point)
            && self.is_armed.load(Ordering::SeqCst)
            && self.left.fetch_sub(1, Ordering::SeqCst) == 0
    }

    fn pass(&self, point: Point) {
        if self.meets(point) {
            self.blow();
        }
    }

    fn blow(&self) {
        Report::Cut.send();
        // Where the rig was faster, there is nothing left to shut down.
        if let Err(error) = shut_down(&self.mount, Journal::Lost)
            && error.raw_os_error() != Some(libc::EIO)
        {
            Report::Panicked(format!("the file system cannot be shut down: {error}")).send();
        }
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
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        self.shared.pass(Point::Sized);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.pass(Point::Unsynced);
        if !self.shared.skips_syncs {
            self.inner.sync_data()?;
        }
        self.shared.pass(Point::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.shared.meets(Point::Half) {
            self.inner.write(offset, &data[..data.len() / 2])?;
            self.shared.blow();
        }
        self.inner.write(offset, data)?;
        self.shared.pass(Point::Written);
        Ok(())
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("inner", &self.inner).finish_non_exhaustive()
    }
}
