//! The page as processes use it, and as nobody should.

mod damage;
#[cfg(unix)]
mod faults;
mod page;
#[cfg(unix)]
mod processes;

use std::path::PathBuf;

use cohab_coord::{Page, Publication};
use cohab_core::{Epoch, NamespaceId, StoreId, Version};

/// A directory with a page in it, which goes when this is dropped.
struct Scratch {
    dir: tempfile::TempDir,
    store: StoreId,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("there is room for a directory"), store: store() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("coord.page")
    }

    fn create(&self) -> Page {
        Page::create(&self.path(), self.store).expect("can be made")
    }

    fn open(&self) -> Page {
        Page::open(&self.path(), self.store).expect("is there")
    }
}

/// The store that parents and children agree on.
fn store() -> StoreId {
    "6f9619ff-8b86-4011-b42d-00c04fc964ff".parse().expect("is a uuid")
}

fn v(raw: u64) -> Version {
    Version::new(raw)
}

fn ns(raw: u32) -> NamespaceId {
    NamespaceId::new(raw)
}

fn at(version: u64, epoch: u64) -> Publication {
    Publication { version: v(version), epoch: Epoch::new(epoch) }
}
