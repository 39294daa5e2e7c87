//! Several processes that read what one writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cohab::{Batch, Name, Store};
use serde_json::json;

use super::instance::Instance;
use super::stage::{Stage, digests, ensure_unchanged};
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "readers",
        says: "read in four processes what this one commits, two keys that always agree",
        run: readers,
    },
    Step {
        name: "moving",
        says: "rename the largest namespace again and again under load, and have other processes follow",
        run: moving,
    },
];

/// Where the two keys are.
const NAMESPACE: &str = "demo-pair";

const READERS: usize = 4;

/// For how long they read.
const TIME: Duration = Duration::from_millis(800);

/// How long each rests between two reads. Without a rest they take every processor for themselves, and on small machines
/// even the disk has to wait for one.
const REST: Duration = Duration::from_micros(200);

const RENAMES: u32 = 20;

fn readers(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    write(&store, "demo: readers", |tx| Ok(tx.create_namespace(NAMESPACE).map(drop)?))?;
    commit(&store, 0)?;
    let path = stage.store_path();
    let start = |_| Instance::start(&path, &["--role", "reader"]);
    let mut instances: Vec<Instance> = (0..READERS).map(start).collect::<Result<_, _>>()?;
    let is_over = AtomicBool::new(false);
    let (commits, reads) = thread::scope(|scope| {
        let readers: Vec<_> =
            instances.iter_mut().map(|instance| scope.spawn(|| read_until(instance, &is_over))).collect();
        let begin = Instant::now();
        let mut numbers = (1..).take_while(|_| begin.elapsed() < TIME);
        let committed = numbers.try_for_each(|number| commit(&store, number));
        is_over.store(true, Ordering::Relaxed);
        let reads = readers.into_iter().map(|reader| {
            reader.join().unwrap_or_else(|_| Err(Failure::defect("a thread of the demonstration panicked")))
        });
        let reads = reads.collect::<Result<Vec<u64>, Failure>>()?;
        committed?;
        Ok::<_, Failure>((store.snapshot()?.version(), reads))
    })?;
    let token = store.token(commits).to_string();
    let last = pair(&mut instances[0], None)?.1;
    for instance in &mut instances {
        instance.ask(&json!({ "at_least": { "token": token, "wait_ms": 5000 } }))?;
        let (version, value) = pair(instance, None)?;
        ensure(version == commits.get() && value >= last, || {
            format!("process {} is at version {version}, not {commits}", instance.pid())
        })?;
    }
    Ok(format!(
        "{} reads in {READERS} processes beside {} commits; no two keys of different commits, none older than the one before",
        grouped(reads.iter().sum()),
        grouped(last),
    ))
}

/// Commits one value under both keys.
fn commit(store: &Store, number: u64) -> Result<(), Failure> {
    interrupt::check()?;
    let namespace = Name::new(NAMESPACE).map_err(Failure::input)?;
    let (left, right) = (number.to_string(), number.to_string());
    store.submit(Batch::new().put(&namespace, "left", left).put(&namespace, "right", right))?;
    Ok(())
}

/// Reads both keys over and over, and returns how often.
fn read_until(instance: &mut Instance, is_over: &AtomicBool) -> Result<u64, Failure> {
    let (mut reads, mut last) = (0, (0, 0));
    while !is_over.load(Ordering::Relaxed) {
        let found = pair(instance, Some(last))?;
        (reads, last) = (reads + 1, found);
        thread::sleep(REST);
    }
    Ok(reads)
}

/// Reads both keys, and checks that they agree and are not older than what was read before. Returns the version and
/// the value.
fn pair(instance: &mut Instance, before: Option<(u64, u64)>) -> Result<(u64, u64), Failure> {
    let key = |key: &str| json!({ "ns": NAMESPACE, "key": key });
    let found = instance.ask(&json!({ "get_many": [key("left"), key("right")] }))?;
    let (left, right) = (&found["values"][0], &found["values"][1]);
    ensure(left == right, || format!("a mixed read: {found}"))?;
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let (Some(version), Some(value)) = (found["version"].as_u64(), number(left)) else {
        return Err(Failure::unexpected(format!("no read: {found}")));
    };
    ensure(before.is_none_or(|before| (version, value) >= before), || {
        format!("process {} read {value} at {version} after {before:?}", instance.pid())
    })?;
    Ok((version, value))
}

fn moving(stage: &mut Stage) -> Result<String, Failure> {
    let largest = stage.largest()?;
    let (store, path) = (stage.writer()?, stage.store_path());
    let mut before = digests(&store.snapshot()?)?;
    let pair = store.snapshot()?.namespace(NAMESPACE)?.id().get();
    before.remove(&pair);
    let mut instances =
        [Instance::start(&path, &["--role", "reader"])?, Instance::start(&path, &["--role", "standby"])?];
    let (is_over, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    let slowest = thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                commit(&store, commits.fetch_add(1, Ordering::Relaxed))?;
            }
            Ok::<_, Failure>(())
        });
        let slowest = rename_again_and_again(&store, largest.name.as_str(), largest.keys, &mut instances);
        is_over.store(true, Ordering::Relaxed);
        let loaded = load.join().unwrap_or_else(|_| Err(Failure::defect("the load panicked")));
        loaded.and(slowest)
    })?;
    let mut after = digests(&store.snapshot()?)?;
    after.remove(&pair);
    ensure_unchanged(&before, &after)?;
    Ok(format!(
        "{RENAMES} renames of {} keys beside {} commits, the slowest in {}; two processes see each by its token; all digests stand",
        grouped(largest.keys),
        grouped(commits.into_inner()),
        readable(slowest),
    ))
}

/// Renames a namespace until it has its name back, and returns how long a rename took at most.
fn rename_again_and_again(
    store: &Store,
    name: &str,
    keys: u64,
    instances: &mut [Instance],
) -> Result<Duration, Failure> {
    let mut slowest = Duration::ZERO;
    for round in 0..RENAMES {
        interrupt::check()?;
        let moved = |round: u32| {
            if round.is_multiple_of(RENAMES) { name.to_owned() } else { format!("moving/{round}") }
        };
        let (from, to) = (moved(round), moved(round + 1));
        let begin = Instant::now();
        let done = write(store, "demo: moving", |tx| Ok(tx.rename_namespace(&from, &to)?))?;
        slowest = slowest.max(begin.elapsed());
        let token = store.token(done.version).to_string();
        for instance in &mut *instances {
            instance.ask(&json!({ "at_least": { "token": token, "wait_ms": 5000 } }))?;
            let count = instance.ask(&json!({ "count": { "ns": to } }))?;
            ensure(count["count"] == keys, || {
                format!("`{to}` has {} keys in process {}", count["count"], instance.pid())
            })?;
            let gone = instance.try_to_ask(&json!({ "count": { "ns": from } }))?;
            ensure(gone["error"]["kind"] == "not_found", || format!("`{from}` is still there: {gone}"))?;
        }
    }
    Ok(slowest)
}
