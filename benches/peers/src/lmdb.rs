//! LMDB, through heed, with its default flags: a commit syncs the data and then writes the meta page synchronously.

use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use anyhow::{Context as _, Result};
use heed::types::Bytes;
use heed::{CompactionOption, Database, Env, EnvFlags, EnvOpenOptions};

use crate::engine::{Adapter, Neighbour};
use crate::name::Name;
use crate::reading::Reads;
use crate::workload::{Key, Row};

/// How large the file may become. It costs address space only.
const MAP_BYTES: usize = 16 << 30;

const NEIGHBOUR: Option<&str> = Some("neighbour");

/// An open LMDB environment and its unnamed database.
pub struct Lmdb {
    env: Env,
    table: Database<Bytes, Bytes>,
}

#[expect(unsafe_code, reason = "LMDB maps its file")]
fn open(dir: &Path, flags: EnvFlags) -> Result<Env> {
    let mut options = EnvOpenOptions::new();
    // One beside the unnamed one.
    options.map_size(MAP_BYTES).max_dbs(1);
    // SAFETY: `READ_ONLY`, the one flag that is ever given, takes no promise back.
    unsafe { options.flags(flags) };
    // SAFETY: The directory was made by this program for this store, and only LMDB changes the files in it, in this
    // process and in others that it has started.
    Ok(unsafe { options.open(dir)? })
}

impl Lmdb {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<Self> {
        let env = open(dir, EnvFlags::empty())?;
        let mut tx = env.write_txn()?;
        let table = env.create_database(&mut tx, None)?;
        tx.commit()?;
        Ok(Self { env, table })
    }

    /// Opens it beside its writer.
    pub fn open_reader(dir: &Path) -> Result<Self> {
        let env = open(dir, EnvFlags::READ_ONLY)?;
        let tx = env.read_txn()?;
        let table = env.open_database(&tx, None)?.context("the database is not there")?;
        // Committing keeps the handle.
        tx.commit()?;
        Ok(Self { env, table })
    }
}

impl Reads for Lmdb {
    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let tx = self.env.read_txn()?;
        for key in keys {
            see(self.table.get(&tx, key)?);
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        // The thread keeps its slot in the table of readers, so that a transaction costs no lock and no system call.
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

impl Adapter for Lmdb {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for row in rows {
            self.table.put(&mut tx, &row.key, &row.value)?;
        }
        before_commit();
        Ok(tx.commit()?)
    }

    fn copy(&self, _name: Name, _from: &Path, to: &Path) -> Result<bool> {
        let copy = self.env.copy_to_path(to.join("data.mdb"), CompactionOption::Disabled)?;
        // LMDB leaves that to whoever copies.
        copy.sync_all()?;
        File::open(to)?.sync_all()?;
        Ok(true)
    }

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Some(self)
    }
}

impl Neighbour for Lmdb {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        let table: Database<Bytes, Bytes> = self.env.create_database(&mut tx, NEIGHBOUR)?;
        for row in rows {
            table.put(&mut tx, &row.key, &row.value)?;
        }
        Ok(tx.commit()?)
    }

    #[expect(unsafe_code, reason = "removing a database invalidates its handles")]
    fn remove(&self) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        let table: Database<Bytes, Bytes> = self.env.create_database(&mut tx, NEIGHBOUR)?;
        // SAFETY: Nobody has another handle of it: `commit` keeps none, and readers know the unnamed database alone.
        unsafe { table.remove(&mut tx)? };
        Ok(tx.commit()?)
    }
}
