//! What the cases ask of an engine, and what an engine's file implements.
//!
//! An engine implements [`Reads`] and [`Adapter`]: open, write, and show the bytes that a read finds to a closure.
//! Everything that is done with those bytes happens in the one implementation of [`Reader`] for all of them, so that
//! no engine is asked for more or for less than another.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

#[cfg(feature = "with-cohab")]
use crate::cohab;
use crate::reading::{Reader, Reads};
use crate::workload::Row;
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

    /// Whether several processes can have a store open, one of them to write.
    pub fn is_shared(self) -> bool {
        self != Self::Fjall
    }

    /// Opens the store in a directory for reading, beside a writer in another process.
    pub fn open_reader(self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Reader>> {
        Ok(match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => Box::new(cohab::Cohab::open_reader(dir, cache_bytes)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open_reader(dir)?),
            Self::Sqlite => Box::new(sqlite::SqliteReader::open(dir, cache_bytes)?),
            Self::Redb => Box::new(redb::Redb::open_reader(dir, cache_bytes)?),
            Self::Fjall => bail!("fjall has a store for itself"),
        })
    }

    /// Whether a process can wait for the end of the writer to take over from it.
    pub fn stands_by(self) -> bool {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => true,
            _ => false,
        }
    }

    /// Stands by beside the writer, calls `standing_by`, waits until this is the writer, and commits a row.
    pub fn succeed(self, dir: &Path, row: &Row, standing_by: &dyn Fn()) -> Result<()> {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => cohab::succeed(dir, row, standing_by),
            _ => {
                let _ = (dir, row, standing_by);
                bail!("{self} does not tell a process that it is its turn")
            }
        }
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

/// What an engine's file implements for writing, beside [`Reads`].
pub trait Adapter: Reads + Sync {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Commits one row durably. Any number of threads may call this at a time; an engine that can lets them share
    /// one wait for the disk.
    fn put(&self, row: &Row) -> Result<()> {
        self.write(std::slice::from_ref(row), &|| ())
    }

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self) {}

    /// The engine as one that other processes read from, if it is.
    fn neighbour(&self) -> Option<&dyn Neighbour> {
        None
    }

    /// The engine as one that has named namespaces, if it is.
    fn namespaces(&self) -> Option<&dyn Namespaces> {
        None
    }
}

/// Another part of the store, beside the one that the readers read from: a namespace, a table, whatever it is called.
pub trait Neighbour {
    /// Writes rows there in one transaction, durably. Makes it if it is not there.
    fn commit(&self, rows: &[Row]) -> Result<()>;

    /// Removes it.
    fn remove(&self) -> Result<()>;
}

/// Named namespaces beside the one that the other cases use.
pub trait Namespaces {
    /// Creates a namespace and fills it.
    fn create(&self, name: &str, rows: &[Row]) -> Result<()>;

    /// Renames a namespace, durably.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
}

/// An open store, as the cases see it.
pub trait Engine: Reader + Sync {
    /// Writes rows in one transaction, calls `before_commit`, and commits; durable when it returns.
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()>;

    /// Writes rows in one transaction, durable when it returns.
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.write(rows, &|| ())
    }

    /// Commits one row durably, from any thread.
    fn put(&self, row: &Row) -> Result<()>;

    /// Waits until no thread of the engine's own is at work.
    fn settle(&self);

    /// The engine as one that other processes read from, if it is.
    fn neighbour(&self) -> Option<&dyn Neighbour>;

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

    fn settle(&self) {
        Adapter::settle(self);
    }

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Adapter::neighbour(self)
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Adapter::namespaces(self)
    }
}
