//! Who writes, between processes.

use std::fs;
use std::time::{Duration, Instant};

use cohab::{Batch, Kind, Result, Role, Store};

use crate::actor::{Actor, last_acknowledged};
use crate::{Scratch, ledger, not_tested};

/// Asserts that something took at least so long, and not much longer.
fn took(since: Instant, at_least: Duration) {
    let took = since.elapsed();
    assert!(took >= at_least && took < at_least + Duration::from_secs(3), "took {took:?}, not {at_least:?}");
}

#[test]
fn invariant_6_a_second_writer_is_told_who_writes_at_once_or_after_its_time() {
    let scratch = Scratch::with_ledger();
    let mut first = Actor::open(&scratch.path(), "writer app=shop channel=nightly label=till-4");
    let mut second = Actor::start(&scratch.path());
    for wait in [0, 300] {
        let since = Instant::now();
        let refused = second.fails(&format!("open wait={wait}"), Kind::Busy);
        took(since, Duration::from_millis(wait));
        let holder = refused.holder.as_ref().expect("the writer left word");
        assert_eq!((holder.pid.cast_signed(), &*holder.role), (first.pid, "writer"));
        assert_eq!(holder.instance.map(|id| id.to_string()), Some(first.does("instance")));
        let said = [&holder.app, &holder.channel, &holder.label].map(Option::as_deref);
        assert_eq!(said, [Some("shop"), Some("nightly"), Some("till-4")]);
        let age = cohab::Clock::now(&cohab::SystemClock).since(holder.since);
        assert!(age < Duration::from_mins(1), "since {}", holder.since);
        assert!(refused.hint.contains("wait"), "{refused:?}");
        assert!(refused.message.contains("nightly"), "{refused:?}");
    }
    assert_eq!(first.number("commit"), 2, "the first has noticed nothing");
    first.kill();
    second.does("open");
    assert_eq!(second.number("commit"), 3);
}

#[test]
fn of_twenty_who_race_for_a_store_one_writes_and_the_others_know_who() {
    let scratch = Scratch::with_ledger();
    let mut actors: Vec<_> = (0..20).map(|_| Actor::start(&scratch.path())).collect();
    for actor in &mut actors {
        actor.tell("open wait=500");
    }
    let answers: Vec<_> = actors.iter_mut().map(|actor| (actor.pid, actor.answer())).collect();
    let winners: Vec<_> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(pid, _)| *pid).collect();
    let [winner] = winners[..] else { panic!("one wins: {answers:?}") };
    for refused in answers.into_iter().filter_map(|(_, answer)| answer.err()) {
        let named = refused.holder.as_ref().map(|holder| holder.pid.cast_signed());
        assert_eq!((refused.kind.as_str(), named), ("busy", Some(winner)), "{refused:?}");
    }
}

#[test]
fn a_stand_by_takes_over_from_a_killed_writer_with_all_that_was_acknowledged() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut took = Vec::new();
    for round in 0..5u64 {
        let mut standby = Actor::open(&scratch.path(), "standby");
        standby.does("look");
        let epoch = writer.number("epoch");
        writer.does("keep-committing");
        let first = writer.hears("acknowledged ").parse().expect("a number");
        std::thread::sleep(Duration::from_millis(round * 7));

        let acknowledged = last_acknowledged(&writer.kill()).unwrap_or(first);
        let since = Instant::now();
        let promoted: u64 = standby.hears("promoted ").parse().expect("an epoch");
        took.push(since.elapsed().as_millis());
        assert!(promoted > epoch, "epoch {promoted} after {epoch}");
        assert_eq!((standby.number("epoch"), &*standby.does("role")), (promoted, "writer"));
        let found = standby.number("look");
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "{acknowledged} acknowledged, {found} found"
        );
        assert_eq!(standby.number("verify"), found);
        assert_eq!(
            standby.number("commit"),
            found + 1,
            "invariant 2: no gap and no repeat across a take-over"
        );
        writer = standby;
    }
    println!("take-overs after a kill, in ms: {took:?}");
    assert!(took.iter().all(|ms| *ms < 2000), "{took:?}");
}

#[test]
fn of_two_stand_bys_exactly_one_takes_over() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut other = Actor::open(&scratch.path(), "standby");
    for _ in 0..4 {
        let third = Actor::open(&scratch.path(), "standby");
        writer.does("commit");
        writer.kill();
        let mut rivals = [other, third];
        let deadline = Instant::now() + Duration::from_secs(5);
        let winner = loop {
            assert!(Instant::now() < deadline, "nobody takes over");
            let brief = Duration::from_millis(10);
            if let Some(winner) =
                rivals.iter_mut().position(|it| it.hears_within("promoted ", brief).is_some())
            {
                break winner;
            }
        };
        let [mut loser, mut won] = rivals;
        if winner == 0 {
            std::mem::swap(&mut loser, &mut won);
        }
        let version = won.number("commit");
        assert!(loser.hears_within("promoted ", Duration::from_millis(300)).is_none(), "invariant 6");
        assert_eq!((&*loser.does("role"), loser.number("look")), ("standby", version));
        let refused = loser.fails("commit", Kind::Busy);
        assert_eq!(refused.holder.map(|holder| holder.pid.cast_signed()), Some(won.pid));
        (writer, other) = (won, loser);
    }
}

/// A hand-over, there and back: from a writer that was opened as one, and from one that stands by otherwise.
#[test]
fn a_hand_over_finishes_the_transaction_at_work_and_can_be_undone() {
    for (how, then, refusal) in [("writer", "reader", Kind::ReadOnly), ("auto", "standby", Kind::Busy)] {
        let scratch = Scratch::with_ledger();
        let mut first = Actor::open(&scratch.path(), how);
        let mut second = Actor::open(&scratch.path(), "standby");
        first.does("keep before");
        first.tell("commit-slowly 300");
        first.hears("inside");
        let since = Instant::now();
        second.does("promote 10000");
        println!("hand-over beside a transaction of 300 ms took {} ms", since.elapsed().as_millis());
        assert_eq!(first.answer().expect("the transaction at work is committed"), "2");
        assert_eq!(first.hears("stepped-down "), then);
        second.hears("promoted ");
        assert_eq!(second.number("look"), 2);
        assert_eq!(second.number("commit"), 3);

        assert_eq!((&*first.does("role"), first.number("look")), (then, 3), "it reads on");
        // What is not in memory any more is out of reach, for its pages are no longer kept.
        let before = first
            .ask("check before")
            .or_else(|it| if it.kind == "closed" { Ok("1".into()) } else { Err(it) });
        assert_eq!(before.expect("closed, or what it was"), "1");
        let refused = first.fails("commit", refusal);
        if refusal == Kind::Busy {
            assert_eq!(refused.holder.map(|holder| holder.pid.cast_signed()), Some(second.pid));
        }
        let epoch = second.number("epoch");
        second.does("keep-committing");
        second.hears("acknowledged ");
        first.does("promote 10000");
        assert!(first.number("epoch") > epoch);
        second.does("rest");
        let last = first.number("look");
        assert_eq!(first.number("commit"), last + 1);
        assert_eq!((&*second.does("role"), second.number("look")), ("standby", last + 1));
        first.does("verify");
    }
}

#[test]
fn whoever_asked_for_the_role_gets_it_before_those_who_only_stand_by() {
    let scratch = Scratch::with_ledger();
    let mut pair = [Actor::open(&scratch.path(), "auto"), Actor::open(&scratch.path(), "auto")];
    // They look every few milliseconds, so among several one would be the first now and then.
    let mut bystanders = [(); 5].map(|()| Actor::open(&scratch.path(), "standby"));
    for round in 0..10 {
        let [writer, successor] = &mut pair;
        writer.does("commit");
        successor.does("promote 10000");
        for bystander in &mut bystanders {
            assert_eq!(bystander.hears_within("promoted ", Duration::ZERO), None, "hand-over {round}");
        }
        pair.reverse();
    }
}

#[test]
fn whoever_steps_down_leaves_the_role_to_others() {
    for _ in 0..6 {
        let scratch = Scratch::with_ledger();
        let mut first = Actor::open(&scratch.path(), "auto");
        let mut second = Actor::open(&scratch.path(), "standby");
        first.does("step-down");
        second.hears("promoted ");
        assert_eq!((&*first.does("role"), second.number("commit")), ("standby", 2));
    }
    // And takes it again if nobody wants it.
    let scratch = Scratch::with_ledger();
    let mut alone = Actor::open(&scratch.path(), "auto");
    alone.does("step-down");
    assert_eq!(alone.hears_within("promoted ", Duration::from_secs(1)), None, "too soon for others");
    alone.hears("promoted ");
    assert_eq!(alone.number("commit"), 2);
}

/// A writer was asked to hand over in the middle of a transaction. Whoever had asked gave up long before it was over; the
/// writer stepped down all the same, and the store had none. A thread was started for it four times a second.
#[test]
fn a_request_that_was_given_up_is_not_served() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut other = Actor::open(&scratch.path(), "standby");
    writer.tell("commit-slowly 1500");
    writer.hears("inside");
    other.fails("promote 400", Kind::Busy);
    assert_eq!(writer.answer().expect("the transaction is committed"), "2");
    assert_eq!(writer.hears_within("stepped-down ", Duration::from_millis(600)), None);
    assert_eq!(writer.number("commit"), 3);
}

/// Whoever had asked for the role and got it still held the lock that says so while the application was told, saw it, and
/// handed over to itself.
#[test]
fn who_asked_for_the_role_does_not_hand_it_on_to_itself() {
    let scratch = Scratch::with_ledger();
    let mut first = Actor::open(&scratch.path(), "writer");
    let mut second = Actor::open(&scratch.path(), "standby hears-slowly");
    second.does("promote 10000");
    assert_eq!(first.hears("stepped-down "), "reader");
    assert_eq!(second.hears_within("stepped-down ", Duration::from_millis(600)), None);
    assert_eq!(second.number("commit"), 2);
    second.does("promote 0");
    assert_eq!(second.hears_within("stepped-down ", Duration::from_millis(600)), None);
    assert_eq!(second.number("commit"), 3);
}

/// A transaction in a transaction would wait for itself.
#[test]
fn a_transaction_within_a_transaction_is_refused() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let store = scratch.store();
    store.write(|_| {
        let refusals = [
            store.write(|_| Ok(())).map(drop),
            store.submit(Batch::new()).map(drop),
            store.step_down(),
            store.compact().map(drop),
        ];
        for refused in refusals {
            assert_eq!(refused.map_err(|error| error.kind()), Err(Kind::Reentrant));
        }
        Ok(())
    })?;
    store.write(|tx| tx.create_namespace("afterwards"))?;
    Ok(())
}

/// On a file system that other machines have mounted too, a store is for one process at a time.
#[test]
fn a_store_that_is_open_exclusively_is_nobody_elses() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let exclusively = |role| Store::options().exclusive(true).role(role).open(scratch.path()).map(drop);
    let kind = |result: Result<()>| result.map_err(|error| error.kind());
    let mut other = Actor::open(&scratch.path(), "reader");
    assert_eq!(kind(exclusively(Role::Writer)), Err(Kind::Busy));
    exclusively(Role::Reader)?;
    other.does("close");
    assert_eq!(kind(exclusively(Role::Standby)), Err(Kind::InvalidInput));
    let store = Store::options().exclusive(true).open(scratch.path())?;
    other.fails("open reader", Kind::Busy);
    store.write(|tx| tx.create_namespace("alone"))?;
    drop(store);
    other.does("open reader");
    Ok(())
}

#[test]
fn a_writer_that_keeps_its_role_or_is_stopped_is_not_robbed() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer keeps-its-role");
    let mut standby = Actor::open(&scratch.path(), "standby");
    for is_stopped in [false, true] {
        if is_stopped {
            writer.stop();
        }
        let since = Instant::now();
        let refused = standby.fails("promote 400", Kind::Busy);
        took(since, Duration::from_millis(400));
        assert_eq!(refused.holder.map(|holder| holder.pid.cast_signed()), Some(writer.pid));
        assert_eq!(standby.does("role"), "standby");
        if is_stopped {
            writer.go_on();
        }
        assert_eq!(writer.number("commit"), 2 + u64::from(is_stopped));
    }
    let mut reader = Actor::open(&scratch.path(), "reader");
    reader.fails("promote 0", Kind::ReadOnly);
    reader.fails("step-down", Kind::ReadOnly);
    reader.fails("commit", Kind::ReadOnly);
}

#[test]
fn auto_writes_if_nobody_does_and_stands_by_otherwise() {
    let scratch = Scratch::new();
    let mut first = Actor::start(&scratch.path());
    assert_eq!(first.does("open auto"), "writer", "it makes the store");
    first.does("close");
    ledger::create(&scratch.store()).expect("can be made");
    assert_eq!(first.does("open auto"), "writer");
    let mut second = Actor::start(&scratch.path());
    assert_eq!(second.does("open auto"), "standby");
    second.fails("commit", Kind::Busy);
    // However the first one goes.
    first.does("close");
    second.hears("promoted ");
    assert_eq!(second.number("commit"), 2);
    assert_eq!(first.does("open auto"), "standby");
    second.kill();
    first.hears("promoted ");
    assert_eq!(first.number("commit"), 3);
}

#[test]
fn a_reader_opens_whatever_became_of_the_writer() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let mut reader = Actor::start(&scratch.path());
    // As after the machine was restarted, or the store moved to another.
    for lost in ["coord.page", "writer.lock", "writer.epoch"] {
        fs::remove_file(scratch.path().join(lost)).expect("is there");
    }
    reader.does("open reader");
    assert_eq!(reader.number("look"), 1, "closed");
    let mut writer = Actor::open(&scratch.path(), "writer");
    assert_eq!(writer.number("commit"), 2);
    // Where there was no page, one that comes up is found after ten milliseconds.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(reader.number("look"), 2, "and followed from then on");
    reader.does("close");
    reader.does("open reader");
    assert_eq!(reader.number("look"), 2, "beside a writer");

    let mut took = Vec::new();
    for _ in 0..5 {
        let version = writer.number("commit");
        writer.kill();
        // The first recovers the store, whoever that is, and nothing is left of it.
        reader.does("close");
        let since = Instant::now();
        reader.does("open reader");
        assert_eq!(reader.number("look"), version, "after its death");
        took.push(since.elapsed().as_micros());
        assert_eq!(reader.number("verify"), version);
        assert!(Store::options().role(Role::Reader).open(scratch.path())?.writer().is_none());
        writer = Actor::open(&scratch.path(), "writer");
        assert_eq!(writer.number("look"), version);
    }
    println!("opened by a reader that recovers it, in µs: {took:?}");

    // Several at once, one of which recovers it.
    let version = writer.number("commit");
    writer.kill();
    let mut readers: Vec<_> = (0..6).map(|_| Actor::start(&scratch.path())).collect();
    for reader in &mut readers {
        reader.tell("open reader");
    }
    for reader in &mut readers {
        reader.answer().expect("somebody recovers it");
        assert_eq!(reader.number("look"), version);
    }
    Ok(())
}

/// Starts an actor for which the store is on a read-only medium; says so if that cannot be had.
fn reader_of_a_read_only_medium(scratch: &Scratch, what: &str) -> Option<Actor> {
    let script = "mount --bind \"$COHAB_TESTKIT_CHILD\" \"$COHAB_TESTKIT_CHILD\" \
                  && mount -o remount,ro,bind \"$COHAB_TESTKIT_CHILD\" && exec \"$@\"";
    let probe = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", "true"])
        .env("COHAB_TESTKIT_CHILD", scratch.path())
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        not_tested(what, "a read-only mount needs root and Linux");
        return None;
    }
    Some(Actor::start_through(&["unshare", "--mount", "sh", "-c", script, "sh"], &scratch.path()))
}

#[test]
fn a_reader_of_a_read_only_medium_says_so_if_the_store_must_be_recovered() {
    let scratch = Scratch::with_ledger();
    let Some(mut reader) = reader_of_a_read_only_medium(&scratch, "stores on a read-only medium") else {
        return;
    };
    reader.does("open reader");
    assert_eq!(reader.number("look"), 1);
    let mut writer = Actor::open(&scratch.path(), "writer");
    assert_eq!(writer.number("commit"), 2);
    assert_eq!(reader.number("look"), 2, "somebody else may still write there");
    reader.does("close");
    reader.does("open reader");
    assert_eq!(reader.number("look"), 2);
    reader.does("close");
    writer.kill();
    let refused = reader.fails("open reader", Kind::NeedsRecovery);
    assert!(refused.hint.contains("doctor --repair"), "{refused:?}");
    drop(scratch.store());
    reader.does("open reader");
    assert_eq!(reader.number("look"), 2);
}
