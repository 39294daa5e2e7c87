//! What a reader sees of a writer in another process, and when.

use std::time::{Duration, Instant};

use cohab::{Kind, Result, Role, Store, Timestamp, Token, Version};
use cohab_coord::Page;

use crate::actor::{Actor, last_acknowledged};
use crate::{Scratch, ledger, v};

#[test]
fn invariant_3_snapshots_keep_their_content_while_another_process_commits() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut reader = Actor::open(&scratch.path(), "reader");
    for kept in 0..5 {
        assert_eq!(reader.number(&format!("keep {kept}")), 1 + kept * 20);
        writer.does("commit-bulk 100 10");
        writer.does("commit 10");
    }
    for kept in 0..5 {
        assert_eq!(reader.number(&format!("check {kept}")), 1 + kept * 20);
    }
    assert_eq!(reader.number("look"), 101);
}

#[test]
fn invariant_3_whoever_was_told_of_a_commit_sees_it() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut readers = [(); 2].map(|()| Actor::open(&scratch.path(), "reader"));
    // One looks all the time, so that it also looks in the middle of every commit.
    readers[0].does("keep-looking");
    for _ in 0..200 {
        let version = writer.number("commit");
        for reader in &mut readers {
            let seen = reader.number("look");
            assert!(seen >= version, "{version} was acknowledged, {seen} is shown as the latest");
        }
    }
    readers[0].does("rest");
}

#[test]
fn a_snapshot_is_as_fresh_as_it_was_asked_for() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut reader = Actor::open(&scratch.path(), "reader");
    let mut pinned = Actor::open(&scratch.path(), "reader pinned");
    assert_eq!((reader.number("look"), pinned.number("look")), (1, 1));
    writer.does("commit 9");
    assert_eq!((reader.number("look"), pinned.number("look")), (10, 1));
    assert_eq!(pinned.number("look refresh"), 10);
    assert_eq!(pinned.number("look"), 10);
    assert_eq!(reader.number("look pinned"), 10);

    writer.does("commit");
    assert_eq!(reader.number("look pinned"), 10);
    assert_eq!(reader.number("look max-age 60000"), 10, "it need not look for that long");
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(reader.number("look max-age 50"), 11);

    let token = writer.does("token");
    let other = Scratch::with_ledger().store();
    for freshness in ["at-least", "latest"] {
        let asked = if freshness == "latest" { freshness.into() } else { format!("at-least {token} 0") };
        assert_eq!(pinned.number(&format!("look {asked}")), 11, "{freshness}");
    }
    let foreign = pinned.fails(&format!("look at-least {} 1000", other.token(v(1))), Kind::InvalidInput);
    assert!(foreign.message.contains("another store"), "{foreign:?}");

    let store = Store::options().role(Role::Reader).open(scratch.path())?;
    let next = store.token(v(12));
    let since = Instant::now();
    let late = reader.fails(&format!("look at-least {next} 300"), Kind::TimedOut);
    assert!(late.message.contains("version 12") && late.message.contains("at 11"), "{late:?}");
    let waited = since.elapsed();
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_secs(2), "{waited:?}");

    reader.tell(&format!("look at-least {next} 20000"));
    std::thread::sleep(Duration::from_millis(50));
    let since = Instant::now();
    writer.does("commit");
    assert_eq!(reader.answer().expect("in time"), "12");
    // Nobody waits for longer than a second without looking.
    assert!(since.elapsed() < Duration::from_millis(600), "it is not woken: {:?}", since.elapsed());
    Ok(())
}

#[test]
fn invariant_3_no_reader_goes_backwards_when_writers_are_killed() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let mut followers = [(); 2].map(|()| Actor::open(&scratch.path(), "reader"));
    for follower in &mut followers {
        follower.does("keep-looking");
    }
    for round in 0..15u64 {
        let mut writer = Actor::open(&scratch.path(), "writer");
        writer.does("keep-committing");
        let first = writer.hears("acknowledged ").parse().expect("a number");
        std::thread::sleep(Duration::from_micros(round * 1700));
        let acknowledged = last_acknowledged(&writer.kill()).unwrap_or(first);
        let seen: Vec<u64> = followers.iter_mut().map(|follower| follower.number("seen")).collect();

        let fresh = Store::options().role(Role::Reader).open(scratch.path())?.snapshot()?;
        let found = ledger::check(&fresh)?.get();
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{acknowledged} acknowledged, {found} found"
        );
        for (follower, seen) in followers.iter_mut().zip(seen) {
            assert!(seen <= found, "one saw {seen}, and {found} is there");
            let token = fresh.token();
            assert_eq!(follower.number(&format!("look at-least {token} 5000")), found);
        }
    }
    for mut follower in followers {
        follower.does("rest");
        assert!(follower.kill().iter().all(|event| !event.starts_with("broken")));
    }
    Ok(())
}

/// Holds a commit before each of its syncs in turn, and returns at how many of them a reader could be brought to show it.
/// Whoever shows it has synced the file, and says so to everybody.
fn held_before_every_sync(scratch: &Scratch, mut version: u64) -> Result<u32> {
    let mut writer = Actor::open(&scratch.path(), "writer gate");
    let mut reader = Actor::open(&scratch.path(), "reader");
    let open = || Store::options().role(Role::Reader).open(scratch.path());
    let store = open()?.id();
    let page = Page::open(&scratch.path().join("coord.page"), store).expect("there is a writer");
    let durable = || page.published().map(|published| published.version.get());
    let mut shown = 0;
    for sync in 1.. {
        assert_eq!((reader.number("look"), durable()), (version, Some(version)));
        writer.does(&format!("arm hold sync {sync}"));
        writer.does("commit-aside");
        if writer.hears("") != "still" {
            assert!(sync > 2, "a commit syncs twice");
            break;
        }
        assert_eq!(
            durable(),
            Some(version),
            "before sync {sync} of it, version {} is not durable",
            version + 1
        );
        // Who is made to look and finds it leaves it to the writer, which needs a moment.
        page.wake();
        assert_eq!(reader.number("look"), version, "sync {sync}");
        // Who was told of it cannot wait, and neither can who has nothing older to show.
        let token = Token { store, version: v(version + 1) };
        let told = reader.ask(&format!("look at-least {token} 0"));
        let fresh = ledger::check(&open()?.snapshot()?)?.get();
        match told {
            Ok(seen) => {
                assert_eq!((seen, fresh), ((version + 1).to_string(), version + 1));
                assert_eq!(durable(), Some(version + 1), "it was shown before sync {sync} of it");
                shown += 1;
            }
            Err(refused) => {
                assert_eq!((&*refused.kind, fresh, durable()), ("timed_out", version, Some(version)));
            }
        }
        writer.does("disarm");
        version += 1;
        assert_eq!(writer.hears("committed "), version.to_string());
    }
    Ok(shown)
}

/// The engine shows a commit to other processes before its last sync. A reader that acted on it would have acted on
/// what a power cut could still take back; so it waits for the writer to say that it is durable, or syncs the file.
#[test]
fn invariant_1_what_is_not_durable_yet_is_shown_to_nobody() -> Result<()> {
    let shown = held_before_every_sync(&Scratch::with_ledger(), 1)?;
    assert_eq!(shown, 1, "between the switch to the new commit and its last sync, it shows");
    Ok(())
}

/// The page of a store that was put back from a copy knows of versions that are durable no more.
#[test]
fn invariant_1_nor_where_the_store_was_put_back_from_a_copy() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let (data, copy) = (scratch.path().join("store.redb"), scratch.file("copy"));
    std::fs::copy(&data, &copy).expect("can be copied");
    Actor::open(&scratch.path(), "writer").does("commit 20");
    std::fs::rename(&copy, &data).expect("can be renamed");
    assert_eq!(held_before_every_sync(&scratch, 1)?, 1);
    Ok(())
}

#[test]
fn a_snapshot_that_is_older_than_the_writer_allows_is_refused_in_every_process() {
    let scratch = Scratch::with_ledger();
    // One that is there before the writer, and hears of it later.
    let mut early = Actor::open(&scratch.path(), "reader");
    early.does("keep old");
    let mut writer = Actor::open(&scratch.path(), "writer snapshots=500");
    let mut late = Actor::open(&scratch.path(), "reader");
    late.does("keep old");
    writer.does("keep old");
    assert_eq!(late.number("check old"), 1);
    writer.does("commit 20");
    std::thread::sleep(Duration::from_millis(900));
    for actor in [&mut early, &mut late, &mut writer] {
        let refused = actor.fails("check old", Kind::SnapshotExpired);
        assert!(refused.message.contains("500 ms") && refused.hint.contains("new one"), "{refused:?}");
        assert_eq!(actor.number("look"), 21);
    }
    // The bound goes with the writer that set it.
    writer.kill();
    let mut writer = Actor::open(&scratch.path(), "writer");
    late.does("keep old");
    writer.does("commit");
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(late.number("check old"), 21);
}

#[test]
fn everybody_sees_who_keeps_which_old_snapshot() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut reader = Actor::open(&scratch.path(), "reader label=hoarder");
    let store = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
    let oldest_of_reader = || -> Result<(Option<Version>, Option<Timestamp>)> {
        let instances = store.instances()?;
        assert_eq!(instances.len(), 2, "{instances:?}");
        let reader = instances.into_iter().find(|it| it.record.label.as_deref() == Some("hoarder"));
        let record = reader.expect("is listed").record;
        Ok((record.snapshot_version, record.snapshot_since))
    };
    let soon = |expected: &dyn Fn(Option<Version>) -> bool| -> Result<Option<Timestamp>> {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let (version, since) = oldest_of_reader()?;
            if expected(version) {
                return Ok(since);
            }
            assert!(Instant::now() < deadline, "{version:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(reader.number("keep old"), 1);
    writer.does("commit 3");
    reader.does("look");
    let since = soon(&|version| version == Some(v(1)))?.expect("is known");
    let age = cohab::Clock::now(&cohab::SystemClock).since(since);
    assert!(age < Duration::from_mins(1), "{since}");
    // The next oldest takes its place, and what the handle keeps for the next to ask is none of them.
    assert_eq!(reader.number("keep newer"), 4);
    writer.does("commit");
    reader.does("look");
    reader.does("drop old");
    soon(&|version| version == Some(v(4)))?;
    reader.does("drop newer");
    soon(&|version| version.is_none())?;
    Ok(())
}
