//! What a store was acknowledged to hold.

use std::collections::BTreeMap;

use cohab::{Result, Snapshot, Version};

/// Keys and values by namespace, without those that are cohab's own.
pub(crate) type Content = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What a store holds at a version.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) content: Content,
}

impl State {
    /// Reads all of a snapshot.
    pub(crate) fn of(snapshot: &Snapshot) -> Result<Self> {
        let mut content = Content::new();
        for info in snapshot.namespaces()? {
            let name = info?.name.to_string();
            if name.starts_with('_') {
                continue;
            }
            let mut entries = BTreeMap::new();
            for entry in snapshot.namespace(&name)?.all()? {
                let entry = entry?;
                entries.insert(entry.key().to_vec(), entry.value().to_vec());
            }
            content.insert(name, entries);
        }
        Ok(Self { version: snapshot.version().get(), content })
    }

    pub(crate) fn put(&mut self, namespace: &str, key: &str, value: &[u8]) {
        self.content.get_mut(namespace).expect("is there").insert(key.into(), value.into());
    }

    pub(crate) fn ensure(&mut self, namespace: &str) {
        self.content.entry(namespace.into()).or_default();
    }

    pub(crate) fn delete(&mut self, namespace: &str, key: &str) {
        self.content.get_mut(namespace).expect("is there").remove(key.as_bytes());
    }

    /// Describes it in a few words.
    pub(crate) fn brief(&self) -> String {
        let of = |(name, entries): (&String, &BTreeMap<_, _>)| format!("{name} {}", entries.len());
        let namespaces: Vec<String> = self.content.iter().map(of).collect();
        format!("version {} with {}", self.version, namespaces.join(", "))
    }
}

/// What one store may hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// What was acknowledged; `None` as long as no store was.
    pub(crate) certain: Option<State>,
    /// What it is besides if a commit of unknown outcome is there.
    pub(crate) maybe: Option<State>,
    /// What a reopening has said of it, as long as nobody has looked.
    pub(crate) told: Option<Version>,
    /// Whether plugins commit on their own, so that versions and what plugins write are not known in advance.
    pub(crate) is_shared: bool,
    /// Whether it is led by another store, with which it is compared instead.
    pub(crate) is_replica: bool,
    /// Every state that there was, or may have been.
    pub(crate) history: Vec<State>,
    /// The highest epoch of a writer.
    pub(crate) epoch: u64,
    /// The highest token of each lock.
    pub(crate) tokens: BTreeMap<String, u64>,
}

impl Ledger {
    pub(crate) fn of(state: State) -> Self {
        Self { certain: Some(state.clone()), history: vec![state], ..Self::default() }
    }

    /// Whether what was found is what may be there.
    pub(crate) fn allows(&self, found: &State) -> bool {
        let mut expected = self.certain.iter().chain(&self.maybe);
        self.is_replica || expected.any(|state| self.is_like(state, found))
    }

    /// Whether what was found is what was acknowledged, and nothing else.
    pub(crate) fn is_certain(&self, found: &State) -> bool {
        self.is_replica || self.certain.as_ref().is_some_and(|state| self.is_like(state, found))
    }

    fn is_like(&self, expected: &State, found: &State) -> bool {
        if self.is_shared {
            let is_there = |(name, entries)| found.content.get(name) == Some(entries);
            return found.version >= expected.version && expected.content.iter().all(is_there);
        }
        expected == found
    }

    /// Notes what it turned out to be.
    pub(crate) fn settle(&mut self, found: State) {
        (self.maybe, self.told) = (None, None);
        self.history.push(found.clone());
        self.certain = Some(if self.is_shared {
            let known = self.certain.take().unwrap_or_default();
            let mut content = found.content;
            content.retain(|name, _| known.content.contains_key(name));
            State { version: found.version, content }
        } else {
            found
        });
    }

    pub(crate) fn expected(&self) -> String {
        let states: Vec<String> = self.certain.iter().chain(&self.maybe).map(State::brief).collect();
        if states.is_empty() { "nothing".to_owned() } else { states.join(", or ") }
    }
}
