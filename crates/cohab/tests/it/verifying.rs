//! Verifying: a store that is in use, damage with the keys around it, the past, and one store against another.

use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::time::{Duration, Instant};

use cohab::{
    Checkpoint, Difference, DropMode, History, KeyBounds, Kind, Report, Result, Retention, Role, Snapshot,
    Store, Update, VerifyOptions,
};
use cohab_engine::{Engine, Table};
use cohab_testkit::Child;

use crate::{Random, Scratch, key};

fn small() -> VerifyOptions {
    VerifyOptions::default().slice_keys(7)
}

fn name(i: u64) -> String {
    format!("key-{i:04}")
}

#[track_caller]
fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{:#?}", report.differences);
}

/// Does something to a store, whatever comes up.
fn disturb(store: &Store, random: &mut Random, keeps_history: bool) -> Result<()> {
    let dice = random.below(100);
    let other = format!("other-{}", random.below(3));
    let done = store.write(|tx| match dice {
        0..3 => tx.ensure_namespace(&other).map(drop),
        3..5 => tx.drop_namespace(&other, DropMode::WithContents),
        5..7 => tx.undrop_namespace(&other).map(drop),
        7 => tx.purge_namespace(&other).map(drop),
        8..10 => tx.rename_namespace(&other, format!("other-{}", random.below(3))),
        10..12 if !keeps_history => {
            let history = if dice == 10 { History::Off } else { History::Full };
            tx.update_namespace("n", &Update::new().history(history))
        }
        12..30 => {
            tx.ensure_namespace(&other)?;
            (0..5).try_for_each(|_| tx.put(&other, name(random.below(100)), vec![1; 20]))
        }
        30..50 => (0..3).try_for_each(|_| tx.delete("n", name(random.below(400))).map(drop)),
        _ => (0..4).try_for_each(|_| {
            let value = vec![u8::try_from(random.below(256)).expect("is small"); 30];
            tx.put("n", name(random.below(400)), value)
        }),
    });
    match done {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Exists) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Verifies again and again, with transactions between the slices, and returns all remarks.
fn verify_beside(store: &Store, commits: u32, keeps_history: bool) -> Result<Vec<String>> {
    let seed = 0x5eed;
    let mut random = Random(seed);
    let (mut done, mut rounds, mut remarks) = (0, 0, Vec::new());
    while done < commits {
        let mut verifier = store.verifier(small())?;
        let report = loop {
            if let Some(report) = verifier.step()? {
                break report;
            }
            let burst = if random.below(10) == 0 { 12 } else { random.below(3) };
            for _ in 0..burst {
                disturb(store, &mut random, keeps_history)?;
                done += 1;
            }
            if random.below(40) == 0 {
                store.maintain()?;
            }
        };
        assert!(report.is_sound(), "seed {seed}, round {rounds}: {:#?}", report.differences);
        assert!(report.keys > 0 && report.records > 0 && report.namespaces > 0, "{report:?}");
        remarks.extend(report.remarks);
        rounds += 1;
    }
    assert!(rounds > 3, "{rounds} verifications came to their end");
    assert_sound(&store.snapshot()?.verify(|_| ())?);
    Ok(remarks)
}

fn filled(store: &Store) -> Result<()> {
    store.write(|tx| (0..400).try_for_each(|i| tx.put("n", name(i), vec![7; 30]))).map(drop)
}

#[test]
fn slices_beside_a_busy_writer_find_nothing_wrong() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    let remarks = verify_beside(&store, 1500, true)?;
    assert!(remarks.is_empty(), "the log tells everything, and nothing is begun again: {remarks:?}");
    Ok(())
}

#[test]
fn slices_begin_again_where_the_log_does_not_tell() -> Result<()> {
    let scratch = Scratch::new();
    scratch.with_namespace();
    let store = Store::options().retention(Retention::default().versions(2)).open(scratch.path())?;
    filled(&store)?;
    let remarks = verify_beside(&store, 1500, false)?;
    assert!(remarks.iter().any(|remark| remark.contains("history off")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("does not reach back")), "{remarks:?}");
    assert!(remarks.iter().any(|remark| remark.contains("one snapshot was kept")), "{remarks:?}");
    Ok(())
}

#[test]
fn slices_beside_a_writer_of_another_process_find_nothing_wrong() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("same"))?;
    filled(&store)?;
    drop(store);
    let mut child = Child::start("crash::child_commits_until_it_is_killed", &scratch.path()).expect("starts");
    child.next_report().expect("can be heard").expect("commits");
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    let begun = Instant::now();
    let (first, mut last) = (reader.snapshot()?.version(), reader.snapshot()?.version());
    while begun.elapsed() < Duration::from_secs(3) {
        let report = reader.verifier(small())?.run(|_| ())?;
        assert_sound(&report);
        assert!(report.remarks.is_empty(), "{:?}", report.remarks);
        last = report.version;
    }
    assert!(last > first, "the writer has gone on");
    child.kill().expect("can be killed");
    Ok(())
}

#[test]
fn between_two_slices_nothing_is_pinned() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    let mut verifier = store.verifier(small())?;
    while verifier.step()?.is_none() {
        store.compact()?;
    }
    Ok(())
}

/// Changes every copy of some bytes in the store's file.
fn tamper(store: &Path, needle: &[u8], mut change: impl FnMut(&mut [u8], usize)) {
    let data = store.join("store.redb");
    let mut bytes = fs::read(&data).expect("can be read");
    let places: Vec<_> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty(), "the file holds it");
    for at in places {
        change(&mut bytes, at);
    }
    fs::write(&data, bytes).expect("can be written");
}

fn between(before: u64, behind: u64) -> KeyBounds {
    (Bound::Excluded(name(before).into()), Bound::Excluded(name(behind).into()))
}

/// The differences that name keys, whichever way they were looked for.
fn found(store: &Store) -> Result<(Report, Vec<Difference>)> {
    let whole = store.snapshot()?.verify(|_| ())?;
    let sliced = store.verifier(small())?.run(|_| ())?;
    assert_eq!(whole.differences, sliced.differences, "slices find the same");
    assert_eq!((whole.keys, whole.bytes, whole.records), (sliced.keys, sliced.bytes, sliced.records));
    let named = whole.differences.iter().filter(|it| it.range.is_some()).cloned().collect();
    Ok((whole, named))
}

#[test]
fn damaged_rows_are_named_with_the_keys_around_them_and_the_walk_goes_on() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..400).try_for_each(|i| tx.put("n", name(i), format!("value {i} of many"))))?;
    store.write(|tx| tx.create_namespace("z").and_then(|_| tx.put("z", "first", "sound")))?;
    drop(store);
    for i in [0, 42, 43, 100, 399] {
        tamper(&scratch.path(), format!("value {i} of many").as_bytes(), |bytes, at| bytes[at] ^= 1);
    }
    let (report, named) = found(&scratch.store())?;
    let ranges: Vec<_> =
        named.into_iter().map(|found| (found.place, found.range.expect("was filtered"))).collect();
    let n = || "namespace `n`".to_owned();
    let expected = [
        (n(), (Bound::Unbounded, Bound::Excluded(name(1).into()))),
        (n(), between(41, 44)),
        (n(), between(99, 101)),
        (n(), (Bound::Excluded(name(398).into()), Bound::Unbounded)),
    ];
    assert_eq!(ranges, expected);
    assert_eq!(report.keys, 396, "all others were read");
    Ok(())
}

#[test]
fn a_page_that_cannot_be_read_is_named_and_the_walk_goes_on_behind_it() -> Result<()> {
    const PAGE: usize = 4096;
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..3000).try_for_each(|i| tx.put("n", name(i), format!("value {i} of many"))))?;
    store.compact()?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let good = fs::read(&data).expect("can be read");
    let needle = b"value 1500 of many";
    let mut pages: Vec<_> = (0..good.len() - needle.len())
        .filter(|at| good[*at..].starts_with(needle))
        .map(|at| at / PAGE)
        .collect();
    pages.dedup();
    let mut named_exactly = 0;
    // One of them is the page in use; others may hold the log's record, or what is left of something older.
    for page in pages {
        let mut bytes = good.clone();
        bytes[page * PAGE..][..4].fill(0xff);
        fs::write(&data, bytes).expect("can be written");
        let Ok(store) = Store::options().role(Role::Reader).open(scratch.path()) else { continue };
        let (report, named) = found(&store)?;
        let [Difference { range: Some((Bound::Excluded(before), Bound::Excluded(behind))), .. }] = &named[..]
        else {
            continue;
        };
        let damaged = name(1500).into_bytes();
        assert!(*before < damaged && damaged < *behind, "{named:?}");
        let number = |key: &[u8]| String::from_utf8_lossy(&key[4..]).parse::<u64>().expect("a number");
        let lost = 3000 - report.keys;
        assert!((1..1000).contains(&lost), "{lost} of 3000 keys were not read");
        assert_eq!(number(behind) - number(before) - 1, lost, "the keys around the page are named exactly");
        named_exactly += 1;
    }
    assert_eq!(named_exactly, 1);
    Ok(())
}

static TABLES: [Table; 3] =
    [Table::new(0, "data").bytes_min(8), Table::new(1, "catalog"), Table::new(2, "log")];

/// Removes a row of the first namespace, or puts one, which no check of its own can tell from what should be there.
fn meddle(store: &Path, key: &str, put: Option<(u64, &str)>) {
    let row = [&1u32.to_be_bytes(), key.as_bytes()].concat();
    let engine = Engine::open(&store.join("store.redb"), cohab_engine::Options::new(&TABLES)).expect("opens");
    let meddled = engine.write(|tx| match put {
        Some((version, value)) => {
            tx.insert(TABLES[0], &row, &[&version.to_le_bytes(), value.as_bytes()]).map(drop)
        }
        None => tx.remove(TABLES[0], &row).map(|removed| assert!(removed.is_some(), "was there")),
    });
    meddled.expect("commits");
    engine.close().expect("closes");
}

#[test]
fn rows_that_are_missing_or_too_many_or_others_are_named_by_the_log() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    store.write(|tx| tx.delete("n", name(200)))?;
    drop(store);
    let check = |key: &str, put: Option<(u64, &str)>, says: &str| -> Result<()> {
        let row = |store: &Store| store.snapshot()?.get("n", key).map(|row| row.map(|row| row.to_vec()));
        let before = row(&scratch.store())?;
        meddle(&scratch.path(), key, put);
        let (report, named) = found(&scratch.store())?;
        let bounds: KeyBounds = (Bound::Included(key.into()), Bound::Included(key.into()));
        assert!(
            named.len() > 1 && named.iter().all(|it| it.range == Some(bounds.clone())),
            "{key}: {named:#?}"
        );
        assert!(named.iter().any(|it| it.problem.contains(says)), "{says}: {:#?}", report.differences);
        let value = before.map(|value| String::from_utf8(value).expect("is text"));
        meddle(&scratch.path(), key, value.as_deref().map(|value| (2, value)));
        assert_sound(&found(&scratch.store())?.0);
        Ok(())
    };
    check("key-0042", None, "is missing, which version 2 put")?;
    check("key-0042", Some((2, "x")), "is not what version 2 put")?;
    check("key-0200", Some((2, "back")), "version 3 deleted it")?;
    check("key-0042x", Some((2, "stray")), "version 2 did not put it")?;

    // Where the log does not tell it is the namespace as a whole.
    let store = Store::options().retention(Retention::default().versions(1)).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("m"))?;
    while store.maintain()?.more {}
    drop(store);
    meddle(&scratch.path(), "key-0042", None);
    let (_, named) = found(&scratch.store())?;
    assert!(named.iter().all(|it| it.range == Some((Bound::Unbounded, Bound::Unbounded))), "{named:#?}");
    assert!(named.iter().any(|it| it.problem == "the number of keys should be 399, found 398"), "{named:#?}");
    Ok(())
}

#[test]
fn a_verification_goes_on_in_another_handle_from_its_checkpoint() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    drop(store);
    let mut random = Random(3);
    let (mut saved, mut handles) = (None::<String>, 0);
    let report = loop {
        let store = scratch.store();
        let options = match &saved {
            Some(saved) => small().resume(saved.parse::<Checkpoint>()?),
            None => small(),
        };
        let mut verifier = store.verifier(options)?;
        verifier.step()?;
        if let Some(report) = verifier.step()? {
            break report;
        }
        let text = verifier.checkpoint().to_string();
        assert!(!text.contains('\n') && text.parse::<Checkpoint>()?.to_string() == text, "{text}");
        saved = Some(text);
        handles += 1;
        disturb(&store, &mut random, true)?;
    };
    assert!(handles > 20, "{handles} handles");
    assert_sound(&report);
    assert_eq!(report.remarks, Vec::<String>::new());
    let keys = scratch.store().snapshot()?.namespace("n")?.count();
    assert!(report.keys.abs_diff(keys) < 100, "{} read, {keys} there: nothing was read twice", report.keys);

    let other = Scratch::new();
    let refused = other.store().verifier(small().resume(saved.expect("was saved").parse()?));
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(Kind::Foreign));
    for wrong in ["", "{}", "{\"cohab_checkpoint\":2,\"course\":null}", "null"] {
        let refused = wrong.parse::<Checkpoint>();
        assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(Kind::InvalidInput), "{wrong}");
    }
    Ok(())
}

/// What was summed up in one history is not carried on in another, although versions and identity are the same.
/// A checkpoint is a text that lies around, and going on from one that was damaged counted past the largest number there is: a
/// panic where overflow is checked, and nonsense where it is not.
#[test]
fn a_checkpoint_that_counts_more_than_there_can_be_is_refused() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..20).try_for_each(|i| tx.put("n", key(i), "value")))?;
    let mut verifier = store.verifier(VerifyOptions::default().slice_keys(5))?;
    for _ in 0..2 {
        assert!(verifier.step()?.is_none(), "it is under way");
    }
    let good = verifier.checkpoint().to_string();
    let with = |field: &str, number: u64| {
        let (before, after) = good.split_once(&format!("\"{field}\":")).expect("it has the field");
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        assert_ne!(rest, after, "{field} is a number in {good}");
        format!("{before}\"{field}\":{number}{rest}").parse::<Checkpoint>()
    };
    for field in ["total", "read", "namespaces", "records", "keys", "bytes"] {
        let refused = with(field, u64::MAX).expect_err(field);
        assert!(
            refused.kind() == Kind::InvalidInput && refused.to_string().contains("counts more"),
            "{refused}"
        );
    }
    for field in ["restarts", "places", "late"] {
        assert!(with(field, u32::MAX.into()).is_err(), "{field}");
    }
    // Whatever else it says, going on ends.
    for (field, number) in [("version", u64::MAX), ("until", u32::MAX.into())] {
        let checkpoint = with(field, number)?;
        let _ = store.verifier(VerifyOptions::default().slice_keys(5).resume(checkpoint))?.run(|_| ());
    }
    Ok(())
}

#[test]
fn a_checkpoint_of_another_history_begins_the_namespace_again() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    drop(store);
    let data = scratch.path().join("store.redb");
    let copy = fs::read(&data).expect("can be read");
    let half = |store: &Store| {
        let mut verifier = store.verifier(VerifyOptions::default().slice_keys(100))?;
        verifier.step()?;
        verifier.step()?;
        Ok::<_, cohab::Error>(verifier.checkpoint())
    };
    let store = scratch.store();
    store.write(|tx| (0..50).try_for_each(|i| tx.put("n", name(i), "one history")))?;
    let checkpoint = half(&store)?;
    drop(store);
    fs::write(&data, copy).expect("can be written");
    let store = scratch.store();
    store.write(|tx| (0..50).try_for_each(|i| tx.put("n", name(i), "another")))?;
    let report = store.verifier(VerifyOptions::default().resume(checkpoint))?.run(|_| ())?;
    assert_sound(&report);
    assert!(report.remarks.iter().any(|remark| remark.contains("another history")), "{:?}", report.remarks);
    Ok(())
}

#[test]
fn a_rate_is_kept() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..100).try_for_each(|i| tx.put("n", name(i), vec![7; 10_000])))?;
    let bytes = store.snapshot()?.namespace("n")?.info().bytes;
    let begun = Instant::now();
    let mut calls = 0;
    // The log holds as much again.
    let report = store.verifier(VerifyOptions::default().bytes_per_second(bytes))?.run(|_| calls += 1)?;
    let took = begun.elapsed();
    assert_sound(&report);
    assert!(took > Duration::from_millis(700), "two seconds' worth of bytes took {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(calls > 4, "it is read little by little, in {calls} steps");
    Ok(())
}

#[test]
fn versions_of_the_past_are_verified_as_they_were() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    store.write(|tx| tx.create_namespace("gone").and_then(|_| tx.put("gone", "k", "v")))?;
    let before = store.snapshot()?.version();
    let mut random = Random(9);
    for _ in 0..60 {
        disturb(&store, &mut random, true)?;
    }
    store.write(|tx| tx.rename_namespace("n", "renamed"))?;
    for version in 1..=store.snapshot()?.version().get() {
        let past = store.snapshot()?.at(crate::v(version))?;
        let report = past.verify(|_| ())?;
        assert!(report.is_sound(), "version {version}: {:#?}", report.differences);
        assert_eq!(report.records, version);
        assert_eq!(report.version, past.version());
    }
    let counted = |snapshot: &Snapshot| -> Result<u64> { Ok(snapshot.verify(|_| ())?.keys) };
    assert_eq!(counted(&store.snapshot()?.at(before)?)?, 401);

    // What is not known is said, and is no damage.
    store.write(|tx| tx.drop_namespace("gone", DropMode::WithContents))?;
    store.purge("gone", |_| ())?;
    let report = store.snapshot()?.at(before)?.verify(|_| ())?;
    assert_sound(&report);
    assert!(report.remarks.iter().any(|remark| remark.contains("`gone`")), "{:?}", report.remarks);
    assert_eq!(report.keys, 400);
    drop(store);

    // A row of the present that is missing was missing then.
    let store = scratch.store();
    let untouched = {
        let (now, then) = (store.snapshot()?, store.snapshot()?.at(before)?);
        let then = then.namespace("n")?;
        let now = now.namespace("renamed")?;
        let same = |i: &u64| {
            then.get(name(*i)).is_ok_and(|row| {
                row.zip(now.get(name(*i)).ok().flatten()).is_some_and(|(a, b)| a.version() == b.version())
            })
        };
        (0..400).find(same).expect("not all keys were written")
    };
    drop(store);
    meddle(&scratch.path(), &name(untouched), None);
    let report = scratch.store().snapshot()?.at(before)?.verify(|_| ())?;
    let key = Bound::Included(name(untouched).into_bytes());
    assert!(report.differences.iter().any(|it| it.range == Some((key.clone(), key.clone()))), "{report:#?}");
    Ok(())
}

#[test]
fn two_stores_are_compared_by_namespace_and_key() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    filled(&store)?;
    store.write(|tx| {
        tx.create_namespace("equal")?;
        tx.put("equal", "k", "v")?;
        tx.create_namespace("dropped").map(drop)
    })?;
    let backup = scratch.file("backup");
    store.backup(&backup, |_| ())?;
    let copy = scratch.file("copy");
    let other = Store::restore(&backup, &copy, |_| ())?;
    assert_eq!(store.snapshot()?.compare(&other.snapshot()?)?, []);
    other.write(|tx| {
        tx.put("n", name(10), "otherwise")?;
        tx.delete("n", name(20))?;
        tx.put("n", "key-0030x", "new")?;
        tx.create_namespace("more")?;
        tx.drop_namespace("dropped", DropMode::IfEmpty)?;
        tx.update_namespace("equal", &Update::new().title("Equal"))
    })?;
    let differences = store.snapshot()?.compare(&other.snapshot()?)?;
    let told: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "namespace `n`: keys that differ: 3, of which 1 only here, 1 only there, 1 with other values, \
             in the keys from \"key-0010\" through \"key-0030x\"",
            "namespace `equal`: has another title there",
            "namespace `dropped`: was dropped there and not here",
            "namespace `more`: is there and not here, with 0 keys",
        ]
    );
    let back = other.snapshot()?.compare(&store.snapshot()?)?;
    assert_eq!(back.len(), differences.len());
    assert_eq!(back[0].range, differences[0].range);
    Ok(())
}
