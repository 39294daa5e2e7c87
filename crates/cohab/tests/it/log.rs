use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cohab::{Change, Clock, History, Kind, LogItem, Result, Retention, Store, Timestamp, Update};

use crate::{Scratch, key, v};

#[test]
fn a_record_holds_what_it_takes_to_undo_a_version() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.put("n", "a", "1"))?;
    store.write(|tx| {
        tx.put("n", "a", "2")?;
        tx.put("n", "b", "3")?;
        tx.delete("n", "a")?;
        tx.update_namespace("n", &Update::new().title("t"))
    })?;
    let snapshot = store.snapshot()?;
    let record = snapshot.log(v(3)..).next().expect("there is one")?;
    assert_eq!((record.version(), record.instance()), (v(3), store.instance()));
    let id = snapshot.namespace("n")?.id();
    let mut changes = Vec::new();
    let mut titles = Vec::new();
    record.visit(|item| {
        match item {
            LogItem::Change { namespace, change } => {
                assert_eq!(namespace, id);
                changes.push(format!("{change:?}"));
            }
            LogItem::Metadata { before, after, .. } => {
                titles.push((before.map(|m| m.title), after.map(|m| m.title)));
            }
            LogItem::Summary(summary) => assert_eq!((summary.after.keys, summary.after.bytes), (1, 2)),
            _ => {}
        }
        Ok(())
    })?;
    let expected = [
        Change::Update { key: b"a", before: b"1", before_version: v(2), value: b"2" },
        Change::Insert { key: b"b", value: b"3" },
        Change::Delete { key: b"a", before: b"2", before_version: v(3) },
    ];
    assert_eq!(changes, expected.map(|change| format!("{change:?}")));
    assert_eq!(titles, [(Some(String::new()), Some("t".into()))]);
    Ok(())
}

#[test]
fn a_namespace_without_history_leaves_digests_only() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.update_namespace("n", &Update::new().history(History::Off)))?;
    let before = store.snapshot()?.log_bytes();
    store.write(|tx| (0..1000).try_for_each(|i| tx.put("n", key(i), [1; 100])))?;
    store.write(|tx| tx.delete("n", key(1)))?;
    let snapshot = store.snapshot()?;
    assert!(snapshot.log_bytes() - before < 500, "{} bytes", snapshot.log_bytes() - before);
    let record = snapshot.log(v(3)..).next().expect("there is one")?;
    let mut items = Vec::new();
    record.visit(|item| {
        items.push(format!("{item:?}"));
        Ok(())
    })?;
    assert_eq!(items.len(), 2);
    assert!(items[0].starts_with("Unrecorded { namespace: ns1, changes: 1000 }"), "{items:?}");
    assert!(snapshot.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn a_transaction_of_any_size_is_logged_in_chunks() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| (0..5000).try_for_each(|i| tx.put("n", key(i), [3; 200])))?;
    let snapshot = store.snapshot()?;
    assert!(snapshot.log_bytes() > 1_000_000);
    let mut changes = 0;
    let record = snapshot.log(v(2)..).next().expect("there is one")?;
    record.visit(|item| {
        changes += u32::from(matches!(item, LogItem::Change { .. }));
        Ok(())
    })?;
    assert_eq!(changes, 5000);
    assert!(snapshot.verify(|_| ())?.is_sound(), "the chain holds over all chunks");
    Ok(())
}

/// A clock that a test moves.
#[derive(Clone, Debug, Default)]
struct Watch(Arc<AtomicU64>);

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn write_many(store: &Store, times: u32) -> Result<()> {
    (0..times).try_for_each(|i| store.write(|tx| tx.put("n", key(i % 10), [5; 100])).map(drop))
}

#[test]
fn retention_by_versions_keeps_that_many_and_a_bounded_rest() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().retention(Retention::UNBOUNDED.versions(50)).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("n"))?;
    write_many(&store, 300)?;
    let snapshot = store.snapshot()?;
    let kept = snapshot.log(..).count();
    assert!((50..=150).contains(&kept), "{kept} records are kept");
    assert_eq!(snapshot.oldest_version(), v(302 - kept as u64));
    drop(snapshot);
    let step = store.maintain()?;
    assert!(!step.more);
    let snapshot = store.snapshot()?;
    assert_eq!(snapshot.log(..).count(), 50);
    assert!(snapshot.verify(|_| ())?.is_sound(), "a trimmed log is a sound log");
    Ok(())
}

#[test]
fn retention_by_bytes_and_by_age_trim_too() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().retention(Retention::UNBOUNDED.bytes(10_000)).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("n"))?;
    write_many(&store, 200)?;
    assert!(store.snapshot()?.log_bytes() < 12_000, "{}", store.snapshot()?.log_bytes());
    drop(store);

    let watch = Watch::default();
    let age = Retention::UNBOUNDED.age(Duration::from_hours(1));
    let store = Store::options().retention(age).clock(watch.clone()).open(scratch.file("aged"))?;
    store.write(|tx| tx.create_namespace("n"))?;
    write_many(&store, 20)?;
    watch.0.store(7_200_000_000, Ordering::Relaxed);
    write_many(&store, 1)?;
    let snapshot = store.snapshot()?;
    assert_eq!((snapshot.oldest_version(), snapshot.version()), (v(22), v(22)));
    watch.0.store(0, Ordering::Relaxed);
    write_many(&store, 3)?;
    assert_eq!(store.snapshot()?.oldest_version(), v(22), "a clock set back trims nothing");
    Ok(())
}

#[test]
fn reading_the_log_beyond_its_ends_yields_nothing() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    write_many(&store, 5)?;
    let snapshot = store.snapshot()?;
    let versions =
        |log: cohab::Log<'_>| log.map(|r| r.map(|r| r.version().get())).collect::<Result<Vec<_>>>();
    assert_eq!(versions(snapshot.log(..))?, [1, 2, 3, 4, 5, 6]);
    assert_eq!(versions(snapshot.log(v(3)..v(5)))?, [3, 4]);
    assert_eq!(versions(snapshot.log(v(9)..))?, [0u64; 0]);
    assert_eq!(versions(snapshot.log(..=v(99)))?.len(), 6);
    let backwards: Vec<_> =
        snapshot.log(..).rev().take(2).map(|r| r.map(|r| r.version())).collect::<Result<_>>()?;
    assert_eq!(backwards, [v(6), v(5)]);
    assert_eq!(snapshot.namespace("gone").map_err(|e| e.kind()).err(), Some(Kind::NotFound));
    Ok(())
}
