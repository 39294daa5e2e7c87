//! Views that follow: whatever happens, they are what a fold from scratch makes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use cohab::{
    Batch, DropMode, Error, FoldChange, History, Kind, Materialized, Rebuild, Refreshed, Result, Retention,
    Snapshot, Store, Update, Version, View,
};

use crate::actor::Actor;
use crate::cached::{put, reader};
use crate::{Random, Scratch, key};

/// What namespaces hold, under their names.
type Held = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Keeps what it is told, having made sure that it was told everything before.
#[expect(clippy::unnecessary_wraps, reason = "it is a fold")]
fn keep(held: &mut Held, change: &FoldChange<'_>) -> Result<()> {
    let key = (change.name.to_string(), change.key.to_vec());
    assert_ne!(change.before, change.after, "{change:?}");
    let before = match change.after {
        Some(after) => held.insert(key, after.to_vec()),
        None => held.remove(&key),
    };
    assert_eq!(before.as_deref(), change.before, "{change:?}");
    Ok(())
}

fn held(snapshot: &Snapshot, names: &[&str]) -> Result<Held> {
    let mut held = Held::new();
    for name in names {
        for entry in snapshot.namespace(name)?.all()? {
            let entry = entry?;
            held.insert(((*name).into(), entry.key().into()), entry.value().into());
        }
    }
    Ok(held)
}

fn write(
    store: &Store,
    f: impl FnOnce(&mut cohab::Transaction<'_, '_>) -> Result<()>,
) -> Result<Version, Kind> {
    store.write(f).map(|done| done.version).map_err(|error| error.kind())
}

/// Does something, of which some is refused.
fn act(store: &Store, random: &mut Random, last: Version) {
    let name = ["a", "b"][usize::from(random.below(2) == 1)];
    let next = |random: &mut Random| {
        let at = key(u32::try_from(random.below(40)).expect("is small")).to_vec();
        (at, vec![random.below(2).to_le_bytes()[0]; 2])
    };
    let earlier = Version::new(last.get().saturating_sub(random.below(12)));
    let done = match random.below(100) {
        0..35 => {
            let (at, value) = next(random);
            write(store, |tx| tx.put(name, at, value))
        }
        35..50 => {
            let (at, _) = next(random);
            write(store, |tx| tx.delete(name, at).map(drop))
        }
        50..60 => {
            let (a, b) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
            let ((one, value), (two, other)) = (next(random), next(random));
            let batch = Batch::new().put(&a, one.clone(), value).delete(&b, two).put(&b, one, other);
            store.submit(batch).map_err(|error| error.kind())
        }
        60..75 => write(store, |tx| tx.put("other", "k", random.next().to_le_bytes())),
        75..78 => write(store, |tx| tx.drop_namespace(name, DropMode::WithContents)),
        78..84 => write(store, |tx| tx.undrop_namespace(name).map(drop)),
        84..88 => write(store, |tx| {
            tx.create_namespace(name)?;
            tx.put(name, "new", "v")
        }),
        88..91 => write(store, |tx| {
            tx.rename_namespace("a", "c")?;
            tx.rename_namespace("b", "a")?;
            tx.rename_namespace("c", "b")
        }),
        91..93 => write(store, |tx| tx.rollback_namespace(name, earlier).map(drop)),
        93..95 => write(store, |tx| tx.rollback(earlier).map(drop)),
        95..97 => write(store, |tx| tx.undo().map(drop)),
        97 => write(store, |tx| tx.purge_namespace(name).map(drop)),
        _ => {
            let off = random.below(3) == 0;
            let history = if off { History::Off } else { History::Full };
            write(store, |tx| tx.update_namespace(name, &Update::new().history(history)))
        }
    };
    let is_expected = |kind: &Kind| {
        use Kind::{Conflict, Exists, InvalidInput, NoHistory, NotFound, TooOld};
        matches!(kind, NotFound | Exists | Conflict | NoHistory | TooOld | InvalidInput)
    };
    assert!(done.as_ref().map_or_else(is_expected, |_| true), "{done:?}");
}

#[test]
fn a_view_is_what_a_fold_from_scratch_makes_whatever_happens() -> Result<()> {
    let mut met = BTreeMap::<String, u32>::new();
    for seed in 0..6 {
        let mut random = Random(seed);
        let scratch = Scratch::new();
        let versions = if seed % 2 == 0 { 10 } else { 100_000 };
        let retention = Retention::UNBOUNDED.versions(versions);
        let writer = Store::options().retention(retention).open(scratch.path())?;
        writer
            .write(|tx| ["a", "b", "other"].into_iter().try_for_each(|n| tx.create_namespace(n).map(drop)))?;
        let beside = reader(&scratch);
        let views: Vec<(&Store, &[&str], Materialized<Held>)> = vec![
            (&writer, &["a", "b"], writer.materialize(["a", "b", "a"], Held::new(), keep)?),
            (&beside, &["b", "a"], beside.materialize(["b", "a"], Held::new(), keep)?),
            (&beside, &["a"], beside.materialize(["a"], Held::new(), keep)?),
        ];
        let mut kept: Vec<(View<Held>, Held)> = Vec::new();
        for step in 0..250 {
            act(&writer, &mut random, writer.snapshot()?.version());
            if random.below(20) == 0 {
                // They keep the log.
                for kept in writer.snapshot()?.named_snapshots()? {
                    writer.drop_snapshot(&kept.name)?;
                }
                writer.maintain()?;
            }
            for (store, names, view) in &views {
                if random.below(4) != 0 {
                    continue;
                }
                let before = view.load();
                let snapshot = store.snapshot()?;
                let what = format!("seed {seed}, step {step}, version {}", snapshot.version());
                let expected = match held(&snapshot, names) {
                    Ok(expected) => expected,
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::NotFound, "{what}");
                        assert_eq!(view.refresh().expect_err(&what).kind(), Kind::NotFound);
                        let after = view.load();
                        assert_eq!((&*before, before.version()), (&*after, after.version()), "{what}");
                        continue;
                    }
                };
                let done = view.refresh()?;
                let after = view.load();
                assert_eq!(*after, expected, "{what}: {done:?}");
                assert_eq!(after.version(), snapshot.version(), "{what}: {done:?}");
                assert_eq!(view.refresh()?, Refreshed::Current);
                if done == Refreshed::Current {
                    assert_eq!(*before, expected, "{what}");
                }
                assert!(random.below(10) != 0 || view.check()?, "{what}");
                let name = format!("{done:?}");
                *met.entry(name.split('}').next().unwrap_or_default().to_owned()).or_default() += 1;
                if random.below(4) == 0 {
                    kept.push((before, Held::clone(&after)));
                    kept.push((after, expected));
                }
            }
            if random.below(8) == 0 {
                kept.truncate(2);
            }
            for (view, expected) in kept.iter().skip(1).step_by(2) {
                assert_eq!(**view, *expected, "a view that is kept does not change");
            }
        }
    }
    println!("{met:?}");
    for reason in ["Current", "Folded", "Trimmed", "Unrecorded", "Replaced"] {
        assert!(met.keys().any(|name| name.contains(reason)), "{reason}: {met:?}");
    }
    assert!(!met.keys().any(|name| name.contains("AnotherHistory")), "{met:?}");
    Ok(())
}

#[test]
fn readers_see_whole_states_and_none_goes_back() -> Result<()> {
    const ACCOUNTS: u64 = 10;
    let scratch = Scratch::new();
    let writer = scratch.store();
    writer.write(|tx| {
        tx.create_namespace("a")?;
        tx.create_namespace("b")?;
        (0..ACCOUNTS).try_for_each(|i| tx.put("a", i.to_be_bytes(), 100u64.to_be_bytes()))
    })?;
    for store in [writer.clone(), reader(&scratch)] {
        let number = |bytes: Option<&[u8]>| {
            bytes.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().expect("is a number")))
        };
        // In the middle of a fold the sum is another one.
        let sum = store.materialize(["a", "b"], 0u64, move |sum, change| {
            *sum = sum.wrapping_sub(number(change.before)).wrapping_add(number(change.after));
            Ok(())
        })?;
        let is_over = AtomicBool::new(false);
        let watch = |look: &dyn Fn() -> Result<View<u64>>| {
            let (mut last, mut looks) = (Version::ZERO, 0);
            while !is_over.load(Ordering::Relaxed) {
                let view = look().expect("works");
                assert_eq!(*view, 100 * ACCOUNTS, "at version {}", view.version());
                assert!(view.version() >= last, "{} after {last}", view.version());
                last = view.version();
                looks += 1;
            }
            looks
        };
        let looks = thread::scope(|scope| {
            let loads = [(); 2].map(|()| scope.spawn(|| watch(&|| Ok(sum.load()))));
            let latest = [(); 3].map(|()| scope.spawn(|| watch(&|| sum.latest())));
            let mut random = Random(7);
            for _ in 0..150 {
                let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
                let moved = writer.write(|tx| {
                    let mut take = |name: &str, i: u64, by: i64| {
                        let before = number(tx.get(name, i.to_be_bytes())?.as_deref());
                        let after = before.wrapping_add_signed(by);
                        tx.put(name, i.to_be_bytes(), after.to_be_bytes())
                    };
                    take("a", from, -1)?;
                    take("b", to, 1)
                });
                let version = moved.expect("works").version;
                if version.get().is_multiple_of(10) {
                    assert!(sum.latest().expect("works").version() >= version);
                }
            }
            is_over.store(true, Ordering::Relaxed);
            loads.into_iter().chain(latest).map(|it| it.join().expect("holds")).min()
        });
        assert!(looks > Some(10), "{looks:?}");
        assert_eq!(sum.latest()?.version(), writer.snapshot()?.version());
        assert!(sum.check()?);
    }
    Ok(())
}

/// A number of entries that counts how often it is cloned.
#[derive(Debug, Default)]
struct Counted {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    clones: Arc<AtomicU64>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::Relaxed);
        Self { entries: self.entries.clone(), clones: self.clones.clone() }
    }
}

#[test]
fn a_refresh_costs_what_was_changed_and_clones_only_what_somebody_keeps() -> Result<()> {
    const ENTRIES: u32 = 100_000;
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("other"))?;
    store.write(|tx| (0..ENTRIES).try_for_each(|i| tx.put("n", key(i), "v")))?;
    let (start, calls) = (Counted::default(), Arc::<AtomicU64>::default());
    let (clones, count) = (start.clones.clone(), calls.clone());
    let view = store.materialize(["n"], start, move |counted, change| {
        count.fetch_add(1, Ordering::Relaxed);
        match change.after {
            Some(after) => counted.entries.insert(change.key.to_vec(), after.to_vec()),
            None => counted.entries.remove(change.key),
        };
        Ok(())
    })?;
    let cost = |refresh: &dyn Fn() -> Result<Refreshed>| {
        let before = (calls.load(Ordering::Relaxed), clones.load(Ordering::Relaxed));
        let done = refresh().expect("works");
        (done, calls.load(Ordering::Relaxed) - before.0, clones.load(Ordering::Relaxed) - before.1)
    };
    let change_ten = |value: &str| {
        // Often, of which the last time counts.
        for i in 0..10 {
            put(&store, key(i), "in between");
            put(&store, key(i), value);
        }
        put(&store, "passing", "v");
        store.write(|tx| tx.delete("n", "passing")).expect("can be deleted");
    };
    let folded = Refreshed::Folded { changes: 10 };
    for (value, calls) in [("1", 10), ("2", 20), ("3", 20)] {
        change_ten(value);
        assert_eq!(cost(&|| view.refresh()), (folded, calls, 0), "{value}");
        assert_eq!(view.load().entries[&key(9)[..]], value.as_bytes());
        // What is committed elsewhere, and what is undone, is nobody's business.
        store.write(|tx| tx.put("other", "k", value))?;
        put(&store, key(9), "in between");
        put(&store, key(9), value);
        assert_eq!(cost(&|| view.refresh()), (Refreshed::Current, 0, 0));
        assert_eq!(cost(&|| view.refresh()), (Refreshed::Current, 0, 0));
        assert_eq!(view.load().version(), store.snapshot()?.version());
    }
    let kept = view.load();
    change_ten("4");
    assert_eq!(cost(&|| view.refresh()), (folded, 20, 0), "the one before is free");
    change_ten("5");
    assert_eq!(cost(&|| view.refresh()), (folded, 10, 1), "the one before is kept");
    change_ten("6");
    assert_eq!(cost(&|| view.refresh()), (folded, 20, 0));
    assert_eq!(kept.entries[&key(9)[..]], b"3");
    assert_eq!((view.load().entries.len(), kept.entries.len()), (100_000, 100_000));
    Ok(())
}

#[test]
fn a_fold_that_panics_or_fails_shows_nothing_half_done() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "a", "1");
    let trouble = Arc::new(Mutex::new(None));
    let cause = trouble.clone();
    let view = store.materialize(["n"], Held::new(), move |held, change| {
        keep(held, change)?;
        let cause: Option<&str> = *cause.lock().expect("is not poisoned");
        match cause {
            Some("panic") if change.key == b"m" => panic!("as told"),
            Some("fail") if change.key == b"m" => Err(Error::abort("as told")),
            _ => Ok(()),
        }
    })?;
    let tell = |cause| *trouble.lock().expect("is not poisoned") = cause;
    for (round, rebuilds) in [(1, false), (2, false), (3, true)] {
        let before = view.load();
        if rebuilds {
            store.write(|tx| {
                tx.drop_namespace("n", DropMode::WithContents)?;
                tx.create_namespace("n").map(drop)
            })?;
        }
        store.write(|tx| {
            let mut n = tx.namespace("n")?;
            ["a", "m", "z"].into_iter().try_for_each(|key| n.put(key, format!("{round}")))
        })?;
        let shows_what_it_did = || {
            let now = view.load();
            assert_eq!((&*now, now.version()), (&*before, before.version()));
        };
        tell(Some("panic"));
        for _ in 0..2 {
            let panicked = catch_unwind(AssertUnwindSafe(|| view.refresh())).expect_err("goes on");
            assert_eq!(panicked.downcast_ref(), Some(&"as told"));
            shows_what_it_did();
        }
        tell(Some("fail"));
        assert_eq!(view.refresh().expect_err("fails").kind(), Kind::Aborted);
        assert_eq!(view.latest().expect_err("fails").kind(), Kind::Aborted);
        assert_eq!(view.check().expect_err("fails").kind(), Kind::Aborted);
        shows_what_it_did();
        tell(None);
        let done = view.refresh()?;
        assert_eq!(matches!(done, Refreshed::Rebuilt { because: Rebuild::Replaced }), rebuilds, "{done:?}");
        assert_eq!(*view.load(), held(&store.snapshot()?, &["n"])?);
        assert!(view.check()?);
    }
    Ok(())
}

#[test]
fn a_fold_that_asks_for_its_own_view_is_refused() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let own = Arc::new(Mutex::new(None::<Materialized<u64>>));
    let (asked, shown) = (own.clone(), Arc::new(AtomicU64::new(9)));
    let seen = shown.clone();
    let view = store.materialize(["n"], 0, move |count, _| {
        *count += 1;
        let Some(view) = asked.lock().expect("is not poisoned").clone() else { return Ok(()) };
        seen.store(*view.load(), Ordering::Relaxed);
        view.refresh().map(drop)
    })?;
    *own.lock().expect("is not poisoned") = Some(view.clone());
    put(&store, "k", "v");
    assert_eq!(view.refresh().expect_err("would wait for itself").kind(), Kind::Reentrant);
    assert_eq!(shown.load(Ordering::Relaxed), 0, "what there is can be read");
    // Which also ends the circle.
    *own.lock().expect("is not poisoned") = None;
    assert_eq!(*view.latest()?, 1);
    Ok(())
}

#[test]
fn a_fold_that_counts_its_calls_is_found_out() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "v");
    let calls = store.materialize(["n"], 0, |calls, _| {
        *calls += 1;
        Ok(())
    })?;
    assert!(calls.check()?);
    put(&store, "k", "w");
    assert!(!calls.check()?);
    assert_eq!((*calls.load(), calls.load().version()), (2, store.snapshot()?.version()));
    Ok(())
}

#[test]
fn what_is_too_much_to_be_folded_in_is_folded_anew() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..30).try_for_each(|i| tx.put("n", key(i), vec![7; 100_000])))?;
    let view = store.materialize(["n"], Held::new(), keep)?;
    // All of it, before and after.
    store.write(|tx| (0..30).try_for_each(|i| tx.put("n", key(i), vec![8; 100_000])))?;
    assert_eq!(view.refresh()?, Refreshed::Folded { changes: 30 });
    store.write(|tx| (1..30).try_for_each(|i| tx.delete("n", key(i)).map(drop)))?;
    assert_eq!(view.refresh()?, Refreshed::Rebuilt { because: Rebuild::TooMuch });
    assert_eq!((view.load().len(), view.check()?), (1, true));
    Ok(())
}

#[test]
fn a_view_follows_a_writer_in_another_process() -> Result<()> {
    let scratch = Scratch::new();
    let mut writer = Actor::open(&scratch.path(), "auto retain=20");
    writer.does("create n");
    writer.does("set n k 1");
    let store = reader(&scratch);
    let view = store.materialize(["n"], Held::new(), keep)?;
    let value = |view: &View<Held>| view[&("n".to_owned(), b"k".to_vec())].clone();
    assert_eq!(value(&view.load()), b"1");
    for i in 2..20 {
        let version = writer.number(&format!("set n k {i}"));
        let latest = view.latest()?;
        assert_eq!((value(&latest), latest.version().get()), (i.to_string().into_bytes(), version));
    }
    for i in 20..200 {
        writer.does(&format!("set n k {i}"));
    }
    assert_eq!(view.refresh()?, Refreshed::Rebuilt { because: Rebuild::Trimmed });
    assert_eq!(value(&view.load()), b"199");

    writer.does("drop-namespace n");
    assert_eq!(view.latest().expect_err("is not there").kind(), Kind::NotFound);
    assert_eq!(value(&view.load()), b"199");
    writer.does("undrop n");
    assert_eq!(value(&view.latest()?), b"199");
    writer.does("rename n m");
    writer.does("create n");
    assert_eq!(view.refresh()?, Refreshed::Rebuilt { because: Rebuild::Replaced });
    assert!(view.load().is_empty());

    // Whoever takes over goes on with the same history.
    writer.kill();
    let mut next = Actor::open(&scratch.path(), "auto");
    next.does("set n k after");
    assert_eq!(view.refresh()?, Refreshed::Folded { changes: 1 });
    assert_eq!(value(&view.load()), b"after");
    Ok(())
}
