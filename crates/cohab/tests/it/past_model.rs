//! Earlier versions, compared with a model that kept every one of them.
//!
//! `COHAB_PAST_RUNS` says how many random histories; `COHAB_MODEL_SEED` with which seed to begin.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use cohab::{Clock, Kind, Lapse, Result, Retention, Snapshot, Store, Timestamp, Version};

use crate::chronicle::{Chronicle, May, Op, Seed, World, compare, seeds};
use crate::{Random, Scratch, v};

const MAY: May = May { roll_back: false, reopen: true };

/// Compares a version as `base` shows it, or how it is refused. `tip` is the version that is pinned.
fn check_at(chronicle: &Chronicle, base: &Snapshot, tip: Version, version: Version, random: &mut Random) {
    let oldest = base.oldest_readable();
    let shown = match base.at(version) {
        Ok(shown) => shown,
        Err(error) if version > base.version() => {
            assert_eq!(error.kind(), Kind::NotFound, "{error}");
            return;
        }
        Err(error) => {
            assert!(version < oldest, "{error}");
            assert_eq!((error.kind(), error.oldest_version()), (Kind::TooOld, Some(oldest)), "{error}");
            return;
        }
    };
    assert!(version >= oldest && version <= base.version());
    let state = chronicle.at(version);
    assert_eq!((shown.version(), shown.epoch(), shown.store()), (version, state.epoch, base.store()));
    assert_eq!((shown.oldest_readable(), shown.oldest_version()), (oldest, base.oldest_version()));
    assert_eq!((shown.token().version, shown.created_at()), (version, base.created_at()));
    compare(chronicle, &shown, tip, random);
    let first = shown.oldest_version().get();
    let mut expected: Vec<_> = (first..=version.get())
        .map(|it| chronicle.at(v(it)))
        .map(|it| (it.version, it.time, it.epoch, it.label.clone()))
        .collect();
    let told = |log: cohab::LogRecord<'_>| (log.version(), log.time(), log.epoch(), log.label().to_owned());
    let found: Vec<_> = shown.log(..).map(|it| told(it.expect("is sound"))).collect();
    assert_eq!(found, expected);
    let found: Vec<_> = shown.log(..).rev().map(|it| told(it.expect("is sound"))).collect();
    expected.reverse();
    assert_eq!(found, expected);
    assert!(shown.verify_log().expect("can be read").is_sound());
}

/// Compares all versions, also as earlier ones show them.
fn check_all(chronicle: &Chronicle, base: &Snapshot, random: &mut Random) {
    let tip = base.version();
    for version in 0..=tip.get() + 1 {
        check_at(chronicle, base, tip, v(version), random);
    }
    for _ in 0..4 {
        let between = random.version(tip);
        let Ok(shown) = base.at(between) else { continue };
        let version = random.version(tip);
        check_at(chronicle, &shown, tip, version, random);
    }
    check_times(chronicle, base, random);
}

fn check_times(chronicle: &Chronicle, base: &Snapshot, random: &mut Random) {
    let (first, last) = (base.oldest_version().get(), base.version().get());
    for _ in 0..8 {
        let near = chronicle.at(random.version(base.version())).time.as_micros();
        let time = Timestamp::from_micros((near + random.below(3)).saturating_sub(1));
        let expected = (first..=last).rev().find(|version| chronicle.at(v(*version)).time <= time);
        let is_first = base.oldest_readable() == Version::ZERO && base.created_at() <= time;
        let expected = expected.or(is_first.then_some(0));
        match (base.at_time(time), expected) {
            (Ok(shown), Some(expected)) => assert_eq!(shown.version(), v(expected), "{time}"),
            (Err(error), None) => {
                assert_eq!(error.kind(), Kind::TooOld, "{error}");
                assert_eq!(error.oldest_version(), Some(base.oldest_readable()));
            }
            (found, expected) => panic!("{time}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn every_version_reads_as_it_was() {
    for seed in seeds("COHAB_PAST_RUNS", 8) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, Store::options().retention(Retention::UNBOUNDED));
        for _ in 0..30 {
            world.step(MAY);
        }
        let base = world.store.snapshot().expect("can be taken");
        check_all(&world.chronicle, &base, &mut world.random);
        world.verify();
    }
}

#[test]
fn earlier_versions_are_read_while_the_writer_goes_on() {
    for seed in seeds("COHAB_PAST_RUNS", 4) {
        let _seed = Seed(seed);
        let retention = Retention::UNBOUNDED.versions(8);
        let mut world = World::new(seed, Store::options().retention(retention));
        let may = May { roll_back: true, reopen: false };
        world.is_trimmed = true;
        let mut older = Vec::new();
        for round in 0..6 {
            // What was kept before something was destroyed lapses meanwhile.
            world.clock.set(world.clock.now().as_micros() + 8 * 24 * 3_600_000_000);
            for _ in 0..6 {
                world.step(may);
            }
            let (base, chronicle) = (world.store.snapshot().expect("can be taken"), world.chronicle.clone());
            older.push((base.clone(), chronicle.clone()));
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let mut random = Random(seed ^ round);
                    for _ in 0..6 {
                        let (base, chronicle) = random.pick(&older);
                        let version = random_near(&mut Random(random.0), base);
                        check_at(chronicle, base, base.version(), version, &mut Random(round));
                        let _ = random.next();
                    }
                });
                for _ in 0..4 {
                    world.step(may);
                }
                reader.join().expect("does not panic");
            });
        }
        // Those that were taken before the log was trimmed go on to show what they did.
        while world.store.maintain().expect("can be done").more {}
        assert!(world.store.snapshot().expect("can be taken").oldest_version() > v(1), "nothing was trimmed");
        older.push((world.store.snapshot().expect("can be taken"), world.chronicle.clone()));
        for (base, chronicle) in &older {
            for _ in 0..4 {
                let version = random_near(&mut world.random, base);
                check_at(chronicle, base, base.version(), version, &mut world.random);
            }
            check_times(chronicle, base, &mut world.random);
        }
        world.verify();
    }
}

/// A version about as old as can be shown, or younger, or in the future.
fn random_near(random: &mut Random, base: &Snapshot) -> Version {
    let oldest = base.oldest_readable().get().saturating_sub(2);
    v(oldest + random.below(base.version().get() + 2 - oldest))
}

/// Trims the log as far as it may be.
fn trim(store: &Store) -> Result<u64> {
    let mut lapsed = 0;
    loop {
        let done = store.maintain()?;
        lapsed += done.lapsed;
        if !done.more {
            return Ok(lapsed);
        }
    }
}

#[test]
fn a_keys_history_ends_where_the_record_of_a_version_may_not_tell_all() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let history = |tx: &mut cohab::Transaction<'_, '_>, history| {
        tx.update_namespace("n", &cohab::Update::new().history(history))
    };
    store.write(|tx| {
        tx.put("n", "k", "1")?;
        history(tx, cohab::History::Off)?;
        tx.put("n", "k", "2")
    })?;
    store.write(|tx| {
        tx.put("n", "k", "3")?;
        history(tx, cohab::History::Full)?;
        tx.put("n", "k", "4")
    })?;
    let snapshot = store.snapshot()?;
    let told: Vec<_> = snapshot.namespace("n")?.history("k")?.take(5).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let last = told[0].as_ref().expect("is there");
    assert_eq!((last.version, last.value.as_deref()), (v(3), Some(&b"4"[..])));
    assert_eq!(told[1].as_ref().map_err(cohab::Error::kind).err(), Some(Kind::NoHistory));
    // Where everything is told, all of it is.
    store.write(|tx| tx.put("n", "k", "5"))?;
    store.write(|tx| tx.delete("n", "k"))?;
    store.write(|tx| tx.put("n", "k", "6"))?;
    let snapshot = store.snapshot()?;
    let told: Vec<_> = snapshot.namespace("n")?.history("k")?.map_while(Result::ok).collect();
    let told: Vec<_> = told.iter().map(|it| (it.version.get(), it.value.as_deref())).collect();
    let expected: [(u64, Option<&[u8]>); 4] = [(6, Some(b"6")), (5, None), (4, Some(b"5")), (3, Some(b"4"))];
    assert_eq!(told, expected);
    Ok(())
}

/// A thread that looks while another commits something that makes no version sees it the next time it looks.
#[test]
fn what_makes_no_version_is_seen_by_every_thread() {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                store.snapshot().expect("can be taken");
            }
        });
        for i in 0..300 {
            let name = format!("s{}", i % 8);
            if i >= 8 {
                store.drop_snapshot(&name).expect("is there");
            }
            store.create_snapshot(&name, None, "").expect("can be made");
            let found = store.snapshot().and_then(|it| it.at_named(&name));
            if found.is_err() {
                is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            found.expect("was made a moment ago");
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_named_snapshot_that_makes_the_log_too_large_lapses_and_says_so() -> Result<()> {
    let scratch = Scratch::new();
    let retention = Retention::UNBOUNDED.bytes(10_000).pinned_bytes(50_000);
    let store = Store::options().retention(retention).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("n"))?;
    let early = store.create_snapshot("early", None, "")?;
    let fill = |count: u64| -> Result<()> {
        for i in 0..count {
            store.write(|tx| tx.put("n", i.to_be_bytes(), [7; 1000]))?;
        }
        Ok(())
    };
    fill(40)?;
    let later = store.create_snapshot("later", None, "")?;
    assert_eq!(store.maintain()?.lapsed, 0, "there is room for both");
    assert_eq!(store.snapshot()?.at_named("early")?.version(), early);
    // On the side, by commits alone.
    fill(150)?;
    let snapshot = store.snapshot()?;
    assert!(snapshot.log_bytes() < 80_000, "{} bytes", snapshot.log_bytes());
    let lapsed: Vec<_> =
        snapshot.named_snapshots()?.iter().map(|it| (it.kept.version, it.kept.lapsed)).collect();
    assert_eq!(lapsed, [(early, Some(cohab::Lapse::Bytes)), (later, Some(cohab::Lapse::Bytes))]);
    let refused = snapshot.at_named("early").expect_err("has lapsed");
    assert_eq!(refused.kind(), Kind::TooOld);
    assert!(refused.to_string().contains("`early` of version 1 has lapsed (bytes)"), "{refused}");
    // One that is made now is kept again.
    store.create_snapshot("now", None, "")?;
    fill(10)?;
    assert!(store.snapshot()?.at_named("now").is_ok());
    Ok(())
}

#[test]
fn a_named_snapshot_keeps_exactly_what_it_needs() -> Result<()> {
    for seed in seeds("COHAB_PAST_RUNS", 4) {
        let _seed = Seed(seed);
        let retention = 1 + seed % 4;
        let mut world =
            World::new(seed, Store::options().retention(Retention::UNBOUNDED.versions(retention)));
        world.is_trimmed = true;
        let mut kept: BTreeMap<String, Version> = BTreeMap::new();
        for round in 0..40 {
            let name = world.random.name();
            let ops: Vec<_> = (0..3).map(|_| world.random.op()).collect();
            // Dropping would keep versions as well.
            let ops: Vec<_> =
                ops.into_iter().filter(|op| !matches!(op, Op::Drop(..) | Op::Safeguard(_))).collect();
            world.write_ops(&ops);
            let (last, oldest) = {
                let snapshot = world.store.snapshot()?;
                (snapshot.version(), snapshot.oldest_readable())
            };
            match world.random.below(6) {
                0 => {
                    let at = (!world.random.one_in(3)).then(|| {
                        random_near(&mut world.random, &world.store.snapshot().expect("can be taken"))
                    });
                    let version = at.unwrap_or(last);
                    let name = format!("{name}-{}", round % 4);
                    let done = world.store.create_snapshot(&name, at, "a note").map_err(|it| it.kind());
                    let expected = if version > last {
                        Err(Kind::NotFound)
                    } else if version < oldest {
                        Err(Kind::TooOld)
                    } else if let Entry::Vacant(entry) = kept.entry(name) {
                        Ok(*entry.insert(version))
                    } else {
                        Err(Kind::Exists)
                    };
                    assert_eq!(done, expected);
                }
                1 => {
                    let name = kept.keys().next().cloned().unwrap_or_else(|| "none".into());
                    let done = world.store.drop_snapshot(&name).map_err(|it| it.kind());
                    assert_eq!(done, kept.remove(&name).ok_or(Kind::NotFound));
                }
                2 => world.reopen(),
                _ => assert_eq!(trim(&world.store)?, 0),
            }
            assert_eq!(world.store.snapshot()?.version(), last, "naming a version makes none");
            trim(&world.store)?;
            let snapshot = world.store.snapshot()?;
            let newest = last.get().saturating_sub(retention - 1);
            let expected =
                kept.values().map(|it| it.get()).chain([newest]).min().expect("one at least").max(1);
            assert!(
                snapshot.oldest_version() <= v(expected),
                "{} of {expected}: {kept:?}",
                snapshot.oldest_version()
            );
            // What was trimmed before does not come back.
            if snapshot.oldest_version() < v(expected) {
                assert_eq!(snapshot.oldest_version(), oldest.max(v(1)), "{kept:?} at {last}");
            }
            let named: BTreeMap<_, _> =
                snapshot.named_snapshots()?.iter().map(|it| (it.name.to_string(), it.kept.version)).collect();
            assert_eq!(named, kept);
            for (name, version) in &kept {
                let shown = snapshot.at_named(name)?;
                assert_eq!(shown.version(), *version);
                compare(&world.chronicle, &shown, last, &mut world.random);
            }
        }
        world.verify();
    }
    Ok(())
}

#[test]
fn a_snapshot_before_a_drop_lapses_with_age_and_says_so() -> Result<()> {
    let mut world = World::new(1, Store::options().retention(Retention::UNBOUNDED.versions(1)));
    world.write_ops(&[Op::Create("a".into(), cohab::History::Full)]);
    world.write_ops(&[Op::Put("a".into(), b"k".to_vec(), b"v".to_vec())]);
    world.write_ops(&[Op::Drop("a".into(), cohab::DropMode::WithContents)]);
    world.store.create_snapshot("mine", Some(v(3)), "")?;
    for _ in 0..3 {
        world.write_ops(&[Op::Create("b".into(), cohab::History::Full)]);
        world.write_ops(&[Op::Rename("b".into(), format!("b{}", world.chronicle.version()))]);
    }
    let now = world.clock.now().as_micros();
    let age = u64::try_from(cohab::limits::SAFETY_AGE_MAX.as_micros()).expect("is small");
    // Back, up to the limit, and past it.
    for (time, lapsed, oldest) in [(now - age * 2, 0, 2), (now + age, 0, 2), (now + age + 1, 1, 3)] {
        world.clock.set(time);
        assert_eq!(trim(&world.store)?, lapsed, "{time}");
        let snapshot = world.store.snapshot()?;
        assert_eq!(snapshot.oldest_readable(), v(oldest));
        let named = snapshot.named_snapshots()?;
        let safety = named.iter().find(|it| it.kept.as_safety().is_some()).expect("is still told of");
        assert_eq!(safety.kept.lapsed, (lapsed > 0).then_some(Lapse::Age));
        assert_eq!(safety.kept.version, v(2));
        match snapshot.at_named(&safety.name) {
            Ok(shown) => compare(&world.chronicle, &shown, snapshot.version(), &mut world.random),
            Err(error) => {
                assert_eq!((error.kind(), lapsed), (Kind::TooOld, 1));
                assert!(error.to_string().contains("has lapsed (age)"), "{error}");
                assert_eq!(error.oldest_version(), Some(v(3)));
            }
        }
        // Those that somebody asked for stay.
        assert_eq!(snapshot.at_named("mine")?.version(), v(3));
    }
    world.store.drop_snapshot("mine")?;
    trim(&world.store)?;
    let snapshot = world.store.snapshot()?;
    assert_eq!(snapshot.oldest_readable(), snapshot.version());
    world.verify();
    Ok(())
}

#[test]
fn of_very_many_drops_the_last_ones_keep_their_versions() -> Result<()> {
    let mut world = World::new(2, Store::options().retention(Retention::UNBOUNDED.versions(1)));
    world.is_trimmed = true;
    let most = cohab::limits::SAFETY_SNAPSHOTS_MAX as u64;
    for _ in 0..most + 8 {
        world.write_ops(&[Op::Create("a".into(), cohab::History::Full)]);
        world.write_ops(&[Op::Drop("a".into(), cohab::DropMode::WithContents)]);
    }
    trim(&world.store)?;
    let snapshot = world.store.snapshot()?;
    let named = snapshot.named_snapshots()?;
    let active: Vec<_> = named.iter().filter(|it| it.kept.is_active()).map(|it| it.kept.version).collect();
    let last = snapshot.version().get();
    let expected: Vec<_> = (0..most).rev().map(|i| v(last - 1 - 2 * i)).collect();
    assert_eq!(active, expected);
    assert_eq!(snapshot.oldest_readable(), expected[0]);
    let lapsed: Vec<_> = named.iter().filter(|it| !it.kept.is_active()).collect();
    assert!(lapsed.iter().all(|it| it.kept.lapsed == Some(Lapse::Number)));
    assert_eq!(lapsed.len(), 8);
    for it in &active {
        compare(&world.chronicle, &snapshot.at(*it)?, snapshot.version(), &mut world.random);
    }
    Ok(())
}

#[test]
fn an_earlier_version_is_not_called_damaged_by_what_came_later() -> Result<()> {
    let mut world = World::new(3, Store::options());
    world.write_ops(&[Op::Create("a".into(), cohab::History::Full), Op::Put("a".into(), vec![1], vec![1])]);
    world.write_ops(&[Op::Put("a".into(), vec![2], vec![2]), Op::Create("b".into(), cohab::History::Full)]);
    let snapshot = world.store.snapshot()?;
    let report = snapshot.at(v(1))?.verify(|_| ())?;
    assert!(report.is_sound(), "{:?}", report.differences);
    let backup = snapshot.at(v(1))?.backup(world.scratch.file("backup"), |_| ());
    assert_eq!(backup.map_err(|it| it.kind()), Err(Kind::InvalidInput));
    assert!(!world.scratch.file("backup").exists());
    Ok(())
}

#[test]
fn values_of_earlier_versions_neither_come_from_the_cache_nor_get_there() -> Result<()> {
    let mut world = World::new(4, Store::options());
    let put = |value: u8| Op::Put("a".into(), vec![1], vec![value]);
    world.write_ops(&[Op::Create("a".into(), cohab::History::Full), put(1)]);
    world.write_ops(&[put(2)]);
    world.write_ops(&[Op::Delete("a".into(), vec![1])]);
    world.write_ops(&[put(4)]);
    for _ in 0..4 {
        let snapshot = world.store.snapshot()?;
        for version in [1, 2, 3, 4, 2, 1] {
            let shown = snapshot.at(v(version))?;
            let value = shown.namespace("a")?.get_bytes([1])?.map(|it| it[0]);
            assert_eq!(value, (version != 3).then_some(u8::try_from(version).expect("is small")));
        }
    }
    Ok(())
}
