//! Real processes that race, are killed, and are stopped.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cohab_lock::{Error, LockFile, Mode, Request, Wait};
use cohab_testkit::{Child, child_store};
use rustix::process::{Pid, Signal, kill_process};

use crate::{LONG, Scratch, acquired, assert_pids, assert_prompt, locks_in, me};

fn start(test: &str, dir: &Path) -> Child {
    Child::start(&format!("processes::{test}"), dir).expect("starts")
}

fn report(child: &mut Child) -> String {
    child.next_report().expect("can be heard").expect("reports")
}

fn say(line: impl std::fmt::Display) {
    Child::report(line).expect("the parent listens");
}

/// Stays until it is killed.
fn stay() -> ! {
    loop {
        std::thread::sleep(Duration::from_mins(1));
    }
}

#[test]
fn child_races() {
    let Some(dir) = child_store() else { return };
    let lock = LockFile::in_dir(&dir, "race");
    match lock.acquire(&me(), Duration::from_secs(1)) {
        Ok(_held) => {
            say(format!("won {}", std::process::id()));
            stay()
        }
        Err(Error::Busy { holder: Some(holder), .. }) => say(format!("lost to {}", holder.pid)),
        Err(error) => say(error),
    }
}

#[test]
fn invariant_6_of_twenty_who_race_one_wins_and_the_others_know_it() {
    let scratch = Scratch::new();
    let mut children: Vec<Child> = (0..20).map(|_| start("child_races", scratch.path())).collect();
    let reports: Vec<String> = children.iter_mut().map(report).collect();
    let winners: Vec<_> = reports.iter().filter_map(|report| report.strip_prefix("won ")).collect();
    let [winner] = winners[..] else { panic!("one wins: {reports:?}") };
    let lost = format!("lost to {winner}");
    assert_eq!(reports.iter().filter(|report| **report == lost).count(), 19, "{reports:?}");
}

#[test]
fn child_holds() {
    let Some(dir) = child_store() else { return };
    let guard = acquired(&locks_in(&dir), "job", Mode::Exclusive);
    say(format!("{} {}", std::process::id(), guard.token()));
    stay()
}

/// Starts a process that holds the lock, and returns it with its id and token.
fn holder(dir: &Path) -> (Child, u32, u64) {
    let mut child = start("child_holds", dir);
    let said = report(&mut child);
    let (pid, token) = said.split_once(' ').expect("says both");
    (child, pid.parse().expect("is a number"), token.parse().expect("is a number"))
}

#[test]
fn invariant_7_a_killed_holders_lock_is_free_at_once() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let mut last = 0;
    for _ in 0..5 {
        let (child, pid, token) = holder(scratch.path());
        assert!(token > last, "{token} after {last}");
        let refused = locks.acquire("job", Mode::Shared, &Request::new(&me())).expect_err("is held");
        assert!(refused.to_string().contains(&format!("process {pid},")), "{refused}");
        assert_pids(&locks.list()?[0].pids, &[pid]);
        child.kill().expect("can be killed");
        let since = Instant::now();
        assert!(!locks.list()?[0].is_held());
        last = locks.acquire("job", Mode::Exclusive, &Request::new(&me()))?.token();
        assert_prompt(since);
        assert!(last > token, "{last} after {token}");
    }
    Ok(())
}

#[test]
fn a_stopped_holder_keeps_its_lock() -> Result<(), Error> {
    let scratch = Scratch::new();
    let (_child, id, token) = holder(scratch.path());
    let pid = Pid::from_raw(id.cast_signed()).expect("is a process");
    kill_process(pid, Signal::STOP).expect("can be stopped");
    let wait = |wait| scratch.locks().acquire("job", Mode::Exclusive, &Request::new(&me()).wait(wait));
    assert!(matches!(wait(Wait::For(Duration::from_millis(200))), Err(Error::Busy { .. })));
    kill_process(pid, Signal::CONT).expect("can go on");
    assert!(matches!(wait(Wait::Try), Err(Error::Busy { .. })));
    kill_process(pid, Signal::KILL).expect("can be killed");
    assert_eq!(wait(LONG)?.token(), token + 1);
    Ok(())
}

#[test]
fn child_shares() {
    let Some(dir) = child_store() else { return };
    let guard = acquired(&locks_in(&dir), "job", Mode::Shared);
    say(guard.token());
    stay()
}

#[test]
fn processes_share_a_lock_and_exclude_one_who_does_not() -> Result<(), Error> {
    let scratch = Scratch::new();
    let locks = scratch.locks();
    let mut children: Vec<Child> = (0..4).map(|_| start("child_shares", scratch.path())).collect();
    let tokens: BTreeSet<u64> =
        children.iter_mut().map(|child| report(child).parse().expect("is a number")).collect();
    assert_eq!(tokens, BTreeSet::from([1, 2, 3, 4]), "each has a token of its own");
    let exclusive = |wait| locks.acquire("job", Mode::Exclusive, &Request::new(&me()).wait(wait));
    let state = &locks.list()?[0];
    assert_eq!((state.held, state.token), (Some(Mode::Shared), Some(4)));
    assert!([0, 4].contains(&state.pids.len()), "{state:?}");
    for child in children {
        assert!(matches!(exclusive(Wait::Try), Err(Error::Busy { .. })));
        assert_eq!(acquired(&locks, "job", Mode::Shared).mode(), Mode::Shared);
        child.kill().expect("can be killed");
    }
    let guard = exclusive(Wait::Try)?;
    assert_eq!(guard.token(), 9);
    let mut late = start("child_shares", scratch.path());
    std::thread::sleep(Duration::from_millis(100));
    drop(guard);
    assert_eq!(report(&mut late), "10", "came after the one who excluded it");
    Ok(())
}

#[test]
fn child_increments() -> std::io::Result<()> {
    let Some(dir) = child_store() else { return Ok(()) };
    let (locks, number, log) = (locks_in(&dir), dir.join("number"), dir.join("log"));
    loop {
        let guard = acquired(&locks, "number", Mode::Exclusive);
        // The test would count what is lost if another were in here at the same time.
        let next = 1 + fs::read_to_string(&number).unwrap_or_default().trim().parse::<u64>().unwrap_or(0);
        let mut file = fs::File::options().create(true).truncate(false).write(true).open(&number)?;
        // As long as the one before, so that a kill finds the old one or the new.
        file.write_all(format!("{next:20}").as_bytes())?;
        let mut log = fs::File::options().create(true).append(true).open(&log)?;
        log.write_all(format!("{next} {}\n", guard.token()).as_bytes())?;
    }
}

/// Eight processes increment one number a thousand times while they are killed one after another. Without exclusion
/// numbers would come twice; with a lock that a killed process keeps, it would stop.
#[test]
fn invariant_6_kills_lose_no_increment_and_no_order() {
    let scratch = Scratch::new();
    let mut children: Vec<Child> = (0..8).map(|_| start("child_increments", scratch.path())).collect();
    let lines = || fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
    let since = Instant::now();
    let mut kills = 0;
    while lines().lines().count() < 1000 {
        std::thread::sleep(Duration::from_millis(20));
        children.remove(0).kill().expect("can be killed");
        children.push(start("child_increments", scratch.path()));
        kills += 1;
        assert!(since.elapsed() < Duration::from_mins(2), "stuck after {}", lines().lines().count());
    }
    drop(children);
    let entries: Vec<(u64, u64)> = lines()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(number, token)| (number.parse().expect("is a number"), token.parse().expect("is a number")))
        .collect();
    for pair in entries.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{pair:?}: an increment was lost");
        assert!(pair[0].1 < pair[1].1, "{pair:?}: a token does not tell who came later");
    }
    // Who was killed between the number and the log left a gap.
    let (last, kept) = (entries.last().map_or(0, |entry| entry.0), entries.len() as u64);
    assert!(kills > 0 && last - kept <= kills + 8, "{kept} of {last} are there after {kills} kills");
}
