//! Reading from one namespace.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use cohab_cache::{At, Lookup, Space};
pub use cohab_engine::Direction;
use cohab_namespace::{Contents, Metadata, Record};

use crate::caches;
use crate::entries::{Range, Value};
use crate::layout::{DATA, DataRange, data_key, prefix_end};
use crate::opened::Found;
use crate::past::Overlay;
use crate::range::KeyRange;
use crate::snapshot::State;
use crate::{Digest, NamespaceId, NamespaceInfo, Result, Version};

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

    /// Returns the version that last changed its data.
    pub(crate) fn last_version(&self) -> Version {
        self.namespace.contents.data_version
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
            && let Some(change) = past
                .data(self.id, &self.namespace.record.metadata.name)?
                .and_then(|namespace| namespace.change(key.as_ref()))
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
        let earlier = self.earlier(bounds, direction)?;
        let range = DataRange::of(self.id, bounds);
        let entries = self.state.engine()?.range(DATA, range.bounds(), direction)?;
        // Reading all of it, the number of entries is known beforehand, which shows a page that was skipped.
        let is_all = matches!(bounds, (Bound::Unbounded, Bound::Unbounded));
        let expected = is_all.then_some((self.id, self.namespace.contents.keys));
        Ok(Range::new(entries, expected).merged_with(earlier, direction))
    }

    /// Returns what an earlier version had different in a range; nothing for the present.
    fn earlier(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Option<Overlay<'s>>> {
        let Some(past) = &self.state.past else { return Ok(None) };
        let namespace = past.data(self.id, &self.namespace.record.metadata.name)?;
        Ok(namespace.map(|namespace| Overlay::new(namespace, bounds, direction)))
    }

    /// Reads a range that goes on behind entries that are damaged, each of which is an error.
    pub(crate) fn salvage(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Range<'s>> {
        let earlier = self.earlier(bounds, direction)?;
        let range = DataRange::of(self.id, bounds);
        let entries = self.state.engine()?.salvage(DATA, range.bounds(), direction)?;
        Ok(Range::new(entries, None).merged_with(earlier, direction))
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
