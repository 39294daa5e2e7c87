use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use cohab_core::{InstanceId, Timestamp};
use cohab_registry::{Description, Error, Registry, Result};
use cohab_testkit::{Child, child_store};
use rustix::process::Signal;

use crate::{Scratch, comes_true, entries, hears, ids, signal, until_the_end};

/// Registers, fills its temporary directory, reports its pid and id, and waits.
#[test]
fn child_registers() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registration =
        Registry::in_dir(&dir).register(Description::new("child").app("shop").channel("nightly"))?;
    let temp = registration.temp_dir()?;
    fs::create_dir_all(temp.join("a/b")).expect("can be made");
    symlink(dir.join("precious"), temp.join("a/link")).expect("can be made");
    Child::report(std::process::id()).expect("the parent listens");
    Child::report(registration.id()).expect("the parent listens");
    until_the_end(&dir);
    Ok(())
}

pub(crate) fn start(dir: &Path) -> (Child, i32, InstanceId) {
    let mut child = Child::start("life::child_registers", dir).expect("starts");
    let pid = hears(&mut child);
    let id = hears(&mut child);
    (child, pid, id)
}

#[test]
fn a_killed_instance_is_gone_at_once_and_reaping_removes_what_it_left() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    fs::create_dir(scratch.file("precious")).expect("can be made");
    fs::write(scratch.file("precious/file"), "x").expect("can be written");
    fs::create_dir_all(scratch.file("instances")).expect("can be made");
    fs::write(scratch.file("instances/notes.json"), "x").expect("can be written");
    let (child, pid, id) = start(scratch.path());
    let (other, _, other_id) = start(scratch.path());
    let seen = registry.list()?;
    assert_eq!(ids(&seen), [id, other_id]);
    assert_eq!((&*seen[0].record.role, seen[0].record.pid.cast_signed()), ("child", pid));
    assert!(registry.dead()?.is_empty());

    child.kill().expect("can be killed");
    assert_eq!(ids(&registry.list()?), [other_id]);
    assert_eq!(ids(&registry.dead()?), [id]);
    let reaped = registry.reap()?;
    assert_eq!(ids(&reaped.instances), [id]);
    assert!(reaped.failures.is_empty(), "{:?}", reaped.failures);
    assert!(registry.dead()?.is_empty());
    assert_eq!(entries(scratch.file("instances")), 3, "the other's lock and record, and what is not ours");
    assert_eq!(entries(scratch.file("tmp")), 1);
    assert_eq!(entries(scratch.file("precious")), 1, "links are not followed");
    drop(other);
    Ok(())
}

#[test]
fn what_ends_well_leaves_nothing() {
    let scratch = Scratch::new();
    let (mut child, ..) = start(scratch.path());
    scratch.end_children();
    assert!(child.next_report().expect("can be heard").is_none());
    assert!(comes_true(|| entries(scratch.file("instances")) + entries(scratch.file("tmp")) == 0));
}

#[test]
fn a_stopped_instance_is_alive() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let (_child, pid, id) = start(scratch.path());
    signal(pid, Signal::STOP);
    assert!(comes_true(|| registry.list().is_ok_and(|seen| seen[0].is_stopped)), "it is said to be stopped");
    assert!(registry.list()?[0].to_string().contains("stopped"));
    assert!(registry.reap()?.instances.is_empty());
    assert_eq!(ids(&registry.list()?), [id]);
    assert_eq!(entries(scratch.file("tmp")), 1);
    signal(pid, Signal::CONT);
    assert!(comes_true(|| registry.list().is_ok_and(|seen| !seen[0].is_stopped)), "it goes on");
    Ok(())
}

/// Others decide by what the record says. A pid that is used again then keeps a dead instance alive for ever, and a
/// changed host name, or a clock that was put right, kills a live one.
#[test]
fn neither_pid_nor_host_nor_clock_decides() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let (child, _, id) = start(scratch.path());
    let forge = |pid: u32, host: &str, started: u64| {
        let record = format!(r#"{{"schema":1,"pid":{pid},"host":"{host}","boot":"x","started":{started}}}"#);
        fs::write(scratch.file(format!("instances/{id}.json")), record).expect("can be written");
    };
    for started in [0, u64::MAX] {
        forge(u32::MAX, "elsewhere", started);
        let seen = registry.list()?;
        assert_eq!((seen[0].id, seen[0].record.started), (id, Timestamp::from_micros(started)));
        assert!(registry.reap()?.instances.is_empty());
    }
    child.kill().expect("can be killed");
    forge(std::process::id(), "here", u64::MAX);
    assert!(registry.list()?.is_empty());
    assert_eq!(ids(&registry.reap()?.instances), [id]);
    Ok(())
}

/// Somebody who looks holds the lock shared. Were it stopped then, it must hang nobody, and kill nobody.
#[test]
fn an_onlooker_that_is_stopped_in_the_middle_harms_nobody() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let (child, _, id) = start(scratch.path());
    child.kill().expect("can be killed");
    let onlooker = fs::File::open(scratch.file(format!("instances/{id}.lock"))).expect("is there");
    onlooker.lock_shared().expect("is free");

    let start = Instant::now();
    assert!(registry.list()?.is_empty(), "it is not taken for the instance");
    let reaped = registry.reap()?;
    assert!(reaped.instances.is_empty() && reaped.failures.is_empty());
    let refused = registry.register(Description::new("x").id(id)).expect_err("cannot be locked");
    assert!(matches!(refused, Error::InUse(in_use) if in_use == id));
    drop(registry.register(Description::new("x"))?);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    drop(onlooker);
    assert_eq!(ids(&registry.reap()?.instances), [id]);
    Ok(())
}

/// Removing a large directory takes a while, during which the reaper holds the dead instance's lock. The instance must
/// not come back to life for that time, and least of all if the reaper is stopped or killed in it.
#[test]
fn what_is_being_reaped_is_not_alive() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let (child, _, id) = start(scratch.path());
    child.kill().expect("can be killed");
    let lock = scratch.file(format!("instances/{id}.lock"));
    let reaper = fs::File::options().write(true).open(&lock).expect("is there");
    reaper.lock().expect("is free");
    reaper.set_len(1).expect("can be marked");
    assert!(registry.list()?.is_empty());
    assert_eq!(ids(&registry.dead()?), [id]);
    assert!(registry.reap()?.instances.is_empty(), "it is the other's to remove");

    drop(reaper);
    assert_eq!(ids(&registry.reap()?.instances), [id], "what a reaper began, another ends");
    fs::write(&lock, "x").expect("can be written");
    let me = registry.register(Description::new("x").id(id))?;
    assert_eq!(ids(&registry.list()?), [id], "and a registrant of that id begins anew");
    drop(me);
    Ok(())
}

#[test]
fn an_id_belongs_to_one_live_instance_at_a_time() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let (child, _, id) = start(scratch.path());
    let me = || Description::new("second").id(id);
    let refused = registry.register(me()).expect_err("is taken").to_string();
    assert!(refused.contains(&id.to_string()) && refused.contains("registered already"), "{refused}");
    child.kill().expect("can be killed");

    let second = registry.register(me())?;
    assert_eq!(registry.list()?[0].record.role, "second", "the record of the first is replaced");
    assert_eq!(entries(second.temp_dir()?), 0, "what the first had is removed");
    Ok(())
}

#[test]
fn looking_creates_nothing() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    assert!(registry.list()?.is_empty() && registry.dead()?.is_empty());
    assert!(registry.reap()?.instances.is_empty());
    assert!(registry.watch().next_timeout(Duration::ZERO)?.is_none());
    assert_eq!(entries(scratch.path().into()), 0);
    let nowhere = Registry::in_dir(scratch.file("nowhere"));
    assert!(nowhere.list()?.is_empty());
    let refused = nowhere.register(Description::new("x")).expect_err("needs a directory").to_string();
    assert!(refused.contains("nowhere does not exist"), "{refused}");
    Ok(())
}
