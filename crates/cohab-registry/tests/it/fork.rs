//! Forks without `exec`, in a child process of the test so that nothing else is forked along.
#![expect(unsafe_code, reason = "forks")]

use cohab_registry::{Description, Error, PortPreference, Registry, Result};
use cohab_testkit::{Child, child_store};
use rustix::process::Signal;

use crate::{Scratch, entries, hears, ids, signal, until_the_end};

/// Registers and forks. The forked child tries what is the parent's to do, drops everything or not, and lives on.
#[test]
fn child_registers_and_forks() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registration = Registry::in_dir(&dir).register(Description::new("parent"))?;
    registration.temp_dir()?;
    let lease = registration.bind("http", &PortPreference::new())?;
    // SAFETY: only this thread does anything in the child, and the C library's allocator may be used there.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        let refusals = [
            registration.update(|record| record.role = "child".into()).err(),
            registration.temp_dir().err(),
            registration.bind("other", &PortPreference::new()).err(),
        ];
        let all = refusals.iter().all(|error| matches!(error, Some(Error::Forked(_))));
        if dir.join("drop").exists() {
            drop((lease, registration));
        }
        // The parent's standard output is locked by whoever captures it, so the answer is a file.
        std::fs::write(dir.join(if all { "refused" } else { "allowed" }), "").ok();
        std::thread::sleep(std::time::Duration::from_mins(1));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    while !dir.join("refused").exists() && !dir.join("allowed").exists() {
        std::thread::yield_now();
    }
    Child::report(forked).expect("the parent listens");
    until_the_end(&dir);
    Ok(())
}

/// A daemonised helper inherits the lock of the instance that forked it; the instance then looked alive for as long
/// as the helper ran. And the helper's exit unregistered the instance, which was still there.
#[test]
fn a_forked_child_neither_keeps_its_parent_alive_nor_ends_it() -> Result<()> {
    check(false)?;
    check(true)
}

fn check(is_dropped: bool) -> Result<()> {
    let scratch = Scratch::new();
    if is_dropped {
        std::fs::write(scratch.file("drop"), "").expect("can be written");
    }
    let registry = scratch.registry();
    let mut parent = Child::start("fork::child_registers_and_forks", scratch.path()).expect("starts");
    let forked = hears(&mut parent);
    assert!(scratch.file("refused").exists(), "what is the parent's is refused to the child");
    let seen = registry.list()?;
    assert_eq!((seen.len(), &*seen[0].record.role, seen[0].record.ports.len()), (1, "parent", 1));
    assert_eq!(entries(scratch.file("tmp")), 1, "the child's drop removed nothing");

    // Dropping kills; the forked child holds the pipe that `kill` would read to its end.
    drop(parent);
    assert!(registry.list()?.is_empty(), "the lock has gone with the parent");
    assert_eq!(ids(&registry.reap()?.instances), [seen[0].id]);
    signal(forked, Signal::KILL);
    Ok(())
}
