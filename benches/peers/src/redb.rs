//! redb as it is, with the settings that cohab builds on: one writer beside readers in other processes, and commits
//! that leave what a quick repair needs.

use std::path::Path;

use anyhow::Result;
use redb::{
    AccessGuard, Builder, ConcurrencyMode, Database, ReadableDatabase as _, ReadableTable as _,
    TableDefinition,
};

use crate::engine::{Adapter, CACHE_BYTES};
use crate::workload::{Key, Row};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("bench");

/// An open redb database.
pub struct Redb {
    database: Database,
}

impl Redb {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut builder = Builder::new();
        builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(CACHE_BYTES);
        Ok(Self { database: builder.create(dir.join("data.redb"))? })
    }
}

impl Adapter for Redb {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_quick_repair(true);
        let mut table = tx.open_table(TABLE)?;
        for row in rows {
            table.insert(row.key.as_slice(), row.value.as_slice())?;
        }
        drop(table);
        before_commit();
        Ok(tx.commit()?)
    }

    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        for key in keys {
            see(table.get(key.as_slice())?.as_ref().map(AccessGuard::value));
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        for key in keys {
            let table = self.database.begin_read()?.open_table(TABLE)?;
            see(table.get(key.as_slice())?.as_ref().map(AccessGuard::value));
        }
        Ok(())
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        for start in starts {
            for row in table.range(start.as_slice()..)?.take(limit) {
                let (key, value) = row?;
                see(key.value(), value.value());
            }
        }
        Ok(())
    }
}
