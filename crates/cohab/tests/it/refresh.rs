//! Snapshots that move on.

use std::time::Duration;

use cohab::{Kind, Result, Snapshot, Store};

use crate::cached::{put, reader};
use crate::{Scratch, key, v};

fn read(snapshot: &Snapshot, keys: std::ops::Range<u32>) -> Result<()> {
    let namespace = snapshot.namespace("n")?;
    for i in keys {
        assert!(namespace.get_bytes(key(i))?.is_some());
    }
    Ok(())
}

#[test]
fn what_was_not_written_stays_warm_and_no_read_has_to_catch_up() -> Result<()> {
    let scratch = Scratch::new();
    let writer = scratch.with_namespace();
    writer.write(|tx| (0..100).try_for_each(|i| tx.put("n", key(i), "v")))?;
    for store in [writer.clone(), reader(&scratch)] {
        let stats = || store.cache_stats().swap_remove(0).stats;
        let mut snapshot = store.snapshot()?;
        read(&snapshot, 0..100)?;
        let cold = stats();
        for (commit, value) in ["w", "x", "y"].into_iter().enumerate() {
            put(&writer, key(0), value);
            assert!(snapshot.refresh()?);
            let caught_up = stats();
            assert_eq!(caught_up.horizon, snapshot.version(), "before anybody reads");
            assert_eq!(caught_up.invalidations - cold.invalidations, commit as u64 + 1);
            read(&snapshot, 1..100)?;
            assert_eq!((stats().misses, stats().floors), (caught_up.misses, cold.floors));
            assert_eq!(snapshot.namespace("n")?.get_bytes(key(0))?.as_deref(), Some(value.as_bytes()));
            assert_eq!(stats().misses, caught_up.misses + 1);
        }
        assert!(!snapshot.refresh()?, "nothing was committed");
        assert_eq!(snapshot.version(), writer.snapshot()?.version());
    }
    Ok(())
}

#[test]
fn clones_stay_and_one_of_the_past_comes_to_the_present() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    for value in ["1", "2", "3"] {
        put(&store, "k", value);
    }
    let mut past = store.snapshot()?.at(v(2))?;
    let clone = past.clone();
    assert!(past.refresh()?);
    assert_eq!((past.version(), clone.version()), (v(4), v(2)));
    assert_eq!(past.get("n", "k")?.as_deref(), Some(&b"3"[..]));
    assert_eq!(past.namespace("n")?.get_bytes("k")?.as_deref(), Some(&b"3"[..]));
    assert_eq!(clone.get("n", "k")?.as_deref(), Some(&b"1"[..]));
    assert!(past.at(v(3))?.refresh()?);
    Ok(())
}

#[test]
fn without_its_handle_it_stays_where_it_is() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "v");
    let beside = reader(&scratch);
    let mut snapshot = beside.snapshot()?;
    drop(beside);
    put(&store, "k", "w");
    assert_eq!(snapshot.refresh().expect_err("is closed").kind(), Kind::Closed);
    assert_eq!(snapshot.get("n", "k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

#[test]
fn one_that_reads_no_more_reads_again() -> Result<()> {
    let scratch = Scratch::new();
    let max = Duration::from_millis(300);
    let store = Store::options().snapshot_age_max(max).open(scratch.path())?;
    store.write(|tx| {
        tx.create_namespace("n")?;
        tx.put("n", "k", "v")
    })?;
    let mut snapshot = store.snapshot()?;
    std::thread::sleep(max * 2);
    assert_eq!(snapshot.get("n", "k").expect_err("is old").kind(), Kind::SnapshotExpired);
    assert!(!snapshot.refresh()?, "the version is the same");
    assert_eq!(snapshot.get("n", "k")?.as_deref(), Some(&b"v"[..]));

    store.reopen()?;
    assert!(!snapshot.refresh()?, "it is of the file that was opened anew, and of the same version");
    assert_eq!(snapshot.get("n", "k")?.as_deref(), Some(&b"v"[..]));
    Ok(())
}
