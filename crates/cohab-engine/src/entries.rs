//! Ranges, read lazily and verified entry by entry.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound;

use redb::ReadableTable;

use crate::guard::guarded;
use crate::seal::{Guard, SEAL_BYTES, Seal};
use crate::{Error, Result, Table};

/// The order in which a range is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    /// From the smallest key to the greatest.
    #[default]
    Forward,
    /// From the greatest key to the smallest.
    Reverse,
}

/// A verified key and value, borrowed from the engine's page without a copy.
pub struct Entry<'a> {
    key: Guard<'a>,
    value: Guard<'a>,
}

impl Entry<'_> {
    /// Returns the key.
    pub fn key(&self) -> &[u8] {
        self.key.value()
    }

    /// Returns the value.
    pub fn value(&self) -> &[u8] {
        &self.value.value()[SEAL_BYTES..]
    }

    /// The key and the value with its seal, for copying them elsewhere as they are.
    pub(crate) fn stored(&self) -> (&[u8], &[u8]) {
        (self.key.value(), self.value.value())
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} = {:?}",
            self.key().escape_ascii().to_string(),
            self.value().escape_ascii().to_string()
        )
    }
}

/// An iterator over a range of a table. After an error it yields nothing more.
///
/// Besides each value's checksum it verifies that keys come in order and that the entry just outside the range's
/// start lies outside, so that a damaged branch page cannot silently hide the first entries. Memory is one path
/// through the tree, however long the range.
pub struct Entries<'a> {
    cursor: Option<redb::Cursor<'a, &'static [u8], &'static [u8]>>,
    seal: Seal,
    table: Table,
    direction: Direction,
    end: Bound<Vec<u8>>,
    last: Vec<u8>,
    started: bool,
}

impl<'a> Entries<'a> {
    /// An iterator that yields nothing: the range of a table that does not exist.
    pub(crate) fn empty(table: Table) -> Self {
        Self::with(None, Seal::new(table), table, Direction::Forward, Bound::Unbounded)
    }

    pub(crate) fn open(
        tree: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
        seal: Seal,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Self> {
        let (start, end) = match direction {
            Direction::Forward => range,
            Direction::Reverse => (range.1, range.0),
        };
        let mut cursor = guarded(table.name(), || match direction {
            Direction::Forward => tree.lower_bound(start),
            Direction::Reverse => tree.upper_bound(start),
        })?;
        let outside = guarded(table.name(), || match direction {
            Direction::Forward => cursor.peek_prev(),
            Direction::Reverse => cursor.peek_next(),
        })?;
        if let (Some((key, value)), Bound::Included(start) | Bound::Excluded(start)) = (outside, start) {
            seal.verify(key.value(), value.value())?;
            let outside = match direction {
                Direction::Forward => key.value() <= start,
                Direction::Reverse => key.value() >= start,
            };
            if !outside {
                return Err(out_of_order(table, key.value()));
            }
        }
        Ok(Self::with(Some(cursor), seal, table, direction, end.map(<[u8]>::to_vec)))
    }

    fn with(
        cursor: Option<redb::Cursor<'a, &'static [u8], &'static [u8]>>,
        seal: Seal,
        table: Table,
        direction: Direction,
        end: Bound<Vec<u8>>,
    ) -> Self {
        Self { cursor, seal, table, direction, end, last: Vec::new(), started: false }
    }

    fn advance(&mut self) -> Result<Option<Entry<'a>>> {
        let Some(cursor) = &mut self.cursor else { return Ok(None) };
        let next = guarded(self.table.name(), || match self.direction {
            Direction::Forward => cursor.next(),
            Direction::Reverse => cursor.prev(),
        })?;
        let Some((key, value)) = next else { return Ok(None) };
        let key_bytes = key.value();
        self.seal.verify(key_bytes, value.value())?;
        let in_order = match self.direction {
            Direction::Forward => self.last.as_slice() < key_bytes,
            Direction::Reverse => self.last.as_slice() > key_bytes,
        };
        if self.started && !in_order {
            return Err(out_of_order(self.table, key_bytes));
        }
        let within = match (self.direction, &self.end) {
            (_, Bound::Unbounded) => true,
            (Direction::Forward, Bound::Included(end)) => key_bytes <= end.as_slice(),
            (Direction::Forward, Bound::Excluded(end)) => key_bytes < end.as_slice(),
            (Direction::Reverse, Bound::Included(end)) => key_bytes >= end.as_slice(),
            (Direction::Reverse, Bound::Excluded(end)) => key_bytes > end.as_slice(),
        };
        if !within {
            return Ok(None);
        }
        self.started = true;
        self.last.clear();
        self.last.extend_from_slice(key_bytes);
        Ok(Some(Entry { key, value }))
    }
}

/// Verifies that the gap in which a key would stand is one between two sound entries.
///
/// A search that was led astray by one damaged key ends right beside that key, and a damaged branch leads into a
/// leaf whose neighbours lie on the wrong side of the gap: either way one of the two shows it.
pub(crate) fn verify_absence(
    tree: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: Seal,
    table: Table,
    key: &[u8],
) -> Result<()> {
    let (before, after) = guarded(table.name(), || {
        let mut cursor = tree.lower_bound(Bound::Included(key))?;
        Ok::<_, redb::StorageError>((cursor.peek_prev()?, cursor.peek_next()?))
    })?;
    let neighbours = [(before, Ordering::Less), (after, Ordering::Greater)];
    for (entry, expected) in neighbours {
        let Some((found, value)) = entry else { continue };
        seal.verify(found.value(), value.value())?;
        if found.value().cmp(key) != expected {
            return Err(out_of_order(table, found.value()));
        }
    }
    Ok(())
}

fn out_of_order(table: Table, key: &[u8]) -> Error {
    Error::corrupt(table.name(), Some(key), "the keys are out of order")
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if !matches!(next, Ok(Some(_))) {
            self.cursor = None;
        }
        next.transpose()
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("table", &self.table)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
