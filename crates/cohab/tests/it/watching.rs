//! Following what other processes commit.

use std::time::{Duration, Instant};

use cohab::Kind;

use crate::Scratch;
use crate::actor::Actor;

/// Collects what a watcher meets until it has met a version.
#[track_caller]
fn met_until(watcher: &mut Actor, last: u64) -> Vec<u64> {
    let mut met = Vec::new();
    while met.last() != Some(&last) {
        let event = watcher.hears("");
        let version = event.strip_prefix("met ").and_then(|rest| rest.split_once(' ')?.0.parse().ok());
        let version: u64 = version.unwrap_or_else(|| panic!("{event}, after {met:?}"));
        assert!(version <= last, "{version} was never committed");
        met.push(version);
    }
    met
}

#[test]
fn watchers_meet_every_version_once_and_in_order_whoever_writes_and_dies() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "auto");
    writer.does("keep-committing");
    let mut watchers = [(); 3].map(|()| {
        let mut watcher = Actor::open(&scratch.path(), "reader");
        watcher.does("watch from=2");
        watcher
    });
    for round in 0..4u64 {
        let mut standby = Actor::open(&scratch.path(), "auto");
        standby.does("keep-committing");
        std::thread::sleep(Duration::from_millis(150 + round * 13));
        if round == 3 {
            standby.does("promote 10000");
            writer.does("rest");
        } else {
            writer.kill();
            standby.hears("promoted ");
        }
        writer = standby;
    }
    std::thread::sleep(Duration::from_millis(100));
    writer.does("rest");
    let last = writer.number("look");
    println!("watched {last} versions");
    assert!(last > 50, "{last}");
    for watcher in &mut watchers {
        assert_eq!(met_until(watcher, last), (2..=last).collect::<Vec<_>>());
        assert_eq!(watcher.hears_within("", Duration::from_millis(100)), None, "nothing comes twice");
        watcher.tell("rest");
        let since = Instant::now();
        watcher.hears("watched");
        assert!(since.elapsed() < Duration::from_secs(2), "stopped after {:?}", since.elapsed());
        watcher.answer().expect("rests");
    }
}

#[test]
fn a_watch_meets_what_it_asked_for_from_the_past_on() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let filters = [
        ("from=1", vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ("", vec![4, 5, 6, 7, 8]),
        ("from=2", vec![2, 3, 4, 5, 6, 7, 8]),
        // Through the renaming, which is a change of what is said of it.
        ("from=3 namespace=stock", vec![4, 5, 7]),
        ("from=2 namespace=stock prefix=ab", vec![2, 7]),
        // Where no record is kept of what changed, it may have been this.
        ("from=2 prefix=ab", vec![2, 3, 7, 8]),
    ];
    writer.does("put stock ab1");
    writer.does("put orders ab2");
    let mut watchers: Vec<_> = filters.iter().map(|_| Actor::open(&scratch.path(), "reader")).collect();
    for (watcher, (filter, _)) in watchers.iter_mut().zip(&filters) {
        watcher.does(&format!("watch {filter}"));
    }
    watchers[0].fails("watch namespace=nope", Kind::NotFound);
    assert_eq!(writer.number("put stock b"), 4);
    assert_eq!(writer.number("rename stock freight"), 5);
    assert_eq!(writer.number("put orders b"), 6);
    assert_eq!(writer.number("put freight ab3"), 7);
    assert_eq!(writer.number("put bulk b"), 8);
    for (watcher, (filter, versions)) in watchers.iter_mut().zip(&filters) {
        assert_eq!(&met_until(watcher, versions[versions.len() - 1]), versions, "{filter:?}");
        assert_eq!(watcher.hears_within("", Duration::from_millis(50)), None, "{filter:?}");
    }
}

#[test]
fn a_watcher_that_the_log_has_left_behind_is_told_once_and_goes_on_with_the_oldest() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer retain=10");
    let mut slow = Actor::open(&scratch.path(), "reader");
    slow.does("watch from=2");
    assert_eq!(writer.number("commit"), 2);
    slow.hears("met 2 ");
    slow.stop();
    assert_eq!(writer.number("commit 100"), 102);
    slow.go_on();
    let mut late = Actor::open(&scratch.path(), "reader");
    late.does("watch from=2");
    for watcher in [&mut slow, &mut late] {
        let mut event = watcher.hears("");
        // What it had come to before it was stopped is no loss.
        while event.starts_with("met ") {
            event = watcher.hears("");
        }
        let lagged = event.strip_prefix("met-error lagged ").unwrap_or_else(|| panic!("{event}"));
        let (oldest, message) = lagged.split_once(' ').expect("says both");
        let oldest: u64 = oldest.parse().expect("a number");
        assert!((80..=102).contains(&oldest) && message.contains("no longer in the log"), "{lagged}");
        assert_eq!(met_until(watcher, 102), (oldest..=102).collect::<Vec<_>>());
    }
    assert_eq!(writer.number("commit"), 103);
    assert_eq!((met_until(&mut slow, 103), met_until(&mut late, 103)), (vec![103], vec![103]));
}
