//! The processes that are killed: each has the store open, does what its part is until it is killed, and writes down what it
//! sees.

mod follower;
mod readers;
mod tenant;
mod watcher;
mod writer;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use cohab::{Cache, CatchUp, Kind, Mapping, Options, Retention, Store};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::history::{Event, Journal, Part};
use super::points::{Doom, Point, Points};
use crate::random::Random;

/// Who a process is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Casting {
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) process: u32,
    /// Which of those with the same part.
    #[arg(long, hide = true, default_value_t = 0)]
    pub(crate) place: u32,
    #[arg(long, hide = true)]
    pub(crate) doom: Option<Doom>,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Scene(pub(crate) PathBuf);

impl Scene {
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub(crate) fn replica(&self) -> PathBuf {
        self.0.join("replica")
    }

    pub(crate) fn plugin(&self) -> PathBuf {
        self.0.join("plugin")
    }

    pub(crate) fn histories(&self) -> PathBuf {
        self.0.join("histories")
    }

    /// The last version that was acknowledged, for whoever wants to see it.
    pub(crate) fn token(&self) -> Slot {
        Slot::at(self.0.join("token"))
    }

    /// The token of a lock, for the writer.
    pub(crate) fn fence(&self, lock: usize) -> Slot {
        Slot::at(self.0.join(format!("fence-{lock}")))
    }

    /// The version that a watch is to go on with.
    pub(crate) fn position(&self, place: u32) -> Slot {
        Slot::at(self.0.join(format!("watch-{place}")))
    }
}

/// A number in a file, which one process leaves for another. It may be lost, and is never wrong.
pub(crate) struct Slot(PathBuf);

impl Slot {
    fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn put(&self, number: u64) -> Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.0);
        let file = file.with_context(|| format!("cannot open {}", self.0.display()))?;
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend((!number).to_le_bytes());
        Ok(file.write_all_at(&bytes, 0)?)
    }

    pub(crate) fn get(&self) -> Option<u64> {
        let mut bytes = [0; 16];
        File::open(&self.0).and_then(|file| file.read_exact_at(&mut bytes, 0)).ok()?;
        let [number, check] =
            [&bytes[..8], &bytes[8..]].map(|it| u64::from_le_bytes(it.try_into().expect("eight")));
        (number == !check).then_some(number)
    }
}

/// What every part has.
struct Stage {
    part: Part,
    scene: Scene,
    casting: Casting,
    journal: Journal,
    points: Points,
    random: Random,
}

/// Plays a part until it is killed.
pub(crate) fn play(dir: &Path, part: Part, casting: Casting, seed: u64) -> Result<()> {
    // Nobody is to be left over when the parent dies, however it does.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let scene = Scene(dir.to_owned());
    let journal = Journal::create(&scene.histories(), casting.process)?;
    journal.note(Event::Began { part, pid: std::process::id() });
    let points = Points::new(casting.doom);
    let random = Random::new(seed ^ u64::from(casting.process) << 32);
    let mut stage = Stage { part, scene, casting, journal, points, random };
    stage.points.pass(Point::Opening);
    let played = match part {
        Part::Writer => writer::play(&mut stage),
        Part::Reader => readers::play_snapshots(&mut stage),
        Part::Cached => readers::play_cached(&mut stage),
        Part::Watcher => watcher::play(&mut stage),
        Part::Follower => follower::play(&mut stage),
        Part::Tenant => tenant::play(&mut stage),
    };
    if let Err(error) = &played {
        stage.journal.broken(format!("{part:?} gave up: {error:#}"));
    }
    played
}

impl Stage {
    /// Settings that differ from process to process.
    fn options(&mut self) -> Options {
        let random = &mut self.random;
        let (mapping, catch_up) = (
            if random.one_in(3) { Mapping::Off } else { Mapping::On },
            if random.one_in(3) { CatchUp::Background } else { CatchUp::OnRead },
        );
        // Room for everything, or for so little that it is thrown out all the time.
        let cache = if random.one_in(4) { 16 << 10 } else { 4 << 20 };
        Store::options()
            .retention(Retention::UNBOUNDED)
            .register(random.one_in(2))
            .mapping(mapping)
            .catch_up(catch_up)
            .cache(Cache::new(cache))
            .cache_bytes(4 << 20)
            .app("kill")
    }

    /// Opens the store, for which a process that is stopped may have to go on first.
    fn open(&mut self, options: &Options) -> Result<Store> {
        loop {
            match options.clone().open(self.scene.store()) {
                Err(error) if error.kind() == Kind::Stalled => self.journal.note(Event::Stalled),
                opened => {
                    self.points.pass(Point::Opened);
                    return opened.context("cannot open the store");
                }
            }
        }
    }

    /// Whether an error is nothing but somebody who is stopped.
    fn is_stalled(&self, error: &cohab::Error) -> bool {
        let is_stalled = error.kind() == Kind::Stalled;
        if is_stalled {
            self.journal.note(Event::Stalled);
        }
        is_stalled
    }

    fn rest(&mut self, micros: u64) {
        thread::sleep(Duration::from_micros(self.random.below(micros + 1)));
    }
}

/// How an operation of a part went that may meet a process that is stopped.
#[track_caller]
fn unless_stalled<T>(stage: &Stage, result: cohab::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if stage.is_stalled(&error) => Ok(None),
        Err(error) => {
            let place = Location::caller();
            Err(anyhow!("{error} ({}), at {}:{}", error.kind().as_str(), place.file(), place.line()))
        }
    }
}
