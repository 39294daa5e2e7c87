//! Hot keys, read through the cache while another process writes them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cohab::{CacheStats, Cached, Role, Store};

use super::child::Writer;
use super::stage::Stage;
use super::writer::{HOT_KEYS, HOT_NAMESPACE, hot_key};
use super::{Step, ensure, grouped};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;
use crate::terminal::percent;

pub(super) const STEPS: &[Step] = &[Step {
    name: "cache",
    says: "read hot keys through the cache while another process writes them",
    run: cache,
}];

/// For how long they are read.
const TIME: Duration = Duration::from_millis(600);

/// How often all keys are read through the cache for every time that they are read without it.
const ROUNDS: u32 = 20;

/// The part of the reads that the cache has to answer. The writer drops one key of many with each commit.
const HITS_MIN: f64 = 0.9;

fn cache(stage: &mut Stage) -> Result<String, Failure> {
    write(&stage.writer()?, "demo: cache", |tx| {
        tx.create_namespace(HOT_NAMESPACE)?;
        (0..HOT_KEYS).try_for_each(|number| tx.put(HOT_NAMESPACE, hot_key(number), number.to_string()))?;
        Ok(())
    })?;
    let store = Store::options().role(Role::Reader).open(stage.store_path())?;
    let mut writer = Writer::start_with(stage, &["--hot", "--start", &HOT_KEYS.to_string()])?;
    writer.acknowledgements(1)?;
    let pid = writer.pid();
    let (acknowledged, is_over) = (AtomicU64::new(HOT_KEYS), AtomicBool::new(false));
    let reading = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(writer, &acknowledged, &is_over));
        let reading = Reading::of(&store, &acknowledged);
        is_over.store(true, Ordering::Relaxed);
        let heard = listener.join();
        heard.unwrap_or_else(|_| Err(Failure::defect("a thread of the demonstration panicked")))?;
        reading
    })?;
    let CacheStats { hits, misses, invalidations, .. } = reading.stats;
    #[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
    let rate = hits as f64 / (hits + misses).max(1) as f64;
    ensure(rate >= HITS_MIN, || format!("of {} reads the cache answered {}", hits + misses, percent(rate)))?;
    let commits = acknowledged.into_inner() - HOT_KEYS;
    ensure(commits > 0 && invalidations > 0, || format!("process {pid} made {commits} commits"))?;
    Ok(format!(
        "{} reads beside {} commits, none stale; {} hits, {:.1?} a get, {:.1?} uncached",
        grouped(hits + misses),
        grouped(commits),
        percent(rate),
        reading.cached,
        reading.uncached,
    ))
}

/// Notes the commits that the writer acknowledges, and kills it in the end.
fn listen(mut writer: Writer, acknowledged: &AtomicU64, is_over: &AtomicBool) -> Result<(), Failure> {
    while !is_over.load(Ordering::Relaxed) {
        for (number, _) in writer.acknowledgements(1)? {
            acknowledged.store(number, Ordering::Release);
        }
    }
    writer.kill().map(drop)
}

/// How the reads went.
struct Reading {
    stats: CacheStats,
    /// What a read took, through the cache and without it.
    cached: Duration,
    uncached: Duration,
}

impl Reading {
    fn of(store: &Store, acknowledged: &AtomicU64) -> Result<Self, Failure> {
        let hot = store.cached(HOT_NAMESPACE)?;
        let keys: Vec<String> = (0..HOT_KEYS).map(hot_key).collect();
        let (mut cached, mut uncached, mut rounds) = (Duration::ZERO, Duration::ZERO, 0_u32);
        let begin = Instant::now();
        while begin.elapsed() < TIME {
            interrupt::check()?;
            for _ in 0..ROUNDS {
                cached += read_all(&hot, &keys, acknowledged)?;
            }
            let pause = Instant::now();
            for key in &keys {
                store.snapshot()?.get(HOT_NAMESPACE, key)?;
            }
            uncached += pause.elapsed();
            rounds += 1;
        }
        let reads = rounds.max(1) * u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let stats = hot.stats();
        Ok(Self { stats, cached: cached / (reads * ROUNDS), uncached: uncached / reads })
    }
}

/// Reads all keys once, checks that none is staler than what was acknowledged before, and returns how long it took.
fn read_all(hot: &Cached, keys: &[String], acknowledged: &AtomicU64) -> Result<Duration, Failure> {
    let last = acknowledged.load(Ordering::Acquire);
    let begin = Instant::now();
    for (number, key) in (0..).zip(keys) {
        let found = hot.get_with(key, |value| number_of(value?))?;
        // The last number up to what was acknowledged that is this key's.
        let expected = last - (last - number) % HOT_KEYS;
        ensure(found.is_some_and(|found| found >= expected && found % HOT_KEYS == number), || {
            format!("{key} is {found:?} after {expected} was acknowledged")
        })?;
    }
    Ok(begin.elapsed())
}

fn number_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
