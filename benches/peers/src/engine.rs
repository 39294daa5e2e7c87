//! What the cases ask of an engine, and what an engine's file implements.
//!
//! An engine implements [`Adapter`]: open, write, and show the bytes that a read finds to a closure. Everything that
//! is done with those bytes happens here, in the one implementation of [`Engine`] for all adapters, so that no engine
//! is asked for more or for less than another.

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde::Serialize;

#[cfg(feature = "with-cohab")]
use crate::cohab;
use crate::workload::{Contents, FIRST_KEY, Key, Row};
use crate::{fjall, lmdb, redb, sqlite};

/// How much memory an engine may use for its cache, where it has one of its own. LMDB leaves that to the kernel,
/// which gives it whatever is free; with this much, what the cases read fits for the others as well.
pub const CACHE_BYTES: usize = 1 << 30;

/// The engines by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// cohab.
    #[cfg(feature = "with-cohab")]
    Cohab,
    /// LMDB, through heed.
    Lmdb,
    /// SQLite with a write-ahead log.
    Sqlite,
    /// redb as it is, in the mode that lets other processes read.
    Redb,
    /// fjall.
    Fjall,
}

impl Name {
    /// The name as it is typed and reported.
    pub fn as_str(self) -> &'static str {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => "cohab",
            Self::Lmdb => "lmdb",
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
        }
    }

    /// Opens the store in a directory for reading and writing, creating it if the directory is empty.
    pub fn open(self, dir: &Path, history: History) -> Result<Box<dyn Engine>> {
        #[cfg(not(feature = "with-cohab"))]
        let _ = history;
        Ok(match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => Box::new(cohab::Cohab::open(dir, history)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(dir)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
            Self::Redb => Box::new(redb::Redb::open(dir)?),
            Self::Fjall => Box::new(fjall::Fjall::open(dir)?),
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether an engine that can keep the past of a store does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum History {
    /// Every change is recorded with the value before it.
    Full,
    /// Only the present is kept.
    Off,
}

/// What an engine's file implements. Reads show the engine's own bytes to a closure and copy nothing.
pub trait Adapter: Sync {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Commits one row durably. Any number of threads may call this at a time; an engine that can lets them share
    /// one wait for the disk.
    fn put(&self, row: &Row) -> Result<()> {
        self.write(std::slice::from_ref(row), &|| ())
    }

    /// Looks keys up, one after the other, in one snapshot.
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()>;

    /// Looks keys up, each in a snapshot of its own that is taken then.
    fn get_fresh(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()>;

    /// Reads up to `limit` rows from each start on, all in one snapshot.
    fn scan(&self, starts: &[Key], limit: usize, see: impl FnMut(&[u8], &[u8])) -> Result<()>;

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self) {}

    /// The engine as one that has named namespaces, if it is.
    fn namespaces(&self) -> Option<&dyn Namespaces> {
        None
    }
}

/// Named namespaces beside the one that the other cases use.
pub trait Namespaces {
    /// Creates a namespace and fills it.
    fn create(&self, name: &str, rows: &[Row]) -> Result<()>;

    /// Renames a namespace, durably.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
}

/// An open store, as the cases see it.
pub trait Engine: Sync {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Writes rows in one transaction, durable when it returns.
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.write(rows, &|| ())
    }

    /// Commits one row durably, from any thread.
    fn put(&self, row: &Row) -> Result<()>;

    /// Looks keys up in one snapshot.
    fn get_held(&self, keys: &[Key]) -> Result<Seen>;

    /// Looks keys up, each in a fresh snapshot.
    fn get_fresh(&self, keys: &[Key]) -> Result<Seen>;

    /// Reads up to `limit` rows from each start on, all in one snapshot.
    fn scan(&self, starts: &[Key], limit: usize) -> Result<Seen>;

    /// Sums up everything that is there.
    fn contents(&self) -> Result<Contents>;

    /// Makes sure that the store holds what was written to it, every byte and nothing else.
    fn check(&self, written: Contents) -> Result<()> {
        let found = self.contents()?;
        ensure!(found == written, "the store holds {found:?}, and {written:?} was written");
        Ok(())
    }

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self);

    /// The engine as one that has named namespaces, if it is.
    fn namespaces(&self) -> Option<&dyn Namespaces>;
}

impl<A: Adapter> Engine for A {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        Adapter::write(self, rows, before_commit)
    }

    fn put(&self, row: &Row) -> Result<()> {
        Adapter::put(self, row)
    }

    fn get_held(&self, keys: &[Key]) -> Result<Seen> {
        let mut seen = Seen::default();
        Adapter::get_held(self, keys, |value| seen.value(value))?;
        Ok(seen)
    }

    fn get_fresh(&self, keys: &[Key]) -> Result<Seen> {
        let mut seen = Seen::default();
        Adapter::get_fresh(self, keys, |value| seen.value(value))?;
        Ok(seen)
    }

    fn scan(&self, starts: &[Key], limit: usize) -> Result<Seen> {
        let mut seen = Seen::default();
        Adapter::scan(self, starts, limit, |key, value| seen.row(key, value))?;
        Ok(seen)
    }

    fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        Adapter::scan(self, &[FIRST_KEY], usize::MAX, |key, value| contents.add(key, value))?;
        Ok(contents)
    }

    fn settle(&self) {
        Adapter::settle(self);
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Adapter::namespaces(self)
    }
}

/// What reads have read: every byte of every key and value.
///
/// Whoever asks for a value wants its bytes, so an engine does not get away with pointing at memory that it never
/// touched. Engines that were given the same reads must end with the same sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    /// How many rows were found.
    pub rows: u64,
    sum: u64,
}

impl Seen {
    /// Touches the outcome of a look-up.
    #[inline]
    pub fn value(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.rows += 1;
            self.touch(value);
        }
    }

    /// Touches a row of a scan.
    #[inline]
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.touch(key);
        self.touch(value);
    }

    #[inline]
    fn touch(&mut self, bytes: &[u8]) {
        self.sum += bytes.len() as u64 + bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
}
