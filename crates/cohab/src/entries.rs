//! What reading hands out: values, entries and ranges of them, of the present or of an earlier version.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use cohab_core::{NamespaceId, Version};
use cohab_engine::Direction;
use cohab_log::Image;

use crate::layout::{split_value, user_key};
use crate::past::Overlay;
use crate::{Error, Result};

/// A verified value, borrowed without a copy; dereferences to its bytes.
pub struct Value<'a>(ValueOf<'a>);

enum ValueOf<'a> {
    Stored(cohab_engine::Value<'a>),
    Earlier(&'a Image),
}

impl<'a> Value<'a> {
    #[inline]
    pub(crate) fn new(stored: cohab_engine::Value<'a>) -> Self {
        Self(ValueOf::Stored(stored))
    }

    pub(crate) fn earlier(image: &'a Image) -> Self {
        Self(ValueOf::Earlier(image))
    }

    /// Returns the version that set the value.
    pub fn version(&self) -> Version {
        match &self.0 {
            ValueOf::Stored(stored) => split_value(stored).0,
            ValueOf::Earlier(image) => image.version,
        }
    }

    /// Copies the bytes out, to keep them longer than the snapshot.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            ValueOf::Stored(_) => Bytes::copy_from_slice(self),
            ValueOf::Earlier(image) => image.value.clone(),
        }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            ValueOf::Stored(stored) => split_value(stored).1,
            ValueOf::Earlier(image) => &image.value,
        }
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.escape_ascii().to_string(), self.version())
    }
}

/// A verified key and value, borrowed without a copy.
pub struct Entry<'a>(EntryOf<'a>);

enum EntryOf<'a> {
    Stored(cohab_engine::Entry<'a>),
    Earlier(&'a [u8], &'a Image),
}

impl Entry<'_> {
    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        match &self.0 {
            EntryOf::Stored(stored) => user_key(stored.key()),
            EntryOf::Earlier(key, _) => key,
        }
    }

    /// Returns the value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        match &self.0 {
            EntryOf::Stored(stored) => split_value(stored.value()).1,
            EntryOf::Earlier(_, image) => &image.value,
        }
    }

    /// Returns the version that set the value.
    pub fn version(&self) -> Version {
        match &self.0 {
            EntryOf::Stored(stored) => split_value(stored.value()).0,
            EntryOf::Earlier(_, image) => image.version,
        }
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_entry(f, self.key(), self.value(), self.version())
    }
}

fn debug_entry(f: &mut fmt::Formatter<'_>, key: &[u8], value: &[u8], version: Version) -> fmt::Result {
    write!(f, "\"{}\" = \"{}\" ({version:?})", key.escape_ascii(), value.escape_ascii())
}

/// An entry that is lent out until the range moves on.
#[derive(Clone, Copy)]
pub struct EntryRef<'r> {
    key: &'r [u8],
    held: Held<'r>,
}

#[derive(Clone, Copy)]
enum Held<'r> {
    Stored(&'r [u8]),
    Earlier(&'r Image),
}

impl<'r> EntryRef<'r> {
    /// Returns the key.
    #[inline]
    pub fn key(&self) -> &'r [u8] {
        self.key
    }

    /// Returns the value.
    #[inline]
    pub fn value(&self) -> &'r [u8] {
        match self.held {
            Held::Stored(stored) => split_value(stored).1,
            Held::Earlier(image) => &image.value,
        }
    }

    /// Returns the version that set the value.
    pub fn version(&self) -> Version {
        match self.held {
            Held::Stored(stored) => split_value(stored).0,
            Held::Earlier(image) => image.version,
        }
    }
}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_entry(f, self.key(), self.value(), self.version())
    }
}

/// A range of a namespace: an iterator, or, faster where an entry is only looked at, lent out by
/// [`step`](Self::step). After an error it yields nothing more.
#[derive(Debug)]
pub struct Range<'a> {
    entries: cohab_engine::Entries<'a>,
    seen: u64,
    /// How many entries there should be, where that is known.
    expected: Option<(NamespaceId, u64)>,
    /// What an earlier version had different.
    merged: Option<Box<Merged<'a>>>,
}

impl<'a> Range<'a> {
    pub(crate) fn new(entries: cohab_engine::Entries<'a>, expected: Option<(NamespaceId, u64)>) -> Self {
        Self { entries, seen: 0, expected, merged: None }
    }

    /// Puts what an earlier version had different over what is read.
    pub(crate) fn merged_with(self, earlier: Option<Overlay<'a>>, direction: Direction) -> Self {
        Self { merged: earlier.map(|earlier| Box::new(Merged::new(earlier, direction))), ..self }
    }

    /// Moves to the next entry and lends it out; `None` at the end.
    ///
    /// Cost: nothing is copied, allocated or counted, so this takes about half the time of the iterator.
    #[inline]
    pub fn step(&mut self) -> Result<Option<EntryRef<'_>>> {
        if self.merged.is_some() {
            return self.step_merged();
        }
        match self.entries.step() {
            Ok(Some(entry)) => {
                self.seen += 1;
                Ok(Some(EntryRef { key: user_key(entry.key()), held: Held::Stored(entry.value()) }))
            }
            Ok(None) => end(&mut self.expected, self.seen).map(|()| None),
            Err(error) => {
                self.expected = None;
                Err(error.into())
            }
        }
    }
}

impl Range<'_> {
    /// Returns, after an error, whether nothing can be read behind it.
    pub(crate) fn has_ended(&self) -> bool {
        self.entries.has_ended()
    }
}

/// How far a range of an earlier version has come.
#[derive(Debug)]
struct Merged<'a> {
    earlier: Overlay<'a>,
    direction: Direction,
    /// Whether the entry that the engine lends is yet to be handed out.
    is_pending: bool,
}

/// Where the next entry is.
enum Next<'a> {
    Stored,
    Earlier(&'a [u8], &'a Image),
    End,
}

impl<'a> Merged<'a> {
    fn new(earlier: Overlay<'a>, direction: Direction) -> Self {
        Self { earlier, direction, is_pending: false }
    }

    /// Finds the next entry of the two, of which the earlier one stands before the present one of the same key.
    fn seek(&mut self, entries: &mut cohab_engine::Entries<'a>) -> Result<Next<'a>> {
        loop {
            if !self.is_pending {
                self.is_pending = entries.step()?.is_some();
            }
            let stored = entries.current().filter(|_| self.is_pending).map(|entry| user_key(entry.key()));
            let order = match (stored, self.earlier.peek()) {
                (None, None) => return Ok(Next::End),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(stored), Some(earlier)) => match self.direction {
                    Direction::Forward => stored.cmp(earlier),
                    Direction::Reverse => earlier.cmp(stored),
                },
            };
            if order == Ordering::Less {
                self.is_pending = false;
                return Ok(Next::Stored);
            }
            if order == Ordering::Equal {
                self.is_pending = false;
            }
            if let Some((key, Some(image))) = self.earlier.next() {
                return Ok(Next::Earlier(key, image));
            }
        }
    }
}

impl<'a> Range<'a> {
    fn seek_merged(&mut self) -> Result<Next<'a>> {
        let Some(merged) = &mut self.merged else { return Ok(Next::End) };
        let next = merged.seek(&mut self.entries);
        match &next {
            Ok(Next::End) => end(&mut self.expected, self.seen)?,
            Ok(_) => self.seen += 1,
            Err(_) => {
                self.expected = None;
                if self.entries.has_ended() {
                    merged.earlier.end();
                }
            }
        }
        next
    }

    #[cold]
    fn step_merged(&mut self) -> Result<Option<EntryRef<'_>>> {
        Ok(match self.seek_merged()? {
            Next::Stored => self
                .entries
                .current()
                .map(|entry| EntryRef { key: user_key(entry.key()), held: Held::Stored(entry.value()) }),
            Next::Earlier(key, image) => Some(EntryRef { key, held: Held::Earlier(image) }),
            Next::End => None,
        })
    }

    #[cold]
    fn next_merged(&mut self) -> Option<Result<Entry<'a>>> {
        match self.seek_merged() {
            Ok(Next::Stored) => self.entries.take_current().map(|entry| Ok(Entry(EntryOf::Stored(entry)))),
            Ok(Next::Earlier(key, image)) => Some(Ok(Entry(EntryOf::Earlier(key, image)))),
            Ok(Next::End) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

/// Compares, once, how many entries there were with how many there should have been.
fn end(expected: &mut Option<(NamespaceId, u64)>, seen: u64) -> Result<()> {
    match expected.take() {
        Some((id, expected)) if seen != expected => {
            let message =
                format!("namespace #{id} is damaged: it should hold {expected} keys, {seen} were found");
            Err(Error::corrupt(message))
        }
        _ => Ok(()),
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Result<Entry<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.merged.is_some() {
            return self.next_merged();
        }
        match self.entries.next() {
            Some(Ok(entry)) => {
                self.seen += 1;
                Some(Ok(Entry(EntryOf::Stored(entry))))
            }
            None => end(&mut self.expected, self.seen).err().map(Err),
            Some(Err(error)) => {
                self.expected = None;
                Some(Err(error.into()))
            }
        }
    }
}
