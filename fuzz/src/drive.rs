//! Doing to a store what a plan says.

mod faulty;
mod others;
mod past;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use cohab::{
    Batch, Error, History, Integrity, Kind, Options, Retention, Role, Snapshot, Store, Timestamp,
    Transaction, Update, Version,
};
use tempfile::TempDir;

use crate::compare::{drop_mode, owned, verify};
use crate::faults::Faults;
use crate::material::Key;
use crate::model::Answer;
use crate::plan::{Action, Change, Expectation, Plan, Step};
use crate::replay::replay;
use crate::{Model, memory_dir};

/// How many snapshots are kept at a time.
const HELD_MAX: usize = 3;

/// Carries a plan out on a store and its model, and compares the two after each step.
///
/// # Panics
///
/// If they differ.
pub fn run(plan: &Plan) {
    let mut driver = Driver::new(plan);
    for step in &plan.steps {
        driver.step(step);
    }
    verify(&driver.snapshot());
    driver.expect_alone(driver.store.check(), Integrity::Sound);
}

struct Driver {
    model: Model,
    /// What the store was at each version, this one's included.
    past: BTreeMap<Version, Model>,
    /// Which version is kept under which name.
    kept: BTreeMap<u8, Version>,
    held: VecDeque<(Snapshot, Model)>,
    /// Handles before their directory, because fields are dropped in order.
    reader: Option<Store>,
    replica: Option<Store>,
    store: Store,
    faults: Faults,
    /// How many stores were made of backups.
    restored: usize,
    retention: Retention,
    dir: TempDir,
}

/// A wall clock that stands still, so that a plan does the same whenever it is run.
#[derive(Debug)]
struct Noon;

impl cohab::Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_767_268_800_000_000)
    }
}

impl Driver {
    fn new(plan: &Plan) -> Self {
        let dir = memory_dir();
        let versions = plan.retention.map_or(u64::MAX, u64::from);
        let retention = Retention::UNBOUNDED.versions(versions);
        let faults = Faults::default();
        let store = open(&dir.path().join("store-0"), retention, &faults);
        let model = Model::default();
        Self {
            past: BTreeMap::from([(model.version, model.clone())]),
            model,
            kept: BTreeMap::new(),
            held: VecDeque::new(),
            reader: None,
            replica: None,
            store,
            faults,
            restored: 0,
            retention,
            dir,
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.store.snapshot().expect("a snapshot can be taken")
    }

    fn step(&mut self, step: &Step) {
        let before = self.model.clone();
        match step {
            Step::Write { actions, is_stubborn, gives_up } => self.write(actions, *is_stubborn, *gives_up),
            Step::Submit { expectations, changes } => self.submit(expectations, changes),
            Step::Hold => {
                self.held.push_back((self.snapshot(), self.model.clone()));
                if self.held.len() > HELD_MAX {
                    self.release();
                }
            }
            Step::Release => self.release(),
            Step::Maintain => _ = self.store.maintain().expect("the store is sound"),
            Step::Reopen => {
                let version = self.store.reopen().expect("the store can be opened again");
                assert_eq!(version, self.model.version);
                self.forget_held();
            }
            Step::Restart => self.restart(None),
            Step::Restore => self.restore(),
            Step::Check => {
                self.expect_alone(self.store.check(), Integrity::Sound);
            }
            Step::Compact => {
                self.expect_alone(self.store.compact().map(drop), ());
            }
            Step::ReadBeside => {
                let reader = Store::options().role(Role::Reader).open(self.store.path());
                let reader = reader.expect("the store can be read beside its writer");
                self.model.compare(&reader.snapshot().expect("a snapshot can be taken"));
            }
            Step::Read => self.read(),
            Step::Succeed => self.succeed(),
            Step::Keep { name, back } => self.keep(*name, *back),
            Step::Forget(name) => self.forget(*name),
            Step::ReadKept(name) => self.read_kept(*name),
            Step::Past(back) => self.read_past(*back),
            Step::RollBack { back, namespace } => self.roll_back(*back, *namespace),
            Step::Undo => self.undo(),
            Step::Replicate { is_complete } => self.replicate(*is_complete),
            Step::Under(fault, work) => self.under(*fault, work),
        }
        let snapshot = self.snapshot();
        self.model.compare(&snapshot);
        self.past.insert(self.model.version, self.model.clone());
        if self.model.version > before.version {
            replay(&snapshot, &before, &self.model);
        }
    }

    /// Checks that what needs the file to itself was done, or was refused because a snapshot is open.
    fn expect_alone<T: PartialEq + Debug>(&self, done: cohab::Result<T>, expected: T) {
        match done.map_err(|error| error.kind()) {
            // Another handle keeps its snapshot for a while, but not for ever.
            Err(Kind::InUse) => assert!(
                !self.held.is_empty() || self.reader.is_some(),
                "a snapshot is open, and it is nobody's"
            ),
            done => {
                assert!(self.held.is_empty(), "a snapshot is open: {done:?}");
                assert_eq!(done, Ok(expected));
            }
        }
    }

    fn write(&mut self, actions: &[Action], is_stubborn: bool, gives_up: bool) {
        let mut trial = self.model.begin();
        let mut expected = Ok(());
        let committed = self.store.write(|tx| {
            for action in actions {
                let update = update_of(&trial, action);
                let wanted = trial.act(action);
                let answer = act(tx, action, &update);
                assert_eq!(wanted, answer.as_ref().map(Answer::clone).map_err(Error::kind), "{action:?}");
                if !is_stubborn && let Err(error) = answer {
                    expected = Err(error.kind());
                    return Err(error);
                }
            }
            if gives_up {
                expected = Err(Kind::Aborted);
                return Err(Error::abort("it was planned"));
            }
            Ok(())
        });
        let expected = expected.map(|()| self.model.commit(trial));
        assert_eq!(committed.map(|committed| committed.version).map_err(|error| error.kind()), expected);
    }

    fn submit(&mut self, expectations: &[Expectation], changes: &[Change]) {
        let mut batch = Batch::new();
        let mut failing = 0;
        for expectation in expectations {
            let (precondition, holds) = self.model.expectation(expectation);
            batch = batch.expect(precondition);
            failing += usize::from(!holds);
        }
        batch = changes.iter().fold(batch, |batch, change| change.add_to(batch));
        let mut trial = self.model.begin();
        let carried_out = trial.submit(changes);
        match (self.store.submit(batch), carried_out) {
            (Ok(version), Ok(())) if failing == 0 => assert_eq!(version, self.model.commit(trial)),
            (Err(error), Err(kind)) if failing == 0 => assert_eq!(error.kind(), kind, "{error}"),
            // A key that is too long is refused wherever it is met.
            (Err(error), wanted) if error.kind() == Kind::InvalidInput => {
                let is_too_long = expectations.iter().filter_map(Expectation::key).any(Key::is_too_long);
                assert!(is_too_long || wanted == Err(Kind::InvalidInput), "{error}");
            }
            (Err(error), _) if failing > 0 && error.kind() == Kind::Conflict => {
                assert_eq!(error.refusals().len(), failing, "{error}");
            }
            (submitted, wanted) => {
                panic!("{submitted:?}, but {failing} preconditions fail and then {wanted:?}")
            }
        }
    }

    /// Lets go of the oldest snapshot, which must not have changed.
    fn release(&mut self) {
        if let Some((snapshot, model)) = self.held.pop_front() {
            model.compare(&snapshot);
            verify(&snapshot);
        }
    }

    /// Lets go of snapshots of a file that was closed under them.
    fn forget_held(&mut self) {
        for (snapshot, model) in self.held.drain(..) {
            model.compare_if_open(&snapshot);
        }
    }

    /// Opens the store anew, or the one at another path.
    fn restart(&mut self, path: Option<&Path>) {
        // In place of the old handle, so that this one is closed before the new one is opened.
        let nowhere = Store::options().role(Role::Reader).open(self.store.path());
        drop(std::mem::replace(&mut self.store, nowhere.expect("the store can be read beside its writer")));
        if path.is_some() {
            // They are of the store that was.
            (self.reader, self.replica) = (None, None);
        }
        self.store = open(path.unwrap_or(self.store.path()), self.retention, &self.faults);
        self.forget_held();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn restore(&mut self) {
        self.restored += 1;
        let token = self.snapshot().token();
        let backup = self.dir.path().join(format!("backup-{}", self.restored));
        let store = self.dir.path().join(format!("store-{}", self.restored));
        let version = self.store.backup(&backup, |_| ()).expect("the store can be backed up");
        assert_eq!(version, self.model.version);
        let reader = Store::options().role(Role::Reader).open(&backup).expect("a backup can be read");
        self.model.compare(&reader.snapshot().expect("a snapshot can be taken"));
        let restored = Store::restore(&backup, &store, |_| ()).expect("a store can be made of a backup");
        assert_eq!(restored.snapshot().expect("a snapshot can be taken").origin(), Some(token));
        assert_ne!(restored.id(), self.store.id());
        drop(restored);
        self.restart(Some(&store));
    }
}

fn open(path: &Path, retention: Retention, faults: &Faults) -> Store {
    options(retention, faults).open(path).expect("the store can be opened")
}

impl Change {
    fn add_to(&self, batch: Batch) -> Batch {
        match self {
            Self::Put(namespace, key, value) => {
                batch.put(&namespace.name(), key.as_ref().to_vec(), value.to_vec())
            }
            Self::PutCreating(namespace, key, value) => {
                batch.put_creating(&namespace.name(), key.as_ref().to_vec(), value.to_vec())
            }
            Self::Delete(namespace, key) => batch.delete(&namespace.name(), key.as_ref().to_vec()),
        }
    }
}

fn options(retention: Retention, faults: &Faults) -> Options {
    faults.install(Store::options().retention(retention).clock(Noon).cache_bytes(1 << 20))
}

/// Makes the update that an action stands for. What it expects depends on what the model knows before.
fn update_of(model: &Model, action: &Action) -> Update {
    let Action::Update { namespace, update } = action else { return Update::new() };
    let mut made = Update::new();
    if let Some(title) = update.title {
        made = made.title(title.to_string());
    }
    if let Some(label) = update.label {
        made = made.label((label % 4).to_string(), label.to_string());
    }
    if let Some(protected) = update.protected {
        made = made.protected(protected);
    }
    if let Some(keeps_history) = update.keeps_history {
        made = made.history(if keeps_history { History::Full } else { History::Off });
    }
    match model.expected_meta_version(&namespace.name(), update) {
        Some(version) => made.if_meta_version(version),
        None => made,
    }
}

/// Does one thing in a transaction.
fn act(tx: &mut Transaction<'_, '_>, action: &Action, update: &Update) -> cohab::Result<Answer> {
    Ok(match action {
        Action::Put(namespace, key, value) => {
            tx.put(namespace.name(), key, value.to_vec())?;
            Answer::Done
        }
        Action::Delete(namespace, key) => Answer::Existed(tx.delete(namespace.name(), key)?),
        Action::Create(namespace) => Answer::Identity(tx.create_namespace(namespace.name())?),
        Action::Ensure(namespace) => Answer::Identity(tx.ensure_namespace(namespace.name())?),
        Action::Update { namespace, .. } => {
            tx.update_namespace(namespace.name(), update)?;
            Answer::Done
        }
        Action::Rename(from, to) => {
            tx.rename_namespace(from.name(), to.name())?;
            Answer::Done
        }
        Action::Copy(from, to) => Answer::Identity(tx.copy_namespace(from.name(), to.name())?),
        Action::Drop { namespace, with_contents } => {
            tx.drop_namespace(namespace.name(), drop_mode(*with_contents))?;
            Answer::Done
        }
        Action::Undrop(namespace) => Answer::Identity(tx.undrop_namespace(namespace.name())?),
        Action::Purge(namespace) => Answer::Identity(tx.purge_namespace(namespace.name())?),
        Action::Get(namespace, key) => {
            let value = tx.get(namespace.name(), key)?;
            Answer::Value(value.map(|value| (value.to_vec(), value.version())))
        }
        Action::Range(namespace, from, to) => {
            let mut namespace = tx.namespace(namespace.name())?;
            let entries = namespace.range((from.as_ref(), to.as_ref()))?;
            Answer::Entries(entries.map(|entry| Ok(owned(&entry?))).collect::<cohab::Result<_>>()?)
        }
        Action::Prefix(namespace, prefix) => {
            let mut namespace = tx.namespace(namespace.name())?;
            let entries = namespace.prefix(prefix)?;
            Answer::Entries(entries.map(|entry| Ok(owned(&entry?))).collect::<cohab::Result<_>>()?)
        }
        Action::Count(namespace) => Answer::Count(tx.namespace(namespace.name())?.count()),
        Action::Names => Answer::Names(tx.namespace_names()?),
    })
}
