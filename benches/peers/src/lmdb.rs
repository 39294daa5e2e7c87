//! LMDB, through heed, with its default flags: a commit syncs the data and then writes the meta page synchronously.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions};

use crate::engine::Adapter;
use crate::workload::{Key, Row};

/// How large the file may become. It costs address space only.
const MAP_BYTES: usize = 16 << 30;

/// An open LMDB environment and its unnamed database.
pub struct Lmdb {
    env: Env,
    table: Database<Bytes, Bytes>,
}

impl Lmdb {
    /// Opens or creates it.
    #[expect(unsafe_code, reason = "LMDB maps its file")]
    pub fn open(dir: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: The directory was made by this program for this store, and only LMDB changes the files in it. The
        // one other process that ever opens it has been killed and waited for by the time this one does.
        let env = unsafe { options.open(dir)? };
        let mut tx = env.write_txn()?;
        let table = env.create_database(&mut tx, None)?;
        tx.commit()?;
        Ok(Self { env, table })
    }
}

impl Adapter for Lmdb {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for row in rows {
            self.table.put(&mut tx, &row.key, &row.value)?;
        }
        before_commit();
        Ok(tx.commit()?)
    }

    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let tx = self.env.read_txn()?;
        for key in keys {
            see(self.table.get(&tx, key)?);
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        for key in keys {
            let tx = self.env.read_txn()?;
            see(self.table.get(&tx, key)?);
        }
        Ok(())
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let tx = self.env.read_txn()?;
        for start in starts {
            let range = (Bound::Included(start.as_slice()), Bound::Unbounded);
            for row in self.table.range(&tx, &range)?.take(limit) {
                let (key, value) = row?;
                see(key, value);
            }
        }
        Ok(())
    }
}
