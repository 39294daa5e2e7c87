//! Named locks in one process.

use std::fs;
use std::thread;
use std::time::Duration;

use cohab_lock::{Cancel, Error, Guard, Mode, Request, Wait};

use crate::{LONG, Scratch, acquired, assert_pids, me};

#[test]
fn every_acquisition_gets_a_larger_token() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let acquire = |mode, floor| locks.acquire("job", mode, &Request::new(&me()).floor(floor));
    assert_eq!(acquire(Mode::Exclusive, 0)?.token(), 1);
    let shared = [acquire(Mode::Shared, 0)?, acquire(Mode::Shared, 0)?, acquire(Mode::Shared, 70)?];
    assert_eq!(shared.each_ref().map(Guard::token), [2, 3, 71]);
    drop(shared);
    assert_eq!(acquire(Mode::Exclusive, 5)?.token(), 72);
    assert_eq!(acquired(&locks, "another job", Mode::Exclusive).token(), 1);

    let token = scratch.file("token");
    fs::write(&token, "garbage").expect("can be written");
    let name = if locks.list()?[1].token.is_none() { "job" } else { "another job" };
    let refused = locks.acquire(name, Mode::Exclusive, &Request::new(&me())).expect_err("has no tokens");
    assert!(matches!(&refused, Error::Damaged { path } if *path == token), "{refused}");
    assert!(locks.list()?.iter().all(|lock| !lock.is_held()), "a lock without a token is not held");
    Ok(())
}

/// Those who share a lock do not exclude each other, so something else has to keep them from taking one number twice.
#[test]
fn those_who_share_at_the_same_time_get_different_tokens() {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let take = || (0..50).map(|_| acquired(&locks, "job", Mode::Shared).token()).collect::<Vec<_>>();
    let tokens = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect::<Vec<_>>()
    });
    assert!(tokens.iter().all(|tokens| tokens.is_sorted()));
    let mut tokens = tokens.concat();
    tokens.sort_unstable();
    assert_eq!(tokens, (1..=200).collect::<Vec<u64>>());

    let turn = fs::File::open(scratch.file("token")).expect("is there");
    turn.lock().expect("can be locked");
    thread::scope(|scope| {
        let next = scope.spawn(|| acquired(&locks, "job", Mode::Shared).token());
        thread::sleep(Duration::from_millis(100));
        assert!(!next.is_finished(), "waits until whoever takes a token has it on disk");
        turn.unlock().expect("can be unlocked");
        assert_eq!(next.join().expect("does not panic"), 201);
    });
}

#[test]
fn names_are_any_text_within_bounds() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    for name in ["a/b", "..", "line\nbreak", "🔒", &"x".repeat(255), "CON"] {
        let guard = locks.acquire(name, Mode::Exclusive, &Request::new(&me()))?;
        assert_eq!((guard.name(), guard.mode()), (name, Mode::Exclusive));
        assert!(locks.list()?.iter().any(|lock| lock.name.as_deref() == Some(name) && lock.is_held()));
    }
    for name in ["", &"x".repeat(256)] {
        let refused =
            locks.acquire(name, Mode::Exclusive, &Request::new(&me())).expect_err("is out of bounds");
        assert!(refused.to_string().contains(&format!("not {}", name.len())), "{refused}");
    }
    assert_eq!(locks.list()?.len(), 6);
    Ok(())
}

#[test]
fn a_list_tells_what_is_held_and_disturbs_nothing() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    assert_eq!(locks.list()?, []);
    assert!(!scratch.path().join("locks").exists(), "looking creates nothing");

    let exclusive = acquired(&locks, "exclusive", Mode::Exclusive);
    let shared = (acquired(&locks, "shared", Mode::Shared), acquired(&locks, "shared", Mode::Shared));
    drop(acquired(&locks, "was held", Mode::Exclusive));
    let list = locks.list()?;
    let told: Vec<_> = list.iter().map(|lock| (lock.name.as_deref(), lock.held, lock.token)).collect();
    let expected = [
        (Some("exclusive"), Some(Mode::Exclusive), Some(1)),
        (Some("shared"), Some(Mode::Shared), Some(2)),
        (Some("was held"), None, Some(1)),
    ];
    assert_eq!(told, expected);
    let roles = list.iter().map(|lock| lock.holder.as_ref().map(|holder| holder.role.as_str()));
    assert_eq!(roles.collect::<Vec<_>>(), [Some("test"), Some("test"), None]);
    assert_pids(&list[0].pids, &[std::process::id()]);
    assert_pids(&list[1].pids, &[std::process::id()]);
    drop((exclusive, shared));

    // Somebody who looks all the time never makes a free lock look held to one who does not want to wait.
    let done = Cancel::new();
    thread::scope(|scope| {
        let onlooker = scope.spawn(|| {
            let mut times = 0;
            while !done.is_cancelled() {
                assert!(locks.list().is_ok());
                times += 1;
            }
            times
        });
        for _ in 0..200 {
            let guard = locks.acquire("was held", Mode::Exclusive, &Request::new(&me()));
            drop(guard.expect("nobody holds it"));
        }
        done.cancel();
        assert!(onlooker.join().is_ok_and(|times| times > 10));
    });
    Ok(())
}

#[test]
fn a_thread_that_would_wait_for_itself_is_told() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let forever = |mode| locks.acquire("job", mode, &Request::new(&me()).wait(Wait::Forever));
    let reentrant = |result| matches!(result, Err(Error::Reentrant { name }) if name == "job");

    let held = forever(Mode::Exclusive)?;
    assert!(reentrant(forever(Mode::Exclusive)) && reentrant(forever(Mode::Shared)));
    // Another path to the same directory is the same lock.
    let around = cohab_lock::Locks::in_dir(&scratch.path().join("locks/../locks"));
    assert!(reentrant(around.acquire("job", Mode::Shared, &Request::new(&me()))));
    let elsewhere = thread::scope(|scope| {
        let other = scope.spawn(|| locks.acquire("job", Mode::Exclusive, &Request::new(&me())).map(drop));
        other.join().expect("does not panic")
    });
    assert!(matches!(elsewhere, Err(Error::Busy { .. })), "another thread may wait: {elsewhere:?}");
    drop(held);

    let (one, two) = (forever(Mode::Shared)?, forever(Mode::Shared)?);
    assert!(reentrant(forever(Mode::Exclusive)));
    drop(one);
    assert!(reentrant(forever(Mode::Exclusive)), "one of two is still held");
    thread::scope(|scope| drop(scope.spawn(move || drop(two)).join()));
    forever(Mode::Exclusive).map(drop)
}

#[test]
fn many_locks_are_acquired_all_or_none() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let wanted = [("c", Mode::Exclusive), ("a", Mode::Shared), ("b", Mode::Exclusive)];
    let guards = locks.acquire_many(&wanted, &Request::new(&me()).floor(10))?;
    let got: Vec<_> = guards.iter().map(|guard| (guard.name(), guard.mode(), guard.token())).collect();
    assert_eq!(got, [("c", Mode::Exclusive, 11), ("a", Mode::Shared, 11), ("b", Mode::Exclusive, 11)]);
    drop(guards);

    let held = acquired(&locks, "b", Mode::Shared);
    let me = me();
    let wait = Request::new(&me).wait(Wait::For(Duration::from_millis(30)));
    let refused = thread::scope(|scope| {
        let other = scope.spawn(|| locks.acquire_many(&wanted, &wait).map(drop));
        other.join().expect("does not panic").expect_err("one is held")
    });
    assert!(matches!(&refused, Error::Busy { name: Some(name), .. } if name == "b"), "{refused}");
    assert!(refused.to_string().starts_with(r#"the lock "b" is held by test (process"#), "{refused}");
    assert_eq!(locks.list()?.iter().filter(|lock| lock.is_held()).count(), 1, "the others were let go of");
    assert!(matches!(locks.acquire_many(&wanted, &wait), Err(Error::Reentrant { .. })));
    drop(held);

    let twice = [("a", Mode::Shared), ("b", Mode::Shared), ("a", Mode::Shared)];
    let refused = locks.acquire_many(&twice, &wait).expect_err("names one twice");
    assert_eq!(refused.to_string(), r#"the lock "a" is asked for twice in one request"#);
    Ok(())
}

#[test]
fn a_request_for_many_that_is_cancelled_holds_none_of_them() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let held = acquired(&locks, "b", Mode::Exclusive);
    let cancel = Cancel::new();
    let refused = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let wanted = [("a", Mode::Exclusive), ("b", Mode::Exclusive), ("c", Mode::Exclusive)];
            locks.acquire_many(&wanted, &Request::new(&me()).wait(Wait::Forever).cancel(&cancel)).map(drop)
        });
        thread::sleep(Duration::from_millis(40));
        cancel.cancel();
        other.join().expect("does not panic").expect_err("was cancelled")
    });
    // On a busy machine it may have been cancelled before it came to the one that is held.
    assert!(matches!(&refused, Error::Cancelled { name: Some(_), .. }), "{refused}");
    assert!(refused.to_string().ends_with("was cancelled"), "{refused}");
    drop(held);
    assert!(locks.list()?.iter().all(|lock| !lock.is_held()));
    Ok(())
}

/// In whatever order each names them, nobody waits for somebody who waits for him.
#[test]
fn many_who_want_many_locks_all_get_them() {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let names = ["a", "b", "c", "d"];
    thread::scope(|scope| {
        for turn in 0..4 {
            let locks = &locks;
            scope.spawn(move || {
                for _ in 0..10 {
                    let wanted: Vec<_> = (0..3).map(|i| (names[(turn + i) % 4], Mode::Exclusive)).collect();
                    let guards = locks.acquire_many(&wanted, &Request::new(&me()).wait(LONG));
                    assert_eq!(guards.expect("nobody is stuck").len(), 3);
                }
            });
        }
    });
}

#[cfg(unix)]
#[test]
fn what_is_planted_in_the_way_is_refused() {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    drop(acquired(&locks, "job", Mode::Exclusive));
    let victim = scratch.path().join("victim");
    fs::write(&victim, "precious").expect("can be written");
    for extension in ["lock", "token"] {
        let file = scratch.file(extension);
        let kept = fs::read(&file).expect("can be read");
        fs::remove_file(&file).expect("can be removed");
        std::os::unix::fs::symlink(&victim, &file).expect("can be linked");
        let refused = locks.acquire("job", Mode::Exclusive, &Request::new(&me())).expect_err("is a link");
        assert!(refused.to_string().contains("is a symbolic link"), "{refused}");
        fs::remove_file(&file).expect("can be removed");
        fs::write(&file, kept).expect("can be written");
    }
    let away = scratch.path().join("away");
    fs::rename(scratch.path().join("locks"), &away).expect("can be moved");
    std::os::unix::fs::symlink(&away, scratch.path().join("locks")).expect("can be linked");
    let refused = locks.acquire("job", Mode::Exclusive, &Request::new(&me())).expect_err("is a link");
    assert!(refused.to_string().contains("is a symbolic link"), "{refused}");
    assert!(locks.list().is_err());
    assert_eq!(fs::read(&victim).expect("can be read"), b"precious");
}

#[test]
fn a_name_is_found_in_the_lock_or_the_record() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let guard = acquired(&locks, "job", Mode::Exclusive);
    let name = |locks: &cohab_lock::Locks| locks.list().map(|list| list[0].name.clone());
    fs::write(scratch.file("lock"), "jo").expect("can be written");
    assert_eq!(name(&locks)?.as_deref(), Some("job"), "the record says so");
    fs::write(scratch.file("json"), r#"{"name":"another"}"#).expect("can be written");
    assert_eq!(name(&locks)?, None, "what does not fit the file is not believed");
    drop(guard);
    drop(acquired(&locks, "job", Mode::Exclusive));
    assert_eq!(name(&locks)?.as_deref(), Some("job"), "the next holder writes it again");
    Ok(())
}
