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

/// Random keys, values, names and operations.
impl Random {
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).expect("is small")]
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn name(&mut self) -> String {
        // Look-alikes on purpose: one is the prefix of the other.
        (*self.pick(&["a", "a/b", "a0", "b", "b", "c"])).to_owned()
    }

    pub(crate) fn key(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => Vec::new(),
            1 => vec![0xff; 3],
            2 => vec![7; cohab::limits::KEY_BYTES_MAX],
            3 => vec![0],
            4 => vec![0, 0],
            // Different lengths, prefixes of each other among them.
            number => {
                let number = u8::try_from(number).expect("is small");
                vec![number / 8; usize::from(number % 4) + 1]
            }
        }
    }

    pub(crate) fn value(&mut self) -> Vec<u8> {
        let length = match self.below(60) {
            0 => 20_000 + self.below(80_000),
            1..=10 => 0,
            11..30 => 1,
            _ => self.below(40),
        };
        let byte = u8::try_from(self.below(3)).expect("is small");
        vec![byte; usize::try_from(length).expect("is small")]
    }

    pub(crate) fn op(&mut self) -> Op {
        match self.below(100) {
            0..50 => Op::Put(self.name(), self.key(), self.value()),
            50..68 => Op::Delete(self.name(), self.key()),
            68..74 => {
                let history = if self.one_in(5) { History::Off } else { History::Full };
                Op::Create(self.name(), history)
            }
            74..79 => Op::Rename(self.name(), self.name()),
            79..82 => {
                let title = format!("title {}", self.below(3));
                Op::Describe(self.name(), title)
            }
            82..84 => {
                let is_protected = self.one_in(3);
                Op::Protect(self.name(), is_protected)
            }
            84..87 => {
                let history = if self.one_in(3) { History::Off } else { History::Full };
                Op::History(self.name(), history)
            }
            87..89 => Op::Copy(self.name(), self.name()),
            89..94 => {
                let mode = if self.one_in(4) { DropMode::IfEmpty } else { DropMode::WithContents };
                Op::Drop(self.name(), mode)
            }
            94..97 => Op::Undrop(self.name()),
            97..98 => Op::Purge(self.name()),
            _ => Op::Safeguard(self.name()),
        }
    }

    pub(crate) fn version(&mut self, last: Version) -> Version {
        v(self.below(last.get() + 1))
    }

    pub(crate) fn bound(&mut self) -> Bound<Vec<u8>> {
        let mut key = self.key();
        if self.one_in(8) {
            // Longer than any key may be.
            key.resize(cohab::limits::KEY_BYTES_MAX + 1 + key.len(), 3);
        }
        match self.below(5) {
            0 => Bound::Unbounded,
            1..3 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }
}

/// A clock that a test sets.
#[derive(Clone, Debug)]
pub(crate) struct SetClock(Arc<AtomicU64>);

impl Default for SetClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000_000_000)))
    }
}

impl SetClock {
    pub(crate) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A store and its chronicle.
pub(crate) struct World {
    pub(crate) scratch: Scratch,
    options: Options,
    pub(crate) store: Store,
    pub(crate) clock: SetClock,
    pub(crate) chronicle: Chronicle,
    pub(crate) random: Random,
    /// Whether the log loses its beginning, so that not all that the model knows can be read.
    pub(crate) is_trimmed: bool,
}

/// What besides ordinary transactions may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct May {
    pub(crate) roll_back: bool,
    pub(crate) reopen: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let (scratch, clock) = (Scratch::new(), SetClock::default());
        let options = options.clock(clock.clone()).register(false);
        let store = options.clone().open(scratch.path()).expect("can be made");
        let chronicle = Chronicle::new();
        Self { scratch, options, store, clock, chronicle, random: Random(seed), is_trimmed: false }
    }

    pub(crate) fn draft(&self) -> Draft {
        self.chronicle.draft(self.clock.now(), self.store.epoch().expect("is the writer"))
    }

    /// Moves the clock, also back.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now().as_micros();
        let step = self.random.below(1000);
        self.clock.set(if self.random.one_in(4) { now - step } else { now + step });
    }

    pub(crate) fn step(&mut self, may: May) {
        self.tick();
        match self.random.below(100) {
            0..8 => self.group(),
            8..12 => drop(self.store.maintain().expect("can be done")),
            12..15 if may.reopen => self.reopen(),
            15..25 if may.roll_back => self.roll_back(),
            25..30 if may.roll_back => _ = self.undo(),
            _ => self.write(),
        }
        let version = self.store.snapshot().expect("can be taken").version();
        assert_eq!(version, self.chronicle.version(), "versions have no gaps and count what changed");
    }

    pub(crate) fn reopen(&mut self) {
        self.away();
        self.back();
    }

    /// Closes the store: another one takes its place.
    fn away(&mut self) {
        let elsewhere = Scratch::new();
        self.store = Store::open(elsewhere.path()).expect("can be made");
    }

    fn back(&mut self) {
        self.store = self.options.clone().open(self.scratch.path()).expect("is there");
    }

    /// Copies the store's files, as somebody does who copies directories.
    pub(crate) fn copy_files(&mut self) -> std::path::PathBuf {
        self.away();
        let copy = self.scratch.file(&format!("copy-{}", self.random.next()));
        std::fs::create_dir(&copy).expect("can be made");
        for file in ["store.redb", "store.json"] {
            std::fs::copy(self.scratch.path().join(file), copy.join(file)).expect("can be copied");
        }
        self.back();
        copy
    }

    /// Puts a copy of the store's files in the place of what is there.
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub(crate) fn put_back(&mut self, copy: std::path::PathBuf, version: Version) {
        self.away();
        for file in ["store.redb", "store.json"] {
            std::fs::copy(copy.join(file), self.scratch.path().join(file)).expect("can be copied");
        }
        self.chronicle.truncate(version);
        self.back();
    }

    pub(crate) fn write(&mut self) {
        let ops: Vec<_> = (0..=self.random.below(7)).map(|_| self.random.op()).collect();
        self.write_ops(&ops);
    }

    /// Does these in one transaction. What is refused is left out.
    pub(crate) fn write_ops(&mut self, ops: &[Op]) {
        let mut draft = self.draft();
        let label =
            if self.random.one_in(3) { format!("label {}", draft.state.version) } else { String::new() };
        let committed = self.store.write(|tx| {
            tx.label(&label)?;
            for op in ops {
                same(draft.apply(op), &carry_out(tx, op), op);
            }
            Ok(())
        });
        draft.state.label = label;
        self.chronicle.commit(draft);
        assert_eq!(committed.expect("can be committed").version, self.chronicle.version(), "{ops:?}");
    }

    /// Several threads submit at once.
    fn group(&mut self) {
        let live: Vec<Name> = self.chronicle.tip().live().iter().map(|ns| ns.metadata.name.clone()).collect();
        if live.is_empty() {
            return;
        }
        let mut batches = Vec::new();
        for i in 0..=self.random.below(3) {
            let mut ops = Vec::new();
            for _ in 0..=self.random.below(3) {
                let name = self.random.pick(&live).to_string();
                ops.push(Op::Put(name, self.random.key(), self.random.value()));
                ops.push(Op::Delete(self.random.pick(&live).to_string(), self.random.key()));
            }
            batches.push((format!("batch {i}"), ops));
        }
        let store = &self.store;
        let mut done: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = batches
                .into_iter()
                .map(|(label, ops)| {
                    scope.spawn(move || {
                        let mut batch = Batch::new().label(&label);
                        for op in &ops {
                            let name = |name: &str| Name::new(name).expect("is a name");
                            batch = match op {
                                Op::Put(it, key, value) => batch.put(&name(it), key.clone(), value.clone()),
                                Op::Delete(it, key) => batch.delete(&name(it), key.clone()),
                                _ => unreachable!("others were not made"),
                            };
                        }
                        (store.submit(batch).expect("is committed"), label, ops)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
        });
        done.sort_by_key(|(version, ..)| *version);
        for (version, label, ops) in done {
            let mut draft = self.draft();
            draft.state.label = label;
            for op in &ops {
                draft.apply(op).expect("is there");
            }
            self.chronicle.commit(draft);
            assert_eq!(version, self.chronicle.version());
        }
    }

    pub(crate) fn roll_back(&mut self) {
        let mut to = self.random.version(self.chronicle.version());
        if self.random.one_in(20) {
            to = to.next();
        }
        let mut draft = self.draft();
        let chronicle = &self.chronicle;
        let name = (!self.random.one_in(3)).then(|| self.random.name());
        let more: Vec<_> = (0..self.random.below(3)).map(|_| self.random.op()).collect();
        let version = draft.state.version;
        let store = &self.store;
        let expected = match &name {
            None => chronicle.roll_back_store(&mut draft, to, Operation::RollBack),
            Some(name) => chronicle.roll_back_namespace(&mut draft, name, to).map(|changes| (changes, 0)),
        };
        let committed = store.write(|tx| {
            let done = match &name {
                None => tx.rollback(to)?,
                Some(name) => tx.rollback_namespace(name, to)?,
            };
            let (changes, namespaces) = expected.expect("the model refuses it");
            assert_eq!((done.changes, done.namespaces), (changes, namespaces), "{name:?} to {to}");
            assert!(done.snapshot.as_str().starts_with(&format!("safety/{version}-rollback")));
            for op in &more {
                same(draft.apply(op), &carry_out(tx, op), op);
            }
            Ok(())
        });
        match committed {
            Ok(committed) => {
                draft.state.label = match &name {
                    None => format!("roll back to version {to}"),
                    Some(name) => format!("roll back `{name}` to version {to}"),
                };
                self.chronicle.commit(draft);
                assert_eq!(committed.version, self.chronicle.version());
            }
            Err(error) if error.kind() == Kind::TooOld => {
                assert!(self.is_trimmed, "{error}");
                let oldest = store.snapshot().expect("can be taken").oldest_readable();
                assert!(to < oldest, "{error}");
                assert_eq!(error.oldest_version(), Some(oldest));
            }
            Err(error) => {
                assert_eq!(expected, Err(error.kind()), "{name:?} to {to}: {error}");
                self.compare_tip();
            }
        }
    }

    pub(crate) fn undo(&mut self) -> Done {
        let mut draft = self.draft();
        let expected = self.chronicle.undo(&mut draft);
        let committed = undo(&self.store);
        match committed {
            Ok(done) => {
                let (before, changes) = expected.expect("the model refuses it");
                assert_eq!(done.value.changes, changes, "undo to {before}");
                assert!(done.value.undone.iter().all(|it| it.kept.version == before), "{done:?}");
                let what: Vec<_> = done.value.undone.iter().map(cohab::NamedSnapshot::purpose).collect();
                draft.state.label = format!("undo to {}", what.join(", "));
                self.chronicle.commit(draft);
                assert_eq!(done.version, self.chronicle.version());
                Ok(())
            }
            Err(error) if error.kind() == Kind::TooOld && self.is_trimmed => Err(Kind::TooOld),
            Err(error) => {
                assert_eq!(expected.map(drop), Err(error.kind()), "{error}");
                self.compare_tip();
                Err(error.kind())
            }
        }
    }

    /// Compares the present, and the snapshots that the store took by itself.
    pub(crate) fn compare_tip(&mut self) {
        let snapshot = self.store.snapshot().expect("can be taken");
        assert_eq!(snapshot.version(), self.chronicle.version());
        compare(&self.chronicle, &snapshot, self.chronicle.version(), &mut self.random);
        if self.is_trimmed {
            return;
        }
        let found: Vec<_> = snapshot.named_snapshots().expect("can be listed");
        let found: Vec<_> = found
            .iter()
            .filter_map(|it| {
                let safety = it.kept.as_safety()?;
                Some(Safety {
                    before: it.kept.version,
                    name: it.name.to_string(),
                    operation: safety.operation,
                    namespace: safety.namespace,
                    undone: safety.undone,
                    lapsed: it.kept.lapsed.is_some(),
                })
            })
            .collect();
        assert_eq!(found, self.chronicle.safeties);
    }

    pub(crate) fn verify(&self) {
        let report = self.store.snapshot().expect("can be taken").verify(|_| ()).expect("can be verified");
        assert!(report.is_sound(), "{:?}", report.differences);
    }
}

/// Undoes the last thing that destroyed something.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime")]
pub(crate) fn undo(store: &Store) -> Result<cohab::Committed<cohab::Undone>> {
    store.write(|tx| tx.undo())
}

fn same(expected: Done, done: &Result<()>, op: &Op) {
    match (expected, done) {
        (Ok(()), Ok(())) => {}
        (Err(kind), Err(error)) => assert_eq!(error.kind(), kind, "{op:?}: {error}"),
        _ => panic!("{op:?}: the model says {expected:?}, the store {done:?}"),
    }
}

/// Compares everything that a snapshot shows with the model's state of its version, where `tip` is the version that is
/// pinned.
pub(crate) fn compare(chronicle: &Chronicle, snapshot: &Snapshot, tip: Version, random: &mut Random) {
    let state = chronicle.at(snapshot.version());
    let version = state.version;
    let infos = |all: Vec<NamespaceInfo>| all;
    let live = infos(snapshot.namespaces().expect("can be listed").map(|it| it.expect("is sound")).collect());
    let trash = snapshot.dropped_namespaces().expect("can be listed").map(|it| it.expect("is sound"));
    let names = |all: &[NamespaceInfo]| -> Vec<_> { all.iter().map(|it| (it.name.clone(), it.id)).collect() };
    let told =
        |all: &[&Arc<Ns>]| -> Vec<_> { all.iter().map(|it| (it.metadata.name.clone(), it.id)).collect() };
    let trash = infos(trash.collect());
    assert_eq!(names(&live), told(&state.live()), "namespaces of version {version}, from {tip}");
    assert_eq!(names(&trash), told(&state.trash()), "trash of version {version}, from {tip}");
    for (info, ns) in live.iter().zip(state.live()).chain(trash.iter().zip(state.trash())) {
        compare_info(info, ns, &format!("version {version} from {tip}"));
        let view = snapshot.namespace_by_id(ns.id).expect("is there");
        assert_eq!(view.info(), *info);
        let is_lost = chronicle.is_lost(ns.id, version, tip);
        compare_data(&view, ns, is_lost, random, &format!("`{}` at {version} from {tip}", info.name));
        if ns.dropped.is_none() {
            let view = snapshot.namespace(&info.name).expect("is there");
            assert_eq!(view.info(), *info);
            compare_data(&view, ns, is_lost, random, &format!("`{}` at {version} from {tip}", info.name));
            let key = random.key();
            match snapshot.get(&info.name, &key) {
                Ok(found) if !is_lost => {
                    let found = found.map(|it| (it.version(), it.to_vec()));
                    assert_eq!(found.as_ref(), ns.entries.get(&key), "version {version} from {tip}");
                }
                other => assert_eq!(other.map_err(|it| it.kind()).err(), is_lost.then_some(Kind::NoHistory)),
            }
        }
    }
    for name in ["a", "a/b", "a0", "b", "c", "d"] {
        let found = snapshot.namespace(name).map(|it| it.id()).map_err(|it| it.kind());
        assert_eq!(found, state.find(name), "`{name}` at {version} from {tip}");
    }
    for id in chronicle.at(tip).namespaces.keys().filter(|id| !state.namespaces.contains_key(id)) {
        let found = snapshot.namespace_by_id(*id).map(drop).map_err(|it| it.kind());
        assert_eq!(found, Err(Kind::NotFound), "#{id} at {version} from {tip}");
    }
}

pub(crate) fn compare_info(info: &NamespaceInfo, ns: &Ns, what: &str) {
    let Metadata { name, title, description, labels, protected, history, .. } = &ns.metadata;
    assert_eq!(
        (&info.name, &info.title, &info.description, &info.labels, info.protected, info.history),
        (name, title, description, labels, *protected, *history),
        "{what}"
    );
    assert_eq!(
        (info.id, info.created, info.created_at, info.meta_version, info.dropped),
        (ns.id, ns.created, ns.created_at, ns.meta_version, ns.dropped),
        "`{name}`, {what}"
    );
    assert_eq!(
        (info.data_version, (info.keys, info.bytes, info.digest)),
        (ns.data_version, ns.counted()),
        "`{name}`, {what}"
    );
}

type Found = (Vec<u8>, (Version, Vec<u8>));

/// Reads a range by the iterator, by steps, or by both in turn.
fn read(mut range: cohab::Range<'_>, how: u64, random: &mut Random) -> Result<Vec<Found>> {
    let mut all = Vec::new();
    loop {
        let by_step = match how {
            0 => true,
            1 => false,
            _ => random.one_in(2),
        };
        let found = if by_step {
            range.step()?.map(|it| (it.key().to_vec(), (it.version(), it.value().to_vec())))
        } else {
            let next = range.next().transpose()?;
            next.map(|it| (it.key().to_vec(), (it.version(), it.value().to_vec())))
        };
        let Some(found) = found else {
            assert!(range.next().is_none(), "a range that has ended stays so");
            assert!(range.step()?.is_none(), "a range that has ended stays so");
            return Ok(all);
        };
        all.push(found);
    }
}

fn within(entries: &Entries, bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Vec<Found> {
    let is_in = |key: &Vec<u8>| {
        let from = match &bounds.0 {
            Bound::Unbounded => true,
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
        };
        let to = match &bounds.1 {
            Bound::Unbounded => true,
            Bound::Included(to) => key <= to,
            Bound::Excluded(to) => key < to,
        };
        from && to
    };
    entries.iter().filter(|(key, _)| is_in(key)).map(|(key, it)| (key.clone(), it.clone())).collect()
}

pub(crate) fn compare_data(
    view: &NamespaceView<'_>,
    ns: &Ns,
    is_lost: bool,
    random: &mut Random,
    what: &str,
) {
    assert_eq!((view.count(), view.id(), view.metadata()), (ns.entries.len() as u64, ns.id, &ns.metadata));
    assert_eq!(view.digest(), ns.counted().2);
    let refused = Some(Kind::NoHistory);
    if is_lost {
        let key = random.key();
        assert_eq!(view.get(&key).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.get_bytes(&key).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.get_many([key]).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.all().map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.reverse(..).map_err(|it| it.kind()).err(), refused, "{what}");
        assert_eq!(view.prefix("").map_err(|it| it.kind()).err(), refused, "{what}");
        return;
    }
    let all = within(&ns.entries, &(Bound::Unbounded, Bound::Unbounded));
    for how in 0..3 {
        let found = read(view.all().expect("can be read"), how, random).expect("is sound");
        assert_eq!(found, all, "{what}, way {how}");
    }
    let mut backwards = all.clone();
    backwards.reverse();
    let how = random.below(3);
    assert_eq!(
        read(view.reverse(..).expect("can be read"), how, random).expect("is sound"),
        backwards,
        "{what}"
    );
    for _ in 0..6 {
        let bounds = (random.bound(), random.bound());
        let (mut expected, how) = (within(&ns.entries, &bounds), random.below(3));
        let lent = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
        let found = read(view.scan(lent, Direction::Forward).expect("can be read"), how, random);
        assert_eq!(found.expect("is sound"), expected, "{what}, {bounds:?}");
        let found = read(view.reverse(bounds.clone()).expect("can be read"), how, random);
        expected.reverse();
        assert_eq!(found.expect("is sound"), expected, "{what}, backwards {bounds:?}");
    }
    let prefix = random.key();
    let prefix = &prefix[..prefix.len().min(2)];
    let expected: Vec<_> = all.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
    let how = random.below(3);
    assert_eq!(
        read(view.prefix(prefix).expect("can be read"), how, random).expect("is sound"),
        expected,
        "{what}"
    );
    let mut keys: Vec<Vec<u8>> = ns.entries.keys().cloned().collect();
    keys.extend((0..12).map(|_| random.key()));
    let many = view.get_many(&keys).expect("are sound");
    for (key, one) in keys.iter().zip(many) {
        let expected = ns.entries.get(key);
        assert_eq!(one.map(|it| (it.version(), it.to_vec())).as_ref(), expected, "{what}, {key:?}");
        let one = view.get(key).expect("is sound");
        assert_eq!(one.map(|it| (it.version(), it.to_vec())).as_ref(), expected, "{what}, {key:?}");
        let bytes = view.get_bytes(key).expect("is sound");
        assert_eq!(bytes.as_deref(), expected.map(|(_, value)| &**value), "{what}, {key:?}");
    }
}
