//! Readers through the cache, in processes of their own, beside writers that are killed: nothing is read that is older than
//! what was read or told before, newer than the snapshot it is read from, or of two versions.
//!
//! `COHAB_CACHE_READS` says how many reads to make; the default is a million.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cohab::typed::{Codec as _, Namespace, Postcard, TypedCached};
use cohab::{
    Batch, Cache, Cached, CatchUp, Error, History, Kind, Metadata, Name, NamespaceView, Precondition, Result,
    Role, Snapshot, Store, Transaction,
};
use cohab_testkit::{Child, child_store};
use serde::{Deserialize, Serialize};

use crate::{Random, Scratch};

/// Of each pair of namespaces.
const KEYS: usize = 64;
/// Those before it are never removed.
const REMOVED: usize = 32;
const ACCOUNTS: usize = 16;
const SUM: i64 = 16_000;
/// Both of a pair hold the same, because every transaction that writes one writes the other.
const PAIRS: [[&str; 2]; 2] = [["left", "right"], ["unrecorded-left", "unrecorded-right"]];
/// Two that change names now and then.
const SWAPPED: [&str; 2] = ["one", "two"];

/// A value, which says which version set it.
#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Stamp {
    version: u64,
    number: i64,
    text: String,
}

fn stamp(version: u64, number: i64, text: &str) -> Vec<u8> {
    Postcard::encode(&Stamp { version, number, text: text.into() }).expect("can be encoded")
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("is small")
}

fn key(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("is small").to_be_bytes()
}

/// Makes what the writers write to.
fn create(store: &Store) -> Result<()> {
    store.write(|tx| {
        let version = tx.version().get();
        for pair in PAIRS {
            for name in pair {
                let mut metadata = Metadata::new(Name::new(name)?);
                if pair != PAIRS[0] {
                    metadata.history = History::Off;
                }
                tx.create_namespace_with(metadata)?;
                (0..KEYS).try_for_each(|i| tx.put(name, key(i), stamp(version, 0, "")))?;
            }
        }
        for name in SWAPPED {
            tx.create_namespace(name)?;
            tx.put(name, "who", stamp(version, 0, name))?;
        }
        tx.create_namespace("accounts")?;
        tx.create_namespace("noise")?;
        let amount = SUM / i64::try_from(ACCOUNTS).expect("is small");
        (0..ACCOUNTS).try_for_each(|i| tx.put("accounts", key(i), stamp(version, amount, "")))
    })?;
    Ok(())
}

/// Commits something. Returns a key of the first pair that it has put, if there is one.
fn commit(store: &Store, random: &mut Random) -> Result<Option<(u64, usize)>> {
    let text = "x".repeat([0, 10, 200, 900][below(random, 4)]);
    let number = i64::try_from(random.below(1 << 40)).expect("is small");
    let pair = PAIRS[usize::from(random.below(6) == 0)];
    let kept = below(random, REMOVED);
    let told = |version: cohab::Version| (pair == PAIRS[0]).then_some((version.get(), kept));
    match random.below(20) {
        0..9 => {
            let others: Vec<usize> = (0..random.below(4)).map(|_| below(random, KEYS)).collect();
            let removes = random.below(3) == 0;
            let written = store.write(|tx| {
                let value = stamp(tx.version().get(), number, &text);
                for name in pair {
                    for other in &others {
                        if removes && *other >= REMOVED {
                            tx.delete(name, key(*other))?;
                        } else {
                            tx.put(name, key(*other), &value)?;
                        }
                    }
                    tx.put(name, key(kept), &value)?;
                }
                Ok(())
            })?;
            Ok(told(written.version))
        }
        9..13 => {
            let present = store.snapshot()?.version();
            let value = stamp(present.next().get(), number, &text);
            let batch = pair.iter().try_fold(
                Batch::new().expect(Precondition::StoreVersion(present)),
                |batch, name| {
                    Ok::<_, Error>(batch.put(&Name::new(*name)?, key(kept).to_vec(), value.clone()))
                },
            );
            Ok(told(store.submit(batch?)?))
        }
        13..16 => {
            let (from, to) = (below(random, ACCOUNTS), below(random, ACCOUNTS));
            let by = i64::try_from(random.below(100)).expect("is small");
            store.write(|tx| {
                add(tx, from, -by)?;
                add(tx, to, by)
            })?;
            Ok(None)
        }
        16..18 => {
            let noise = key(below(random, 1000));
            store.write(|tx| tx.put("noise", noise, &text))?;
            Ok(None)
        }
        18 => {
            store.write(|tx| {
                let [one, two] = SWAPPED;
                tx.rename_namespace(one, "tmp")?;
                tx.rename_namespace(two, one)?;
                tx.rename_namespace("tmp", two)?;
                let version = tx.version().get();
                SWAPPED.iter().try_for_each(|name| tx.put(name, "who", stamp(version, 0, name)))
            })?;
            Ok(None)
        }
        _ => {
            let written = store.write(|tx| {
                let value = stamp(tx.version().get(), number, &"y".repeat(800));
                pair.iter().try_for_each(|name| (0..KEYS).try_for_each(|i| tx.put(name, key(i), &value)))
            })?;
            Ok(told(written.version))
        }
    }
}

fn add(tx: &mut Transaction<'_, '_>, account: usize, by: i64) -> Result<()> {
    let stored = tx.get("accounts", key(account))?.expect("is never removed").to_bytes();
    let amount = Postcard::decode::<Stamp>(&stored).expect("is one").number;
    tx.put("accounts", key(account), stamp(tx.version().get(), amount + by, ""))
}

#[test]
fn child_writes() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    end_with_the_parent();
    let store = Store::options().role(Role::Auto).open(path)?;
    let mut random = Random(u64::from(std::process::id()));
    loop {
        if store.role() != Role::Writer {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        if let Some((version, key)) = commit(&store, &mut random)? {
            // A parent that does not listen any more is about to kill us.
            let _ = Child::report(format_args!("committed {version} {key}"));
        }
        thread::sleep(Duration::from_micros(random.below(2000)));
    }
}

fn end_with_the_parent() {
    thread::spawn(|| {
        while let Ok(Some(_)) = Child::told() {}
        std::process::exit(0);
    });
}

/// What the threads of one reader know.
struct Known {
    /// For each key of each pair: twice the version that was read last, and one more if it was gone afterwards.
    pairs: [[AtomicU64; KEYS]; 2],
    /// For each name, the version that was read last.
    swapped: [AtomicU64; 2],
    accounts: [AtomicU64; ACCOUNTS],
    /// Of any snapshot.
    version: AtomicU64,
    reads: AtomicU64,
    tokens: AtomicU64,
}

fn wrong(what: std::fmt::Arguments<'_>) -> Error {
    Error::abort(format!("WRONG: {what}"))
}

/// Checks a value against what was read before it was asked for, and notes it.
fn note(what: &str, known: &AtomicU64, before: u64, found: Option<&Stamp>, is_removable: bool) -> Result<()> {
    match found {
        Some(stamp) if 2 * stamp.version < before => {
            Err(wrong(format_args!("{what} is of version {} after {}", stamp.version, before / 2)))
        }
        Some(stamp) => {
            known.fetch_max(2 * stamp.version, Ordering::SeqCst);
            Ok(())
        }
        None if !is_removable => Err(wrong(format_args!("{what} is gone"))),
        None => {
            // Whatever is there the next time was put after that.
            known.fetch_max(before | 1, Ordering::SeqCst);
            Ok(())
        }
    }
}

fn parse(what: &str, value: Option<&[u8]>) -> Result<Option<Stamp>> {
    let parse =
        |value| Postcard::decode::<Stamp>(value).map_err(|error| wrong(format_args!("{what}: {error}")));
    value.map(parse).transpose()
}

struct Handles {
    pairs: [[Cached; 2]; 2],
    typed: [TypedCached<[u8], Stamp>; 2],
    swapped: [Cached; 2],
    accounts: Cached,
}

impl Handles {
    fn new(store: &Store) -> Result<Self> {
        let pair = |[left, right]: [&str; 2]| Ok::<_, Error>([store.cached(left)?, store.cached(right)?]);
        let typed = |name| store.cached_typed(&Namespace::<[u8], Stamp>::new(name));
        Ok(Self {
            pairs: [pair(PAIRS[0])?, pair(PAIRS[1])?],
            typed: [typed(PAIRS[0][0])?, typed(PAIRS[0][1])?],
            swapped: [store.cached(SWAPPED[0])?, store.cached(SWAPPED[1])?],
            accounts: store.cached("accounts")?,
        })
    }
}

/// Reads a key of a snapshot through the cache, and now and then past it as well.
fn read_at(view: &NamespaceView<'_>, key: &[u8], version: u64, random: &mut Random) -> Result<Option<Stamp>> {
    let what = format!("{}/{key:?} in version {version}", view.metadata().name);
    let found = view.get_bytes(key)?;
    if random.below(8) == 0 {
        let uncached = view.get(key)?;
        if found.as_deref() != uncached.as_deref() {
            let (found, uncached) = (parse(&what, found.as_deref())?, parse(&what, uncached.as_deref())?);
            return Err(wrong(format_args!("{what} is cached as {found:?}, and is {uncached:?}")));
        }
    }
    let found = parse(&what, found.as_deref())?;
    match &found {
        Some(stamp) if stamp.version > version => Err(wrong(format_args!("{what} is {stamp:?}"))),
        _ => Ok(found),
    }
}

/// Reads both of a pair from a snapshot.
fn read_pair(
    snapshot: &Snapshot,
    pair: [&'static str; 2],
    i: usize,
    random: &mut Random,
) -> Result<Option<Stamp>> {
    let version = snapshot.version().get();
    let [left, right] = pair.map(|name| snapshot.namespace(name));
    let (left, right) = (left?, right?);
    let here = read_at(&left, &key(i), version, random)?;
    let there = read_at(&right, &key(i), version, random)?;
    if here != there {
        return Err(wrong(format_args!("{pair:?} {i} are {here:?} and {there:?} in version {version}")));
    }
    if random.below(4) == 0 {
        let typed = snapshot.typed(&Namespace::<[u8], Stamp>::new(pair[0]))?.get_arc(&key(i))?;
        if typed.as_deref() != here.as_ref() {
            return Err(wrong(format_args!("{pair:?} {i} is {here:?}, and as a type {typed:?}")));
        }
    }
    Ok(here)
}

fn read_accounts(snapshot: &Snapshot, random: &mut Random) -> Result<()> {
    let (accounts, version) = (snapshot.namespace("accounts")?, snapshot.version().get());
    let mut sum = 0;
    for i in 0..ACCOUNTS {
        let found = read_at(&accounts, &key(i), version, random)?;
        sum += found.ok_or_else(|| wrong(format_args!("account {i} is gone in version {version}")))?.number;
    }
    if sum != SUM {
        return Err(wrong(format_args!("the accounts have {sum} in version {version}")));
    }
    for name in SWAPPED {
        let who = read_at(&snapshot.namespace(name)?, b"who", version, random)?;
        if who.as_ref().is_none_or(|who| who.text != name) {
            return Err(wrong(format_args!("{name} is {who:?} in version {version}")));
        }
    }
    Ok(())
}

/// Makes some reads; returns how many.
fn read_some(
    store: &Store,
    handles: &Handles,
    known: &Known,
    old: &mut VecDeque<Snapshot>,
    random: &mut Random,
) -> Result<u64> {
    let (which, side, i) = (usize::from(random.below(4) == 0), below(random, 2), below(random, KEYS));
    let (name, mark) = (PAIRS[which][side], &known.pairs[which][i]);
    let is_removable = i >= REMOVED;
    match random.below(32) {
        0..20 => {
            let before = mark.load(Ordering::SeqCst);
            let found = handles.pairs[which][side].get(key(i))?;
            note(name, mark, before, parse(name, found.as_deref())?.as_ref(), is_removable)?;
            Ok(1)
        }
        20..22 => {
            let before = mark.load(Ordering::SeqCst);
            let cached = &handles.pairs[which][side];
            let found = cached.get_with(key(i), |value| parse(name, value))??;
            note(name, mark, before, found.as_ref(), is_removable)?;
            Ok(1)
        }
        22..26 => {
            let mark = &known.pairs[0][i];
            let before = mark.load(Ordering::SeqCst);
            let found = handles.typed[side].get(&key(i)[..])?;
            note(name, mark, before, found.as_deref(), is_removable)?;
            Ok(1)
        }
        26 => {
            let mark = &known.swapped[side];
            let before = mark.load(Ordering::SeqCst);
            let found = parse("who", handles.swapped[side].get("who")?.as_deref())?;
            if found.as_ref().is_none_or(|who| who.text != SWAPPED[side]) {
                return Err(wrong(format_args!("{} is {found:?}", SWAPPED[side])));
            }
            note("who", mark, before, found.as_ref(), false)?;
            Ok(1)
        }
        27 => {
            let account = below(random, ACCOUNTS);
            let mark = &known.accounts[account];
            let before = mark.load(Ordering::SeqCst);
            let found = parse("an account", handles.accounts.get(key(account))?.as_deref())?;
            note("an account", mark, before, found.as_ref(), false)?;
            Ok(1)
        }
        28 | 29 => {
            let (before, shown) = (mark.load(Ordering::SeqCst), known.version.load(Ordering::SeqCst));
            let snapshot = store.snapshot()?;
            let version = snapshot.version().get();
            if version < shown {
                return Err(wrong(format_args!("version {version} is shown after {shown}")));
            }
            known.version.fetch_max(version, Ordering::SeqCst);
            let found = read_pair(&snapshot, PAIRS[which], i, random)?;
            note(name, mark, before, found.as_ref(), is_removable)?;
            if random.below(8) == 0 {
                old.push_back(snapshot);
            }
            if old.len() > 4 {
                let any = below(random, 4);
                old.remove(any);
            }
            Ok(2)
        }
        30 => match old.get(below(random, 4)) {
            Some(snapshot) => read_pair(snapshot, PAIRS[which], i, random).map(|_| 2),
            None => Ok(0),
        },
        _ => {
            let snapshot = match old.get(below(random, 8)) {
                Some(snapshot) => snapshot.clone(),
                None => store.snapshot()?,
            };
            read_accounts(&snapshot, random)?;
            Ok(ACCOUNTS as u64 + 2)
        }
    }
}

fn keep_reading(store: &Store, known: &Known, seed: u64) -> Result<()> {
    let handles = Handles::new(store)?;
    let (mut old, mut random) = (VecDeque::new(), Random(seed));
    loop {
        match read_some(store, &handles, known, &mut old, &mut random) {
            Ok(reads) => _ = known.reads.fetch_add(reads, Ordering::Relaxed),
            Err(error) if error.kind() == Kind::Stalled => {}
            Err(error) => return Err(error),
        }
        // The writer wants to run, too.
        if random.below(256) == 0 {
            thread::sleep(Duration::from_micros(random.below(1500)));
        }
    }
}

#[test]
fn child_reads() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let settings = Child::told().expect("the parent talks").expect("says how");
    let settings: Vec<u64> = settings.split(' ').map(|it| it.parse().expect("a number")).collect();
    let &[seed, budget, in_background, grace] = &settings[..] else { panic!("{settings:?}") };
    let grace = Duration::from_millis(grace);
    let catch_up = if in_background == 0 { CatchUp::OnRead } else { CatchUp::Background };
    let cache = Cache::new(usize::try_from(budget).expect("is small"));
    let store = Store::options().role(Role::Reader).cache(cache).catch_up(catch_up).open(path)?;
    let known = Arc::new(Known {
        pairs: [const { [const { AtomicU64::new(0) }; KEYS] }; 2],
        swapped: [const { AtomicU64::new(0) }; 2],
        accounts: [const { AtomicU64::new(0) }; ACCOUNTS],
        version: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        tokens: AtomicU64::new(0),
    });
    for thread in 0..2 {
        let (store, known) = (store.clone(), known.clone());
        thread::spawn(move || {
            // A panic is told to the parent like any other problem.
            let read = std::panic::AssertUnwindSafe(|| keep_reading(&store, &known, seed + thread));
            let ended = match std::panic::catch_unwind(read) {
                Ok(Err(error)) => format!("{error:?}"),
                Ok(Ok(())) => "a reader ends".into(),
                Err(_) => "a reader panics".into(),
            };
            let _ = Child::report(format_args!("broken {ended}"));
        });
    }
    // What was told counts from when it has to be known.
    let told: Arc<Mutex<VecDeque<(Instant, u64, usize)>>> = Arc::default();
    let (waiting, shared) = (told.clone(), known.clone());
    let count = move |version: u64, key: usize| {
        shared.pairs[0][key].fetch_max(2 * version, Ordering::SeqCst);
        shared.tokens.fetch_add(1, Ordering::Relaxed);
    };
    let at_once = count.clone();
    if !grace.is_zero() {
        thread::spawn(move || {
            loop {
                while let Some((_, version, key)) = {
                    let mut waiting = waiting.lock().expect("nobody panics");
                    waiting.pop_front_if(|(since, ..)| since.elapsed() >= grace)
                } {
                    count(version, key);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
    }
    while let Some(line) = Child::told().expect("the parent talks") {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["token", version, key] => {
                let (version, key) = (version.parse().expect("a number"), key.parse().expect("a number"));
                if grace.is_zero() {
                    at_once(version, key);
                } else {
                    told.lock().expect("nobody panics").push_back((Instant::now(), version, key));
                }
            }
            ["count"] => {
                let (hits, dropped, floors) = store.cache_stats().iter().fold((0, 0, 0), |sum, it| {
                    (sum.0 + it.stats.hits, sum.1 + it.stats.invalidations, sum.2 + it.stats.floors)
                });
                let counts = [
                    known.reads.load(Ordering::Relaxed),
                    known.tokens.load(Ordering::Relaxed),
                    hits,
                    dropped,
                    floors,
                ];
                let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
                Child::report(format_args!("counts {}", counts.join(" "))).expect("the parent listens");
            }
            _ => panic!("what does {line:?} mean?"),
        }
    }
    Ok(())
}

/// Reads, tokens that were checked, hits, invalidations, floors.
type Counts = [u64; 5];

struct Reader {
    child: Child,
    counts: Counts,
}

struct Checker {
    path: PathBuf,
    random: Random,
    writers: [Child; 2],
    readers: Vec<Reader>,
    grace: u64,
    /// Of readers that are gone.
    gone: Counts,
    killed: [u64; 2],
    committed: u64,
}

impl Checker {
    fn new(path: &Path, seed: u64, grace: u64) -> Self {
        let writer = || Child::start("cached_processes::child_writes", path).expect("starts");
        let mut checker = Self {
            path: path.to_owned(),
            random: Random(seed),
            writers: [writer(), writer()],
            readers: Vec::new(),
            grace,
            gone: Counts::default(),
            killed: [0; 2],
            committed: 0,
        };
        for which in 0..3 {
            let reader = checker.reader(which);
            checker.readers.push(reader);
        }
        checker
    }

    fn reader(&mut self, which: usize) -> Reader {
        let mut child = Child::start("cached_processes::child_reads", &self.path).expect("starts");
        // One of them has little room, and one has somebody who goes ahead.
        let (budget, in_background) = ([8 << 20, 40 << 10, 1 << 20][which], u64::from(which == 2));
        let settings = format!("{} {budget} {in_background} {}", self.random.next() >> 1, self.grace);
        child.tell(settings).expect("listens");
        Reader { child, counts: Counts::default() }
    }

    /// Hands on what the writers say, and hears what the readers found.
    fn listen(&mut self) {
        let mut tokens = Vec::new();
        for writer in &mut self.writers {
            while let Some(report) = heard(writer) {
                let token = report.strip_prefix("committed ").unwrap_or_else(|| panic!("{report}"));
                tokens.push(format!("token {token}"));
            }
        }
        self.committed += tokens.len() as u64;
        for reader in &mut self.readers {
            // The last say the most, and a pipe holds so much.
            for token in tokens.iter().rev().take(30) {
                reader.child.tell(token).expect("listens");
            }
            reader.child.tell("count").expect("listens");
            while let Some(report) = heard(&mut reader.child) {
                let counts = report.strip_prefix("counts ").unwrap_or_else(|| panic!("{report}"));
                let counts = counts.split(' ').map(|it| it.parse().expect("a number"));
                reader.counts = counts.collect::<Vec<_>>().try_into().expect("are five");
            }
        }
    }

    fn counts(&self) -> Counts {
        let mut sum = self.gone;
        for reader in &self.readers {
            sum.iter_mut().zip(reader.counts).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    fn kill_a_writer(&mut self) {
        let which = below(&mut self.random, 2);
        let next = Child::start("cached_processes::child_writes", &self.path).expect("starts");
        let killed = std::mem::replace(&mut self.writers[which], next);
        for report in killed.kill().expect("can be killed") {
            assert!(report.starts_with("committed "), "{report}");
        }
        self.killed[0] += 1;
    }

    fn kill_a_reader(&mut self) {
        let which = below(&mut self.random, self.readers.len());
        let next = self.reader(which);
        let killed = std::mem::replace(&mut self.readers[which], next);
        self.gone.iter_mut().zip(killed.counts).for_each(|(sum, count)| *sum += count);
        for report in killed.child.kill().expect("can be killed") {
            assert!(report.starts_with("counts "), "{report}");
        }
        self.killed[1] += 1;
    }

    /// Lets them go on until enough was read.
    #[expect(clippy::print_stdout, reason = "shown by a test that fails")]
    fn run(&mut self, reads: u64, at_least: Duration, mut disturb: impl FnMut(&mut Random)) {
        let begin = Instant::now();
        while self.counts()[0] < reads || begin.elapsed() < at_least {
            assert!(begin.elapsed() < Duration::from_hours(2), "{:?}", self.counts());
            thread::sleep(Duration::from_millis(20));
            self.listen();
            match self.random.below(100) {
                0..3 => self.kill_a_writer(),
                3..5 => self.kill_a_reader(),
                _ => {}
            }
            disturb(&mut self.random);
        }
        let [reads, tokens, hits, dropped, floors] = self.counts();
        let (seconds, [writers, readers]) = (begin.elapsed().as_secs_f32(), self.killed);
        println!(
            "{reads} reads in {seconds} s, {hits} of them hits; {dropped} values dropped, {floors} times all; \
             {} commits, {tokens} tokens checked; {writers} writers and {readers} readers killed",
            self.committed
        );
        assert!(
            hits > reads / 10 && dropped > 100 && floors > 0 && tokens > 10 && writers > 0 && readers > 0
        );
    }
}

fn heard(child: &mut Child) -> Option<String> {
    match child.next_report_within(Duration::ZERO) {
        Ok(report) => Some(report.expect("the child lives")),
        Err(_) => None,
    }
}

fn reads() -> u64 {
    std::env::var("COHAB_CACHE_READS").map_or(1_000_000, |it| it.parse().expect("a number of reads"))
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn seed() -> u64 {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    seed
}

#[test]
fn invariants_3_and_4_hold_for_whoever_reads_through_the_cache_whoever_is_killed() -> Result<()> {
    let scratch = Scratch::new();
    create(&scratch.store())?;
    Checker::new(&scratch.path(), seed(), 0).run(reads(), Duration::from_secs(8), |_| ());
    Ok(())
}

/// What becomes of the page, given an older copy of it.
type Fault = (&'static str, fn(&Path, &[u8], &mut Random));

const FAULTS: [Fault; 6] = [
    ("removed", |page, _, _| _ = fs::remove_file(page)),
    ("zeroed", |page, _, _| overwrite(page, &[0; 8704])),
    ("filled with garbage", |page, _, random| {
        let garbage: Vec<u8> = (0..8704 / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        overwrite(page, &garbage);
    }),
    ("filled with garbage but for its header and its mark", |page, _, random| {
        let Ok(mut garbage) = fs::read(page) else { return };
        garbage.iter_mut().skip(256).for_each(|byte| *byte = random.next().to_le_bytes()[0]);
        overwrite(page, &garbage);
    }),
    ("overwritten by an older copy of itself", |page, older, _| overwrite(page, older)),
    ("replaced by an older copy of itself", |page, older, _| {
        let copy = page.with_extension("copy");
        fs::write(&copy, older).and_then(|()| fs::rename(copy, page)).expect("can be replaced");
    }),
];

/// In place, so that it changes under those who have it mapped.
fn overwrite(page: &Path, content: &[u8]) {
    use std::os::unix::fs::FileExt;
    // At times there is none.
    let Ok(file) = fs::OpenOptions::new().write(true).open(page) else { return };
    file.write_all_at(content, 0).expect("can be written");
}

/// Reads may come late then, but not by more than a second or so; this allows for three, on a machine that is busy.
#[test]
fn nothing_wrong_is_read_through_the_cache_whatever_becomes_of_the_page() -> Result<()> {
    let scratch = Scratch::new();
    create(&scratch.store())?;
    let page = scratch.path().join("coord.page");
    let (mut older, mut faults) = (Vec::new(), [0; FAULTS.len()]);
    Checker::new(&scratch.path(), seed(), 3000).run(reads() / 2, Duration::from_secs(9), |random| {
        if random.below(20) == 0
            && let Ok(copy) = fs::read(&page)
            && copy.len() == 8704
        {
            older = copy;
        }
        if random.below(12) == 0 && !older.is_empty() {
            let which = below(random, FAULTS.len());
            (FAULTS[which].1)(&page, &older, random);
            faults[which] += 1;
        }
    });
    println!("{:?}", FAULTS.map(|(what, _)| what).iter().zip(faults).collect::<Vec<_>>());
    assert!(faults.iter().sum::<u64>() > 5, "{faults:?}");
    Ok(())
}
