//! Who takes part, by name, and how each is opened.

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

#[cfg(feature = "with-cohab")]
use crate::cohab::{self, cached};
use crate::engine::{Engine, History};
use crate::reading::Reader;
use crate::workload::Row;
use crate::{fjall, lmdb, plain, redb, sqlite};

/// How much memory an engine may use for its caches, where it has any of its own. LMDB leaves that to the kernel,
/// which gives it whatever is free; with this much, what the cases read fits for the others as well.
pub const CACHE_BYTES: usize = 1 << 30;

/// The engines by name; the ways to read from cohab that are compared with its usual one; and caches without a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Name {
    /// cohab. Where the case is one of its cache, what that returns are values that live on.
    #[cfg(feature = "with-cohab")]
    Cohab,
    /// cohab's cache, showing its values in place.
    #[cfg(feature = "with-cohab")]
    CohabWith,
    /// cohab without its cache of values.
    #[cfg(feature = "with-cohab")]
    CohabUncached,
    /// cohab with the history of its namespaces off.
    #[cfg(feature = "with-cohab")]
    CohabNohistory,
    /// cohab, told what is new by a delta.
    #[cfg(feature = "with-cohab")]
    CohabDelta,
    /// LMDB, through heed.
    Lmdb,
    /// SQLite with a write-ahead log.
    Sqlite,
    /// redb as it is, in the mode that lets other processes read.
    Redb,
    /// fjall.
    Fjall,
    /// moka alone.
    Moka,
    /// quick_cache alone.
    #[value(name = "quick_cache")]
    #[serde(rename = "quick_cache")]
    QuickCache,
}

/// What somebody is who takes part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "with-cohab"), expect(dead_code, reason = "these are cohab's"))]
pub enum Kind {
    /// A store with a cache of values in front of its pages.
    Caching,
    /// The same, read through what shows values in place.
    CachingInPlace,
    /// The same without the cache.
    Uncached,
    /// A store.
    Store,
    /// A way to write or to copy a store, which has cases of its own.
    Writing,
    /// A cache without a store behind it, which nobody tells when a value is no longer the latest.
    Plain,
}

impl Kind {
    /// Whether it keeps values, and has to have read everything once before it is warm.
    pub fn keeps_values(self) -> bool {
        matches!(self, Self::Caching | Self::CachingInPlace | Self::Plain)
    }
}

/// How much memory a reader may use.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// For its pages.
    pub pages: usize,
    /// For its values, if it keeps any; otherwise it has as much more for its pages.
    pub values: usize,
}

impl Memory {
    /// Pages only.
    pub const PAGES: Self = Self { pages: CACHE_BYTES, values: 0 };

    /// As much in all, with room for all values.
    pub const HALVES: Self = Self { pages: CACHE_BYTES / 2, values: CACHE_BYTES / 2 };

    fn all(self) -> usize {
        self.pages + self.values
    }
}

impl Name {
    /// The name as it is typed and reported.
    pub fn as_str(self) -> &'static str {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => "cohab",
            #[cfg(feature = "with-cohab")]
            Self::CohabWith => "cohab-with",
            #[cfg(feature = "with-cohab")]
            Self::CohabUncached => "cohab-uncached",
            #[cfg(feature = "with-cohab")]
            Self::CohabNohistory => "cohab-nohistory",
            #[cfg(feature = "with-cohab")]
            Self::CohabDelta => "cohab-delta",
            Self::Lmdb => "lmdb",
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Moka => "moka",
            Self::QuickCache => "quick_cache",
        }
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => Kind::Caching,
            #[cfg(feature = "with-cohab")]
            Self::CohabWith => Kind::CachingInPlace,
            #[cfg(feature = "with-cohab")]
            Self::CohabUncached => Kind::Uncached,
            #[cfg(feature = "with-cohab")]
            Self::CohabNohistory | Self::CohabDelta => Kind::Writing,
            Self::Lmdb | Self::Sqlite | Self::Redb | Self::Fjall => Kind::Store,
            Self::Moka | Self::QuickCache => Kind::Plain,
        }
    }

    /// The engine whose store it reads, if there is one.
    pub fn store(self) -> Option<Self> {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::CohabWith | Self::CohabUncached | Self::CohabNohistory | Self::CohabDelta => {
                Some(Self::Cohab)
            }
            Self::Moka | Self::QuickCache => None,
            store => Some(store),
        }
    }

    /// Whether several processes can have its store open, one of them to write.
    pub fn is_shared(self) -> bool {
        self.store().is_some_and(|store| store != Self::Fjall)
    }

    /// Opens the store in a directory for reading and writing, creating it if the directory is empty.
    pub fn open(self, dir: &Path, history: History) -> Result<Box<dyn Engine>> {
        #[cfg(not(feature = "with-cohab"))]
        let _ = history;
        Ok(match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => Box::new(cohab::Cohab::open(dir, history)?),
            #[cfg(feature = "with-cohab")]
            Self::CohabNohistory => Box::new(cohab::Cohab::open(dir, History::Off)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(dir)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(dir)?),
            Self::Redb => Box::new(redb::Redb::open(dir)?),
            Self::Fjall => Box::new(fjall::Fjall::open(dir)?),
            _ => bail!("{self} has no store of its own"),
        })
    }

    /// Opens the store in a directory for reading, beside a writer in another process; or makes a cache that has no
    /// store.
    pub fn open_reader(self, dir: &Path, memory: Memory) -> Result<Box<dyn Reader>> {
        Ok(match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab if memory.values > 0 => Box::new(cached::Front::<cached::Shared>::open(dir, memory)?),
            #[cfg(feature = "with-cohab")]
            Self::CohabWith => Box::new(cached::Front::<cached::InPlace>::open(dir, memory)?),
            #[cfg(feature = "with-cohab")]
            Self::Cohab | Self::CohabUncached => Box::new(cohab::Cohab::open_reader(dir, memory.all())?),
            #[cfg(feature = "with-cohab")]
            Self::CohabNohistory | Self::CohabDelta => bail!("{self} is not for reading"),
            Self::Lmdb => Box::new(lmdb::Lmdb::open_reader(dir)?),
            Self::Sqlite => Box::new(sqlite::SqliteReader::open(dir, memory.all())?),
            Self::Redb => Box::new(redb::Redb::open_reader(dir, memory.all())?),
            Self::Fjall => bail!("fjall has a store for itself"),
            Self::Moka => Box::new(plain::moka(memory.values)),
            Self::QuickCache => Box::new(plain::quick_cache(memory.values)),
        })
    }

    /// Whether it keeps history, or is what does not for comparison.
    pub fn is_about_history(self) -> bool {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab | Self::CohabNohistory => true,
            _ => false,
        }
    }

    /// Whether it is a way to copy a store while it is in use.
    pub fn copies(self) -> bool {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab | Self::CohabDelta => true,
            Self::Lmdb | Self::Sqlite => true,
            _ => false,
        }
    }

    /// Whether a process can wait for the end of the writer to take over from it.
    pub fn stands_by(self) -> bool {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => true,
            _ => false,
        }
    }

    /// Keeps a replica of the store in a directory until it is to stop; says when it has come up to the source.
    pub fn mirror(self, dir: &Path, is_to_stop: &AtomicBool, ready: &dyn Fn() -> Result<()>) -> Result<()> {
        match self {
            #[cfg(feature = "with-cohab")]
            Self::Cohab => cohab::history::lag::mirror(dir, is_to_stop, ready),
            _ => {
                let _ = (dir, is_to_stop, ready);
                bail!("{self} keeps no replicas")
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_name_wherever_it_is_written() -> Result<()> {
        for name in Name::value_variants() {
            let typed = name.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(typed.as_deref(), Some(name.as_str()));
            assert_eq!(serde_json::to_value(name)?, name.as_str());
        }
        Ok(())
    }
}
