use cohab::{Kind, Mapping, Result, Role, Store};
use cohab_testkit::{Failure, Faults};

use crate::actor::Actor;
use crate::{Scratch, key, v};

/// A store on failing storage, with a namespace and some keys.
fn failing(scratch: &Scratch) -> Result<(Store, Faults)> {
    let faults = Faults::default();
    let store = faults.install(Store::options().mapping(Mapping::Off)).open(scratch.path())?;
    store.write(|tx| {
        tx.create_namespace("n")?;
        (0..400).try_for_each(|i| tx.put("n", key(i), [1; 200]))
    })?;
    Ok((store, faults))
}

/// Fails the k-th operation of a commit for every k until the commit works, and checks what the store is afterwards.
fn fail_every_operation_of_a_commit(plan: impl Fn(&Faults, u64)) -> Result<u64> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    let commit =
        |value: u8| store.write(|tx| (0..20).try_for_each(|i| tx.put("n", key(i * 20), [value; 300])));
    let mut readable = 0;
    for k in 0.. {
        let (before, digest) = {
            let snapshot = store.snapshot()?;
            (snapshot.version(), snapshot.namespace("n")?.digest())
        };
        let value = u8::try_from(k % 251).expect("is small");
        plan(&faults, k);
        let result = commit(value);
        if faults.heal() == 0 {
            assert_eq!(result?.version, before.next());
            assert!(readable * 2 >= k, "the version before could be read after {readable} of {k} failures");
            return Ok(k);
        }
        let error = result.expect_err("a failed operation is reported");
        assert!(matches!(error.kind(), Kind::CommitUnknown | Kind::Io), "{error:?}");

        // The version before can still be read, and the handle says what it is.
        assert!(store.is_poisoned(), "k = {k}: {error:?}");
        assert_eq!(commit(value).map_err(|e| e.kind()).err(), Some(Kind::Poisoned));
        match store.snapshot() {
            Ok(snapshot) => {
                assert_eq!(
                    snapshot.version(),
                    before,
                    "k = {k}: nothing is shown that was never acknowledged"
                );
                assert_eq!(snapshot.namespace("n")?.digest(), digest);
                assert!(snapshot.verify(|_| ())?.is_sound(), "k = {k}");
                readable += 1;
            }
            Err(error) => assert_eq!(error.kind(), Kind::Poisoned, "k = {k}: it shows, and may not last"),
        }

        // Reopening tells which it was: all of the commit or nothing.
        let found = store.reopen()?;
        let snapshot = store.snapshot()?;
        let n = snapshot.namespace("n")?;
        if found == before {
            assert_eq!(n.digest(), digest, "k = {k}: nothing of it is there");
        } else {
            assert_eq!(found, before.next());
            let all_there = (0..20).all(|i| {
                n.get(key(i * 20)).is_ok_and(|found| found.is_some_and(|found| *found == [value; 300]))
            });
            assert!(all_there, "k = {k}: all of it is there");
        }
        assert!(snapshot.verify(|_| ())?.is_sound(), "k = {k}");
        drop(snapshot);
        assert_eq!(commit(value)?.version, found.next(), "k = {k}: the next commit works");
    }
    unreachable!("some commit works")
}

#[test]
fn a_full_disk_at_every_write_of_a_commit_loses_nothing() -> Result<()> {
    let writes = fail_every_operation_of_a_commit(|faults, k| faults.fail_write(k, Failure::ForEver))?;
    assert!(writes > 20, "only {writes} writes were failed");
    Ok(())
}

#[test]
fn one_failed_write_is_not_forgotten_because_the_next_ones_work() -> Result<()> {
    fail_every_operation_of_a_commit(|faults, k| faults.fail_write(k, Failure::Once)).map(drop)
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_until_the_store_was_reopened() -> Result<()> {
    let syncs = fail_every_operation_of_a_commit(|faults, k| faults.fail_sync(k, Failure::Once))?;
    assert!(syncs >= 2, "a two-phase commit syncs twice, {syncs} were failed");
    Ok(())
}

#[test]
fn a_group_whose_commit_fails_fails_as_a_whole() -> Result<()> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    let n = "n".parse()?;
    faults.fail_sync(0, Failure::ForEver);
    let kinds: Vec<_> = std::thread::scope(|scope| {
        let submit = |i: u8| {
            let (store, n) = (&store, &n);
            move || store.submit(cohab::Batch::new().put(n, vec![i], "v")).map_err(|error| error.kind())
        };
        let threads: Vec<_> = (0..8).map(|i| scope.spawn(submit(i))).collect();
        threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
    });
    assert!(kinds.iter().all(|kind| matches!(kind, Err(Kind::CommitUnknown | Kind::Poisoned))), "{kinds:?}");
    faults.heal();
    let version = store.reopen()?;
    assert!(version >= v(1));
    assert_eq!(store.write(|tx| tx.put("n", "k", "v"))?.version, version.next());
    Ok(())
}

/// A batch whose commit failed was told "access to the store's file failed", and not why: each of its group got a copy of the
/// error, and a copy kept the first cause alone. The full disk behind it is what the caller can do something about.
#[test]
fn everyone_of_a_group_is_told_what_the_system_said() -> Result<()> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    faults.fail_write(0, Failure::ForEver);
    let batch = || cohab::Batch::new().put(&"n".parse().expect("is a name"), "k", "v");
    let error = store.submit(batch()).expect_err("the disk is full");
    assert_eq!(error.kind(), Kind::CommitUnknown);
    let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let told = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>());
    assert_eq!(told.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull), "{error:?}");
    Ok(())
}

/// A reader whose file was opened anew, because the application asked for it or a read had failed, asked for a recovery where the
/// writer had died meanwhile, until somebody else opened the store.
#[test]
fn a_reader_that_is_reopened_recovers_what_a_dead_writer_has_left() -> Result<()> {
    let scratch = Scratch::new();
    let mut writer = Actor::open(&scratch.path(), "writer");
    writer.does("create n");
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    writer.does("set n key value");
    writer.kill();
    assert_eq!(reader.reopen()?, v(2));
    assert_eq!(reader.snapshot()?.get("n", "key")?.as_deref(), Some(&b"value"[..]));
    Ok(())
}

/// Fails every operation of a reopening for every k until it works, and checks what the handle says of itself in between.
fn fail_every_operation_of_a_reopening(plan: impl Fn(&Faults, u64)) -> Result<()> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    let before = store.snapshot()?.version();
    for k in 0.. {
        plan(&faults, k);
        let reopened = store.reopen();
        if faults.heal() == 0 {
            assert!(k > 0, "opening has to do with the disk");
            return reopened.map(drop);
        }
        assert_eq!(reopened.map_err(|error| error.kind()), Err(Kind::Io), "k = {k}");
        assert!(store.is_poisoned(), "k = {k}");
        let refused = store.write(|tx| tx.put("n", "k", "v")).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(Kind::Poisoned), "k = {k}");
        match store.snapshot() {
            Ok(snapshot) => {
                assert_eq!(snapshot.version(), before, "k = {k}");
                assert_eq!(snapshot.namespace("n")?.count(), 400, "k = {k}");
            }
            Err(error) => assert_eq!(error.kind(), Kind::Poisoned, "k = {k}: it has to be recovered first"),
        }
        assert_eq!(store.reopen()?, before, "k = {k}");
    }
    unreachable!("some reopening works")
}

/// A handle that could not be opened again on a full disk said that it was sound, refused reads and writes alike as closed, and
/// so left nothing to do but to end the process. It says that it is poisoned now, shows nothing but what was acknowledged, and can
/// be opened again as soon as the disk works.
#[test]
fn a_store_that_cannot_be_reopened_says_so_and_can_be_reopened_later() -> Result<()> {
    fail_every_operation_of_a_reopening(|faults, k| faults.fail_sync(k, Failure::ForEver))
}

/// Likewise where nothing can be read.
#[test]
fn a_store_that_cannot_be_read_when_it_is_reopened_says_so_and_can_be_reopened_later() -> Result<()> {
    fail_every_operation_of_a_reopening(|faults, k| faults.fail_read(k, Failure::ForEver))
}
