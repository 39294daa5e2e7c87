//! A model of the store: what it should hold, kept in the plainest way there is.

use std::collections::BTreeMap;

use cohab::{
    Batch, Digest, DropMode, Error, Kind, Name, Precondition, Result, Store, Transaction, Update, Version,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// What to put under a key of a namespace, or to delete. Small numbers, so that steps meet.
pub type Change = (u8, u8, Option<Vec<u8>>);

/// One thing to do to a store and its model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Make these changes in one transaction, then give up if told to.
    Write {
        /// The changes, in order.
        changes: Vec<Change>,
        /// Whether the closure fails after its changes.
        give_up: bool,
    },
    /// Submit these changes as a batch that expects a key to be absent.
    Submit {
        /// The changes, in order.
        changes: Vec<Change>,
        /// The namespace and key that has to be absent.
        absent: (u8, u8),
    },
    /// Create a namespace.
    Create(u8),
    /// Change what is said about a namespace.
    Describe(u8),
    /// Give a namespace another name.
    Rename(u8, u8),
    /// Copy a namespace.
    Copy(u8, u8),
    /// Drop a namespace with all it holds.
    Drop(u8),
    /// Bring back the one of that name that was dropped last.
    Undrop(u8),
    /// Give up, for good, the one of that name that was dropped last.
    Purge(u8),
    /// Do a step of maintenance.
    Maintain,
    /// Close the store and open it again.
    Reopen,
}

/// What the store should hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    live: BTreeMap<Name, Map>,
    /// Dropped namespaces, the last dropped at the end.
    trash: Vec<(Name, Map)>,
    version: Version,
}

fn name(number: u8) -> Name {
    // Look-alikes on purpose: one is the prefix of the other.
    let text =
        if number.is_multiple_of(2) { format!("n{}", number / 2) } else { format!("n{}/sub", number / 2) };
    Name::new(text).expect("is a name")
}

fn key(number: u8) -> Vec<u8> {
    // Keys of different lengths, the empty one and prefixes of each other among them.
    vec![number / 8; usize::from(number % 8)]
}

impl Model {
    /// Does a step to the store and to the model, and compares what both answer.
    ///
    /// # Panics
    ///
    /// If they differ: that is what it is for.
    pub fn step(&mut self, store: &mut Store, step: &Step) {
        let before = self.clone();
        let expected = self.apply(step);
        let done = carry_out(store, step);
        match (&expected, &done) {
            (Ok(_), Ok(())) => {}
            (Err(kind), Err(error)) => {
                assert_eq!(error.kind(), *kind, "{step:?}: {error}");
                *self = before;
            }
            _ => panic!("{step:?}: the model says {expected:?}, the store {done:?}"),
        }
        if expected == Ok(true) {
            self.version = self.version.next();
        }
        let version = store.snapshot().expect("a snapshot can be taken").version();
        assert_eq!(version, self.version, "{step:?}: versions have no gaps and count what changed");
    }

    /// Does a step to the model; says whether that changes anything, or how it is refused.
    fn apply(&mut self, step: &Step) -> Result<bool, Kind> {
        match step {
            Step::Write { give_up: true, changes } => self.change(changes).and(Err(Kind::Aborted)),
            Step::Write { changes, .. } => self.change(changes),
            Step::Submit { changes, absent: (namespace, number) } => {
                let there =
                    self.live.get(&name(*namespace)).is_some_and(|map| map.contains_key(&key(*number)));
                if there { Err(Kind::Conflict) } else { self.change(changes) }
            }
            Step::Create(number) => self.insert(name(*number), Map::new()),
            Step::Describe(number) => self.get(*number).map(|_| true),
            Step::Rename(from, to) => {
                let map = self.get(*from)?.clone();
                if name(*from) == name(*to) {
                    return Ok(false);
                }
                self.insert(name(*to), map)?;
                self.live.remove(&name(*from));
                Ok(true)
            }
            Step::Copy(from, to) => {
                let map = self.get(*from)?.clone();
                self.insert(name(*to), map)
            }
            Step::Drop(number) => {
                let map = self.live.remove(&name(*number)).ok_or(Kind::NotFound)?;
                self.trash.push((name(*number), map));
                Ok(true)
            }
            Step::Undrop(number) => {
                let (name, map) = self.take_from_trash(*number)?;
                self.insert(name, map)
            }
            Step::Purge(number) => self.take_from_trash(*number).map(|_| true),
            Step::Maintain | Step::Reopen => Ok(false),
        }
    }

    fn get(&mut self, number: u8) -> Result<&mut Map, Kind> {
        self.live.get_mut(&name(number)).ok_or(Kind::NotFound)
    }

    fn insert(&mut self, name: Name, map: Map) -> Result<bool, Kind> {
        if self.live.contains_key(&name) {
            return Err(Kind::Exists);
        }
        self.live.insert(name, map);
        Ok(true)
    }

    fn take_from_trash(&mut self, number: u8) -> Result<(Name, Map), Kind> {
        let position = self.trash.iter().rposition(|(trashed, _)| *trashed == name(number));
        Ok(self.trash.remove(position.ok_or(Kind::NotFound)?))
    }

    fn change(&mut self, changes: &[Change]) -> Result<bool, Kind> {
        let mut any = false;
        for (namespace, number, value) in changes {
            let map = self.get(*namespace)?;
            any |= match value {
                Some(value) => {
                    map.insert(key(*number), value.clone());
                    true
                }
                None => map.remove(&key(*number)).is_some(),
            };
        }
        Ok(any)
    }

    /// Compares everything the store holds with the model.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub fn compare(&self, store: &Store) {
        let snapshot = store.snapshot().expect("a snapshot can be taken");
        let infos: Vec<_> =
            snapshot.namespaces().expect("can be listed").map(|info| info.expect("is sound")).collect();
        let names: Vec<_> = infos.iter().map(|info| info.name.clone()).collect();
        assert_eq!(names, self.live.keys().cloned().collect::<Vec<_>>(), "namespaces");
        for (info, (name, map)) in infos.iter().zip(&self.live) {
            let view = snapshot.namespace(name).expect("was just listed");
            let entries = view.all().expect("can be read").map(|entry| entry.expect("is sound"));
            let held: Map = entries.map(|entry| (entry.key().to_vec(), entry.value().to_vec())).collect();
            assert_eq!(held, *map, "contents of `{name}`");
            let mut digest = Digest::EMPTY;
            for (key, value) in map {
                digest.add(key, value);
            }
            let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert_eq!(
                (info.keys, info.bytes, info.digest),
                (map.len() as u64, bytes as u64, digest),
                "`{name}`"
            );
            for number in 0..64 {
                let value = view.get(key(number)).expect("is sound");
                assert_eq!(
                    value.as_deref(),
                    map.get(&key(number)).map(Vec::as_slice),
                    "`{name}` key {number}"
                );
            }
            let (from, to) = (key(9), key(30));
            let reverse = view.reverse(&from..&to).expect("can be read");
            let reverse: Vec<_> = reverse.map(|entry| entry.expect("is sound").key().to_vec()).collect();
            let expected: Vec<_> = map.range(from..to).rev().map(|(key, _)| key.clone()).collect();
            assert_eq!(reverse, expected, "a range of `{name}`, backwards");
        }
        let report = snapshot.verify(|_| ()).expect("can be verified");
        assert!(report.is_sound(), "{:?}", report.differences);
    }
}

fn carry_out(store: &mut Store, step: &Step) -> Result<()> {
    let changed = |tx: &mut Transaction<'_, '_>, changes: &[Change]| -> Result<()> {
        for (namespace, number, value) in changes {
            match value {
                Some(value) => tx.put(name(*namespace), key(*number), value)?,
                None => _ = tx.delete(name(*namespace), key(*number))?,
            }
        }
        Ok(())
    };
    match step {
        Step::Write { changes, give_up } => store.write(|tx| {
            changed(tx, changes)?;
            if *give_up { Err(Error::abort("on purpose")) } else { Ok(()) }
        }),
        Step::Submit { changes, absent: (namespace, number) } => {
            let mut batch = Batch::new().expect(Precondition::absent(&name(*namespace), key(*number)));
            for (namespace, number, value) in changes {
                batch = match value {
                    Some(value) => batch.put(&name(*namespace), key(*number), value.clone()),
                    None => batch.delete(&name(*namespace), key(*number)),
                };
            }
            return store.submit(batch).map(drop);
        }
        Step::Create(number) => store.write(|tx| tx.create_namespace(name(*number)).map(drop)),
        Step::Describe(number) => {
            store.write(|tx| tx.update_namespace(name(*number), &Update::new().title("t")))
        }
        Step::Rename(from, to) => store.write(|tx| tx.rename_namespace(name(*from), name(*to))),
        Step::Copy(from, to) => store.write(|tx| tx.copy_namespace(name(*from), name(*to)).map(drop)),
        Step::Drop(number) => store.write(|tx| tx.drop_namespace(name(*number), DropMode::WithContents)),
        Step::Undrop(number) => store.write(|tx| tx.undrop_namespace(name(*number)).map(drop)),
        Step::Purge(number) => store.write(|tx| tx.purge_namespace(name(*number)).map(drop)),
        Step::Maintain => return store.maintain().map(drop),
        Step::Reopen => return store.reopen().map(drop),
    }
    .map(drop)
}
