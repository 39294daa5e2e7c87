//! What lies beside a store's file, damaged or made up: what the target `hostile_files` does with its input.
//!
//! Only the card and the counter of writers may keep a store from being opened, and nothing of it may change an answer:
//! all else is hints. So whatever was written over which of these files, before or while handles are open, what is read
//! is what was committed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arbitrary::Arbitrary;
use cohab::{
    Checkpoint, Freshness, Kind, LockMode, PortPreference, Role, Snapshot, Store, VerifyOptions, Version,
    Wait,
};

use crate::files::{make_dir, memory_dir, write_file};

/// The input of one run.
#[derive(Clone, Debug, Arbitrary)]
pub struct Beside {
    /// What is done to files before the store is opened.
    before: Vec<(Place, Content)>,
    steps: Vec<Step>,
    /// What is done to the text of a verification that is under way.
    checkpoint: Option<Content>,
}

#[derive(Clone, Debug, Arbitrary)]
enum Step {
    /// Something is done to a file under the open handles.
    Damage(Place, Content),
    Put(u8),
    /// Look through a handle that was open before.
    Read,
    Open,
    Lock,
    Bind,
    List,
    Reopen,
}

/// A file of a store's directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Arbitrary)]
enum Place {
    Card,
    Epoch,
    Page,
    Writer,
    Handover,
    /// Of an instance that is there, if there is one, or of one that is not.
    Instance {
        is_there: bool,
    },
    InstanceLock,
    Port,
    Lock,
    LockRecord,
    LockToken,
    Follower,
    PluginLog,
    PluginNumbers,
    Unfinished,
}

#[derive(Clone, Debug, Arbitrary)]
enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is there with bytes replaced.
    Edited(Vec<(u16, u8)>),
    /// What is there, and these.
    Appended(Vec<u8>),
    Truncated(u16),
    Removed,
    /// Zeros, up to 15 mebibytes of them.
    Long(u8),
}

/// How much is done in a run at the most.
const STEPS_MAX: usize = 16;

/// Longer than a process believes in a page that says nothing new.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directory of a store that was closed, as it is copied for each run.
struct Template {
    files: BTreeMap<PathBuf, Vec<u8>>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    epoch: u64,
    checkpoint: String,
}

thread_local! {
    static TEMPLATE: Template = Template::new();
}

/// Does to a store's files what the input says.
///
/// # Panics
///
/// If that changes what is read, or keeps the store from being opened though it should not.
pub fn damage_beside(input: &Beside) {
    TEMPLATE.with(|template| template.run(input));
}

impl Template {
    fn new() -> Self {
        let dir = memory_dir();
        let path = dir.path().join("store");
        let made = "a store can be made";
        let store = Store::options().cache_bytes(1 << 20).open(&path).expect(made);
        store.write(|tx| tx.create_namespace("a")).expect(made);
        let mut entries = BTreeMap::new();
        store
            .write(|tx| {
                (0..20_u8).try_for_each(|key| {
                    entries.insert(vec![key], vec![key; 100]);
                    tx.put("a", [key], [key; 100])
                })
            })
            .expect(made);
        drop(store.lock("job", LockMode::Exclusive, Wait::Try).expect(made));
        let registration = store.registration().expect(made);
        drop(registration.bind("http", &PortPreference::new()).expect(made));
        let mut verifier = store.verifier(VerifyOptions::default().slice_keys(5)).expect(made);
        (0..2).for_each(|_| _ = verifier.step().expect(made));
        let checkpoint = verifier.checkpoint().to_string();
        let epoch = store.epoch().expect(made).get();
        drop((verifier, store));
        let mut files = BTreeMap::new();
        collect(&path, &mut files);
        // What is there of a follower, of a plugin and of an instance that has died.
        let follower = r#"{"replica":"c0aab000-0000-4000-8000-000000000001","version":1,"at":1,"path":"/r"}"#;
        files.insert(place_path(&path, Place::Follower, None), follower.into());
        let line = r#"{"at":1,"level":"info","generation":3,"text":"t"}"#;
        files.insert(place_path(&path, Place::PluginLog, None), line.into());
        let files = files
            .into_iter()
            .map(|(file, bytes)| (file.strip_prefix(&path).map_or(file.clone(), Path::to_owned), bytes));
        Self { files: files.collect(), entries, epoch, checkpoint }
    }

    fn copy(&self, path: &Path) {
        for (file, bytes) in &self.files {
            let file = path.join(file);
            make_dir(file.parent().expect("it lies in the store"));
            write_file(&file, bytes);
        }
    }

    fn run(&self, input: &Beside) {
        let dir = memory_dir();
        let path = dir.path().join("store");
        self.copy(&path);
        let mut may_fail = false;
        for (place, content) in input.before.iter().take(STEPS_MAX) {
            damage(&path, *place, None, content);
            may_fail |= matches!(place, Place::Card | Place::Epoch);
        }
        let store = match open(&path, Role::Writer) {
            Ok(store) => store,
            Err(error) => {
                assert!(may_fail, "hints are in the way: {error}");
                let kinds = [Kind::Corrupt, Kind::Format, Kind::NotFound];
                assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
                return self.recover(&path);
            }
        };
        let mut run = Run { model: self.entries.clone(), store, reader: None, may_fail: false };
        let epoch = run.store.epoch().expect("it is the writer").get();
        assert!(epoch > self.epoch, "epoch {epoch} was there before");
        run.read();
        for step in input.steps.iter().take(STEPS_MAX) {
            run.step(step);
        }
        run.read();
        if let Some(content) = &input.checkpoint {
            run.verify(&content.applied_to(self.checkpoint.as_bytes()));
        }
        let Run { model, store, reader, may_fail } = run;
        drop((reader, store));
        match open(&path, Role::Writer) {
            Ok(store) => compare(&store.snapshot().expect("the store is sound"), &model),
            Err(error) => assert!(may_fail, "hints are in the way: {error}"),
        }
    }

    /// Without the card and the counter, there is what there was.
    fn recover(&self, path: &Path) {
        Store::rewrite_card(path).expect("the data says who it is");
        let _ = fs::remove_file(path.join("writer.epoch"));
        let store = open(path, Role::Writer).expect("nothing is damaged any more");
        compare(&store.snapshot().expect("the store is sound"), &self.entries);
    }
}

struct Run {
    model: BTreeMap<Vec<u8>, Vec<u8>>,
    store: Store,
    reader: Option<Store>,
    /// Whether something was damaged that may keep the store from being opened or written.
    may_fail: bool,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Damage(place, content) => {
                damage(self.store.path(), *place, Some(&self.store), content);
                self.may_fail |= matches!(place, Place::Card | Place::Epoch);
            }
            Step::Put(byte) => {
                let (key, value) = (vec![*byte % 40], vec![*byte, 1]);
                match self.store.write(|tx| tx.put("a", &key, &value)) {
                    Ok(committed) => {
                        self.model.insert(key, value);
                        self.await_version(committed.version);
                    }
                    Err(error) => {
                        assert!(self.may_fail, "hints are in the way: {error}");
                        // Whether it is there is to be told by a look.
                        let snapshot = self.store.reopen().and_then(|_| self.store.snapshot());
                        if let Ok(snapshot) = snapshot
                            && snapshot.get("a", &key).expect("the store is sound").as_deref() == Some(&value)
                        {
                            self.model.insert(key, value);
                        }
                    }
                }
            }
            Step::Read => self.read(),
            Step::Open => match open(self.store.path(), Role::Reader) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => assert!(self.may_fail, "hints are in the way: {error}"),
            },
            Step::Lock => match self.store.lock("job", LockMode::Exclusive, Wait::Try) {
                Ok(lock) => {
                    let fenced = self.store.write(|tx| {
                        tx.fence(&lock.fence())?;
                        tx.put("a", "fenced", "1")
                    });
                    if fenced.is_ok() {
                        self.model.insert(b"fenced".to_vec(), b"1".to_vec());
                    } else {
                        assert!(self.may_fail, "a lock that was just taken is refused: {fenced:?}");
                        let _ = self.store.reopen();
                    }
                }
                Err(error) => assert!(matches!(error.kind(), Kind::Corrupt | Kind::Io), "{error}"),
            },
            Step::Bind => {
                let registration = self.store.registration().expect("it is registered");
                let lease = registration.bind("http", &PortPreference::new());
                assert!(lease.is_ok() || self.may_fail, "{:?}", lease.map(|lease| lease.port()));
            }
            Step::List => {
                let _ = (self.store.instances(), self.store.locks(), self.store.followers());
                let _ = (self.store.writer().map(|holder| holder.to_string()), self.store.plugins().list());
                let _ = self.store.plugins().log("p");
                let _ = self.store.maintain();
            }
            Step::Reopen => {
                let reopened = self.store.reopen();
                assert!(reopened.is_ok() || self.may_fail, "{reopened:?}");
            }
        }
    }

    /// The reader comes to see what was committed, whatever the page says.
    fn await_version(&self, version: Version) {
        let Some(reader) = &self.reader else { return };
        let token = reader.token(version);
        let snapshot = reader.snapshot_at(Freshness::AtLeast { token, wait: PATIENCE });
        match snapshot {
            Ok(snapshot) => compare(&snapshot, &self.model),
            Err(error) => panic!("version {version} is not seen: {error}"),
        }
    }

    fn read(&self) {
        let snapshot = self.store.snapshot().expect("the store is sound");
        compare(&snapshot, &self.model);
        let cached = self.store.cached("a").expect("the store is sound");
        for (key, value) in &self.model {
            let found = cached.get(key).expect("the store is sound");
            assert_eq!(found.as_deref(), Some(&**value), "{}", key.escape_ascii());
        }
        if let Some(reader) = &self.reader {
            // It may be behind, but not beside the truth.
            let seen = reader.snapshot().expect("the store is sound");
            if seen.version() == snapshot.version() {
                compare(&seen, &self.model);
            }
        }
    }

    /// Goes on with a verification that may say anything; the store is sound.
    fn verify(&self, text: &[u8]) {
        let Ok(text) = str::from_utf8(text) else { return };
        let Ok(checkpoint) = text.parse::<Checkpoint>() else { return };
        let options = VerifyOptions::default().slice_keys(5).resume(checkpoint);
        let Ok(mut verifier) = self.store.verifier(options) else { return };
        for _ in 0..500 {
            match verifier.step() {
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return,
            }
        }
        panic!("a verification of some keys does not end: {}", verifier.checkpoint());
    }
}

fn compare(snapshot: &Snapshot, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let view = snapshot.namespace("a").expect("the store is sound");
    let entries = view.all().expect("the store is sound").map(|entry| {
        let entry = entry.expect("the store is sound");
        (entry.key().to_vec(), entry.value().to_vec())
    });
    assert!(entries.eq(model.clone()), "the store holds something else");
}

fn open(path: &Path, role: Role) -> cohab::Result<Store> {
    let options = Store::options().role(role).create(false).cache_bytes(1 << 20);
    options.patience(Duration::from_millis(50)).open(path)
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("the store is there") {
        let path = entry.expect("the store is there").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let bytes = fs::read(&path).expect("the store is there");
            files.insert(path, bytes);
        }
    }
}

fn place_path(root: &Path, place: Place, store: Option<&Store>) -> PathBuf {
    let job = format!("locks/{:032x}", xxhash_rust::xxh3::xxh3_128(b"job"));
    let id = "01890000-0000-7000-8000-000000000001";
    root.join(match place {
        Place::Card => "store.json".to_owned(),
        Place::Epoch => "writer.epoch".to_owned(),
        Place::Page => "coord.page".to_owned(),
        Place::Writer => "writer.json".to_owned(),
        Place::Handover => "handover.json".to_owned(),
        Place::Instance { is_there } => {
            let there = store.filter(|_| is_there).map(|store| store.instance().to_string());
            format!("instances/{}.json", there.as_deref().unwrap_or(id))
        }
        Place::InstanceLock => format!("instances/{id}.lock"),
        Place::Port => "ports/http.json".to_owned(),
        Place::Lock => format!("{job}.lock"),
        Place::LockRecord => format!("{job}.json"),
        Place::LockToken => format!("{job}.token"),
        Place::Follower => "followers/c0aab000-0000-4000-8000-000000000001.json".to_owned(),
        Place::PluginLog => "plugins/p.log".to_owned(),
        Place::PluginNumbers => "plugins/p.json".to_owned(),
        Place::Unfinished => ".cohab-unfinished".to_owned(),
    })
}

/// Does something to a file where it lies: who has it open, or mapped, meets it.
fn damage(root: &Path, place: Place, store: Option<&Store>, content: &Content) {
    let path = place_path(root, place, store);
    make_dir(path.parent().expect("it lies in the store"));
    match content {
        Content::Removed => _ = fs::remove_file(&path),
        Content::Long(mebibytes) => {
            if let Ok(file) = file(&path) {
                file.set_len(u64::from(*mebibytes % 16) << 20).expect("it takes no room");
            }
        }
        content => {
            let found = fs::read(&path).unwrap_or_default();
            if let Ok(file) = file(&path) {
                let bytes = content.applied_to(&found);
                // Cut off last: a map of it is to stay where it can.
                file.write_all_at(&bytes, 0).expect("there is room in memory");
                file.set_len(bytes.len() as u64).expect("there is room in memory");
            }
        }
    }
}

fn file(path: &Path) -> std::io::Result<fs::File> {
    fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

impl Content {
    fn applied_to(&self, found: &[u8]) -> Vec<u8> {
        let mut bytes = found.to_vec();
        match self {
            Self::Bytes(given) => given.clone_into(&mut bytes),
            Self::Edited(edits) => {
                let len = bytes.len().max(1);
                for (at, byte) in edits {
                    if let Some(place) = bytes.get_mut(usize::from(*at) % len) {
                        *place = *byte;
                    }
                }
            }
            Self::Appended(given) => bytes.extend_from_slice(given),
            Self::Truncated(len) => bytes.truncate(usize::from(*len)),
            Self::Removed => bytes.clear(),
            Self::Long(_) => bytes = vec![0; 1 << 20],
        }
        bytes
    }
}
