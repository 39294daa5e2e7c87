//! Reading from one namespace.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};

use bytes::Bytes;
use cohab_core::Version;
pub use cohab_engine::Direction;
use cohab_namespace::{Contents, Metadata, Record};

use crate::layout::{DATA, DataRange, data_key, prefix_end, split_value, user_key, user_value};
use crate::snapshot::State;
use crate::{Digest, Error, NamespaceId, NamespaceInfo, Result};

/// One namespace in a snapshot.
#[derive(Clone)]
pub struct NamespaceView<'s> {
    state: &'s State,
    record: Record,
    contents: Contents,
}

impl<'s> NamespaceView<'s> {
    pub(crate) fn new(state: &'s State, record: Record, contents: Contents) -> Self {
        Self { state, record, contents }
    }

    /// Returns the namespace's identity.
    pub fn id(&self) -> NamespaceId {
        self.record.id
    }

    /// Returns what people say about it.
    pub fn metadata(&self) -> &Metadata {
        &self.record.metadata
    }

    /// Returns everything that is known of it.
    pub fn info(&self) -> NamespaceInfo {
        NamespaceInfo::new(self.record.clone(), self.contents)
    }

    pub(crate) fn into_parts(self) -> (Record, Contents) {
        (self.record, self.contents)
    }

    /// Returns how many keys it holds. Cost: none, whatever the size.
    pub fn count(&self) -> u64 {
        self.contents.keys
    }

    /// Returns the digest of its keys and values. Cost: none, whatever the size.
    pub fn digest(&self) -> Digest {
        self.contents.digest
    }

    /// Reads a key's value, verified, without copying it. Cost: one walk down the tree.
    ///
    /// # Errors
    ///
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) naming the key if it, its value or the way to it is damaged.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'s>>> {
        let row = data_key(self.record.id, key.as_ref())?;
        self.state.engine.get(DATA, &row)?.map(Value::new).transpose()
    }

    /// Reads several keys and returns their values in the same order.
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value<'s>>>> {
        keys.into_iter().map(|key| self.get(key)).collect()
    }

    /// Reads a range in ascending order, lazily: memory is flat however long it is.
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Range<'s>> {
        self.scan(bounds_of(&range), Direction::Forward)
    }

    /// Reads a range in descending order, lazily.
    pub fn reverse<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Result<Range<'s>> {
        self.scan(bounds_of(&range), Direction::Reverse)
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
        let range = DataRange::of(self.record.id, bounds);
        let entries = self.state.engine.range(DATA, range.bounds(), direction)?;
        // Reading all of it, the number of entries is known beforehand, which shows a page that was skipped.
        let is_all = matches!(bounds, (Bound::Unbounded, Bound::Unbounded));
        Ok(Range::new(entries, is_all.then_some((self.record.id, self.contents.keys))))
    }
}

impl fmt::Debug for NamespaceView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceView")
            .field("record", &self.record)
            .field("contents", &self.contents)
            .finish()
    }
}

pub(crate) fn bounds_of<'r, K: AsRef<[u8]> + 'r>(
    range: &'r impl RangeBounds<K>,
) -> (Bound<&'r [u8]>, Bound<&'r [u8]>) {
    (range.start_bound().map(AsRef::as_ref), range.end_bound().map(AsRef::as_ref))
}

/// A verified value, borrowed without a copy; dereferences to its bytes.
pub struct Value<'a> {
    stored: cohab_engine::Value<'a>,
    version: Version,
}

impl<'a> Value<'a> {
    pub(crate) fn new(stored: cohab_engine::Value<'a>) -> Result<Self> {
        let (version, _) = split_value(&stored)?;
        Ok(Self { stored, version })
    }

    /// Returns the version that set the value.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Copies the bytes out, to keep them longer than the snapshot.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(self)
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        user_value(&self.stored)
    }
}

impl AsRef<[u8]> for Value<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({:?})", self.escape_ascii().to_string(), self.version)
    }
}

/// A verified key and value, borrowed without a copy.
pub struct Entry<'a> {
    inner: cohab_engine::Entry<'a>,
    version: Version,
}

impl Entry<'_> {
    /// Returns the key.
    pub fn key(&self) -> &[u8] {
        user_key(self.inner.key())
    }

    /// Returns the value.
    pub fn value(&self) -> &[u8] {
        user_value(self.inner.value())
    }

    /// Returns the version that set the value.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (self.key().escape_ascii(), self.value().escape_ascii());
        write!(f, "{:?} = {:?} ({:?})", key.to_string(), value.to_string(), self.version)
    }
}

/// An iterator over a range of a namespace. After an error it yields nothing more.
#[derive(Debug)]
pub struct Range<'a> {
    entries: cohab_engine::Entries<'a>,
    seen: u64,
    /// How many entries there should be, where that is known.
    expected: Option<(NamespaceId, u64)>,
}

impl<'a> Range<'a> {
    pub(crate) fn new(entries: cohab_engine::Entries<'a>, expected: Option<(NamespaceId, u64)>) -> Self {
        Self { entries, seen: 0, expected }
    }

    fn end(&mut self) -> Option<Result<Entry<'a>>> {
        let (id, expected) = self.expected.take()?;
        let seen = self.seen;
        let message =
            format!("namespace #{id} is damaged: it should hold {expected} keys, {seen} were found");
        (seen != expected).then(|| Err(Error::corrupt(message)))
    }
}

impl<'a> Iterator for Range<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.entries.next() {
            None => return self.end(),
            Some(entry) => entry.map_err(Error::from).and_then(|inner| {
                let (version, _) = split_value(inner.value())?;
                Ok(Entry { inner, version })
            }),
        };
        self.seen += 1;
        if entry.is_err() {
            self.expected = None;
        }
        Some(entry)
    }
}
