//! Registrants against reapers. There is no lock for the whole registry, so the order of steps has to hold.

use std::fs::{self, File};
use std::path::Path;

use cohab_core::InstanceId;
use cohab_registry::{Description, Error, Registration, Registry, Result};
use cohab_testkit::{Child, child_store};

use crate::{Scratch, comes_true, entries, hears, ids};

/// How many registrations a test makes in all. More find rarer races.
const ROUNDS: &str = "COHAB_REGISTRY_ROUNDS";
const ROUNDS_DEFAULT: usize = 6_000;

const REGISTRANTS: usize = 2;

fn rounds() -> usize {
    std::env::var(ROUNDS).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS_DEFAULT) / REGISTRANTS
}

fn assert_alive(dir: &Path, me: &Registration) {
    let id = me.id();
    assert!(dir.join(format!("instances/{id}.json")).exists(), "the record of {id} is gone");
    assert!(dir.join(format!("tmp/{id}")).exists(), "the directory of {id} is gone");
    // A second lock fails if and only if the path still names the file that the first is on.
    let lock = File::open(dir.join(format!("instances/{id}.lock"))).expect("is there");
    assert!(lock.try_lock().is_err(), "the lock of {id} is another file's");
}

#[test]
fn child_comes_and_goes() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registry = Registry::in_dir(&dir);
    for round in 0..rounds() {
        let me = registry.register(Description::new("child"))?;
        me.temp_dir()?;
        if round % 4 == 0 {
            std::thread::yield_now();
            me.update(|record| record.role = "busy".into())?;
        }
        assert_alive(&dir, &me);
        if round % 16 == 0 {
            let seen = registry.list()?;
            let own = seen.iter().find(|instance| instance.id == me.id());
            assert!(own.is_some_and(|own| !own.record.role.is_empty()), "{} is not listed", me.id());
        }
        let id = me.id();
        drop(me);
        assert!(!dir.join(format!("tmp/{id}")).exists(), "the directory of {id} is left");
    }
    Child::report("done").expect("the parent listens");
    Ok(())
}

#[test]
fn child_reaps() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registry = Registry::in_dir(&dir);
    let mut passes = 0;
    while !dir.join("end").exists() {
        let reaped = registry.reap()?;
        assert!(reaped.failures.is_empty(), "{:?}", reaped.failures);
        assert!(reaped.instances.is_empty(), "nobody has died: {:?}", reaped.instances);
        passes += 1;
    }
    Child::report(passes).expect("the parent listens");
    Ok(())
}

#[test]
fn no_live_registration_disappears_and_nothing_is_left() -> Result<()> {
    let scratch = Scratch::new();
    let start = |test| Child::start(test, scratch.path()).expect("starts");
    let mut registrants: Vec<_> = (0..REGISTRANTS).map(|_| start("races::child_comes_and_goes")).collect();
    let mut reaper = start("races::child_reaps");
    for registrant in &mut registrants {
        assert_eq!(hears::<String>(registrant), "done");
    }
    scratch.end_children();
    let passes: usize = hears(&mut reaper);
    assert!(passes > 10, "the reaper came along {passes} times only");
    assert_eq!(entries(scratch.file("instances")) + entries(scratch.file("tmp")), 0);
    assert!(scratch.registry().list()?.is_empty());
    Ok(())
}

/// Everybody wants one id, so that files of the same name come and go under everybody's hands.
#[test]
fn child_wants_one_id() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registry = Registry::in_dir(&dir);
    let id: InstanceId = "0197f000-0000-7000-8000-000000000000".parse().expect("is an id");
    let (mut got, mut round) = (0, 0);
    while got < rounds() / 4 {
        round += 1;
        let me = match registry.register(Description::new("child").id(id)) {
            Err(Error::InUse(_)) => continue,
            me => me?,
        };
        let inside = File::create_new(dir.join("inside"));
        assert!(inside.is_ok(), "two have one id");
        me.temp_dir()?;
        assert_alive(&dir, &me);
        if round % 4 == 0 {
            std::thread::yield_now();
        }
        fs::remove_file(dir.join("inside")).expect("is there");
        drop(me);
        got += 1;
    }
    Child::report("done").expect("the parent listens");
    Ok(())
}

#[test]
fn one_id_has_one_holder_while_others_reap() {
    let scratch = Scratch::new();
    let start = |test| Child::start(test, scratch.path()).expect("starts");
    let mut registrants: Vec<_> = (0..REGISTRANTS).map(|_| start("races::child_wants_one_id")).collect();
    let mut reapers = [start("races::child_reaps"), start("races::child_reaps")];
    for registrant in &mut registrants {
        assert_eq!(hears::<String>(registrant), "done");
    }
    scratch.end_children();
    for reaper in &mut reapers {
        hears::<usize>(reaper);
    }
    assert_eq!(entries(scratch.file("instances")) + entries(scratch.file("tmp")), 0);
}

/// Registers and unregisters until it is killed, wherever that hits it.
#[test]
fn child_comes_and_goes_until_it_is_killed() -> Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let registry = Registry::in_dir(&dir);
    Child::report("begins").expect("the parent listens");
    loop {
        let me = registry.register(Description::new("child"))?;
        me.temp_dir()?;
        me.update(|record| record.role = "busy".into())?;
    }
}

#[test]
fn nothing_stale_is_left_wherever_a_kill_hits() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    for _ in 0..25u64 {
        let mut child =
            Child::start("races::child_comes_and_goes_until_it_is_killed", scratch.path()).expect("starts");
        hears::<String>(&mut child);
        // By now it has come and gone some tens of times; where it is hit is up to the scheduler.
        std::thread::sleep(std::time::Duration::from_millis(2));
        child.kill().expect("can be killed");
        assert!(registry.list()?.is_empty());
        let dead = ids(&registry.dead()?);
        let reaped = registry.reap()?;
        assert!(reaped.failures.is_empty(), "{:?}", reaped.failures);
        assert!(ids(&reaped.instances).iter().all(|id| dead.contains(id)));
        assert!(comes_true(|| entries(scratch.file("instances")) + entries(scratch.file("tmp")) == 0));
    }
    Ok(())
}
