//! What happens to bytes on a disk.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// What a disk writes as a whole, and loses as a whole.
pub(super) const SECTOR: usize = 512;

/// A page of the store's file.
pub(super) const PAGE: usize = 4096;

/// One way in which a file differs from what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Damage {
    /// A bit is another.
    Flip(usize),
    /// A sector, by its number, reads as zeros.
    Zeroed(usize),
    /// Two pages, by their numbers, have changed places.
    Swapped(usize, usize),
    /// The file ends here.
    CutOff(usize),
    /// A piece of so many bytes at this place is what it was in an earlier version of the file: its last write was lost, or
    /// went elsewhere.
    Stale(usize, usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flip(bit) => write!(f, "bit {} of byte {} flipped", bit % 8, bit / 8),
            Self::Zeroed(sector) => write!(f, "sector {sector} zeroed"),
            Self::Swapped(one, other) => write!(f, "pages {one} and {other} swapped"),
            Self::CutOff(len) => write!(f, "cut off after {len} bytes"),
            Self::Stale(at, len) => write!(f, "the {len} bytes at {at} as they were before"),
        }
    }
}

/// Where damage may be done to a file: which of its parts hold anything, and which differ from an earlier version.
#[derive(Debug)]
pub(super) struct Places {
    len: usize,
    /// Sectors that are not all zeros.
    filled: Vec<usize>,
    /// Pieces, by place and length, that an earlier version of the file had differently.
    changed: Vec<(usize, usize)>,
}

/// Which kinds of damage are done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kinds {
    /// All but stale pieces.
    Fresh,
    /// Stale pieces alone.
    Stale,
}

impl Places {
    /// `piece` is what is lost of a write at a time.
    pub(super) fn of(bytes: &[u8], older: Option<&[u8]>, piece: usize) -> Self {
        let sectors = bytes.chunks(SECTOR).enumerate();
        let filled = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
        let filled = filled.map(|(number, _)| number).collect();
        let is_changed = |at: usize, now: &[u8], older: &[u8]| {
            older
                .get(at..at + now.len())
                .is_some_and(|then| then != now && then.iter().any(|byte| *byte != 0))
        };
        let pieces = bytes.chunks(piece).enumerate().map(|(number, now)| (number * piece, now));
        let changed = older.map_or_else(Vec::new, |older| {
            let changed = pieces.filter(|(at, now)| is_changed(*at, now, older));
            changed.map(|(at, now)| (at, now.len())).collect()
        });
        Self { len: bytes.len(), filled, changed }
    }

    /// Returns whether there is anything of this kind to be done.
    pub(super) fn allows(&self, kinds: Kinds) -> bool {
        match kinds {
            Kinds::Fresh => !self.filled.is_empty(),
            Kinds::Stale => !self.changed.is_empty(),
        }
    }

    pub(super) fn choose(&self, kinds: Kinds, random: &mut Random) -> Damage {
        if kinds == Kinds::Stale {
            let (at, len) = self.changed[random.index(self.changed.len())];
            return Damage::Stale(at, len);
        }
        let pages = self.len / PAGE;
        match random.below(100) {
            0..3 => Damage::Zeroed(self.filled[random.index(self.filled.len())]),
            3..6 if pages > 2 => self.swap(random),
            6..8 => Damage::CutOff(random.index(self.len)),
            // The head says where everything else is.
            8..13 => Damage::Flip(random.index(self.len.min(320) * 8)),
            // Anywhere.
            13..20 => Damage::Flip(random.index(self.len * 8)),
            _ => {
                let start = self.filled[random.index(self.filled.len())] * SECTOR;
                let len = SECTOR.min(self.len - start);
                Damage::Flip((start + random.index(len)) * 8 + random.index(8))
            }
        }
    }

    fn swap(&self, random: &mut Random) -> Damage {
        let page = |random: &mut Random| self.filled[random.index(self.filled.len())] * SECTOR / PAGE;
        Damage::Swapped(page(random), page(random))
    }
}

impl Damage {
    /// Returns whether what is read afterwards may be what was true once: one of two pages that change places may be free,
    /// and hold what the other one did before. Every checksum is right then but those of the pages, which only a
    /// verification looks at.
    pub(super) fn may_be_outdated(self) -> bool {
        matches!(self, Self::Stale(..) | Self::Swapped(..))
    }

    /// Does it to a copy of the file.
    pub(super) fn done_to(self, bytes: &[u8], older: Option<&[u8]>) -> Vec<u8> {
        let mut damaged = bytes.to_vec();
        match self {
            Self::Flip(bit) => damaged[bit / 8] ^= 1 << (bit % 8),
            Self::Zeroed(sector) => {
                let end = damaged.len().min((sector + 1) * SECTOR);
                damaged[sector * SECTOR..end].fill(0);
            }
            Self::Swapped(one, other) => {
                for at in 0..PAGE {
                    let (a, b) = (one * PAGE + at, other * PAGE + at);
                    if a.max(b) < damaged.len() {
                        damaged.swap(a, b);
                    }
                }
            }
            Self::CutOff(len) => damaged.truncate(len),
            Self::Stale(at, len) => {
                if let Some(then) = older.and_then(|older| older.get(at..at + len)) {
                    damaged[at..at + len].copy_from_slice(then);
                }
            }
        }
        damaged
    }
}
