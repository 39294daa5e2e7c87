//! Cases of several processes: this one writes, and others read.

pub mod commits;
pub mod gets;
pub mod opening;
pub mod quiet;
pub mod takeover;
pub mod wake;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::child::Child;
use crate::engine::{CACHE_BYTES, Engine, Name};
use crate::order::Order;
use crate::place::Place;
use crate::sizes::Sizes;
use crate::workload::{Row, Workload};

/// What the cases work on: the loaded stores that several processes can have open, as their writer.
pub struct Stage<'b> {
    place: &'b Place,
    sizes: Sizes,
    workload: &'b mut Workload,
    stores: Vec<(Name, Store<'b>)>,
}

/// A store that this process writes.
#[derive(Clone)]
struct Store<'b> {
    name: Name,
    writer: &'b dyn Engine,
    dir: PathBuf,
}

/// A store with a reader in another process.
struct Pair<'b> {
    store: Store<'b>,
    reader: Child,
}

impl<'b> Stage<'b> {
    /// Picks from the stores that are loaded.
    pub fn new(
        place: &'b Place,
        sizes: Sizes,
        workload: &'b mut Workload,
        loaded: &'b [(Name, Box<dyn Engine>)],
    ) -> Self {
        let shared = loaded.iter().filter(|(name, _)| name.is_shared());
        let store = |(name, engine): &'b (Name, Box<dyn Engine>)| {
            (*name, Store { name: *name, writer: &**engine, dir: place.path(name.as_str()) })
        };
        Self { place, sizes, workload, stores: shared.map(store).collect() }
    }

    /// Starts a reader of each store, which has looked at everything in it once.
    fn pairs(&self) -> Result<Vec<(Name, Pair<'b>)>> {
        let pair = |(name, store): &(Name, Store<'b>)| {
            let pair = Pair { store: store.clone(), reader: self.reader(store, CACHE_BYTES)? };
            pair.check(self.workload)?;
            Ok((*name, pair))
        };
        self.stores.iter().map(pair).collect()
    }

    fn reader(&self, store: &Store<'_>, cache_bytes: usize) -> Result<Child> {
        Child::reader(store.name, &store.dir, cache_bytes, self.workload.marked_key())
    }

    /// Makes sure that the writers and the readers see what was written, and ends the readers.
    fn end(&self, pairs: Vec<(Name, Pair<'b>)>) -> Result<()> {
        self.check()?;
        for (_, pair) in pairs {
            pair.check(self.workload)?;
            pair.reader.end()?;
        }
        Ok(())
    }

    /// Makes sure that the writers see what was written.
    fn check(&self) -> Result<()> {
        for (name, store) in &self.stores {
            let checked = store.writer.check(self.workload.contents());
            checked.with_context(|| format!("looking through {name} afterwards"))?;
        }
        Ok(())
    }
}

impl Pair<'_> {
    fn check(&self, workload: &Workload) -> Result<()> {
        let checked = self.reader.order(Order::Check(workload.contents()), &[]);
        let checked = checked.and_then(|()| self.reader.await_ready());
        checked.with_context(|| format!("looking through {} in another process", self.store.name))
    }
}

impl Store<'_> {
    /// Commits what a round has left over, so that all stores are the same again.
    fn catch_up(&self, rest: &[Row]) -> Result<()> {
        if rest.is_empty() { Ok(()) } else { self.writer.commit(rest) }
    }
}
