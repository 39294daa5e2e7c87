//! Stores that follow another one.

use std::path::Path;

use cohab::{Delta, DeltaKind, Follower, Result, Retention, Role, Version};

use super::{COPY, MAIN, Scenario, some, some_in};
use crate::faults::session::{Session, options};

/// What all of them have in common.
const fn replica(
    name: &'static str,
    prepare: fn(&Path) -> Result<()>,
    run: fn(&mut Session) -> Result<()>,
) -> Scenario {
    let scenario = Scenario::new(name, prepare, run);
    Scenario { stores: &[MAIN, COPY], replicas: &[COPY], copies: &[COPY], check, ..scenario }
}

fn open(session: &mut Session) -> Result<Follower> {
    session.at("open the follower");
    let (source, replica) = (session.path(MAIN), session.path(COPY));
    let follower =
        Follower::open_with(source, options(Role::Reader), replica, options(Role::Writer), |_| ())?;
    session.handles.push((MAIN, follower.source().clone()));
    session.handles.push((COPY, follower.replica().clone()));
    session.note_epoch(COPY, follower.replica());
    Ok(follower)
}

pub(super) const ATTACH: Scenario = replica("follow-from-nothing", some, |session| {
    let mut follower = open(session)?;
    session.at("catch up");
    follower.catch_up()?;
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
    session.at("catch up after a write");
    follower.catch_up().map(drop)
});

/// A source, and a replica that is two versions behind.
fn behind(place: &Path) -> Result<()> {
    let store = some_in(&place.join(MAIN))?;
    follow(place)?;
    store.write(|tx| (0..20).try_for_each(|i| tx.put("a", format!("key {:03}", i * 3), "new")))?;
    store.write(|tx| tx.create_namespace("c"))?;
    Ok(())
}

fn follow(place: &Path) -> Result<()> {
    let (source, replica) = (place.join(MAIN), place.join(COPY));
    let mut follower =
        Follower::open_with(source, options(Role::Reader), replica, options(Role::Writer), |_| ())?;
    follower.catch_up().map(drop)
}

pub(super) const FOLLOW: Scenario = replica("follow", behind, |session| {
    let mut follower = open(session)?;
    session.at("catch up");
    follower.catch_up()?;
    session.at("catch up again");
    follower.catch_up()?;
    let _ = follower.source().followers();
    Ok(())
});

/// A replica that the source's log does not reach back to.
fn trimmed(place: &Path) -> Result<()> {
    behind(place)?;
    let retention = Retention::default().versions(1).pinned_bytes(0);
    std::fs::remove_dir_all(place.join(MAIN).join("followers")).map_err(cohab::Error::abort)?;
    let store = options(Role::Writer).retention(retention).open(place.join(MAIN))?;
    (0..4).try_for_each(|i| store.write(|tx| tx.put("a", "k", [i])).map(drop))?;
    while store.maintain()?.more {}
    Ok(())
}

pub(super) const TRIMMED: Scenario = replica("follow-trimmed", trimmed, |session| {
    let mut follower = open(session)?;
    session.at("catch up");
    match follower.catch_up()? {
        cohab::Followed::Whole { .. } => Ok(()),
        other => {
            session.find(format!("the log should not reach back, and the outcome is {other:?}"));
            Ok(())
        }
    }
});

pub(super) const DELTA: Scenario = replica("delta", behind, |session| {
    let source = session.reader(MAIN)?;
    session.at("open the replica");
    let replica = options(Role::Writer).open(session.path(COPY))?;
    session.handles.push((COPY, replica.clone()));
    session.note_epoch(COPY, &replica);
    session.at("make a delta");
    let from = replica.snapshot()?.upstream().map_or(Version::ZERO, |upstream| upstream.version);
    let snapshot = source.snapshot()?;
    let delta = snapshot.delta(from, DeltaKind::Coalesced)?;
    session.at("apply a delta");
    let applied = replica.apply(&Delta::from_bytes(delta.as_bytes().clone())?)?;
    if applied.upstream.version != snapshot.version() {
        session.find("the replica is said to be at another version than the delta leads to");
    }
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "a", &[("k", b"v")])?;
    session.at("apply a whole store");
    let whole = session.fresh(MAIN, &source)?.delta(Version::ZERO, DeltaKind::Coalesced)?;
    replica.reset(&whole).map(drop)
});

/// Checks that the replica is what the source was at the version that it states, and that it can follow on.
fn check(session: &mut Session) -> Result<()> {
    session.at("comparing the replica");
    let source = options(Role::Reader).open(session.path(MAIN))?;
    if session.path(COPY).join("store.json").exists() {
        compare(session, &source)?;
    }
    session.at("following on");
    follow(&session.path(""))?;
    compare(session, &source)
}

fn compare(session: &mut Session, source: &cohab::Store) -> Result<()> {
    let replica = options(Role::Reader).open(session.path(COPY))?;
    let (there, here) = (source.snapshot()?, replica.snapshot()?);
    session.verifies(COPY, &here)?;
    let Some(upstream) = here.upstream().copied() else {
        session.find("the replica follows nobody");
        return Ok(());
    };
    // What was trimmed meanwhile cannot be compared.
    if upstream.version < there.oldest_readable() {
        return Ok(());
    }
    let then = there.at(upstream.version)?;
    let of = |snapshot: &cohab::Snapshot| -> Result<Vec<_>> {
        snapshot.namespaces()?.map(|info| info.map(|info| (info.name, info.digest))).collect()
    };
    if of(&then)? != of(&here)? {
        session.find(format!("the replica is not what its source was at version {}", upstream.version));
    }
    Ok(())
}
