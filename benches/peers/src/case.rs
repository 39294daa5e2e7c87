//! The cases by name, and what is reported of each.

use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::measure::Round;

/// A case, in the order in which they run: nothing is read from a store after commits have made it another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// All rows in one transaction into a new store.
    BulkLoad,
    /// The same, without history where there is one.
    BulkLoadNohistory,
    /// Random look-ups in one snapshot.
    GetHeld,
    /// Random look-ups in a new snapshot each.
    GetFresh,
    /// Ten rows from a random start.
    Scan10,
    /// A thousand rows from a random start.
    Scan1000,
    /// All rows in order.
    ScanAll,
    /// One row in a durable transaction.
    Commit1,
    /// The same from sixteen threads.
    Commit1x16,
    /// A thousand rows in a durable transaction.
    Commit1000,
    /// Opening a small store whose process was killed in a transaction, and reading a row.
    OpenAfterKill10k,
    /// The same with all rows.
    OpenAfterKill,
    /// Renaming a namespace of a few rows.
    RenameSmall,
    /// Renaming a namespace of all rows.
    RenameLarge,
}

impl Case {
    /// All cases, in order.
    pub const ALL: &[Self] = &[
        Self::BulkLoad,
        Self::BulkLoadNohistory,
        Self::GetHeld,
        Self::GetFresh,
        Self::Scan10,
        Self::Scan1000,
        Self::ScanAll,
        Self::Commit1,
        Self::Commit1x16,
        Self::Commit1000,
        Self::OpenAfterKill10k,
        Self::OpenAfterKill,
        Self::RenameSmall,
        Self::RenameLarge,
    ];

    /// The name as it is typed and reported.
    pub fn name(self) -> &'static str {
        match self {
            Self::BulkLoad => "bulk-load",
            Self::BulkLoadNohistory => "bulk-load-nohistory",
            Self::GetHeld => "get-held",
            Self::GetFresh => "get-fresh",
            Self::Scan10 => "scan-10",
            Self::Scan1000 => "scan-1000",
            Self::ScanAll => "scan-all",
            Self::Commit1 => "commit-1",
            Self::Commit1x16 => "commit-1x16",
            Self::Commit1000 => "commit-1000",
            Self::OpenAfterKill10k => "open-after-kill-10k",
            Self::OpenAfterKill => "open-after-kill",
            Self::RenameSmall => "rename-small",
            Self::RenameLarge => "rename-large",
        }
    }

    /// What an operation is.
    pub fn operation(self) -> &'static str {
        match self {
            Self::BulkLoad | Self::BulkLoadNohistory | Self::Scan10 | Self::Scan1000 | Self::ScanAll => "row",
            Self::GetHeld | Self::GetFresh => "get",
            Self::Commit1 | Self::Commit1x16 | Self::Commit1000 => "commit",
            Self::OpenAfterKill10k | Self::OpenAfterKill => "opening",
            Self::RenameSmall | Self::RenameLarge => "rename",
        }
    }

    /// The figure that counts, and the one beside it.
    pub fn metrics(self) -> [Metric; 2] {
        match self {
            Self::Commit1x16 => [Metric::new(Clock::Wall, Unit::CommitsPerSecond), Metric::CPU],
            Self::OpenAfterKill10k | Self::OpenAfterKill => {
                [Metric::new(Clock::Wall, Unit::Millis), Metric::new(Clock::Cpu, Unit::Millis)]
            }
            Self::RenameSmall | Self::RenameLarge => {
                [Metric::new(Clock::Wall, Unit::Micros), Metric::new(Clock::Cpu, Unit::Micros)]
            }
            _ => [Metric::CPU, Metric::WALL],
        }
    }
}

impl ValueEnum for Case {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// A figure to take from a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The clock it comes from.
    pub clock: Clock,
    /// What it is counted in.
    pub unit: Unit,
}

impl Metric {
    const CPU: Self = Self::new(Clock::Cpu, Unit::Nanos);
    const WALL: Self = Self::new(Clock::Wall, Unit::Nanos);

    const fn new(clock: Clock, unit: Unit) -> Self {
        Self { clock, unit }
    }

    /// Takes the figure from a round.
    pub fn of(self, round: &Round) -> f64 {
        let time = match self.clock {
            Clock::Cpu => round.cpu,
            Clock::Wall => round.wall,
        };
        self.unit.of(time, round.done.operations)
    }
}

/// A clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// CPU time of the process.
    Cpu,
    /// Time.
    Wall,
}

impl Clock {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
        }
    }
}

/// What a figure is counted in. All but the last are times per operation, of which less is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Nanoseconds.
    Nanos,
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// Commits a second, of which more is better.
    CommitsPerSecond,
}

impl Unit {
    /// Its symbol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::CommitsPerSecond => "commits/s",
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of operations are far below 2⁵³")]
    fn of(self, time: Duration, operations: u64) -> f64 {
        let (seconds, operations) = (time.as_secs_f64(), operations as f64);
        match self {
            Self::Nanos => seconds * 1e9 / operations,
            Self::Micros => seconds * 1e6 / operations,
            Self::Millis => seconds * 1e3 / operations,
            Self::CommitsPerSecond => operations / seconds,
        }
    }
}
