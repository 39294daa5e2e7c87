//! How soon a process that waits for a commit has it.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use fastrand::Rng;

use super::{Pair, Stage};
use crate::measure::{Round, Series, interleaved, shared_ns};
use crate::order::Order;
use crate::workload::Row;

/// How far apart the commits are, in milliseconds. Varied, so that they keep no step with those who poll.
const PACE_MS: std::ops::Range<f64> = 5.0..10.0;

/// The marks of a round: the reader begins with the one before the first.
struct Marks {
    begin: Row,
    rows: Vec<Row>,
    first: u64,
}

/// Commits marks, and has a reader say when it had each.
pub fn run(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = stage.pairs()?;
    let (place, sizes, workload) = (stage.place, stage.sizes, &mut *stage.workload);
    let mut mark = 0;
    let mut next_mark = || {
        mark += 1;
        mark
    };
    let series = interleaved(
        &pairs,
        sizes.long_rounds,
        |_| {
            let begin = workload.mark(next_mark());
            let first = next_mark();
            let rows = std::iter::once(first).chain((1..sizes.wakes).map(|_| next_mark()));
            Marks { begin, rows: rows.map(|mark| workload.mark(mark)).collect(), first }
        },
        |_, pair, marks| {
            place.sync()?;
            Ok(Round::of_samples(delays(pair, marks)?))
        },
    )?;
    stage.end(pairs)?;
    Ok(series)
}

/// From the return of each commit until the reader has read the row in a new snapshot. Less than nothing if the
/// reader was faster than the return.
fn delays(pair: &Pair<'_>, marks: &Marks) -> Result<Vec<i64>> {
    let Marks { begin, rows, first } = marks;
    let writer = pair.writer()?;
    writer.put(begin)?;
    let last = first + rows.len() as u64 - 1;
    pair.reader.order(Order::Follow { first: *first, last }, &[begin.key])?;
    pair.reader.await_ready()?;
    let mut pace = Rng::with_seed(*first);
    let mut returned = Vec::with_capacity(rows.len());
    for row in rows {
        let ms = PACE_MS.start + pace.f64() * (PACE_MS.end - PACE_MS.start);
        thread::sleep(Duration::from_secs_f64(ms / 1e3));
        writer.put(row)?;
        returned.push(shared_ns());
    }
    let seen = pair.reader.times()?;
    ensure!(seen.len() == returned.len(), "{} of {} marks were seen", seen.len(), returned.len());
    Ok(seen.iter().zip(&returned).map(|(seen, returned)| seen - returned).collect())
}
