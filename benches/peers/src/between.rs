//! Cases of several processes: this one writes, and others read.

pub mod beside;
pub mod caches;
pub mod commits;
pub mod gets;
pub mod memory;
pub mod opening;
pub mod quiet;
pub mod scaling;
pub mod takeover;
pub mod wake;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::child::Child;
use crate::data::Data;
use crate::engine::Engine;
use crate::name::{Kind, Memory, Name};
use crate::order::Order;
use crate::place::Place;
use crate::sizes::Sizes;
use crate::workload::{Row, Workload};

/// What the cases work on: the loaded stores that several processes can have open, as their writer.
pub struct Stage<'b> {
    place: &'b Place,
    sizes: Sizes,
    workload: &'b mut Workload,
    names: &'b [Name],
    stores: Vec<(Name, Store<'b>)>,
}

/// A store that this process writes.
#[derive(Clone)]
struct Store<'b> {
    name: Name,
    writer: &'b dyn Engine,
    dir: PathBuf,
}

/// A reader in another process, with its store if it has one.
struct Pair<'b> {
    store: Option<Store<'b>>,
    reader: Child,
}

impl<'b> Stage<'b> {
    /// Picks from the stores that are loaded.
    pub fn new(
        place: &'b Place,
        sizes: Sizes,
        workload: &'b mut Workload,
        names: &'b [Name],
        loaded: &'b [(Name, Box<dyn Engine>)],
    ) -> Self {
        let shared = loaded.iter().filter(|(name, _)| name.is_shared());
        let store = |(name, engine): &'b (Name, Box<dyn Engine>)| {
            (*name, Store { name: *name, writer: &**engine, dir: place.path(name.as_str()) })
        };
        Self { place, sizes, workload, names, stores: shared.map(store).collect() }
    }

    /// Starts a reader of each store, which has looked at everything in it once.
    fn pairs(&self) -> Result<Vec<(Name, Pair<'b>)>> {
        self.cast(|kind| matches!(kind, Kind::Caching | Kind::Store), Memory::PAGES)
    }

    /// Starts a reader of each kind that takes part, which has looked at everything in its store once.
    fn cast(&self, takes_part: impl Fn(Kind) -> bool, memory: Memory) -> Result<Vec<(Name, Pair<'b>)>> {
        let mut pairs = Vec::new();
        for &name in self.names.iter().filter(|name| name.kind() != Kind::Writing && takes_part(name.kind()))
        {
            let store = name.store().map(|store| self.stores.iter().find(|(name, _)| *name == store));
            let pair = match store {
                // It is one that nobody else can have open.
                Some(None) => continue,
                Some(Some((_, store))) => {
                    let reader = Child::reader(name, &store.dir, memory, self.workload.marked_key())?;
                    Pair { store: Some(store.clone()), reader }
                }
                None => Pair {
                    store: None,
                    reader: Child::reader(name, &self.place.path(""), memory, self.workload.marked_key())?,
                },
            };
            pair.check(self.workload)?;
            pairs.push((name, pair));
        }
        Ok(pairs)
    }

    /// The same; caches of values have everything then, if it fits.
    fn warm_cast(&self, takes_part: impl Fn(Kind) -> bool, memory: Memory) -> Result<Vec<(Name, Pair<'b>)>> {
        let pairs = self.cast(takes_part, memory)?;
        for (_, pair) in pairs.iter().filter(|(name, _)| name.kind().keeps_values()) {
            pair.reader.round(Order::Warm(Data::Even(self.sizes.keys)), &[])?;
        }
        Ok(pairs)
    }

    fn reader(&self, store: &Store<'_>, memory: Memory) -> Result<Child> {
        Child::reader(store.name, &store.dir, memory, self.workload.marked_key())
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

impl<'b> Pair<'b> {
    fn check(&self, workload: &Workload) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        let checked = self.reader.check(workload.contents());
        checked.with_context(|| format!("looking through {} in another process", store.name))
    }

    fn writer(&self) -> Result<&'b dyn Engine> {
        Ok(self.store.as_ref().context("it has no store")?.writer)
    }
}

impl Store<'_> {
    /// Commits what a round has left over, so that all stores are the same again.
    fn catch_up(&self, rest: &[Row]) -> Result<()> {
        if rest.is_empty() { Ok(()) } else { self.writer.commit(rest) }
    }
}
