//! The cache next to a map for every version: whatever was committed, trimmed, renamed or evicted, every read finds what
//! the version holds that it claims.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use cohab::testing::Storage;
use cohab::typed::{Codec as _, Namespace, Postcard, TypedCached};
use cohab::{
    Batch, Cache, CachePolicy, CacheStats, Cached, CatchUp, DropMode, Error, History, Kind, Metadata, Name,
    NamespaceId, Options, Result, Retention, Role, Snapshot, Store, Transaction, Update, Version,
};
use serde::{Deserialize, Serialize};

use crate::{Random, Scratch, v};

/// More of them than a snapshot remembers, and one, `tmp`, for names that change places.
const NAMES: [&str; 20] = [
    "shared", "own", "pinned", "off", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n",
    "o", "p",
];
const SNAPSHOTS: usize = 5;

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// The store at one version.
#[derive(Clone, Default)]
struct World {
    live: BTreeMap<&'static str, NamespaceId>,
    /// Name, the version that dropped it, id.
    trash: Vec<(&'static str, Version, NamespaceId)>,
    contents: BTreeMap<NamespaceId, Arc<Map>>,
}

/// What most values are, as a type.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Stamp(u64, String);

/// Another type that the same values decode as.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Tag(u64, String);

#[derive(Clone, Debug)]
enum Op {
    Put(&'static str, Vec<u8>, Arc<[u8]>),
    Delete(&'static str, Vec<u8>),
    DeleteAll(&'static str),
    Create(&'static str, History),
    Describe(&'static str),
    History(&'static str, History),
    Drop(&'static str),
    Undrop(&'static str),
    Purge(&'static str),
    Copy(&'static str, &'static str),
    Rename(&'static str, &'static str),
    Swap(&'static str, &'static str),
    Recreate(&'static str),
}

impl World {
    fn map(&mut self, name: &str) -> Option<&mut Map> {
        let id = self.live.get(name)?;
        Some(Arc::make_mut(self.contents.get_mut(id)?))
    }

    fn get(&self, id: NamespaceId, key: &[u8]) -> Option<&Arc<[u8]>> {
        self.contents[&id].get(key)
    }

    /// Where the one of a name lies in the trash that was dropped last.
    fn dropped(&self, name: &str) -> Option<usize> {
        let of_name = self.trash.iter().enumerate().filter(|(_, (trashed, ..))| *trashed == name);
        Some(of_name.max_by_key(|(_, (_, version, id))| (*version, *id))?.0)
    }

    /// Does something here and in a transaction, if it can be done; returns whether it changed anything.
    fn step(&mut self, tx: &mut Transaction<'_, '_>, op: &Op) -> Result<bool> {
        let is_live = |name: &str| self.live.contains_key(name);
        match op {
            Op::Put(name, key, value) => {
                let Some(map) = self.map(name) else { return Ok(false) };
                map.insert(key.clone(), value.clone());
                tx.put(name, key, value)?;
            }
            Op::Delete(name, key) => {
                let Some(map) = self.map(name) else { return Ok(false) };
                let was_there = map.remove(key).is_some();
                assert_eq!(tx.delete(name, key)?, was_there);
                return Ok(was_there);
            }
            Op::DeleteAll(name) => {
                let Some(map) = self.map(name) else { return Ok(false) };
                let gone = std::mem::take(map);
                for key in gone.keys() {
                    tx.delete(name, key)?;
                }
                return Ok(!gone.is_empty());
            }
            Op::Create(name, history) => {
                if is_live(name) {
                    return Ok(false);
                }
                let mut metadata = Metadata::new(Name::new(*name)?);
                metadata.history = *history;
                let id = tx.create_namespace_with(metadata)?;
                self.live.insert(name, id);
                self.contents.insert(id, Arc::default());
            }
            Op::Describe(name) | Op::History(name, _) => {
                if !is_live(name) {
                    return Ok(false);
                }
                let update = match op {
                    Op::History(_, history) => Update::new().history(*history),
                    _ => Update::new().title(format!("{:?}", tx.version())).label("l", "v"),
                };
                tx.update_namespace(name, &update)?;
            }
            Op::Drop(name) => {
                let Some(id) = self.live.remove(name) else { return Ok(false) };
                self.trash.push((name, tx.version(), id));
                tx.drop_namespace(name, DropMode::WithContents)?;
            }
            Op::Undrop(name) => {
                let Some(index) = self.dropped(name).filter(|_| !is_live(name)) else { return Ok(false) };
                let (_, _, id) = self.trash.remove(index);
                self.live.insert(name, id);
                assert_eq!(tx.undrop_namespace(name)?, id);
            }
            Op::Purge(name) => {
                let Some(index) = self.dropped(name) else { return Ok(false) };
                let (_, _, id) = self.trash.remove(index);
                self.contents.remove(&id);
                assert_eq!(tx.purge_namespace(name)?, id);
            }
            Op::Copy(from, to) => {
                let Some(&source) = self.live.get(from).filter(|_| !is_live(to)) else { return Ok(false) };
                let id = tx.copy_namespace(from, to)?;
                self.live.insert(to, id);
                self.contents.insert(id, self.contents[&source].clone());
            }
            Op::Rename(from, to) => {
                if !is_live(from) || is_live(to) {
                    return Ok(false);
                }
                let id = self.live.remove(from).expect("is live");
                self.live.insert(to, id);
                tx.rename_namespace(from, to)?;
            }
            Op::Swap(one, other) => {
                let (Some(&a), Some(&b)) = (self.live.get(one), self.live.get(other)) else {
                    return Ok(false);
                };
                if one == other {
                    return Ok(false);
                }
                self.live.extend([(*one, b), (*other, a)]);
                tx.rename_namespace(one, "tmp")?;
                tx.rename_namespace(other, one)?;
                tx.rename_namespace("tmp", other)?;
            }
            Op::Recreate(name) => {
                self.step(tx, &Op::Drop(name))?;
                self.step(tx, &Op::Create(name, History::Full))?;
            }
        }
        Ok(true)
    }
}

/// A file that is not synced: nothing here survives the test.
#[derive(Debug)]
struct Unsynced(Box<dyn Storage>);

impl Storage for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// What was read, and how.
#[derive(Default, Debug)]
struct Counts {
    cached: u64,
    snapshots: u64,
    typed: u64,
    values: u64,
    absent: u64,
    undecodable: u64,
    not_found: u64,
}

/// A handle, and what a program keeps of it.
struct Reader {
    store: Store,
    cached: BTreeMap<&'static str, Cached>,
    typed: BTreeMap<&'static str, TypedCached<[u8], Stamp>>,
    snapshots: Vec<Snapshot>,
    counts: Counts,
    /// What the cache says, when it was asked last, and in all: it begins anew at times.
    said: Total,
    total: Total,
}

impl Reader {
    fn new(store: Store) -> Self {
        let counts = Counts::default();
        Self {
            store,
            cached: BTreeMap::new(),
            typed: BTreeMap::new(),
            snapshots: Vec::new(),
            counts,
            said: Total::default(),
            total: Total::default(),
        }
    }

    fn ask_the_cache(&mut self) {
        let said = total(&self.store);
        self.total.add(&said, &self.said);
        self.said = said;
    }

    fn found(&mut self, what: impl fmt::Debug, found: Option<&[u8]>, expected: Option<&Arc<[u8]>>) {
        let expected = expected.map(|value| &value[..]);
        assert!(found == expected, "{what:?}: {} instead of {}", shown(found), shown(expected));
        *(if found.is_some() { &mut self.counts.values } else { &mut self.counts.absent }) += 1;
    }

    fn decoded<T>(
        &mut self,
        what: impl fmt::Debug,
        found: Result<Option<Arc<T>>>,
        expected: Option<&Arc<[u8]>>,
    ) where
        T: for<'de> Deserialize<'de> + PartialEq + fmt::Debug,
    {
        self.counts.typed += 1;
        match expected.map(|value| Postcard::decode::<T>(value)) {
            Some(Err(_)) => {
                self.counts.undecodable += 1;
                assert_eq!(found.expect_err("does not decode").kind(), Kind::Decode, "{what:?}");
            }
            expected => {
                let expected = expected.map(|value| value.expect("decodes"));
                let found = found.unwrap_or_else(|error| panic!("{what:?}: {error:?}"));
                assert!(found.as_deref() == expected.as_ref(), "{what:?}: {found:?} instead of {expected:?}");
            }
        }
    }

    /// Reads a key as it is now.
    fn read_now(&mut self, world: &World, name: &'static str, key: &[u8], random: &mut Random) {
        let what = ("now", name, key.escape_ascii().to_string());
        let id = world.live.get(name);
        let expected = id.and_then(|id| world.get(*id, key));
        self.counts.cached += 1;
        let cached = match self.cached.get(name) {
            Some(cached) => cached.clone(),
            None => match self.store.cached(name) {
                Ok(cached) => {
                    self.typed
                        .insert(name, self.store.cached_typed(&Namespace::new(name)).expect("is there"));
                    self.cached.entry(name).or_insert(cached).clone()
                }
                Err(error) => {
                    assert_eq!((error.kind(), id), (Kind::NotFound, None), "{what:?}: {error}");
                    return;
                }
            },
        };
        let found = match random.below(3) {
            0 => cached.get_with(key, |value| value.map(<[u8]>::to_vec)),
            _ => cached.get(key).map(|value| value.map(|value| value.to_vec())),
        };
        match (found, id) {
            (Ok(found), Some(_)) => self.found(what, found.as_deref(), expected),
            (Err(error), None) => {
                assert_eq!(error.kind(), Kind::NotFound, "{what:?}");
                let typed = self.typed[name].get(key).expect_err("is not there either");
                assert_eq!(typed.kind(), Kind::NotFound, "{what:?}");
                self.counts.not_found += 1;
            }
            other => panic!("{what:?}: {other:?}"),
        }
        if id.is_some() && random.below(3) == 0 {
            let found = self.typed[name].get(key);
            self.decoded(("typed", name, key.escape_ascii().to_string()), found, expected);
        }
        if random.below(50) == 0 {
            // Whoever asks anew is told the same.
            self.cached.remove(name);
        }
    }

    /// Reads a key in a snapshot that was kept.
    fn read_then(&mut self, history: &BTreeMap<Version, World>, key: &[u8], random: &mut Random) {
        let Some(snapshot) = self.snapshots.get(below(random, SNAPSHOTS)).cloned() else { return };
        let world = &history[&snapshot.version()];
        let name = NAMES[below(random, NAMES.len())];
        let what = (snapshot.version(), name, key.escape_ascii().to_string());
        self.counts.snapshots += 1;
        let trashed = world.trash.get(below(random, 8)).filter(|_| random.below(4) == 0);
        let (id, view) = match (trashed, world.live.get(name)) {
            (Some((.., id)), _) => (id, snapshot.namespace_by_id(*id).expect("lies in the trash")),
            (None, Some(id)) => (id, snapshot.namespace(name).expect("is there")),
            (None, None) => {
                assert_eq!(
                    snapshot.namespace(name).expect_err("is not there").kind(),
                    Kind::NotFound,
                    "{what:?}"
                );
                return;
            }
        };
        assert_eq!(view.id(), *id, "{what:?}");
        let expected = world.get(*id, key);
        let found = view.get_bytes(key).unwrap_or_else(|error| panic!("{what:?}: {error:?}"));
        self.found(&what, found.as_deref(), expected);
        if trashed.is_none() {
            match random.below(6) {
                0 => {
                    let typed = snapshot.typed(&Namespace::<[u8], Stamp>::new(name)).expect("is there");
                    self.decoded(&what, typed.get_arc(key), expected);
                }
                1 => {
                    let typed = snapshot.typed(&Namespace::<[u8], Tag>::new(name)).expect("is there");
                    self.decoded(&what, typed.get_arc(key), expected);
                }
                2 => {
                    let uncached = view.get(key).expect("is sound").map(|value| value.to_bytes());
                    self.found(("uncached", &what), uncached.as_deref(), expected);
                }
                _ => {}
            }
        }
    }

    fn keep_a_snapshot(&mut self, history: &BTreeMap<Version, World>, random: &mut Random) {
        let snapshot = self.store.snapshot().expect("can be taken");
        let (newest, _) = history.last_key_value().expect("there is a version");
        assert_eq!(snapshot.version(), *newest, "a snapshot is as new as the last commit");
        if self.snapshots.len() < SNAPSHOTS {
            self.snapshots.push(snapshot);
        } else {
            self.snapshots[below(random, SNAPSHOTS)] = snapshot;
        }
    }
}

/// Values are long, and differ soon.
fn shown(value: Option<&[u8]>) -> String {
    value.map_or("nothing".into(), |value| {
        format!("{} bytes, {}", value.len(), value[..value.len().min(20)].escape_ascii())
    })
}

struct Run {
    budget: usize,
    versions: u64,
    catch_up: CatchUp,
    steps: u64,
}

struct Pair {
    scratch: Scratch,
    random: Random,
    nonce: u64,
    /// Every version that somebody has a snapshot of, and the last.
    history: BTreeMap<Version, World>,
    writer: Option<Reader>,
    other: Reader,
    run: Run,
    cache: Cache,
    grouped: u64,
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("is small")
}

fn bulk_key(number: u64, len: usize) -> Vec<u8> {
    let mut key = format!("bulk{number:06}").into_bytes();
    key.resize(len, b'.');
    key
}

fn options(run: &Run, cache: &Cache) -> Options {
    Store::options()
        .storage_layer(|inner| Box::new(Unsynced(inner)))
        .retention(Retention::default().versions(run.versions))
        .register(false)
        .wait(Duration::from_secs(10))
        .cache(cache.clone())
        .cache_policy("own", CachePolicy::Own(run.budget / 16))
        .cache_policy("pinned", CachePolicy::Pinned)
        .cache_policy("off", CachePolicy::Off)
        .catch_up(run.catch_up)
}

impl Pair {
    fn new(run: Run, seed: u64) -> Self {
        let scratch = Scratch::new();
        let cache = Cache::new(run.budget);
        let writer = options(&run, &cache).open(scratch.path()).expect("can be made");
        let others_cache = Cache::new(run.budget);
        let other = options(&run, &others_cache).role(Role::Reader).open(scratch.path()).expect("is there");
        let mut pair = Self {
            scratch,
            random: Random(seed),
            nonce: 0,
            history: BTreeMap::from([(Version::ZERO, World::default())]),
            writer: Some(Reader::new(writer)),
            other: Reader::new(other),
            run,
            cache,
            grouped: 0,
        };
        pair.write(
            &NAMES[..12].iter().map(|name| Op::Create(name, History::Full)).collect::<Vec<_>>(),
            false,
        );
        pair
    }

    fn now(&self) -> (Version, &World) {
        let (version, world) = self.history.last_key_value().expect("there is a version");
        (*version, world)
    }

    fn writer(&mut self) -> &mut Reader {
        self.writer.as_mut().expect("is open")
    }

    fn name(&mut self) -> &'static str {
        // The first ones more often, so that steps meet.
        NAMES[below(&mut self.random, NAMES.len()).min(below(&mut self.random, NAMES.len()))]
    }

    fn key(&mut self) -> Vec<u8> {
        match self.random.below(20) {
            0 => Vec::new(),
            1 => bulk_key(self.random.below(500), 1800),
            2 => bulk_key(self.random.below(2000), 40),
            3 => bulk_key(self.random.below(60), 10),
            number => {
                let number = u8::try_from(number).expect("is small");
                vec![number % 4; 1 + usize::from(number)]
            }
        }
    }

    fn value(&mut self) -> Arc<[u8]> {
        self.nonce += 1;
        let len = match self.random.below(40) {
            0 => return Arc::default(),
            1 => return [0xff; 12].into(),
            2 => 5000,
            3 => 70_000,
            len => below(&mut self.random, 10) * usize::try_from(len).expect("is small"),
        };
        Postcard::encode(&Stamp(self.nonce, "x".repeat(len))).expect("can be encoded").into()
    }

    fn change(&mut self) -> Op {
        let (name, key) = (self.name(), self.key());
        if self.random.below(4) == 0 { Op::Delete(name, key) } else { Op::Put(name, key, self.value()) }
    }

    fn ops(&mut self) -> Vec<Op> {
        let count = 1 + self.random.below(6);
        let mut ops: Vec<Op> = (0..count)
            .map(|_| {
                let (name, other) = (self.name(), self.name());
                match self.random.below(200) {
                    0..4 => Op::Create(name, History::Full),
                    4 => Op::Create(name, History::Off),
                    5 => Op::Describe(name),
                    6 => Op::History(name, History::Off),
                    7 => Op::History(name, History::Full),
                    8 => Op::Drop(name),
                    9 => Op::Undrop(name),
                    10 => Op::Purge(name),
                    11 => Op::Copy(name, other),
                    12 => Op::Rename(name, other),
                    13 => Op::Swap(name, other),
                    14 => Op::Recreate(name),
                    15 => Op::DeleteAll(name),
                    _ => self.change(),
                }
            })
            .collect();
        let (name, other) = (self.name(), self.name());
        match self.random.below(240) {
            // More keys than the writer notes for its own cache.
            0 => ops.extend((0..700).map(|i| Op::Put(name, bulk_key(i, 1800), self.value_of(8)))),
            // A larger record than others read.
            1 => ops.extend((0..60).map(|i| Op::Put(name, bulk_key(i, 10), self.value_of(80_000)))),
            // A record of several chunks, of two namespaces that take turns.
            2 | 3 => {
                ops.extend((0..2000).map(|i| {
                    Op::Put(if i % 3 == 0 { name } else { other }, bulk_key(i, 40), self.value_of(60))
                }));
            }
            _ => {}
        }
        ops
    }

    fn value_of(&mut self, len: usize) -> Arc<[u8]> {
        self.nonce += 1;
        Postcard::encode(&Stamp(self.nonce, "y".repeat(len))).expect("can be encoded").into()
    }

    fn write(&mut self, ops: &[Op], gives_up: bool) {
        let (version, world) = self.now();
        let mut world = world.clone();
        let mut is_changed = false;
        let written = self.writer().store.write(|tx| {
            for op in ops {
                is_changed |= world.step(tx, op)?;
            }
            if gives_up { Err(Error::abort("on purpose")) } else { Ok(()) }
        });
        if gives_up {
            assert_eq!(written.expect_err("gives up").kind(), Kind::Aborted);
            return;
        }
        let committed = written.unwrap_or_else(|error| panic!("{ops:?}: {error:?}"));
        assert_eq!(committed.version, if is_changed { version.next() } else { version });
        self.history.insert(committed.version, world);
    }

    /// Submits batches from threads that have to wait, so that they share a commit.
    fn submit(&mut self) {
        let (before, mut world) = (self.now().0, self.now().1.clone());
        // Each puts something, so that their versions differ.
        let mut batch = || {
            let mut ops = vec![Op::Put(self.name(), self.key(), self.value())];
            ops.extend((0..self.random.below(4)).map(|_| self.change()).collect::<Vec<_>>());
            ops
        };
        let batches: Vec<Vec<Op>> = (0..6).map(|_| batch()).collect();
        let store = self.writer().store.clone();
        let results: Vec<Result<Version>> = std::thread::scope(|scope| {
            let submit = |ops: &Vec<Op>| {
                let batch = ops.iter().fold(Batch::new(), |batch, op| match op {
                    Op::Put(name, key, value) => {
                        batch.put(&Name::new(*name).expect("is one"), key.clone(), value.to_vec())
                    }
                    Op::Delete(name, key) => batch.delete(&Name::new(*name).expect("is one"), key.clone()),
                    other => panic!("{other:?} is none of a batch"),
                });
                let store = &store;
                scope.spawn(move || store.submit(batch))
            };
            let held = store.write(|_| {
                let threads: Vec<_> = batches.iter().map(submit).collect();
                std::thread::sleep(Duration::from_millis(1));
                Ok(threads)
            });
            let threads = held.expect("changes nothing").value;
            threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
        });
        let mut committed: Vec<(Version, &Vec<Op>)> = Vec::new();
        for (result, ops) in results.iter().zip(&batches) {
            match result {
                Ok(version) => committed.push((*version, ops)),
                Err(error) => assert_eq!(error.kind(), Kind::NotFound, "{ops:?}: {error}"),
            }
        }
        committed.sort_by_key(|(version, _)| *version);
        let mut last = before;
        for (version, ops) in committed {
            for op in ops {
                match op {
                    Op::Put(name, key, value) => {
                        world.map(name).expect("was found").insert(key.clone(), value.clone());
                    }
                    Op::Delete(name, key) => _ = world.map(name).expect("was found").remove(key),
                    other => panic!("{other:?} is none of a batch"),
                }
            }
            last = last.next();
            self.grouped += 1;
            assert_eq!(version, last);
        }
        self.history.insert(last, world);
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..50 => {
                let ops = self.ops();
                let gives_up = self.random.below(20) == 0;
                self.write(&ops, gives_up);
            }
            50..56 => self.submit(),
            56 => _ = self.writer().store.maintain().expect("works"),
            57 => {
                let name = self.name();
                let index = self.now().1.dropped(name);
                let purged = self.writer().store.purge(name, |_| ());
                match index {
                    Some(index) => {
                        let mut world = self.now().1.clone();
                        let (_, _, id) = world.trash.remove(index);
                        world.contents.remove(&id);
                        self.history.insert(purged.expect("lies in the trash").version, world);
                    }
                    None => assert_eq!(purged.expect_err("is not there").kind(), Kind::NotFound),
                }
            }
            58 if self.random.below(4) == 0 => {
                let version = self.now().0;
                let writer = self.writer();
                writer.snapshots.clear();
                assert_eq!(writer.store.reopen().expect("works"), version);
            }
            59 if self.random.below(4) == 0 => {
                let (counts, total) = (std::mem::take(&mut self.writer().counts), self.writer().total);
                self.writer = None;
                if self.random.below(2) == 0 {
                    self.cache = Cache::new(self.run.budget);
                }
                let store = options(&self.run, &self.cache).open(self.scratch.path()).expect("was closed");
                self.writer = Some(Reader { counts, total, ..Reader::new(store) });
            }
            60..64 => self.writer.as_mut().expect("is open").keep_a_snapshot(&self.history, &mut self.random),
            64..66 => self.other.keep_a_snapshot(&self.history, &mut self.random),
            66..78 => self.read(false),
            _ => self.read(true),
        }
        let kept = |reader: &Reader| reader.snapshots.iter().map(Snapshot::version).collect::<Vec<_>>();
        let mut kept = [kept(self.writer.as_ref().expect("is open")), kept(&self.other)].concat();
        kept.push(self.now().0);
        self.history.retain(|version, _| kept.contains(version));
    }

    fn read(&mut self, as_writer: bool) {
        for _ in 0..=self.random.below(40) {
            let (name, key) = (self.name(), self.key());
            let Self { history, random, .. } = self;
            let reader = if as_writer { self.writer.as_mut().expect("is open") } else { &mut self.other };
            let (_, world) = history.last_key_value().expect("there is a version");
            reader.read_now(world, name, &key, random);
            reader.read_then(history, &key, random);
        }
        let reader = if as_writer { self.writer() } else { &mut self.other };
        reader.ask_the_cache();
    }
}

#[derive(Clone, Copy, Default, Debug)]
struct Total {
    hits: u64,
    misses: u64,
    refusals: u64,
    floors: u64,
    invalidations: u64,
    evictions: u64,
}

impl Total {
    /// Adds what has come since.
    fn add(&mut self, now: &Self, before: &Self) {
        self.hits += now.hits.saturating_sub(before.hits);
        self.misses += now.misses.saturating_sub(before.misses);
        self.refusals += now.refusals.saturating_sub(before.refusals);
        self.floors += now.floors.saturating_sub(before.floors);
        self.invalidations += now.invalidations.saturating_sub(before.invalidations);
        self.evictions += now.evictions.saturating_sub(before.evictions);
    }
}

fn total(store: &Store) -> Total {
    let mut total = Total::default();
    for cache in store.cache_stats() {
        let CacheStats { hits, misses, refusals, floors, invalidations, evictions, .. } = cache.stats;
        total.add(&Total { hits, misses, refusals, floors, invalidations, evictions }, &Total::default());
    }
    total
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn compare(run: Run, name: u64) {
    let seed = u64::from(std::process::id()) << 8 | name;
    println!("seed {seed}");
    let (steps, is_tiny, is_trimmed) = (run.steps, run.budget < 1 << 20, run.versions < 100);
    let mut pair = Pair::new(run, seed);
    for _ in 0..steps {
        pair.step();
    }
    pair.read(true);
    pair.read(false);
    let totals = [pair.writer().total, pair.other.total];
    println!("version {}, {} in groups; {totals:?}", pair.now().0, pair.grouped);
    println!("{:?}\n{:?}", pair.writer.as_ref().map(|writer| &writer.counts), pair.other.counts);
    assert!(pair.now().0 > v(steps / 4) && pair.grouped > 0);
    let counts = &pair.other.counts;
    assert!(counts.values > 100 && counts.absent > 100 && counts.undecodable > 0 && counts.not_found > 0);
    for total in &totals {
        assert!(total.hits > 100 && total.refusals > 0 && total.invalidations > 0);
        assert!(!is_tiny || total.evictions > 0, "nothing had to go");
    }
    assert!(is_trimmed || totals[1].floors > 0);
}

#[test]
fn what_a_large_cache_finds_is_what_the_version_holds() {
    compare(Run { budget: 64 << 20, versions: 100_000, catch_up: CatchUp::OnRead, steps: 2500 }, 1);
}

#[test]
fn what_a_tiny_cache_finds_is_what_the_version_holds() {
    compare(Run { budget: 48 << 10, versions: 100_000, catch_up: CatchUp::OnRead, steps: 2500 }, 2);
}

#[test]
fn what_is_found_behind_a_log_that_is_trimmed_is_what_the_version_holds() {
    compare(Run { budget: 1 << 20, versions: 8, catch_up: CatchUp::OnRead, steps: 2500 }, 3);
}

#[test]
fn what_a_cache_that_is_caught_up_in_the_background_finds_is_what_the_version_holds() {
    compare(Run { budget: 256 << 10, versions: 100, catch_up: CatchUp::Background, steps: 2500 }, 4);
}
