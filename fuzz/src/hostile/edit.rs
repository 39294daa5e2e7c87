//! Edits of a store's file.

use arbitrary::Arbitrary;
use xxhash_rust::xxh3::xxh3_128;

use super::origin::{Origin, PAGE_BYTES};

/// Where the engine's header has its two commit slots, how long they are, and how long their check at the end is.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const CHECK_BYTES: usize = 16;

/// One thing that is done to a file. Pages are counted among those that are in use.
#[derive(Clone, Debug, Arbitrary)]
pub(super) enum Edit {
    /// One bit of a page.
    Flip {
        page: u16,
        bit: u16,
    },
    /// A byte of a page.
    Byte {
        page: u16,
        at: u16,
        byte: u8,
    },
    /// A number in a page, where numbers are.
    Number {
        page: u16,
        at: u16,
        number: Number,
    },
    /// A byte of the header.
    HeaderByte {
        at: u16,
        byte: u8,
    },
    /// A number in the header.
    HeaderNumber {
        at: u16,
        number: Number,
    },
    /// The check of a commit slot is made right again.
    Seal {
        slot: bool,
    },
    /// A page that was never written: it is as it was after an earlier commit.
    Stale {
        page: u16,
        file: u8,
    },
    /// A sector of it was not.
    StaleSector {
        page: u16,
        sector: u8,
        file: u8,
    },
    /// A page that was written elsewhere.
    Copy {
        from: u16,
        to: u16,
    },
    Swap(u16, u16),
    Zero(u16),
    /// All of a page is of one byte.
    Fill {
        page: u16,
        byte: u8,
    },
    /// The header as it was after an earlier commit.
    StaleHeader {
        file: u8,
    },
    /// The end of the file is missing, in units of a quarter of a page.
    Truncate(u16),
    /// The file has pages too many.
    Extend(u8),
}

/// A number that is likely to hit a limit.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Number {
    Any(u64),
    Small(u8),
    Power(u8),
    Max,
    /// What is there, and a little more.
    Add(i8),
}

impl Number {
    fn of(self, found: u64) -> u64 {
        match self {
            Self::Any(number) => number,
            Self::Small(number) => number.into(),
            Self::Power(power) => 1 << (power % 64),
            Self::Max => u64::MAX,
            Self::Add(off) => found.wrapping_add_signed(off.into()),
        }
    }
}

/// Returns an origin's file with edits.
pub(super) fn edited(origin: &Origin, edits: &[Edit]) -> Vec<u8> {
    let mut file = origin.file().to_vec();
    for edit in edits {
        make(origin, &mut file, edit);
    }
    file
}

fn make(origin: &Origin, file: &mut Vec<u8>, edit: &Edit) {
    let page = |number: u16| origin.pages[usize::from(number) % origin.pages.len()] * PAGE_BYTES;
    let other = |file: u8| &origin.files[usize::from(file) % origin.files.len()];
    match *edit {
        Edit::Flip { page: number, bit } => {
            let bit = usize::from(bit) % (PAGE_BYTES * 8);
            if let Some(byte) = file.get_mut(page(number) + bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
        Edit::Byte { page: number, at, byte } => {
            set(file, page(number) + usize::from(at) % PAGE_BYTES, &[byte]);
        }
        Edit::Number { page: number, at, number: value } => {
            // Most of what counts in a page lies in front, at even places.
            put(file, page(number) + usize::from(at) % (PAGE_BYTES / 2) * 2, value);
        }
        Edit::HeaderByte { at, byte } => set(file, usize::from(at) % 320, &[byte]),
        Edit::HeaderNumber { at, number } => put(file, usize::from(at) % 312, number),
        Edit::Seal { slot } => {
            let at = SLOTS[usize::from(slot)];
            if let Some(slot) = file.get_mut(at..at + SLOT_BYTES) {
                let (fields, check) = slot.split_at_mut(SLOT_BYTES - CHECK_BYTES);
                check.copy_from_slice(&xxh3_128(fields).to_le_bytes());
            }
        }
        Edit::Stale { page: number, file: from } => copy(file, other(from), page(number), PAGE_BYTES),
        Edit::StaleSector { page: number, sector, file: from } => {
            copy(file, other(from), page(number) + usize::from(sector % 8) * 512, 512);
        }
        Edit::Copy { from, to } => {
            let (from, to) = (page(from), page(to));
            if from.max(to) + PAGE_BYTES <= file.len() {
                file.copy_within(from..from + PAGE_BYTES, to);
            }
        }
        Edit::Swap(one, other) => {
            let (one, other) = (page(one), page(other));
            if one.max(other) + PAGE_BYTES <= file.len() {
                (0..PAGE_BYTES).for_each(|at| file.swap(one + at, other + at));
            }
        }
        Edit::Zero(number) => set(file, page(number), &[0; PAGE_BYTES]),
        Edit::Fill { page: number, byte } => set(file, page(number), &[byte; PAGE_BYTES]),
        Edit::StaleHeader { file: from } => copy(file, other(from), 0, PAGE_BYTES),
        Edit::Truncate(quarters) => {
            file.truncate(file.len().saturating_sub(usize::from(quarters) * PAGE_BYTES / 4));
        }
        Edit::Extend(pages) => file.resize(file.len() + usize::from(pages) * PAGE_BYTES, 0),
    }
}

fn set(file: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = file.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put(file: &mut [u8], at: usize, number: Number) {
    if let Some(place) = file.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) {
        *place = number.of(u64::from_le_bytes(*place)).to_le_bytes();
    }
}

fn copy(file: &mut [u8], from: &[u8], at: usize, bytes: usize) {
    if let Some(piece) = from.get(at..at + bytes) {
        set(file, at, piece);
    }
}
