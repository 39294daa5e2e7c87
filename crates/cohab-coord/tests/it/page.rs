use std::time::{Duration, Instant};

use cohab_coord::{PAGE_BYTES, Page, SLOTS, WAIT_MAX};
use cohab_core::StoreId;

use crate::{Scratch, at, ns, v};

#[test]
fn the_maximum_of_what_is_published_counts() {
    let scratch = Scratch::new();
    let (page, other) = (scratch.create(), scratch.open());
    assert_eq!(other.published(), None, "a new page says nothing");
    for (published, known) in [
        (at(7, 1), at(7, 1)),
        (at(9, 1), at(9, 1)),
        (at(8, 1), at(9, 1)),
        (at(9, 2), at(9, 2)),
        (at(0, 0), at(9, 2)),
    ] {
        assert_eq!(page.raise(published), published == known, "{published:?}");
        assert_eq!(other.published(), Some(known));
    }
    assert!(page.publish(at(3, 1), v(2), []), "says nothing new, but is heard");
    assert_eq!(other.published(), Some(at(9, 2)));
}

#[test]
fn version_zero_is_a_publication() {
    let scratch = Scratch::new();
    let page = scratch.create();
    assert!(page.raise(at(0, 0)));
    assert_eq!(page.published(), Some(at(0, 0)));
    assert_eq!(page.changed(ns(1)), v(0));
}

#[test]
fn a_namespace_counts_as_changed_when_it_was_or_when_nobody_knows() {
    let scratch = Scratch::new();
    let (page, other) = (scratch.create(), scratch.open());
    assert_eq!(other.changed(ns(1)), v(u64::MAX), "on a new page");

    page.publish(at(10, 1), v(9), [ns(1)]);
    assert_eq!([1, 2].map(|id| other.changed(ns(id))), [v(10); 2], "what the page has missed");

    let same_slot = u32::try_from(SLOTS + 1).expect("is small");
    page.publish(at(11, 1), v(10), [ns(1), ns(1)]);
    assert_eq!([1, 2, same_slot].map(|id| other.changed(ns(id))), [v(11), v(10), v(11)]);

    page.publish(at(14, 1), v(13), [ns(3)]);
    assert_eq!([1, 2, 3].map(|id| other.changed(ns(id))), [v(14); 3], "12 and 13 were never published");

    page.publish(at(17, 1), v(14), [ns(3), ns(u32::MAX)]);
    let changed = [1, 2, 3, u32::MAX].map(|id| other.changed(ns(id)));
    assert_eq!(changed, [v(14), v(14), v(17), v(17)], "a group of three commits");

    assert!(page.raise(at(17, 2)), "a new writer");
    assert_eq!(other.changed(ns(1)), v(14), "that nothing was committed by");
    assert!(other.raise(at(18, 2)));
    assert_eq!([1, 2, 3].map(|id| page.changed(ns(id))), [v(18); 3], "a reader cannot tell what changed");
}

#[test]
fn what_is_too_large_for_the_page_is_not_published() {
    let scratch = Scratch::new();
    let page = scratch.create();
    let largest = (1 << 48) - 1;
    page.publish(at(largest, largest), v(largest - 1), [ns(1)]);
    assert_eq!(page.published(), Some(at(largest, largest)));
    page.publish(at(largest + 1, 1), v(largest), [ns(1)]);
    assert_eq!((page.published(), page.changed(ns(1))), (None, v(u64::MAX)));
}

#[test]
fn the_mark_moves_when_there_is_something_to_look_at() {
    let scratch = Scratch::new();
    let (page, other) = (scratch.create(), scratch.open());
    let mut last = other.mark();
    let mut moved = || {
        let before = std::mem::replace(&mut last, other.mark());
        last != before
    };
    assert!(!moved());
    assert!(page.raise(at(1, 1)) && moved());
    assert!(!page.raise(at(1, 1)) && !moved(), "known already");
    assert!(page.publish(at(2, 1), v(1), []) && moved());
    page.wake();
    assert!(moved());
}

#[test]
fn a_wait_ends_when_there_is_something_to_look_at_or_the_time_is_over() {
    let scratch = Scratch::new();
    let page = scratch.create();
    let reader = Page::open_read_only(&scratch.path(), scratch.store).expect("is there");
    let waited = |mark, timeout| {
        let begin = Instant::now();
        reader.wait(mark, timeout);
        begin.elapsed()
    };
    let old = reader.mark();
    assert!(waited(old, Duration::from_millis(20)) >= Duration::from_millis(20));
    let longest = waited(old, Duration::MAX);
    assert!(longest >= WAIT_MAX && longest < WAIT_MAX * 5, "{longest:?}");

    page.wake();
    assert!(waited(old, Duration::MAX) < WAIT_MAX, "it has moved already");

    let begin = Instant::now();
    std::thread::scope(|scope| {
        let (mark, waiters) = (reader.mark(), [(); 3]);
        let waiters = waiters.map(|()| scope.spawn(move || waited(mark, Duration::MAX)));
        std::thread::sleep(Duration::from_millis(30));
        page.publish(at(1, 1), v(0), []);
        for waiter in waiters {
            waiter.join().expect("does not panic");
        }
    });
    assert!(begin.elapsed() < WAIT_MAX, "all were woken");
}

#[test]
fn the_age_of_snapshots_is_passed_on() {
    let scratch = Scratch::new();
    let (page, other) = (scratch.create(), scratch.open());
    assert_eq!(other.snapshot_age_max(), None);
    for (set, found) in [
        (Duration::from_mins(1), Duration::from_mins(1)),
        (Duration::ZERO, Duration::from_millis(1)),
        (Duration::MAX, Duration::from_millis((1 << 48) - 1)),
    ] {
        page.set_snapshot_age_max(Some(set));
        assert_eq!(other.snapshot_age_max(), Some(found));
    }
    page.set_snapshot_age_max(None);
    assert_eq!(other.snapshot_age_max(), None);
}

#[test]
fn a_page_outlives_its_writers() {
    let scratch = Scratch::new();
    scratch.create().raise(at(5, 1));
    let page = scratch.create();
    assert_eq!(page.published(), Some(at(5, 1)), "create takes what is there");

    let new = Page::replace(&scratch.path(), scratch.store).expect("can be made");
    assert_eq!((new.published(), page.published()), (None, Some(at(5, 1))));
    assert!(new.is_current() && !page.is_current());
}

#[test]
fn who_may_only_read_changes_nothing() {
    let scratch = Scratch::new();
    let page = scratch.create();
    page.raise(at(5, 1));
    page.set_snapshot_age_max(Some(Duration::from_secs(1)));
    let reader = Page::open_read_only(&scratch.path(), scratch.store).expect("is there");
    assert!(page.is_writable() && !reader.is_writable());
    let mark = reader.mark();
    assert!(!reader.publish(at(6, 1), v(5), [ns(1)]));
    assert!(!reader.raise(at(6, 1)));
    reader.wake();
    reader.set_snapshot_age_max(None);
    assert_eq!(reader.published(), Some(at(5, 1)));
    assert_eq!(page.snapshot_age_max(), Some(Duration::from_secs(1)));
    assert!(mark == page.mark() && reader.is_current());
}

#[test]
fn what_is_no_page_is_refused_by_name_and_replaced_by_a_writer() -> std::io::Result<()> {
    let scratch = Scratch::new();
    let (path, store) = (scratch.path(), scratch.store);
    let length = usize::try_from(PAGE_BYTES).expect("is small");
    Page::create(&path, StoreId::generate()).expect("can be made").raise(at(90, 9));
    let others = std::fs::read(&path)?;
    let mut newer = others.clone();
    newer[8] = 2;
    let [short, long] = [&others[..length - 1], &[others.as_slice(), b"x"].concat()].map(<[u8]>::to_vec);
    for (content, problem) in [
        (Vec::new(), "has 0 bytes, where a coordination page has 8704"),
        (short, "has 8703 bytes"),
        (long, "has 8705 bytes"),
        (vec![0; length], "is not a coordination page"),
        (vec![b'x'; length], "is not a coordination page"),
        (newer, "is not a coordination page"),
        (others, "is the coordination page of another store"),
    ] {
        std::fs::write(&path, &content)?;
        let refusal = Page::open(&path, store).expect_err("is no page").to_string();
        assert!(refusal.contains("coord.page") && refusal.contains(problem), "{refusal}");
        assert_eq!(std::fs::read(&path)?, content, "who only opens it repairs nothing");
        let page = Page::create(&path, store).expect("can be replaced");
        assert!(page.published().is_none() && page.is_current());
        assert_eq!(scratch.open().published(), None);
    }
    std::fs::remove_file(&path)?;
    assert!(Page::open(&path, store).expect_err("is gone").to_string().ends_with("does not exist"));
    std::fs::create_dir(&path)?;
    assert!(Page::create(&path, store).is_err(), "a directory is not replaced");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_page_is_private_and_no_link_is_followed() -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    scratch.create();
    assert_eq!(scratch.path().metadata()?.permissions().mode() & 0o777, 0o600);

    let elsewhere = scratch.dir.path().join("elsewhere");
    std::fs::rename(scratch.path(), &elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, scratch.path())?;
    let refusal = Page::open(&scratch.path(), scratch.store).expect_err("is a link").to_string();
    assert!(refusal.contains("symbolic link"), "{refusal}");
    scratch.create().raise(at(1, 1));
    let page = Page::open(&elsewhere, scratch.store).expect("is a page");
    assert_eq!(page.published(), None, "the link was replaced, not followed");
    Ok(())
}
