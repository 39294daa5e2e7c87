//! Writers that are killed at every point of a commit, and who finds the store then.

use std::time::{Duration, Instant};

use cohab::{Result, Role, Store};

use crate::actor::Actor;
use crate::{Scratch, ledger};

/// Kills a writer at the n-th operation of a kind in its commit, for every n there is, and has the store found by
/// a reader, a writer and a stand-by in turn, beside a reader that was there all the time. Returns how often.
fn killed_at_every(operation: &str) -> Result<u64> {
    let scratch = Scratch::with_ledger();
    let mut witness = Actor::open(&scratch.path(), "reader");
    witness.does("keep-looking");
    let mut version = 1;
    for n in 1.. {
        let mut writer = Actor::open(&scratch.path(), "writer gate");
        let standby = (n % 3 == 2).then(|| Actor::open(&scratch.path(), "standby"));
        writer.does(&format!("arm hold {operation} {n}"));
        writer.does("commit-aside");
        let event = writer.hears("");
        if let Some(committed) = event.strip_prefix("committed ") {
            assert_eq!(committed.parse(), Ok(version + 1));
            witness.does("rest");
            assert!(witness.kill().iter().all(|event| !event.starts_with("broken")));
            return Ok(n - 1);
        }
        assert_eq!(event, "still");
        writer.kill();
        let seen = witness.number("seen");
        let found = if let Some(mut standby) = standby {
            standby.hears("promoted ");
            let found = standby.number("verify");
            assert_eq!((standby.number("commit"), standby.number("look")), (found + 1, found + 1));
            standby.kill();
            version += 1;
            found
        } else {
            let role = if n % 3 == 0 { Role::Reader } else { Role::Writer };
            let snapshot = Store::options().role(role).open(scratch.path())?.snapshot()?;
            assert!(snapshot.verify(|_| ())?.is_sound());
            ledger::check(&snapshot)?.get()
        };
        let before = if n % 3 == 2 { version - 1 } else { version };
        assert!(found == before || found == before + 1, "{operation} {n}: {found} after {before}");
        assert!(seen <= found, "{operation} {n}: {seen} was seen, {found} is there");
        version += found - before;
        let deadline = Instant::now() + Duration::from_secs(5);
        while witness.number("seen") < found {
            assert!(
                Instant::now() < deadline,
                "{operation} {n}: the reader that was there does not see {found}"
            );
        }
    }
    unreachable!("some commit is not met")
}

#[test]
fn invariant_1_a_writer_killed_before_any_write_leaves_all_of_a_commit_or_nothing() -> Result<()> {
    let points = killed_at_every("write")?;
    assert!(points >= 5, "only {points} writes");
    Ok(())
}

#[test]
fn invariant_1_a_writer_killed_before_any_sync_leaves_all_of_a_commit_or_nothing() -> Result<()> {
    let points = killed_at_every("sync")?;
    assert!(points >= 2, "only {points} syncs");
    Ok(())
}

/// After the last one the commit is durable, and nobody was told.
#[test]
fn invariant_1_a_writer_killed_after_any_sync_and_before_it_publishes_leaves_all_or_nothing() -> Result<()> {
    let points = killed_at_every("synced")?;
    assert!(points >= 2, "only {points} syncs");
    Ok(())
}

#[test]
fn invariant_1_a_writer_killed_with_the_header_locked_leaves_all_of_a_commit_or_nothing() -> Result<()> {
    let points = killed_at_every("header")?;
    assert!(points >= 2, "only {points} writes of the header");
    Ok(())
}

/// A process that was killed while it made a store left a file of zeros, which everybody took for a damaged database
/// from then on: the engine writes its magic number last.
#[test]
fn invariant_7_a_store_whose_making_was_cut_short_anywhere_is_made_by_the_next() {
    for operation in ["write", "sync", "synced"] {
        for n in 1.. {
            let scratch = Scratch::new();
            let mut first = Actor::start(&scratch.path());
            first.does(&format!("arm hold {operation} {n}"));
            first.does("open-aside writer gate");
            let event = first.hears("");
            if event == "opened" {
                assert!(n > 3, "making a store has more than {n} times `{operation}`");
                break;
            }
            assert_eq!(event, "still");
            first.kill();
            let mut second = Actor::start(&scratch.path());
            second.does("open writer");
            assert_eq!(second.number("make-ledger"), 1, "killed at {operation} {n}");
            assert_eq!((second.number("commit"), second.number("verify")), (2, 2));
        }
    }
}
