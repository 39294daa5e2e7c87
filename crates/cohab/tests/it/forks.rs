//! Processes that fork without `exec` while they have a store open.
#![expect(unsafe_code, reason = "forks")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cohab::{Batch, Error, Filter, Freshness, Kind, LockMode, Options, Result, Role, Store, Wait};
use cohab_testkit::{Child, child_store};
use rustix::process::Signal;

use crate::actor::{Actor, signal_to};
use crate::{Scratch, ledger, v};

#[test]
fn child_writes_and_forks() -> Result<()> {
    open_everything_and_fork(Store::options())
}

#[test]
fn child_reads_and_forks() -> Result<()> {
    open_everything_and_fork(Store::options().role(Role::Reader))
}

#[test]
fn child_stands_by_and_forks() -> Result<()> {
    open_everything_and_fork(Store::options().role(Role::Standby))
}

/// Opens whatever a store has to offer and forks. The forked child tries to use it, drops it, and lives on; the
/// parent goes on as told.
fn open_everything_and_fork(options: Options) -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let store = options.open(path)?;
    let (snapshot, unread) = (store.snapshot()?, store.snapshot()?);
    ledger::check(&snapshot)?;
    let watch = store.watch(Filter::new())?;
    let lock = store.lock("job", LockMode::Exclusive, Wait::Try)?;
    let temp_dir = store.temp_dir()?;
    // SAFETY: the other threads hold no locks that the child needs, and libc's allocator may be used there.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0, "{}", std::io::Error::last_os_error());
    if forked == 0 {
        let bulk = "bulk".parse()?;
        let version = v(1);
        let outcomes: [(&str, Option<Error>); 18] = [
            ("snapshot", store.snapshot().err()),
            ("snapshot pinned", store.snapshot_at(Freshness::Pinned).err()),
            ("refresh", store.refresh().err()),
            ("wait_past", store.wait_past(version, Duration::ZERO).err()),
            ("write", store.write(|tx| tx.put("bulk", "k", "v")).err()),
            ("submit", store.submit(Batch::new().put(&bulk, "k", "v")).err()),
            ("lock", store.lock("other", LockMode::Exclusive, Wait::Try).err()),
            ("watch", store.watch(Filter::new()).err()),
            ("promote", store.promote(Duration::ZERO).err()),
            ("step_down", store.step_down().err()),
            ("reopen", store.reopen().err()),
            ("compact", store.compact().err()),
            ("check", store.check().err()),
            ("maintain", store.maintain().err()),
            ("file_bytes", store.file_bytes().err()),
            ("temp_dir", store.temp_dir().err()),
            ("snapshot get", snapshot.get("bulk", "k").err()),
            (
                "snapshot all",
                unread.namespace("stock").and_then(|it| it.all()?.collect::<Result<Vec<_>>>()).err(),
            ),
        ];
        for (what, error) in outcomes {
            let kind = error.as_ref().map_or("allowed", |error| error.kind().as_str());
            let _ = Child::report(format_args!("{what}: {kind}"));
        }
        drop((watch, lock, snapshot, unread, store));
        let _ = Child::report("dropped");
        // The time is the bound for a test that fails.
        std::thread::sleep(Duration::from_mins(1));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    Child::report(format_args!("forked {forked}")).expect("the parent listens");
    while Child::told().expect("the parent talks").is_some() {
        let committed =
            if store.role() == Role::Writer { ledger::commit(&store)? } else { store.refresh()?.version() };
        assert_eq!(ledger::check(&snapshot)?, v(1));
        assert_eq!(lock.token(), 1);
        assert!(temp_dir.is_dir(), "the child's drop removed it");
        Child::report(format_args!("went on at {committed}")).expect("the parent listens");
    }
    Ok(())
}

/// Starts a child that forks. Returns it, and the process that it forked, after that has tried everything.
fn forking(test: &str, scratch: &Scratch) -> (Child, i32) {
    let mut child = Child::start(&format!("forks::{test}"), &scratch.path()).expect("starts");
    let (mut forked, mut tried, mut dropped) = (None, 0, false);
    while forked.is_none() || !dropped {
        let wait = child.next_report_within(Duration::from_secs(20));
        let report = wait.expect("reports in time").expect("lives");
        match report.split_once(": ") {
            Some((what, kind)) => {
                assert_eq!(kind, Kind::UsedAfterFork.as_str(), "{test}: {what} in the forked child");
                tried += 1;
            }
            None if report == "dropped" => dropped = true,
            None => forked = report.strip_prefix("forked ").and_then(|pid| pid.parse().ok()),
        }
    }
    assert_eq!(tried, 18);
    (child, forked.expect("has forked"))
}

/// What the child of a fork inherits is its parent's: it may use none of it, its dropping it does no harm, and when
/// the parent is killed, the child keeps nothing of it alive – neither the writer's lock, nor the engine's, nor a
/// snapshot, nor a lock by name, nor its place among the instances.
#[test]
fn invariant_7_a_forked_child_neither_harms_nor_outlives_its_parents_store() {
    for test in ["child_writes_and_forks", "child_stands_by_and_forks", "child_reads_and_forks"] {
        let scratch = Scratch::with_ledger();
        let is_writer = test.contains("writes");
        let mut writer = (!is_writer).then(|| Actor::open(&scratch.path(), "writer keeps-its-role"));
        let (mut parent, forked) = forking(test, &scratch);
        let mut other = Actor::open(&scratch.path(), "reader");
        let mut version = 1;
        for _ in 0..3 {
            if let Some(writer) = &mut writer {
                assert_eq!(writer.number("commit"), version + 1);
            }
            version += 1;
            parent.tell("go on").expect("listens");
            assert_eq!(parent.next_report().expect("talks"), Some(format!("went on at {version}")), "{test}");
        }
        assert_eq!(other.number("look"), version);
        other.fails("lock job 0", Kind::Busy);
        if is_writer {
            other.does("close");
            other.fails("open writer", Kind::Busy);
        } else if let Some(writer) = &mut writer {
            writer.fails("compact", Kind::InUse);
        }

        // The forked child has the other end of what the parent reports to, so nobody listens to the end.
        drop(parent);
        let mut writer = writer.unwrap_or_else(|| Actor::open(&scratch.path(), "writer"));
        other.does("close");
        writer.does("compact");
        assert_eq!(writer.number("lock job 0"), 2);
        assert_eq!(writer.number("commit"), version + 1);
        assert_eq!(writer.number("instances"), 1, "{test}");
        signal_to(forked, Signal::KILL);
    }
}

/// A process that another thread was just starting had a copy of the descriptor, and with it the lock of a file that was
/// closed: a store was reported to be open elsewhere, by the one who had closed it.
#[test]
fn closing_a_store_frees_it_while_other_threads_start_processes() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let (store, is_over) = (scratch.store(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let _ = std::process::Command::new("true").status();
                }
            });
        }
        let reopened = (0..300).try_for_each(|_| store.reopen().map(drop));
        is_over.store(true, Ordering::Relaxed);
        reopened
    })
}
