//! How much room a namespace has in the cache, and who has to go.

use cohab::{Cache, CachePolicy, CacheStats, Cached, DropMode, Result, Store};

use crate::cached::{cost, get, reader, reader_with};
use crate::{Scratch, key};

#[test]
fn a_namespace_is_kept_as_its_policy_says() -> Result<()> {
    let scratch = Scratch::new();
    let cache = Cache::new(4 << 20);
    let store = Store::options()
        .cache(cache.clone())
        .cache_policy("off", CachePolicy::Off)
        .cache_policy("own", CachePolicy::Own(256 << 10))
        .cache_policy("pinned", CachePolicy::Pinned)
        .open(scratch.path())?;
    let names = ["off", "own", "pinned", "flood"];
    store.write(|tx| {
        for name in names {
            tx.create_namespace(name)?;
        }
        for i in 0..2000 {
            tx.put("off", key(i), "v")?;
            tx.put("own", key(i), vec![1; 1000])?;
            tx.put("pinned", key(i), "v")?;
        }
        (0..20_000).try_for_each(|i| tx.put("flood", key(i), vec![2; 400]))
    })?;
    let read = |name: &str, count: u32| -> Result<CacheStats> {
        let cached = store.cached(name)?;
        let before = cached.stats();
        for i in 0..count {
            assert!(cached.get(key(i))?.is_some());
        }
        let mut after = cached.stats();
        after.hits -= before.hits;
        Ok(after)
    };
    for _ in 0..2 {
        let off = read("off", 100)?;
        assert_eq!((off.hits, off.entries, off.bytes), (0, 0, 0), "off keeps nothing");
    }
    read("pinned", 2000)?;
    for _ in 0..3 {
        read("own", 2000)?;
        // Twice, because a full cache takes in what was asked for before.
        read("flood", 20_000)?;
        let flood = read("flood", 20_000)?;
        assert!(flood.evictions > 0 && flood.entries > 1000, "{flood:?}");
        let own = store.cached("own")?.stats();
        assert!(own.bytes <= 256 << 10 && own.bytes > 128 << 10, "{own:?}");
        let pinned = read("pinned", 2000)?;
        assert_eq!((pinned.hits, pinned.entries, pinned.evictions), (2000, 2000, 0), "pinned stays");
    }
    // Nobody else's flood reaches what has a budget of its own.
    let own = store.cached("own")?;
    let kept: Vec<u32> = (0..2000).filter(|i| cost(&own, || _ = get(&own, key(*i))).0 == 1).collect();
    read("flood", 20_000)?;
    let still = kept.iter().filter(|i| cost(&own, || _ = get(&own, key(**i))).0 == 1).count();
    assert!(still > kept.len() / 2, "{still} of {}", kept.len());
    assert!(cache.bytes() <= cache.budget() as u64 / 20 * 21, "{}", cache.bytes());
    let policies: Vec<_> = store.cache_stats().into_iter().map(|it| (it.name, it.policy)).collect();
    let expected = [CachePolicy::Off, CachePolicy::Own(256 << 10), CachePolicy::Pinned, CachePolicy::Shared];
    let expected: Vec<_> = names.iter().map(ToString::to_string).zip(expected).collect();
    assert_eq!(policies, expected);
    Ok(())
}

/// What was reserved for a namespace was never given back while its cache held anything, so after a few that came and went
/// there was no budget left for anybody.
#[test]
fn namespaces_that_come_and_go_leave_the_budget_to_those_that_stay() -> Result<()> {
    for policy in [CachePolicy::Own(1 << 20), CachePolicy::Pinned] {
        let scratch = Scratch::new();
        let cache = Cache::new(4 << 20);
        let options = || Store::options().cache_policy("n", policy);
        let writer = options().cache(cache.clone()).open(scratch.path())?;
        let others_cache = Cache::new(4 << 20);
        let other = reader_with(&scratch, options().cache(others_cache.clone()));
        writer.write(|tx| {
            tx.create_namespace("n")?;
            tx.create_namespace("stays")?;
            (0..2500).try_for_each(|i| tx.put("stays", key(i), vec![7; 1000]))
        })?;
        for round in 0..8 {
            writer.write(|tx| (0..800).try_for_each(|i| tx.put("n", key(i), vec![7; 1000])))?;
            for store in [&writer, &other] {
                let cached = store.cached("n")?;
                for i in 0..800 {
                    assert_eq!(cached.get(key(i))?.map(|value| value.len()), Some(1000), "{round}");
                }
            }
            writer.write(|tx| {
                tx.drop_namespace("n", DropMode::WithContents)?;
                tx.purge_namespace("n")?;
                tx.create_namespace("n")
            })?;
        }
        for (store, cache) in [(&writer, &cache), (&other, &others_cache)] {
            let cached = store.cached("stays")?;
            // More than half of the budget, and often enough to be let into a full cache.
            for _ in 0..6 {
                (0..2500).for_each(|i| _ = get(&cached, key(i)));
            }
            let (hits, ..) = cost(&cached, || (0..2500).for_each(|i| _ = get(&cached, key(i))));
            assert!(hits > 2200, "{policy:?}, {:?}: {hits} of 2500", store.role());
            assert!(cache.bytes() <= cache.budget() as u64 / 20 * 21, "{policy:?}: {}", cache.bytes());
        }
    }
    Ok(())
}

/// What is gone is decided by the newest that is known, not by whatever snapshot is read.
#[test]
fn a_namespace_that_an_old_snapshot_does_not_know_stays_cached() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let other = reader(&scratch);
    let old = [store.snapshot()?, other.snapshot()?];
    store.write(|tx| {
        tx.create_namespace("later")?;
        (0..100).try_for_each(|i| tx.put("later", key(i), "v"))
    })?;
    for (store, old) in [&store, &other].into_iter().zip(&old) {
        let cached = store.cached("later")?;
        let read = || (0..100).for_each(|i| assert_eq!(get(&cached, key(i)).as_deref(), Some("v")));
        read();
        assert_eq!(old.namespace("n")?.get_bytes("k")?, None);
        assert_eq!(cost(&cached, read), (100, 0, 0), "{:?}", store.role());
        let stats: Vec<_> = store.cache_stats().into_iter().map(|it| (it.name, it.stats.entries)).collect();
        assert_eq!(stats, [("n".into(), 1), ("later".into(), 100)], "{:?}", store.role());
    }
    Ok(())
}

#[test]
fn values_that_are_larger_than_the_cache_are_served_and_not_kept() -> Result<()> {
    let scratch = Scratch::new();
    for budget in [0, 1, 4096, 1 << 20] {
        let cache = Cache::new(budget);
        let store = Store::options().cache(cache.clone()).open(scratch.path())?;
        store.write(|tx| {
            tx.ensure_namespace("n")?;
            tx.put("n", "large", vec![b'x'; 2 << 20])?;
            tx.put("n", "small", "v")
        })?;
        let cached = store.cached("n")?;
        let large = |cached: &Cached| {
            assert_eq!(
                cached.get("large").expect("works").map(|value| value.len()),
                Some(2 << 20),
                "{budget}"
            );
        };
        for _ in 0..3 {
            assert_eq!(cost(&cached, || large(&cached)).0, 0, "{budget}");
            assert_eq!(get(&cached, "small").as_deref(), Some("v"));
        }
        let small = cost(&cached, || assert_eq!(get(&cached, "small").as_deref(), Some("v")));
        // The bookkeeping alone may take a few kilobytes.
        if budget != 4096 {
            assert_eq!(small.0, u64::from(budget == 1 << 20), "{budget}");
        }
        assert!(cached.stats().bytes <= budget as u64);
    }
    Ok(())
}
