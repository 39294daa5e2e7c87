//! The cache's spaces of one handle, one for each namespace that is read through them, and how they learn of commits.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use cohab_cache::{At, Cache, Policy, Space, Stats};
use cohab_core::limits::{CATCH_UP_BYTES_MAX, CATCH_UP_VERSIONS_MAX, VALUE_CACHE_BYTES, WRITTEN_BYTES_MAX};
use cohab_core::{NamespaceId, Version, planted};
use cohab_log::{Item, items, record_start};
use cohab_namespace::catalog::record_key;

use crate::layout::{CATALOG, LOG};
use crate::snapshot::State;
use crate::store::Inner;
use crate::telemetry;
use crate::view::Direction;
use crate::{Result, Snapshot, Store};

#[derive(Debug)]
pub(crate) struct Caches {
    cache: Cache,
    policies: BTreeMap<Box<str>, Policy>,
    spaces: RwLock<HashMap<NamespaceId, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    /// What the namespace was called when it was first read.
    name: Box<str>,
    space: Arc<Space>,
}

/// What a handle caches of one namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamespaceCache {
    /// Which namespace.
    pub id: NamespaceId,
    /// What it was called when it was first read through the cache.
    pub name: String,
    /// How its values are kept.
    pub policy: Policy,
    /// What happened so far, and what there is.
    pub stats: Stats,
    /// By how many versions the cache is behind the last change of the namespace that this process knows of.
    pub lag: u64,
}

impl Caches {
    pub(crate) fn new(cache: Option<Cache>, policies: BTreeMap<Box<str>, Policy>) -> Self {
        let cache = cache.unwrap_or_else(|| Cache::new(VALUE_CACHE_BYTES));
        Self { cache, policies, spaces: RwLock::default() }
    }

    fn get(&self, id: NamespaceId) -> Option<Arc<Space>> {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        spaces.get(&id).map(|known| known.space.clone())
    }

    /// Returns whether anybody reads a namespace through the cache.
    pub(crate) fn knows(&self, id: NamespaceId) -> bool {
        self.get(id).is_some_and(|space| space.is_on())
    }

    /// Returns the space of a namespace; a new one begins where the snapshot stands that asks for it.
    pub(crate) fn space(&self, id: NamespaceId, name: &str, state: &State, at: At) -> Arc<Space> {
        if let Some(space) = self.get(id) {
            return space;
        }
        // So that a new one gets what they had.
        self.forget_gone(state);
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let known = spaces.entry(id).or_insert_with(|| {
            let space = self.cache.space(self.policies.get(name).copied().unwrap_or_default());
            // It is empty, so nothing that was written before has to be dropped.
            space.advance(at, |_, _| true);
            Known { name: name.into(), space: Arc::new(space) }
        });
        known.space.clone()
    }

    /// Lets go of namespaces that were purged.
    fn forget_gone(&self, state: &State) {
        // An old snapshot does not know those that were made after it.
        let was_made = |id: NamespaceId| state.root.next_namespace.is_none_or(|next| id < next);
        let is_gone = |id: NamespaceId| {
            was_made(id)
                && state.engine().is_ok_and(|engine| matches!(engine.get(CATALOG, &record_key(id)), Ok(None)))
        };
        let known: Vec<_> = {
            let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
            spaces.keys().copied().collect()
        };
        for id in known.into_iter().filter(|id| is_gone(*id)) {
            let gone = self.spaces.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
            // When the lock is not held any more: with it go values of the application's.
            if let Some(known) = gone {
                known.space.retire();
            }
        }
    }

    /// Brings every space up to a snapshot.
    pub(crate) fn catch_up_all(&self, snapshot: &Snapshot) {
        let spaces: Vec<_> = {
            let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
            spaces.keys().copied().collect()
        };
        for id in spaces {
            // One that is gone is nobody's business any more.
            if let Ok(namespace) = snapshot.namespace_by_id(id) {
                let _ = namespace.cached();
            }
        }
    }

    /// Lets go of everything, so that namespaces begin anew with what is read from here on.
    pub(crate) fn forget(&self) {
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *spaces);
        drop(spaces);
        for known in forgotten.values() {
            known.space.retire();
        }
    }

    /// As the writer, drops what a commit has written.
    pub(crate) fn committed(&self, id: NamespaceId, version: Version, written: &Written) {
        let Some(space) = self.get(id) else { return };
        // If the cache has missed an earlier change, the log tells of this one, too.
        if space.horizon() >= written.since {
            let at = At { version, changed: written.until };
            space.advance(at, |since, drop_key| {
                let watch = telemetry::catch_up(id, since, at.changed);
                let is_known = written.visit(at.changed, drop_key);
                watch.end(is_known);
                is_known
            });
        }
    }
}

/// Drops from a space what was written up to a snapshot, or, where that is too much or too long ago to know, all there
/// is.
pub(crate) fn catch_up(space: &Space, state: &State, id: NamespaceId, at: At) {
    space.advance(at, |since, written| {
        if !space.is_on() || planted!(InvalidationDropped) {
            return true;
        }
        let watch = telemetry::catch_up(id, since, at.changed);
        // A log that cannot be read tells nothing; the values themselves are verified when they are.
        let is_known = Tail { state, id, since, until: at.changed }.visit(written).unwrap_or(false);
        watch.end(is_known);
        is_known
    });
}

impl Store {
    /// Returns what this handle caches, namespace by namespace in the order of their ids.
    pub fn cache_stats(&self) -> Vec<NamespaceCache> {
        self.inner.cache_stats()
    }

    /// Returns the cache that values are kept in.
    pub fn cache(&self) -> &Cache {
        self.inner.cache()
    }
}

impl Inner {
    pub(crate) fn cache(&self) -> &Cache {
        &self.caches.cache
    }

    pub(crate) fn cache_stats(&self) -> Vec<NamespaceCache> {
        let page = self.coordination.as_ref().and_then(crate::coordination::Coordination::page);
        let spaces = self.caches.spaces.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = spaces
            .iter()
            .map(|(id, Known { name, space })| {
                let stats = space.stats();
                let changed = page.as_ref().map(|page| page.changed(*id)).filter(|it| it.get() != u64::MAX);
                let lag = changed.map_or(0, |changed| changed.get().saturating_sub(stats.horizon.get()));
                NamespaceCache { id: *id, name: name.to_string(), policy: space.policy(), stats, lag }
            })
            .collect();
        all.sort_by_key(|cache| cache.id);
        all
    }
}

/// The keys that a transaction has written, for the writer's own cache.
#[derive(Debug)]
pub(crate) struct Written {
    /// The last version before that changed the namespace.
    since: Version,
    /// The last version of the commit that did.
    until: Version,
    /// Each key with its length before it; `None` if they became too many.
    keys: Option<Vec<u8>>,
}

impl Written {
    pub(crate) fn since(since: Version) -> Self {
        Self { since, until: since, keys: Some(Vec::new()) }
    }

    /// Says which version of the commit was the last to write a key.
    pub(crate) fn until(self, until: Version) -> Self {
        Self { until, ..self }
    }

    pub(crate) fn add(&mut self, key: &[u8]) {
        let Some(keys) = &mut self.keys else { return };
        if keys.len() + key.len() > WRITTEN_BYTES_MAX {
            self.keys = None;
            return;
        }
        let len = u16::try_from(key.len()).expect("keys are at most 2048 bytes long");
        keys.extend_from_slice(&len.to_ne_bytes());
        keys.extend_from_slice(key);
    }

    fn visit(&self, version: Version, drop_key: &mut dyn FnMut(&[u8], Version)) -> bool {
        let Some(mut keys) = self.keys.as_deref() else { return false };
        while let Some((len, rest)) = keys.split_first_chunk() {
            let (key, rest) = rest.split_at(usize::from(u16::from_ne_bytes(*len)));
            drop_key(key, version);
            keys = rest;
        }
        true
    }
}

/// The end of the log, as far as it concerns one namespace.
struct Tail<'s> {
    state: &'s State,
    id: NamespaceId,
    since: Version,
    until: Version,
}

impl Tail<'_> {
    /// Shows every key that was written, and returns whether all of them are known.
    fn visit(&self, written: &mut dyn FnMut(&[u8], Version)) -> Result<bool> {
        let first = self.since.next();
        let versions = self.until.get() - self.since.get();
        if first < self.state.root.log_oldest || versions > CATCH_UP_VERSIONS_MAX {
            return Ok(false);
        }
        let engine = self.state.engine()?;
        let (from, to) = (record_start(first), record_start(self.until.next()));
        let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let mut chunks = engine.range(LOG, bounds, Direction::Forward)?;
        let (mut version, mut bytes, mut namespace) = (self.since, 0, None);
        while let Some(row) = chunks.step()? {
            let Some((of, chunk)) = cohab_log::parse_chunk_key(row.key()) else { return Ok(false) };
            // The versions have no gaps; where one is missing, so is what it wrote.
            if of != version && of != version.next() {
                return Ok(false);
            }
            if chunk == 0 {
                namespace = None;
            }
            version = of;
            bytes += row.value().len();
            if bytes > CATCH_UP_BYTES_MAX {
                return Ok(false);
            }
            for item in items(row.value()) {
                match item? {
                    Item::Namespace(id) => namespace = Some(id),
                    Item::Change(change) if namespace == Some(self.id) => written(change.key(), version),
                    Item::Unrecorded { namespace, .. } if namespace == self.id => return Ok(false),
                    _ => {}
                }
            }
        }
        Ok(version == self.until)
    }
}
