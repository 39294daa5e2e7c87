//! What the measurements have in common: a store on disk, and rows to put into it.
//!
//! Rows are the same in every run. Their keys have 24 bytes and sort as they are numbered, their values have 150
//! bytes that do not repeat, so that nothing along the way finds something to compress.

use std::io;
use std::path::Path;

use cohab::{Result, Store};
use tempfile::TempDir;

/// The namespace that [`Fixture::filled`] fills.
pub const NAMESPACE: &str = "rows";

/// A store that is removed when the measurement is over.
#[derive(Debug)]
pub struct Fixture {
    /// The store, open for writing. Before its directory, because fields are dropped in order.
    pub store: Store,
    dir: TempDir,
}

impl Fixture {
    /// Makes an empty store below a directory, which should lie on a disk: on a file system in memory, a commit costs
    /// nothing that is worth measuring.
    pub fn empty(below: &str) -> io::Result<Self> {
        std::fs::create_dir_all(below)?;
        let dir = tempfile::tempdir_in(below)?;
        let store = Store::open(dir.path().join("store")).map_err(io::Error::other)?;
        Ok(Self { store, dir })
    }

    /// Makes a store whose namespace [`NAMESPACE`] holds so many rows.
    pub fn filled(below: &str, rows: u64) -> io::Result<Self> {
        let fixture = Self::empty(below)?;
        fill(&fixture.store, NAMESPACE, rows).map_err(io::Error::other)?;
        Ok(fixture)
    }

    /// Returns the directory that the store lies in, to put something beside it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Puts so many rows into a new namespace, in one transaction.
pub fn fill(store: &Store, namespace: &str, rows: u64) -> Result<()> {
    store.write(|tx| {
        tx.create_namespace(namespace)?;
        let mut namespace = tx.namespace(namespace)?;
        (0..rows).try_for_each(|row| namespace.put(key(row), value(row)))
    })?;
    Ok(())
}

/// Returns the key of a row.
pub fn key(row: u64) -> String {
    format!("row:{row:020}")
}

/// Returns the value of a row.
pub fn value(row: u64) -> Vec<u8> {
    let mut numbers = Numbers::from_seed(row);
    (0..150).map(|_| numbers.next_number().to_be_bytes()[0]).collect()
}

/// Returns the keys of so many rows in an order in which no two neighbours lie on one page.
pub fn shuffled_keys(rows: u64) -> Vec<String> {
    let mut keys: Vec<String> = (0..rows).map(key).collect();
    let mut numbers = Numbers::from_seed(rows);
    for last in (1..keys.len()).rev() {
        let other = numbers.next_number() % (last as u64 + 1);
        keys.swap(last, usize::try_from(other).expect("is less than a length"));
    }
    keys
}

/// Numbers that look random and are the same in every run (SplitMix64: Steele et al., "Fast Splittable Pseudorandom
/// Number Generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Begins a sequence.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub const fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
