//! A model of a store's whole history: what every version held, kept in the plainest way there is, and a store that
//! random transactions are done to beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cohab::{
    Batch, Clock, Digest, Direction, DropMode, Dropped, Epoch, History, Kind, Metadata, Name, NamespaceId,
    NamespaceInfo, NamespaceView, Operation, Options, Result, Snapshot, Store, Timestamp, Transaction,
    Update, Version,
};

use crate::{Random, Scratch, v};

mod comparison;
mod world;

pub(crate) use self::comparison::compare;
pub(crate) use self::world::{May, World, undo};

/// How many runs a test does: what the environment says, or the number that keeps the default short.
pub(crate) fn runs(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |it| it.parse().expect("a number of runs"))
}

/// The seeds of a test: fixed ones, unless the environment says where to begin.
pub(crate) fn seeds(variable: &str, default: u64) -> impl Iterator<Item = u64> {
    let first = runs("COHAB_MODEL_SEED", 1);
    first..first + runs(variable, default)
}

/// Says which seed a test was at when it failed.
pub(crate) struct Seed(pub(crate) u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "shown by a test that fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with COHAB_MODEL_SEED={}", self.0);
        }
    }
}

pub(crate) type Entries = BTreeMap<Vec<u8>, (Version, Vec<u8>)>;

/// A namespace at one version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ns {
    pub(crate) id: NamespaceId,
    pub(crate) metadata: Metadata,
    pub(crate) created: Version,
    pub(crate) created_at: Timestamp,
    pub(crate) meta_version: Version,
    pub(crate) data_version: Version,
    pub(crate) dropped: Option<Dropped>,
    pub(crate) entries: Arc<Entries>,
}

impl Ns {
    pub(crate) fn counted(&self) -> (u64, u64, Digest) {
        let mut digest = Digest::EMPTY;
        let mut bytes = 0;
        for (key, (_, value)) in self.entries.iter() {
            digest.add(key, value);
            bytes += (key.len() + value.len()) as u64;
        }
        (self.entries.len() as u64, bytes, digest)
    }

    pub(crate) fn values(&self) -> BTreeMap<&[u8], &[u8]> {
        self.entries.iter().map(|(key, (_, value))| (&**key, &**value)).collect()
    }
}

/// The store at one version.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) epoch: Epoch,
    pub(crate) time: Timestamp,
    pub(crate) label: String,
    pub(crate) next: u32,
    pub(crate) namespaces: BTreeMap<NamespaceId, Arc<Ns>>,
}

impl State {
    fn find(&self, name: &str) -> std::result::Result<NamespaceId, Kind> {
        let is_it = |ns: &&Arc<Ns>| ns.dropped.is_none() && ns.metadata.name.as_str() == name;
        self.namespaces.values().find(is_it).map(|ns| ns.id).ok_or(Kind::NotFound)
    }

    fn trashed(&self, name: &str) -> std::result::Result<NamespaceId, Kind> {
        let last = self.trash().into_iter().rfind(|ns| ns.metadata.name.as_str() == name);
        last.map(|ns| ns.id).ok_or(Kind::NotFound)
    }

    /// In the order of names.
    pub(crate) fn live(&self) -> Vec<&Arc<Ns>> {
        let mut live: Vec<_> = self.namespaces.values().filter(|ns| ns.dropped.is_none()).collect();
        live.sort_by(|a, b| a.metadata.name.as_str().cmp(b.metadata.name.as_str()));
        live
    }

    /// In the order of names, and of when they were dropped.
    pub(crate) fn trash(&self) -> Vec<&Arc<Ns>> {
        let mut trash: Vec<_> = self.namespaces.values().filter(|ns| ns.dropped.is_some()).collect();
        trash.sort_by_key(|ns| (ns.metadata.name.clone(), ns.dropped.map(|it| it.version), ns.id));
        trash
    }
}

/// A snapshot that the store takes by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Safety {
    pub(crate) before: Version,
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) namespace: Option<NamespaceId>,
    pub(crate) undone: Option<Version>,
    pub(crate) lapsed: bool,
}

impl Safety {
    /// Whether the log keeps nothing for it any more.
    fn is_over(&self) -> bool {
        self.lapsed || self.undone.is_some()
    }
}

/// Everything that there ever was.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle {
    /// By version.
    pub(crate) states: Vec<Arc<State>>,
    /// Which versions changed a namespace without a record.
    pub(crate) unrecorded: BTreeMap<NamespaceId, Vec<Version>>,
    /// In the order of versions, and of those of one of names.
    pub(crate) safeties: Vec<Safety>,
}

/// What to do to a namespace. Small numbers, so that steps meet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    Put(String, Vec<u8>, Vec<u8>),
    Delete(String, Vec<u8>),
    Create(String, History),
    Rename(String, String),
    Describe(String, String),
    Protect(String, bool),
    History(String, History),
    Copy(String, String),
    Drop(String, DropMode),
    Undrop(String),
    Purge(String),
    /// As whoever loads over what is there does it.
    Safeguard(String),
}

/// A transaction of the model under way.
pub(crate) struct Draft {
    pub(crate) state: State,
    pub(crate) changed: bool,
    unrecorded: BTreeSet<NamespaceId>,
    safeties: Vec<Safety>,
    /// Set once a snapshot was taken in the transaction.
    is_guarded: bool,
}

type Done<T = ()> = std::result::Result<T, Kind>;

impl Chronicle {
    pub(crate) fn new() -> Self {
        let zero = State {
            version: Version::ZERO,
            epoch: Epoch::ZERO,
            time: Timestamp::from_micros(0),
            label: String::new(),
            next: NamespaceId::FIRST.get(),
            namespaces: BTreeMap::new(),
        };
        Self { states: vec![Arc::new(zero)], unrecorded: BTreeMap::new(), safeties: Vec::new() }
    }

    pub(crate) fn tip(&self) -> &Arc<State> {
        self.states.last().expect("there is version zero")
    }

    pub(crate) fn version(&self) -> Version {
        self.tip().version
    }

    pub(crate) fn at(&self, version: Version) -> &Arc<State> {
        &self.states[usize::try_from(version.get()).expect("is small")]
    }

    /// Whether nobody can know, at `tip`, what a namespace held at a version.
    pub(crate) fn is_lost(&self, id: NamespaceId, version: Version, tip: Version) -> bool {
        let unrecorded =
            self.unrecorded.get(&id).is_some_and(|all| all.iter().any(|at| *at > version && *at <= tip));
        unrecorded || !self.at(tip).namespaces.contains_key(&id)
    }

    pub(crate) fn draft(&self, now: Timestamp, epoch: Epoch) -> Draft {
        let mut state = State::clone(self.tip());
        state.version = state.version.next();
        (state.time, state.epoch, state.label) = (now, epoch, String::new());
        Draft {
            state,
            changed: false,
            unrecorded: BTreeSet::new(),
            safeties: self.safeties.clone(),
            is_guarded: false,
        }
    }

    /// Returns whether it made a version.
    pub(crate) fn commit(&mut self, draft: Draft) -> bool {
        if !draft.changed {
            return false;
        }
        let version = draft.state.version;
        for id in draft.unrecorded.into_iter().filter(|id| draft.state.namespaces.contains_key(id)) {
            self.unrecorded.entry(id).or_default().push(version);
        }
        self.safeties = draft.safeties;
        self.states.push(Arc::new(draft.state));
        true
    }

    /// Forgets what came after a version.
    pub(crate) fn truncate(&mut self, version: Version) {
        self.states.truncate(usize::try_from(version.get()).expect("is small") + 1);
        for all in self.unrecorded.values_mut() {
            all.retain(|at| *at <= version);
        }
        self.safeties.retain(|safety| safety.before < version);
    }

    /// Returns how many keys and how many namespaces changed.
    pub(crate) fn roll_back_store(
        &self,
        draft: &mut Draft,
        to: Version,
        operation: Operation,
    ) -> Done<(u64, u64)> {
        if to > self.version() {
            return Err(Kind::NotFound);
        }
        let (now, earlier) = (self.tip(), self.at(to));
        let version = draft.state.version;
        let mut replaced = Vec::new();
        let mut reverted = Vec::new();
        for (id, before) in &earlier.namespaces {
            if self.is_lost(*id, to, now.version) {
                return Err(Kind::NoHistory);
            }
            let present = &draft.state.namespaces[id];
            if before.dropped.is_some() && present.dropped.is_none() && present.metadata.protected {
                return Err(Kind::Conflict);
            }
            let is_changed = !Arc::ptr_eq(&now.namespaces[id], before)
                && (now.namespaces[id].meta_version != before.meta_version);
            if is_changed && (present.metadata != before.metadata || present.dropped != before.dropped) {
                let mut ns = Ns::clone(present);
                ns.metadata = before.metadata.clone();
                ns.dropped = before.dropped;
                ns.meta_version = version;
                replaced.push(ns);
            }
            reverted.push(*id);
        }
        for id in now.namespaces.keys().filter(|id| !earlier.namespaces.contains_key(id)) {
            let mut ns = Ns::clone(&draft.state.namespaces[id]);
            if ns.dropped.is_none() {
                if ns.metadata.protected {
                    return Err(Kind::Conflict);
                }
                ns.dropped = Some(Dropped { version, at: draft.state.time });
                ns.meta_version = version;
                replaced.push(ns);
            }
        }
        draft.safeguard(operation, None);
        let namespaces = replaced.len() as u64;
        draft.changed = true;
        for ns in replaced {
            draft.state.namespaces.insert(ns.id, Arc::new(ns));
        }
        let mut changes = 0;
        for id in reverted {
            changes += self.revert(draft, id, to);
        }
        Ok((changes, namespaces))
    }

    fn revert(&self, draft: &mut Draft, id: NamespaceId, to: Version) -> u64 {
        // One that was made since, and loaded into, held nothing.
        let before = self.at(to).namespaces.get(&id).map(|ns| ns.entries.clone()).unwrap_or_default();
        let now = &self.tip().namespaces[&id].entries;
        let keys: BTreeSet<_> = now.keys().chain(before.keys()).collect();
        let mut changes = 0;
        for key in keys {
            let value = before.get(key).map(|(_, value)| value);
            if value != now.get(key).map(|(_, value)| value) {
                draft.set(id, key, value.map(Vec::as_slice), true);
                changes += 1;
            }
        }
        changes
    }

    pub(crate) fn roll_back_namespace(&self, draft: &mut Draft, name: &str, to: Version) -> Done<u64> {
        let id = draft.state.find(name)?;
        if to > self.version() {
            return Err(Kind::NotFound);
        }
        if draft.state.namespaces[&id].created > to {
            return Err(Kind::NotFound);
        }
        if self.is_lost(id, to, self.version()) {
            return Err(Kind::NoHistory);
        }
        draft.safeguard(Operation::RollBack, Some(id));
        draft.changed = true;
        Ok(self.revert(draft, id, to))
    }

    /// Whether a namespace holds what it held, as far as the log knows.
    fn is_same_data(&self, id: NamespaceId, version: Version) -> bool {
        let (then, now) = (self.at(version).namespaces.get(&id), self.tip().namespaces.get(&id));
        let values = |ns: Option<&Arc<Ns>>| -> Option<Vec<_>> {
            Some(ns?.entries.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect())
        };
        !self.is_lost(id, version, self.version()) && values(then) == values(now)
    }

    /// Whether everything is as it was.
    fn is_same_store(&self, version: Version) -> bool {
        let (then, now) = (&self.at(version).namespaces, &self.tip().namespaces);
        let is_same = |(id, now): (&NamespaceId, &Arc<Ns>)| {
            then.get(id).is_some_and(|then| then.metadata == now.metadata && then.dropped == now.dropped)
                && self.is_same_data(*id, version)
        };
        then.len() == now.len() && now.iter().all(is_same)
    }

    /// Returns the version before what was undone, and how many keys changed.
    pub(crate) fn undo(&self, draft: &mut Draft) -> Done<(Version, u64)> {
        let is_moot = |safety: &Safety| {
            let Some(id) = safety.namespace else { return false };
            let by = safety.before.next();
            draft.state.namespaces.get(&id).is_none_or(|ns| {
                safety.operation == Operation::Drop && ns.dropped.is_none_or(|dropped| dropped.version != by)
            })
        };
        let open: Vec<_> = self
            .safeties
            .iter()
            .filter(|safety| {
                safety.undone.is_none() && safety.operation != Operation::Undo && !is_moot(safety)
            })
            .collect();
        let before = open.iter().map(|it| it.before).max().ok_or(Kind::NotFound)?;
        let by = before.next();
        let rows: Vec<_> = open.into_iter().filter(|it| it.before == before).cloned().collect();
        let mut changes = 0;
        for row in &rows {
            let Some(id) = row.namespace else {
                if !self.is_same_store(by) {
                    return Err(Kind::Conflict);
                }
                changes += self.roll_back_store(draft, before, Operation::Undo)?.0;
                continue;
            };
            let ns = draft.state.namespaces[&id].clone();
            if row.operation == Operation::Drop {
                if draft.state.find(ns.metadata.name.as_str()).is_ok() {
                    return Err(Kind::Exists);
                }
                draft.safeguard(Operation::Undo, Some(id));
                draft.edit(id, |ns| ns.dropped = None);
                continue;
            }
            if ns.dropped.is_some() {
                return Err(Kind::NotFound);
            }
            if !self.is_same_data(id, by) {
                return Err(Kind::Conflict);
            }
            if self.is_lost(id, before, self.version()) {
                return Err(Kind::NoHistory);
            }
            draft.safeguard(Operation::Undo, Some(id));
            changes += self.revert(draft, id, before);
        }
        let version = draft.state.version;
        draft.changed = true;
        for safety in &mut draft.safeties {
            if rows.iter().any(|row| row.name == safety.name) {
                safety.undone = Some(version);
            }
        }
        Ok((before, changes))
    }
}

impl Draft {
    fn edit(&mut self, id: NamespaceId, f: impl FnOnce(&mut Ns)) {
        let version = self.state.version;
        let ns = Arc::make_mut(self.state.namespaces.get_mut(&id).expect("is there"));
        f(ns);
        ns.meta_version = version;
        self.changed = true;
    }

    /// Sets or removes a key. A roll-back is always recorded.
    fn set(&mut self, id: NamespaceId, key: &[u8], value: Option<&[u8]>, is_rollback: bool) {
        let version = self.state.version;
        let ns = Arc::make_mut(self.state.namespaces.get_mut(&id).expect("is there"));
        let entries = Arc::make_mut(&mut ns.entries);
        let changed = match value {
            Some(value) => {
                entries.insert(key.to_vec(), (version, value.to_vec()));
                true
            }
            None => entries.remove(key).is_some(),
        };
        if changed {
            ns.data_version = version;
            self.changed = true;
            if ns.metadata.history == History::Off && !is_rollback {
                self.unrecorded.insert(id);
            }
        }
    }

    fn create(&mut self, metadata: Metadata) -> NamespaceId {
        let State { version, time, .. } = self.state;
        let id = NamespaceId::new(self.state.next);
        self.state.next += 1;
        let ns = Ns {
            id,
            metadata,
            created: version,
            created_at: time,
            meta_version: version,
            data_version: Version::ZERO,
            dropped: None,
            entries: Arc::default(),
        };
        self.state.namespaces.insert(id, Arc::new(ns));
        self.changed = true;
        id
    }

    pub(crate) fn safeguard(&mut self, operation: Operation, namespace: Option<NamespaceId>) {
        use cohab::limits::SAFETY_SNAPSHOTS_MAX as MAX;
        let version = self.state.version;
        let id = namespace.map(|id| format!("-{id}")).unwrap_or_default();
        let (name, before) = (format!("safety/{version}-{operation}{id}"), v(version.get() - 1));
        self.changed = true;
        self.safeties.retain(|safety| safety.name != name);
        self.safeties.push(Safety { before, name, operation, namespace, undone: None, lapsed: false });
        self.safeties.sort_by_key(|safety| (safety.before, safety.name.clone()));
        if std::mem::replace(&mut self.is_guarded, true) {
            return;
        }
        let over = |is_lapsed: bool| {
            let versions: BTreeSet<_> =
                self.safeties.iter().filter(|it| it.is_over() == is_lapsed).map(|it| it.before).collect();
            versions.into_iter().rev().nth(MAX)
        };
        let (lapses, goes) = (over(false), over(true));
        self.safeties.retain(|it| !it.is_over() || goes.is_none_or(|bound| it.before > bound));
        for it in &mut self.safeties {
            it.lapsed |= !it.is_over() && lapses.is_some_and(|bound| it.before <= bound);
        }
    }

    fn free(&self, name: &str) -> Done {
        if self.state.find(name).is_ok() { Err(Kind::Exists) } else { Ok(()) }
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Done {
        let version = self.state.version;
        let metadata = |name: &str| Metadata::new(Name::new(name).expect("is a name"));
        match op {
            Op::Put(name, key, value) => {
                let id = self.state.find(name)?;
                self.set(id, key, Some(value), false);
            }
            Op::Delete(name, key) => {
                let id = self.state.find(name)?;
                self.set(id, key, None, false);
            }
            Op::Create(name, history) => {
                self.free(name)?;
                let mut metadata = metadata(name);
                metadata.history = *history;
                self.create(metadata);
            }
            Op::Rename(from, to) => {
                let id = self.state.find(from)?;
                if from != to {
                    self.free(to)?;
                    self.edit(id, |ns| ns.metadata.name = Name::new(to).expect("is a name"));
                }
            }
            Op::Describe(name, title) => {
                let id = self.state.find(name)?;
                self.edit(id, |ns| ns.metadata.title.clone_from(title));
            }
            Op::Protect(name, is_protected) => {
                let id = self.state.find(name)?;
                self.edit(id, |ns| ns.metadata.protected = *is_protected);
            }
            Op::History(name, history) => {
                let id = self.state.find(name)?;
                self.edit(id, |ns| ns.metadata.history = *history);
            }
            Op::Copy(from, to) => {
                let id = self.state.find(from)?;
                let source = self.state.namespaces[&id].clone();
                self.free(to)?;
                let mut metadata = source.metadata.clone();
                metadata.name = Name::new(to).expect("is a name");
                metadata.protected = false;
                let copy = self.create(metadata);
                for (key, (_, value)) in source.entries.iter() {
                    self.set(copy, key, Some(value), false);
                }
            }
            Op::Drop(name, mode) => {
                let id = self.state.find(name)?;
                let ns = &self.state.namespaces[&id];
                if ns.metadata.protected || (*mode == DropMode::IfEmpty && !ns.entries.is_empty()) {
                    return Err(Kind::Conflict);
                }
                self.safeguard(Operation::Drop, Some(id));
                let at = self.state.time;
                self.edit(id, |ns| ns.dropped = Some(Dropped { version, at }));
            }
            Op::Undrop(name) => {
                let id = self.state.trashed(name)?;
                self.free(name)?;
                self.edit(id, |ns| ns.dropped = None);
            }
            Op::Purge(name) => {
                let id = self.state.trashed(name)?;
                self.state.namespaces.remove(&id);
                self.changed = true;
            }
            Op::Safeguard(name) => {
                let id = self.state.find(name)?;
                self.safeguard(Operation::Load, Some(id));
            }
        }
        Ok(())
    }
}

pub(crate) fn carry_out(tx: &mut Transaction<'_, '_>, op: &Op) -> Result<()> {
    match op {
        Op::Put(name, key, value) => tx.put(name, key, value),
        Op::Delete(name, key) => tx.delete(name, key).map(drop),
        Op::Create(name, History::Full) => tx.create_namespace(name).map(drop),
        Op::Create(name, history) => {
            let mut metadata = Metadata::new(Name::new(name)?);
            metadata.history = *history;
            tx.create_namespace_with(metadata).map(drop)
        }
        Op::Rename(from, to) => tx.rename_namespace(from, to),
        Op::Describe(name, title) => tx.update_namespace(name, &Update::new().title(title)),
        Op::Protect(name, is_protected) => tx.update_namespace(name, &Update::new().protected(*is_protected)),
        Op::History(name, history) => tx.update_namespace(name, &Update::new().history(*history)),
        Op::Copy(from, to) => tx.copy_namespace(from, to).map(drop),
        Op::Drop(name, mode) => tx.drop_namespace(name, *mode),
        Op::Undrop(name) => tx.undrop_namespace(name).map(drop),
        Op::Purge(name) => tx.purge_namespace(name).map(drop),
        Op::Safeguard(name) => tx.safeguard(name).map(drop),
    }
}
