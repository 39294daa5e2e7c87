//! The store at one version.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use cohab_core::{Epoch, NamespaceId, StoreId, Timestamp, Token, Version};
use cohab_namespace::catalog::{
    NAMES, Root, Stored, TRASH, contents_key, name_key, parse_trash_key, record_key, trash_prefix,
};
use cohab_namespace::{Contents, Dropped, History, Record};

use crate::ages::Age;
use crate::caches::Caches;
use crate::commit::no_namespace;
use crate::entries::Value;
use crate::layout::{CATALOG, prefix_end};
use crate::maintain::reclaiming;
use crate::opened::{Found, Namespace, Namespaces};
use crate::past::Past;
use crate::store::{Inner, read_root};
use crate::view::{Direction, NamespaceView};
use crate::{Digest, Error, Name, Result};

/// The whole store as it was after one commit: all namespaces, consistent with each other, for as long as it lives.
///
/// Clones share it, any number of threads read from it, and none takes a lock. It pins the pages it can reach, so
/// one that is kept for long makes the store's file grow.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<State>,
}

pub(crate) struct State {
    pinned: Arc<Pinned>,
    pub(crate) root: Root,
    /// What is different from the version that is pinned, if an earlier one is shown.
    pub(crate) past: Option<Box<Past>>,
    /// The namespaces that were asked for, so that they are looked up once.
    namespaces: Namespaces,
    pub(crate) caches: Arc<Caches>,
}

/// What the engine shows, shared by the snapshots of its version and those of the past that are read from it.
struct Pinned {
    engine: cohab_engine::Snapshot,
    age: Age,
    handle: Weak<Inner>,
}

impl State {
    /// Returns the engine's snapshot, unless this one is older than the writer allows.
    #[inline]
    pub(crate) fn engine(&self) -> Result<&cohab_engine::Snapshot> {
        self.pinned.age.check()?;
        Ok(&self.pinned.engine)
    }

    /// Returns the handle that it was taken from, unless that was closed.
    pub(crate) fn handle(&self) -> Option<Arc<Inner>> {
        self.pinned.handle.upgrade()
    }

    /// Returns the store's own row of the version that is pinned.
    pub(crate) fn tip(&self) -> &Root {
        self.past.as_ref().map_or(&self.root, |past| &past.tip)
    }

    /// Shows an earlier version than the one that is pinned.
    pub(crate) fn earlier(&self, root: Root, past: Past) -> Self {
        let (pinned, caches) = (self.pinned.clone(), self.caches.clone());
        Self { pinned, root, past: Some(Box::new(past)), namespaces: Namespaces::default(), caches }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !self.state.pinned.age.is_own() {
            // In a forked child, where letting go of it would be the parent's business, and might wait for a lock that
            // one of the parent's other threads had.
            std::mem::forget(self.state.clone());
        }
    }
}

/// Everything that is known of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamespaceInfo {
    /// Its identity, for ever.
    pub id: NamespaceId,
    /// What it is called in paths and commands.
    pub name: Name,
    /// What it is called for readers.
    pub title: String,
    /// What it is for.
    pub description: String,
    /// Free key/value pairs.
    pub labels: BTreeMap<String, String>,
    /// Whether dropping it is refused.
    pub protected: bool,
    /// How much of its past is kept.
    pub history: History,
    /// The version that created it.
    pub created: Version,
    /// When that was.
    pub created_at: Timestamp,
    /// The version that last changed its metadata.
    pub meta_version: Version,
    /// The version that last changed its data; zero if none did.
    pub data_version: Version,
    /// How many keys it holds.
    pub keys: u64,
    /// How many bytes its keys and values have.
    pub bytes: u64,
    /// The digest of its keys and values.
    pub digest: Digest,
    /// Set while it lies in the trash.
    pub dropped: Option<Dropped>,
}

impl NamespaceInfo {
    pub(crate) fn new(record: Record, contents: Contents) -> Self {
        let Record { id, metadata, created, created_at, meta_version, dropped, .. } = record;
        Self {
            id,
            name: metadata.name,
            title: metadata.title,
            description: metadata.description,
            labels: metadata.labels,
            protected: metadata.protected,
            history: metadata.history,
            created,
            created_at,
            meta_version,
            data_version: contents.data_version,
            keys: contents.keys,
            bytes: contents.bytes,
            digest: contents.digest,
            dropped,
        }
    }
}

impl Snapshot {
    pub(crate) fn open(engine: cohab_engine::Snapshot, inner: &Inner) -> Result<Self> {
        let root = read_root(&engine)?.ok_or_else(|| Error::corrupt("the store's own row is missing"))?;
        let age = inner.ages.begin(root.version, inner.options.clock.now());
        let pinned = Arc::new(Pinned { engine, age, handle: inner.handle.clone() });
        let (namespaces, caches) = (Namespaces::default(), inner.caches.clone());
        Ok(Self::of(State { pinned, root, past: None, namespaces, caches }))
    }

    pub(crate) fn of(state: State) -> Self {
        Self { state: Arc::new(state) }
    }

    /// Refuses to be of another history than what the handle has shown before.
    pub(crate) fn check_lineage(&self, inner: &Inner) -> Result<()> {
        inner.check_lineage(&self.state.pinned.engine, &self.state.root)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Returns whether it is older than the writer allows, so that it reads no more.
    #[inline]
    pub fn is_expired(&self) -> bool {
        self.state.pinned.age.is_over()
    }

    /// Returns its age if nobody else shares it.
    pub(crate) fn age_if_alone(&self) -> Option<&Age> {
        let is_alone = Arc::strong_count(&self.state) == 1 && Arc::strong_count(&self.state.pinned) == 1;
        is_alone.then_some(&self.state.pinned.age)
    }

    /// Returns the version that it shows.
    pub fn version(&self) -> Version {
        self.state.root.version
    }

    /// Returns the token of its version.
    pub fn token(&self) -> Token {
        Token { store: self.state.root.store, version: self.version() }
    }

    /// Returns the identity of the store.
    pub fn store(&self) -> StoreId {
        self.state.root.store
    }

    /// Returns the epoch of the writer that made its version.
    pub fn epoch(&self) -> Epoch {
        self.state.root.epoch
    }

    /// Returns the store and version that this store was restored from, if it was.
    pub fn origin(&self) -> Option<Token> {
        self.state.root.origin
    }

    /// Returns when the store was made.
    pub fn created_at(&self) -> Timestamp {
        self.state.root.created_at
    }

    /// Returns a namespace to read from.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is none of that name;
    /// [`Kind::InvalidInput`](crate::Kind::InvalidInput) if it is no name.
    pub fn namespace(&self, name: impl AsRef<str>) -> Result<NamespaceView<'_>> {
        let name = name.as_ref();
        let found = match self.state.namespaces.find(name) {
            Some(found) => found,
            None => self.state.namespaces.keep(self.look_up(name)?),
        };
        Ok(NamespaceView::new(&self.state, found))
    }

    #[cold]
    fn look_up(&self, name: &str) -> Result<Namespace> {
        let name = Name::any(name)?;
        let key = name_key(&name);
        let past = self.state.past.as_deref();
        if let Some(id) = past.and_then(|past| past.names.get(&key)) {
            return self.load(*id);
        }
        let row = self.state.engine()?.get(CATALOG, &key)?;
        let id = row.map(|row| NamespaceId::decode(&row)).transpose()?;
        // One that had another name then is another one.
        let id = id.filter(|id| past.is_none_or(|past| !past.renames(*id)));
        let Some(id) = id else { return Err(self.no_namespace(&name)?) };
        self.load(id)
    }

    /// Says that there is no namespace of a name, and where it may be.
    fn no_namespace(&self, name: &Name) -> Result<Error> {
        let error = no_namespace(name.as_str());
        if self.state.past.is_some() {
            let version = self.version();
            let message = format!("there was no namespace `{name}` at version {version}");
            return Ok(error
                .because(message)
                .hint(format!("`cohab ns list --at {version}` shows which there were")));
        }
        let trash = catalog_range(&trash_prefix(name));
        let is_dropped =
            self.state.engine()?.range(CATALOG, trash.as_bounds(), Direction::Forward)?.step()?.is_some();
        Ok(if is_dropped {
            error.hint(format!("one was dropped: `cohab ns undrop {name}` brings it back"))
        } else {
            error
        })
    }

    fn load(&self, id: NamespaceId) -> Result<Namespace> {
        let lost = || Error::corrupt(format!("the catalogue has no record of namespace #{id}"));
        let engine = self.state.engine()?;
        let (past_record, past_contents) = match &self.state.past {
            Some(past) => (past.record(id)?, past.contents(id)),
            None => (None, None),
        };
        let record = match past_record {
            Some(record) => record,
            None => Record::decode(&engine.get(CATALOG, &record_key(id))?.ok_or_else(lost)?)?,
        };
        let contents = match past_contents {
            Some(contents) => contents,
            None => Contents::decode(&engine.get(CATALOG, &contents_key(id))?.ok_or_else(lost)?)?,
        };
        Ok(Namespace::new(record, contents))
    }

    /// Returns whether a namespace is there, in the trash or not: one that was purged is not, as opposed to one whose
    /// record is damaged.
    pub(crate) fn has_record(&self, id: NamespaceId) -> Result<bool> {
        match self.state.past.as_ref().and_then(|past| past.had_record(id)) {
            Some(had_record) => Ok(had_record),
            None => Ok(self.state.engine()?.get(CATALOG, &record_key(id))?.is_some()),
        }
    }

    /// Lists the namespaces that rows of one kind stand for, in the rows' order, lazily.
    fn index(&self, kind: u8) -> Result<impl Iterator<Item = Result<NamespaceId>> + '_> {
        let past = self.state.past.as_deref();
        let range = catalog_range(&[kind]);
        let rows = self.state.engine()?.range(CATALOG, range.as_bounds(), Direction::Forward)?;
        let present = rows.map(move |row| {
            let row = row?;
            let id = if kind == TRASH {
                let parsed = parse_trash_key(row.key()).map(|(_, id)| id);
                parsed.ok_or_else(|| Error::corrupt("a row of the trash has no id"))?
            } else {
                NamespaceId::decode(row.value())?
            };
            Ok::<_, Error>((row.key().to_vec(), id))
        });
        let is_same = move |id: NamespaceId| past.is_none_or(|past| !past.renames(id));
        let mut present =
            present.filter(move |row| row.as_ref().map_or(true, |(_, id)| is_same(*id))).peekable();
        let of_kind =
            past.into_iter().flat_map(|past| &past.names).filter(move |(key, _)| key.first() == Some(&kind));
        let mut earlier = of_kind.peekable();
        Ok(std::iter::from_fn(move || {
            let is_earlier = match (present.peek(), earlier.peek()) {
                (Some(Ok((present, _))), Some((earlier, _))) => *earlier < present,
                (present, _) => present.is_none(),
            };
            if is_earlier {
                return earlier.next().map(|(_, id)| Ok(*id));
            }
            present.next().map(|row| row.map(|(_, id)| id))
        }))
    }

    /// Returns a namespace by its identity, also one that lies in the trash.
    pub fn namespace_by_id(&self, id: NamespaceId) -> Result<NamespaceView<'_>> {
        Ok(NamespaceView::new(&self.state, Found::Owned(Box::new(self.load(id)?))))
    }

    /// Reads a key's value. Whoever reads more than one key of a namespace takes [`namespace`](Self::namespace).
    pub fn get(&self, namespace: impl AsRef<str>, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.namespace(namespace)?.get(key)
    }

    /// Lists the ids of the namespaces, and then those of the dropped ones.
    pub(crate) fn namespace_ids(&self) -> Result<impl Iterator<Item = Result<NamespaceId>> + '_> {
        Ok(self.index(NAMES)?.chain(self.index(TRASH)?))
    }

    /// Lists the namespaces in order of their names, lazily.
    pub fn namespaces(&self) -> Result<impl Iterator<Item = Result<NamespaceInfo>> + '_> {
        Ok(self.index(NAMES)?.map(|id| Ok(self.namespace_by_id(id?)?.info())))
    }

    /// Returns how many purged namespaces still have keys that [`Store::maintain`](crate::Store::maintain) removes.
    pub fn purged_namespaces(&self) -> Result<usize> {
        Ok(reclaiming(self.state.engine()?)?.len())
    }

    /// Lists the dropped namespaces in order of their names, and of those of one name the latest last.
    pub fn dropped_namespaces(&self) -> Result<impl Iterator<Item = Result<NamespaceInfo>> + '_> {
        Ok(self.index(TRASH)?.map(|id| Ok(self.namespace_by_id(id?)?.info())))
    }
}

/// A range of the catalogue that begins with a prefix.
pub(crate) struct CatalogRange {
    start: Vec<u8>,
    end: Bound<Vec<u8>>,
}

pub(crate) fn catalog_range(prefix: &[u8]) -> CatalogRange {
    CatalogRange { start: prefix.to_vec(), end: prefix_end(prefix) }
}

impl CatalogRange {
    pub(crate) fn as_bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(&self.start), self.end.as_ref().map(Vec::as_slice))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("version", &self.version()).finish_non_exhaustive()
    }
}
