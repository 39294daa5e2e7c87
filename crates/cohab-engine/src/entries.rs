//! Ranges, read lazily and verified entry by entry.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Bound, Range};

use redb::ReadableTable;

use crate::branches::Branches;
use crate::format::Leaf;
use crate::gap::{Neighbours, are_of_one_leaf, is_within_one_leaf, keys_of, place, verify_edge};
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

impl Direction {
    /// Puts two things that were met one after the other in the order of their keys.
    fn ascending<T>(self, [first, second]: [T; 2]) -> [T; 2] {
        match self {
            Self::Forward => [first, second],
            Self::Reverse => [second, first],
        }
    }
}

/// What a range does behind an entry that is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnDamage {
    /// It yields nothing more.
    End,
    /// It yields the next entry.
    GoOn,
}

/// A verified key and value, borrowed from the engine's page without a copy.
pub struct Entry<'a> {
    key: Guard<'a>,
    value: Guard<'a>,
}

impl Entry<'_> {
    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key.value()
    }

    /// Returns the value.
    #[inline]
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

/// A table, and where a range goes on in it.
type Position<'a> = (&'a dyn Neighbours, redb::Cursor<'a, &'static [u8], &'static [u8]>);

/// A range of a table, read entry by entry: either lent out by [`step`](Self::step), which moves nothing, or as an
/// iterator of entries that live on. After an error it yields nothing more, unless it [salvages](crate::Snapshot::salvage).
///
/// Besides each value's checksum it verifies that keys come in order, that the entry just outside the range's start lies
/// outside, that the first one lies within, and that the entry just outside its end stands behind the last one, so that a damaged
/// branch page cannot silently hide the first entries or the last ones, or put others before them; and from leaf to leaf, that none
/// was passed over. Memory is one path through the tree, however long the range.
pub struct Entries<'a> {
    cursor: Option<Position<'a>>,
    seal: Seal,
    direction: Direction,
    end: Bound<Vec<u8>>,
    /// The entry that is lent out.
    current: Option<Entry<'a>>,
    /// The entry before, if that was given away.
    last: Option<Last>,
    on_damage: OnDamage,
    /// `None` where it goes on behind damage, or no branches are known.
    passed: Option<Passed<'a>>,
}

/// From leaf to leaf, one may have been passed over.
struct Passed<'a> {
    branches: &'a Branches,
    /// The leaf that was come to last, once it was another than the first.
    leaf: Option<Leaf>,
    /// Whether it is to begin at an end of the table, and has not yet.
    is_at_end: bool,
}

/// What is kept of an entry that was given away.
struct Last {
    key: Vec<u8>,
    /// Where in memory the key was.
    place: Range<usize>,
}

impl<'a> Entries<'a> {
    /// The range of a table that does not exist.
    pub(crate) fn empty(table: Table) -> Self {
        Self::with(None, Seal::new(table), Direction::Forward, Bound::Unbounded)
    }

    pub(crate) fn open(
        tree: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
        seal: Seal,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
        on_damage: OnDamage,
        branches: Option<&'a Branches>,
    ) -> Result<Self> {
        let (start, end) = match direction {
            Direction::Forward => range,
            Direction::Reverse => (range.1, range.0),
        };
        let mut cursor = guarded(seal.table(), || match direction {
            Direction::Forward => tree.lower_bound(start),
            Direction::Reverse => tree.upper_bound(start),
        })?;
        let verify = || verify_start(tree, &mut cursor, seal, start, direction, on_damage, branches);
        guarded(seal.table(), verify)?;
        let entries = Self::with(Some((tree, cursor)), seal, direction, end.map(<[u8]>::to_vec));
        let is_at_end = matches!(start, Bound::Unbounded);
        let branches = branches.filter(|_| on_damage == OnDamage::End);
        let passed = branches.map(|branches| Passed { branches, leaf: None, is_at_end });
        Ok(Self { on_damage, passed, ..entries })
    }

    fn with(cursor: Option<Position<'a>>, seal: Seal, direction: Direction, end: Bound<Vec<u8>>) -> Self {
        let on_damage = OnDamage::End;
        Self { cursor, seal, direction, end, current: None, last: None, on_damage, passed: None }
    }

    /// Returns whether there is nothing more to come: at the end, or behind an error.
    pub fn has_ended(&self) -> bool {
        self.cursor.is_none()
    }

    /// Moves to the next entry and lends it out, or returns `None` at the end of the range.
    #[inline]
    pub fn step(&mut self) -> Result<Option<&Entry<'a>>> {
        let moved = self.advance();
        if !matches!(moved, Ok(true)) {
            // An entry that was found and is damaged has left the cursor where it should be.
            if moved.is_ok() || self.current.is_none() || self.on_damage == OnDamage::End {
                self.cursor = None;
            }
            self.current = None;
        }
        moved.map(|_| self.current.as_ref())
    }

    /// Returns the entry that is lent out.
    #[inline]
    pub fn current(&self) -> Option<&Entry<'a>> {
        self.current.as_ref()
    }

    /// Gives the entry away that is lent out.
    #[inline]
    pub fn take_current(&mut self) -> Option<Entry<'a>> {
        let entry = self.current.take()?;
        self.last = Some(Last::of(&entry));
        Some(entry)
    }

    /// Loads the next entry into `current` and returns whether there is one.
    #[inline]
    fn advance(&mut self) -> Result<bool> {
        let Self { cursor: Some((tree, cursor)), seal, direction, end, current, last, .. } = self else {
            return Ok(false);
        };
        let before = current.take();
        let verified = guarded(seal.table(), || {
            // The guards are large: they go to their place at once instead of through the layers in between.
            *current = match direction {
                Direction::Forward => cursor.next()?,
                Direction::Reverse => cursor.prev()?,
            }
            .map(|(key, value)| Entry { key, value });
            // See `Seal::find` for why this is guarded.
            current.as_ref().map_or(Ok(()), |entry| seal.verify(entry.key.value(), entry.value.value()))
        });
        let behind = |bound: &[u8], key: &[u8]| match direction {
            Direction::Forward => bound < key,
            Direction::Reverse => bound > key,
        };
        let previous = match (&before, &*last) {
            (Some(entry), _) => Some((entry.key(), place(entry.key()))),
            (None, Some(last)) => Some((&last.key[..], last.place.clone())),
            (None, None) => None,
        };
        let ordered = verified.and_then(|()| {
            let Some(entry) = &*current else { return Ok(None) };
            let key = entry.key();
            match &previous {
                Some((previous, _)) if !behind(previous, key) => Err(out_of_order(*seal, key)),
                _ => Ok(Some(key)),
            }
        });
        let key = match ordered {
            Ok(key) => key,
            Err(error) => {
                // What comes next is to stand behind the last entry that was sound.
                if let Some(before) = before {
                    *last = Some(Last::of(&before));
                }
                return Err(error);
            }
        };
        let is_within = key.is_some_and(|key| match end {
            Bound::Unbounded => true,
            Bound::Included(end) => !behind(end, key),
            Bound::Excluded(end) => !behind(end, key) && key != end.as_slice(),
        });
        let is_of_one_leaf = match (&previous, key.map(place)) {
            (Some((_, previous)), Some(next)) => match direction {
                Direction::Forward => are_of_one_leaf(previous, &next),
                Direction::Reverse => are_of_one_leaf(&next, previous),
            },
            _ => false,
        };
        if !(is_within && is_of_one_leaf) && self.on_damage == OnDamage::End {
            let step = Step { previous: previous.map(|(key, _)| key), is_of_one_leaf, next: key, is_within };
            verify_step(*tree, *seal, *direction, self.passed.as_mut(), &step)?;
        }
        *last = None;
        Ok(is_within)
    }
}

impl Last {
    fn of(entry: &Entry<'_>) -> Self {
        Self { key: entry.key().to_vec(), place: place(entry.key()) }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(None) => None,
            Ok(Some(_)) => self.take_current().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.seal.table();
        f.debug_struct("Entries")
            .field("table", &table)
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}

/// Verifies that a cursor stands where a range begins.
fn verify_start(
    tree: &impl ReadableTable<&'static [u8], &'static [u8]>,
    cursor: &mut redb::Cursor<'_, &'static [u8], &'static [u8]>,
    seal: Seal,
    start: Bound<&[u8]>,
    direction: Direction,
    on_damage: OnDamage,
    branches: Option<&Branches>,
) -> Result<()> {
    let (Bound::Included(bound) | Bound::Excluded(bound)) = start else { return Ok(()) };
    let (outside, inside) = match direction {
        Direction::Forward => (cursor.peek_prev()?, cursor.peek_next()?),
        Direction::Reverse => (cursor.peek_next()?, cursor.peek_prev()?),
    };
    let ahead = |key: &[u8]| match direction {
        Direction::Forward => key.cmp(bound),
        Direction::Reverse => bound.cmp(key),
    };
    if let Some((key, value)) = &outside {
        match seal.verify(key.value(), value.value()) {
            // What is read begins right behind the damage, and has nothing to do with it.
            Err(_) if on_damage == OnDamage::GoOn => return Ok(()),
            verified => verified?,
        }
        // An excluded bound is itself outside, an included one was missed.
        let is_outside = match start {
            Bound::Excluded(_) => ahead(key.value()) != Ordering::Greater,
            _ => ahead(key.value()) == Ordering::Less,
        };
        if !is_outside {
            return Err(out_of_order(seal, key.value()));
        }
    }
    // Its value is verified when it is lent out. Who goes on behind damage looks at the order as well.
    if on_damage == OnDamage::GoOn {
        return Ok(());
    }
    if let Some((key, _)) = &inside {
        let is_within = match start {
            Bound::Excluded(_) => ahead(key.value()) == Ordering::Greater,
            _ => ahead(key.value()) != Ordering::Less,
        };
        if !is_within {
            return Err(out_of_order(seal, key.value()));
        }
    }
    let beside = match direction {
        Direction::Forward => [outside, inside],
        Direction::Reverse => [inside, outside],
    };
    if is_within_one_leaf(keys_of(&beside)) {
        return Ok(());
    }
    tree.verify_neighbours(seal, keys_of(&beside))?;
    verify_edge(branches, seal, keys_of(&beside))
}

/// From one entry to the next, where these are not of one leaf, or the second lies behind the range.
struct Step<'k> {
    previous: Option<&'k [u8]>,
    is_of_one_leaf: bool,
    next: Option<&'k [u8]>,
    is_within: bool,
}

/// Verifies that no leaf was passed over. At the end of the range, verifies that nothing stands between the last entry and what comes
/// behind it, which is looked up where the two are of different leaves: one that a damaged branch led to may have all its keys
/// behind the range.
#[cold]
fn verify_step(
    tree: &dyn Neighbours,
    seal: Seal,
    direction: Direction,
    passed: Option<&mut Passed<'_>>,
    step: &Step<'_>,
) -> Result<()> {
    let last = step.previous.filter(|_| !step.is_of_one_leaf);
    if !step.is_within && last.is_some() {
        guarded(seal.table(), || tree.verify_neighbours(seal, direction.ascending([last, step.next])))?;
    }
    match passed {
        Some(passed) if last.is_some() || passed.is_at_end => passed.verify(seal, direction, last, step.next),
        _ => Ok(()),
    }
}

impl Passed<'_> {
    /// Verifies that the leaves of two keys are beside each other, or that of one is at an end of the table.
    fn verify(
        &mut self,
        seal: Seal,
        direction: Direction,
        last: Option<&[u8]>,
        next: Option<&[u8]>,
    ) -> Result<()> {
        self.is_at_end = false;
        let leaf_of = |key: Option<&[u8]>| key.and_then(|key| self.branches.leaf_of(seal.of(), key));
        let leaf = self.leaf.take().or_else(|| leaf_of(last));
        if let (Some(mut leaf), Some(next)) = (leaf, next)
            && leaf.moves_to(direction == Direction::Forward, next)
        {
            self.leaf = Some(leaf);
            return Ok(());
        }
        verify_edge(Some(self.branches), seal, direction.ascending([last, next]))?;
        self.leaf = leaf_of(next);
        Ok(())
    }
}

pub(crate) fn out_of_order(seal: Seal, key: &[u8]) -> Error {
    Error::corrupt(seal.table(), Some(key), "the keys are out of order")
}
