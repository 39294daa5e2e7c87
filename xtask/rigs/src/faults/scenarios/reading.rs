//! What a reader does.

use std::time::Duration;

use cohab::{CatchUp, Filter, Result, Role, VerifyOptions, Version};

use super::{MAIN, Scenario, crashed, some, some_in};
use crate::faults::ledger::State;
use crate::faults::session::{Session, options};

pub(super) const READ: Scenario = Scenario::new("read", some, |session| {
    let reader = session.reader(MAIN)?;
    session.at("snapshot");
    let snapshot = reader.snapshot()?;
    let state = session.sees(MAIN, &snapshot)?;
    session.at("get");
    let a = snapshot.namespace("a")?;
    for (key, value) in &state.content["a"] {
        let found = a.get(key)?.map(|value| value.to_vec());
        if found.as_ref() != Some(value) {
            session.find("a key is not what it is in a range");
        }
    }
    session.at("range");
    let count = a.range("key 010".."key 020")?.count() + a.prefix("key 03")?.count();
    if count != 20 {
        session.find(format!("two ranges of 20 keys hold {count}"));
    }
    session.at("past");
    let before = snapshot.at(Version::new(2))?;
    if before.namespace("a")?.all()?.count() != 60 || before.namespace("b")?.all()?.count() != 0 {
        session.find("the past is another one");
    }
    let diff = snapshot.diff(Version::new(1), snapshot.version())?;
    if diff.is_empty() {
        session.find("a difference is empty");
    }
    session.at("history");
    if snapshot.namespace("a")?.history("key 001")?.count() != 1 {
        session.find("a key has another history");
    }
    session.at("verify");
    session.verifies(MAIN, &snapshot)?;
    let mut verifier = reader.verifier(VerifyOptions::default())?;
    let report = loop {
        if let Some(report) = verifier.step()? {
            break report;
        }
    };
    if !report.is_sound() {
        session.find(format!("a verifier finds {:?}", report.differences));
    }
    session.at("instances and locks");
    let _ = (reader.writer(), reader.locks()?, snapshot.named_snapshots()?, reader.file_bytes()?);
    session.at("refresh");
    let _ = reader.refresh()?;
    Ok(())
});

pub(super) const CACHED: Scenario = Scenario::new("cached", some, |session| {
    let store = session.writer(MAIN)?;
    let reader = session.reader_with(MAIN, options(Role::Reader).catch_up(CatchUp::Background))?;
    session.at("cached reads");
    let cached = reader.cached("a")?;
    read_cached(session, &cached)?;
    session.puts(MAIN, &store, "write", "a", &[("key 001", b"other")])?;
    session.at("cached reads after a write");
    // Where there is no page, what was written may be seen a moment later.
    let _ = session.fresh(MAIN, &reader)?;
    read_cached(session, &cached)?;
    session.at("prefetch");
    reader.cached("b")?.prefetch("")?.wait()?;
    session.at("materialize");
    let counted = store.materialize(["a", "b"], 0_i64, |count, change| {
        *count += i64::from(change.after.is_some()) - i64::from(change.before.is_some());
        Ok(())
    })?;
    if *counted.latest()? != 100 {
        session.find("a view counts something else than there is");
    }
    session.puts(MAIN, &store, "write again", "a", &[("more", b"v")])?;
    session.at("view after a write");
    let _ = session.fresh(MAIN, &store)?;
    counted.refresh()?;
    if *counted.load() != 101 {
        session.find("a view has not followed");
    }
    Ok(())
});

fn read_cached(session: &mut Session, cached: &cohab::Cached) -> Result<()> {
    let state = session.state(MAIN);
    // Twice: the second time they come from memory.
    for _ in 0..2 {
        for (key, value) in state.content["a"].iter().take(8) {
            if cached.get(key)?.as_deref() != Some(&value[..]) {
                session.find("a cached read returns something else");
            }
        }
    }
    Ok(())
}

pub(super) const FOLLOWED: Scenario = Scenario::new("beside", some, |session| {
    let store = session.writer(MAIN)?;
    let reader = session.reader(MAIN)?;
    session.at("watch");
    let seen = reader.snapshot()?.version();
    let mut watch = reader.watch(Filter::new().namespace("a").from(seen.next()))?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"1")])?;
    session.at("wait for the write");
    match reader.wait_past(seen, Duration::from_secs(5))? {
        Some(snapshot) => drop(session.sees(MAIN, &snapshot)?),
        None => session.find("the write is not seen within five seconds"),
    }
    session.at("next of the watch");
    match watch.next_within(Duration::from_secs(5)).transpose()? {
        Some(event) if event.version() == seen.next() => {
            if event.changes()?.len() != 1 {
                session.find("an event has other changes");
            }
        }
        other => session.find(format!("the watch shows {:?}", other.map(|event| event.version()))),
    }
    session.puts(MAIN, &store, "write again", "a", &[("k", b"2")])?;
    session.at("snapshot with a token");
    let token = store.token(seen.next().next());
    let wait = Duration::from_secs(5);
    let snapshot = reader.snapshot_at(cohab::Freshness::AtLeast { token, wait })?;
    session.sees(MAIN, &snapshot).map(drop)
});

pub(super) const RECOVER: Scenario = Scenario::new("recover-reading", crashed, |session| {
    let reader = session.reader(MAIN)?;
    session.at("snapshot");
    let snapshot = reader.snapshot()?;
    session.sees(MAIN, &snapshot)?;
    session.verifies(MAIN, &snapshot)
});

pub(super) const BACKUP: Scenario = Scenario {
    stores: &[],
    ..Scenario::new(
        "read-backup",
        |place| some_in(&place.join(MAIN))?.backup(place.join("backup"), |_| ()).map(drop),
        |session| {
            session.at("open the backup");
            let reader = options(Role::Reader).open(session.path("backup"))?;
            session.at("snapshot of the backup");
            let snapshot = reader.snapshot()?;
            let state = State::of(&snapshot)?;
            if state.content["a"].len() != 60 || state.content["b"].len() != 40 {
                session.find("the backup holds something else");
            }
            session.verifies("the backup", &snapshot)
        },
    )
};
