//! How long it takes from the save of a file to its effect, and whether anything is lost or left behind on the way.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use cohab::{Kind, ReloadPlugin, Store};

use super::{COUNT, Home, MARK, PLUGIN, Tier, number};
use crate::between::memory;
use crate::cohab::history::Stage;
use crate::measure::{Round, Series, interleaved, quantile};
use crate::name::Name;
use crate::sizes::Sizes;

/// How many threads call while a plugin is edited, and while it is reloaded again and again.
const CALLERS: usize = 2;
const COUNTERS: usize = 4;

/// How long an edit may take before something is wrong.
const PATIENCE: Duration = Duration::from_mins(1);

/// The longest pause before an edit: it is to come at any moment between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How many times fewer reloads there are of a module.
const FEWER: usize = 5;

/// Edits a plugin in development while it is called.
pub fn latency(stage: Stage<'_>) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) {
        return Ok(Series::new());
    }
    let mut homes = Vec::new();
    for &tier in Tier::ALL {
        homes.push(Home::make(place, "edited", tier, &tier.large_code(0)?)?);
    }
    let mut mark = 0;
    let series = interleaved(
        &[(Name::Cohab, ())],
        sizes.long_rounds,
        |_| (),
        |_, (), ()| {
            let mut figures = Vec::new();
            for home in &homes {
                place.sync()?;
                let (p50, p99, max, calls) = match home.folder.tier {
                    Tier::Wasm => ("module p50", "module p99", "module max", "module calls"),
                    Tier::Script => ("script p50", "script p99", "script max", "script calls"),
                };
                let first = mark + 1;
                mark += sizes.plugins.edits as u64;
                let edited = edit(home, first, mark)?;
                let millis = |part| quantile(&edited.took, part) / 1e6;
                #[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2⁵³")]
                let called = edited.calls as f64;
                figures.extend([
                    (p50, millis(0.5)),
                    (p99, millis(0.99)),
                    (max, millis(1.0)),
                    (calls, called),
                ]);
            }
            Ok(Round { figures, ..Round::of_samples(Vec::new()) })
        },
    )?;
    homes.into_iter().try_for_each(Home::end)?;
    Ok(series)
}

/// What edits took, and how many calls there were meanwhile.
struct Edited {
    took: Vec<i64>,
    calls: u64,
}

/// Saves edits with these marks, one after the other has had its effect.
fn edit(home: &Home, first: u64, last: u64) -> Result<Edited> {
    let stage = Callers {
        store: &home.store,
        is_over: AtomicBool::new(false),
        newest: AtomicU64::new(0),
        shown: Mutex::new(Instant::now()),
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| stage.ask())).collect();
        let took = (first..=last)
            .map(|mark| {
                let code = home.folder.tier.large_code(mark)?;
                thread::sleep(PAUSE_MAX.mul_f64(fastrand::f64()));
                home.folder.save(&code)?;
                let saved = Instant::now();
                let shown = stage.await_mark(mark)?;
                Ok(i64::try_from(shown.saturating_duration_since(saved).as_nanos())?)
            })
            .collect::<Result<_>>();
        stage.is_over.store(true, Ordering::Relaxed);
        let calls = join(callers)?.into_iter().sum();
        Ok(Edited { took: took?, calls })
    })
}

/// Threads that ask which edit answers.
struct Callers<'h> {
    store: &'h Store,
    is_over: AtomicBool,
    newest: AtomicU64,
    /// When the newest was first shown.
    shown: Mutex<Instant>,
}

impl Callers<'_> {
    /// Asks again and again. Returns how often. Any call that is refused is an error, and so is one that an earlier edit
    /// answers than the one before.
    fn ask(&self) -> Result<u64> {
        let plugins = self.store.plugins();
        let (mut calls, mut last) = (0, 0);
        while !self.is_over.load(Ordering::Relaxed) {
            let mark = number(&plugins.call(PLUGIN, MARK)?)?;
            ensure!(mark >= last, "edit {mark} answered after edit {last}");
            if mark != last {
                let mut shown = self.shown.lock().map_err(|_| anyhow!("another thread panicked"))?;
                if mark > self.newest.load(Ordering::Relaxed) {
                    *shown = Instant::now();
                    self.newest.store(mark, Ordering::Release);
                }
            }
            (calls, last) = (calls + 1, mark);
        }
        Ok(calls)
    }

    /// Waits until an edit was shown, and returns when that was.
    fn await_mark(&self, mark: u64) -> Result<Instant> {
        let begin = Instant::now();
        while self.newest.load(Ordering::Acquire) < mark {
            ensure!(
                begin.elapsed() < PATIENCE,
                "edit {mark} has no effect: {:?}",
                self.store.plugins().show(PLUGIN)?
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(*self.shown.lock().map_err(|_| anyhow!("another thread panicked"))?)
    }
}

fn join<T>(threads: Vec<ScopedJoinHandle<'_, Result<T>>>) -> Result<Vec<T>> {
    threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?).collect()
}

/// Reloads a plugin again and again, with edits that are good and some that are not, while it counts.
pub fn many(stage: Stage<'_>, tier: Tier) -> Result<Series> {
    let Stage { place, sizes, .. } = stage;
    if !stage.has(Name::Cohab) || !Tier::ALL.contains(&tier) {
        return Ok(Series::new());
    }
    let home = Home::make(place, "reloaded", tier, &tier.large_code(0)?)?;
    let round = reload(&home, sizes)?;
    home.end()?;
    Ok(vec![(Name::Cohab, vec![round])])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn reload(home: &Home, sizes: &Sizes) -> Result<Round> {
    let good = match home.folder.tier {
        Tier::Wasm => sizes.plugins.reloads / FEWER,
        Tier::Script => sizes.plugins.reloads,
    };
    let broken = (good / 10).max(1);
    let is_over = AtomicBool::new(false);
    let begin = Instant::now();
    let (counts, took, grown) = thread::scope(|scope| {
        let count = || count(&home.store, &is_over);
        let counters: Vec<_> = (0..COUNTERS).map(|_| scope.spawn(count)).collect();
        let mut at_first = None;
        let mut took = Vec::with_capacity(good);
        let done = (1..=good).try_for_each(|mark| {
            // The first reloads fill caches, of the store and of the allocator.
            if mark == (good / 10).max(2) {
                at_first = Some(Usage::now()?);
            }
            if mark % (good / broken) == 0 {
                refuse(home)?;
            }
            home.folder.save(&home.folder.tier.large_code(mark as u64)?)?;
            let saved = Instant::now();
            home.store.plugins().reload(PLUGIN, ReloadPlugin::new())?;
            took.push(i64::try_from(saved.elapsed().as_nanos())?);
            let mark_in_service = number(&home.store.plugins().call(PLUGIN, MARK)?)?;
            ensure!(mark_in_service == mark as u64, "edit {mark_in_service} is in service, and not {mark}");
            Ok(())
        });
        let grown = done.and_then(|()| Ok(Usage::now()?.since(&at_first.context("there were too few")?)));
        is_over.store(true, Ordering::Relaxed);
        let counts = join(counters)?;
        Ok::<_, anyhow::Error>((counts, took, grown?))
    })?;
    let wall = begin.elapsed();
    let calls: u64 = counts.iter().map(Counted::calls).sum();
    // Every number is there once: none was dropped, none was given twice.
    let mut numbers: Vec<u64> = counts.iter().flat_map(|counted| counted.numbers.iter().copied()).collect();
    numbers.sort_unstable();
    let expected = (1..=calls).zip(&numbers).filter(|(expected, number)| expected == *number).count();
    let before = numbers.len();
    numbers.dedup();
    let doubled = before - numbers.len();
    let counted = numbers.last().copied().unwrap_or(0);
    let dropped = counted.abs_diff(calls);
    ensure!(
        doubled == 0 && dropped == 0 && expected == before,
        "{calls} calls were counted as {counted}, {doubled} twice"
    );
    let figures = vec![
        ("reload p50", quantile(&took, 0.5) / 1e6),
        ("reload p99", quantile(&took, 0.99) / 1e6),
        ("good", good as f64),
        ("broken", broken as f64),
        ("calls", calls as f64),
        ("dropped", dropped as f64),
        ("doubled", doubled as f64),
        ("refused", counts.iter().map(|counted| counted.refused as f64).sum()),
        ("memory", grown.memory as f64 / 1e6),
        ("files", grown.files as f64),
        ("maps", grown.maps as f64),
    ];
    Ok(Round { wall, figures, ..Round::of_samples(Vec::new()) })
}

/// Reloads an edit that is broken, which is to change nothing.
fn refuse(home: &Home) -> Result<()> {
    let plugins = home.store.plugins();
    let before = plugins.call(PLUGIN, MARK)?;
    home.folder.save(&home.folder.tier.broken_code()?)?;
    let error = plugins.reload(PLUGIN, ReloadPlugin::new()).err().context("it was broken")?;
    ensure!(error.kind() == Kind::Plugin, "it was to be the plugin's fault, but: {error}");
    ensure!(plugins.call(PLUGIN, MARK)? == before, "what was in service is not any more");
    Ok(())
}

/// What a thread was given that has its calls counted.
struct Counted {
    numbers: Vec<u64>,
    refused: u64,
}

impl Counted {
    fn calls(&self) -> u64 {
        self.numbers.len() as u64
    }
}

/// Has calls counted, again and again. A call that an earlier edit answers than the one before is an error.
fn count(store: &Store, is_over: &AtomicBool) -> Result<Counted> {
    let plugins = store.plugins();
    let mut counted = Counted { numbers: Vec::new(), refused: 0 };
    let mut last = 0;
    while !is_over.load(Ordering::Relaxed) {
        let reply = match plugins.call(PLUGIN, COUNT) {
            Ok(reply) => reply,
            Err(error) => {
                println!("  refused: {error}");
                counted.refused += 1;
                continue;
            }
        };
        let blank = reply.iter().position(|byte| *byte == b' ').context("the reply is not as expected")?;
        let mark = number(&reply[..blank])?;
        ensure!(mark >= last, "edit {mark} answered after edit {last}");
        last = mark;
        counted.numbers.push(number(&reply[blank + 1..])?);
    }
    Ok(counted)
}

/// What the process has.
struct Usage {
    memory: i64,
    files: i64,
    maps: i64,
}

impl Usage {
    fn now() -> Result<Self> {
        let memory = memory::anonymous_bytes(std::process::id())?;
        let files = i64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        let maps = i64::try_from(fs::read_to_string("/proc/self/maps")?.lines().count())?;
        Ok(Self { memory, files, maps })
    }

    fn since(self, earlier: &Self) -> Self {
        let Self { memory, files, maps } = earlier;
        Self { memory: self.memory - memory, files: self.files - files, maps: self.maps - maps }
    }
}
