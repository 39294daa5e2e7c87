//! What a writer does.

use cohab::{Batch, DropMode, Error, Name, Precondition, Result, Retention, Role, Store, Update, Version};

use super::{COPY, MAIN, Scenario, crashed, nothing, some, some_in};
use crate::faults::ledger::State;
use crate::faults::session::{Session, options};

pub(super) const CREATE: Scenario = Scenario::new("create", nothing, |session| {
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "first write", "a", &[("k", b"v")])
});

pub(super) const OPEN: Scenario = Scenario::new("open", some, |session| {
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
    drop(store);
    session.at("close");
    session.close(MAIN, Role::Writer);
    let _ = session.writer(MAIN)?;
    Ok(())
});

pub(super) const WRITE: Scenario = Scenario::new("write", some, |session| {
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "small write", "a", &[("k", b"v")])?;
    let large = vec![7; 300_000];
    let grow = |state: &mut State| (0..4).for_each(|i| state.put("b", &format!("large {i}"), &large));
    session.commits(MAIN, "large write", grow, || {
        let done = store.write(|tx| (0..4).try_for_each(|i| tx.put("b", format!("large {i}"), &large)))?;
        Ok(done.version)
    })?;
    session.commits(
        MAIN,
        "delete",
        |state| state.delete("b", "large 1"),
        || Ok(store.write(|tx| tx.delete("b", "large 1"))?.version),
    )?;
    session.at("snapshot");
    let snapshot = store.snapshot()?;
    session.sees(MAIN, &snapshot).map(drop)
});

pub(super) const BATCH: Scenario = Scenario::new("batch", some, |session| {
    let store = session.writer(MAIN)?;
    let (a, fresh): (Name, Name) = ("a".parse()?, "fresh".parse()?);
    session.commits(
        MAIN,
        "batch",
        |state| state.put("a", "k", b"1"),
        || store.submit(Batch::new().label("first").put(&a, "k", "1")),
    )?;
    let effect = |state: &mut State| {
        state.put("a", "k", b"2");
        state.ensure("fresh");
        state.put("fresh", "k", b"v");
        state.delete("a", "key 000");
    };
    session.commits(MAIN, "batch with preconditions", effect, || {
        let batch = Batch::new().expect(Precondition::value(&a, "k", "1")).put(&a, "k", "2");
        store.submit(batch.put_creating(&fresh, "k", "v").delete(&a, "key 000"))
    })
});

pub(super) const NAMESPACES: Scenario = Scenario::new("namespaces", some, |session| {
    let store = session.writer(MAIN)?;
    let mut change = |step, effect: fn(&mut State), change: fn(&Store) -> Result<Version>| {
        session.commits(MAIN, step, effect, || change(&store))
    };
    change(
        "create namespace",
        |state| state.ensure("new"),
        |store| Ok(store.write(|tx| tx.create_namespace("new"))?.version),
    )?;
    change(
        "describe",
        |_| (),
        |store| {
            Ok(store.write(|tx| tx.update_namespace("a", &Update::new().title("A").label("x", "y")))?.version)
        },
    )?;
    let renamed = |state: &mut State| {
        let entries = state.content.remove("b").expect("is there");
        state.content.insert("c".into(), entries);
    };
    change("rename", renamed, |store| Ok(store.write(|tx| tx.rename_namespace("b", "c"))?.version))?;
    let copied = |state: &mut State| {
        let entries = state.content["a"].clone();
        state.content.insert("d".into(), entries);
    };
    change("copy", copied, |store| Ok(store.write(|tx| tx.copy_namespace("a", "d"))?.version))?;
    change(
        "drop",
        |state| drop(state.content.remove("c")),
        |store| Ok(store.write(|tx| tx.drop_namespace("c", DropMode::WithContents))?.version),
    )?;
    let back = |state: &mut State| {
        let entries = (0..40u8).map(|i| (format!("key {i:03}").into_bytes(), vec![i; 300])).collect();
        state.content.insert("c".into(), entries);
    };
    change("undrop", back, |store| Ok(store.write(|tx| tx.undrop_namespace("c"))?.version))?;
    change(
        "drop again",
        |state| drop(state.content.remove("c")),
        |store| Ok(store.write(|tx| tx.drop_namespace("c", DropMode::WithContents))?.version),
    )?;
    change("purge", |_| (), |store| Ok(store.write(|tx| tx.purge_namespace("c"))?.version))?;
    session.changes(MAIN, "reclaim", || store.maintain()).map(drop)
});

pub(super) const LOCKS: Scenario = Scenario::new("locks", some, |session| {
    let store = session.writer(MAIN)?;
    let (held, fence) = session.locks(MAIN, &store, "job")?;
    session.commits(
        MAIN,
        "fenced write",
        |state| state.put("a", "job", b"done"),
        || {
            let done = store.write(|tx| {
                tx.fence(&fence)?;
                tx.put("a", "job", "done")
            })?;
            Ok(done.version)
        },
    )?;
    drop(held);
    let (held, _) = session.locks(MAIN, &store, "job")?;
    session.at("lock many");
    let both = store.lock_many(
        &[("left", cohab::LockMode::Exclusive), ("right", cohab::LockMode::Shared)],
        cohab::Wait::Try,
    )?;
    for lock in &both {
        session.note_token(MAIN, lock.name(), lock.token());
    }
    session.at("list locks");
    let held_now = store.locks()?.iter().filter(|lock| lock.held.is_some()).count();
    if held_now != 3 {
        session.find(format!("{held_now} locks are said to be held instead of 3"));
    }
    drop((held, both));
    let reader = session.reader(MAIN)?;
    session.locks(MAIN, &reader, "job").map(drop)
});

pub(super) const HISTORY: Scenario = Scenario::new("history", some, |session| {
    let store = session.writer(MAIN)?;
    let before = session.state(MAIN);
    let version =
        session.changes(MAIN, "name a snapshot", || store.create_snapshot("before", None, "a note"))?;
    session.puts(MAIN, &store, "write", "a", &[("key 001", b"other"), ("new", b"v")])?;
    let (after, content) = (session.state(MAIN), before.content.clone());
    session.commits(
        MAIN,
        "roll a namespace back",
        |state| state.content = content,
        || Ok(store.write(|tx| tx.rollback_namespace("a", version))?.version),
    )?;
    session.commits(MAIN, "undo", |state| state.content = after.content, || undo(&store))?;
    session.commits(
        MAIN,
        "roll everything back",
        |state| state.content = before.content,
        || Ok(store.write(|tx| tx.rollback(version))?.version),
    )?;
    session.changes(MAIN, "drop the snapshot", || store.drop_snapshot("before")).map(drop)
});

pub(super) const MAINTAIN: Scenario = Scenario::new("maintain", some, |session| {
    let store =
        session.writer_with(MAIN, options(Role::Writer).retention(Retention::default().versions(2)))?;
    for _ in 0..3 {
        session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
        session.puts(MAIN, &store, "write", "a", &[("k", b"w")])?;
    }
    while session.changes(MAIN, "maintain", || store.maintain())?.more {}
    session.puts(MAIN, &store, "write after it", "a", &[("k", b"x")])
});

pub(super) const COMPACT: Scenario = Scenario::new(
    "compact",
    |place| {
        let store = some_in(&place.join(MAIN))?;
        store.write(|tx| (0..8).try_for_each(|i| tx.put("b", format!("large {i}"), vec![i; 400_000])))?;
        store.write(|tx| (0..8).try_for_each(|i| tx.delete("b", format!("large {i}")).map(drop)))?;
        Ok(())
    },
    |session| {
        let store = session.writer(MAIN)?;
        session.changes(MAIN, "check", || store.check())?;
        session.changes(MAIN, "compact", || store.compact())?;
        session.puts(MAIN, &store, "write after it", "a", &[("k", b"v")])
    },
);

/// Where a copy of the store is kept as one file.
const FILE: &str = "backup";

/// Checks that a backup is there as a whole or not at all.
fn check_backup(session: &mut Session) -> Result<()> {
    let file = session.path(FILE);
    if !file.exists() {
        return Ok(());
    }
    session.at("reading the backup");
    let snapshot = options(Role::Reader).open(&file)?.snapshot()?;
    session.verifies("the backup", &snapshot)?;
    let found = State::of(&snapshot)?;
    if !session.ledger(MAIN).history.contains(&found) {
        session.find(format!("the backup holds {}, which the store never did", found.brief()));
    }
    Ok(())
}

pub(super) const BACKUP: Scenario = Scenario {
    check: |session| {
        if session.done.contains("backup") && !session.path(FILE).exists() {
            session.find("the backup that was acknowledged is not there");
        }
        check_backup(session)
    },
    ..Scenario::new("backup", some, |session| {
        let store = session.writer(MAIN)?;
        session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
        let file = session.path(FILE);
        session.changes(MAIN, "backup", || store.backup(&file, |_| ()))?;
        session.done.insert("backup");
        session.puts(MAIN, &store, "write after it", "a", &[("k", b"w")])
    })
};

pub(super) const RESTORE: Scenario = Scenario {
    stores: &[COPY],
    copies: &[COPY],
    ..Scenario::new(
        "restore",
        |place| {
            let store = some_in(&place.join("source"))?;
            store.backup(place.join(FILE), |_| ())?;
            drop(store);
            std::fs::remove_dir_all(place.join("source")).map_err(Error::abort)
        },
        |session| {
            let (file, path) = (session.path(FILE), session.path(COPY));
            session.at("restore");
            let held = options(Role::Reader).register(false).open(&file)?.snapshot()?;
            let expected = State::of(&held)?;
            drop(held);
            session.ledger(COPY).maybe = Some(expected);
            let store = Store::restore(&file, &path, |_| ())?;
            let ledger = session.ledger(COPY);
            ledger.certain = ledger.maybe.take();
            session.opened(COPY, &store);
            session.puts(COPY, &store, "write", "a", &[("k", b"v")])
        },
    )
};

pub(super) const REOPEN: Scenario = Scenario::new("reopen", some, |session| {
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
    session.at("reopen");
    if let Err(error) = store.reopen() {
        if !store.is_poisoned() {
            session.find("the handle could not be opened anew, and takes writes");
        }
        return Err(error);
    }
    session.puts(MAIN, &store, "write after it", "a", &[("k", b"w")])?;
    session.at("snapshot");
    let snapshot = store.snapshot()?;
    session.sees(MAIN, &snapshot).map(drop)
});

pub(super) const RECOVER: Scenario = Scenario::new("recover-writing", crashed, |session| {
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"v")])
});

/// Undoes the last thing that destroyed something.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime")]
fn undo(store: &Store) -> cohab::Result<cohab::Version> {
    Ok(store.write(|tx| tx.undo())?.version)
}
