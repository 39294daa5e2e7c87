//! Look-ups of the latest state by two at a time and by one of them, few keys over and over. What counts is how many
//! there are a second.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Pair, Stage};
use crate::measure::{Done, Round, Series, interleaved};
use crate::name::{Kind, Memory, Name};
use crate::order::Order;
use crate::workload::Key;

/// How many there are at a time.
const TWO: usize = 2;

/// Engines differ in how many look-ups they get to, and are compared by the CPU time of so many.
const CPU_OF: usize = 1_000_000;

/// By threads of one process.
pub fn threads(stage: &mut Stage<'_>) -> Result<Series> {
    let pairs = stage.warm_cast(|kind| kind != Kind::Uncached, Memory::HALVES)?;
    scaling(stage, pairs.into_iter().map(|(name, pair)| (name, vec![pair])).collect())
}

/// By processes of one thread.
pub fn processes(stage: &mut Stage<'_>) -> Result<Series> {
    let cast = || stage.warm_cast(|kind| matches!(kind, Kind::Caching | Kind::Store), Memory::HALVES);
    let both = cast()?.into_iter().zip(cast()?);
    let pairs = both.map(|((name, one), (_, other))| (name, vec![one, other])).collect();
    scaling(stage, pairs)
}

fn scaling<'b>(stage: &mut Stage<'b>, pairs: Vec<(Name, Vec<Pair<'b>>)>) -> Result<Series> {
    let (workload, sizes) = (&mut *stage.workload, stage.sizes);
    let series = interleaved(
        &pairs,
        sizes.rounds,
        |_| workload.skewed_lookups(sizes.gets_fresh),
        |_, pairs, keys| {
            // Once through all keys, or who is measured first would meet them cold.
            pairs.iter().try_for_each(|pair| pair.reader.round(Order::GetFresh, keys).map(drop))?;
            let one = rate(&pairs[..1], 1, keys, sizes.spin)?;
            let two = rate(pairs, TWO / pairs.len(), keys, sizes.spin)?;
            let done = Done::operations(CPU_OF);
            Ok(Round {
                cpu: two.cpu,
                done,
                alone: vec![one.a_second],
                ..Round::of_samples(vec![two.a_second])
            })
        },
    )?;
    let each = |(name, pairs): (Name, Vec<Pair<'b>>)| pairs.into_iter().map(move |pair| (name, pair));
    stage.end(pairs.into_iter().flat_map(each).collect())?;
    Ok(series)
}

/// What look-ups took.
struct Rate {
    /// How many there were a second.
    a_second: i64,
    /// The CPU time of [`CPU_OF`] of them.
    cpu: Duration,
}

/// Has processes look all keys up in so many threads, each beginning somewhere else.
fn rate(pairs: &[Pair<'_>], threads: usize, keys: &[Key], duration: Duration) -> Result<Rate> {
    for (index, pair) in pairs.iter().enumerate() {
        let (last, first) = keys.split_at(keys.len() / pairs.len() * index);
        pair.reader.order(Order::Spin { threads }, &[first, last].concat())?;
    }
    pairs.iter().try_for_each(|pair| pair.reader.await_ready())?;
    thread::sleep(duration);
    pairs.iter().try_for_each(|pair| pair.reader.order(Order::Stop, &[]))?;
    let (mut a_second, mut gets, mut cpu) = (0, 0, Duration::ZERO);
    for pair in pairs {
        let round = pair.reader.answer()?.into_round().context("a reader did not say what it took")?;
        let (found, nanos) = (u128::from(round.done.operations), round.wall.as_nanos());
        ensure!(found > 0 && nanos > 0, "a reader has read nothing");
        a_second += i64::try_from(found * 1_000_000_000 / nanos)?;
        gets += found;
        cpu += round.cpu;
    }
    let cpu = Duration::from_nanos(u64::try_from(cpu.as_nanos() * CPU_OF as u128 / gets)?);
    Ok(Rate { a_second, cpu })
}
