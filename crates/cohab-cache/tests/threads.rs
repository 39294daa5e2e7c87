//! Fills, commits and reads by many threads at once, next to a table of what every version holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cohab_cache::{At, Cache, Lookup, Policy, Space};
use cohab_core::Version;

const KEYS: usize = 48;
const VERSIONS: usize = 30_000;
const SECONDS: Duration = Duration::from_millis(1200);
const LONGEST: Duration = Duration::from_mins(1);

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("is small")
    }
}

/// What every version holds, from the beginning.
struct Truth {
    /// For each version, the version that set each key, or zero if it is not there.
    rows: Vec<[u32; KEYS]>,
    /// For each version, the keys that it wrote.
    written: Vec<Vec<usize>>,
    /// For each version, the last up to it that wrote anything.
    changed: Vec<usize>,
}

impl Truth {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let (mut rows, mut written, mut changed) = (vec![[0; KEYS]], vec![Vec::new()], vec![0]);
        for version in 1..VERSIONS {
            let mut row = rows[version - 1];
            // Every third belongs to somebody else.
            let count = if random.below(3) == 0 { 0 } else { 1 + random.below(3) };
            let keys: Vec<usize> = (0..count).map(|_| random.below(KEYS)).collect();
            for key in &keys {
                row[*key] = if random.below(5) == 0 { 0 } else { u32::try_from(version).expect("is small") };
            }
            changed.push(if keys.is_empty() { changed[version - 1] } else { version });
            rows.push(row);
            written.push(keys);
        }
        Self { rows, written, changed }
    }

    fn at(&self, version: usize) -> At {
        At { version: Version::new(version as u64), changed: Version::new(self.changed[version] as u64) }
    }

    /// Tells a space of the versions up to one.
    fn advance(&self, space: &Space, version: usize, is_known: bool) {
        let to = self.at(version);
        space.advance(to, |since, drop_key| {
            // Who does not know of all of them may know of some.
            let known = if is_known { to.changed.get() } else { since.get().midpoint(to.changed.get()) };
            for version in since.get() + 1..=known {
                for key in &self.written[usize::try_from(version).expect("is small")] {
                    drop_key(&name(*key), Version::new(version));
                }
            }
            is_known
        });
    }
}

fn name(key: usize) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// The value that a version sets: of any length, and all of it says whose it is.
fn value(key: usize, set: u32) -> Vec<u8> {
    let len = [8, 17, 100, 300, 515, 530, 2000][(key + set as usize) % 7];
    let text = (key as u64) << 32 | u64::from(set);
    text.to_be_bytes().into_iter().cycle().take(len).collect()
}

fn check(key: usize, version: usize, found: &[u8], truth: &Truth) {
    let set = truth.rows[version][key];
    assert!(set != 0, "key {key} is absent at version {version}, and {found:?} is read");
    assert!(found == value(key, set), "key {key} at version {version}, set by {set}: {:?}", &found[..8]);
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    budget: usize,
    policy: Policy,
    /// Whether the one who commits drops what it wrote before others hear of it; if not, whoever reads first does.
    is_writer: bool,
    /// How many of a hundred changes nobody knows the keys of.
    unknown: usize,
}

/// Decoded as the version that set it, with the key.
#[derive(Debug, PartialEq)]
struct Decoded(usize, u32);

fn read(space: &Space, truth: &Truth, setup: Setup, now: &AtomicU64, is_over: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut kept: VecDeque<(usize, usize, Bytes)> = VecDeque::new();
    let mut hits = 0;
    while !is_over.load(Ordering::Relaxed) {
        let last = usize::try_from(now.load(Ordering::Acquire)).expect("is small");
        let back = if random.below(4) == 0 { random.below(40) } else { 0 };
        let version = last.saturating_sub(back);
        let at = truth.at(version);
        if space.is_behind(at) {
            truth.advance(space, version, random.below(100) >= setup.unknown);
        }
        // A snapshot is used for several reads, while others go on.
        for _ in 0..random.below(8) {
            let key = random.below(KEYS);
            let set = truth.rows[version][key];
            if random.below(4) == 0 {
                match space.get_decoded::<Decoded, ()>(&name(key), at) {
                    Lookup::Value(decoded) => assert_eq!(decoded.1, set, "key {key} at version {version}"),
                    Lookup::Absent => assert_eq!(set, 0, "key {key} at version {version}"),
                    Lookup::Unknown => {
                        let found =
                            (set != 0).then(|| (Version::new(set.into()), Arc::new(Decoded(key, set))));
                        space.fill_decoded::<_, ()>(&name(key), found, 16, at);
                        continue;
                    }
                }
                hits += 1;
                continue;
            }
            match space.get(&name(key), at) {
                Lookup::Value(found) => {
                    check(key, version, &found, truth);
                    if random.below(16) == 0 {
                        kept.push_back((key, version, found));
                    }
                }
                Lookup::Absent => assert_eq!(set, 0, "key {key} at version {version} is set by {set}"),
                Lookup::Unknown => {
                    if random.below(16) == 0 {
                        thread::yield_now();
                    }
                    let value = value(key, set);
                    let found = (set != 0).then_some((Version::new(set.into()), &value[..]));
                    space.fill(&name(key), found, at);
                    continue;
                }
            }
            hits += 1;
        }
        if kept.len() > 200 {
            // What was handed out stays as it was, whatever became of the entry.
            for (key, version, found) in kept.drain(..100) {
                check(key, version, &found, truth);
            }
        }
    }
    hits
}

fn saw_enough(space: &Space) -> bool {
    let stats = space.stats();
    stats.hits > 1000 && stats.invalidations > 100 && stats.refusals > 10
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn hammer(setup: Setup) {
    let seed = u64::from(std::process::id()) ^ setup.budget as u64;
    println!("seed {seed}, {setup:?}");
    let truth = Truth::new(seed);
    let cache = Cache::new(setup.budget);
    let space = cache.space(setup.policy);
    // Somebody else's, in the same cache.
    let other = cache.space(Policy::Shared);
    let (now, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = Instant::now();
    let hits: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (space, truth, now, is_over) = (&space, &truth, &now, &is_over);
                scope.spawn(move || read(space, truth, setup, now, is_over, seed + 1 + reader))
            })
            .collect();
        scope.spawn(|| {
            let mut random = Random(!seed);
            let here = At { version: Version::new(1), changed: Version::new(1) };
            while !is_over.load(Ordering::Relaxed) {
                let (key, len) = (random.next().to_be_bytes(), random.below(3000));
                other.fill(&key[..2], Some((Version::new(1), &vec![0; len])), here);
            }
        });
        let mut random = Random(seed);
        for version in 1..VERSIONS {
            // On a busy machine it takes longer until enough has happened for something to be proved.
            let is_over = begin.elapsed() > SECONDS && (saw_enough(&space) || begin.elapsed() > LONGEST);
            if is_over || readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
            if setup.is_writer && truth.changed[version] == version {
                truth.advance(&space, version, random.below(100) >= setup.unknown);
            }
            now.store(version as u64, Ordering::Release);
            // Asleep, because whoever wakes up comes before those who are at work all the time.
            thread::sleep(Duration::from_micros(random.next() % 60));
        }
        is_over.store(true, Ordering::Relaxed);
        readers.into_iter().map(|reader| reader.join().expect("nothing wrong is read")).sum()
    });
    println!("version {}: {hits} hits, {:?}", now.load(Ordering::Relaxed), space.stats());
    let stats = space.stats();
    assert!(saw_enough(&space), "{hits} {stats:?}");
    assert!(setup.unknown == 0 || stats.floors > 0);
    assert!(cache.bytes() <= setup.budget as u64 + setup.budget as u64 / 10 + (8 << 10));
}

#[test]
fn readers_who_learn_of_commits_read_nothing_stale() {
    hammer(Setup { budget: 16 << 20, policy: Policy::Shared, is_writer: false, unknown: 0 });
}

#[test]
fn readers_who_learn_that_there_were_commits_read_nothing_stale() {
    hammer(Setup { budget: 16 << 20, policy: Policy::Shared, is_writer: false, unknown: 20 });
}

#[test]
fn readers_beside_the_writer_read_nothing_stale() {
    hammer(Setup { budget: 16 << 20, policy: Policy::Pinned, is_writer: true, unknown: 3 });
}

#[test]
fn readers_of_a_cache_that_is_too_small_read_nothing_stale() {
    hammer(Setup { budget: 32 << 10, policy: Policy::Shared, is_writer: false, unknown: 3 });
}

#[test]
fn readers_of_a_small_budget_of_its_own_beside_the_writer_read_nothing_stale() {
    hammer(Setup { budget: 64 << 10, policy: Policy::Own(20 << 10), is_writer: true, unknown: 0 });
}
