//! Replicas: made, brought up to date, and what that takes on the way.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cohab::{Delta, DeltaKind, Followed, Follower, Store, Version};

use super::{COMMITS, Cohab, Source, Stage, follow, options};
use crate::engine::{Adapter as _, History};
use crate::measure::{Done, Round, Series, Stopwatch, interleaved};
use crate::name::Name;
use crate::workload::{KEY_BYTES, Row, VALUE_BYTES, Workload};

/// A replica, and how it is brought up to date.
enum Replica {
    /// It looks by itself.
    Following(Box<Follower>),
    /// It is given deltas, which pass as bytes.
    Fed(Store),
}

impl Replica {
    fn make(name: Name, source: &Source) -> Result<Self> {
        let dir = source.place_for_replica()?;
        Ok(match name {
            Name::CohabDelta => Self::Fed(restore(source.store(), &dir)?),
            _ => Self::Following(Box::new(follow(&source.dir, &dir)?)),
        })
    }

    /// Brings it up to date, and returns how many keys were written.
    fn refresh(&mut self, source: &Store) -> Result<u64> {
        match self {
            Self::Following(follower) => match follower.catch_up()? {
                Followed::Delta { applied, .. } => Ok(applied.changes),
                other => anyhow::bail!("a delta was to be applied, but: {other:?}"),
            },
            Self::Fed(replica) => {
                let from = upstream(replica)?;
                Ok(replica.apply(&sent(source, from)?)?.changes)
            }
        }
    }

    fn store(&self) -> &Store {
        match self {
            Self::Following(follower) => follower.replica(),
            Self::Fed(replica) => replica,
        }
    }
}

fn upstream(replica: &Store) -> Result<Version> {
    Ok(replica.snapshot()?.upstream().context("it is no replica")?.version)
}

/// A delta from a version on, as it arrives: from bytes that are verified.
fn sent(source: &Store, from: Version) -> Result<Delta> {
    let delta = source.snapshot()?.delta(from, DeltaKind::Coalesced)?;
    Ok(Delta::from_bytes(delta.as_bytes().clone())?)
}

/// Makes a replica in a directory, from a delta that holds everything.
fn restore(source: &Store, dir: &Path) -> Result<Store> {
    let replica = options().open(dir.join("store"))?;
    replica.apply(&sent(source, Version::ZERO)?)?;
    Ok(replica)
}

/// Makes a replica of a store, from its snapshot or from a delta that holds everything.
pub fn copy(engine: &Cohab, name: Name, from: &Path, to: &Path) -> Result<()> {
    match name {
        Name::CohabDelta => drop(restore(&engine.store, to)?),
        _ => drop(follow(from, to)?),
    }
    Ok(())
}

/// Brings replicas of a store of so many rows up to date, after some commits.
pub fn refresh(stage: Stage<'_>, rows: usize) -> Result<Series> {
    let Stage { place, sizes, names } = stage;
    let source = Source::make(place, "refreshed", rows)?;
    let mut replicas = Vec::new();
    for &name in names.iter().filter(|&&name| matches!(name, Name::Cohab | Name::CohabDelta)) {
        replicas.push((name, RefCell::new(Replica::make(name, &source)?)));
    }
    let series = interleaved(
        &replicas,
        sizes.refreshes,
        |_| source.change(sizes.changes(rows), COMMITS).map(|rows| rows.len()),
        |_, replica, changed| {
            let changed = *changed.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            place.sync()?;
            let mut replica = replica.borrow_mut();
            let watch = Stopwatch::start();
            let rows = replica.refresh(source.store())?;
            let round = watch.stop_now(Done::operations(1));
            ensure!(rows == changed as u64, "{rows} of {changed} keys were written");
            source.check_digest(replica.store())?;
            Ok(round)
        },
    )?;
    for (_, replica) in replicas {
        source.check(replica.into_inner().store())?;
    }
    source.end()?;
    Ok(series)
}

/// Weighs the deltas of the same changes.
#[expect(clippy::cast_precision_loss, reason = "deltas are far below 2⁵³ bytes")]
pub fn weigh(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let source = Source::make(place, "weighed", sizes.keys)?;
    let replica = restore(source.store(), &source.place_for_replica()?)?;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.rounds,
        |_| source.change(sizes.changes(sizes.keys), COMMITS).map(|rows| rows.len()),
        |_, (), changed| {
            let changed = *changed.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let watch = Stopwatch::start();
            let delta = sent(source.store(), upstream(&replica)?)?;
            let round = watch.stop_now(Done::operations(changed));
            let written = replica.apply(&delta)?.changes;
            ensure!(written == changed as u64, "{written} of {changed} keys were written");
            source.check_digest(&replica)?;
            let payload = (changed * (KEY_BYTES + VALUE_BYTES)) as f64;
            let plain = delta.plain_bytes() as f64 / payload;
            let compressed = delta.as_bytes().len() as f64 / payload;
            Ok(Round { figures: vec![("plain", plain), ("compressed", compressed)], ..round })
        },
    )?;
    source.check(&replica)?;
    drop(replica);
    source.end()?;
    Ok(series)
}

/// Applies a delta of rows to a store that has none, and writes as many rows into another in one transaction.
pub fn apply(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let source = Source::make(place, "applied", 0)?;
    let before = sent(source.store(), Version::ZERO)?;
    let loaded = Workload::new(sizes.applied);
    source.engine.write(loaded.rows(), &|| ())?;
    let delta = sent(source.store(), before.to())?;
    let mut sorted: Vec<Row> = loaded.rows().to_vec();
    sorted.sort_unstable_by_key(|row| row.key);
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.load_rounds,
        |round| round,
        |_, (), round| {
            let load = |called: &str, rows: &[Row]| -> Result<f64> {
                let dir = place.fresh(called)?;
                let engine = Cohab::open(&dir, History::Full)?;
                place.sync()?;
                let watch = Stopwatch::start();
                engine.write(rows, &|| ())?;
                let speed = per_second(&watch.stop_now(Done::operations(rows.len())));
                source.check_digest(&engine.store)?;
                drop(engine);
                fs::remove_dir_all(dir)?;
                Ok(speed)
            };
            let apply = || -> Result<Round> {
                let dir: PathBuf = place.fresh("applying")?;
                let replica = options().open(dir.join("store"))?;
                replica.apply(&before)?;
                place.sync()?;
                let watch = Stopwatch::start();
                let applied = replica.apply(&delta)?;
                let measured = watch.stop_now(Done::operations(loaded.rows().len()));
                ensure!(applied.changes == measured.done.operations, "not all was applied: {applied:?}");
                source.check_digest(&replica)?;
                crate::reading::Reader::check(&Cohab::of(replica)?, loaded.contents())?;
                fs::remove_dir_all(dir)?;
                Ok(measured)
            };
            // Each of them comes first and last as often as the others.
            let (measured, random, in_order) = match round % 3 {
                0 => (apply()?, load("loading", loaded.rows())?, load("loading-sorted", &sorted)?),
                1 => {
                    let random = load("loading", loaded.rows())?;
                    let in_order = load("loading-sorted", &sorted)?;
                    (apply()?, random, in_order)
                }
                _ => {
                    let in_order = load("loading-sorted", &sorted)?;
                    let measured = apply()?;
                    (measured, load("loading", loaded.rows())?, in_order)
                }
            };
            let speed = per_second(&measured);
            let figures = vec![
                ("applied", speed),
                ("loaded", random),
                ("loaded sorted", in_order),
                ("to loaded", speed / random),
                ("to loaded sorted", speed / in_order),
            ];
            Ok(Round { figures, ..measured })
        },
    )?;
    source.end()?;
    Ok(series)
}

/// Operations in a second of CPU time.
fn per_second(round: &Round) -> f64 {
    1e9 / super::nanos_each(round)
}
