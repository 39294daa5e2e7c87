//! Earlier versions, compared with a model that kept every one of them.
//!
//! `COHAB_PAST_RUNS` says how many random histories; `COHAB_MODEL_SEED` with which seed to begin.

use std::collections::BTreeMap;
use std::time::Duration;

use cohab::{Clock, Kind, Lapse, Result, Retention, Snapshot, Store, Timestamp, Version};

use crate::chronicle::{Chronicle, May, Op, Seed, World, compare, seeds};
use crate::{Random, v};

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
    for seed in seeds("COHAB_PAST_RUNS", 12) {
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
    for seed in seeds("COHAB_PAST_RUNS", 6) {
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
