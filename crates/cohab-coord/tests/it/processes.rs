use std::time::{Duration, Instant};

use cohab_coord::{Error, PAGES_MAX, Page, WAIT_MAX};
use cohab_testkit::{Child, child_store};

use crate::{Scratch, at, ns, store, v};

/// How many commits a child publishes between two reports, so that a kill hits publishing and not reporting.
const BURST: u64 = 200;

/// Publishes as fast as it can, from where the page is, and reports now and then.
#[test]
fn child_publishes_until_it_is_killed() {
    let Some(path) = child_store() else { return };
    let page = Page::open(&path, store()).expect("is there");
    let mut version = page.published().expect("the parent published").version.get();
    loop {
        for _ in 0..BURST {
            version += 1;
            let namespace = u32::try_from(version % 1000).expect("is small");
            page.publish(at(version, version / 2), v(version - 1), [ns(namespace)]);
        }
        Child::report(version).expect("the parent listens");
    }
}

/// Waits with a map that it may only read, and reports what it was woken by.
#[test]
fn child_waits_and_reports() {
    let Some(path) = child_store() else { return };
    let page = Page::open_read_only(&path, store()).expect("is there");
    let mut mark = page.mark();
    Child::report("ready").expect("the parent listens");
    loop {
        page.wait(mark, WAIT_MAX);
        if page.mark() != mark {
            mark = page.mark();
            let version = page.published().expect("is sound").version;
            Child::report(version).expect("the parent listens");
        }
    }
}

/// Opens pages until there is no room for more in this process, whose others would go without them.
#[test]
fn child_opens_all_it_can() {
    let Some(path) = child_store() else { return };
    let first = Page::open(&path, store()).expect("is there");
    let mut pages = Vec::new();
    let refusal = loop {
        match Page::open(&path, store()) {
            Ok(page) => pages.push(page),
            Err(error) => break error,
        }
        assert!(pages.len() < PAGES_MAX);
    };
    assert!(matches!(refusal, Error::TooMany(_)), "{refusal}");
    assert!(matches!(Page::create(&path, store()), Err(Error::TooMany(_))));
    assert!(first.is_current(), "a page that could not be opened is not therefore replaced");
    pages.pop();
    pages.push(Page::open(&path, store()).expect("there is room for one again"));
    Child::report(1 + pages.len()).expect("the parent listens");
}

#[test]
fn a_killed_publisher_leaves_a_publication_and_nothing_goes_back() {
    let scratch = Scratch::new();
    let page = scratch.create();
    page.raise(at(1, 0));
    let mut last = at(1, 0);
    for round in 0..200u64 {
        let mut child =
            Child::start("processes::child_publishes_until_it_is_killed", &scratch.path()).expect("starts");
        let first = child.next_report().expect("can be heard").expect("publishes");
        // Looking on, and raising what was seen as a reader would, until a time that differs in every round.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(round * 7) {
            let seen = page.published().expect("is sound at every moment");
            assert!(seen.version >= last.version && seen.epoch >= last.epoch, "{last:?}, then {seen:?}");
            let namespace = u32::try_from(seen.version.get() % 1000).expect("is small");
            assert!(page.changed(ns(namespace)) >= seen.version, "round {round}: {seen:?}");
            page.raise(seen);
            last = seen;
        }
        let reports = child.kill().expect("can be killed");
        let reported: u64 = reports.last().unwrap_or(&first).parse().expect("reports versions");
        let left = page.published().expect("a kill leaves a publication");
        assert!(left.version >= v(reported), "round {round}: {reported} was published, {left:?} is left");
        assert!(left.version >= last.version && left.epoch >= last.epoch, "{last:?}, then {left:?}");
        last = left;
    }
    assert!(page.is_current());
}

#[test]
fn a_process_can_have_only_so_many_pages_open() {
    let scratch = Scratch::new();
    let page = scratch.create();
    page.raise(at(1, 1));
    let mut child = Child::start("processes::child_opens_all_it_can", &scratch.path()).expect("starts");
    let opened = child.next_report().expect("can be heard");
    assert_eq!(opened, Some(PAGES_MAX.to_string()));
    assert!(page.is_current() && page.published() == Some(at(1, 1)));
}

#[test]
fn another_process_wakes_soon() {
    let scratch = Scratch::new();
    let page = scratch.create();
    page.raise(at(1, 1));
    let mut child = Child::start("processes::child_waits_and_reports", &scratch.path()).expect("starts");
    assert_eq!(child.next_report().expect("can be heard").as_deref(), Some("ready"));
    let mut latencies: Vec<_> = (2..42)
        .map(|version| {
            std::thread::sleep(Duration::from_millis(2));
            let begin = Instant::now();
            page.publish(at(version, 1), v(version - 1), []);
            let report = child.next_report().expect("can be heard").expect("wakes");
            assert_eq!(report, version.to_string());
            begin.elapsed()
        })
        .collect();
    latencies.sort_unstable();
    // Someone who slept until the time was over would have taken a second.
    assert!(latencies[20] < Duration::from_millis(100), "{latencies:?}");
}

#[test]
fn nobody_waits_for_a_dead_publisher() {
    let scratch = Scratch::new();
    let page = scratch.create();
    page.raise(at(1, 1));
    let child =
        Child::start("processes::child_publishes_until_it_is_killed", &scratch.path()).expect("starts");
    let mark = page.mark();
    page.wait(mark, Duration::MAX);
    child.kill().expect("can be killed");

    let begin = Instant::now();
    page.wait(page.mark(), Duration::MAX);
    assert!(begin.elapsed() < WAIT_MAX * 5);
}
