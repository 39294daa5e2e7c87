//! Replicas whose process is killed while it applies deltas: each is there whole, or not at all.
//!
//! `COHAB_DELTA_KILLS` says how many are killed at random.

use std::path::Path;
use std::time::Duration;

use cohab::{DeltaKind, Kind, Options, Result, Retention, Store, Version};

use crate::actor::Actor;
use crate::chronicle::runs;
use crate::{Random, Scratch, key, v};

fn options() -> Options {
    Store::options().retention(Retention::UNBOUNDED).register(false)
}

/// A source, each of whose versions says in every key which one it is.
struct Source {
    scratch: Scratch,
    store: Store,
}

impl Source {
    fn new() -> Result<Self> {
        let scratch = Scratch::new();
        let store = options().open(scratch.path())?;
        store.write(|tx| {
            tx.create_namespace("n")?;
            (0..40).try_for_each(|i| tx.put("n", key(i), "1"))
        })?;
        Ok(Self { scratch, store })
    }

    fn commit(&self) -> Result<Version> {
        let done = self.store.write(|tx| {
            let version = tx.version();
            (0..40).try_for_each(|i| tx.put("n", key(i), version.to_string()))?;
            tx.create_namespace(format!("n{version}")).map(drop)
        });
        Ok(done?.version)
    }

    /// Writes the delta from one version to a later one into a file.
    fn delta(&self, from: Version, to: Version, kind: DeltaKind, file: &Path) -> Result<()> {
        let delta = self.store.snapshot()?.at(to)?.delta(from, kind)?;
        let unfinished = self.scratch.file("unfinished");
        std::fs::write(&unfinished, delta.as_bytes()).expect("can be written");
        std::fs::rename(unfinished, file).expect("can be renamed");
        Ok(())
    }
}

/// Checks that a replica holds one version of its source, and returns that and its own.
fn check(store: &Store) -> Result<(Version, Version)> {
    let snapshot = store.snapshot()?;
    let Some(upstream) = snapshot.upstream() else {
        assert_eq!((snapshot.version(), snapshot.namespaces()?.count()), (v(0), 0));
        return Ok((v(0), v(0)));
    };
    assert_eq!(upstream.local, snapshot.version());
    let at = upstream.version;
    for entry in snapshot.namespace("n")?.all()? {
        assert_eq!(entry?.value(), at.to_string().as_bytes(), "between two versions");
    }
    assert_eq!(snapshot.namespace("n")?.count(), 40);
    assert_eq!(snapshot.namespaces()?.count() as u64, at.get());
    assert!(snapshot.verify(|_| ())?.is_sound());
    // No version was applied twice, and none was left out.
    let mut end = String::from("0");
    for record in snapshot.log(..) {
        let record = record?;
        if let Some((from, to)) =
            record.label().strip_prefix("versions ").and_then(|it| it.split_once(" to "))
        {
            assert_eq!(from, end);
            to.split(' ').next().expect("there is one").clone_into(&mut end);
        } else {
            end = (end.parse::<u64>().expect("a number") + 1).to_string();
        }
    }
    assert_eq!(end, at.to_string());
    Ok((at, snapshot.version()))
}

/// Kills an applier at the n-th operation of a kind, for every n there is. Returns how often.
fn killed_at_every(operation: &str, kind: DeltaKind) -> Result<u64> {
    let (source, scratch) = (Source::new()?, Scratch::new());
    let file = scratch.file("delta");
    let mut at = v(1);
    source.delta(v(0), at, DeltaKind::Coalesced, &file)?;
    let first = cohab::Delta::from_bytes(std::fs::read(&file).expect("is there"))?;
    options().open(scratch.path())?.apply(&first)?;
    for n in 1.. {
        let before = check(&options().open(scratch.path())?)?;
        assert_eq!(before.0, at);
        source.commit()?;
        let to = source.commit()?;
        source.delta(at, to, kind, &file)?;
        let mut applier = Actor::open(&scratch.path(), "writer gate");
        applier.does(&format!("arm hold {operation} {n}"));
        applier.does(&format!("apply-aside {}", file.display()));
        let event = applier.hears("");
        if event != "still" {
            assert_eq!(event, format!("applied {to}"));
            // Closing the store might come to where it is to hold still.
            applier.kill();
            assert_eq!(check(&options().open(scratch.path())?)?.0, to);
            return Ok(n - 1);
        }
        applier.kill();
        let store = options().open(scratch.path())?;
        let found = check(&store)?;
        let delta = cohab::Delta::from_bytes(std::fs::read(&file).expect("is there"))?;
        match store.apply(&delta) {
            Ok(done) => assert_eq!((found, done.upstream.version), (before, to), "{operation} {n}"),
            Err(error) => assert_eq!((error.kind(), found.0), (Kind::AlreadyApplied, to), "{operation} {n}"),
        }
        check(&store)?;
        at = to;
    }
    unreachable!("some delta is applied")
}

#[test]
fn an_applier_killed_before_any_write_leaves_a_replica_before_or_after() -> Result<()> {
    let points = killed_at_every("write", DeltaKind::Coalesced)?;
    assert!(points >= 5, "only {points} writes");
    Ok(())
}

#[test]
fn an_applier_killed_around_any_sync_leaves_a_replica_before_or_after() -> Result<()> {
    for operation in ["sync", "synced"] {
        let points = killed_at_every(operation, DeltaKind::Complete)?;
        assert!(points >= 2, "only {points} syncs");
    }
    Ok(())
}

#[test]
fn appliers_killed_at_any_time_apply_every_version_once() -> Result<()> {
    let (source, scratch) = (Source::new()?, Scratch::new());
    let deltas = scratch.file("deltas");
    std::fs::create_dir(&deltas).expect("can be made");
    let mut random = Random(11);
    let mut last = v(0);
    let mut acknowledged = 0;
    let kills = runs("COHAB_DELTA_KILLS", 12);
    for _ in 0..kills {
        // What the next applier has to do.
        for _ in 0..6 {
            let mut to = source.store.snapshot()?.version();
            for _ in 0..=random.below(2) {
                to = source.commit()?;
            }
            let kind = if random.below(2) == 0 { DeltaKind::Complete } else { DeltaKind::Coalesced };
            source.delta(last, to, kind, &deltas.join(last.to_string()))?;
            last = to;
        }
        let mut applier = Actor::open(&scratch.path(), "writer retain=100000");
        applier.does(&format!("keep-applying {}", deltas.display()));
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        for event in applier.kill() {
            let version = event.strip_prefix("applied ").unwrap_or_else(|| panic!("{event}"));
            let version = version.parse().expect("a number");
            assert!(version > acknowledged, "{version} after {acknowledged}");
            acknowledged = version;
        }
        let (at, _) = check(&options().open(scratch.path())?)?;
        assert!(at.get() >= acknowledged, "{at} is there, {acknowledged} was acknowledged");
        acknowledged = at.get();
    }
    let mut applier = Actor::open(&scratch.path(), "writer");
    applier.does(&format!("keep-applying {}", deltas.display()));
    while acknowledged < last.get() {
        acknowledged = applier.hears("applied ").parse().expect("a number");
    }
    applier.does("rest");
    applier.end();
    assert_eq!(check(&options().open(scratch.path())?)?.0, last);
    Ok(())
}
