//! cohab, with its default settings but for the cache: values are checked on every read, and every change is kept in
//! the log with the value before it unless the case asks for no history.

use std::path::Path;

use anyhow::Result;
use cohab::{Batch, Name, Store, Update};

use crate::engine::{Adapter, CACHE_BYTES, History, Namespaces};
use crate::workload::{Key, Row};

/// The namespace that all cases but those of renaming use.
const NAMESPACE: &str = "bench";

/// An open cohab store.
pub struct Cohab {
    store: Store,
    namespace: Name,
}

impl Cohab {
    /// Opens or creates it.
    pub fn open(dir: &Path, history: History) -> Result<Self> {
        let path = dir.join("store");
        let is_new = !path.exists();
        let store = Store::options().cache_bytes(CACHE_BYTES).open(path)?;
        if is_new {
            store.write(|tx| {
                tx.create_namespace(NAMESPACE)?;
                let history = match history {
                    History::Full => cohab::History::Full,
                    History::Off => cohab::History::Off,
                };
                tx.update_namespace(NAMESPACE, &Update::new().history(history))
            })?;
        }
        Ok(Self { store, namespace: NAMESPACE.parse()? })
    }
}

impl Adapter for Cohab {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        self.store.write(|tx| {
            let mut namespace = tx.namespace(NAMESPACE)?;
            rows.iter().try_for_each(|row| namespace.put(row.key, row.value))?;
            before_commit();
            Ok(())
        })?;
        Ok(())
    }

    fn put(&self, row: &Row) -> Result<()> {
        self.store.submit(Batch::new().put(&self.namespace, row.key.to_vec(), row.value.to_vec()))?;
        Ok(())
    }

    fn get_held(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        let namespace = snapshot.namespace(NAMESPACE)?;
        for key in keys {
            see(namespace.get(key)?.as_deref());
        }
        Ok(())
    }

    fn get_fresh(&self, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        // The store shares a snapshot among those who ask between two commits.
        for key in keys {
            let snapshot = self.store.snapshot()?;
            see(snapshot.namespace(NAMESPACE)?.get(key)?.as_deref());
        }
        Ok(())
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        let namespace = snapshot.namespace(NAMESPACE)?;
        for start in starts {
            let mut range = namespace.range(start..)?;
            for _ in 0..limit {
                let Some(entry) = range.step()? else { break };
                see(entry.key(), entry.value());
            }
        }
        Ok(())
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(self)
    }
}

impl Namespaces for Cohab {
    fn create(&self, name: &str, rows: &[Row]) -> Result<()> {
        self.store.write(|tx| {
            tx.create_namespace(name)?;
            let mut namespace = tx.namespace(name)?;
            rows.iter().try_for_each(|row| namespace.put(row.key, row.value))
        })?;
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.store.write(|tx| tx.rename_namespace(from, to))?;
        Ok(())
    }
}
