//! cohab, with its default settings but for the cache: values are checked on every read, and every change is kept in
//! the log with the value before it unless the case asks for no history.

pub mod cached;
pub mod history;
pub mod plugins;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Result, bail};
use cohab::{Batch, DropMode, Name, Options, Role, RoleChange, Store, Update};

use crate::engine::{Adapter, AnySize, History, Namespaces, Neighbour};
use crate::name::CACHE_BYTES;
use crate::reading::Reads;
use crate::workload::{Key, Row};

/// The namespace that all cases but those of renaming use.
const NAMESPACE: &str = "bench";
const NEIGHBOUR: &str = "neighbour";

/// How long a reader waits for a commit before it begins to wait again.
const WAIT: Duration = Duration::from_secs(1);

/// An open cohab store.
pub struct Cohab {
    store: Store,
    namespace: Name,
}

impl Cohab {
    /// Opens or creates it.
    pub fn open(dir: &Path, history: History) -> Result<Self> {
        Self::open_with(dir, history, CACHE_BYTES)
    }

    /// The same with other than the usual memory for its pages.
    fn open_with(dir: &Path, history: History, cache_bytes: usize) -> Result<Self> {
        let is_new = !dir.join("store").exists();
        let store = open(dir, Store::options().cache_bytes(cache_bytes))?;
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
        Self::of(store)
    }

    /// Opens it beside its writer.
    pub fn open_reader(dir: &Path, cache_bytes: usize) -> Result<Self> {
        Self::of(open(dir, Store::options().role(Role::Reader).cache_bytes(cache_bytes))?)
    }

    fn of(store: Store) -> Result<Self> {
        Ok(Self { store, namespace: NAMESPACE.parse()? })
    }
}

fn open(dir: &Path, options: Options) -> Result<Store> {
    Ok(options.open(dir.join("store"))?)
}

/// Stands by beside the writer, waits until this is the writer, and commits a row.
pub fn succeed(dir: &Path, row: &Row, standing_by: &dyn Fn()) -> Result<()> {
    let (tell, changes) = mpsc::channel();
    let options =
        Store::options().role(Role::Standby).cache_bytes(CACHE_BYTES).on_role_change(move |change| {
            let outcome = match change {
                RoleChange::Promoted { .. } => Ok(()),
                other => Err(format!("{other:?}")),
            };
            // Nobody listens any more once it has gone well.
            let _ = tell.send(outcome);
        });
    let store = Cohab::of(open(dir, options)?)?;
    standing_by();
    if let Err(change) = changes.recv()? {
        bail!("it was to become the writer, but: {change}");
    }
    store.put(row)
}

impl Reads for Cohab {
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

    fn follow(&self, key: &Key, mut see: impl FnMut(Option<&[u8]>) -> ControlFlow<()>) -> Result<()> {
        let mut snapshot = self.store.snapshot()?;
        while see(snapshot.namespace(NAMESPACE)?.get(key)?.as_deref()).is_continue() {
            snapshot = loop {
                if let Some(newer) = self.store.wait_past(snapshot.version(), WAIT)? {
                    break newer;
                }
            };
        }
        Ok(())
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

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Some(self)
    }

    fn namespaces(&self) -> Option<&dyn Namespaces> {
        Some(self)
    }

    fn any_size(&self) -> Option<&dyn AnySize> {
        Some(self)
    }

    fn copy(&self, name: crate::name::Name, from: &Path, to: &Path) -> Result<bool> {
        history::replicas::copy(self, name, from, to)?;
        Ok(true)
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

impl AnySize for Cohab {
    fn load(&self, rows: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        self.store.write(|tx| {
            let mut namespace = tx.namespace(NAMESPACE)?;
            for (key, value) in rows {
                namespace.put(key, value)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Neighbour for Cohab {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.store.write(|tx| {
            tx.ensure_namespace(NEIGHBOUR)?;
            let mut namespace = tx.namespace(NEIGHBOUR)?;
            rows.iter().try_for_each(|row| namespace.put(row.key, row.value))
        })?;
        Ok(())
    }

    fn remove(&self) -> Result<()> {
        self.store.write(|tx| tx.drop_namespace(NEIGHBOUR, DropMode::WithContents))?;
        Ok(())
    }
}
