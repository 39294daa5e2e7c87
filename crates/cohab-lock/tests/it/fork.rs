//! A holder that forks.
#![cfg(unix)]
#![expect(unsafe_code, reason = "forks")]

use std::process;
use std::time::{Duration, Instant};

use cohab_lock::{Error, LockFile, Mode, Request};
use cohab_testkit::{Child, child_store};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Scratch, acquired, assert_prompt, locks_in, me};

#[test]
fn child_holds_and_forks() {
    let Some(dir) = child_store() else { return };
    let held = LockFile::in_dir(&dir, "writer").acquire(&me(), Duration::ZERO).expect("is free");
    let guard = acquired(&locks_in(&dir), "job", Mode::Exclusive);
    // SAFETY: the only other thread waits for this one, so nothing that the child needs is locked.
    let forked = unsafe { libc::fork() };
    assert!(forked >= 0, "{}", std::io::Error::last_os_error());
    if forked == 0 {
        // One as a child does that returns from where it was forked, the other as one that does not.
        drop(guard);
        std::mem::forget(held);
        let refused = locks_in(&dir).acquire("job", Mode::Exclusive, &Request::new(&me()));
        let is_busy = matches!(refused, Err(Error::Busy { .. }));
        let _ = Child::report(format!("{} {is_busy}", process::id()));
        // The time is the bound for a test that fails.
        std::thread::sleep(Duration::from_mins(1));
        process::exit(0);
    }
    std::thread::sleep(Duration::from_mins(1));
    drop((held, guard));
}

/// A forked helper that dropped its copy of a guard took the record along, and one that outlived its parent kept the
/// lock of a process that was gone.
#[test]
fn invariant_7_a_forked_child_neither_frees_nor_keeps_a_lock() -> Result<(), Error> {
    let scratch = Scratch::new();
    let mut child = Child::start("fork::child_holds_and_forks", scratch.path()).expect("starts");
    let report = child.next_report().expect("can be heard").expect("reports");
    let (forked, is_busy) = report.split_once(' ').expect("says both");
    assert_eq!(is_busy, "true", "in the child the lock is somebody else's, and no matter of re-entry");
    let forked = Pid::from_raw(forked.parse().expect("is a number")).expect("is a process");

    let writer = LockFile::in_dir(scratch.path(), "writer");
    let holder = writer.current().expect("the parent holds it");
    assert!(holder.role == "test" && holder.pid.cast_signed() != forked.as_raw_nonzero().get());
    assert!(matches!(writer.acquire(&me(), Duration::ZERO), Err(Error::Busy { .. })));
    let listed = &scratch.locks().list()?[0];
    assert_eq!(listed.holder.as_ref().map(|holder| holder.pid), Some(holder.pid));

    // The forked child has the other end of what the parent reports to, so nobody listens to the end.
    kill_process(Pid::from_raw(holder.pid.cast_signed()).expect("is a process"), Signal::KILL)
        .expect("can be killed");
    let since = Instant::now();
    drop(writer.acquire(&me(), Duration::from_mins(1))?);
    drop(acquired(&scratch.locks(), "job", Mode::Exclusive));
    assert_prompt(since);
    kill_process(forked, Signal::KILL).expect("the forked child was alive all the time");
    Ok(())
}
