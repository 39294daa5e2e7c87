//! Figures that are taken from a round.

use std::borrow::Cow;
use std::time::Duration;

use crate::measure::{Round, quantile};
use crate::reading::Counts;

/// A figure to take from a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Where it comes from.
    pub source: Source,
    /// What it is counted in.
    pub unit: Unit,
}

/// Where a figure comes from. Samples are ranked in percent: 50 is the median, 0 the least, 100 the greatest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// CPU time of the process that does it.
    Cpu,
    /// Time.
    Wall,
    /// The samples.
    Sample(u32),
    /// The samples of what was done alone.
    Alone(u32),
    /// The samples of what was done beside processes that only compute.
    Crowded(u32),
    /// How many times the samples alone the samples are.
    ToAlone(u32),
    /// How many times the samples beside processes that only compute the samples are.
    ToCrowded(u32),
    /// How many samples there were: commits that a writer made.
    Commits,
    /// How many of the look-ups a cache of values answered.
    Hits,
    /// The sample of what two did at a time.
    OfTwo,
    /// The sample of what one of them did alone.
    OfOne,
    /// How many times what one does two do.
    Scaling,
    /// The sample, by how many operations there were.
    Growth,
    /// How many bytes a cache of values takes its entries for, by how many operations there were.
    Counted,
    /// The figure of this name.
    Figure(&'static str),
}

impl Metric {
    /// Takes the figure from a round. `None` if there is none of whoever it is the round of.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    pub fn of(self, round: &Round) -> Option<f64> {
        let rank = |samples, percent| quantile(samples, f64::from(percent) / 100.0);
        let per_operation = |bytes: f64| self.unit.of_part(bytes / round.done.operations as f64);
        Some(match self.source {
            Source::Cpu => self.unit.of_time(round.cpu, round.done.operations),
            Source::Wall => self.unit.of_time(round.wall, round.done.operations),
            Source::Sample(percent) => self.unit.of_sample(rank(&round.samples, percent)),
            Source::OfTwo => self.unit.of_sample(rank(&round.samples, 50)),
            Source::Alone(percent) => self.unit.of_sample(rank(&round.alone, percent)),
            Source::OfOne => self.unit.of_sample(rank(&round.alone, 50)),
            Source::Crowded(percent) => self.unit.of_sample(rank(&round.crowded, percent)),
            Source::ToAlone(percent) => rank(&round.samples, percent) / rank(&round.alone, percent),
            Source::ToCrowded(percent) => rank(&round.samples, percent) / rank(&round.crowded, percent),
            Source::Scaling => rank(&round.samples, 50) / rank(&round.alone, 50),
            Source::Commits => self.unit.of_time(round.wall, round.samples.len() as u64),
            Source::Hits => {
                let Counts { hits, misses, .. } = round.counts.filter(|it| it.hits + it.misses > 0)?;
                self.unit.of_part(hits as f64 / (hits + misses) as f64)
            }
            Source::Growth => per_operation(rank(&round.samples, 50)),
            Source::Counted => per_operation(round.counts?.bytes as f64),
            Source::Figure(name) => round.figures.iter().find(|figure| figure.0 == name)?.1,
        })
    }

    /// What distinguishes it in a table, beside its unit.
    pub fn title(self) -> Cow<'static, str> {
        let ranked = |percent| match percent {
            0 => "min".into(),
            100 => "max".into(),
            percent => format!("p{percent}"),
        };
        match self.source {
            Source::Cpu => "cpu".into(),
            Source::Wall => "wall".into(),
            Source::Sample(percent) => ranked(percent).into(),
            Source::Alone(percent) => format!("{} alone", ranked(percent)).into(),
            Source::Crowded(percent) => format!("{} crowded", ranked(percent)).into(),
            Source::ToAlone(percent) => format!("{} to alone", ranked(percent)).into(),
            Source::ToCrowded(percent) => format!("{} to crowded", ranked(percent)).into(),
            Source::Commits => "commits".into(),
            Source::Hits => "hits".into(),
            Source::OfTwo => "two".into(),
            Source::OfOne => "one".into(),
            Source::Scaling => "scaling".into(),
            Source::Growth => "growth".into(),
            Source::Counted => "counted".into(),
            Source::Figure(name) => name.into(),
        }
    }

    /// Whether it is written to the file of figures when it is not the one that counts.
    pub fn is_written(self) -> bool {
        self.source != Source::Cpu
    }
}

/// What a figure is counted in. Less is better, unless it is something per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Commits a second, of which more is better.
    CommitsPerSecond,
    /// Look-ups a second, of which more is better.
    GetsPerSecond,
    /// Keys a second, of which more is better.
    KeysPerSecond,
    /// Calls a second, of which more is better.
    CallsPerSecond,
    /// Bytes.
    Bytes,
    /// Millions of bytes.
    Megabytes,
    /// Hundredths.
    Percent,
    /// How many times as much.
    Times,
    /// How many.
    Count,
}

impl Unit {
    /// Its symbol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::CommitsPerSecond => "commits/s",
            Self::GetsPerSecond => "gets/s",
            Self::KeysPerSecond => "keys/s",
            Self::CallsPerSecond => "calls/s",
            Self::Bytes => "B",
            Self::Megabytes => "MB",
            Self::Percent => "%",
            Self::Times => "×",
            Self::Count => "n",
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of operations are far below 2⁵³")]
    fn of_time(self, time: Duration, operations: u64) -> f64 {
        let (nanos, operations) = (time.as_secs_f64() * 1e9, operations as f64);
        match self {
            Self::Count => operations,
            Self::CommitsPerSecond => operations * 1e9 / nanos,
            _ => self.of_sample(nanos / operations),
        }
    }

    /// Converts a part of a whole.
    fn of_part(self, part: f64) -> f64 {
        if self == Self::Percent { part * 100.0 } else { self.of_sample(part) }
    }

    /// Converts nanoseconds, or bytes.
    fn of_sample(self, sample: f64) -> f64 {
        match self {
            Self::Micros => sample / 1e3,
            Self::Millis | Self::Megabytes => sample / 1e6,
            Self::Seconds => sample / 1e9,
            Self::Nanos
            | Self::CommitsPerSecond
            | Self::GetsPerSecond
            | Self::KeysPerSecond
            | Self::CallsPerSecond
            | Self::Bytes
            | Self::Percent
            | Self::Times
            | Self::Count => sample,
        }
    }
}
