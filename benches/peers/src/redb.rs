//! redb as it is, with the settings that cohab builds on: one writer beside readers in other processes, and commits
//! that leave what a quick repair needs.

use std::path::Path;

use anyhow::Result;
use redb::{
    AccessGuard, Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadOnlyTable, ReadableDatabase,
    ReadableTable as _, TableDefinition,
};

use crate::engine::{Adapter, Neighbour};
use crate::name::CACHE_BYTES;
use crate::reading::Reads;
use crate::workload::{Key, Row};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

const TABLE: Table = TableDefinition::new("bench");
const NEIGHBOUR: Table = TableDefinition::new("neighbour");

/// An open redb database, for writing or for reading.
pub struct Redb<D> {
    database: D,
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(cache_bytes);
    builder
}

impl Redb<Database> {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { database: builder(CACHE_BYTES).create(dir.join("data.redb"))? })
    }

    fn commit(&self, table: Table, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_quick_repair(true);
        let mut table = tx.open_table(table)?;
        for row in rows {
            table.insert(row.key.as_slice(), row.value.as_slice())?;
        }
        drop(table);
        before_commit();
        Ok(tx.commit()?)
    }
}

impl Redb<ReadOnlyDatabase> {
    /// Opens it beside its writer.
    pub fn open_reader(dir: &Path, cache_bytes: usize) -> Result<Self> {
        Ok(Self { database: builder(cache_bytes).open_read_only(dir.join("data.redb"))? })
    }
}

impl<D: ReadableDatabase> Redb<D> {
    fn read(&self) -> Result<ReadOnlyTable<&'static [u8], &'static [u8]>> {
        Ok(self.database.begin_read()?.open_table(TABLE)?)
    }
}

impl<D: ReadableDatabase + Sync> Reads for Redb<D> {
    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let table = self.read()?;
        for key in keys {
            see(table.get(key.as_slice())?.as_ref().map(AccessGuard::value));
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        for key in keys {
            let table = self.read()?;
            see(table.get(key.as_slice())?.as_ref().map(AccessGuard::value));
        }
        Ok(())
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let table = self.read()?;
        for start in starts {
            for row in table.range(start.as_slice()..)?.take(limit) {
                let (key, value) = row?;
                see(key.value(), value.value());
            }
        }
        Ok(())
    }
}

impl Adapter for Redb<Database> {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        self.commit(TABLE, rows, before_commit)
    }

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Some(self)
    }
}

impl Neighbour for Redb<Database> {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.commit(NEIGHBOUR, rows, &|| ())
    }

    fn remove(&self) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_quick_repair(true);
        tx.delete_table(NEIGHBOUR)?;
        Ok(tx.commit()?)
    }
}
