//! Which of the changes that were not durable are there after a power cut.

use std::fmt;

use crate::random::Random;

/// A choice among the pending changes of a disk, by their positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Survival {
    /// The first so many; all sectors of them.
    First(usize),
    /// All but one.
    Without(usize),
    /// One alone.
    Only(usize),
    /// All, but of the last one the first so many sectors.
    TornAfter { last: usize, sectors: usize },
    /// All, but of the last one only what follows so many sectors.
    TornBefore { last: usize, sectors: usize },
    /// Each with a probability in percent, and of a write that is there, each sector or a run of them.
    Some { seed: u64, percent: u64 },
}

impl Survival {
    /// Every choice that is tried where all are, for so many changes of which the last has so many sectors.
    pub(super) fn every(pending: usize, last_sectors: usize) -> Vec<Self> {
        let mut every: Vec<_> = (0..=pending).map(Self::First).collect();
        // Torn at the first sectors and at the last: between them nothing new begins.
        let torn = (1..last_sectors).filter(|it| *it <= 8 || last_sectors - it <= 2);
        if let Some(last) = pending.checked_sub(1) {
            every.extend((0..last).map(Self::Without));
            every.extend((1..pending).map(Self::Only));
            every.extend(torn.clone().map(|sectors| Self::TornAfter { last, sectors }));
            every.extend(torn.map(|sectors| Self::TornBefore { last, sectors }));
        }
        every
    }

    /// A choice at random.
    pub(super) fn random(random: &mut Random, pending: usize) -> Self {
        let seed = random.next();
        match random.below(16) {
            0 => Self::First(random.index(pending + 1)),
            1 if pending > 0 => Self::Without(random.index(pending)),
            2 if pending > 0 => Self::Only(random.index(pending)),
            number => Self::Some { seed, percent: [10, 50, 50, 75, 90][random.index(5)] + number % 3 },
        }
    }

    /// Returns whether anything of a change is there.
    pub(super) fn keeps(&self, position: usize) -> bool {
        match *self {
            Self::First(count) => position < count,
            Self::Without(one) => position != one,
            Self::Only(one) => position == one,
            Self::TornAfter { .. } | Self::TornBefore { .. } => true,
            Self::Some { seed, percent } => draw(seed, position, 0) % 100 < percent,
        }
    }

    /// Returns whether a sector of a write is there.
    pub(super) fn keeps_sector(&self, position: usize, sector: usize) -> bool {
        match *self {
            Self::TornAfter { last, sectors } if position == last => sector < sectors,
            Self::TornBefore { last, sectors } if position == last => sector >= sectors,
            Self::Some { seed, .. } => {
                let shape = draw(seed, position, 1);
                let edge = usize::try_from(shape / 8 % 9).expect("is small");
                self.keeps(position)
                    && match shape % 8 {
                        0 => draw(seed, position, 2 + sector as u64).is_multiple_of(2),
                        1 => sector < edge,
                        2 => sector >= edge,
                        _ => true,
                    }
            }
            _ => self.keeps(position),
        }
    }
}

fn draw(seed: u64, position: usize, what: u64) -> u64 {
    Random::new(seed ^ (position as u64) << 32 ^ what).next()
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(count) => write!(f, "the first {count} pending changes survive"),
            Self::Without(one) => write!(f, "all pending changes but number {one} survive"),
            Self::Only(one) => write!(f, "of the pending changes only number {one} survives"),
            Self::TornAfter { sectors, .. } => {
                write!(f, "of the last write the first {sectors} sectors survive")
            }
            Self::TornBefore { sectors, .. } => {
                write!(f, "of the last write the first {sectors} sectors are lost")
            }
            Self::Some { seed, percent } => {
                write!(f, "{percent} % of the pending changes survive, whole or in part, by seed {seed:#x}")
            }
        }
    }
}
