//! Cases of the transaction log: replicas, earlier versions, going back. They have stores of their own, of which this
//! process keeps track.

pub mod back;
pub mod earlier;
pub mod lag;
pub mod replicas;
pub mod views;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cohab::{Digest, Follower, Options, Snapshot, Store, Version};

use super::{Cohab, NAMESPACE};
use crate::engine::{Adapter as _, History};
use crate::measure::Round;
use crate::name::{CACHE_BYTES, Name};
use crate::place::Place;
use crate::reading::Reader as _;
use crate::sizes::Sizes;
use crate::workload::{Key, Row, Workload};

/// In how many commits the changes of a round come.
const COMMITS: usize = 10;

/// What the cases need of the benchmark.
#[derive(Clone, Copy)]
pub struct Stage<'b> {
    /// Where to put stores.
    pub place: &'b Place,
    /// How much to do.
    pub sizes: &'b Sizes,
    /// Who takes part.
    pub names: &'b [Name],
}

impl Stage<'_> {
    /// Whether somebody takes part.
    pub fn has(&self, name: Name) -> bool {
        self.names.contains(&name)
    }
}

/// The values before of rows that were overwritten.
type Before = BTreeMap<Key, Row>;

/// A store with full history.
struct Source {
    engine: Cohab,
    dir: PathBuf,
    workload: RefCell<Workload>,
    /// How many replicas were made of it.
    replicas: Cell<usize>,
}

impl Source {
    /// Makes one that holds this many rows.
    fn make(place: &Place, called: &str, rows: usize) -> Result<Self> {
        let dir = place.fresh(called)?;
        let engine = Cohab::open(&dir, History::Full)?;
        let workload = Workload::new(rows);
        engine.write(workload.rows(), &|| ())?;
        Ok(Self { engine, dir, workload: RefCell::new(workload), replicas: Cell::new(0) })
    }

    fn store(&self) -> &Store {
        &self.engine.store
    }

    /// Overwrites rows, all of them others, in so many commits. Returns them as they are now, by key.
    fn change(&self, rows: usize, commits: usize) -> Result<Before> {
        let rows = self.workload.borrow_mut().distinct_overwrites(rows);
        for rows in rows.chunks(rows.len().div_ceil(commits)) {
            self.engine.write(rows, &|| ())?;
        }
        Ok(rows.into_iter().map(|row| (row.key, row)).collect())
    }

    /// A place for a replica of it.
    fn place_for_replica(&self) -> Result<PathBuf> {
        self.replicas.set(self.replicas.get() + 1);
        let dir = self.dir.join(format!("replica-{}", self.replicas.get()));
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// Makes sure that a store of the same rows says that it holds what the source says.
    fn check_digest(&self, replica: &Store) -> Result<()> {
        let (ours, theirs) = (held(&self.store().refresh()?)?, held(&replica.refresh()?)?);
        ensure!(ours == theirs, "the source holds {ours:?} and its replica {theirs:?}");
        Ok(())
    }

    /// Makes sure of every byte in both.
    fn check(&self, replica: &Store) -> Result<()> {
        let contents = self.workload.borrow().contents();
        self.engine.check(contents).context("of the source")?;
        Cohab::of(replica.clone())?.check(contents).context("of the replica")
    }

    /// Removes it.
    fn end(self) -> Result<()> {
        drop(self.engine);
        Ok(fs::remove_dir_all(self.dir)?)
    }
}

/// How many keys a snapshot says it holds, and their digest.
fn held(snapshot: &Snapshot) -> Result<(u64, Digest)> {
    let info = snapshot.namespace(NAMESPACE)?.info();
    Ok((info.keys, info.digest))
}

/// Options with the cache that everybody has.
fn options() -> Options {
    Store::options().cache_bytes(CACHE_BYTES)
}

/// Begins to follow a store from another directory.
fn follow(source: &Path, replica: &Path) -> Result<Follower> {
    Ok(Follower::open_with(source.join("store"), options(), replica.join("store"), options(), |_| ())?)
}

/// The CPU time of a round for each of its operations, in nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "counts of operations are far below 2⁵³")]
pub fn nanos_each(round: &Round) -> f64 {
    nanos(round.cpu) / round.done.operations as f64
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The version before a number of them.
fn back(from: Version, by: usize) -> Version {
    Version::new(from.get().saturating_sub(by as u64))
}
