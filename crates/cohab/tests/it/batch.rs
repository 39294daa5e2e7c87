use cohab::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use cohab::{Batch, Kind, Name, Precondition, Result};

use crate::{Scratch, v};

#[test]
fn every_precondition_that_fails_is_named() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let n: Name = "n".parse()?;
    store.submit(Batch::new().put(&n, "a", "1"))?;
    let refused = store
        .submit(
            Batch::new()
                .expect(Precondition::absent(&n, "a"))
                .expect(Precondition::value(&n, "a", "1"))
                .expect(Precondition::key_version(&n, "a", v(1)))
                .expect(Precondition::DataVersion { namespace: "gone".parse()?, version: v(1) })
                .put(&n, "a", "2"),
        )
        .expect_err("three do not hold");
    assert_eq!(refused.kind(), Kind::Conflict);
    assert_eq!(refused.refusals().len(), 3);
    let message = refused.to_string();
    assert!(message.contains("key \"a\" of namespace `n` to be absent"), "{message}");
    assert!(message.contains("at version 1, found 2"), "{message}");
    assert!(message.contains("there is no such namespace"), "{message}");
    assert_eq!(store.snapshot()?.version(), v(2), "nothing was done");
    Ok(())
}

#[test]
fn each_kind_of_precondition_holds_and_fails_where_it_should() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let n: Name = "n".parse()?;
    store.submit(Batch::new().put(&n, "a", "1"))?;
    let check = |precondition: Precondition, holds: bool| {
        let result = store.submit(Batch::new().expect(precondition.clone()));
        assert_eq!(result.is_ok(), holds, "{precondition:?}: {result:?}");
    };
    check(Precondition::value(&n, "a", "1"), true);
    check(Precondition::value(&n, "a", "2"), false);
    check(Precondition::value(&n, "b", "1"), false);
    check(Precondition::key_version(&n, "a", v(2)), true);
    check(Precondition::key_version(&n, "a", v(3)), false);
    check(Precondition::absent(&n, "b"), true);
    check(Precondition::absent(&n, "a"), false);
    check(Precondition::absent(&"gone".parse()?, "a"), true);
    check(Precondition::present(&n, "a"), true);
    check(Precondition::present(&n, "b"), false);
    check(Precondition::DataVersion { namespace: n.clone(), version: v(2) }, true);
    check(Precondition::DataVersion { namespace: n.clone(), version: v(1) }, false);
    check(Precondition::MetaVersion { namespace: n.clone(), version: v(1) }, true);
    check(Precondition::MetaVersion { namespace: n, version: v(2) }, false);
    check(Precondition::StoreVersion(v(2)), true);
    check(Precondition::StoreVersion(v(1)), false);
    Ok(())
}

#[test]
fn a_batch_into_a_namespace_that_is_missing_is_refused_unless_it_creates_it() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let n: Name = "n".parse()?;
    assert_eq!(store.submit(Batch::new().put(&n, "k", "v")).map_err(|e| e.kind()), Err(Kind::NotFound));
    assert_eq!(store.submit(Batch::new().put_creating(&n, "k", "v").put_creating(&n, "l", "w"))?, v(1));
    assert_eq!(store.snapshot()?.namespace("n")?.count(), 2);
    Ok(())
}

#[test]
fn batches_of_many_threads_share_commits_and_keep_their_versions() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let n: Name = "n".parse()?;
    let (threads, each) = (8u32, 40u32);
    let mut versions: Vec<_> = std::thread::scope(|scope| {
        let submit = |thread: u32| {
            let (store, n) = (&store, &n);
            move || -> Result<Vec<_>> {
                (0..each)
                    .map(|i| {
                        let key = (thread * each + i).to_be_bytes().to_vec();
                        store.submit(Batch::new().label(format!("{thread}/{i}")).put(n, key, "v"))
                    })
                    .collect()
            }
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(submit(thread))).collect();
        running
            .into_iter()
            .flat_map(|thread| thread.join().expect("does not panic").expect("commits"))
            .collect()
    });
    versions.sort_unstable();
    let expected: Vec<_> = (2..2 + u64::from(threads * each)).map(v).collect();
    assert_eq!(versions, expected, "invariant 2: versions have no gaps and never repeat");
    let snapshot = store.snapshot()?;
    assert_eq!(snapshot.namespace("n")?.count(), u64::from(threads * each));
    assert_eq!(snapshot.log(..).count(), versions.len() + 1, "every batch has its own record");
    assert!(snapshot.verify(|_| ())?.is_sound());
    Ok(())
}

#[test]
fn a_refused_batch_does_not_drag_its_group_along() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let n: Name = "n".parse()?;
    store.submit(Batch::new().put(&n, "taken", ""))?;
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..16u8)
            .map(|i| {
                let (store, n) = (&store, &n);
                scope.spawn(move || {
                    let key = if i % 2 == 0 { b"taken".to_vec() } else { vec![i] };
                    store
                        .submit(Batch::new().expect(Precondition::absent(n, key.clone())).put(n, key, "mine"))
                        .is_ok()
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
    });
    let expected: Vec<bool> = (0..16).map(|i| i % 2 == 1).collect();
    assert_eq!(outcomes, expected);
    assert_eq!(store.snapshot()?.get("n", "taken")?.as_deref(), Some(&b""[..]));
    Ok(())
}

#[test]
fn a_batch_over_a_limit_is_refused_before_it_waits() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.with_namespace();
    let n: Name = "n".parse()?;
    let many = (0..=BATCH_OPERATIONS_MAX).fold(Batch::new(), |batch, _| batch.delete(&n, "k"));
    let error = store.submit(many).expect_err("too many");
    assert!(error.to_string().contains(&BATCH_OPERATIONS_MAX.to_string()), "{error}");
    let half = bytes::Bytes::from(vec![0; BATCH_BYTES_MAX / 2]);
    let large = Batch::new().put(&n, "a", half.clone()).put(&n, "b", half);
    assert_eq!(store.submit(large).map_err(|e| e.kind()), Err(Kind::InvalidInput));
    Ok(())
}
