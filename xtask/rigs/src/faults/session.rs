//! What a scenario works with: handles that outlive it, and a note of everything that was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab::{Fence, Kind, Lock, LockMode, Options, Result, Retention, Role, Snapshot, Store, Version, Wait};

use super::ledger::{Ledger, State};

/// How long a reader may take to show a commit, whatever has failed before: where the writer has no page, it believes its own for half
/// a second, leaves what it sees then for a second to whoever publishes it, and looks again.
const IN_TIME: Duration = Duration::from_secs(4);

/// A run of a scenario.
pub(crate) struct Session {
    root: PathBuf,
    /// What it is at.
    pub(crate) step: &'static str,
    pub(crate) ledgers: BTreeMap<&'static str, Ledger>,
    /// The handles that are open, by the directory of their store.
    pub(crate) handles: Vec<(&'static str, Store)>,
    /// What was done, for the scenario's own check.
    pub(crate) done: BTreeSet<&'static str>,
    /// What is not as it should be.
    pub(crate) findings: Vec<String>,
}

/// What a handle of the rig is opened with: it looks after itself seldom enough not to disturb.
pub(crate) fn options(role: Role) -> Options {
    Store::options().role(role).run_plugins(false).cache_bytes(4 << 20).retention(Retention::UNBOUNDED)
}

impl Session {
    pub(crate) fn new(root: &Path, ledgers: BTreeMap<&'static str, Ledger>) -> Self {
        Self {
            root: root.to_owned(),
            step: "",
            ledgers,
            handles: Vec::new(),
            done: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn at(&mut self, step: &'static str) {
        self.step = step;
    }

    pub(crate) fn find(&mut self, problem: impl Into<String>) {
        self.findings.push(format!("{}: {}", self.step, problem.into()));
    }

    pub(crate) fn ledger(&mut self, store: &'static str) -> &mut Ledger {
        self.ledgers.entry(store).or_default()
    }

    /// What was acknowledged of a store, as an application that only knows what it did would have it.
    pub(crate) fn state(&mut self, store: &'static str) -> State {
        self.ledger(store).certain.clone().unwrap_or_default()
    }

    pub(crate) fn writer(&mut self, store: &'static str) -> Result<Store> {
        self.writer_with(store, options(Role::Writer))
    }

    pub(crate) fn writer_with(&mut self, store: &'static str, options: Options) -> Result<Store> {
        self.at("open for writing");
        let opened = options.open(self.path(store))?;
        self.opened(store, &opened);
        Ok(opened)
    }

    /// Notes that a store was opened for writing, or made.
    pub(crate) fn opened(&mut self, store: &'static str, opened: &Store) {
        self.handles.push((store, opened.clone()));
        self.note_epoch(store, opened);
        let ledger = self.ledger(store);
        if ledger.certain.is_none() {
            ledger.certain = Some(State::default());
        }
    }

    pub(crate) fn note_epoch(&mut self, name: &'static str, store: &Store) {
        let epoch = store.epoch().map_or(0, cohab::Epoch::get);
        let before = std::mem::replace(&mut self.ledger(name).epoch, epoch);
        if epoch <= before {
            self.find(format!("epoch {epoch} was given out after epoch {before}"));
        }
    }

    pub(crate) fn reader(&mut self, store: &'static str) -> Result<Store> {
        self.reader_with(store, options(Role::Reader))
    }

    pub(crate) fn reader_with(&mut self, store: &'static str, options: Options) -> Result<Store> {
        self.at("open for reading");
        let opened = options.open(self.path(store))?;
        self.handles.push((store, opened.clone()));
        Ok(opened)
    }

    /// Lets go of the handles of a store that were opened in some role.
    pub(crate) fn close(&mut self, store: &'static str, role: Role) {
        self.handles.retain(|(name, handle)| *name != store || handle.role() != role);
    }

    /// Does something that makes one version, and notes what it made of the store.
    pub(crate) fn commits(
        &mut self,
        store: &'static str,
        step: &'static str,
        effect: impl FnOnce(&mut State),
        commit: impl FnOnce() -> Result<Version>,
    ) -> Result<()> {
        self.at(step);
        let mut after = self.state(store);
        effect(&mut after);
        after.version += 1;
        self.note_outcome(store, after, commit()).map(drop)
    }

    /// Does something that changes a store and makes no version.
    pub(crate) fn changes<T>(
        &mut self,
        store: &'static str,
        step: &'static str,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.at(step);
        let _ = self.state(store);
        change()
    }

    fn note_outcome(
        &mut self,
        store: &'static str,
        mut after: State,
        outcome: Result<Version>,
    ) -> Result<Version> {
        let is_shared = self.ledger(store).is_shared;
        match outcome {
            Ok(version) => {
                if version.get() != after.version && !is_shared {
                    self.find(format!("version {version} was made instead of version {}", after.version));
                }
                after.version = version.get();
                let ledger = self.ledger(store);
                ledger.history.push(after.clone());
                ledger.certain = Some(after);
                Ok(version)
            }
            Err(error) => {
                if error.kind() == Kind::CommitUnknown {
                    let ledger = self.ledger(store);
                    ledger.history.push(after.clone());
                    ledger.maybe = Some(after);
                }
                Err(error)
            }
        }
    }

    /// Puts some keys in a transaction.
    pub(crate) fn puts(
        &mut self,
        name: &'static str,
        store: &Store,
        step: &'static str,
        namespace: &str,
        entries: &[(&str, &[u8])],
    ) -> Result<()> {
        let effect = |state: &mut State| {
            state.ensure(namespace);
            for (key, value) in entries {
                state.put(namespace, key, value);
            }
        };
        self.commits(name, step, effect, || {
            let done = store.write(|tx| {
                tx.ensure_namespace(namespace)?;
                entries.iter().try_for_each(|(key, value)| tx.put(namespace, key, value))
            })?;
            Ok(done.version)
        })
    }

    /// Takes a lock, and notes its token.
    pub(crate) fn locks(&mut self, name: &'static str, store: &Store, lock: &str) -> Result<(Lock, Fence)> {
        self.at("lock");
        let held = store.lock(lock, LockMode::Exclusive, Wait::Try)?;
        self.note_token(name, lock, held.token());
        let fence = held.fence();
        Ok((held, fence))
    }

    pub(crate) fn note_token(&mut self, name: &'static str, lock: &str, token: u64) {
        let before = self.ledger(name).tokens.insert(lock.to_owned(), token).unwrap_or(0);
        if token <= before {
            self.find(format!("token {token} of `{lock}` was given out after token {before}"));
        }
    }

    /// Reads everything that a snapshot shows, which has to be what may be there.
    pub(crate) fn sees(&mut self, name: &'static str, snapshot: &Snapshot) -> Result<State> {
        let found = State::of(snapshot)?;
        let ledger = self.ledger(name);
        if !ledger.allows(&found) {
            let expected = ledger.expected();
            self.find(format!("`{name}` shows {}, and should be at {expected}", found.brief()));
        }
        Ok(found)
    }

    /// Returns a snapshot that shows what was acknowledged, as a reader has it in time. Without a page it looks a hundred times a
    /// second; one that does not move is believed for a second, and after a failed read so is what was shown before.
    pub(crate) fn fresh(&mut self, name: &'static str, store: &Store) -> Result<Snapshot> {
        let expected = self.state(name).version;
        let deadline = Instant::now() + IN_TIME;
        loop {
            let snapshot = store.refresh()?;
            if snapshot.version().get() >= expected
                || self.ledger(name).is_replica
                || Instant::now() >= deadline
            {
                return Ok(snapshot);
            }
            drop(snapshot);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads all that a handle shows, in time.
    pub(crate) fn reads(&mut self, name: &'static str, store: &Store) -> Result<State> {
        let deadline = Instant::now() + IN_TIME;
        loop {
            let read = self.fresh(name, store).and_then(|snapshot| {
                self.verifies(name, &snapshot)?;
                self.sees(name, &snapshot)
            });
            match read {
                Err(error)
                    if error.kind() == Kind::Poisoned
                        && store.role() != Role::Writer
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                other => return other,
            }
        }
    }

    /// Verifies a snapshot, which has to be sound.
    pub(crate) fn verifies(&mut self, name: &str, snapshot: &Snapshot) -> Result<()> {
        let report = snapshot.verify(|_| ())?;
        for difference in report.differences {
            self.find(format!("`{name}` is not sound: {difference}"));
        }
        Ok(())
    }
}
