//! Reading from one namespace.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Bound, Deref};
use std::sync::Arc;

use bytes::Bytes;
use cohab_cache::{At, Lookup, Space};
use cohab_core::Version;
pub use cohab_engine::Direction;
use cohab_log::Image;
use cohab_namespace::{Contents, Metadata, Record};

use crate::caches;
use crate::layout::{DATA, DataRange, data_key, prefix_end, split_value, user_key};
use crate::opened::Found;
use crate::past::Overlay;
use crate::range::KeyRange;
use crate::snapshot::State;
use crate::{Digest, Error, NamespaceId, NamespaceInfo, Result};

/// One namespace in a snapshot.
#[derive(Clone)]
pub struct NamespaceView<'s> {
    state: &'s State,
    id: NamespaceId,
    namespace: Found<'s>,
}

impl<'s> NamespaceView<'s> {
    #[inline]
    pub(crate) fn new(state: &'s State, namespace: Found<'s>) -> Self {
        Self { state, id: namespace.record.id, namespace }
    }

    /// Returns the namespace's identity.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    pub(crate) fn state(&self) -> &'s State {
        self.state
    }

    /// Returns what people say about it.
    pub fn metadata(&self) -> &Metadata {
        &self.namespace.record.metadata
    }

    /// Returns everything that is known of it.
    pub fn info(&self) -> NamespaceInfo {
        NamespaceInfo::new(self.namespace.record.clone(), self.namespace.contents)
    }

    pub(crate) fn into_parts(self) -> (Record, Contents) {
        (self.namespace.record.clone(), self.namespace.contents)
    }

    /// Returns how many keys it holds. Cost: none, whatever the size.
    pub fn count(&self) -> u64 {
        self.namespace.contents.keys
    }

    /// Returns the digest of its keys and values. Cost: none, whatever the size.
    pub fn digest(&self) -> Digest {
        self.namespace.contents.digest
    }

    /// Reads a key's value, verified, without copying it. Cost: one walk down the tree.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) naming the key if it, its value or the way to it is damaged.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'s>>> {
        let row = data_key(self.id, key.as_ref())?;
        if let Some(past) = &self.state.past
            && let Some(change) = past.data(self.id)?.and_then(|namespace| namespace.change(key.as_ref()))
        {
            self.state.engine()?;
            return Ok(change.before.as_ref().map(Value::earlier));
        }
        Ok(self.state.engine()?.get(DATA, &row)?.map(Value::new))
    }

    /// Reads a key's value through the cache, where it stays for the next read of any snapshot that shows the same, and
    /// returns it as a reference count of what is kept there. Verified when it was read from the file.
    ///
    /// Cost: some hundred nanoseconds where the cache knows the value or that there is none, otherwise that of
    /// [`get`](Self::get) and a copy. The first such read after a commit that changed the namespace goes through what it
    /// wrote, and drops that from the cache.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    pub fn get_bytes(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        if self.is_past() {
            return Ok(self.get(key)?.map(|value| value.to_bytes()));
        }
        let (space, at) = self.cached()?;
        match space.get(key, at) {
            Lookup::Value(value) => Ok(Some(value)),
            Lookup::Absent => Ok(None),
            Lookup::Unknown => self.fill_bytes(key),
        }
    }

    /// Returns whether it is of an earlier version than the one that is pinned, so that the cache has no say.
    pub(crate) fn is_past(&self) -> bool {
        self.state.past.is_some()
    }

    /// Reads a key's value from the file, for somebody who has asked the cache.
    pub(crate) fn fill_bytes(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let (space, at) = self.cached()?;
        self.fill(space, at, key, |value| value.map(Value::to_bytes))
    }

    /// Returns where the namespace's values are cached, and where in its history they are read, having made sure that
    /// the cache can answer there.
    pub(crate) fn cached(&self) -> Result<(&Arc<Space>, At)> {
        // An expired snapshot reads no more, whatever the cache could tell.
        self.state.engine()?;
        let at = At { version: self.state.root.version, changed: self.namespace.contents.data_version };
        let space = self.namespace.space.get_or_init(|| {
            let name = self.namespace.record.metadata.name.as_str();
            self.state.caches.space(self.id, name, self.state, at)
        });
        if space.horizon() < at.version {
            caches::catch_up(space, self.state, self.id, at);
        }
        Ok((space, at))
    }

    /// Reads a key from the file, keeps in the cache what was found, and hands it on.
    pub(crate) fn fill<R>(
        &self,
        space: &Space,
        at: At,
        key: &[u8],
        f: impl FnOnce(Option<&Value<'s>>) -> R,
    ) -> Result<R> {
        space.note_miss();
        let value = self.get(key)?;
        space.fill(key, value.as_ref().map(|value| (value.version(), &**value)), at);
        Ok(f(value.as_ref()))
    }

    /// Reads several keys and returns their values in the same order.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value<'s>>>> {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// Reads a range in ascending order, lazily: memory is flat however long it is.
    #[expect(clippy::needless_pass_by_value, reason = "ranges are written in place")]
    pub fn range(&self, range: impl KeyRange) -> Result<Range<'s>> {
        self.scan(range.bounds(), Direction::Forward)
    }

    /// Reads a range in descending order, lazily.
    #[expect(clippy::needless_pass_by_value, reason = "ranges are written in place")]
    pub fn reverse(&self, range: impl KeyRange) -> Result<Range<'s>> {
        self.scan(range.bounds(), Direction::Reverse)
    }

    /// Reads the keys that begin with a prefix, in ascending order.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range<'s>> {
        let prefix = prefix.as_ref();
        let end = prefix_end(prefix);
        self.scan((Bound::Included(prefix), end.as_ref().map(Vec::as_slice)), Direction::Forward)
    }

    /// Reads everything in ascending order.
    pub fn all(&self) -> Result<Range<'s>> {
        self.scan((Bound::Unbounded, Bound::Unbounded), Direction::Forward)
    }

    /// Reads a range given by its bounds, in either order.
    pub fn scan(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>), direction: Direction) -> Result<Range<'s>> {
        let earlier = match &self.state.past {
            Some(past) => past.data(self.id)?.map(|namespace| Overlay::new(namespace, bounds, direction)),
            None => None,
        };
        let range = DataRange::of(self.id, bounds);
        let entries = self.state.engine()?.range(DATA, range.bounds(), direction)?;
        // Reading all of it, the number of entries is known beforehand, which shows a page that was skipped.
        let is_all = matches!(bounds, (Bound::Unbounded, Bound::Unbounded));
        let expected = is_all.then_some((self.id, self.namespace.contents.keys));
        Ok(Range {
            merged: earlier.map(|earlier| Box::new(Merged::new(earlier, direction))),
            ..Range::new(entries, expected)
        })
    }
}

impl fmt::Debug for NamespaceView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceView")
            .field("record", &self.namespace.record)
            .field("contents", &self.namespace.contents)
            .finish()
    }
}

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

    fn earlier(image: &'a Image) -> Self {
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
        Bytes::copy_from_slice(self)
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
                merged.earlier.end();
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
