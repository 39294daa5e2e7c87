//! What happens when somebody moves a store's files about, or puts others in their place.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use cohab::{Kind, LockMode, Result, Role, Store, Wait};

use crate::actor::Actor;
use crate::{Scratch, ledger, v};

/// For what is done to `store.redb`, given a copy of it from before the last commits.
type Fault = (&'static str, fn(data: &Path, copy: &Path));

const FAULTS: [Fault; 4] = [
    ("renamed over", |data, copy| fs::rename(copy, data).expect("can be renamed")),
    ("removed", |data, _| fs::remove_file(data).expect("is there")),
    ("moved away and copied back", |data, _| {
        let moved = data.with_extension("moved");
        fs::rename(data, &moved).expect("can be moved");
        fs::copy(moved, data).expect("can be copied");
    }),
    ("moved away with its directory", |data, _| {
        let directory = data.parent().expect("is in one");
        fs::rename(directory, directory.with_extension("moved")).expect("can be moved");
    }),
];

/// A commit to a file that nobody will find again returned as if it had happened.
#[test]
fn a_commit_to_a_file_that_was_replaced_is_refused_for_good_and_never_lost() {
    for (what, fault) in FAULTS {
        let scratch = Scratch::with_ledger();
        let mut writer = Actor::open(&scratch.path(), "writer");
        let mut reader = Actor::open(&scratch.path(), "reader");
        let mut standby = Actor::open(&scratch.path(), "standby");
        let (data, copy) = (scratch.path().join("store.redb"), scratch.file("copy"));
        fs::copy(&data, &copy).expect("can be copied");
        let original = scratch.file("original");
        assert_eq!(writer.number("commit 3"), 4);
        assert_eq!(reader.number("look"), 4);
        fs::hard_link(&data, &original).expect("can be linked");

        fault(&data, &copy);
        for _ in 0..2 {
            let refused = writer.fails("commit", Kind::StoreReplaced);
            assert!(refused.hint.contains("open it again"), "{what}: {refused:?}");
        }
        std::thread::sleep(Duration::from_millis(1100));
        reader.fails("look", Kind::StoreReplaced);
        if scratch.path().exists() {
            // Even should it be as it was: what happened in between nobody knows.
            let _ = fs::rename(&data, scratch.file("replacement"));
            fs::rename(&original, &data).expect("can be put back");
            writer.fails("commit", Kind::StoreReplaced);
            assert_eq!(standby.does("role"), "standby");
            writer.does("close");
            standby.hears("promoted ");
            let found = standby.number("look");
            assert!((4..=7).contains(&found), "{what}: {found}");
            assert_eq!(standby.number("verify"), found);
            assert_eq!(standby.number("commit"), found + 1);
            assert_eq!(reader.number("look"), found + 1);
        }
    }
}

/// The same, between the first write of a commit and its end.
#[test]
fn a_commit_whose_file_is_replaced_half_way_is_not_acknowledged() {
    for sync in 1.. {
        let scratch = Scratch::with_ledger();
        let mut writer = Actor::open(&scratch.path(), "writer gate");
        writer.does(&format!("arm hold sync {sync}"));
        writer.does("commit-aside");
        if writer.hears("") != "still" {
            assert!(sync > 2, "a commit syncs twice");
            return;
        }
        let data = scratch.path().join("store.redb");
        fs::rename(&data, scratch.file("moved")).expect("can be moved");
        fs::copy(scratch.file("moved"), &data).expect("can be copied");
        writer.does("disarm");
        let said = writer.hears("");
        assert!(said.starts_with("broken commit StoreReplaced"), "at sync {sync}: {said}");
        writer.fails("commit", Kind::StoreReplaced);
        // What was not acknowledged is not shown either.
        if let Err(refused) = writer.ask("look").map(|seen| assert_eq!(seen, "1")) {
            assert_eq!(refused.kind, "store_replaced", "{refused:?}");
        }
        writer.fails("reopen", Kind::StoreReplaced);
        writer.kill();
        let store = scratch.store();
        let found = store.snapshot().and_then(|snapshot| ledger::check(&snapshot)).expect("is whole");
        assert!(found == v(1) || found == v(2), "at sync {sync}: {found}");
    }
}

#[test]
fn a_store_that_was_put_back_from_a_copy_is_not_taken_for_the_one_that_was_open() {
    let scratch = Scratch::with_ledger();
    let (data, copy) = (scratch.path().join("store.redb"), scratch.file("copy"));
    fs::copy(&data, &copy).expect("can be copied");
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut standby = Actor::open(&scratch.path(), "standby");
    let mut reader = Actor::open(&scratch.path(), "reader");
    assert_eq!(writer.number("commit 9"), 10);
    assert_eq!((standby.number("look"), reader.number("look")), (10, 10));
    fs::rename(&copy, &data).expect("can be renamed");
    writer.kill();
    let failed = standby.hears("take-over-failed ");
    assert!(failed.contains("StoreReplaced"), "{failed}");
    standby.kill();
    // Whoever opens it now gets what is there, and the page says nothing of what was.
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut late = Actor::open(&scratch.path(), "reader");
    assert_eq!((writer.number("look"), late.number("look")), (1, 1));
    assert_eq!(writer.number("commit"), 2);
    assert_eq!(late.number("look"), 2);
    // Who was there believes its page, which nobody writes to any more, for a second.
    std::thread::sleep(Duration::from_millis(1100));
    reader.fails("look", Kind::StoreReplaced);
}

/// Which is not to be done while anybody has the store open; who does it all the same is told.
#[test]
fn a_reader_does_not_go_back_with_a_file_that_was_overwritten_in_its_place() {
    let scratch = Scratch::with_ledger();
    let old = fs::read(scratch.path().join("store.redb")).expect("can be read");
    let mut reader = Actor::open(&scratch.path(), "reader");
    let mut writer = Actor::open(&scratch.path(), "writer");
    writer.does("commit 9");
    writer.does("close");
    assert_eq!(reader.number("look"), 10);
    fs::write(scratch.path().join("store.redb"), old).expect("can be overwritten");
    std::thread::sleep(Duration::from_millis(1100));
    reader.fails("look", Kind::StoreReplaced);
}

/// A handle that was reopened showed whatever had taken the place of its store, another store's data even.
#[test]
fn reopening_does_not_turn_one_store_into_another() {
    let (scratch, other) = (Scratch::with_ledger(), Scratch::with_ledger());
    Actor::open(&other.path(), "writer").does("commit 20");
    let older = scratch.file("older");
    fs::copy(scratch.path().join("store.redb"), &older).expect("can be copied");
    Actor::open(&scratch.path(), "writer").does("commit 5");
    drop((scratch.store(), other.store()));
    for (what, replacement) in [("another store", other.path().join("store.redb")), ("an older copy", older)]
    {
        let mine = scratch.file("mine");
        for how in ["reader", "writer"] {
            let mut actor = Actor::open(&scratch.path(), how);
            assert_eq!(actor.number("look"), 6);
            assert_eq!(actor.number("reopen"), 6);
            fs::rename(scratch.path().join("store.redb"), &mine).expect("can be moved");
            fs::copy(&replacement, scratch.path().join("store.redb")).expect("can be copied");
            actor.fails("reopen", Kind::StoreReplaced);
            let refused = actor.ask("look").expect_err(what);
            assert!(["closed", "store_replaced"].contains(&&*refused.kind), "{what}, {how}: {refused:?}");
            if how == "writer" {
                let refused = actor.ask("commit").expect_err(what);
                assert!(["closed", "store_replaced"].contains(&&*refused.kind), "{what}: {refused:?}");
            }
            actor.kill();
            fs::rename(&mine, scratch.path().join("store.redb")).expect("can be moved back");
        }
    }
}

#[test]
fn a_second_name_for_a_stores_file_does_not_lead_to_a_second_writer() {
    let scratch = Scratch::with_ledger();
    let (data, second) = (scratch.path().join("store.redb"), scratch.file("second"));
    fs::create_dir(&second).expect("can be made");
    fs::copy(scratch.path().join("store.json"), second.join("store.json")).expect("can be copied");
    fs::hard_link(&data, second.join("store.redb")).expect("can be linked");
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut other = Actor::start(&second);
    other.fails("open writer", Kind::Busy);
    assert_eq!(writer.number("commit"), 2);
    writer.kill();
    other.does("open writer");
    assert_eq!(other.number("look"), 2);
    let mut writer = Actor::start(&scratch.path());
    writer.fails("open writer", Kind::Busy);
    other.kill();

    fs::remove_file(second.join("store.redb")).expect("is there");
    symlink(&data, second.join("store.redb")).expect("can be made");
    for how in ["open writer", "open reader", "open standby"] {
        let refused = Actor::start(&second).fails(how, Kind::InvalidInput);
        assert!(refused.message.contains("symbolic link"), "{refused:?}");
    }
    writer.does("open writer");
    assert_eq!(writer.number("commit"), 3);
}

#[test]
fn links_that_somebody_has_put_among_a_stores_files_are_not_followed() -> Result<()> {
    // Whether opening the store for writing is refused, or does without, or puts its own in the link's place.
    let files = [
        ("coord.page", true),
        ("writer.lock", false),
        ("writer.epoch", false),
        ("writer.json", true),
        ("handover.lock", true),
        ("store.json", false),
        ("instances", false),
        ("locks", true),
        ("tmp", true),
    ];
    for (name, opens) in files {
        let scratch = Scratch::with_ledger();
        drop(scratch.store().lock("job", LockMode::Exclusive, Wait::Try)?);
        let (path, target) = (scratch.path().join(name), scratch.file("target"));
        let is_dir = !name.contains('.');
        if is_dir {
            fs::create_dir(&target).expect("can be made");
            fs::write(target.join("letter"), "Dear Sir or Madam").expect("can be written");
            let _ = fs::remove_dir_all(&path);
        } else {
            fs::write(&target, "Dear Sir or Madam").expect("can be written");
            let _ = fs::remove_file(&path);
        }
        symlink(&target, &path).expect("can be made");
        for role in [Role::Writer, Role::Standby, Role::Reader] {
            let opened = Store::options().role(role).open(scratch.path());
            match opened {
                Ok(store) if role != Role::Writer || opens => {
                    assert_eq!(ledger::check(&store.snapshot()?)?, v(1), "{name}");
                    let locked =
                        store.lock("job", LockMode::Exclusive, Wait::Try).map(drop).map_err(|it| it.kind());
                    assert_eq!(
                        locked,
                        if name == "locks" { Err(Kind::InvalidInput) } else { Ok(()) },
                        "{name}"
                    );
                    let temp_dir = store.temp_dir().map(drop).map_err(|it| it.kind());
                    assert_eq!(
                        temp_dir,
                        if name == "tmp" { Err(Kind::InvalidInput) } else { Ok(()) },
                        "{name}"
                    );
                }
                Ok(_) => panic!("{name}: opened as {role}"),
                Err(error) => {
                    assert!(!opens, "{name}: {error:?}");
                    assert_eq!(error.kind(), Kind::InvalidInput, "{name}: {error:?}");
                    assert!(error.to_string().contains("symbolic link"), "{error}");
                }
            }
        }
        let letter = if is_dir { target.join("letter") } else { target.clone() };
        assert_eq!(fs::read_to_string(letter).expect("is there"), "Dear Sir or Madam", "{name}");
        assert!(
            !is_dir || fs::read_dir(&target).expect("is there").count() == 1,
            "{name}: nothing was put there"
        );
    }
    Ok(())
}
