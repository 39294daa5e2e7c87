//! What a store should hold and answer, kept in the plainest way there is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use cohab::{Digest, History, Kind, Name, NamespaceId, NamespaceInfo, Precondition, Snapshot, Version};

use crate::compare::owned;
use crate::material::Key;
use crate::plan::{Action, Change, Expectation, Update};

/// A value, and the version that set it.
pub(crate) type Cell = (Vec<u8>, Version);

/// What a namespace should hold, and what should be said about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Space {
    pub(crate) id: NamespaceId,
    pub(crate) entries: BTreeMap<Vec<u8>, Cell>,
    pub(crate) title: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) protected: bool,
    pub(crate) history: History,
    pub(crate) created: Version,
    pub(crate) meta_version: Version,
    pub(crate) data_version: Version,
}

impl Space {
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|(key, (value, _))| (key.len() + value.len()) as u64).sum()
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = Digest::EMPTY;
        self.entries.iter().for_each(|(key, (value, _))| digest.add(key, value));
        digest
    }
}

/// What an action answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Done,
    Existed(bool),
    Identity(NamespaceId),
    Value(Option<Cell>),
    Entries(Vec<(Vec<u8>, Cell)>),
    Count(u64),
    Names(Vec<Name>),
}

/// What the store should be.
#[derive(Clone, Debug)]
pub struct Model {
    pub(crate) version: Version,
    pub(crate) live: BTreeMap<Name, Space>,
    /// Dropped namespaces in the order in which they were dropped.
    pub(crate) trash: Vec<(Name, Space)>,
    next_id: NamespaceId,
    /// Whether the transaction at work has changed anything.
    changed: bool,
    /// Namespaces that had their history off at some time: what they held then may not be known.
    pub(crate) forgetful: BTreeSet<NamespaceId>,
}

impl Default for Model {
    fn default() -> Self {
        let (version, next_id) = (Version::ZERO, NamespaceId::FIRST);
        let (live, trash, forgetful) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { version, live, trash, next_id, changed: false, forgetful }
    }
}

impl Model {
    /// Returns the model as a transaction sees it, which is at the version that it makes.
    pub(crate) fn begin(&self) -> Self {
        Self { version: self.version.next(), changed: false, ..self.clone() }
    }

    /// Takes a transaction's changes over, if it made any, and returns the version after it.
    pub(crate) fn commit(&mut self, transaction: Self) -> Version {
        if transaction.changed {
            *self = transaction;
        }
        self.version
    }

    /// Takes over what a snapshot holds, after something of which only the values were foretold.
    ///
    /// # Panics
    ///
    /// If the snapshot cannot be read.
    pub(crate) fn adopt(&self, snapshot: &Snapshot) -> Self {
        let sound = "the store is sound";
        let adopted = |info: cohab::Result<NamespaceInfo>| {
            let info = info.expect(sound);
            let view = snapshot.namespace_by_id(info.id).expect(sound);
            let entries = view.all().expect(sound).map(|entry| owned(&entry.expect(sound))).collect();
            let space = Space {
                id: info.id,
                entries,
                title: info.title,
                labels: info.labels,
                protected: info.protected,
                history: info.history,
                created: info.created,
                meta_version: info.meta_version,
                data_version: info.data_version,
            };
            (info.name, space, info.dropped)
        };
        let live = snapshot.namespaces().expect(sound).map(adopted).map(|(name, space, _)| (name, space));
        let mut trash: Vec<_> = snapshot.dropped_namespaces().expect(sound).map(adopted).collect();
        trash.sort_by_key(|(_, _, dropped)| dropped.map(|dropped| dropped.version));
        let trash = trash.into_iter().map(|(name, space, _)| (name, space)).collect();
        Self { version: snapshot.version(), live: live.collect(), trash, ..self.clone() }
    }

    /// Does one thing in a transaction. What is refused changes nothing.
    pub(crate) fn act(&mut self, action: &Action) -> Result<Answer, Kind> {
        match action {
            Action::Put(namespace, key, value) => {
                self.get_mut(&namespace.name())?;
                self.put(&namespace.name(), key, value.to_vec()).map(|()| Answer::Done)
            }
            Action::Delete(namespace, key) => self.delete(&namespace.name(), key).map(Answer::Existed),
            Action::Create(namespace) => self.create(namespace.name()).map(Answer::Identity),
            Action::Ensure(namespace) => {
                let there = self.live.get(&namespace.name()).map(|space| space.id);
                there.map_or_else(|| self.create(namespace.name()), Ok).map(Answer::Identity)
            }
            Action::Update { namespace, update } => self.update(&namespace.name(), update),
            Action::Rename(from, to) => self.rename(&from.name(), to.name()),
            Action::Copy(from, to) => self.copy(&from.name(), &to.name()),
            Action::Drop { namespace, with_contents } => self.drop(&namespace.name(), *with_contents),
            Action::Undrop(namespace) => self.undrop(namespace.name()),
            Action::Purge(namespace) => {
                let (_, space) = self.trash.remove(self.trashed(&namespace.name())?);
                self.changed = true;
                Ok(Answer::Identity(space.id))
            }
            Action::Get(namespace, key) => {
                let space = self.get_mut(&namespace.name())?;
                check_key(key)?;
                Ok(Answer::Value(space.entries.get(key.as_ref()).cloned()))
            }
            Action::Range(namespace, from, to) => {
                let space = self.get_mut(&namespace.name())?;
                Ok(Answer::Entries(entries(space, |key| within(key, from, to))))
            }
            Action::Prefix(namespace, prefix) => {
                let space = self.get_mut(&namespace.name())?;
                Ok(Answer::Entries(entries(space, |key| key.starts_with(prefix.as_ref()))))
            }
            Action::Count(namespace) => {
                Ok(Answer::Count(self.get_mut(&namespace.name())?.entries.len() as u64))
            }
            Action::Names => Ok(Answer::Names(self.live.keys().cloned().collect())),
        }
    }

    /// Does what a batch says in a transaction of its own, which is dropped if it is refused.
    pub(crate) fn submit(&mut self, changes: &[Change]) -> Result<(), Kind> {
        let mut keys = changes.iter().map(|change| match change {
            Change::Put(_, key, _) | Change::PutCreating(_, key, _) | Change::Delete(_, key) => key,
        });
        keys.try_for_each(check_key)?;
        for change in changes {
            match change {
                Change::Put(namespace, ..) | Change::Delete(namespace, _) => {
                    _ = self.get_mut(&namespace.name())?;
                }
                Change::PutCreating(..) => {}
            }
        }
        for change in changes {
            match change {
                Change::Put(namespace, key, value) => self.put(&namespace.name(), key, value.to_vec())?,
                Change::PutCreating(namespace, key, value) => {
                    self.act(&Action::Ensure(*namespace))?;
                    self.put(&namespace.name(), key, value.to_vec())?;
                }
                Change::Delete(namespace, key) => _ = self.delete(&namespace.name(), key)?,
            }
        }
        Ok(())
    }

    /// Makes a precondition of what a batch expects, and says whether it holds.
    pub(crate) fn expectation(&self, expectation: &Expectation) -> (Precondition, bool) {
        let cell =
            |name: &Name, key: &Key| self.live.get(name).and_then(|space| space.entries.get(key.as_ref()));
        let beside = |version: Version, off: u64| Version::new(version.get() + off);
        let key_of = |key: &Key| key.as_ref().to_vec();
        match expectation {
            Expectation::Value(namespace, key, value) => {
                let (name, value) = (namespace.name(), value.to_vec());
                let holds = cell(&name, key).is_some_and(|(found, _)| *found == value);
                (Precondition::value(&name, key_of(key), value), holds)
            }
            Expectation::Unchanged(namespace, key) => {
                let name = namespace.name();
                let found = cell(&name, key);
                let value = found.map(|(value, _)| value.clone()).unwrap_or_default();
                (Precondition::value(&name, key_of(key), value), found.is_some())
            }
            Expectation::KeyVersion(namespace, key, off) => {
                let name = namespace.name();
                let found = cell(&name, key).map(|(_, version)| *version);
                let version = beside(found.unwrap_or(self.version), off.by());
                (Precondition::key_version(&name, key_of(key), version), found == Some(version))
            }
            Expectation::Absent(namespace, key) => {
                let name = namespace.name();
                (Precondition::absent(&name, key_of(key)), cell(&name, key).is_none())
            }
            Expectation::Present(namespace, key) => {
                let name = namespace.name();
                (Precondition::present(&name, key_of(key)), cell(&name, key).is_some())
            }
            Expectation::DataVersion(namespace, off) => {
                let namespace = namespace.name();
                let found = self.live.get(&namespace).map(|space| space.data_version);
                let version = beside(found.unwrap_or(self.version), off.by());
                (Precondition::DataVersion { namespace, version }, found == Some(version))
            }
            Expectation::MetaVersion(namespace, off) => {
                let namespace = namespace.name();
                let found = self.live.get(&namespace).map(|space| space.meta_version);
                let version = beside(found.unwrap_or(self.version), off.by());
                (Precondition::MetaVersion { namespace, version }, found == Some(version))
            }
            Expectation::StoreVersion(off) => {
                (Precondition::StoreVersion(beside(self.version, off.by())), off.by() == 0)
            }
        }
    }

    /// Returns the `meta_version` that an update is to expect.
    pub(crate) fn expected_meta_version(&self, name: &Name, update: &Update) -> Option<Version> {
        let found = self.live.get(name).map_or(self.version, |space| space.meta_version);
        update.expected.map(|off| Version::new(found.get() + off.by()))
    }

    fn get_mut(&mut self, name: &Name) -> Result<&mut Space, Kind> {
        self.live.get_mut(name).ok_or(Kind::NotFound)
    }

    fn put(&mut self, name: &Name, key: &Key, value: Vec<u8>) -> Result<(), Kind> {
        check_key(key)?;
        let version = self.version;
        let space = self.get_mut(name)?;
        space.entries.insert(key.as_ref().to_vec(), (value, version));
        space.data_version = version;
        self.changed = true;
        Ok(())
    }

    fn delete(&mut self, name: &Name, key: &Key) -> Result<bool, Kind> {
        let version = self.version;
        let space = self.get_mut(name)?;
        check_key(key)?;
        let existed = space.entries.remove(key.as_ref()).is_some();
        if existed {
            space.data_version = version;
            self.changed = true;
        }
        Ok(existed)
    }

    fn create(&mut self, name: Name) -> Result<NamespaceId, Kind> {
        if self.live.contains_key(&name) {
            return Err(Kind::Exists);
        }
        let id = self.next_id;
        self.next_id = id.checked_next().expect("a plan is not that long");
        let space = Space {
            id,
            entries: BTreeMap::new(),
            title: String::new(),
            labels: BTreeMap::new(),
            protected: false,
            history: History::Full,
            created: self.version,
            meta_version: self.version,
            data_version: Version::ZERO,
        };
        self.live.insert(name, space);
        self.changed = true;
        Ok(id)
    }

    fn update(&mut self, name: &Name, update: &Update) -> Result<Answer, Kind> {
        let expected = self.expected_meta_version(name, update);
        let version = self.version;
        let space = self.get_mut(name)?;
        if expected.is_some_and(|expected| expected != space.meta_version) {
            return Err(Kind::Conflict);
        }
        if let Some(title) = update.title {
            space.title = title.to_string();
        }
        if let Some(label) = update.label {
            space.labels.insert((label % 4).to_string(), label.to_string());
        }
        space.protected = update.protected.unwrap_or(space.protected);
        if let Some(keeps_history) = update.keeps_history {
            space.history = if keeps_history { History::Full } else { History::Off };
        }
        space.meta_version = version;
        let forgets = (space.history == History::Off).then_some(space.id);
        self.forgetful.extend(forgets);
        self.changed = true;
        Ok(Answer::Done)
    }

    fn rename(&mut self, from: &Name, to: Name) -> Result<Answer, Kind> {
        self.get_mut(from)?;
        if *from == to {
            return Ok(Answer::Done);
        }
        if self.live.contains_key(&to) {
            return Err(Kind::Exists);
        }
        let mut space = self.live.remove(from).ok_or(Kind::NotFound)?;
        space.meta_version = self.version;
        self.live.insert(to, space);
        self.changed = true;
        Ok(Answer::Done)
    }

    fn copy(&mut self, from: &Name, to: &Name) -> Result<Answer, Kind> {
        let source = self.get_mut(from)?.clone();
        let id = self.create(to.clone())?;
        let version = self.version;
        let copy = self.get_mut(to)?;
        (copy.title, copy.labels, copy.history) = (source.title, source.labels, source.history);
        let forgets = (copy.history == History::Off).then_some(id);
        for (key, (value, _)) in source.entries {
            copy.entries.insert(key, (value, version));
            copy.data_version = version;
        }
        self.forgetful.extend(forgets);
        Ok(Answer::Identity(id))
    }

    fn drop(&mut self, name: &Name, with_contents: bool) -> Result<Answer, Kind> {
        let space = self.get_mut(name)?;
        if space.protected || !(with_contents || space.entries.is_empty()) {
            return Err(Kind::Conflict);
        }
        let mut space = self.live.remove(name).ok_or(Kind::NotFound)?;
        space.meta_version = self.version;
        self.trash.push((name.clone(), space));
        self.changed = true;
        Ok(Answer::Done)
    }

    fn undrop(&mut self, name: Name) -> Result<Answer, Kind> {
        let position = self.trashed(&name)?;
        if self.live.contains_key(&name) {
            return Err(Kind::Exists);
        }
        let (_, mut space) = self.trash.remove(position);
        space.meta_version = self.version;
        let id = space.id;
        self.live.insert(name, space);
        self.changed = true;
        Ok(Answer::Identity(id))
    }

    fn trashed(&self, name: &Name) -> Result<usize, Kind> {
        self.trash.iter().rposition(|(trashed, _)| trashed == name).ok_or(Kind::NotFound)
    }
}

fn check_key(key: &Key) -> Result<(), Kind> {
    if key.is_too_long() { Err(Kind::InvalidInput) } else { Ok(()) }
}

fn entries(space: &Space, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, Cell)> {
    let wanted = space.entries.iter().filter(|(key, _)| is_wanted(key));
    wanted.map(|(key, cell)| (key.clone(), cell.clone())).collect()
}

/// Not [`BTreeMap::range`], which panics where the bounds are the wrong way round; a store has nothing there.
fn within(key: &[u8], from: &Bound<Key>, to: &Bound<Key>) -> bool {
    let is_behind_start = match from {
        Bound::Included(from) => key >= from.as_ref(),
        Bound::Excluded(from) => key > from.as_ref(),
        Bound::Unbounded => true,
    };
    let is_before_end = match to {
        Bound::Included(to) => key <= to.as_ref(),
        Bound::Excluded(to) => key < to.as_ref(),
        Bound::Unbounded => true,
    };
    is_behind_start && is_before_end
}
