//! Calling a plugin for what was committed, and when it is due.
//!
//! A runner reads the log from the plugin's cursor on, beside the writer's commits: a slow plugin lags, and nobody waits for it.
//! What a call writes is committed together with the cursor that says it was made, so the effects of a change are there
//! once, whoever dies in between. What was called for nothing may be called again by the next process: the cursor moves in memory then, and
//! is written now and then.

mod slice;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cohab_core::{Timestamp, Version, planted};
use cohab_plugin::{
    Call, CallError, CallErrorKind, Changes, ErrorPolicy, Level, LogLine, Schedule, Start, Trigger,
};

use self::slice::{Interest, Names, Seen, gather_existing, is_full, is_wanted, led_by, take};
use super::desk::{Base, Desk, Effects};
use super::generation::Generation;
use super::records::{self, CURSORS, Cursor, RECORDS, own};
use super::roster::Service;
use super::{journal, loader};
use crate::store::Inner;
use crate::transaction::PLUGIN_LABEL;
use crate::{Batch, Error, Kind, Precondition, Result, Snapshot};

/// How many versions one step goes through.
const STEP_VERSIONS: u64 = 4096;

/// How far the cursor in the store may stay behind the one in memory.
const CURSOR_LAG_MAX: u64 = 1000;

/// How long a plugin waits that cannot go on by itself, before it looks again.
const STALLED: Duration = Duration::from_millis(250);

/// Where a plugin is, in the process that runs it.
#[derive(Debug, Default)]
pub(crate) struct Runner {
    /// Where it is; `None` until the store was asked.
    cursor: Option<Cursor>,
    /// Where it is as the store says.
    stored: Option<Cursor>,
    /// The version that wrote that, which nobody else is to do meanwhile.
    row: Option<Version>,
    /// Whether a call was made that wrote nothing, which the store does not know.
    is_unsettled: bool,
    /// How many entries of what is there are shown one by one, because one of them fails.
    single_entries: u32,
    /// A call that is to be made again.
    retry: Option<Retry>,
    /// Up to this version, what follows is called version by version, because something in it fails.
    single_until: Version,
    /// When it was last said that a namespace has no history.
    has_warned: bool,
}

#[derive(Debug)]
struct Retry {
    generation: u64,
    attempts: u32,
    until: Instant,
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// There may be more to do.
    Busy,
    /// A call was made for less than it could have taken: what comes is left to come together for a moment.
    Paced,
    /// Nothing is to be done before a commit, or for so long.
    Idle(Option<Duration>),
    /// It does not go on by itself, and looks again after so long.
    Stuck(Duration),
    /// The plugin is not to be called by this process, or no more.
    Over,
}

/// What a call is made for, and where the cursor is after it.
struct Work {
    call: Owned,
    after: Cursor,
    /// The plugins that led to it.
    chain: Vec<String>,
    /// Whether it is for several versions, so that a failure may be the fault of one of them.
    is_several: bool,
}

enum Owned {
    Changes(Changes),
    Due(Timestamp),
}

impl Runner {
    /// Forgets where the plugin was, so that the store is asked again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Writes the cursor to the store, if it is there only in memory.
    pub(crate) fn settle(&mut self, inner: &Inner, service: &Service) -> Result<()> {
        let Some(cursor) = self.cursor.clone().filter(|cursor| Some(cursor) != self.stored.as_ref()) else {
            return Ok(());
        };
        match self.commit(inner, service, batch(service, &[])?, Effects::default(), &cursor) {
            // Whoever changed something is looked at with the next step.
            Err(error) if error.kind() == Kind::Conflict => {
                self.forget();
                Ok(())
            }
            other => other,
        }
    }

    /// Does what is next for a plugin: a call, or nothing.
    pub(crate) fn step(&mut self, inner: &Inner, service: &Arc<Service>) -> Result<Step> {
        let meter = &service.plugin.meter;
        if !service.record.enabled {
            return Ok(Step::Over);
        }
        if service.plugin.is_moved.swap(false, Ordering::Relaxed) {
            self.forget();
        }
        let Ok(generation) = service.generation().cloned() else { return Ok(Step::Stuck(STALLED)) };
        let follows = commit_trigger(&generation);
        let schedule = schedule(&generation);
        let is_called = follows.is_some() || schedule.is_some();
        if !is_called || inner.writing.load().is_none() || inner.plugins.present().is_replica {
            return Ok(Step::Over);
        }
        if let Some(retry) = &self.retry {
            let left = retry.until.saturating_duration_since(Instant::now());
            // A new generation is tried at once.
            if retry.generation != generation.number {
                self.retry = None;
            } else if !left.is_zero() {
                return Ok(Step::Stuck(left));
            }
        }
        let snapshot = inner.snapshot(crate::Freshness::Latest)?;
        if !inner.plugins.roster(inner, &snapshot)?.has(service) {
            // What is in service by now is for whoever asks next: this code may not know the state.
            return Ok(Step::Busy);
        }
        let mut cursor = match &self.cursor {
            Some(cursor) => cursor.clone(),
            None => match self.begin(inner, &snapshot, service)? {
                Some(cursor) => cursor,
                None => return Ok(Step::Stuck(STALLED)),
            },
        };
        let now = inner.options.clock.now();
        let mut wait = None;
        if let Some(schedule) = schedule {
            let last = cursor.due.unwrap_or(service.record.loaded_at);
            if last > now {
                // The clock was put back: it counts from now, and only once.
                cursor.due = Some(now);
                self.cursor = Some(cursor.clone());
            }
            let due = schedule.next_after(last.min(now), now);
            if due <= now {
                let mut after = cursor;
                after.due = Some(due.max(now));
                let work = Work { call: Owned::Due(due), after, chain: Vec::new(), is_several: false };
                return self.work(inner, &snapshot, service, &generation, &work);
            }
            wait = Some(due.since(now));
        }
        let Some((namespaces, prefixes)) = follows else { return Ok(Step::Idle(wait)) };
        let interest = Interest { namespaces, prefixes };
        let gathered = if cursor.existing.is_some() {
            gather_existing(&snapshot, &interest, &cursor, self.single_entries > 0)
        } else {
            let single = cursor.version < self.single_until;
            self.gather(inner, &snapshot, service, &interest, &cursor, single)
        };
        let work = match gathered {
            Ok(work) => work,
            Err(error) if matches!(error.kind(), Kind::TooOld | Kind::Lagged) => {
                meter.stall(Some(format!(
                    "it is at version {}, and the log begins with version {}: `cohab plugin reload --rescan` shows it what is there",
                    cursor.version,
                    snapshot.oldest_version()
                )));
                return Ok(Step::Stuck(STALLED));
            }
            Err(error) => return Err(error),
        };
        meter.stall(None);
        if cursor.existing.is_some() && self.retry.is_none() {
            self.single_entries = self.single_entries.saturating_sub(1);
        }
        let is_empty = matches!(&work.call, Owned::Changes(changes) if changes.is_empty());
        if !is_empty {
            return self.work(inner, &snapshot, service, &generation, &work);
        }
        let was_existing = cursor.existing.is_some();
        self.moved(service, work.after);
        let at = self.cursor.as_ref().map_or(Version::ZERO, |cursor| cursor.version);
        if was_existing || self.is_far_ahead() {
            self.settle(inner, service)?;
        }
        Ok(if at < snapshot.version() || was_existing { Step::Busy } else { Step::Idle(wait) })
    }

    /// Whether the store is so far behind that it is to be told.
    fn is_far_ahead(&self) -> bool {
        let version = |cursor: &Option<Cursor>| cursor.as_ref().map_or(0, |cursor| cursor.version.get());
        version(&self.cursor).saturating_sub(version(&self.stored)) >= CURSOR_LAG_MAX
    }

    /// Tells the store of calls that wrote nothing, as the handle is about to be closed.
    pub(crate) fn settle_calls(&mut self, inner: &Inner, service: &Service) -> Result<()> {
        if self.is_unsettled { self.settle(inner, service) } else { Ok(()) }
    }

    /// Asks the store where the plugin is.
    fn begin(&mut self, inner: &Inner, snapshot: &Snapshot, service: &Service) -> Result<Option<Cursor>> {
        let (cursor, row) = records::cursor(snapshot, &service.record.name)?.unzip();
        let cursor = cursor.unwrap_or_else(|| Cursor::at(snapshot.store(), snapshot.version()));
        self.row = row;
        if cursor.store != inner.id {
            service.plugin.meter.stall(Some(format!(
                "its cursor counts the versions of store {}: `cohab plugin reload --rescan` shows it what is there",
                cursor.store
            )));
            return Ok(None);
        }
        // Of rows that are written together this cannot come. A replica has them from elsewhere.
        if cursor.version > snapshot.version() {
            service.plugin.meter.stall(Some(format!(
                "its cursor is at version {}, and the store at {}: `cohab plugin reload --rescan` shows it what is there",
                cursor.version,
                snapshot.version()
            )));
            return Ok(None);
        }
        self.stored = row.map(|_| cursor.clone());
        self.moved(service, cursor.clone());
        Ok(Some(cursor))
    }

    fn moved(&mut self, service: &Service, cursor: Cursor) {
        service.plugin.meter.position.store(cursor.version.get(), Ordering::Relaxed);
        self.cursor = Some(cursor);
    }

    /// Collects the changes that come next, from as many versions as fit into a call.
    fn gather(
        &mut self,
        inner: &Inner,
        snapshot: &Snapshot,
        service: &Service,
        interest: &Interest<'_>,
        cursor: &Cursor,
        single: bool,
    ) -> Result<Work> {
        let name = &service.record.name;
        let first = cursor.version.next();
        if first < snapshot.oldest_version() && first <= snapshot.version() {
            return Err(Error::lagged(first, snapshot.oldest_version()));
        }
        let last = Version::new(snapshot.version().get().min(cursor.version.get() + STEP_VERSIONS));
        let mut changes = Changes::new();
        let mut after = cursor.clone();
        let (mut chain, mut versions) = (Vec::<String>::new(), 0);
        let mut names = Names { snapshot, interest, known: HashMap::new() };
        for record in snapshot.log(first..=last) {
            let record = record?;
            let mut led = led_by(&record);
            led.sort_unstable();
            led.dedup();
            if led.iter().any(|earlier| earlier == name || *earlier == "*") {
                (after.version, after.offset) = (record.version(), 0);
                continue;
            }
            // Of what goes together everything was led to by the same plugins: others may see what follows from the rest.
            if versions > 0 && led != chain && is_wanted(&record, &mut names)? {
                break;
            }
            let before = changes.len();
            let seen = take(&record, &mut names, after.offset, &mut changes, |id| {
                if !std::mem::replace(&mut self.has_warned, true) {
                    let text = format!("namespace #{id} keeps no history: its changes cannot be followed");
                    journal::note(inner, name, Level::Warn, text);
                }
            })?;
            if changes.len() > before {
                versions += 1;
                chain = led.into_iter().map(str::to_owned).collect();
            }
            match seen {
                // The rest of it comes with the next call.
                Seen::Part(offset) => {
                    after.offset = offset;
                    break;
                }
                Seen::Whole => (after.version, after.offset) = (record.version(), 0),
            }
            let is_enough = is_full(&changes);
            if is_enough || (single && versions > 0) {
                break;
            }
        }
        Ok(Work { call: Owned::Changes(changes), after, chain, is_several: versions > 1 })
    }

    /// Commits what a call wrote, and that it was made.
    fn commit(
        &mut self,
        inner: &Inner,
        service: &Service,
        batch: Batch,
        effects: Effects,
        after: &Cursor,
    ) -> Result<()> {
        let (name, cursors) = (Bytes::from(service.record.name.clone()), own(CURSORS)?);
        let batch = batch.expect(match self.row {
            Some(row) => Precondition::key_version(&cursors, name.clone(), row),
            None => Precondition::absent(&cursors, name.clone()),
        });
        let mut batch = effects.batch(batch)?;
        if planted!(PluginCursorApart) {
            inner.submit(std::mem::replace(&mut batch, self::batch(service, &[])?))?;
        }
        let batch = batch.put_creating(&cursors, name, records::encode(after)?);
        let version = inner.submit(batch)?;
        self.committed(service, version, after);
        Ok(())
    }

    fn committed(&mut self, service: &Service, version: Version, after: &Cursor) {
        self.is_unsettled = false;
        (self.stored, self.row) = (Some(after.clone()), Some(version));
        let meter = &service.plugin.meter;
        if service.record.follows() {
            meter.pinned.store(after.version.get(), Ordering::Relaxed);
        }
        meter.stall(None);
        self.moved(service, after.clone());
    }

    /// Makes a call, and commits what it wrote.
    fn work(
        &mut self,
        inner: &Inner,
        snapshot: &Snapshot,
        service: &Arc<Service>,
        generation: &Generation,
        work: &Work,
    ) -> Result<Step> {
        let name = &service.record.name;
        let (made, logs) = attempt(inner, generation, work, &mut &*snapshot);
        let done = match made {
            Ok(effects) if effects.is_empty() && !work.is_due() => {
                self.moved(service, work.after.clone());
                self.is_unsettled = true;
                if self.is_far_ahead() {
                    self.settle(inner, service)?;
                }
                Ok(())
            }
            Ok(effects) => {
                let batch = expecting(batch(service, &work.chain)?, snapshot, effects.namespaces())?;
                let Some(batch) = batch else { return self.work_in_turn(inner, service, work) };
                match self.commit(inner, service, batch, effects, &work.after) {
                    // Somebody wrote where it writes, or its code was replaced. With the writer's turn nobody does.
                    Err(error) if error.kind() == Kind::Conflict => {
                        return self.work_in_turn(inner, service, work);
                    }
                    Err(error) if matches!(error.kind(), Kind::Refused | Kind::InvalidInput) => {
                        Err(CallError::new(CallErrorKind::Failed, error.to_string()))
                    }
                    Err(error) => return Err(error),
                    Ok(()) => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        journal::note_logs(inner, name, generation.number, &logs);
        match done {
            Ok(()) => {
                self.retry = None;
                Ok(work.next())
            }
            Err(error) => self.failed(inner, service, generation, work, &error),
        }
    }

    /// Makes the call again in a transaction, where nothing can come in between.
    fn work_in_turn(&mut self, inner: &Inner, service: &Arc<Service>, work: &Work) -> Result<Step> {
        let name = &service.record.name;
        let mut made = None;
        let done = inner.write(|tx| {
            tx.label_any(label(name, &work.chain))?;
            if tx.plugin_cursor(name)?.map(|(_, row)| row) != self.row {
                return Err(Error::new(Kind::Conflict, "the plugin's cursor was moved meanwhile"));
            }
            let present = inner.plugins.present();
            let found = present.find(name)?;
            let generation = found.generation()?.clone();
            if found.record.generation != service.record.generation
                || found.record.hash != service.record.hash
            {
                return Err(Error::new(Kind::Conflict, "the changes were collected for other code"));
            }
            let (result, logs) = attempt(inner, &generation, work, tx);
            let (effects, error) = match result {
                Ok(effects) => (effects, None),
                Err(error) => (Effects::default(), Some(error)),
            };
            let is_done = error.is_none();
            made = Some((generation, logs, error));
            if !is_done {
                return Err(Error::new(Kind::Aborted, "the plugin failed"));
            }
            effects.apply(tx)?;
            tx.put_plugin_cursor(name, &work.after)
        });
        let Some((generation, logs, error)) = made else {
            // Somebody has changed where the plugin is, or that it is.
            self.forget();
            let is_gone =
                |error: &Error| matches!(error.kind(), Kind::Conflict | Kind::NotFound | Kind::Plugin);
            return done
                .map(|_| Step::Busy)
                .or_else(|error| if is_gone(&error) { Ok(Step::Busy) } else { Err(error) });
        };
        journal::note_logs(inner, name, generation.number, &logs);
        match (done, error) {
            (Ok(done), _) => {
                self.committed(service, done.version, &work.after);
                self.retry = None;
                Ok(work.next())
            }
            (_, Some(error)) => self.failed(inner, service, &generation, work, &error),
            (Err(error), None) if matches!(error.kind(), Kind::Refused | Kind::InvalidInput) => {
                let error = CallError::new(CallErrorKind::Failed, error.to_string());
                self.failed(inner, service, &generation, work, &error)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// Does what the plugin's policy says about a failed call.
    fn failed(
        &mut self,
        inner: &Inner,
        service: &Arc<Service>,
        generation: &Generation,
        work: &Work,
        error: &CallError,
    ) -> Result<Step> {
        let name = &service.record.name;
        // Whose fault it is comes out when they are called for one by one.
        if work.is_several {
            match (&work.call, self.cursor.as_ref().and_then(|cursor| cursor.existing.as_ref())) {
                (Owned::Changes(changes), Some(_)) => self.single_entries = changes.len(),
                _ => self.single_until = work.after.version,
            }
            return Ok(Step::Busy);
        }
        if error.kind == CallErrorKind::Stopped {
            return Ok(Step::Busy);
        }
        let handler = work.call().handler();
        let what = match &work.call {
            Owned::Changes(_) => format!("{handler} for version {}", work.version()),
            Owned::Due(due) => format!("{handler} of {due}"),
        };
        inner.plugins.failed(inner, name, &format!("{what}: {}", error.message));
        match generation.code.manifest().on_error {
            ErrorPolicy::Retry { attempts, backoff, backoff_max } => {
                let made = self.retry.as_ref().map_or(0, |retry| retry.attempts) + 1;
                if attempts.is_some_and(|attempts| made >= attempts) {
                    let why = format!("{what} failed {made} times: {}", error.message);
                    // When it is enabled, it has as many again.
                    self.retry = None;
                    loader::disable(inner, name, generation.number, why)?;
                    return Ok(Step::Over);
                }
                let wait = backoff.saturating_mul(1 << (made - 1).min(20)).min(backoff_max);
                let until = Instant::now() + wait;
                self.retry = Some(Retry { generation: generation.number, attempts: made, until });
                Ok(Step::Stuck(wait))
            }
            ErrorPolicy::Disable => {
                loader::disable(inner, name, generation.number, format!("{what}: {}", error.message))?;
                Ok(Step::Over)
            }
            // It is passed over, for good.
            _ => {
                match self.commit(
                    inner,
                    service,
                    batch(service, &work.chain)?,
                    Effects::default(),
                    &work.after,
                ) {
                    Err(error) if error.kind() == Kind::Conflict => self.forget(),
                    other => other?,
                }
                Ok(Step::Busy)
            }
        }
    }
}

impl Work {
    /// What to do after it.
    fn next(&self) -> Step {
        match &self.call {
            Owned::Changes(changes) if !is_full(changes) && self.after.existing.is_none() => Step::Paced,
            _ => Step::Busy,
        }
    }

    fn is_due(&self) -> bool {
        matches!(self.call, Owned::Due(_))
    }

    fn call(&self) -> Call<'_> {
        match &self.call {
            Owned::Changes(changes) => Call::Commit(changes),
            Owned::Due(due) => Call::Schedule(*due),
        }
    }

    /// The version of the changes, where they are of one.
    fn version(&self) -> Version {
        match &self.call {
            Owned::Changes(changes) => {
                changes.iter().next().map_or(self.after.version, |change| change.version)
            }
            Owned::Due(_) => self.after.version,
        }
    }
}

/// Makes a call, and returns what it wants written, and what it logged.
fn attempt(
    inner: &Inner,
    generation: &Generation,
    work: &Work,
    base: &mut dyn Base,
) -> (Result<Effects, CallError>, Vec<LogLine>) {
    let mut desk = Desk::new(base, &generation.state, &*inner.options.clock);
    let outcome = generation.call(work.call(), &mut desk);
    (outcome.result.map(|_| desk.effects), outcome.logs)
}

/// Has a batch hold only while nobody else writes to these namespaces. Where one is not there yet, which a batch cannot
/// expect, returns nothing.
pub(crate) fn expecting<'n>(
    mut batch: Batch,
    snapshot: &Snapshot,
    namespaces: impl Iterator<Item = &'n str>,
) -> Result<Option<Batch>> {
    for name in namespaces {
        let Some(view) = records::find(snapshot, name)? else { return Ok(None) };
        let (namespace, version) = (own(name)?, view.last_version());
        batch = batch.expect(Precondition::DataVersion { namespace, version });
    }
    Ok(Some(batch))
}

/// Begins the batch of a plugin, which holds for the generation that is in service.
pub(crate) fn batch(service: &Service, chain: &[String]) -> Result<Batch> {
    let name = &service.record.name;
    let batch = Batch::new().own().label(label(name, chain));
    Ok(batch.expect(Precondition::key_version(&own(RECORDS)?, Bytes::from(name.clone()), service.version)))
}

/// Names a plugin's transaction by itself and by those that led to it.
fn label(name: &str, chain: &[String]) -> String {
    let mut label = format!("{PLUGIN_LABEL}{name}");
    for earlier in chain {
        if label.len() + 1 + earlier.len() > cohab_core::limits::TRANSACTION_LABEL_BYTES_MAX - 2 {
            // More than a label holds: whoever reads it takes it for all there are.
            label.push_str(",*");
            break;
        }
        label.push(',');
        label.push_str(earlier);
    }
    label
}

fn commit_trigger(generation: &Generation) -> Option<(&[String], &[String])> {
    generation.code.manifest().triggers.iter().find_map(|trigger| match trigger {
        Trigger::Commit { namespaces, prefixes, .. } => Some((namespaces.as_slice(), prefixes.as_slice())),
        _ => None,
    })
}

/// Returns where a plugin's commit trigger begins, if it has one.
pub(crate) fn start(triggers: &[Trigger]) -> Option<Start> {
    triggers.iter().find_map(|trigger| match trigger {
        Trigger::Commit { start, .. } => Some(*start),
        _ => None,
    })
}

fn schedule(generation: &Generation) -> Option<&Schedule> {
    generation.code.manifest().triggers.iter().find_map(|trigger| match trigger {
        Trigger::Schedule(schedule) => Some(schedule),
        _ => None,
    })
}

/// Locks a runner, whoever panicked with it.
pub(crate) fn lock(runner: &std::sync::Mutex<Runner>) -> std::sync::MutexGuard<'_, Runner> {
    runner.lock().unwrap_or_else(PoisonError::into_inner)
}
