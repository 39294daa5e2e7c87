//! The processes that have the store open for as long as it takes: the rig's own program, started again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cohab::{
    AddPlugin, Batch, Cache, Delta, DeltaKind, DropMode, Error, Filter, Follower, Kind, LockMode, Name,
    Options, PluginMode, PortPreference, Result, Retention, Role, Store, VerifyOptions, Version, Wait,
};
use serde::{Deserialize, Serialize};

use crate::random::Random;

const FIXED: [&str; 4] = ["accounts", "bulk", "orders", "stock"];

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// Writes when it may, and stands by when it may not.
    Writer,
    /// Reads through the cache, and keeps a view of its own.
    Reader,
    /// Is told of every commit.
    Watcher,
    /// Keeps a replica.
    Follower,
    /// Makes deltas, and applies them to another replica.
    Applier,
    /// Takes over, writes, and is killed.
    Usurper,
    /// Comes, has a temporary directory and a port, and is killed.
    Visitor,
}

/// How a process is started; not for people.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Script {
    #[arg(long, hide = true)]
    pub(crate) part: Option<Part>,
    #[arg(long, hide = true, default_value = ".")]
    pub(crate) place: PathBuf,
    /// Loses memory and descriptors.
    #[arg(long, hide = true)]
    pub(crate) leak: bool,
}

/// What a process tells the rig.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    Ready,
    /// How often it has done what since it last told.
    Counts(BTreeMap<String, u64>),
    Failed(String),
}

fn tell(told: &Told) {
    let mut line = serde_json::to_string(told).expect("is plain");
    line.push('\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// What every handle is opened with: bounds that are reached within a minute.
pub(crate) fn options() -> Options {
    let retention = Retention::default().versions(1500).bytes(4 << 20).pinned_bytes(4 << 20);
    Store::options().retention(retention).cache_bytes(8 << 20).cache(Cache::new(4 << 20)).app("soak")
}

/// Counts what is done, and tells of it every few seconds.
struct Counts {
    counts: BTreeMap<String, u64>,
    told: Instant,
}

impl Counts {
    fn new() -> Self {
        Self { counts: BTreeMap::new(), told: Instant::now() }
    }

    fn add(&mut self, what: &str) {
        match self.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(what.to_owned(), 1)),
        }
        if self.told.elapsed() > Duration::from_secs(2) {
            tell(&Told::Counts(std::mem::take(&mut self.counts)));
            self.told = Instant::now();
        }
    }

    /// Counts what was done, or the kind of what was refused, if it may be.
    fn note<T>(&mut self, what: &str, done: Result<T>, may: &[Kind]) -> Result<()> {
        match done {
            Ok(_) => self.add(what),
            Err(error) if may.contains(&error.kind()) => {
                self.add(&format!("{what}, refused as {}", error.kind().as_str()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Plays a part until it is killed, or the rig is gone.
pub(crate) fn play(part: Part, script: &Script, seed: u64) {
    let place = &script.place;
    let played = match part {
        Part::Writer => write(place, Role::Auto, seed),
        Part::Usurper => write(place, Role::Standby, seed),
        Part::Reader => read(place, seed, script.leak),
        Part::Watcher => watch(place),
        Part::Follower => follow(place),
        Part::Applier => apply(place),
        Part::Visitor => visit(place),
    };
    if let Err(error) = played {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        tell(&Told::Failed(format!(
            "{part:?}: {}: {error}{}",
            error.kind().as_str(),
            source.unwrap_or_default()
        )));
    }
}

fn write(place: &Path, role: Role, seed: u64) -> Result<()> {
    let store = options().role(role).open(place.join("store"))?;
    let _lease = store.registration()?.bind("http", &PortPreference::new().any())?;
    if role == Role::Standby {
        store.promote(Duration::from_secs(20))?;
    }
    let mut writer = Writer { store, counts: Counts::new(), random: Random::new(seed), turn: 0, marks: 0 };
    if writer.store.role() == Role::Writer {
        writer.begin(place)?;
    }
    tell(&Told::Ready);
    let is_over = Arc::new(AtomicBool::new(false));
    let (asked, over) = (writer.store.clone(), is_over.clone());
    // A line asks it to become the writer; when there are no more, the rig is gone.
    thread::spawn(move || {
        for _ in io::stdin().lines() {
            let _ = asked.promote(Duration::from_secs(5));
        }
        over.store(true, Ordering::Relaxed);
    });
    while !is_over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        if writer.store.role() == Role::Writer {
            match writer.act() {
                // The role is somebody else's since.
                Err(error) if matches!(error.kind(), Kind::Busy | Kind::ReadOnly) => {
                    writer.counts.add("gave the role away");
                }
                other => other?,
            }
        } else {
            writer.stand_by()?;
        }
    }
    Ok(())
}

struct Writer {
    store: Store,
    counts: Counts,
    random: Random,
    turn: u64,
    marks: u64,
}

impl Writer {
    fn begin(&self, place: &Path) -> Result<()> {
        self.store.write(|tx| FIXED.iter().try_for_each(|name| tx.ensure_namespace(name).map(drop)))?;
        let plugins = self.store.plugins();
        if plugins.list()?.is_empty() {
            plugins.add(place.join("plugin"), AddPlugin::new().mode(PluginMode::Development))?;
        }
        Ok(())
    }

    fn stand_by(&mut self) -> Result<()> {
        self.turn += 1;
        if self.turn.is_multiple_of(50) {
            self.store.snapshot()?;
            self.store.instances()?;
            self.counts.add("looks of stand-bys");
        }
        if self.turn.is_multiple_of(150) {
            self.reap()?;
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        let reaped = self.store.registration()?.registry().reap();
        let reaped = reaped.map_err(|error| Error::abort(error.to_string()))?;
        for _ in &reaped.instances {
            self.counts.add("dead instances reaped");
        }
        Ok(())
    }

    fn act(&mut self) -> Result<()> {
        self.turn += 1;
        let store = self.store.clone();
        let may_be_gone = [Kind::NotFound, Kind::Exists, Kind::TooOld, Kind::NoHistory, Kind::Conflict];
        match self.turn {
            turn if turn.is_multiple_of(53) => {
                let lock = match store.lock("nightly", LockMode::Exclusive, Wait::Try) {
                    Err(error) if error.kind() == Kind::Busy => return Ok(()),
                    lock => lock?,
                };
                let done = store.write(|tx| {
                    tx.fence(&lock.fence())?;
                    tx.put("accounts", "report", lock.token().to_string())
                });
                self.counts.note("commits behind a lock", done, &[])
            }
            turn if turn.is_multiple_of(97) => self.mark(),
            turn if turn.is_multiple_of(131) => {
                let undone = store.write(|tx| tx.undo().map(drop));
                self.counts.note("undone", undone, &may_be_gone)
            }
            turn if turn.is_multiple_of(173) => {
                let to = Version::new(store.snapshot()?.version().get().saturating_sub(25));
                let done = store.write(|tx| tx.rollback_namespace("stock", to));
                self.counts.note("rolled back", done, &may_be_gone)?;
                if self.random.one_in(2) {
                    let undone = store.write(|tx| tx.undo().map(drop));
                    self.counts.note("undone", undone, &may_be_gone)?;
                }
                Ok(())
            }
            turn if turn.is_multiple_of(71) => self.come_and_go(&may_be_gone),
            turn if turn.is_multiple_of(101) => self.counts.note("maintained", store.maintain(), &[]),
            turn if turn.is_multiple_of(150) => self.reap(),
            turn if turn.is_multiple_of(211) => {
                let snapshot = store.snapshot()?;
                let past =
                    snapshot.oldest_version().max(Version::new(snapshot.version().get().saturating_sub(200)));
                let read = snapshot.at(past).and_then(|past| Ok(past.namespace("orders")?.all()?.count()));
                self.counts.note("past versions read", read, &may_be_gone)
            }
            _ => self.commit(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = if self.random.one_in(60) { 64 << 10 } else { 50 + self.random.index(1500) };
        let mut value = vec![0; len];
        value.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.random.next().to_le_bytes()));
        value
    }

    fn commit(&mut self) -> Result<()> {
        let namespace = FIXED[self.random.index(FIXED.len())];
        let keys: Vec<Vec<u8>> = (0..=self.random.below(3))
            .map(|_| format!("key {}", self.random.below(400)).into_bytes())
            .collect();
        let value = self.value();
        if self.random.one_in(2) {
            let name = Name::new(namespace)?;
            let mut batch = Batch::new();
            for key in keys {
                batch = batch.put(&name, key, value.clone());
            }
            let done = self.store.submit(batch);
            return self.counts.note("batches", done, &[Kind::NotFound]);
        }
        let is_removed = self.random.one_in(4);
        let done = self.store.write(|tx| {
            let mut namespace = tx.namespace(namespace)?;
            for key in &keys {
                if is_removed { namespace.delete(key).map(drop)? } else { namespace.put(key, &value)? }
            }
            Ok(())
        });
        self.counts.note("transactions", done, &[Kind::NotFound])
    }

    /// Keeps a few versions under names.
    fn mark(&mut self) -> Result<()> {
        self.marks += 1;
        let name = format!("mark/{}", self.store.snapshot()?.version());
        let made = self.store.create_snapshot(&name, None, "");
        self.counts.note("named snapshots", made, &[Kind::Exists])?;
        let kept = self.store.snapshot()?.named_snapshots()?;
        let marks: Vec<_> = kept.iter().filter(|kept| kept.name.as_str().starts_with("mark/")).collect();
        if let Some(oldest) = marks.iter().min_by_key(|kept| kept.kept.version).filter(|_| marks.len() > 4) {
            self.store.drop_snapshot(&oldest.name)?;
        }
        Ok(())
    }

    /// Makes a namespace, renames it, drops it, and gives it up.
    fn come_and_go(&mut self, may: &[Kind]) -> Result<()> {
        let store = self.store.clone();
        match self.turn / 71 % 5 {
            0 => {
                let made = store.write(|tx| {
                    tx.create_namespace("side/a")?;
                    (0..20u8).try_for_each(|key| tx.put("side/a", [key], [key; 300]))
                });
                self.counts.note("namespaces made", made, may)
            }
            1 => {
                let renamed = store.write(|tx| tx.rename_namespace("side/a", "side/b"));
                self.counts.note("namespaces renamed", renamed, may)
            }
            2 => {
                let dropped = store.write(|tx| tx.drop_namespace("side/b", DropMode::WithContents));
                self.counts.note("namespaces dropped", dropped, may)
            }
            3 => {
                let dropped = store.write(|tx| tx.drop_namespace("side/a", DropMode::WithContents));
                self.counts.note("namespaces dropped", dropped, may)
            }
            _ => {
                self.counts.note("namespaces purged", store.purge("side/a", |_| ()), may)?;
                self.counts.note("namespaces purged", store.purge("side/b", |_| ()), may)
            }
        }
    }
}

fn read(place: &Path, seed: u64, leaks: bool) -> Result<()> {
    let store = options().role(Role::Reader).open(place.join("store"))?;
    let cached = store.cached("accounts")?;
    let sums = store.materialize(["orders"], BTreeMap::<u8, u64>::new(), |sums, change| {
        let of = *change.key.last().unwrap_or(&0);
        let (before, after) = (change.before.map_or(0, <[u8]>::len), change.after.map_or(0, <[u8]>::len));
        let sum = sums.entry(of).or_default();
        *sum = sum.wrapping_sub(before as u64).wrapping_add(after as u64);
        Ok(())
    })?;
    tell(&Told::Ready);
    let (mut random, mut counts) = (Random::new(seed), Counts::new());
    for turn in 1u64.. {
        thread::sleep(Duration::from_millis(10));
        for _ in 0..5 {
            cached.get(format!("key {}", random.below(400)))?;
            counts.add("cached reads");
        }
        if turn.is_multiple_of(10) {
            if leaks {
                std::mem::forget((vec![1; 64 << 10], std::fs::File::open(place)));
            }
            sums.refresh()?;
            counts.add("views refreshed");
        }
        if turn.is_multiple_of(2000) {
            if !sums.check()? {
                return Err(Error::abort("the view is not what the namespace gives"));
            }
            counts.add("views checked");
        }
        if turn.is_multiple_of(1500) {
            let mut verifier = store.verifier(VerifyOptions::default().bytes_per_second(20 << 20))?;
            let report = verifier.run(|_| ())?;
            if !report.is_sound() {
                return Err(Error::abort(format!("the store is not sound: {:?}", report.differences)));
            }
            counts.add("verifications");
        }
    }
    Ok(())
}

fn watch(place: &Path) -> Result<()> {
    let store = options().role(Role::Reader).open(place.join("store"))?;
    tell(&Told::Ready);
    let mut counts = Counts::new();
    loop {
        let mut watch = store.watch(Filter::new())?;
        let mut last = Version::ZERO;
        loop {
            let event = match watch.next_within(Duration::from_secs(1)) {
                None => continue,
                Some(Err(error)) if error.kind() == Kind::Lagged => {
                    counts.add("watches lagged");
                    break;
                }
                Some(event) => event?,
            };
            if event.version() <= last {
                return Err(Error::abort(format!("version {} was told after {last}", event.version())));
            }
            last = event.version();
            event.changes()?;
            counts.add("events watched");
        }
    }
}

fn follow(place: &Path) -> Result<()> {
    let (source, replica) = (place.join("store"), place.join("replica"));
    let mut follower = Follower::open_with(source, options(), replica, options(), |_| ())?;
    tell(&Told::Ready);
    let mut counts = Counts::new();
    loop {
        follower.catch_up()?;
        counts.add("times caught up");
        thread::sleep(Duration::from_millis(100));
        follower.wait(Duration::from_secs(1))?;
    }
}

fn apply(place: &Path) -> Result<()> {
    let source = options().role(Role::Reader).open(place.join("store"))?;
    let copy = options().open(place.join("copy"))?;
    tell(&Told::Ready);
    let mut counts = Counts::new();
    loop {
        let from = copy.snapshot()?.upstream().map_or(Version::ZERO, |upstream| upstream.version);
        let snapshot = source.snapshot()?;
        match snapshot.delta(from, DeltaKind::Coalesced) {
            Ok(delta) => {
                let delta = Delta::from_bytes(delta.as_bytes().clone())?;
                counts.note("deltas applied", copy.apply(&delta), &[Kind::AlreadyApplied])?;
            }
            Err(error) if error.kind() == Kind::TooOld => {
                copy.reset(&snapshot.delta(Version::ZERO, DeltaKind::Coalesced)?)?;
                counts.add("replicas begun again");
            }
            Err(error) => return Err(error),
        }
        drop(snapshot);
        while copy.maintain()?.more {}
        thread::sleep(Duration::from_millis(700));
    }
}

fn visit(place: &Path) -> Result<()> {
    let store = options().role(Role::Reader).open(place.join("store"))?;
    let dir = store.temp_dir()?;
    std::fs::write(dir.join("scratch"), [7; 4096]).map_err(Error::abort)?;
    let lease = store.registration()?.bind("visit", &PortPreference::new().any())?;
    store.snapshot()?.namespace("accounts")?.all()?.for_each(drop);
    tell(&Told::Ready);
    // Until it is killed, with all that in its hands.
    thread::sleep(Duration::from_mins(10));
    drop(lease);
    Ok(())
}
