//! A reader with a cache of values, which learns what was written since it looked last.

use anyhow::{Context as _, Result, ensure};
use cohab::{Cache, Role};

use super::{COMMITS, Source, Stage, options};
use crate::cohab::NAMESPACE;
use crate::measure::{Done, Series, Stopwatch, interleaved};
use crate::name::{CACHE_BYTES, Name};
use crate::workload::Key;

/// Brings a reader of so many rows, which has them all in its cache, up to date after some commits.
pub fn refresh(stage: Stage<'_>, rows: usize) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let source = Source::make(place, "viewed", rows)?;
    let reader =
        options().role(Role::Reader).cache(Cache::new(CACHE_BYTES)).open(source.dir.join("store"))?;
    let cached = reader.cached(NAMESPACE)?;
    let all: Vec<Key> = source.workload.borrow().rows().iter().map(|row| row.key).collect();
    for key in &all {
        cached.get(key)?;
    }
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.refreshes,
        |_| source.change(sizes.changes(rows), COMMITS),
        |_, (), changed| {
            let changed = changed.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let (one, row) = changed.first_key_value().context("nothing has changed")?;
            place.sync()?;
            let watch = Stopwatch::start();
            let snapshot = reader.refresh()?;
            let value = cached.get(one)?;
            let round = watch.stop_now(Done::operations(1));
            ensure!(value.as_deref() == Some(&row.value[..]), "the cache gives a value from before");
            ensure!(snapshot.version() == source.store().snapshot()?.version(), "it is not the latest");
            for (key, row) in changed {
                ensure!(cached.get(key)?.as_deref() == Some(&row.value[..]), "a value from before");
            }
            Ok(round)
        },
    )?;
    // What was not written is still there, and right.
    let before = cached.stats();
    for row in source.workload.borrow().rows() {
        ensure!(cached.get(row.key)?.as_deref() == Some(&row.value[..]), "the cache has another value");
    }
    let missed = cached.stats().misses - before.misses;
    ensure!(missed * 20 <= all.len() as u64, "{missed} of {} were not in the cache any more", all.len());
    drop((cached, reader));
    source.end()?;
    Ok(series)
}
