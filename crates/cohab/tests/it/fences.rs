//! Named locks between processes, and what is written behind one that was lost.

use std::fs;
use std::path::Path;

use cohab::Kind;

use crate::Scratch;
use crate::actor::Actor;

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).expect("can be made");
    for entry in fs::read_dir(from).expect("is there") {
        let name = entry.expect("can be read").file_name();
        fs::copy(from.join(&name), to.join(&name)).expect("can be copied");
    }
}

#[test]
fn invariant_6_what_a_stale_holder_writes_is_refused_with_the_write_and_with_the_batch() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut first = Actor::open(&scratch.path(), "reader");
    let mut second = Actor::open(&scratch.path(), "reader");
    // A job that holds the lock and has the writer write for it.
    let stale = first.number("lock job 0");
    let refused = second.fails("lock job 0", Kind::Busy);
    assert_eq!(refused.holder.map(|holder| holder.pid.cast_signed()), Some(first.pid));
    assert_eq!(writer.number(&format!("commit-fenced job {stale}")), 2);
    first.kill();
    let fresh = second.number("lock job 0");
    assert!(fresh > stale);
    // What was on its way when the holder died may still arrive, until the next one has written.
    assert_eq!(writer.number(&format!("submit-fenced job {stale}")), 3);
    assert_eq!(writer.number(&format!("submit-fenced job {fresh}")), 4);
    for how in ["commit-fenced", "submit-fenced"] {
        let refused = writer.fails(&format!("{how} job {stale}"), Kind::Fenced);
        assert!(refused.message.contains("token 1 is stale"), "{refused:?}");
    }
    assert_eq!(writer.number(&format!("submit-fenced job {fresh}")), 5);
    // It is the job that is fenced, not the writer, and not another job.
    assert_eq!(writer.number("commit"), 6);
    assert_eq!(writer.number("commit-fenced other 1"), 7);
    // Across a crash of everybody.
    writer.kill();
    second.kill();
    let mut writer = Actor::open(&scratch.path(), "writer");
    writer.fails(&format!("commit-fenced job {stale}"), Kind::Fenced);
    assert_eq!(writer.number("commit"), 8);
}

/// A backup of the small files, put back without the store's file, would hand out tokens a second time.
#[test]
fn tokens_do_not_repeat_when_the_locks_are_put_back_as_they_once_were() {
    let scratch = Scratch::with_ledger();
    let (locks, old) = (scratch.path().join("locks"), scratch.file("old-locks"));
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut holder = Actor::open(&scratch.path(), "reader");
    let mut last = 0;
    for _ in 0..3 {
        let token = holder.number("lock job 0");
        assert!(token > last);
        last = token;
        holder.does("unlock job");
        if !old.exists() {
            copy_dir(&locks, &old);
        }
    }
    writer.does(&format!("commit-fenced job {last}"));
    for _ in 0..2 {
        fs::remove_dir_all(&locks).expect("is there");
        copy_dir(&old, &locks);
        let token = holder.number("lock job 0");
        assert!(token > last, "{token} after {last}");
        writer.fails(&format!("commit-fenced job {}", last - 1), Kind::Fenced);
        writer.does(&format!("commit-fenced job {token}"));
        writer.fails(&format!("commit-fenced job {last}"), Kind::Fenced);
        holder.does("unlock job");
        last = token;
    }
}

#[test]
fn invariant_6_epochs_do_not_repeat_when_their_file_is_lost_and_an_overtaken_writer_is_fenced() {
    let scratch = Scratch::with_ledger();
    let counter = scratch.path().join("writer.epoch");
    let mut epochs = Vec::new();
    let mut writer = Actor::open(&scratch.path(), "writer");
    for _ in 0..3 {
        epochs.push(writer.number("epoch"));
        writer.does("commit");
        writer.kill();
        fs::remove_file(&counter).expect("is there");
        writer = Actor::open(&scratch.path(), "writer");
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");

    // The locks lied: as if somebody on another machine had been given them.
    let other = Scratch::with_ledger();
    let mut others_writer = Actor::open(&other.path(), "writer");
    while others_writer.number("epoch") <= writer.number("epoch") {
        others_writer.kill();
        others_writer = Actor::open(&other.path(), "writer");
    }
    fs::copy(other.path().join("writer.epoch"), &counter).expect("can be copied");
    for _ in 0..2 {
        let refused = writer.fails("commit", Kind::Fenced);
        assert!(refused.message.contains("has taken over"), "{refused:?}");
    }
}
