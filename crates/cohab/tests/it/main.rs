//! The facade's tests, at the boundary users see. Those that guard an invariant name it.

mod actor;
mod backup;
mod batch;
mod cached;
mod cached_model;
mod cached_prefetch;
mod cached_processes;
mod cached_room;
mod cached_typed;
mod chronicle;
mod crash;
mod damage;
mod delta_killed;
mod delta_model;
mod faults;
mod fences;
mod files;
mod follow;
mod followed;
mod forks;
mod freshness;
mod gate;
mod history;
mod killed;
mod ledger;
mod log;
mod materialized;
mod model;
mod namespaces;
mod open;
mod page;
mod past_model;
#[cfg(feature = "scripts")]
mod plugins;
#[cfg(feature = "scripts")]
mod plugins_faults;
#[cfg(feature = "scripts")]
mod plugins_foreign;
#[cfg(feature = "scripts")]
mod plugins_killed;
#[cfg(feature = "scripts")]
mod plugins_reload;
#[cfg(feature = "plugins")]
mod plugins_wasm;
mod refresh;
mod roles;
#[cfg(unix)]
mod security;
mod stopped;
mod transactions;
mod undo_model;
mod verifying;
mod watching;
mod worlds;

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

    /// A store that was closed, with a ledger at version 1.
    fn with_ledger() -> Self {
        let scratch = Self::new();
        ledger::create(&scratch.store()).expect("can be made");
        scratch
    }

    /// A store with one namespace, `n`.
    fn with_namespace(&self) -> Store {
        let store = self.store();
        store.write(|tx| tx.create_namespace("n")).expect("can be created");
        store
    }
}

/// Numbers that look random, the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Says that a part of a test could not run, even where the output of tests that pass is not shown.
fn not_tested(what: &str, why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "\nNOT TESTED: {what}: {why}\n");
}

fn v(raw: u64) -> Version {
    Version::new(raw)
}

fn key(i: u32) -> [u8; 4] {
    i.to_be_bytes()
}
