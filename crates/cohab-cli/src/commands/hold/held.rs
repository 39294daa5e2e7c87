//! What a hold has open, and what it does with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cohab::{Batch, Cancel, Direction, Freshness, Kind, Lock, Snapshot, Store, Token, Wait};
use cohab_exchange::Operation;
use serde_json::Value;

use super::request::{Basis, Command, Key, Scan, Target};
use crate::commands::range::bounds_of;
use crate::commands::txn;
use crate::failure::Failure;
use crate::instances::{self, Running};
use crate::terminal::{Cell, Record};

/// How long to wait for the writer to hand over, unless the request says otherwise.
const PROMOTION_WAIT: Duration = Duration::from_secs(10);

/// How long to wait at a time before looking whether the hold is to end.
const TICK: Duration = Duration::from_millis(200);

/// An instance with what it holds. Fields are dropped in order: the store comes last.
pub(super) struct Held {
    locks: Vec<Lock>,
    snapshots: BTreeMap<u64, Snapshot>,
    taken: u64,
    cancel: Cancel,
    wait: Duration,
    store: Store,
}

impl Held {
    pub(super) fn new(store: Store, cancel: Cancel, wait: Duration) -> Self {
        Self { locks: Vec::new(), snapshots: BTreeMap::new(), taken: 0, cancel, wait, store }
    }

    /// Whether the hold is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Does what is asked, and adds what came of it to the answer.
    pub(super) fn carry_out(
        &mut self,
        command: Command,
        answer: Record<'static>,
    ) -> Result<Record<'static>, Failure> {
        Ok(match command {
            Command::Transaction { operations, label, create } => {
                answer.with("version", self.transact(operations, label, create)?)
            }
            Command::Get { of: Key { ns, key }, snapshot } => {
                let snapshot = self.snapshot(snapshot)?;
                let value = snapshot.get(&ns, &key)?;
                let value = value.map_or(Cell::Null, |value| Cell::Bytes(value.to_vec().into()));
                answer.with("value", value).with("version", snapshot.version())
            }
            Command::CachedGet(Key { ns, key }) => {
                let value = self.store.cached(&ns)?.get(&key)?;
                answer.with("value", value.map_or(Cell::Null, |value| Cell::Bytes(value.to_vec().into())))
            }
            Command::GetMany { of, snapshot } => {
                let snapshot = self.snapshot(snapshot)?;
                answer.with("values", get_many(&snapshot, &of)?).with("version", snapshot.version())
            }
            Command::Scan { of, snapshot } => {
                let snapshot = self.snapshot(snapshot)?;
                let (entries, has_more) = scan(&snapshot, &of)?;
                answer.with("entries", entries).with("more", has_more).with("version", snapshot.version())
            }
            Command::Count { ns, snapshot } => {
                let snapshot = self.snapshot(snapshot)?;
                answer.with("count", snapshot.namespace(&ns)?.count()).with("version", snapshot.version())
            }
            Command::Snapshot => {
                let snapshot = self.store.snapshot()?;
                let version = snapshot.version();
                self.taken += 1;
                self.snapshots.insert(self.taken, snapshot);
                answer.with("snapshot", self.taken).with("version", version)
            }
            Command::Release(Some(number)) => {
                self.snapshots.remove(&number).ok_or_else(|| no_snapshot(number))?;
                answer
            }
            Command::Release(None) => {
                self.snapshots.clear();
                answer
            }
            Command::AtLeast { target, wait } => {
                answer.with("version", self.at_least(target, wait)?.version())
            }
            Command::Refresh => answer.with("version", self.store.refresh()?.version()),
            Command::Token => {
                let token = self.store.snapshot()?.token();
                answer.with("token", token.to_string()).with("version", token.version)
            }
            Command::Promote { wait } => {
                self.store.promote(wait.unwrap_or(PROMOTION_WAIT))?;
                self.with_role(answer).with("version", self.store.snapshot()?.version())
            }
            Command::StepDown => {
                self.store.step_down()?;
                self.with_role(answer)
            }
            Command::Reopen => answer.with("version", self.store.reopen()?),
            Command::Lock { name, mode, wait } => {
                let wait = Wait::For(wait.unwrap_or(self.wait));
                let lock = self.store.lock_unless(&name, mode, wait, &self.cancel)?;
                let token = lock.token();
                self.locks.push(lock);
                answer.with("token", token)
            }
            Command::Unlock(name) => {
                let at = self.locks.iter().rposition(|lock| lock.name() == name);
                let at = at.ok_or_else(|| {
                    Failure::not_found(format!("the lock \"{}\" is not held here", name.escape_debug()))
                })?;
                drop(self.locks.remove(at));
                answer
            }
            Command::Instances => {
                let running = self.running()?;
                answer.with("instances", instances::json(&self.store.instances()?, &running))
            }
            Command::Close => answer,
        })
    }

    /// Returns which plugins there are.
    #[cfg_attr(
        not(feature = "scripts"),
        expect(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "without plugins there is nothing to ask"
        )
    )]
    fn running(&self) -> Result<Running, Failure> {
        #[cfg(feature = "scripts")]
        return Ok(Running::new(self.store.plugins().list()?));
        #[cfg(not(feature = "scripts"))]
        Ok(Running::default())
    }

    fn with_role(&self, answer: Record<'static>) -> Record<'static> {
        let answer = answer.with("role", self.store.role().as_str());
        answer.with("epoch", self.store.epoch().map(cohab::Epoch::get))
    }

    fn transact(
        &self,
        operations: Vec<Operation>,
        label: String,
        create: bool,
    ) -> Result<cohab::Version, Failure> {
        let mut batch = Batch::new().label(label);
        for operation in operations {
            batch = txn::add(batch, operation, create)?;
        }
        Ok(self.store.submit(batch)?)
    }

    /// Returns a snapshot that is held, or one as new as the hold wants it, or what either was at an earlier version.
    fn snapshot(&self, basis: Basis) -> Result<Snapshot, Failure> {
        let snapshot = match basis.number {
            Some(number) => self.snapshots.get(&number).cloned().ok_or_else(|| no_snapshot(number))?,
            None => self.store.snapshot()?,
        };
        match basis.at {
            Some(moment) => Ok(moment.of(&snapshot)?),
            None => Ok(snapshot),
        }
    }

    fn at_least(&self, target: Target, wait: Option<Duration>) -> Result<Snapshot, Failure> {
        let token = match target {
            Target::Token(token) => token,
            Target::Version(version) => self.store.token(version),
        };
        let wait = wait.unwrap_or(self.wait);
        let deadline = Instant::now().checked_add(wait);
        loop {
            let left = deadline.map_or(TICK, |deadline| deadline.saturating_duration_since(Instant::now()));
            match self.store.snapshot_at(Freshness::AtLeast { token, wait: left.min(TICK) }) {
                Err(error) if error.kind() == Kind::TimedOut => {}
                other => return Ok(other?),
            }
            if self.cancel.is_cancelled() {
                return Err(Failure::interrupted());
            }
            if left <= TICK {
                return Err(self.not_reached(token, wait));
            }
        }
    }

    fn not_reached(&self, token: Token, wait: Duration) -> Failure {
        let version = token.version;
        let found = self.store.snapshot().map(|snapshot| format!("; the store is at {}", snapshot.version()));
        let (wait, found) = (wait.as_millis(), found.unwrap_or_default());
        Failure::timed_out(format!("version {version} was not reached within {wait} ms{found}"))
    }
}

fn no_snapshot(number: u64) -> Failure {
    Failure::not_found(format!("no snapshot {number} is held"))
}

fn get_many(snapshot: &Snapshot, keys: &[Key]) -> Result<Value, Failure> {
    let values = keys.iter().map(|Key { ns, key }| {
        let value = snapshot.get(ns, key)?;
        Ok(value.map_or(Value::Null, |value| Cell::Bytes((*value).into()).to_json()))
    });
    values.collect()
}

/// Returns the entries, and whether there are more than were asked for.
fn scan(snapshot: &Snapshot, of: &Scan) -> Result<(Value, bool), Failure> {
    let (start, end) = bounds_of(of.prefix.clone(), of.from.clone(), of.to.clone());
    let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
    let direction = if of.reverse { Direction::Reverse } else { Direction::Forward };
    let mut entries = Vec::new();
    for entry in snapshot.namespace(&of.ns)?.scan(bounds, direction)? {
        if entries.len() == of.limit {
            return Ok((entries.into(), true));
        }
        let entry = entry?;
        let record = Record::new().with_bytes("key", entry.key()).with_bytes("value", entry.value());
        entries.push(record.with("version", entry.version()).to_json());
    }
    Ok((entries.into(), false))
}
