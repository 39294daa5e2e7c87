//! Look-ups in a reader's process. What counts is that process's CPU time alone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Pair, Stage};
use crate::measure::{Round, Series, interleaved};
use crate::order::{Answer, Order};
use crate::workload::{Key, Row};

/// What the writer's process does, where it is not idle: so many rows a commit, and commits at this interval.
const ROWS_PER_COMMIT: usize = 10;
const INTERVAL: Duration = Duration::from_millis(10);

/// The cache of a reader in which nothing that it reads was read before; less than a tenth of the rows.
const CACHE_BYTES_SMALL: usize = 16 << 20;

/// Beside an idle writer.
pub fn quiet(stage: &mut Stage<'_>, order: Order) -> Result<Series> {
    let pairs = stage.pairs()?;
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| workload.lookups(sizes.gets_fresh),
        |_, pair, keys| of_all(pair.reader.round(order, keys)?, keys),
    )?;
    stage.end(pairs)?;
    Ok(series)
}

/// In a process that has just opened the store.
pub fn uncached(stage: &mut Stage<'_>) -> Result<Series> {
    let inputs: Vec<Vec<Key>> =
        (0..=stage.sizes.rounds).map(|_| stage.workload.lookups(stage.sizes.gets_uncached)).collect();
    interleaved(
        &stage.stores,
        stage.sizes.rounds,
        |round| &inputs[round],
        |_, store, keys| {
            let reader = stage.reader(store, CACHE_BYTES_SMALL)?;
            let round = of_all(reader.round(Order::GetFresh, keys)?, keys)?;
            reader.end()?;
            Ok(round)
        },
    )
}

/// Beside a writer that is busy somewhere else in the store.
pub fn other_namespace(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = stage.pairs()?;
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| {
            (
                workload.lookups(sizes.gets_fresh),
                workload.some_rows(sizes.commits_beside_gets * ROWS_PER_COMMIT),
            )
        },
        |_, pair, (keys, rows)| {
            let neighbour = pair.store.writer.neighbour().context("it has no neighbours")?;
            let (round, _) = beside_commits(pair, keys, rows, |rows| neighbour.commit(rows))?;
            Ok(round)
        },
    )?;
    for (_, pair) in &pairs {
        pair.store.writer.neighbour().context("it has no neighbours")?.remove()?;
    }
    stage.end(pairs)?;
    Ok(series)
}

/// Beside a writer that is busy with the rows that are read.
pub fn same_namespace(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = stage.pairs()?;
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| {
            (
                workload.lookups(sizes.gets_fresh),
                workload.overwrites(sizes.commits_beside_gets * ROWS_PER_COMMIT),
            )
        },
        |_, pair, (keys, rows)| {
            let (mut round, rest) = beside_commits(pair, keys, rows, |rows| pair.store.writer.commit(rows))?;
            pair.store.catch_up(rest)?;
            // Which of two values a look-up meets depends on how fast everybody is.
            round.done.seen = round.done.seen.count_only();
            Ok(round)
        },
    )?;
    stage.end(pairs)?;
    Ok(series)
}

/// Has the reader look keys up while commits are made at an interval, and returns also the rows that were not written.
fn beside_commits<'r>(
    pair: &Pair<'_>,
    keys: &[Key],
    mut rows: &'r [Row],
    commit: impl Fn(&[Row]) -> Result<()>,
) -> Result<(Round, &'r [Row])> {
    let mut samples = Vec::new();
    pair.reader.order(Order::GetFresh, keys)?;
    let mut next = Instant::now();
    let answer = loop {
        if let Some(answer) = pair.reader.answer_until(next)? {
            break answer;
        }
        let (some, rest) = rows.split_at_checked(ROWS_PER_COMMIT).context("the reader took too long")?;
        rows = rest;
        let begin = Instant::now();
        commit(some)?;
        samples.push(i64::try_from(begin.elapsed().as_nanos())?);
        next += INTERVAL;
    };
    let round = Answer::into_round(answer).context("the reader did not say what it took")?;
    Ok((Round { samples, ..of_all(round, keys)? }, rows))
}

/// Makes sure that all keys were found.
fn of_all(round: Round, keys: &[Key]) -> Result<Round> {
    let found = round.done.seen.rows;
    ensure!(found == keys.len() as u64, "found {found} of {} keys", keys.len());
    Ok(round)
}
