//! The cache of values: what it keeps, what drops it, and that nobody can tell but by the time it takes.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cohab::{
    Batch, Cache, CacheStats, Cached, CatchUp, DropMode, Freshness, History, Kind, Metadata, Name, Options,
    Result, Retention, Role, Store, Update, limits,
};
use cohab_testkit::{Child, Failure, Faults, child_store};

use crate::actor::Actor;
use crate::cached_typed::TEXT;
use crate::{Scratch, key, v};

/// Another handle, which learns of commits as another process does.
pub(crate) fn reader(scratch: &Scratch) -> Store {
    reader_with(scratch, Store::options())
}

pub(crate) fn reader_with(scratch: &Scratch, options: Options) -> Store {
    options.role(Role::Reader).register(false).open(scratch.path()).expect("can be read")
}

pub(crate) fn put(store: &Store, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    store.write(|tx| tx.put("n", key, value)).expect("can be put");
}

pub(crate) fn get(cached: &Cached, key: impl AsRef<[u8]>) -> Option<String> {
    let value = cached.get(key).expect("can be read");
    value.map(|value| String::from_utf8(value.to_vec()).expect("is text"))
}

/// Puts a hundred keys, and reads them so that they are cached.
pub(crate) fn fill(store: &Store, readers: &[&Cached]) -> Result<()> {
    store.write(|tx| (0..100).try_for_each(|i| tx.put("n", key(i), "v")))?;
    for cached in readers {
        for i in 0..100 {
            assert_eq!(get(cached, key(i)).as_deref(), Some("v"));
        }
    }
    Ok(())
}

/// What a read does to the counts: hits, misses, refusals.
pub(crate) fn cost(cached: &Cached, read: impl FnOnce()) -> (u64, u64, u64) {
    let before = cached.stats();
    read();
    let after = cached.stats();
    (after.hits - before.hits, after.misses - before.misses, after.refusals - before.refusals)
}

#[test]
fn values_empty_ones_and_absences_are_kept() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| {
        tx.put("n", "k", "v")?;
        tx.put("n", "", "the empty key")?;
        tx.put("n", "empty", "")
    })?;
    for store in [store, reader(&scratch)] {
        let cached = store.cached("n")?;
        let read = || {
            assert_eq!(cached.get("k").expect("works").as_deref(), Some(&b"v"[..]));
            assert_eq!(cached.get("").expect("works").as_deref(), Some(&b"the empty key"[..]));
            assert_eq!(cached.get("empty").expect("works").as_deref(), Some(&b""[..]));
            assert_eq!(cached.get("absent").expect("works"), None);
        };
        assert_eq!(cost(&cached, read).0, 0);
        assert_eq!(cost(&cached, read), (4, 0, 0));
        assert_eq!(cost(&cached, read), (4, 0, 0));
        let CacheStats { entries, bytes, .. } = cached.stats();
        assert!(entries == 4 && bytes > 4 * 20 && bytes < 4 * 100, "{bytes}");
        let lent = |key: &str| cached.get_with(key, |value| value.map(<[u8]>::len)).expect("works");
        let snapshot = store.snapshot()?;
        let view = snapshot.namespace("n")?;
        let all = || {
            assert_eq!(
                [lent("k"), lent(""), lent("empty"), lent("absent")],
                [Some(1), Some(13), Some(0), None]
            );
            for key in ["k", "", "empty", "absent"] {
                let uncached = view.get(key).expect("works").map(|value| value.to_bytes());
                assert_eq!(view.get_bytes(key).expect("works"), uncached);
            }
        };
        assert_eq!(cost(&cached, all), (8, 0, 0), "whoever reads, it is the same cache");
        // Clones share what they know, and so does who asks anew.
        assert_eq!(cost(&cached.clone(), read), (4, 0, 0));
        let anew = store.cached("n")?;
        assert_eq!(cost(&anew, || assert_eq!(get(&anew, "k").as_deref(), Some("v"))), (1, 0, 0));
    }
    Ok(())
}

#[test]
fn a_key_that_is_none_is_refused_and_a_value_that_is_read_into_the_cache_is_not_read_twice() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "v");
    let cached = store.cached("n")?;
    for len in [limits::KEY_BYTES_MAX + 1, 1 << 16, (1 << 16) + 1] {
        let long = vec![b'k'; len];
        assert_eq!(cached.get(&long).expect_err("is too long").kind(), Kind::InvalidInput);
        assert_eq!(cached.get_with(&long, |_| ()).expect_err("is too long").kind(), Kind::InvalidInput);
        let view = store.snapshot()?;
        let refused = view.namespace("n")?.get_bytes(&long).expect_err("is too long");
        assert_eq!(refused.kind(), Kind::InvalidInput);
    }
    let longest = vec![b'k'; limits::KEY_BYTES_MAX];
    put(&store, &longest, "long");
    assert_eq!(get(&cached, &longest).as_deref(), Some("long"));
    assert_eq!(cost(&cached, || assert_eq!(get(&cached, &longest).as_deref(), Some("long"))), (1, 0, 0));
    // Who lends fills, too.
    let lent = || {
        assert_eq!(
            cached.get_with("k", |value| value.map(<[u8]>::to_vec)).expect("works"),
            Some(b"v".into())
        );
    };
    assert_eq!(cost(&cached, lent), (0, 1, 0));
    assert_eq!(cost(&cached, lent), (1, 0, 0));
    assert_eq!(store.cached("nobody").expect_err("is not there").kind(), Kind::NotFound);
    assert_eq!(store.cached("").expect_err("is no name").kind(), Kind::InvalidInput);
    Ok(())
}

/// Something to commit, and what it is.
type Commit = (&'static str, fn(&Store) -> Result<()>);

/// What people say about a namespace, and what is written to others, is no business of its values.
#[test]
fn invariant_5_a_commit_that_does_not_touch_the_values_drops_none() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("other"))?;
    let (own, others) = (store.cached("n")?, reader(&scratch).cached("n")?);
    fill(&store, &[&own, &others])?;
    let before = [own.stats(), others.stats()];
    let edits: [Commit; 10] = [
        ("title", |store| store.write(|tx| tx.update_namespace("n", &Update::new().title("t"))).map(drop)),
        ("description", |store| {
            store.write(|tx| tx.update_namespace("n", &Update::new().description("d"))).map(drop)
        }),
        ("label", |store| {
            store.write(|tx| tx.update_namespace("n", &Update::new().label("a", "b"))).map(drop)
        }),
        ("protection", |store| {
            store.write(|tx| tx.update_namespace("n", &Update::new().protected(true))).map(drop)
        }),
        ("history", |store| {
            store.write(|tx| tx.update_namespace("n", &Update::new().history(History::Off))).map(drop)
        }),
        ("put elsewhere", |store| store.write(|tx| tx.put("other", "k", "v")).map(drop)),
        ("batch elsewhere", |store| {
            store.submit(Batch::new().put(&Name::new("other")?, key(3).to_vec(), "v")).map(drop)
        }),
        ("create", |store| store.write(|tx| tx.create_namespace("third")).map(drop)),
        ("drop", |store| store.write(|tx| tx.drop_namespace("third", DropMode::IfEmpty)).map(drop)),
        ("rename and back", |store| {
            store.write(|tx| tx.rename_namespace("n", "m"))?;
            store.write(|tx| tx.rename_namespace("m", "n")).map(drop)
        }),
    ];
    for (what, edit) in edits {
        edit(&store)?;
        for (cached, before) in [&own, &others].into_iter().zip(&before) {
            let read =
                || (0..100).for_each(|i| assert_eq!(get(cached, key(i)).as_deref(), Some("v"), "{what}"));
            assert_eq!(cost(cached, read), (100, 0, 0), "{what}");
            let CacheStats { entries, bytes, invalidations, floors, .. } = cached.stats();
            let kept = (before.entries, before.bytes, before.invalidations, before.floors);
            assert_eq!((entries, bytes, invalidations, floors), kept, "{what}");
        }
    }
    Ok(())
}

#[test]
fn a_commit_drops_exactly_the_keys_that_it_wrote() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let (own, others) = (store.cached("n")?, reader(&scratch).cached("n")?);
    fill(&store, &[&own, &others])?;
    store.write(|tx| {
        tx.put("n", key(7), "new")?;
        tx.put("n", key(7), "newer")?;
        tx.delete("n", key(8))?;
        tx.delete("n", "was never there")?;
        tx.put("n", "not cached", "v")
    })?;
    store.submit(Batch::new().put(&Name::new("n")?, key(9).to_vec(), "batch"))?;
    let expected = |i: u32| match i {
        7 => Some("newer"),
        8 => None,
        9 => Some("batch"),
        _ => Some("v"),
    };
    for cached in [&own, &others] {
        let read = || (0..100).for_each(|i| assert_eq!(get(cached, key(i)).as_deref(), expected(i), "{i}"));
        let (hits, misses, refusals) = cost(cached, read);
        assert!(hits == 97 && misses >= 3 && refusals == 0, "{hits} {misses} {refusals}");
        let CacheStats { invalidations, floors, entries, evictions, .. } = cached.stats();
        assert_eq!((invalidations, floors, entries, evictions), (3, 0, 100, 0));
        assert_eq!(cost(cached, read), (100, 0, 0));
    }
    // What a transaction that gave up wrote is nobody's business.
    let gave_up = store.write(|tx| {
        tx.put("n", key(1), "never")?;
        Err::<(), _>(cohab::Error::abort("on purpose"))
    });
    assert!(gave_up.is_err());
    assert_eq!(cost(&own, || assert_eq!(get(&own, key(1)).as_deref(), Some("v"))), (1, 0, 0));
    Ok(())
}

/// Batches of one group have one commit, but each its own version, and a namespace's last change is that of its own batch.
/// A writer's cache that took the last of the group for the namespace's refused whatever was read from then on.
#[test]
fn after_batches_that_shared_a_commit_every_namespace_is_cached_again() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let names: Vec<Name> = (0..4).map(|i| Name::new(format!("n{i}"))).collect::<Result<_, _>>()?;
    store.write(|tx| names.iter().try_for_each(|name| tx.create_namespace(name).map(drop)))?;
    let cached: Vec<Cached> = names.iter().map(|name| store.cached(name)).collect::<Result<_>>()?;
    for cached in &cached {
        assert_eq!(get(cached, "k"), None);
    }
    thread::scope(|scope| {
        let held = store.write(|_| {
            for name in &names {
                let store = &store;
                scope.spawn(move || store.submit(Batch::new().put(name, "k", "v")).expect("works"));
            }
            thread::sleep(Duration::from_millis(50));
            Ok(())
        });
        held.expect("changes nothing");
    });
    for (name, cached) in names.iter().zip(&cached) {
        let read = || assert_eq!(get(cached, "k").as_deref(), Some("v"));
        read();
        assert_eq!(cost(cached, read), (1, 0, 0), "{name}");
        assert_eq!(cached.stats().refusals, 0, "{name}");
    }
    Ok(())
}

#[test]
fn invariant_3_what_a_thread_has_written_is_what_it_reads_next() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let cached = store.cached("n")?;
    thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (store, cached) = (&store, &cached);
            scope.spawn(move || {
                let n = Name::new("n").expect("is one");
                for round in 0..100_u32 {
                    let value = format!("{round}");
                    match round % 3 {
                        0 => put(store, [thread], &value),
                        1 => {
                            _ = store
                                .submit(Batch::new().put(&n, vec![thread], value.clone()))
                                .expect("works");
                        }
                        _ => {
                            store.submit(Batch::new().delete(&n, vec![thread])).expect("works");
                            assert_eq!(get(cached, [thread]), None);
                            continue;
                        }
                    }
                    assert_eq!(get(cached, [thread]), Some(value));
                    // The others fill the cache meanwhile.
                    get(cached, [(thread + 1) % 4]);
                }
            });
        }
    });
    assert!(cached.stats().invalidations > 0 && cached.stats().hits > 0);
    Ok(())
}

#[test]
fn what_was_read_from_a_snapshot_that_a_commit_has_overtaken_is_refused() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    fill(&store, &[])?;
    for store_to_read in [&store, &reader(&scratch)] {
        let cached = store_to_read.cached("n")?;
        let (name, before) = (format!("{:?}", store_to_read.role()), get(&cached, "k"));
        let old = store_to_read.snapshot()?;
        let view = old.namespace("n")?;
        put(&store, "k", &name);
        assert_eq!(get(&cached, "k").as_ref(), Some(&name), "it is known that something changed");
        let stale = || {
            for i in [1, 2, 1] {
                assert_eq!(view.get_bytes(key(i)).expect("works").as_deref(), Some(&b"v"[..]));
            }
            assert_eq!(view.get_bytes("k").expect("works").as_deref(), before.as_deref().map(str::as_bytes));
        };
        let (hits, misses, refusals) = cost(&cached, stale);
        assert_eq!((hits, misses), (0, 4));
        assert!(refusals >= 4, "{refusals}");
        assert_eq!(get(&cached, "k").as_ref(), Some(&name));
        // What has been there since before serves the old snapshot, too.
        assert_eq!(get(&cached, key(1)).as_deref(), Some("v"));
        let again = || assert_eq!(view.get_bytes(key(1)).expect("works").as_deref(), Some(&b"v"[..]));
        assert_eq!(cost(&cached, again), (1, 0, 0));
    }
    Ok(())
}

/// The writer's cache begins where the first read stands, which may be behind commits that nobody noted.
#[test]
fn a_commit_after_one_that_the_cache_has_missed_does_not_hide_that() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "old");
    put(&store, "absent", "old");
    let old = store.snapshot()?;
    let view = old.namespace("n")?;
    put(&store, "k", "new");
    store.write(|tx| tx.delete("n", "absent"))?;
    for key in ["k", "absent"] {
        assert_eq!(view.get_bytes(key)?.as_deref(), Some(&b"old"[..]));
    }
    put(&store, "another", "v");
    let cached = store.cached("n")?;
    assert_eq!((get(&cached, "k").as_deref(), get(&cached, "absent")), (Some("new"), None));
    assert_eq!(view.get_bytes("k")?.as_deref(), Some(&b"old"[..]));
    Ok(())
}

#[test]
fn a_name_is_looked_up_again_after_it_was_given_to_another_namespace() -> Result<()> {
    let scratch = Scratch::new();
    let mut writer = Actor::open(&scratch.path(), "writer");
    for name in ["a", "b"] {
        writer.does(&format!("create {name}"));
        writer.does(&format!("set {name} k of-{name}"));
    }
    let store = reader(&scratch);
    // The reader in another process, the writer in its own, and one more that is asked through the actor.
    let mut other = Actor::open(&scratch.path(), "reader");
    let (a, b) = (store.cached("a")?, store.cached("b")?);
    let mut are = |writer: &mut Actor, expected: [Option<&str>; 2]| {
        for (name, cached, expected) in [("a", &a, expected[0]), ("b", &b, expected[1])] {
            let read = cached.get("k");
            match expected {
                Some(expected) => {
                    let value = read.expect("is there").expect("has a value");
                    assert_eq!(value.escape_ascii().to_string(), expected, "{name}");
                }
                None => assert_eq!(read.expect_err("is not there").kind(), Kind::NotFound, "{name}"),
            }
            for actor in [&mut *writer, &mut other] {
                let read = actor.ask(&format!("cached-as {name} {name} k"));
                match expected {
                    Some(expected) => assert_eq!(read.expect("is there"), expected, "{name}"),
                    None => assert_eq!(read.expect_err("is not there").kind, "not_found", "{name}"),
                }
            }
        }
    };
    are(&mut writer, [Some("of-a"), Some("of-b")]);
    for _ in 0..3 {
        // Places changed, one step at a time.
        writer.does("rename a tmp");
        are(&mut writer, [None, Some("of-b")]);
        writer.does("rename b a");
        are(&mut writer, [Some("of-b"), None]);
        writer.does("rename tmp b");
        are(&mut writer, [Some("of-b"), Some("of-a")]);
        writer.does("rename a tmp");
        writer.does("rename b a");
        writer.does("rename tmp b");
        are(&mut writer, [Some("of-a"), Some("of-b")]);
    }
    // Dropped, brought back, and dropped and made anew.
    writer.does("drop-namespace a");
    are(&mut writer, [None, Some("of-b")]);
    writer.does("undrop a");
    are(&mut writer, [Some("of-a"), Some("of-b")]);
    writer.does("drop-namespace a");
    writer.does("create a");
    writer.does("set a k of-another");
    are(&mut writer, [Some("of-another"), Some("of-b")]);
    writer.does("drop-namespace a");
    writer.does("rename b a");
    are(&mut writer, [Some("of-b"), None]);
    Ok(())
}

/// Another process hears that the namespace has changed, and not of what.
#[test]
fn where_no_history_is_kept_all_of_it_is_forgotten_and_nothing_stale_is_read() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| {
        let mut metadata = Metadata::new(Name::new("n")?);
        metadata.history = History::Off;
        tx.create_namespace_with(metadata)
    })?;
    let (own, others) = (store.cached("n")?, reader(&scratch).cached("n")?);
    fill(&store, &[&own, &others])?;
    let before = others.stats().floors;
    for round in 1..=5_u32 {
        put(&store, key(round), "new");
        for cached in [&own, &others] {
            for i in 0..100 {
                let expected = if (1..=round).contains(&i) { "new" } else { "v" };
                assert_eq!(get(cached, key(i)).as_deref(), Some(expected));
            }
        }
        assert_eq!(others.stats().floors, before + u64::from(round));
        assert_eq!(
            (own.stats().floors, own.stats().invalidations),
            (0, u64::from(round)),
            "the writer knows"
        );
    }
    // From here on there is a history again.
    store.write(|tx| tx.update_namespace("n", &Update::new().history(History::Full)))?;
    put(&store, key(50), "newer");
    assert_eq!(get(&others, key(50)).as_deref(), Some("newer"));
    assert_eq!(others.stats().floors, before + 5);
    // One transaction that did both.
    store.write(|tx| {
        tx.put("n", key(1), "recorded")?;
        tx.update_namespace("n", &Update::new().history(History::Off))?;
        tx.put("n", key(2), "not recorded")
    })?;
    assert_eq!(
        [get(&others, key(1)), get(&others, key(2))].map(Option::unwrap),
        ["recorded", "not recorded"]
    );
    assert_eq!(others.stats().floors, before + 6);
    Ok(())
}

#[test]
fn where_too_much_was_written_or_too_long_ago_all_of_it_is_forgotten() -> Result<()> {
    let much: [(u64, Commit); 3] = [
        (
            4,
            ("trimmed", |store| {
                put(store, key(5), "new");
                (0..20_u32).try_for_each(|i| store.write(|tx| tx.put("other", key(i), "v")).map(drop))
            }),
        ),
        (
            100_000,
            ("more than is read", |store| {
                store.write(|tx| {
                    (0..80).try_for_each(|i| tx.put("n", key(1000 + i), vec![1; 64 << 10]))?;
                    tx.put("n", key(5), "new")
                })?;
                Ok(())
            }),
        ),
        (
            100_000,
            ("more keys than are noted", |store| {
                store.write(|tx| {
                    (0..800_u32)
                        .try_for_each(|i| tx.put("n", [&key(1000 + i)[..], &[1; 1900]].concat(), "v"))?;
                    tx.put("n", key(5), "new")
                })?;
                Ok(())
            }),
        ),
    ];
    for (versions, (what, write)) in much {
        let scratch = Scratch::new();
        let store =
            Store::options().retention(Retention::default().versions(versions)).open(scratch.path())?;
        store.write(|tx| {
            tx.create_namespace("n")?;
            tx.create_namespace("other")
        })?;
        let (own, others) = (store.cached("n")?, reader(&scratch).cached("n")?);
        fill(&store, &[&own, &others])?;
        write(&store)?;
        let is_noted = what != "more keys than are noted";
        for (cached, knows) in [(&own, is_noted), (&others, !is_noted)] {
            assert_eq!(get(cached, key(5)).as_deref(), Some("new"), "{what}");
            let (hits, ..) = cost(cached, || assert_eq!(get(cached, key(6)).as_deref(), Some("v"), "{what}"));
            assert_eq!(hits, u64::from(knows), "{what}");
        }
    }
    Ok(())
}

#[test]
fn a_cache_that_is_far_behind_catches_up_over_many_versions() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    store.write(|tx| tx.create_namespace("other"))?;
    let others = reader(&scratch).cached("n")?;
    fill(&store, &[&others])?;
    for i in 0..300 {
        store.write(|tx| {
            tx.put("other", key(i), "v")?;
            if i % 10 == 0 { tx.put("n", key(i / 10), format!("{i}")) } else { Ok(()) }
        })?;
    }
    for i in 0..100 {
        let expected = if i < 30 { format!("{}", i * 10) } else { "v".into() };
        assert_eq!(get(&others, key(i)), Some(expected));
    }
    let CacheStats { floors, invalidations, .. } = others.stats();
    assert_eq!((floors, invalidations), (0, 30));
    Ok(())
}

#[test]
fn in_the_background_a_commit_is_followed_without_a_read() -> Result<()> {
    let scratch = Scratch::new();
    let mut writer = Actor::open(&scratch.path(), "writer");
    writer.does("create n");
    writer.does("set n k old");
    let store = reader_with(&scratch, Store::options().catch_up(CatchUp::Background));
    let cached = store.cached("n")?;
    let lazy = reader(&scratch).cached("n")?;
    assert_eq!([get(&cached, "k"), get(&lazy, "k")].map(Option::unwrap), ["old"; 2]);
    for round in 1..=5 {
        let version = writer.number(&format!("set n k new{round}"));
        let since = Instant::now();
        while cached.stats().horizon < v(version) {
            assert!(since.elapsed() < Duration::from_secs(1), "round {round}: {:?}", cached.stats());
            thread::sleep(Duration::from_millis(1));
        }
        let CacheStats { invalidations, hits, entries, .. } = cached.stats();
        assert_eq!((invalidations, hits, entries), (round, round - 1, 0));
        assert!(lazy.stats().horizon < v(version), "nobody has read here");
        let expected = format!("new{round}");
        for _ in 0..2 {
            assert_eq!(get(&cached, "k").as_ref(), Some(&expected));
        }
        assert_eq!(cached.stats().hits, round);
    }
    assert_eq!(get(&lazy, "k").as_deref(), Some("new5"));
    // The writer does not wait for those who follow it.
    drop((cached, lazy, store));
    writer.does("set n k last");
    Ok(())
}

#[test]
fn a_store_that_is_followed_in_the_background_is_closed_when_it_is_dropped() -> Result<()> {
    let scratch = Scratch::new();
    drop(scratch.with_namespace());
    for round in 0..20_u32 {
        let store = Store::options().catch_up(CatchUp::Background).open(scratch.path())?;
        put(&store, "k", key(round));
        let cached = store.cached("n")?;
        assert_eq!(cached.get("k")?.as_deref(), Some(&key(round)[..]));
        if round % 2 == 0 {
            thread::sleep(Duration::from_millis(u64::from(round)));
        }
        drop((cached, store));
    }
    // Nor does it keep a stand-by waiting.
    let store = Store::options().catch_up(CatchUp::Background).open(scratch.path())?;
    let mut standby = Actor::open(&scratch.path(), "standby");
    drop(store);
    standby.hears("promoted ");
    Ok(())
}

#[test]
fn a_snapshot_that_has_expired_reads_from_no_cache() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().snapshot_age_max(Duration::from_millis(300)).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("n"))?;
    put(&store, "k", "v");
    let cached = store.cached("n")?;
    let snapshot = store.snapshot()?;
    let view = snapshot.namespace("n")?;
    for _ in 0..2 {
        assert_eq!(view.get_bytes("k")?.as_deref(), Some(&b"v"[..]));
    }
    thread::sleep(Duration::from_millis(400));
    assert_eq!(view.get_bytes("k").expect_err("is too old").kind(), Kind::SnapshotExpired);
    assert_eq!(view.get_bytes("absent").expect_err("is too old").kind(), Kind::SnapshotExpired);
    // What holds no snapshot does not expire.
    assert_eq!(cost(&cached, || assert_eq!(get(&cached, "k").as_deref(), Some("v"))), (1, 0, 0));
    put(&store, "k", "new");
    assert_eq!(get(&cached, "k").as_deref(), Some("new"));
    Ok(())
}

#[test]
fn a_handle_reads_as_new_as_it_was_opened_for_and_never_goes_back() -> Result<()> {
    let scratch = Scratch::new();
    let writer = scratch.with_namespace();
    put(&writer, "k", "old");
    let old = Duration::from_hours(1);
    for freshness in [Freshness::Pinned, Freshness::MaxAge(old)] {
        put(&writer, "k", "old");
        let store = reader_with(&scratch, Store::options().freshness(freshness));
        let (cached, typed) = (store.cached("n")?, store.cached_typed(&TEXT)?);
        assert_eq!(get(&cached, "k").as_deref(), Some("old"));
        put(&writer, "k", "new");
        for _ in 0..3 {
            assert_eq!(get(&cached, "k").as_deref(), Some("old"), "{freshness:?}");
            assert_eq!(typed.get("k")?.expect("is there").0, "old", "{freshness:?}");
            assert_eq!(get(&store.cached("n")?, "k").as_deref(), Some("old"), "{freshness:?}");
        }
        // Somebody in the process looks: from here on nobody sees less.
        assert_eq!(store.refresh()?.get("n", "k")?.as_deref(), Some(&b"new"[..]));
        assert_eq!(get(&cached, "k").as_deref(), Some("new"), "{freshness:?}");
        assert_eq!(typed.get("k")?.expect("is there").0, "new", "{freshness:?}");
    }
    Ok(())
}

#[test]
fn stores_that_share_a_cache_share_its_budget_and_nothing_else() -> Result<()> {
    let cache = Cache::new(1 << 20);
    let scratches = [Scratch::new(), Scratch::new()];
    let mut stores = Vec::new();
    for (i, scratch) in (0..).zip(&scratches) {
        let store = Store::options().cache(cache.clone()).open(scratch.path())?;
        store.write(|tx| {
            tx.create_namespace("n")?;
            (0..100).try_for_each(|k| tx.put("n", key(k), format!("{i}-{k}")))
        })?;
        let other = reader_with(scratch, Store::options().cache(cache.clone()));
        stores.extend([(i, store.cached("n")?, store), (i, other.cached("n")?, other)]);
    }
    for _ in 0..2 {
        for (i, cached, _) in &stores {
            for k in 0..100 {
                assert_eq!(get(cached, key(k)), Some(format!("{i}-{k}")));
            }
        }
    }
    for (_, cached, store) in &stores {
        let CacheStats { hits, entries, .. } = cached.stats();
        assert_eq!((hits, entries), (100, 100));
        assert_eq!((store.cache().budget(), store.cache_stats().len()), (1 << 20, 1));
    }
    put(&stores[0].2, key(1), "new");
    assert_eq!(get(&stores[1].1, key(1)).as_deref(), Some("new"));
    assert_eq!(get(&stores[2].1, key(1)).as_deref(), Some("1-1"));
    Ok(())
}

#[test]
fn more_namespaces_than_a_snapshot_remembers_are_cached_all_the_same() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let names: Vec<String> = (0..40).map(|i| format!("n{i}")).collect();
    store.write(|tx| {
        names.iter().try_for_each(|name| {
            tx.create_namespace(name)?;
            tx.put(name, "k", name)
        })
    })?;
    let snapshot = store.snapshot()?;
    let read = || {
        for name in &names {
            let value = snapshot.namespace(name).expect("is there").get_bytes("k").expect("works");
            assert_eq!(value.as_deref(), Some(name.as_bytes()));
        }
    };
    read();
    read();
    assert_eq!(store.cache_stats().iter().map(|it| it.stats.hits).sum::<u64>(), 40);
    assert_eq!(store.cache_stats().iter().map(|it| it.stats.entries).sum::<u64>(), 40);
    Ok(())
}

#[test]
fn a_commit_that_failed_leaves_nothing_in_the_cache_that_the_store_does_not_hold() -> Result<()> {
    for failing in 0..6 {
        let scratch = Scratch::new();
        let faults = Faults::default();
        let store = faults.install(Store::options().mapping(cohab::Mapping::Off)).open(scratch.path())?;
        store.write(|tx| tx.create_namespace("n"))?;
        put(&store, "k", "old");
        let cached = store.cached("n")?;
        assert_eq!([get(&cached, "k"), get(&cached, "k")].map(Option::unwrap), ["old"; 2]);
        if failing < 3 {
            faults.fail_sync(failing, Failure::Once);
        } else {
            faults.fail_write(failing - 3, Failure::Once);
        }
        let done = store.write(|tx| tx.put("n", "k", "new"));
        faults.heal();
        if done.is_err() {
            // The old one may be told, as nobody was told of another; the new one may not.
            if let Ok(value) = cached.get("k") {
                assert_eq!(value.as_deref(), Some(&b"old"[..]), "{failing}");
            }
            store.reopen()?;
        }
        for _ in 0..2 {
            let stored = store.snapshot()?.get("n", "k")?.map(|value| value.to_bytes());
            assert_eq!(cached.get("k")?, stored, "{failing}");
            assert!(done.is_err() || stored.as_deref() == Some(b"new"), "{failing}");
        }
        put(&store, "k", "newer");
        assert_eq!(get(&cached, "k").as_deref(), Some("newer"), "{failing}");
    }
    Ok(())
}

#[test]
fn who_hands_over_and_who_takes_over_go_on_reading_what_is_right() {
    let scratch = Scratch::new();
    let mut one = Actor::open(&scratch.path(), "auto");
    one.does("create n");
    let mut other = Actor::open(&scratch.path(), "auto");
    let mut reader = Actor::open(&scratch.path(), "reader");
    for round in 0..4 {
        for step in 0..3 {
            let value = format!("{round}.{step}");
            one.does(&format!("set n k {value}"));
            for actor in [&mut one, &mut other, &mut reader] {
                assert_eq!(actor.does("cached-as n n k"), value);
                assert_eq!(actor.does("cached-as n n absent"), "none");
            }
        }
        if round % 2 == 0 {
            other.does("promote 20000");
            other.hears("promoted ");
            one.hears("stepped-down ");
            std::mem::swap(&mut one, &mut other);
        } else {
            one.kill();
            one = other;
            one.hears("promoted ");
            other = Actor::open(&scratch.path(), "auto");
        }
    }
}

/// A stand-by had a page that was not the one that its predecessor, and then itself, published on. What its cache took for
/// news was then neither its own commits nor its predecessor's last.
#[test]
fn who_takes_over_reads_what_it_writes_whatever_became_of_the_page() {
    for round in 0..3 {
        let scratch = Scratch::new();
        let mut writer = Actor::open(&scratch.path(), "writer");
        writer.does("create n");
        writer.does("set n k first");
        writer.does("create m");
        writer.does("set m k of-m");
        let mut standby = Actor::open(&scratch.path(), "standby");
        assert_eq!(standby.does("cached-as n n k"), "first");
        assert_eq!(standby.does("cached-as m m k"), "of-m");
        // So that it has just looked, and still believes what it has when all is over.
        writer.does("set n k first");
        writer.does("set m k of-m");
        assert_eq!(standby.does("cached-as n n k"), "first");
        assert_eq!(standby.does("cached-as m m k"), "of-m");
        let page = scratch.path().join("coord.page");
        std::fs::remove_file(&page).expect("there is a page");
        let deadline = Instant::now() + Duration::from_secs(3);
        while !page.exists() {
            assert!(Instant::now() < deadline, "nobody makes a new page");
            thread::sleep(Duration::from_millis(1));
        }
        writer.does("set n k second");
        writer.kill();
        standby.hears("promoted ");
        // What it writes itself says nothing of what it has missed.
        standby.does("set n other v");
        assert_eq!(standby.does("cached-as n n k"), "second", "round {round}");
        standby.does("set n k third");
        assert_eq!(standby.does("cached-as n n k"), "third", "round {round}");
        standby.does("rename m other");
        let gone = standby.ask("cached-as m m k").expect_err("has another name");
        assert_eq!(gone.kind, "not_found", "round {round}");
    }
}

/// What becomes of the page, given an older copy of it.
type Fault = (&'static str, fn(page: &Path, older: &[u8]));

/// Nobody else in the process looks into the store, so that the cache alone finds out that its page is none any more.
#[test]
fn who_only_reads_through_the_cache_is_late_by_a_moment_at_most_whatever_becomes_of_the_page() -> Result<()> {
    let faults: [Fault; 3] = [
        ("removed", |page, _| std::fs::remove_file(page).expect("there is a page")),
        ("replaced by an older copy of itself", |page, older| {
            let copy = page.with_extension("copy");
            std::fs::write(&copy, older).expect("can be written");
            std::fs::rename(copy, page).expect("can be renamed");
        }),
        ("overwritten by an older copy of itself", |page, older| {
            use std::os::unix::fs::FileExt;
            let file = std::fs::OpenOptions::new().write(true).open(page).expect("there is a page");
            file.write_all_at(older, 0).expect("can be written");
        }),
    ];
    for (what, fault) in faults {
        let scratch = Scratch::new();
        let page = scratch.path().join("coord.page");
        let mut writer = Actor::open(&scratch.path(), "writer");
        writer.does("create n");
        writer.does("create other");
        writer.does("set n k 0");
        let store = reader(&scratch);
        let cached = store.cached("n")?;
        assert_eq!(get(&cached, "k").as_deref(), Some("0"));
        let older = std::fs::read(&page).expect("there is a page");
        for round in 1..4 {
            writer.does("set other k v");
            get(&cached, "k");
            fault(&page, &older);
            writer.does(&format!("set n k {round}"));
            let (since, expected) = (Instant::now(), round.to_string());
            let before = (round - 1).to_string();
            loop {
                let found = get(&cached, "k").expect("is there");
                if found == expected {
                    break;
                }
                assert_eq!(found, before, "{what}");
                assert!(
                    since.elapsed() < Duration::from_secs(3),
                    "{what}: still reads {found} in round {round}"
                );
                thread::sleep(Duration::from_millis(1));
            }
            // Until there is a page again.
            let deadline = Instant::now() + Duration::from_secs(3);
            while !page.exists() {
                assert!(Instant::now() < deadline, "nobody makes a new page");
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}

#[test]
fn child_caches_and_forks() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let store = Store::options().role(Role::Reader).open(path)?;
    let (cached, typed, snapshot) = (store.cached("n")?, store.cached_typed(&TEXT)?, store.snapshot()?);
    let view = snapshot.namespace("n")?;
    for _ in 0..2 {
        assert_eq!(get(&cached, "k").as_deref(), Some("v"));
        assert_eq!(typed.get("k")?.expect("is there").0, "v");
        assert_eq!(view.get_bytes("k")?.as_deref(), Some(&b"v"[..]));
    }
    fork(|| {
        let outcomes = [
            ("get", cached.get("k").err()),
            ("get absent", cached.get("absent").err()),
            ("get_with", cached.get_with("k", |_| ()).err()),
            ("typed get", typed.get("k").err()),
            ("get_bytes", view.get_bytes("k").err()),
            ("cached", store.cached("n").err()),
        ];
        for (what, error) in outcomes {
            let kind = error.as_ref().map_or("allowed", |error| error.kind().as_str());
            let _ = Child::report(format_args!("{what}: {kind}"));
        }
    });
    assert_eq!(get(&cached, "k").as_deref(), Some("v"));
    Child::report("went on").expect("the parent listens");
    Ok(())
}

/// Runs something in a forked child, and waits for its end.
#[expect(unsafe_code, reason = "forks")]
fn fork(child: impl FnOnce()) {
    // SAFETY: the other threads hold no locks that the child needs, and libc's allocator may be used there.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0, "{}", std::io::Error::last_os_error());
    if forked == 0 {
        child();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: waits for the child, and the status is there to be written.
    assert_eq!(unsafe { libc::waitpid(forked, &raw mut status, 0) }, forked);
    assert_eq!(status, 0);
}

#[test]
fn a_forked_child_reads_nothing_from_its_parents_cache() {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "v");
    let mut child = Child::start("cached::child_caches_and_forks", &scratch.path()).expect("starts");
    let mut reports = Vec::new();
    while let Some(report) = child.next_report_within(Duration::from_secs(20)).expect("reports in time") {
        reports.push(report);
    }
    let kind = Kind::UsedAfterFork.as_str();
    let tried = ["get", "get absent", "get_with", "typed get", "get_bytes", "cached"];
    let mut expected: Vec<String> = tried.iter().map(|what| format!("{what}: {kind}")).collect();
    expected.push("went on".into());
    assert_eq!(reports, expected);
}

/// No lock is held while an application's function has the value.
#[test]
fn who_is_lent_a_value_may_read_and_write() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    put(&store, "k", "0");
    let cached = store.cached("n")?;
    for round in 1..=6_u32 {
        // Once where the cache knows it, and once where it does not.
        if round % 2 == 0 {
            assert!(get(&cached, "k").is_some());
        }
        let before = cached.get_with("k", |value| {
            let value = value.expect("is there").to_vec();
            assert_eq!(get(&cached, "k").map(String::into_bytes), Some(value.clone()));
            put(&store, "k", round.to_string());
            assert_eq!(get(&cached, "k"), Some(round.to_string()));
            assert_eq!(
                cached.get_with("k", |inner| inner.map(<[u8]>::to_vec)).expect("works"),
                Some(round.to_string().into())
            );
            thread::scope(|scope| {
                scope.spawn(|| assert_eq!(get(&cached, "k"), Some(round.to_string())));
            });
            value
        })?;
        assert_eq!(before, (round - 1).to_string().into_bytes(), "what is lent does not change");
        assert_eq!(get(&cached, "k"), Some(round.to_string()));
    }
    Ok(())
}
