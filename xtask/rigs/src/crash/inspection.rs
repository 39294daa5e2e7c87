//! Opening what a power cut has left, and holding it against what was promised.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use cohab::{Follower, LockMode, Role, Snapshot, Store, Version, Wait};

use crate::random::Random;

use super::past::{check_kept, check_rewritten, check_watch};
use super::promise::{Promises, Which};
use super::session::{REPLICA, STORE};
use super::state::{States, state};

/// What was looked at, for the report.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    /// Images whose store was at a version that nobody had been told of.
    pub(super) unacknowledged: u64,
    pub(super) opened_by_reader: u64,
    pub(super) versions_read: u64,
    pub(super) replicas: u64,
    pub(super) tokens: u64,
    pub(super) backups: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.unacknowledged += other.unacknowledged;
        self.opened_by_reader += other.opened_by_reader;
        self.versions_read += other.versions_read;
        self.replicas += other.replicas;
        self.tokens += other.tokens;
        self.backups += other.backups;
    }
}

/// What is known of the session that an image is of.
pub(super) struct Inspection<'s> {
    pub(super) root: &'s Path,
    pub(super) promises: &'s Promises,
    /// The last versions that may be there.
    pub(super) ceiling: &'s HashMap<Which, u64>,
    pub(super) states: &'s States,
    /// Whether the power cut may have done something to the replica.
    pub(super) is_replica_hit: bool,
}

impl Inspection<'_> {
    /// Opens everything and compares it with what it has to be.
    pub(super) fn run(&self, random: &mut Random) -> Result<Seen> {
        let mut seen = Seen::default();
        if self.promised(STORE) && random.one_in(6) {
            self.read_first(STORE, random, &mut seen)?;
        }
        let found = self.write(STORE, random, &mut seen)?;
        let has_replica = self.promised(REPLICA) || self.path(REPLICA).exists();
        if has_replica && (self.is_replica_hit || random.one_in(8)) {
            self.replica(found, random, &mut seen)?;
        }
        for (name, &version) in &self.promises.backups {
            if random.one_in(8) {
                self.backup(name, version, &mut seen)?;
            }
        }
        Ok(seen)
    }

    fn path(&self, which: Which) -> PathBuf {
        self.root.join(which)
    }

    /// Whether somebody was told that the store is there.
    fn promised(&self, which: Which) -> bool {
        self.promises.versions.contains_key(which)
    }

    /// Holds what a store shows against what it may show, and returns the version.
    fn compare(&self, which: Which, snapshot: &Snapshot, seen: &mut Seen) -> Result<u64> {
        let version = snapshot.version().get();
        let promised = self.promises.versions.get(which).copied().unwrap_or(0);
        let ceiling = self.ceiling.get(which).copied().unwrap_or(promised).max(promised);
        ensure!(version >= promised, "{which}: version {promised} was acknowledged, and it is at {version}");
        ensure!(
            version <= ceiling,
            "{which}: it is at version {version}, and {ceiling} is the last there was"
        );
        let held = state(snapshot).with_context(|| format!("{which}: reading version {version}"))?;
        if let Some(expected) = self.states.get(&(which, version)) {
            ensure!(held == *expected, "{which}: version {version} holds something else than it did");
        } else {
            ensure!(which != STORE || version == 0, "{which}: nobody has made version {version}");
        }
        if version > promised {
            seen.unacknowledged += 1;
        }
        seen.versions_read += 1;
        let report = snapshot.verify(|_| ()).with_context(|| format!("{which}: verifying"))?;
        ensure!(report.is_sound(), "{which}: version {version} is not sound: {:?}", report.differences);
        Ok(version)
    }

    /// Opens a store as a reader does that comes before any writer.
    fn read_first(&self, which: Which, random: &mut Random, seen: &mut Seen) -> Result<()> {
        let options = Store::options().role(Role::Reader).register(random.one_in(4));
        let reader =
            options.open(self.path(which)).with_context(|| format!("{which}: opening it as a reader"))?;
        self.compare(which, &reader.snapshot()?, seen)?;
        seen.opened_by_reader += 1;
        Ok(())
    }

    /// Opens the store as its writer, looks at what it holds, writes to it, and returns the version that was there.
    fn write(&self, which: Which, random: &mut Random, seen: &mut Seen) -> Result<u64> {
        let options = Store::options().role(Role::Writer).register(random.one_in(8));
        let store = options
            .clone()
            .open(self.path(which))
            .with_context(|| format!("{which}: opening it as the writer"))?;
        let epoch = store.epoch().context("a writer has an epoch")?.get();
        let before = self.promises.epochs.get(which).copied().unwrap_or(0);
        ensure!(epoch > before, "{which}: epoch {epoch} was given out again, after {before}");
        let snapshot = store.snapshot()?;
        let version = self.compare(which, &snapshot, seen)?;
        if random.one_in(4) {
            self.compare_past(which, &snapshot, random, seen)?;
            check_kept(&snapshot).with_context(|| format!("{which}: what is kept"))?;
            check_watch(&store).with_context(|| format!("{which}: watching"))?;
        }
        drop(snapshot);
        if random.one_in(2) {
            for (&(_, lock), &token) in self.promises.tokens.iter().filter(|((of, _), _)| *of == which) {
                let next = store
                    .lock(lock, LockMode::Exclusive, Wait::Try)
                    .with_context(|| format!("lock {lock}"))?;
                ensure!(next.token() > token, "{which}: lock {lock}: token {} after {token}", next.token());
                seen.tokens += 1;
            }
        }
        let written = store.write(|tx| {
            tx.ensure_namespace("after")?;
            tx.put("after", "key", "value")
        })?;
        ensure!(
            written.version.get() == version + 1,
            "{which}: after version {version} comes version {}",
            written.version
        );
        if random.one_in(8) {
            drop(store);
            let store = options.open(self.path(which))?;
            let value = store.snapshot()?.get("after", "key")?.map(|value| value.to_vec());
            ensure!(value.as_deref() == Some(b"value"), "{which}: what was written afterwards is {value:?}");
            ensure!(
                store.epoch().is_some_and(|again| again.get() > epoch),
                "{which}: the epoch does not grow"
            );
            store.check().with_context(|| format!("{which}: checking the pages"))?;
        }
        Ok(version)
    }

    /// Reads a version of not long ago.
    fn compare_past(
        &self,
        which: Which,
        snapshot: &Snapshot,
        random: &mut Random,
        seen: &mut Seen,
    ) -> Result<()> {
        let (oldest, last) = (snapshot.oldest_readable().get(), snapshot.version().get());
        let version = oldest.max(last.saturating_sub(random.below(12)));
        let Some(expected) = self.states.get(&(which, version)) else { return Ok(()) };
        let held = state(&snapshot.at(Version::new(version))?);
        let held = match held {
            // What a purged namespace held is gone, and said to be.
            Err(error) if error.kind() == cohab::Kind::NoHistory => return Ok(()),
            held => held.with_context(|| format!("{which}: reading version {version} of the past"))?,
        };
        seen.versions_read += 1;
        ensure!(
            held.shared == expected.shared,
            "{which}: version {version} of the past holds something else than it did"
        );
        Ok(())
    }

    /// Opens the replica, holds it against the source, and has it follow on.
    fn replica(&self, source: u64, random: &mut Random, seen: &mut Seen) -> Result<()> {
        let which = REPLICA;
        let options = Store::options().role(Role::Writer).register(false);
        {
            let replica =
                options.clone().open(self.path(which)).with_context(|| format!("{which}: opening it"))?;
            let epoch = replica.epoch().context("a writer has an epoch")?.get();
            let before = self.promises.epochs.get(which).copied().unwrap_or(0);
            ensure!(epoch > before, "{which}: epoch {epoch} was given out again, after {before}");
            let snapshot = replica.snapshot()?;
            let position =
                snapshot.upstream().map_or(snapshot.version().get(), |upstream| upstream.version.get());
            let promised = self.promises.positions.get(which).copied().unwrap_or(0);
            ensure!(
                position >= promised,
                "{which}: it held version {promised} of its source, and holds {position}"
            );
            ensure!(
                position <= source,
                "{which}: it holds version {position} of a source that is at {source}"
            );
            let held = state(&snapshot).with_context(|| format!("{which}: reading it"))?;
            if let Some(expected) = self.states.get(&(STORE, position)) {
                ensure!(
                    position == 0 || held.shared == expected.shared,
                    "{which}: it does not hold what its source did at version {position}"
                );
            }
            let report = snapshot.verify(|_| ())?;
            ensure!(report.is_sound(), "{which}: it is not sound: {:?}", report.differences);
        }
        seen.replicas += 1;
        if random.one_in(4) {
            let plain = Store::options().register(false);
            let mut follower =
                Follower::open_with(self.path(STORE), plain.clone(), self.path(which), plain, |_| ())
                    .with_context(|| format!("{which}: following again"))?;
            follower.catch_up().with_context(|| format!("{which}: catching up"))?;
            let (ours, theirs) = (follower.replica().snapshot()?, follower.source().snapshot()?);
            ensure!(
                state(&ours)?.shared == state(&theirs)?.shared,
                "{which}: it does not come to hold what its source does"
            );
            drop((ours, theirs, follower));
            if random.one_in(4) {
                check_rewritten(&self.path(STORE), &self.path(which))
                    .with_context(|| format!("{which}: another past"))?;
            }
        }
        Ok(())
    }

    fn backup(&self, name: &str, version: u64, seen: &mut Seen) -> Result<()> {
        let store =
            Store::options().role(Role::Reader).open(self.root.join(name)).context("opening a backup")?;
        let snapshot = store.snapshot()?;
        ensure!(
            snapshot.version().get() == version,
            "{name} is at version {}, not {version}",
            snapshot.version()
        );
        let expected = self.states.get(&(STORE, version)).context("backups are of known versions")?;
        if state(&snapshot)?.shared != expected.shared {
            bail!("{name} does not hold what the store did at version {version}");
        }
        seen.backups += 1;
        Ok(())
    }
}
