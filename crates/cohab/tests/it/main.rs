//! The facade's tests, at the boundary users see. Those that guard an invariant name it.

mod backup;
mod batch;
mod crash;
mod damage;
mod faults;
mod log;
mod model;
mod namespaces;
mod open;
mod transactions;

use std::path::PathBuf;

use cohab::{Store, Version};

/// A store in a directory of its own, which goes when this is dropped.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("there is room for a directory") }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn store(&self) -> Store {
        Store::open(self.path()).expect("a store can be made in an empty directory")
    }

    /// A store with one namespace, `n`.
    fn with_namespace(&self) -> Store {
        let store = self.store();
        store.write(|tx| tx.create_namespace("n")).expect("can be created");
        store
    }
}

fn v(raw: u64) -> Version {
    Version::new(raw)
}

fn key(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}
