//! Look-ups in a reader's process while the writer's process commits. What counts is the reader's CPU time alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::gets::of_all;
use super::{Pair, Stage};
use crate::child::Child;
use crate::measure::{Round, Series, interleaved};
use crate::name::{Kind, Memory, Name};
use crate::order::{Answer, Order};
use crate::workload::{Key, Row};

/// How far apart the commits are.
const INTERVAL: Duration = Duration::from_millis(10);

/// How many rows are in a commit to the namespace that is read.
const ROWS_PER_COMMIT: usize = 10;

/// What is looked up in a round, and what is written meanwhile.
struct Input {
    /// Before it counts. Readers come from a pause, in which what they know of the store has become old.
    before: Vec<Key>,
    keys: Vec<Key>,
    rows: Vec<Row>,
}

/// Beside a writer that is busy somewhere else in the store.
pub fn other_namespace(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = cast(stage)?;
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| Input {
            before: workload.skewed_lookups(sizes.gets_before),
            keys: workload.skewed_lookups(sizes.gets_cached),
            rows: workload.some_rows(sizes.commits_beside_gets),
        },
        |_, pair, input| {
            let neighbour = pair.writer()?.neighbour().context("it has no neighbours")?;
            round(pair, input, 1, |rows| neighbour.commit(rows))
        },
    )?;
    for (_, store) in stage.stores.iter().filter(|(name, _)| took_part(&pairs, *name)) {
        store.writer.neighbour().context("it has no neighbours")?.remove()?;
    }
    stage.end(pairs)?;
    Ok(series)
}

/// Beside a writer that is busy with the rows that are read.
pub fn same_namespace(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = cast(stage)?;
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let mut written: BTreeMap<Key, Row> = BTreeMap::new();
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| {
            let rows = workload.skewed_overwrites(sizes.commits_beside_gets * ROWS_PER_COMMIT);
            written.extend(rows.iter().map(|row| (row.key, *row)));
            let before = workload.skewed_lookups(sizes.gets_before);
            Input { before, keys: workload.skewed_lookups(sizes.gets_cached), rows }
        },
        |_, pair, input| {
            let writer = pair.writer()?;
            let mut round = round(pair, input, ROWS_PER_COMMIT, |rows| writer.commit(rows))?;
            // Which of two values a look-up meets depends on how fast everybody is.
            round.done.seen = round.done.seen.count_only();
            Ok(round)
        },
    )?;
    // Who was slow has written more of the rows than others. In the end, all have the last values.
    let written: Vec<Row> = written.into_values().collect();
    stage.stores.iter().try_for_each(|(_, store)| store.writer.commit(&written))?;
    stage.end(pairs)?;
    Ok(series)
}

fn cast<'b>(stage: &Stage<'b>) -> Result<Vec<(Name, Pair<'b>)>> {
    let has_a_store = |kind| matches!(kind, Kind::Caching | Kind::Uncached | Kind::Store);
    stage.warm_cast(has_a_store, Memory::HALVES)
}

fn took_part(pairs: &[(Name, Pair<'_>)], store: Name) -> bool {
    pairs.iter().any(|(name, _)| name.store() == Some(store))
}

/// Has the reader look keys up while commits are made.
fn round(
    pair: &Pair<'_>,
    input: &Input,
    rows_per_commit: usize,
    commit: impl Fn(&[Row]) -> Result<()>,
) -> Result<Round> {
    let mut commits = input.rows.chunks(rows_per_commit);
    beside_commits(&pair.reader, &input.before, &mut commits, &commit)?;
    beside_commits(&pair.reader, &input.keys, &mut commits, &commit)
}

/// Has the reader look keys up while commits are made, one each interval.
fn beside_commits<'r>(
    reader: &Child,
    keys: &[Key],
    commits: &mut impl Iterator<Item = &'r [Row]>,
    commit: impl Fn(&[Row]) -> Result<()>,
) -> Result<Round> {
    let mut samples = Vec::new();
    reader.order(Order::GetFresh, keys)?;
    let mut next = Instant::now();
    let answer = loop {
        if let Some(answer) = reader.answer_until(next)? {
            break answer;
        }
        let rows = commits.next().context("the reader took too long")?;
        let begin = Instant::now();
        commit(rows)?;
        samples.push(i64::try_from(begin.elapsed().as_nanos())?);
        next += INTERVAL;
    };
    let round = Answer::into_round(answer).context("the reader did not say what it took")?;
    Ok(Round { samples, ..of_all(round, keys)? })
}
