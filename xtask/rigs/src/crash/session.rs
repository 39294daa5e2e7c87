//! Sessions: what applications do to a store and a replica of it, while the recorder listens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cohab::{
    Batch, DeltaKind, DropMode, Follower, Kind, LockMode, Name, Options, Precondition, Retention, Role,
    Store, Update, Version, Wait,
};

use crate::random::Random;
use crate::seam;

use super::promise::{Promise, Which};
use super::state::{State, States, state};
use super::trace::{Op, Recorder};

/// The store that a session is about, and the replica of it.
pub(super) const STORE: Which = "store";
pub(super) const REPLICA: Which = "replica";

/// Names of copies.
pub(super) const BACKUPS: [&str; 4] = ["backup-0", "backup-1", "backup-2", "backup-3"];

const LOCKS: [&str; 2] = ["job", "other job"];

/// One thing that an application does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Write,
    WriteLarge,
    Submit,
    Group,
    Create,
    Describe,
    Rename,
    Copy,
    Drop,
    Undrop,
    Purge,
    Fence,
    KeepSnapshot,
    DropSnapshot,
    RollBack,
    RollBackAll,
    Undo,
    Maintain,
    Compact,
    Reopen,
    Restart,
    Backup,
    Follow,
    Apply,
}

/// Everything once, and what is done most more often.
pub(super) const SCRIPT: [Step; 40] = [
    Step::Create,
    Step::Write,
    Step::Create,
    Step::Submit,
    Step::Fence,
    Step::Follow,
    Step::Write,
    Step::Group,
    Step::Describe,
    Step::KeepSnapshot,
    Step::WriteLarge,
    Step::Follow,
    Step::Restart,
    Step::Write,
    Step::Rename,
    Step::Copy,
    Step::Submit,
    Step::Drop,
    Step::Fence,
    Step::Undo,
    Step::Apply,
    Step::RollBack,
    Step::Write,
    Step::Drop,
    Step::Maintain,
    Step::Undrop,
    Step::Group,
    Step::RollBackAll,
    Step::Backup,
    Step::Drop,
    Step::Purge,
    Step::Maintain,
    Step::Follow,
    Step::DropSnapshot,
    Step::Compact,
    Step::Write,
    Step::Reopen,
    Step::Submit,
    Step::Restart,
    Step::Write,
];

/// How many versions the log keeps in the scripted session, so that it is trimmed.
const SCRIPT_VERSIONS: u64 = 12;

/// By when a thread has queued up.
const QUEUES_AFTER: Duration = Duration::from_millis(2);

/// What came of a session.
pub(super) struct Recorded {
    pub(super) ops: Vec<Op>,
    pub(super) states: States,
}

/// Runs the steps, or as many random ones, in a new directory, and returns what they did to the disk.
pub(super) fn record(seed: u64, steps: Result<&[Step], usize>, dir: &Path) -> Result<Recorded> {
    let root = tempfile::tempdir_in(dir)?;
    let mut random = Random::new(seed);
    let recorder = Arc::new(Recorder::new(root.path(), random.fork()));
    let watched = seam::watch(recorder.clone());
    let mut session = Session::begin(root.path(), recorder.clone(), steps.is_ok(), &mut random)?;
    let outcome = match steps {
        Ok(script) => script.iter().try_for_each(|step| session.step(*step, &mut random)),
        Err(count) => (0..count).try_for_each(|_| {
            let step = Session::draw(&mut random);
            session.step(step, &mut random)
        }),
    };
    let states = session.end(outcome)?;
    drop(watched);
    Ok(Recorded { ops: recorder.take(), states })
}

struct Session {
    root: PathBuf,
    recorder: Arc<Recorder>,
    options: Options,
    store: Option<Store>,
    reader: Option<Reader>,
    states: States,
    /// The last version of each store whose state is known.
    known: u64,
    replica: u64,
    backups: usize,
    created: u64,
}

/// A thread that looks at the store all the time, and says what it has shown.
struct Reader {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<cohab::Result<()>>,
}

impl Session {
    fn begin(root: &Path, recorder: Arc<Recorder>, is_scripted: bool, random: &mut Random) -> Result<Self> {
        let mut retention = Retention::default();
        if is_scripted {
            retention = retention.versions(SCRIPT_VERSIONS);
        } else if random.one_in(3) {
            retention = retention.versions(4 + random.below(30));
        }
        let options = Store::options().retention(retention).label("session");
        let mut session = Self {
            root: root.to_owned(),
            recorder,
            options,
            store: None,
            reader: None,
            states: States::new(),
            known: 0,
            replica: 0,
            backups: 0,
            created: 0,
        };
        session.open()?;
        if random.one_in(2) {
            session.read_along()?;
        }
        Ok(session)
    }

    fn path(&self, which: Which) -> PathBuf {
        self.root.join(which)
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("is open between two steps")
    }

    fn promise(&self, promise: Promise) {
        self.recorder.promise(promise);
    }

    fn open(&mut self) -> Result<()> {
        let store = self.options.clone().role(Role::Writer).open(self.path(STORE))?;
        let epoch = store.epoch().context("a writer has an epoch")?;
        self.promise(Promise::Epoch(STORE, epoch.get()));
        self.promise(Promise::Version(STORE, store.snapshot()?.version().get()));
        self.store = Some(store);
        self.learn()
    }

    fn read_along(&mut self) -> Result<()> {
        let (path, options) = (self.path(STORE), Store::options().role(Role::Reader).register(false));
        let store = options.clone().open(&path)?;
        let (recorder, is_over) = (self.recorder.clone(), Arc::new(AtomicBool::new(false)));
        let is_over_there = is_over.clone();
        let look = move || {
            let mut last = Version::ZERO;
            while !is_over_there.load(Ordering::Relaxed) {
                let mut version = store.snapshot()?.version();
                // One that was just opened has nothing to go by but the file, whatever the writer is at.
                if let Ok(fresh) = options.clone().open(&path).and_then(|fresh| fresh.snapshot()) {
                    version = version.max(fresh.version());
                }
                if version > last {
                    recorder.promise(Promise::Version(STORE, version.get()));
                    last = version;
                }
                thread::yield_now();
            }
            Ok(())
        };
        self.reader = Some(Reader { is_over, thread: thread::Builder::new().spawn(look)? });
        Ok(())
    }

    /// Notes what every version since the last time holds, and that nothing is on its way.
    fn learn(&mut self) -> Result<()> {
        let snapshot = self.store().snapshot()?;
        let version = snapshot.version().get();
        for number in self.known..=version {
            let at = if number == version {
                state(&snapshot)?
            } else {
                state(&snapshot.at(Version::new(number))?)?
            };
            self.know(STORE, number, at)?;
        }
        self.known = version;
        self.promise(Promise::Rest(STORE, version));
        Ok(())
    }

    fn know(&mut self, which: Which, version: u64, state: State) -> Result<()> {
        match self.states.insert((which, version), state) {
            Some(before) if before != state => bail!("version {version} of {which} has changed"),
            _ => Ok(()),
        }
    }

    fn draw(random: &mut Random) -> Step {
        match random.below(100) {
            0..22 => Step::Write,
            22..26 => Step::WriteLarge,
            26..38 => Step::Submit,
            38..44 => Step::Group,
            44..50 => Step::Create,
            50..53 => Step::Describe,
            53..56 => Step::Rename,
            56..58 => Step::Copy,
            58..61 => Step::Drop,
            61..63 => Step::Undrop,
            63..65 => Step::Purge,
            65..70 => Step::Fence,
            70..72 => Step::KeepSnapshot,
            72..73 => Step::DropSnapshot,
            73..76 => Step::RollBack,
            76..77 => Step::RollBackAll,
            77..80 => Step::Undo,
            80..84 => Step::Maintain,
            84..85 => Step::Compact,
            85..87 => Step::Reopen,
            87..91 => Step::Restart,
            91..92 => Step::Backup,
            92..97 => Step::Follow,
            _ => Step::Apply,
        }
    }

    /// Does a step. What the store refuses, because there is nothing to do it to, it does not do.
    fn step(&mut self, step: Step, random: &mut Random) -> Result<()> {
        match self.carry_out(step, random) {
            Ok(()) => self.learn(),
            Err(error) => match error.downcast_ref::<cohab::Error>().map(cohab::Error::kind) {
                Some(
                    Kind::NotFound
                    | Kind::Exists
                    | Kind::InvalidInput
                    | Kind::Conflict
                    | Kind::TooOld
                    | Kind::InUse
                    | Kind::NoHistory,
                ) => self.learn(),
                _ => Err(error.context(format!("{step:?}"))),
            },
        }
    }

    fn committed(&self, version: Version) {
        self.promise(Promise::Version(STORE, version.get()));
    }

    fn names(&self) -> Result<Vec<Name>> {
        let snapshot = self.store().snapshot()?;
        Ok(snapshot.namespaces()?.map(|info| info.map(|info| info.name)).collect::<cohab::Result<_>>()?)
    }

    fn name(&self, random: &mut Random) -> Result<Name> {
        let mut names = self.names()?;
        if names.is_empty() {
            return Ok(Name::new("none")?);
        }
        Ok(names.swap_remove(random.index(names.len())))
    }

    fn dropped(&self, random: &mut Random) -> Result<Name> {
        let snapshot = self.store().snapshot()?;
        let mut names = snapshot
            .dropped_namespaces()?
            .map(|info| info.map(|info| info.name))
            .collect::<cohab::Result<Vec<_>>>()?;
        if names.is_empty() {
            return Ok(Name::new("none")?);
        }
        Ok(names.swap_remove(random.index(names.len())))
    }

    #[expect(clippy::too_many_lines, reason = "a list of steps, each of which is short")]
    fn carry_out(&mut self, step: Step, random: &mut Random) -> Result<()> {
        let store = self.store();
        match step {
            Step::Write | Step::WriteLarge => {
                let names = self.names()?;
                let large = if step == Step::WriteLarge { 20_000 } else { 0 };
                let done = store.write(|tx| {
                    for name in &names {
                        for _ in 0..=random.below(4) {
                            if random.one_in(4) {
                                tx.delete(name, key(random))?;
                            } else {
                                tx.put(name, key(random), value(random, large))?;
                            }
                        }
                    }
                    Ok(())
                })?;
                self.committed(done.version);
            }
            Step::Submit => {
                let batch =
                    self.batch(random)?.expect(Precondition::StoreVersion(store.snapshot()?.version()));
                let version = store.submit(batch)?;
                self.committed(version);
            }
            Step::Group => {
                let mut batches = (0..4).map(|_| self.batch(random)).collect::<Result<Vec<_>>>()?;
                // One that is refused, among those that are not.
                let refused = std::mem::take(&mut batches[2]);
                batches[2] = refused.expect(Precondition::StoreVersion(Version::ZERO));
                thread::scope(|scope| {
                    let submit = |batch| match store.submit(batch) {
                        Err(error) if error.kind() == Kind::Conflict => Ok(()),
                        submitted => submitted.map(|version| self.committed(version)),
                    };
                    // While somebody has the turn the others come together, in this order.
                    let threads = store.write(|_| {
                        let begin = |batch| {
                            let thread = scope.spawn(move || submit(batch));
                            thread::sleep(QUEUES_AFTER);
                            thread
                        };
                        Ok(batches.into_iter().map(begin).collect::<Vec<_>>())
                    })?;
                    threads.value.into_iter().try_for_each(|thread| thread.join().expect("does not panic"))
                })?;
            }
            Step::Create => {
                let name = format!("n{}", self.created);
                let done = store.write(|tx| {
                    tx.create_namespace(&name)?;
                    tx.put(&name, key(random), value(random, 0))
                })?;
                self.committed(done.version);
                self.created += 1;
            }
            Step::Describe => {
                let (name, update) = (self.name(random)?, Update::new().title(format!("{}", random.next())));
                self.committed(store.write(|tx| tx.update_namespace(&name, &update))?.version);
            }
            Step::Rename => {
                let (from, to) = (self.name(random)?, format!("r{}", random.below(4)));
                self.committed(store.write(|tx| tx.rename_namespace(&from, &to))?.version);
            }
            Step::Copy => {
                let (from, to) = (self.name(random)?, format!("c{}", random.below(4)));
                self.committed(store.write(|tx| tx.copy_namespace(&from, &to).map(drop))?.version);
            }
            Step::Drop => {
                if self.names()?.len() > 1 {
                    let name = self.name(random)?;
                    self.committed(
                        store.write(|tx| tx.drop_namespace(&name, DropMode::WithContents))?.version,
                    );
                }
            }
            Step::Undrop => {
                let name = self.dropped(random)?;
                self.committed(store.write(|tx| tx.undrop_namespace(&name).map(drop))?.version);
            }
            Step::Purge => {
                let name = self.dropped(random)?;
                self.committed(store.write(|tx| tx.purge_namespace(&name).map(drop))?.version);
            }
            Step::Fence => {
                let (lock, name) = (LOCKS[random.index(LOCKS.len())], self.name(random)?);
                let held = store.lock(lock, LockMode::Exclusive, Wait::Try)?;
                self.promise(Promise::Token(STORE, lock, held.token()));
                let done = store.write(|tx| {
                    tx.fence(&held.fence())?;
                    tx.put(&name, key(random), value(random, 0))
                })?;
                self.committed(done.version);
            }
            Step::KeepSnapshot => _ = store.create_snapshot(format!("s{}", random.below(4)), None, "")?,
            Step::DropSnapshot => _ = store.drop_snapshot(format!("s{}", random.below(4)))?,
            Step::RollBack => {
                let (name, to) = (self.name(random)?, self.earlier(random)?);
                self.committed(store.write(|tx| tx.rollback_namespace(&name, to).map(drop))?.version);
            }
            Step::RollBackAll => {
                let to = self.earlier(random)?;
                self.committed(store.write(|tx| tx.rollback(to).map(drop))?.version);
            }
            Step::Undo => self.committed(store.write(|tx| tx.undo().map(drop))?.version),
            Step::Maintain => while store.maintain()?.more {},
            Step::Compact => _ = store.compact()?,
            Step::Reopen => self.committed(store.reopen()?),
            Step::Restart => {
                self.store = None;
                self.open()?;
            }
            Step::Backup => {
                if let Some(name) = BACKUPS.get(self.backups) {
                    let version = store.backup(self.root.join(name), |_| ())?;
                    self.promise(Promise::Backup(name, version.get()));
                    self.backups += 1;
                }
            }
            Step::Follow => self.follow()?,
            Step::Apply => self.apply()?,
        }
        Ok(())
    }

    /// A version not long ago.
    fn earlier(&self, random: &mut Random) -> Result<Version> {
        let snapshot = self.store().snapshot()?;
        let (oldest, last) = (snapshot.oldest_readable().get(), snapshot.version().get());
        Ok(Version::new(oldest.max(last.saturating_sub(random.below(8)))))
    }

    fn batch(&self, random: &mut Random) -> Result<Batch> {
        let mut batch = Batch::new();
        for name in self.names()? {
            for _ in 0..=random.below(2) {
                batch = if random.one_in(4) {
                    batch.delete(&name, key(random))
                } else {
                    batch.put(&name, key(random), value(random, 0))
                };
            }
        }
        Ok(batch)
    }

    fn follow(&mut self) -> Result<()> {
        let options = Store::options().label("follower");
        let mut follower =
            Follower::open_with(self.path(STORE), options.clone(), self.path(REPLICA), options, |_| ())?;
        self.follower_rests(follower.replica())?;
        follower.catch_up()?;
        self.follower_rests(follower.replica())
    }

    fn apply(&mut self) -> Result<()> {
        if self.replica == 0 {
            return Ok(());
        }
        let replica = Store::options().role(Role::Writer).open(self.path(REPLICA))?;
        let at = replica.snapshot()?.upstream().map_or(Version::ZERO, |upstream| upstream.version);
        let delta = self.store().snapshot()?.delta(at, DeltaKind::Coalesced)?;
        replica.apply(&delta)?;
        self.follower_rests(&replica)
    }

    fn follower_rests(&mut self, replica: &Store) -> Result<()> {
        let snapshot = replica.snapshot()?;
        let version = snapshot.version().get();
        let position = snapshot.upstream().map_or(version, |upstream| upstream.version.get());
        self.know(REPLICA, version, state(&snapshot)?)?;
        self.replica = version;
        self.promise(Promise::Version(REPLICA, version));
        self.promise(Promise::Position(REPLICA, position));
        self.promise(Promise::Epoch(REPLICA, replica.epoch().context("a follower writes")?.get()));
        self.promise(Promise::Rest(REPLICA, version));
        Ok(())
    }

    fn end(mut self, outcome: Result<()>) -> Result<States> {
        let read = self.reader.take().map(|reader| {
            reader.is_over.store(true, Ordering::Relaxed);
            reader.thread.join().expect("the reader does not panic")
        });
        outcome?;
        read.transpose().context("the reader beside the session")?;
        self.store = None;
        Ok(self.states)
    }
}

fn key(random: &mut Random) -> Vec<u8> {
    format!("key {}", random.below(24)).into_bytes()
}

fn value(random: &mut Random, more: u64) -> Vec<u8> {
    let len = match random.below(8) {
        0 => 0,
        1..6 => random.below(60),
        _ => random.below(1500),
    };
    let byte = u8::try_from(random.below(256)).expect("is a byte");
    vec![byte; usize::try_from(len + if more > 0 { random.below(more) } else { 0 }).expect("is small")]
}
