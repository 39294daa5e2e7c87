//! Commits beside processes that take one snapshot after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Stage, Store};
use crate::child::Child;
use crate::measure::{Round, Series, interleaved};
use crate::name::Memory;
use crate::order::Order;
use crate::workload::{Key, Row};

/// How many keys a reader looks up over and over. They are many enough not to lie together, and few enough to be in
/// every engine's cache after a moment.
const KEYS: usize = 4096;

/// Commits row after row: alone, beside this many readers, and beside as many processes that only compute. The last
/// tells what is due to the store and what to the machine, which may have fewer processors.
pub fn beside(stage: &mut Stage<'_>, readers: usize) -> Result<Series> {
    let sizes = stage.sizes;
    let keys = stage.workload.lookups(KEYS);
    let mut stores = Vec::new();
    for (name, store) in &stage.stores {
        let readers: Vec<Child> =
            (0..readers).map(|_| stage.reader(store, Memory::PAGES)).collect::<Result<_>>()?;
        stores.push((*name, (store.clone(), readers)));
    }
    let (place, workload) = (stage.place, &mut *stage.workload);
    let series = interleaved(
        &stores,
        sizes.long_rounds,
        |_| [(); 3].map(|()| workload.overwrites(sizes.commits_beside_readers)),
        |_, (store, readers), [alone, crowded, beside]| {
            place.sync()?;
            let alone = commit_each(store, alone, sizes.patience)?;
            start(readers, Order::Compute, &keys)?;
            let crowded = commit_each(store, crowded, sizes.patience)?;
            stop(readers)?;
            start(readers, Order::Spin { threads: 1 }, &keys)?;
            let samples = commit_each(store, beside, sizes.patience)?;
            stop(readers)?;
            Ok(Round { alone, crowded, ..Round::of_samples(samples) })
        },
    )?;
    stage.check()?;
    stores.into_iter().flat_map(|(_, (_, readers))| readers).try_for_each(Child::end)?;
    Ok(series)
}

/// Commits rows one by one until there are none or the time is over, and then the rest, so that all stores stay the
/// same. Returns what each of the single ones took.
fn commit_each(store: &Store<'_>, rows: &[Row], patience: Duration) -> Result<Vec<i64>> {
    let start = Instant::now();
    let mut samples = Vec::with_capacity(rows.len());
    for row in rows {
        let begin = Instant::now();
        store.writer.put(row)?;
        samples.push(i64::try_from(begin.elapsed().as_nanos())?);
        if start.elapsed() >= patience {
            break;
        }
    }
    store.catch_up(&rows[samples.len()..])?;
    Ok(samples)
}

fn start(readers: &[Child], order: Order, keys: &[Key]) -> Result<()> {
    readers.iter().try_for_each(|reader| reader.order(order, keys))?;
    readers.iter().try_for_each(Child::await_ready)
}

fn stop(readers: &[Child]) -> Result<()> {
    // There may be more of them than processors, and each is to have had its turn.
    std::thread::sleep(Duration::from_millis(50));
    readers.iter().try_for_each(|reader| reader.order(Order::Stop, &[]))?;
    for reader in readers {
        let read = reader.answer()?.into_round().map_or(0, |round| round.done.operations);
        ensure!(read > 0, "a reader has read nothing");
    }
    Ok(())
}
