//! Measuring: rounds of fixed work, taken in turns by the engines.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::engine::Engine;
use crate::name::Name;
use crate::reading::{Counts, Seen};

/// What one round took.
#[derive(Clone, Debug)]
pub struct Round {
    /// From the start to the return of the last operation.
    pub wall: Duration,
    /// What all threads of the process used until the engine was at rest again. Work that an engine puts off to
    /// threads of its own is part of what its operations cost.
    pub cpu: Duration,
    /// What was done.
    pub done: Done,
    /// What single operations took, in nanoseconds, or what a process has in memory, in bytes, or how many operations
    /// there were a second; where that counts.
    pub samples: Vec<i64>,
    /// The same of operations that nobody was beside, for comparison.
    pub alone: Vec<i64>,
    /// The same of operations beside processes that compute and have nothing to do with the store.
    pub crowded: Vec<i64>,
    /// What a cache of values counted.
    pub counts: Option<Counts>,
    /// Figures that have names, in the unit that they are reported in.
    pub figures: Vec<(&'static str, f64)>,
}

impl Round {
    /// A round of which only single figures count.
    pub fn of_samples(samples: Vec<i64>) -> Self {
        // Engines are not compared by how many samples there are: who is slow gets fewer in the same time.
        let done = Done::operations(1);
        Self { samples, ..Self::of_times(Duration::ZERO, Duration::ZERO, done) }
    }

    /// A round of which the whole counts.
    pub fn of_times(wall: Duration, cpu: Duration, done: Done) -> Self {
        let (samples, alone, crowded, figures) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { wall, cpu, done, samples, alone, crowded, counts: None, figures }
    }
}

/// The rounds of each engine that took part.
pub type Series = Vec<(Name, Vec<Round>)>;

/// What a round did. It is the same for all engines, or they were not given the same work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// How many operations.
    pub operations: u64,
    /// What they read.
    pub seen: Seen,
}

impl Done {
    /// So many operations, which read nothing.
    pub fn operations(count: usize) -> Self {
        Self { operations: count as u64, seen: Seen::default() }
    }
}

impl From<Seen> for Done {
    /// As many operations as rows that were seen.
    fn from(seen: Seen) -> Self {
        Self { operations: seen.rows, seen }
    }
}

/// Both clocks, started.
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    /// Starts both clocks.
    pub fn start() -> Self {
        Self { cpu: process_cpu(), wall: Instant::now() }
    }

    /// Stops the one clock now, and the other when the engine is at rest.
    pub fn stop(self, engine: &dyn Engine, done: Done) -> Round {
        let wall = self.wall.elapsed();
        engine.settle();
        Round { wall, ..self.stop_now(done) }
    }

    /// Stops both clocks.
    pub fn stop_now(self, done: Done) -> Round {
        let wall = self.wall.elapsed();
        let cpu = process_cpu().saturating_sub(self.cpu);
        Round::of_times(wall, cpu, done)
    }
}

/// Nanoseconds on a clock that all processes share.
pub fn shared_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("the process has not used less than no time")
}

/// Measures work on an engine that is at rest.
pub fn measure(engine: &dyn Engine, work: impl FnOnce() -> Result<Done>) -> Result<Round> {
    let watch = Stopwatch::start();
    let done = black_box(work()?);
    Ok(watch.stop(engine, done))
}

/// Runs round after round, in each of them every engine with the same input, after one round that doesn't count.
///
/// Machines change their speed while a benchmark runs; engines that take turns meet the same changes. Every round
/// starts with another engine, so that none always follows the same one.
///
/// # Errors
///
/// Those of the rounds, and if the engines have not done the same.
pub fn interleaved<E, I>(
    engines: &[(Name, E)],
    rounds: usize,
    mut input: impl FnMut(usize) -> I,
    mut run: impl FnMut(Name, &E, &I) -> Result<Round>,
) -> Result<Series> {
    let mut series: Series = engines.iter().map(|(name, _)| (*name, Vec::with_capacity(rounds))).collect();
    for round in 0..=rounds {
        let input = input(round);
        let mut first: Option<(Name, Done)> = None;
        for turn in 0..engines.len() {
            let index = (round + turn) % engines.len();
            let (name, engine) = &engines[index];
            let measured = run(*name, engine, &input).with_context(|| format!("round {round} of {name}"))?;
            let (other, done) = *first.get_or_insert((*name, measured.done));
            ensure!(
                measured.done == done,
                "in round {round}, {name} did {:?}, and {other} did {done:?}",
                measured.done,
            );
            if round > 0 {
                series[index].1.push(measured);
            }
        }
    }
    Ok(series)
}

/// The figure that the given part of a series is not above; the least for zero. Zero if there are none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "series are short, and a part is between 0 and 1"
)]
pub fn quantile(samples: &[i64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).map_or(0.0, |sample| *sample as f64)
}

/// The middle and the ends of a series of figures.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Sums up a series of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (upper, lower) = (sorted.len() / 2, (sorted.len() - 1) / 2);
        let median = f64::midpoint(sorted[lower], sorted[upper]);
        Self { median, min: sorted[0], max: sorted[sorted.len() - 1] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(operations: usize) -> Round {
        Round { done: Done::operations(operations), ..Round::of_samples(Vec::new()) }
    }

    #[test]
    fn nobody_is_a_round_ahead_and_the_first_round_does_not_count() -> Result<()> {
        let engines = [(Name::Lmdb, ()), (Name::Sqlite, ()), (Name::Redb, ())];
        let mut order = Vec::new();
        let series = interleaved(
            &engines,
            2,
            |round| round,
            |name, (), &number| {
                order.push((number, name));
                Ok(round(number))
            },
        )?;
        let numbers: Vec<usize> = order.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!([order[0].1, order[3].1, order[6].1], [Name::Lmdb, Name::Sqlite, Name::Redb]);
        for ((name, rounds), (expected, ())) in series.iter().zip(engines) {
            let operations: Vec<u64> = rounds.iter().map(|round| round.done.operations).collect();
            assert_eq!((*name, operations), (expected, vec![1, 2]));
        }
        Ok(())
    }

    #[test]
    fn an_engine_that_does_less_is_found_out() {
        let engines = [(Name::Lmdb, 10), (Name::Fjall, 9)];
        let error = interleaved(&engines, 1, |_| (), |_, operations, ()| Ok(round(*operations))).unwrap_err();
        assert!(error.to_string().contains("fjall did"), "{error}");
    }

    #[test]
    fn quantiles() {
        let samples: Vec<i64> = (1..=200).rev().collect();
        let of = |part| quantile(&samples, part).to_bits();
        assert_eq!([of(0.0), of(0.5), of(0.99), of(1.0)], [1.0, 100.0, 198.0, 200.0].map(f64::to_bits));
        assert_eq!(quantile(&[-3], 0.5).to_bits(), (-3.0_f64).to_bits());
    }

    #[test]
    fn medians() {
        let check = |figures: &[f64], expected: [f64; 3]| {
            let summary = Summary::of(figures.iter().copied());
            assert_eq!(
                [summary.median, summary.min, summary.max].map(f64::to_bits),
                expected.map(f64::to_bits)
            );
        };
        check(&[7.0], [7.0, 7.0, 7.0]);
        check(&[9.0, 1.0, 2.0], [2.0, 1.0, 9.0]);
        check(&[4.0, 1.0, 2.0, 9.0], [3.0, 1.0, 9.0]);
    }
}
