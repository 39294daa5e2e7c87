//! Writes, or stands by to; hands its role over, takes it, and shows to the store what it must refuse.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use cohab::{
    Batch, Error, Fence, Kind, LockMode, Name, Options, Role, RoleChange, Store, StoreId, Transaction,
    Version, Wait,
};
use cohab_coord::Page;
use cohab_lock::Counter;

use super::readers::{Handles, Reader, note_all};
use super::{Scene, Stage, unless_stalled};
use crate::kill::history::{Asked, Event, Journal, now};
use crate::kill::keys::{Key, LISTED, LISTS, LOCKS, Op, append, decode_list, encode_list, list_key};
use crate::kill::points::{Point, Points};
use crate::random::Random;

/// How long a stand-by asks for the role.
const PROMOTION_WAIT: Duration = Duration::from_secs(2);

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let spy = Spy::new(stage);
    // Whoever comes first writes.
    let role = if stage.random.one_in(2) { Role::Auto } else { Role::Standby };
    let options = spy.install(stage.options().role(role));
    let store = stage.open(&options)?;
    spy.set_store(store.id());
    if let Some(epoch) = store.epoch() {
        // Opened as the writer, of which nobody is told.
        stage.journal.note(Event::Promoted { epoch: epoch.get() });
    }
    let mut writer = Writer::new(stage, store.clone(), spy.clone(), 0);
    let mut second = Writer::new(stage, store.clone(), spy, 1);
    // A second thread, so that batches share a commit.
    thread::spawn(move || {
        loop {
            let written = if second.store.role() == Role::Writer { second.submit() } else { Ok(()) };
            if let Err(error) = written {
                second.journal.broken(format!("the second thread gave up: {error:#}"));
                return;
            }
            second.rest(3000);
        }
    });
    let mut reader = Reader::new(store.clone());
    let mut handles = None;
    loop {
        if store.role() == Role::Writer {
            writer.write(stage)?;
            if stage.random.one_in(200) {
                writer.step_down()?;
            }
        } else if stage.random.one_in(300) {
            stage.points.pass(Point::Promoting);
            match store.promote(PROMOTION_WAIT) {
                Err(error) if error.kind() == Kind::Busy => {}
                other => drop(unless_stalled(stage, other)?),
            }
        }
        if stage.random.one_in(4) {
            reader.read(stage)?;
        }
        if stage.random.one_in(6) {
            match &handles {
                Some(handles) => Handles::read(handles, stage)?,
                None => handles = Handles::open(stage, &store)?,
            }
        }
        stage.rest(2500);
    }
}

/// Looks into commits from below, at their syncs.
#[derive(Clone)]
struct Spy(Arc<Inner>);

struct Inner {
    scene: Scene,
    journal: Journal,
    points: Points,
    store: OnceLock<StoreId>,
    /// The version that the next sync is of, if that is to be looked at; otherwise zero.
    unpublished: AtomicU64,
    /// Set if somebody else is to take over with the next sync.
    is_overtaken: AtomicBool,
}

impl Spy {
    fn new(stage: &Stage) -> Self {
        Self(Arc::new(Inner {
            scene: stage.scene.clone(),
            journal: stage.journal.clone(),
            points: stage.points.clone(),
            store: OnceLock::new(),
            unpublished: AtomicU64::new(0),
            is_overtaken: AtomicBool::new(false),
        }))
    }

    fn set_store(&self, id: StoreId) {
        self.0.store.get_or_init(|| id);
    }

    fn install(&self, options: Options) -> Options {
        let (spy, role) = (self.clone(), self.clone());
        let options = self.0.points.install(options, move || spy.sync());
        options.on_role_change(move |change| role.hear(change))
    }

    fn hear(&self, change: &RoleChange) {
        let Inner { journal, points, .. } = &*self.0;
        match change {
            RoleChange::Promoted { epoch } => {
                journal.note(Event::Promoted { epoch: epoch.get() });
                points.pass(Point::Promoted);
            }
            RoleChange::SteppedDown { .. } => {
                journal.note(Event::SteppedDown);
                points.pass(Point::SteppedDown);
            }
            RoleChange::TakeOverFailed(error) if error.kind() == Kind::Stalled => {
                journal.note(Event::Stalled);
            }
            RoleChange::TakeOverFailed(error) => journal.broken(format!("a take-over failed: {error}")),
            _ => {}
        }
    }

    /// Called before each sync of the store's file.
    fn sync(&self) {
        let inner = &*self.0;
        let version = inner.unpublished.swap(0, Ordering::SeqCst);
        if let Some(store) = inner.store.get().filter(|_| version > 0)
            && let Ok(page) = Page::open_read_only(&inner.scene.store().join("coord.page"), *store)
            && page.published().is_some_and(|published| published.version.get() >= version)
        {
            inner.journal.broken(format!("version {version} was published before it was durable"));
        }
        if inner.is_overtaken.swap(false, Ordering::SeqCst) {
            self.overtake();
        }
    }

    /// Raises the number of the last epoch, as a writer would that the locks did not keep away. Called in the writer's
    /// turn, so that nobody becomes the writer at the same time.
    fn overtake(&self) {
        let counter = Counter::at(self.0.scene.store().join("writer.epoch"));
        let epoch = counter.advance(0).expect("the counter is sound");
        self.0.journal.note(Event::Overtaken { epoch });
    }
}

/// What is to become of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// It is committed, unless the role is lost.
    Done,
    /// The token that it shows may have been overtaken.
    MayBeStale,
    /// It finds out that somebody else has taken over, before or after it was written.
    Overtaken { in_closure: bool },
}

/// What a commit does.
#[derive(Clone, Default)]
struct Plan {
    puts: Vec<Key>,
    deletes: Vec<Key>,
    lists: Vec<usize>,
    fence: Option<(usize, u64)>,
}

struct Writer {
    store: Store,
    scene: Scene,
    journal: Journal,
    points: Points,
    spy: Spy,
    random: Random,
    process: u32,
    next: u32,
    thread: u8,
    /// For each lock, the last token that a commit was acknowledged with.
    shown: [u64; LOCKS.len()],
}

impl Writer {
    fn new(stage: &mut Stage, store: Store, spy: Spy, thread: u8) -> Self {
        Self {
            store,
            scene: stage.scene.clone(),
            journal: stage.journal.of_thread(thread),
            points: stage.points.clone(),
            spy,
            random: stage.random.fork(),
            process: stage.casting.process,
            next: 0,
            thread,
            shown: Default::default(),
        }
    }

    fn rest(&mut self, micros: u64) {
        thread::sleep(Duration::from_micros(self.random.below(micros + 1)));
    }

    /// Names an operation; odd ones are of the second thread.
    fn op(&mut self) -> Op {
        let number = self.next;
        self.next += 1;
        Op::new(self.process, 2 * number + u32::from(self.thread))
    }

    /// Writes something, of one kind or another, and reads it at times.
    fn write(&mut self, stage: &mut Stage) -> Result<()> {
        match self.random.below(400) {
            0..160 => {
                let plan = self.plan();
                self.commit(&plan, Expected::Done)?;
            }
            160..230 => self.submit()?,
            230..330 => {
                let mut plan = Plan { lists: vec![self.random.index(LISTS)], ..Plan::default() };
                if self.random.one_in(3) {
                    plan.lists.push((plan.lists[0] + 1) % LISTS);
                }
                plan.puts.push(Key::hot(self.random.index(4)));
                self.commit(&plan, Expected::Done)?;
            }
            330..360 => self.write_behind_own_lock()?,
            360..385 => self.write_behind_tenants_lock()?,
            385..395 => self.abandon()?,
            _ => self.be_overtaken()?,
        }
        if self.random.one_in(4) {
            let invoked = now();
            let taken = self.store.snapshot();
            if let Some(snapshot) = unless_stalled(stage, taken)? {
                note_all(stage, invoked, Asked::Latest, &snapshot)?;
            }
        }
        Ok(())
    }

    /// Some pairs, mostly with a hot key.
    fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        let first = self.random.index(12);
        for number in 0..=self.random.index(4) {
            plan.puts.extend(Key::pair(first + number));
        }
        if !self.random.one_in(5) {
            plan.puts.push(Key::hot(self.random.index(4)));
        }
        let fleeting = Key::fleeting(self.random.index(4));
        match self.random.below(4) {
            0 => plan.puts.push(fleeting),
            1 => plan.deletes.push(fleeting),
            _ => {}
        }
        plan
    }

    fn invoke(&mut self, plan: &Plan) -> Op {
        let op = self.op();
        let set = |keys: &[Key]| keys.iter().fold(0, |set, key| set | key.bit());
        self.journal.note(Event::Invoked {
            op: op.0,
            puts: set(&plan.puts),
            deletes: set(&plan.deletes),
            fence: plan.fence.map(|(lock, token)| (u8::try_from(lock).expect("there are few"), token)),
            appends: plan.lists.iter().fold(0, |set, list| set | 1 << list),
        });
        self.points.pass(Point::Invoked);
        op
    }

    /// Commits by a closure.
    fn commit(&mut self, plan: &Plan, expected: Expected) -> Result<()> {
        let op = self.invoke(plan);
        let is_watched = self.random.one_in(8);
        let committed = self.store.write(|tx| {
            if is_watched {
                self.spy.0.unpublished.store(tx.version().get(), Ordering::SeqCst);
            }
            self.carry_out(tx, plan, op)?;
            match expected {
                Expected::Overtaken { in_closure: true } => self.spy.overtake(),
                Expected::Overtaken { .. } => self.spy.0.is_overtaken.store(true, Ordering::SeqCst),
                _ => {}
            }
            self.points.pass(Point::Closure);
            Ok(())
        });
        self.settle(op, plan, committed.map(|committed| committed.version), expected)
    }

    fn carry_out(&self, tx: &mut Transaction<'_, '_>, plan: &Plan, op: Op) -> cohab::Result<()> {
        tx.label(op.label())?;
        if let Some((lock, token)) = plan.fence {
            tx.fence(&Fence::new(LOCKS[lock], token))?;
        }
        for key in &plan.puts {
            tx.put(key.namespace(), key.name(), key.value(op))?;
        }
        for key in &plan.deletes {
            tx.delete(key.namespace(), key.name())?;
        }
        let mut lists = Vec::new();
        for list in &plan.lists {
            let before = decode_list(tx.get(LISTED, list_key(*list))?.as_deref());
            let after = append(before.map_err(|broken| Error::abort(broken.0))?, op);
            tx.put(LISTED, list_key(*list), encode_list(&after))?;
            lists.push((u8::try_from(*list).expect("there are few"), after));
        }
        if !lists.is_empty() {
            self.journal.note(Event::Appending { op: op.0, lists });
        }
        Ok(())
    }

    /// Commits a batch, which may share its commit with others.
    fn submit(&mut self) -> Result<()> {
        let plan = self.plan();
        self.submit_plan(&plan, Expected::Done)
    }

    fn submit_plan(&mut self, plan: &Plan, expected: Expected) -> Result<()> {
        let op = self.invoke(plan);
        let mut batch = Batch::new().label(op.label());
        let name = |key: &Key| Name::new(key.namespace()).expect("is a name");
        if let Some((lock, token)) = plan.fence {
            batch = batch.fence(Fence::new(LOCKS[lock], token));
        }
        for key in &plan.puts {
            batch = batch.put(&name(key), key.name().to_vec(), key.value(op));
        }
        for key in &plan.deletes {
            batch = batch.delete(&name(key), key.name().to_vec());
        }
        let submitted = self.store.submit(batch);
        self.settle(op, plan, submitted, expected)
    }

    /// Takes a lock and writes behind it.
    fn write_behind_own_lock(&mut self) -> Result<()> {
        let lock = self.random.index(LOCKS.len());
        let number = u8::try_from(lock).expect("there are few");
        let invoked = now();
        let held = match self.store.lock(LOCKS[lock], LockMode::Exclusive, Wait::Try) {
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::Reentrant) => return Ok(()),
            held => held?,
        };
        let token = held.token();
        self.journal.note(Event::Locked { invoked, lock: number, token });
        self.points.pass(Point::Locked);
        let plan = Plan { puts: vec![Key::guarded(lock)], fence: Some((lock, token)), ..Plan::default() };
        // While it is held nobody can be given a later one.
        self.commit(&plan, Expected::Done)?;
        self.journal.note(Event::Unlocking { lock: number, token });
        self.points.pass(Point::Unlocking);
        drop(held);
        Ok(())
    }

    /// Writes with a token that a tenant has left, or one that is older.
    fn write_behind_tenants_lock(&mut self) -> Result<()> {
        let lock = self.random.index(LOCKS.len());
        let Some(token) = self.scene.fence(lock).get() else { return Ok(()) };
        // What was shown already is overtaken for whoever comes with less.
        let token = match self.shown[lock] {
            shown @ 2.. if self.random.one_in(2) => shown - 1,
            _ => token,
        };
        let plan = Plan { puts: vec![Key::guarded(lock)], fence: Some((lock, token)), ..Plan::default() };
        if self.random.one_in(2) {
            self.commit(&plan, Expected::MayBeStale)
        } else {
            self.submit_plan(&plan, Expected::MayBeStale)
        }
    }

    /// Changes its mind in the middle of a transaction.
    fn abandon(&mut self) -> Result<()> {
        let plan = self.plan();
        let op = self.invoke(&plan);
        let abandoned = self.store.write(|tx| {
            self.carry_out(tx, &plan, op)?;
            Err::<(), _>(Error::abort("it was not meant"))
        });
        match abandoned {
            Ok(committed) => bail!("a transaction that was abandoned was committed as {}", committed.version),
            Err(error) => self.settle(op, &plan, Err(error), Expected::Done),
        }
    }

    /// Is overtaken in the middle of a transaction, in spite of the locks: from then on nothing may be acknowledged.
    fn be_overtaken(&mut self) -> Result<()> {
        let (plan, in_closure) = (self.plan(), self.random.one_in(2));
        self.commit(&plan, Expected::Overtaken { in_closure })?;
        Ok(())
    }

    fn step_down(&mut self) -> Result<()> {
        match self.store.step_down() {
            Err(error) if error.kind() == Kind::ReadOnly => Ok(()),
            other => Ok(other?),
        }
    }

    /// Writes down how a commit went.
    fn settle(
        &mut self,
        op: Op,
        plan: &Plan,
        committed: cohab::Result<Version>,
        expected: Expected,
    ) -> Result<()> {
        let error = match committed {
            Ok(version) => {
                self.points.pass(Point::Committed);
                self.journal.note(Event::Acknowledged { op: op.0, version: version.get() });
                if matches!(expected, Expected::Overtaken { .. }) {
                    self.journal
                        .broken(format!("{op:?} was acknowledged after another writer had taken over"));
                }
                if let Some((lock, token)) = plan.fence {
                    self.shown[lock] = token;
                }
                self.points.pass(Point::Acknowledged);
                return self.scene.token().put(version.get());
            }
            Err(error) => error,
        };
        let is_stale = error.kind() == Kind::Fenced && error.to_string().contains("is stale");
        match error.kind() {
            // The role was lost to a stand-by, or the operation has itself thought better of it.
            Kind::Busy | Kind::ReadOnly | Kind::Aborted => self.journal.note(Event::Refused { op: op.0 }),
            Kind::Fenced if is_stale => {
                self.journal.note(Event::Refused { op: op.0 });
                if expected == Expected::MayBeStale {
                    self.journal.note(Event::StaleRefused);
                } else {
                    self.journal.broken(format!("{op:?} holds its lock, and its token is refused: {error}"));
                }
            }
            Kind::Fenced => {
                let is_certain = expected == Expected::Overtaken { in_closure: true };
                let event =
                    if is_certain { Event::Refused { op: op.0 } } else { Event::Unknown { op: op.0 } };
                self.journal.note(event);
                self.journal.note(Event::Fenced);
                // Nor is what comes after.
                let plan = self.plan();
                if self.thread == 0 && matches!(expected, Expected::Overtaken { .. }) {
                    self.submit_plan(&plan, Expected::Done)?;
                }
                // The way back is to close the store, look, and open it again.
                std::process::exit(0);
            }
            kind => {
                self.journal.note(Event::Unknown { op: op.0 });
                bail!("{op:?} failed as {}: {error}", kind.as_str());
            }
        }
        Ok(())
    }
}
