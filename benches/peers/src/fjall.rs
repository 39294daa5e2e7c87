//! fjall, with its default settings but for the cache. Its commits append to a journal and sync that.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _};

use crate::engine::Adapter;
use crate::name::CACHE_BYTES;
use crate::reading::Reads;
use crate::workload::{Key, Row};

/// How often, and at what interval, the workers have to be found idle. One look is not enough: flushes and compactions
/// follow one from the other through a queue that can't be seen from outside.
const IDLE_LOOKS: u32 = 8;
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// An open fjall database and its one keyspace.
pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Fjall {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<Self> {
        let database = Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let keyspace = database.keyspace("bench", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace })
    }

    fn is_idle(&self) -> bool {
        self.keyspace.sealed_memtable_count() == 0
            && self.database.outstanding_flushes() == 0
            && self.database.active_compactions() == 0
    }
}

impl Reads for Fjall {
    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let snapshot = self.database.snapshot();
        for key in keys {
            see(snapshot.get(&self.keyspace, key)?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        for key in keys {
            see(self.database.snapshot().get(&self.keyspace, key)?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let snapshot = self.database.snapshot();
        for start in starts {
            for row in snapshot.range(&self.keyspace, start.as_slice()..).take(limit) {
                let (key, value) = row.into_inner()?;
                see(&key, &value);
            }
        }
        Ok(())
    }
}

impl Adapter for Fjall {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for row in rows {
            batch.insert(&self.keyspace, row.key, row.value);
        }
        before_commit();
        Ok(batch.commit()?)
    }

    fn settle(&self) {
        let mut looks = 0;
        while looks < IDLE_LOOKS {
            looks = if self.is_idle() { looks + 1 } else { 0 };
            thread::sleep(LOOK_INTERVAL);
        }
    }
}
