//! The process that does damage, so that one that dies of it is noticed.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::bench::{Bench, Subject};
use super::damage::{Kinds, PAGE, Places, SECTOR};
use super::fixture::Fixture;
use super::outcome::{Outcome, Tally};
use crate::random::Random;

/// How long one case may take before it counts as one that hangs. What waits for other processes waits for ten seconds.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(40);

/// How a worker ends that has hung.
pub(super) const HUNG: i32 = 97;

/// After so many cases a worker tells what it has counted.
const TOLD_EVERY: u64 = 100;

/// Every so many cases the store is opened for writing as well, which takes longer.
const WRITTEN_EVERY: u64 = 6;

/// A file, and how much of the damage is done to it.
struct Share {
    name: &'static str,
    subject: Subject,
    kinds: Kinds,
    weight: u64,
}

const fn share(name: &'static str, subject: Subject, weight: u64) -> Share {
    Share { name, subject, kinds: Kinds::Fresh, weight }
}

const fn stale(name: &'static str, subject: Subject, weight: u64) -> Share {
    Share { name, subject, kinds: Kinds::Stale, weight }
}

const SHARES: &[Share] = &[
    share("store.redb", Subject::Data, 560),
    stale("store.redb, lost writes", Subject::Data, 60),
    share("store.redb, not closed", Subject::Crashed, 60),
    share("a backup", Subject::Backup, 60),
    share("store.json", Subject::Card, 15),
    share("writer.json", Subject::WriterRecord, 10),
    share("writer.epoch", Subject::Epoch, 30),
    share("handover.json", Subject::Handover, 5),
    share("coord.page", Subject::Page, 30),
    share("instances/*.json", Subject::Instance, 15),
    share("ports/*.json", Subject::Port, 15),
    share("locks/*.lock", Subject::LockFile, 10),
    share("locks/*.json", Subject::LockRecord, 10),
    share("locks/*.token", Subject::LockToken, 30),
    share("followers/*.json", Subject::Follower, 10),
    share("plugins/*.log", Subject::PluginLog, 10),
    share("plugins/*.json", Subject::PluginNumbers, 10),
    share("plugin.toml", Subject::Manifest, 15),
    share("a script", Subject::Script, 15),
    share("a bundle", Subject::Bundle, 30),
    share("a delta", Subject::Delta, 50),
    share("a dump", Subject::Dump, 50),
];

/// The files, by the names that the report has for them.
pub(super) fn files() -> impl Iterator<Item = &'static str> {
    SHARES.iter().map(|share| share.name)
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    pub(super) fixture: PathBuf,
    pub(super) work: PathBuf,
    pub(super) seed: u64,
    /// The first case, how far it is to the next, and which is not done any more.
    pub(super) first: u64,
    pub(super) step: u64,
    pub(super) end: u64,
    pub(super) only: Option<String>,
    pub(super) until: Option<Instant>,
    pub(super) tells_all: bool,
}

/// What a worker says, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// What is damaged.
    About(String),
    /// A case whose outcome is none that there may be.
    Violation { case: u64, file: String, damage: String, what: String },
    /// One case, where only that was asked for.
    Told { case: u64, file: String, damage: String, outcome: Outcome },
    /// All of it.
    Tallies(BTreeMap<String, Tally>),
}

struct Target {
    share: &'static Share,
    bytes: Vec<u8>,
    older: Option<Vec<u8>>,
    places: Places,
}

/// When the case at hand began, in milliseconds since the worker did, or zero.
type Began = Arc<AtomicU64>;

pub(super) fn work(orders: &Orders) -> Result<()> {
    let panics = note_panics();
    let fixture = Fixture::at(&orders.fixture);
    let mut bench = Bench::new(&fixture, &orders.work)?;
    let targets = targets(&bench, &fixture, orders.only.as_deref())?;
    let total: u64 = targets.iter().map(|target| target.share.weight).sum();
    say(&Word::About(bench.about()))?;
    let (start, began) = (Instant::now(), Began::default());
    watch(start, &began);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut case = orders.first;
    while case < orders.end && orders.until.is_none_or(|until| Instant::now() < until) {
        fs::write(orders.work.join("case"), case.to_string())?;
        began.store(ms(start.elapsed()).max(1), Ordering::Relaxed);
        let mut random = Random::new(orders.seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15)).fork();
        let target = choose(&targets, total, &mut random);
        let damage = target.places.choose(target.share.kinds, &mut random);
        let as_writer = random.one_in(WRITTEN_EVERY);
        let damaged = damage.done_to(&target.bytes, target.older.as_deref());
        bench.turn = case;
        let clock = Instant::now();
        let looked = catch_unwind(AssertUnwindSafe(|| {
            bench.look(target.share.subject, &target.bytes, &damaged, as_writer)
        }));
        let took = clock.elapsed();
        let name = target.share.name.to_owned();
        let panicked = looked.is_err();
        let outcome = looked
            .unwrap_or_else(|_| Ok(Outcome::default()))
            .with_context(|| format!("case {case}: {damage} in {name}"))?;
        let Panics { others, last } =
            std::mem::take(&mut *panics.lock().unwrap_or_else(PoisonError::into_inner));
        let tally = tallies.entry(name.clone()).or_default();
        let mut violation = tally.count(&outcome, took, damage.may_be_outdated());
        let out = others.into_iter().chain(last.filter(|_| panicked));
        let told = |(panic, trace): (String, Backtrace)| match trace.status() {
            BacktraceStatus::Captured => format!("{panic}\n{trace}"),
            _ => panic,
        };
        let out: Vec<_> = out.map(told).collect();
        if panicked || !out.is_empty() {
            tally.panics += 1;
            violation = Some(format!("a panic got out: {}", out.join("; ")));
        }
        if orders.tells_all {
            let (file, damage) = (name.clone(), damage.to_string());
            say(&Word::Told { case, file, damage, outcome })?;
        }
        if let Some(what) = violation {
            keep(orders, case, target, &damaged)?;
            say(&Word::Violation { case, file: name, damage: damage.to_string(), what })?;
        }
        // What a process has counted goes with it.
        if tallies.values().map(|tally| tally.cases).sum::<u64>() >= TOLD_EVERY {
            say(&Word::Tallies(std::mem::take(&mut tallies)))?;
        }
        case += orders.step;
    }
    say(&Word::Tallies(tallies))
}

fn targets(bench: &Bench, fixture: &Fixture, only: Option<&str>) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for share in SHARES.iter().filter(|share| only.is_none_or(|only| share.name == only)) {
        let bytes = bench.content(share.subject)?;
        let older = match share.kinds {
            Kinds::Stale => Some(fs::read(fixture.path("older/store.redb"))?),
            Kinds::Fresh => None,
        };
        let piece = if bytes.len() > PAGE { PAGE } else { SECTOR };
        let places = Places::of(&bytes, older.as_deref(), piece);
        // An empty file has nothing to be damaged.
        if places.allows(share.kinds) {
            targets.push(Target { share, bytes, older, places });
        }
    }
    anyhow::ensure!(!targets.is_empty(), "there is no such file");
    Ok(targets)
}

fn choose<'t>(targets: &'t [Target], total: u64, random: &mut Random) -> &'t Target {
    let mut left = random.below(total);
    for target in targets {
        match left.checked_sub(target.share.weight) {
            Some(rest) => left = rest,
            None => return target,
        }
    }
    &targets[0]
}

/// Leaves the damaged file where it can be looked at, if it is the first one.
fn keep(orders: &Orders, case: u64, target: &Target, damaged: &[u8]) -> Result<()> {
    let kept = orders.fixture.join("violations");
    fs::create_dir_all(&kept)?;
    let name = target.share.name.replace(['/', '*', ' ', ','], "-");
    Ok(fs::write(kept.join(format!("{case}-{name}")), damaged)?)
}

/// Panics of a case, and where they came from, if `RUST_BACKTRACE` asks for it.
#[derive(Default)]
struct Panics {
    /// Those of other threads that are none of the engine's on damaged pages, which are caught where they happen.
    others: Vec<(String, Backtrace)>,
    /// The last one on this thread, which ends the case if it gets out.
    last: Option<(String, Backtrace)>,
}

fn note_panics() -> Arc<Mutex<Panics>> {
    let (panics, main) = (Arc::new(Mutex::new(Panics::default())), std::thread::current().id());
    let noted = panics.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_engines = panic.location().is_some_and(|place| place.file().contains("redb"));
        let what = (panic.to_string(), Backtrace::capture());
        if std::thread::current().id() == main {
            noted.last = Some(what);
        } else if !is_engines {
            noted.others.push(what);
        }
    }));
    panics
}

/// Ends the process if a case takes too long.
fn watch(start: Instant, began: &Began) {
    let began = began.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let since = began.load(Ordering::Relaxed);
            if since > 0 && ms(start.elapsed()).saturating_sub(since) > ms(HANGS_AFTER) {
                std::process::exit(HUNG);
            }
        }
    });
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn say(word: &Word) -> Result<()> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    Ok(std::io::stdout().lock().write_all(&line)?)
}

/// Returns which case a worker was at.
pub(super) fn case_at(work: &Path) -> Option<u64> {
    fs::read_to_string(work.join("case")).ok()?.parse().ok()
}
