//! Look-ups in a reader's process, beside an idle writer. What counts is that process's CPU time alone.

use anyhow::{Result, ensure};

use super::{Pair, Stage};
use crate::measure::{Round, Series, interleaved};
use crate::name::{Kind, Memory, Name};
use crate::order::Order;
use crate::workload::{Key, Workload};

/// The pages of a reader in which nothing that it reads was read before; less than a tenth of the rows.
const SMALL: Memory = Memory { pages: 16 << 20, values: 0 };

/// The values of a reader that finds few of the rows among them, for each row: 16 MB for a million. Its pages are as
/// many as ever.
const VALUES_MISSING: usize = 16;

/// In one snapshot, without a cache of values.
pub fn held(stage: &mut Stage<'_>) -> Result<Series> {
    let count = stage.sizes.gets_held;
    let pairs = stage.pairs()?;
    rounds(stage, pairs, 0, count, Workload::lookups, |_| Order::GetHeld)
}

/// Of the latest state, few keys over and over, through a cache of values where there is one.
pub fn quiet(stage: &mut Stage<'_>) -> Result<Series> {
    let (before, count) = (stage.sizes.gets_before, stage.sizes.gets_cached);
    let pairs = stage.warm_cast(|_| true, Memory::HALVES)?;
    rounds(stage, pairs, before, count, Workload::skewed_lookups, |_| Order::GetFresh)
}

/// Of what was all read before: the latest state through a cache of values, and one snapshot where there is none.
pub fn warm(stage: &mut Stage<'_>) -> Result<Series> {
    let (before, count) = (stage.sizes.gets_before, stage.sizes.gets_cached);
    let pairs = stage.warm_cast(|_| true, Memory::HALVES)?;
    let order = |name: Name| if name.kind().keeps_values() { Order::GetFresh } else { Order::GetHeld };
    rounds(stage, pairs, before, count, Workload::lookups, order)
}

/// Of the latest state, through a cache in which hardly anything is found, and without it.
pub fn missing(stage: &mut Stage<'_>) -> Result<Series> {
    let count = stage.sizes.gets_fresh;
    let memory = Memory { values: stage.sizes.keys * VALUES_MISSING, ..Memory::PAGES };
    let pairs = stage.cast(|kind| matches!(kind, Kind::Caching | Kind::Uncached), memory)?;
    rounds(stage, pairs, 0, count, Workload::lookups, |_| Order::GetFresh)
}

/// In a process that has just opened the store, without a cache of values.
pub fn uncached(stage: &mut Stage<'_>) -> Result<Series> {
    let inputs: Vec<Vec<Key>> =
        (0..=stage.sizes.rounds).map(|_| stage.workload.lookups(stage.sizes.gets_uncached)).collect();
    interleaved(
        &stage.stores,
        stage.sizes.rounds,
        |round| &inputs[round],
        |_, store, keys| {
            let reader = stage.reader(store, SMALL)?;
            let round = of_all(reader.round(Order::GetFresh, keys)?, keys)?;
            reader.end()?;
            Ok(round)
        },
    )
}

/// Runs rounds of look-ups. Before each come others of the same kind that do not count: a process that goes on reading has
/// its memory in the processor's caches, where the engine before it has left its own.
fn rounds<'b>(
    stage: &mut Stage<'b>,
    pairs: Vec<(Name, Pair<'b>)>,
    before: usize,
    counted: usize,
    keys: impl Fn(&mut Workload, usize) -> Vec<Key>,
    order: impl Fn(Name) -> Order,
) -> Result<Series> {
    let workload = &mut *stage.workload;
    let series = interleaved(
        &pairs,
        stage.sizes.rounds,
        |_| (keys(workload, before), keys(workload, counted)),
        |name, pair, (before, counted)| {
            if !before.is_empty() {
                of_all(pair.reader.round(order(name), before)?, before)?;
            }
            of_all(pair.reader.round(order(name), counted)?, counted)
        },
    )?;
    stage.end(pairs)?;
    Ok(series)
}

/// Makes sure that all keys were found.
pub fn of_all(round: Round, keys: &[Key]) -> Result<Round> {
    let found = round.done.seen.rows;
    ensure!(found == keys.len() as u64, "found {found} of {} keys", keys.len());
    Ok(round)
}
