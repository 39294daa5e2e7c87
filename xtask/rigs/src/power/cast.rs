//! The processes that have a store open when the power goes: the rig's own program, started again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{io, panic, thread};

use cohab::{Follower, Kind, LockMode, Options, Retention, Role, Store, Wait};

use super::errand;
use super::fuse::{Fuse, Point};
use super::report::Report;
use super::work::{FIRST, Work};
use crate::random::Random;

/// The names of the locks that writers take.
pub(crate) const LOCKS: [&str; 2] = ["nightly report", "billing"];

/// What a process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Part {
    /// Writes, and stands by once another one does.
    Writer,
    /// Stands by, and writes once it may.
    Standby,
    /// Keeps a replica.
    Follower,
    /// Does a little of everything, and ends.
    Errand,
}

/// How a process is started; not for people.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Script {
    #[arg(long, hide = true)]
    pub(crate) part: Option<Part>,
    /// The directory that the store and its replica lie in.
    #[arg(long, hide = true, default_value = ".")]
    pub(crate) place: PathBuf,
    /// Where the file system is mounted.
    #[arg(long, hide = true, default_value = ".")]
    pub(crate) mount: PathBuf,
    #[arg(long, hide = true)]
    pub(crate) cut_at: Option<Point>,
    /// How many operations of that kind go by before.
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) cut_after: u32,
    /// Counts them from the beginning, and not only once the store is open.
    #[arg(long, hide = true)]
    pub(crate) cut_opening: bool,
    /// Syncs nothing.
    #[arg(long, hide = true)]
    pub(crate) skip_syncs: bool,
}

/// What every handle of the rig's stores is opened with.
pub(crate) fn options() -> Options {
    let retention = Retention::default().versions(1 << 20).bytes(12 << 20).pinned_bytes(2 << 20);
    Store::options().retention(retention).cache_bytes(16 << 20)
}

pub(crate) fn store_path(place: &Path) -> PathBuf {
    place.join("store")
}

pub(crate) fn replica_path(place: &Path) -> PathBuf {
    place.join("replica")
}

/// Plays a part, and returns whether all went well.
pub(crate) fn play(part: Part, script: &Script, seed: u64) -> bool {
    panic::set_hook(Box::new(|panic| Report::Panicked(panic.to_string().replace('\n', " ")).send()));
    let fuse = Fuse::new(script.mount.clone(), script.cut_at, script.cut_after, script.skip_syncs);
    if script.cut_opening {
        fuse.arm();
    }
    let played = match part {
        Part::Writer => write(script, Role::Auto, &fuse, seed),
        Part::Standby => write(script, Role::Standby, &fuse, seed),
        Part::Follower => follow(script, &fuse),
        Part::Errand => errand::run(script, seed),
    };
    played.map_err(|error| report_failure(&error)).is_ok()
}

pub(crate) fn report_failure(error: &cohab::Error) {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    let message = format!("{error}{}", source.unwrap_or_default());
    Report::Failed { kind: error.kind().as_str().to_owned(), message }.send();
}

fn follow(script: &Script, fuse: &Fuse) -> cohab::Result<()> {
    let (source, replica) = (store_path(&script.place), replica_path(&script.place));
    let mut follower = Follower::open_with(source, options(), replica, fuse.install(options()), |_| ())?;
    Report::Ready.send();
    fuse.arm();
    loop {
        follower.catch_up()?;
        if let Some(upstream) = follower.replica().snapshot()?.upstream() {
            Report::Followed(upstream.version.get()).send();
        }
        follower.wait(Duration::from_millis(50))?;
    }
}

fn write(script: &Script, role: Role, fuse: &Fuse, seed: u64) -> cohab::Result<()> {
    let store = fuse.install(options()).role(role).open(store_path(&script.place))?;
    let mut writer = Writer::new(store, &script.place, seed);
    if role == Role::Auto && writer.store.role() == Role::Writer {
        writer.begin()?;
    }
    Report::Ready.send();
    fuse.arm();
    let asked = writer.store.clone();
    // The rig asks for the role by a line.
    thread::spawn(move || {
        for _ in io::stdin().lines() {
            let _ = asked.promote(Duration::from_millis(500));
        }
    });
    loop {
        if writer.store.role() != Role::Writer {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        match writer.act() {
            // The role is somebody else's since.
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::ReadOnly) => {}
            other => other?,
        }
    }
}

/// A process's way to write.
pub(crate) struct Writer {
    pub(crate) store: Store,
    place: PathBuf,
    random: Random,
    epoch: u64,
}

impl Writer {
    pub(crate) fn new(store: Store, place: &Path, seed: u64) -> Self {
        Self { store, place: place.to_owned(), random: Random::new(seed), epoch: 0 }
    }

    /// Commits what the store begins with, if that is not there.
    pub(crate) fn begin(&mut self) -> cohab::Result<()> {
        self.note_epoch();
        if self.store.snapshot()?.version().get() == 0 { self.commit(FIRST) } else { Ok(()) }
    }

    fn note_epoch(&mut self) {
        let epoch = self.store.epoch().map_or(0, cohab::Epoch::get);
        if epoch > self.epoch {
            self.epoch = epoch;
            Report::Epoch(epoch).send();
        }
    }

    fn commit(&self, number: u64) -> cohab::Result<()> {
        commit(&self.store, &Work::of(number))
    }

    pub(crate) fn commit_some(&mut self, count: usize) -> cohab::Result<()> {
        (0..count).try_for_each(|_| {
            let number = self.random.next();
            self.commit(number)
        })
    }

    fn act(&mut self) -> cohab::Result<()> {
        self.note_epoch();
        match self.random.below(64) {
            0..=5 => self.commit_together(),
            6..=10 => self.commit_behind_a_lock(),
            11 => self.store.maintain().map(drop),
            12 if self.random.one_in(4) => match self.store.compact() {
                Err(error) if error.kind() != Kind::InUse => Err(error),
                _ => Ok(()),
            },
            13 if self.random.one_in(3) => self.back_up(),
            _ => self.commit_some(1),
        }
    }

    pub(crate) fn back_up(&mut self) -> cohab::Result<()> {
        let file = format!("backup-{:x}", self.random.next());
        let version = self.store.backup(self.place.join(&file), |_| ())?.get();
        Report::Backup { file, version }.send();
        Ok(())
    }

    /// Several threads at once, whose batches share a wait for the disk.
    pub(crate) fn commit_together(&mut self) -> cohab::Result<()> {
        let numbers: Vec<u64> = (0..9).map(|_| self.random.next()).collect();
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            let work = || {
                while let Some(number) = usize::try_from(next.fetch_add(1, Ordering::SeqCst))
                    .ok()
                    .and_then(|next| numbers.get(next))
                {
                    self.commit(*number)?;
                }
                Ok(())
            };
            // A thread that cannot be had leaves its share to the others.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let threads: Vec<_> = (0..3).filter_map(spawn).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("a panic was reported"))
        })
    }

    pub(crate) fn commit_behind_a_lock(&mut self) -> cohab::Result<()> {
        let name = LOCKS[self.random.index(LOCKS.len())];
        let lock = match self.store.lock(name, LockMode::Exclusive, Wait::Try) {
            // The other process has it, which was the writer before.
            Err(error) if error.kind() == Kind::Busy => return Ok(()),
            lock => lock?,
        };
        Report::Token { lock: name.into(), token: lock.token() }.send();
        let work = Work::of(self.random.next());
        let number = work.id();
        Report::Try(number).send();
        let version = work.commit(&self.store, Some(&lock.fence()))?.get();
        Report::Done { version, number }.send();
        Report::Fenced { lock: name.into(), token: lock.token() }.send();
        Ok(())
    }
}

fn commit(store: &Store, work: &Work) -> cohab::Result<()> {
    let number = work.id();
    Report::Try(number).send();
    let version = work.commit(store, None)?.get();
    Report::Done { version, number }.send();
    Ok(())
}
