//! The stores that hostile files are made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use cohab::{DropMode, Result, Retention, Snapshot, Store, Timestamp, Update, Version};

use crate::files::{make_dir, memory_dir, write_file};
use crate::model::Cell;

/// A page of the engine's.
pub(super) const PAGE_BYTES: usize = 4096;

/// A store as it was, and what it held.
#[derive(Debug)]
pub(super) struct Origin {
    /// The file after some of its commits, the last one last.
    pub(super) files: Vec<Vec<u8>>,
    /// The pages of the last that are not empty, without the first, which is the header.
    pub(super) pages: Vec<usize>,
    card: Vec<u8>,
    versions: BTreeMap<Version, BTreeMap<String, Held>>,
    names: Vec<String>,
}

/// What a namespace held, and what was said about it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Held {
    pub(super) title: String,
    pub(super) entries: BTreeMap<Vec<u8>, Cell>,
}

thread_local! {
    pub(super) static ORIGINS: Rc<[Origin]> = [small(), large(), killed()].into();
}

/// A wall clock that stands still.
#[derive(Debug)]
pub(super) struct Noon;

impl cohab::Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_268_800_000_000)
    }
}

impl Origin {
    /// Returns the file that hostile ones are made of.
    pub(super) fn file(&self) -> &[u8] {
        self.files.last().expect("there is one at the least")
    }

    /// Returns what the store held at a version.
    pub(super) fn at(&self, version: Version) -> Option<&BTreeMap<String, Held>> {
        self.versions.get(&version)
    }

    /// Returns the names of all namespaces that there ever were.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Makes a store's directory with this card and another file.
    pub(super) fn write(&self, path: &Path, file: &[u8]) {
        make_dir(path);
        write_file(&path.join("store.json"), &self.card);
        write_file(&path.join("store.redb"), file);
    }
}

/// A store in the making.
struct Recorder {
    store: Store,
    origin: Origin,
}

impl Recorder {
    fn begin(path: &Path, retention: Retention) -> Self {
        let store = Store::options().retention(retention).clock(Noon).cache_bytes(1 << 20).register(false);
        let store = store.open(path).expect("a store can be made");
        let card = fs::read(path.join("store.json")).expect("a store has a card");
        let (versions, names) = (BTreeMap::new(), Vec::new());
        let mut recorder =
            Self { store, origin: Origin { files: vec![], pages: vec![], card, versions, names } };
        recorder.note();
        recorder
    }

    fn write<T>(&mut self, f: impl FnOnce(&mut cohab::Transaction<'_, '_>) -> Result<T>) {
        self.store.write(f).expect("nothing is in the way");
        self.note();
    }

    /// Notes what the store holds now.
    fn note(&mut self) {
        let snapshot = self.store.snapshot().expect("a snapshot can be taken");
        let held = held(&snapshot).expect("a new store is sound");
        for name in held.keys().filter(|name| !self.origin.names.contains(name)).cloned().collect::<Vec<_>>()
        {
            self.origin.names.push(name);
        }
        self.origin.versions.insert(snapshot.version(), held);
    }

    fn keep_file(&mut self) {
        self.origin.files.push(fs::read(self.store.path().join("store.redb")).expect("the file can be read"));
    }

    fn end(self, is_closed: bool) -> Origin {
        let Self { store, mut origin } = self;
        let path = store.path().join("store.redb");
        if is_closed {
            drop(store);
        }
        let file = fs::read(path).expect("the file can be read");
        let is_used = |page: &[u8]| page.iter().any(|byte| *byte != 0);
        let used = file.chunks(PAGE_BYTES).enumerate().skip(1).filter(|(_, page)| is_used(page));
        origin.pages = used.map(|(number, _)| number).collect();
        origin.files.push(file);
        origin
    }
}

fn held(snapshot: &Snapshot) -> Result<BTreeMap<String, Held>> {
    let mut all = BTreeMap::new();
    for info in snapshot.namespaces()? {
        let info = info?;
        let mut held = Held { title: info.title.clone(), entries: BTreeMap::new() };
        for entry in snapshot.namespace(&info.name)?.all()? {
            let entry = entry?;
            held.entries.insert(entry.key().to_vec(), (entry.value().to_vec(), entry.version()));
        }
        all.insert(info.name.to_string(), held);
    }
    Ok(all)
}

/// A few keys, two namespaces, closed.
fn small() -> Origin {
    let dir = memory_dir();
    let mut recorder = Recorder::begin(&dir.path().join("store"), Retention::UNBOUNDED);
    recorder.write(|tx| tx.create_namespace("a"));
    recorder.write(|tx| {
        tx.create_namespace("b")?;
        tx.put("a", "k", "v1")?;
        tx.put("b", "", "empty key")
    });
    recorder.keep_file();
    recorder.write(|tx| tx.put("a", "k", "v2"));
    recorder.write(|tx| tx.put("a", "k2", vec![7; 5000]));
    recorder.write(|tx| tx.update_namespace("b", &Update::new().title("B").label("l", "1")));
    recorder.end(true)
}

/// Trees of several levels, values of several pages, a log that was trimmed, namespaces that were dropped and purged.
fn large() -> Origin {
    let dir = memory_dir();
    let mut recorder = Recorder::begin(&dir.path().join("store"), Retention::UNBOUNDED.versions(30));
    for number in 0..40 {
        recorder.write(|tx| tx.create_namespace(format!("n{number:02}/of/many-with-a-long-name")));
    }
    for name in ["a", "b", "gone"] {
        recorder.write(|tx| tx.create_namespace(name));
        recorder.write(|tx| {
            (0..200_u16).try_for_each(|key| {
                let len = usize::from(key) * usize::from(key) % 700;
                tx.put(name, format!("key-{key:04}"), vec![key.to_le_bytes()[0]; len])
            })
        });
    }
    recorder.keep_file();
    recorder.write(|tx| tx.put("a", "large", vec![1; 70_000]));
    recorder.write(|tx| tx.drop_namespace("gone", DropMode::WithContents));
    recorder.write(|tx| tx.purge_namespace("gone"));
    recorder.write(|tx| (0..100).try_for_each(|key| tx.delete("b", format!("key-{key:04}")).map(drop)));
    recorder.write(|tx| tx.update_namespace("a", &Update::new().title("A").protected(true)));
    recorder.store.create_snapshot("kept", None, "a note").expect("nothing is in the way");
    recorder.note();
    for round in 0..12_u8 {
        recorder.write(|tx| tx.put("b", format!("key-{:04}", 100 + round), vec![round; 300]));
    }
    recorder.store.maintain().expect("nothing is in the way");
    recorder.note();
    recorder.end(true)
}

/// As a writer leaves it that was killed.
fn killed() -> Origin {
    let dir = memory_dir();
    let mut recorder = Recorder::begin(&dir.path().join("store"), Retention::UNBOUNDED);
    recorder.write(|tx| tx.create_namespace("a"));
    for round in 0..6_u8 {
        recorder.write(|tx| {
            (0..30_u8)
                .try_for_each(|key| tx.put("a", vec![key, round % 2], vec![round; usize::from(key) * 9]))
        });
        if round == 3 {
            recorder.keep_file();
        }
    }
    recorder.end(false)
}
