//! One lock in one process.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use cohab_lock::{Cancel, Error, Holder, LockFile, Mode, Wait};

use crate::{Scratch, assert_prompt, me};

#[test]
fn a_waiter_gets_the_lock_when_it_comes_free() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockFile::in_dir(scratch.path(), "job");
    let held = lock.acquire(&Holder::this_process("first"), Duration::ZERO)?;
    assert_eq!(lock.current().map(|holder| holder.role), Some("first".into()));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.acquire(&Holder::this_process("second"), Duration::from_mins(1)));
        thread::sleep(Duration::from_millis(20));
        drop(held);
        let held = waiter.join().expect("does not panic").expect("is free by now");
        assert_eq!(lock.holder().map(|holder| holder.role), Some("second".into()));
        drop(held);
    });
    assert!(lock.current().is_none());
    assert!(lock.holder().is_none(), "the record goes with the lock");
    Ok(())
}

#[test]
fn a_lock_is_shared_with_those_who_share_it() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockFile::in_dir(scratch.path(), "job");
    let acquire =
        |role, mode| lock.acquire_with(&Holder::this_process(role), mode, Wait::Try, &Cancel::new());
    let (one, two) = (acquire("one", Mode::Shared)?, acquire("two", Mode::Shared)?);
    assert!(matches!(acquire("three", Mode::Exclusive), Err(Error::Busy { .. })));
    drop(one);
    assert_eq!(
        lock.current().map(|holder| holder.role),
        Some("two".into()),
        "the first took its own word only"
    );
    drop(two);
    assert!(lock.holder().is_none());
    acquire("three", Mode::Exclusive).map(drop)
}

#[test]
fn a_record_that_cannot_be_read_or_written_is_no_obstacle() -> Result<(), Error> {
    let scratch = Scratch::new();
    let (lock, record) = (LockFile::in_dir(scratch.path(), "job"), scratch.path().join("job.json"));
    let refusal = || lock.acquire(&me(), Duration::ZERO).expect_err("is held").to_string();
    let garbage = [&b"{torn"[..], b"", b"[]", &[0xff; 10_000], br#"{"role":"new","pid":"seven","since":{}}"#];
    for content in garbage {
        fs::write(&record, content).expect("can be written");
        let held = lock.acquire(&me(), Duration::ZERO)?;
        fs::write(&record, content).expect("can be written");
        assert!(refusal().ends_with("is held by another process"));
        assert!(lock.current().is_some());
        drop(held);
    }
    let held = lock.acquire(&me(), Duration::ZERO)?;
    fs::write(&record, r#"{"role":"importer","pid":7,"since":0,"channel":"beta","invented":"later"}"#)
        .expect("can be written");
    assert!(refusal().ends_with("importer (process 7, since 1970-01-01T00:00:00Z, channel beta)"));
    drop(held);

    fs::create_dir(&record).expect("can be made");
    let held = lock.acquire(&me(), Duration::ZERO)?;
    assert!(refusal().ends_with("is held by another process"));
    drop(held);
    Ok(())
}

#[test]
fn a_wait_ends_when_it_is_cancelled_or_over() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockFile::in_dir(scratch.path(), "job");
    let held = lock.acquire(&me(), Duration::ZERO)?;
    let cancel = Cancel::new();
    let wait = |wait| lock.acquire_with(&me(), Mode::Shared, wait, &cancel).expect_err("is held");
    assert!(matches!(wait(Wait::Try), Error::Busy { .. }));
    assert!(matches!(wait(Wait::For(Duration::from_millis(30))), Error::Busy { .. }));
    for time in [Wait::Forever, Wait::For(Duration::MAX)] {
        let cancelled = thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(time));
            thread::sleep(Duration::from_millis(60));
            let since = Instant::now();
            cancel.cancel();
            let error = waiter.join().expect("does not panic");
            assert_prompt(since);
            error
        });
        assert!(cancelled.to_string().ends_with("job.lock was cancelled"), "{cancelled}");
    }
    drop(held);
    assert!(matches!(wait(Wait::Forever), Error::Cancelled { .. }), "even if the lock is free");
    Ok(())
}

/// What a writer asks several times a second: does somebody want to take over?
#[test]
fn whether_a_lock_is_held_alone_can_be_seen_without_taking_it() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockFile::in_dir(scratch.path(), "job");
    assert!(!lock.is_held(), "there is no such file");
    assert!(!scratch.path().join("job.lock").exists(), "looking creates nothing");
    let held = lock.acquire(&me(), Duration::ZERO)?;
    assert!(lock.is_held());
    assert!(lock.is_held(), "looking takes nothing away");
    drop(held);
    assert!(!lock.is_held());
    let shared = lock.acquire_with(&me(), Mode::Shared, Wait::Try, &Cancel::new())?;
    assert!(!lock.is_held(), "those who share do not hold it alone");
    drop(shared);
    drop(lock.acquire(&me(), Duration::ZERO)?);
    Ok(())
}

#[test]
fn whoever_looks_is_told_all_that_the_holder_says() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockFile::in_dir(scratch.path(), "job");
    let instance = cohab_core::InstanceId::generate();
    let says = me().instance(instance).app("jobs").channel("nightly").app_version("1.2").label("desk");
    let held = lock.acquire(&says, Duration::ZERO)?;
    let told = lock.current().expect("is held");
    assert_eq!((told.instance, told.pid), (Some(instance), std::process::id()));
    let texts = [told.app.clone(), told.channel.clone(), told.app_version.clone(), told.label.clone()];
    assert_eq!(texts.map(Option::unwrap_or_default), ["jobs", "nightly", "1.2", "desk"]);
    let refused = lock.acquire(&me(), Duration::ZERO).expect_err("is held").to_string();
    assert!(refused.ends_with(&format!(", instance {instance}, channel nightly)")), "{refused}");
    drop(held);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_lock_that_was_removed_under_a_waiter_is_not_taken() -> Result<(), Error> {
    let scratch = Scratch::new();
    let (lock, file) = (LockFile::in_dir(scratch.path(), "job"), scratch.path().join("job.lock"));
    let orphan = lock.acquire(&me(), Duration::ZERO)?;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.acquire(&me(), Duration::from_mins(1)));
        thread::sleep(Duration::from_millis(40));
        fs::remove_file(&file).expect("can be removed");
        drop(orphan);
        let held = waiter.join().expect("does not panic").expect("comes free");
        assert!(file.exists(), "the waiter holds what others find");
        assert!(matches!(lock.acquire(&me(), Duration::ZERO), Err(Error::Busy { .. })));
        drop(held);
    });
    Ok(())
}
