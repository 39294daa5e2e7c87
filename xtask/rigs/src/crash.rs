//! Power loss, simulated.
//!
//! A session runs on a real store while everything that it does to its files is recorded ([`trace`]). Then the world stops after each
//! operation in turn: what was not made durable by then is kept, dropped, torn at sector bounds, or kept in another order than it was
//! written in ([`disk`], [`survival`]). Each image is opened and held against what anybody had been told at that point ([`promise`],
//! [`inspection`]).
//!
//! Of the scripted session every point is tried with every choice of a list; of random sessions, chosen by the seed, some.

mod disk;
mod inspection;
mod past;
mod promise;
mod session;
mod state;
mod survival;
mod trace;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, anyhow, ensure};

use self::disk::Disk;
use self::inspection::{Inspection, Seen};
use self::promise::{Promise, Promises, ceilings};
use self::session::{Recorded, SCRIPT, record};
use self::survival::Survival;
use self::trace::Op;
use crate::random::Random;

/// How much to try.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Tries a part of the scripted session and a few random ones, as the gate does.
    #[arg(long, conflicts_with_all = ["images", "seconds", "seed", "session"])]
    smoke: bool,
    /// Tries so many images of random sessions, and to the end of the last of them.
    #[arg(long, default_value_t = 20_000, value_name = "NUMBER")]
    images: u64,
    /// Tries random sessions for so long at most.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// What the first random session begins with; those that follow count on from it.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Leaves the scripted session out.
    #[arg(long)]
    random_only: bool,
    /// Tries this random session alone, at all of its points, or the scripted one if it is 0.
    #[arg(long, value_name = "SEED")]
    session: Option<u64>,
    /// Tries this point of the session alone.
    #[arg(long, value_name = "NUMBER", requires = "session")]
    point: Option<usize>,
    /// Where sessions and images are made: in memory, or this takes long.
    #[arg(long, default_value = "/dev/shm", value_name = "DIRECTORY")]
    dir: PathBuf,
    /// How many threads look at images.
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    jobs: usize,
}

/// The seed of the scripted session.
const SCRIPTED: u64 = 0;

/// How many steps a random session has.
const STEPS: usize = 40;

/// How many images are made of a random session at each of its points.
const PER_POINT: usize = 12;

/// How many images of random sessions the gate tries.
const SMOKE_IMAGES: u64 = 2500;

/// After how many sessions it is said how far it has come.
const PROGRESS_SESSIONS: u64 = 10;

/// How long an image may take to be looked at.
const IMAGE_TIME_MAX: Duration = Duration::from_secs(20);

/// Which choices are tried at a point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choices {
    /// Those of the list.
    Every,
    /// So many random ones.
    Random(usize),
}

/// What is tried of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    choices: Choices,
    /// At one in so many points.
    one_in: usize,
}

/// What was covered.
#[derive(Clone, Copy, Default, Debug)]
struct Covered {
    sessions: u64,
    points: u64,
    images: u64,
    same: u64,
    seen: Seen,
    slowest: Duration,
}

impl Covered {
    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.points += other.points;
        self.images += other.images;
        self.same += other.same;
        self.seen.add(other.seen);
        self.slowest = self.slowest.max(other.slowest);
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    silence_panics();
    let begin = Instant::now();
    let rig = Rig { arguments, is_over: AtomicBool::new(false) };
    if let Some(seed) = arguments.session {
        let choices = if seed == SCRIPTED { Choices::Every } else { Choices::Random(40) };
        let covered = rig.session(seed, Part { choices, one_in: 1 })?;
        print(&[("session", covered)], begin.elapsed());
        return Ok(());
    }
    let mut report = Vec::new();
    if !arguments.random_only {
        let one_in = if arguments.smoke { 32 } else { 1 };
        report.push(("scripted", rig.session(SCRIPTED, Part { choices: Choices::Every, one_in })?));
    }
    let part = Part {
        choices: Choices::Random(if arguments.smoke { 2 } else { PER_POINT }),
        one_in: if arguments.smoke { 8 } else { 1 },
    };
    let images = if arguments.smoke { SMOKE_IMAGES } else { arguments.images };
    let (mut random, begin_random) = (Covered::default(), Instant::now());
    for seed in arguments.seed.. {
        let is_over = arguments.seconds.is_some_and(|seconds| begin_random.elapsed().as_secs() >= seconds);
        if is_over || random.images >= images {
            break;
        }
        random.add(rig.session(seed, part)?);
        if random.sessions.is_multiple_of(PROGRESS_SESSIONS) {
            eprintln!(
                "{} sessions, {} images in {:.0} s",
                random.sessions,
                random.images,
                begin.elapsed().as_secs_f64()
            );
        }
    }
    report.push(("random", random));
    print(&report, begin.elapsed());
    Ok(())
}

struct Rig<'a> {
    arguments: &'a Arguments,
    /// Set once something was found, which ends all threads.
    is_over: AtomicBool,
}

impl Rig<'_> {
    /// Records a session and tries its points.
    fn session(&self, seed: u64, part: Part) -> Result<Covered> {
        let steps = if seed == SCRIPTED { Ok(&SCRIPT[..]) } else { Err(STEPS) };
        let recorded = record(seed, steps, &self.arguments.dir)
            .with_context(|| format!("session {seed} does not run"))?;
        let jobs = self.arguments.jobs.max(1);
        let mut covered = Covered { sessions: 1, ..Covered::default() };
        let done = thread::scope(|scope| {
            let work = |job| {
                let recorded = &recorded;
                move || self.try_points(seed, recorded, part, (job, jobs))
            };
            let threads: Vec<_> = (0..jobs).map(|job| scope.spawn(work(job))).collect();
            threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect::<Vec<_>>()
        });
        for done in done {
            covered.add(done?);
        }
        covered.points = recorded.ops.iter().filter(|op| op.is_point()).count() as u64;
        Ok(covered)
    }

    /// Tries every so many points, beginning with one of the first.
    fn try_points(
        &self,
        seed: u64,
        recorded: &Recorded,
        part: Part,
        (job, jobs): (usize, usize),
    ) -> Result<Covered> {
        let mut covered = Covered::default();
        let mut disk = Disk::new(&recorded.ops);
        let ceilings = ceilings(&recorded.ops);
        let mut promises = Promises::default();
        let mut known = HashSet::new();
        let mut point = 0;
        for (index, op) in recorded.ops.iter().enumerate() {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            disk.advance(index);
            if let Op::Promise(promise) = op {
                promises.add(promise);
                if !matches!(promise, Promise::Rest(..)) {
                    // What was enough before may not be now.
                    known.clear();
                }
            }
            point += usize::from(op.is_point());
            let is_wanted = self.arguments.point.is_none_or(|wanted| wanted == index);
            if !is_wanted || point % jobs != job || !(point / jobs).is_multiple_of(part.one_in) {
                continue;
            }
            // Each point draws for itself, and how it is looked at is drawn apart, so that one can be repeated alone.
            let mut random = Random::new(seed << 32 ^ index as u64);
            let mut lucks = random.fork();
            let survivals = match part.choices {
                Choices::Every => Survival::every(disk.pending(), disk.last_sectors()),
                Choices::Random(count) => {
                    (0..count).map(|_| Survival::random(&mut random, disk.pending())).collect()
                }
            };
            for survival in survivals {
                let mut luck = lucks.fork();
                if !known.insert(disk.identify(&survival)) {
                    covered.same += 1;
                    continue;
                }
                let begin = Instant::now();
                let outcome =
                    self.inspect(&disk, &survival, &promises, &ceilings[index], recorded, &mut luck);
                let took = begin.elapsed();
                covered.slowest = covered.slowest.max(took);
                covered.images += 1;
                let outcome = outcome.and_then(|seen| {
                    ensure!(took < IMAGE_TIME_MAX, "it took {took:?}");
                    Ok(seen)
                });
                self.is_over.fetch_or(outcome.is_err(), Ordering::Relaxed);
                covered.seen.add(outcome.with_context(|| {
                    format!(
                        "the power goes at point {index} of session {seed}, after {}; {survival}\n\
                         repeat it: cargo xtask crash --session {seed} --point {index}",
                        op.describe()
                    )
                })?);
            }
        }
        Ok(covered)
    }

    /// Makes an image and looks at it. One that is not as it should be is left where it is.
    fn inspect(
        &self,
        disk: &Disk<'_>,
        survival: &Survival,
        promises: &Promises,
        ceiling: &HashMap<promise::Which, u64>,
        recorded: &Recorded,
        luck: &mut Random,
    ) -> Result<Seen> {
        let dir = tempfile::Builder::new().prefix("cohab-crash-").tempdir_in(&self.arguments.dir)?;
        disk.restore(survival, dir.path()).context("making the image")?;
        upset_page(dir.path(), luck)?;
        let is_replica_hit = disk.is_pending_below(session::REPLICA);
        let inspection =
            Inspection { root: dir.path(), promises, ceiling, states: &recorded.states, is_replica_hit };
        let inspected = catch_unwind(AssertUnwindSafe(|| inspection.run(luck)))
            .unwrap_or_else(|panic| Err(anyhow!("it panics: {}", message(&*panic))));
        inspected.or_else(|error| {
            // As it was before anybody looked.
            let dir = dir.keep();
            fs::remove_dir_all(&dir)?;
            fs::create_dir(&dir)?;
            disk.restore(survival, &dir)?;
            Err(error.context(format!("what was left is in {}", dir.display())))
        })
    }
}

/// What is in shared memory reaches the disk at any time or never, without anybody asking for it.
fn upset_page(root: &std::path::Path, luck: &mut Random) -> Result<()> {
    let page = root.join(session::STORE).join("coord.page");
    let Ok(len) = fs::metadata(&page).map(|metadata| metadata.len()) else { return Ok(()) };
    let len = usize::try_from(len)?;
    match luck.below(3) {
        0 => Ok(()),
        1 => Ok(fs::write(&page, vec![0; len])?),
        _ => {
            let garbage = (0..len).map(|_| luck.next().to_le_bytes()[0]).collect::<Vec<_>>();
            Ok(fs::write(&page, garbage)?)
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with something else than a text")
}

/// Panics are part of what is looked for; each is reported once, with what led to it.
fn silence_panics() {
    std::panic::set_hook(Box::new(|_| ()));
}

fn print(report: &[(&str, Covered)], took: Duration) {
    println!(
        "{:10} {:>9} {:>9} {:>10} {:>10} {:>12} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8}",
        "sessions",
        "number",
        "points",
        "images",
        "same",
        "unacknowl.",
        "reader",
        "versions",
        "replicas",
        "tokens",
        "backups",
        "slowest"
    );
    for (name, it) in report {
        println!(
            "{name:10} {:>9} {:>9} {:>10} {:>10} {:>12} {:>9} {:>9} {:>9} {:>9} {:>8} {:>5} ms",
            it.sessions,
            it.points,
            it.images,
            it.same,
            it.seen.unacknowledged,
            it.seen.opened_by_reader,
            it.seen.versions_read,
            it.seen.replicas,
            it.seen.tokens,
            it.seen.backups,
            it.slowest.as_millis()
        );
    }
    println!("0 violations in {:.1} s", took.as_secs_f64());
}
