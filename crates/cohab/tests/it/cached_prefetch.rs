//! What is read into the cache beforehand.

use cohab::typed::Namespace;
use cohab::{Cache, Kind, Result, Store};

use crate::cached::{cost, put, reader, reader_with};
use crate::{Scratch, key};

/// More than a prefetch reads from one snapshot.
const KEYS: u32 = 2_500;

fn store(scratch: &Scratch) -> Result<Store> {
    let store = Store::open(scratch.path())?;
    store.write(|tx| {
        tx.create_namespace("n")?;
        (0..KEYS).try_for_each(|i| tx.put("n", [b"many-", &key(i)[..]].concat(), vec![7; 100]))?;
        tx.put("n", "other", "v")
    })?;
    Ok(store)
}

fn many(i: u32) -> Vec<u8> {
    [b"many-", &key(i)[..]].concat()
}

#[test]
fn what_begins_with_a_prefix_is_there_before_anybody_reads_it() -> Result<()> {
    let scratch = Scratch::new();
    let writer = store(&scratch)?;
    let other = reader(&scratch);
    let cached = other.cached("n")?;
    assert_eq!(cached.prefetch("many-")?.wait()?, u64::from(KEYS));
    let read =
        cost(&cached, || (0..KEYS).for_each(|i| assert!(cached.get(many(i)).is_ok_and(|it| it.is_some()))));
    assert_eq!(read, (u64::from(KEYS), 0, 0));
    assert_eq!(cost(&cached, || _ = cached.get("other")), (0, 1, 0), "does not begin with it");
    // It is as fresh as anything in the cache.
    put(&writer, many(5), "new");
    assert_eq!(cached.get(many(5))?.as_deref(), Some(&b"new"[..]));
    assert_eq!(cached.prefetch("")?.wait()?, u64::from(KEYS) + 1, "an empty prefix stands for everything");
    Ok(())
}

#[test]
fn nothing_has_to_go_for_a_prefetch_and_one_that_is_dropped_lets_go_of_the_store() -> Result<()> {
    let scratch = Scratch::new();
    let writer = store(&scratch)?;
    let other = reader_with(&scratch, Store::options().cache(Cache::new(128 << 10)));
    let cached = other.cached("n")?;
    assert!(cached.get("other")?.is_some());
    let kept = cached.prefetch("")?.wait()?;
    assert!(kept > 50 && kept < u64::from(KEYS), "{kept}");
    assert_eq!(cached.stats().evictions, 0);
    assert_eq!(cost(&cached, || _ = cached.get("other")), (1, 0, 0));

    let of_writer = writer.cached("n")?;
    drop(of_writer.prefetch("")?);
    drop((of_writer, writer));
    Store::open(scratch.path())?;
    Ok(())
}

#[test]
fn typed_values_are_decoded_beforehand_and_one_that_cannot_be_is_told() -> Result<()> {
    const NUMBERS: Namespace<str, u32> = Namespace::new("numbers");
    let scratch = Scratch::new();
    let store = Store::open(scratch.path())?;
    store.write(|tx| {
        tx.create_namespace("numbers")?;
        let mut numbers = tx.typed(&NUMBERS)?;
        (0..10).try_for_each(|i| numbers.put(&format!("k{i}"), &(i * 1000)))
    })?;
    let numbers = store.cached_typed(&NUMBERS)?;
    assert_eq!(numbers.prefetch()?.wait()?, 10);
    let read = cost(numbers.bytes(), || {
        (0..10).for_each(|i| {
            assert!(numbers.get(&format!("k{i}")).is_ok_and(|it| it.as_deref() == Some(&(i * 1000))));
        });
    });
    assert_eq!(read, (10, 0, 0));
    store.write(|tx| tx.put("numbers", "k4", [0xFF; 9]))?;
    let failed = numbers.prefetch()?.wait().expect_err("does not decode");
    assert_eq!(failed.kind(), Kind::Decode);
    Ok(())
}
