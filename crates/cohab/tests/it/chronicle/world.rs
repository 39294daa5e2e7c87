//! A store and its chronicle, led along the same random operations.

use super::*;

/// Random keys, values, names and operations.
impl Random {
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[usize::try_from(self.below(all.len() as u64)).expect("is small")]
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn name(&mut self) -> String {
        // Look-alikes on purpose: one is the prefix of the other.
        (*self.pick(&["a", "a/b", "a0", "b", "b", "c"])).to_owned()
    }

    pub(crate) fn key(&mut self) -> Vec<u8> {
        match self.below(40) {
            0 => Vec::new(),
            1 => vec![0xff; 3],
            2 => vec![7; cohab::limits::KEY_BYTES_MAX],
            3 => vec![0],
            4 => vec![0, 0],
            // Different lengths, prefixes of each other among them.
            number => {
                let number = u8::try_from(number).expect("is small");
                vec![number / 8; usize::from(number % 4) + 1]
            }
        }
    }

    pub(crate) fn value(&mut self) -> Vec<u8> {
        let length = match self.below(60) {
            0 => 20_000 + self.below(80_000),
            1..=10 => 0,
            11..30 => 1,
            _ => self.below(40),
        };
        let byte = u8::try_from(self.below(3)).expect("is small");
        vec![byte; usize::try_from(length).expect("is small")]
    }

    pub(crate) fn op(&mut self) -> Op {
        match self.below(100) {
            0..50 => Op::Put(self.name(), self.key(), self.value()),
            50..68 => Op::Delete(self.name(), self.key()),
            68..74 => {
                let history = if self.one_in(5) { History::Off } else { History::Full };
                Op::Create(self.name(), history)
            }
            74..79 => Op::Rename(self.name(), self.name()),
            79..82 => {
                let title = format!("title {}", self.below(3));
                Op::Describe(self.name(), title)
            }
            82..84 => {
                let is_protected = self.one_in(3);
                Op::Protect(self.name(), is_protected)
            }
            84..87 => {
                let history = if self.one_in(3) { History::Off } else { History::Full };
                Op::History(self.name(), history)
            }
            87..89 => Op::Copy(self.name(), self.name()),
            89..94 => {
                let mode = if self.one_in(4) { DropMode::IfEmpty } else { DropMode::WithContents };
                Op::Drop(self.name(), mode)
            }
            94..97 => Op::Undrop(self.name()),
            97..98 => Op::Purge(self.name()),
            _ => Op::Safeguard(self.name()),
        }
    }

    pub(crate) fn version(&mut self, last: Version) -> Version {
        v(self.below(last.get() + 1))
    }

    pub(crate) fn bound(&mut self) -> Bound<Vec<u8>> {
        let mut key = self.key();
        if self.one_in(8) {
            // Longer than any key may be.
            key.resize(cohab::limits::KEY_BYTES_MAX + 1 + key.len(), 3);
        }
        match self.below(5) {
            0 => Bound::Unbounded,
            1..3 => Bound::Included(key),
            _ => Bound::Excluded(key),
        }
    }
}

/// A clock that a test sets.
#[derive(Clone, Debug)]
pub(crate) struct SetClock(Arc<AtomicU64>);

impl Default for SetClock {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(1_000_000_000_000_000)))
    }
}

impl SetClock {
    pub(crate) fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A store and its chronicle.
pub(crate) struct World {
    pub(crate) scratch: Scratch,
    options: Options,
    pub(crate) store: Store,
    pub(crate) clock: SetClock,
    pub(crate) chronicle: Chronicle,
    pub(crate) random: Random,
    /// Whether the log loses its beginning, so that not all that the model knows can be read.
    pub(crate) is_trimmed: bool,
}

/// What besides ordinary transactions may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct May {
    pub(crate) roll_back: bool,
    pub(crate) reopen: bool,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let (scratch, clock) = (Scratch::new(), SetClock::default());
        let options = options.clock(clock.clone()).register(false);
        let store = options.clone().open(scratch.path()).expect("can be made");
        let chronicle = Chronicle::new();
        Self { scratch, options, store, clock, chronicle, random: Random(seed), is_trimmed: false }
    }

    pub(crate) fn draft(&self) -> Draft {
        self.chronicle.draft(self.clock.now(), self.store.epoch().expect("is the writer"))
    }

    /// Moves the clock, also back.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now().as_micros();
        let step = self.random.below(1000);
        self.clock.set(if self.random.one_in(4) { now - step } else { now + step });
    }

    pub(crate) fn step(&mut self, may: May) {
        self.tick();
        match self.random.below(100) {
            0..8 => self.group(),
            8..12 => drop(self.store.maintain().expect("can be done")),
            12..15 if may.reopen => self.reopen(),
            15..25 if may.roll_back => self.roll_back(),
            25..30 if may.roll_back => _ = self.undo(),
            _ => self.write(),
        }
        let version = self.store.snapshot().expect("can be taken").version();
        assert_eq!(version, self.chronicle.version(), "versions have no gaps and count what changed");
    }

    pub(crate) fn reopen(&mut self) {
        self.away();
        self.back();
    }

    /// Closes the store: another one takes its place.
    fn away(&mut self) {
        let elsewhere = Scratch::new();
        self.store = Store::open(elsewhere.path()).expect("can be made");
    }

    fn back(&mut self) {
        self.store = self.options.clone().open(self.scratch.path()).expect("is there");
    }

    /// Copies the store's files, as somebody does who copies directories.
    pub(crate) fn copy_files(&mut self) -> std::path::PathBuf {
        self.away();
        let copy = self.scratch.file(&format!("copy-{}", self.random.next()));
        std::fs::create_dir(&copy).expect("can be made");
        for file in ["store.redb", "store.json"] {
            std::fs::copy(self.scratch.path().join(file), copy.join(file)).expect("can be copied");
        }
        self.back();
        copy
    }

    /// Puts a copy of the store's files in the place of what is there.
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub(crate) fn put_back(&mut self, copy: std::path::PathBuf, version: Version) {
        self.away();
        for file in ["store.redb", "store.json"] {
            std::fs::copy(copy.join(file), self.scratch.path().join(file)).expect("can be copied");
        }
        self.chronicle.truncate(version);
        self.back();
    }

    pub(crate) fn write(&mut self) {
        let ops: Vec<_> = (0..=self.random.below(7)).map(|_| self.random.op()).collect();
        self.write_ops(&ops);
    }

    /// Does these in one transaction. What is refused is left out.
    pub(crate) fn write_ops(&mut self, ops: &[Op]) {
        let mut draft = self.draft();
        let label =
            if self.random.one_in(3) { format!("label {}", draft.state.version) } else { String::new() };
        let committed = self.store.write(|tx| {
            tx.label(&label)?;
            for op in ops {
                same(draft.apply(op), &carry_out(tx, op), op);
            }
            Ok(())
        });
        draft.state.label = label;
        self.chronicle.commit(draft);
        assert_eq!(committed.expect("can be committed").version, self.chronicle.version(), "{ops:?}");
    }

    /// Several threads submit at once.
    fn group(&mut self) {
        let live: Vec<Name> = self.chronicle.tip().live().iter().map(|ns| ns.metadata.name.clone()).collect();
        if live.is_empty() {
            return;
        }
        let mut batches = Vec::new();
        for i in 0..=self.random.below(3) {
            let mut ops = Vec::new();
            for _ in 0..=self.random.below(3) {
                let name = self.random.pick(&live).to_string();
                ops.push(Op::Put(name, self.random.key(), self.random.value()));
                ops.push(Op::Delete(self.random.pick(&live).to_string(), self.random.key()));
            }
            batches.push((format!("batch {i}"), ops));
        }
        let store = &self.store;
        let mut done: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = batches
                .into_iter()
                .map(|(label, ops)| {
                    scope.spawn(move || {
                        let mut batch = Batch::new().label(&label);
                        for op in &ops {
                            let name = |name: &str| Name::new(name).expect("is a name");
                            batch = match op {
                                Op::Put(it, key, value) => batch.put(&name(it), key.clone(), value.clone()),
                                Op::Delete(it, key) => batch.delete(&name(it), key.clone()),
                                _ => unreachable!("others were not made"),
                            };
                        }
                        (store.submit(batch).expect("is committed"), label, ops)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
        });
        done.sort_by_key(|(version, ..)| *version);
        for (version, label, ops) in done {
            let mut draft = self.draft();
            draft.state.label = label;
            for op in &ops {
                draft.apply(op).expect("is there");
            }
            self.chronicle.commit(draft);
            assert_eq!(version, self.chronicle.version());
        }
    }

    pub(crate) fn roll_back(&mut self) {
        let mut to = self.random.version(self.chronicle.version());
        if self.random.one_in(20) {
            to = to.next();
        }
        let mut draft = self.draft();
        let chronicle = &self.chronicle;
        let name = (!self.random.one_in(3)).then(|| self.random.name());
        let more: Vec<_> = (0..self.random.below(3)).map(|_| self.random.op()).collect();
        let version = draft.state.version;
        let store = &self.store;
        let expected = match &name {
            None => chronicle.roll_back_store(&mut draft, to, Operation::RollBack),
            Some(name) => chronicle.roll_back_namespace(&mut draft, name, to).map(|changes| (changes, 0)),
        };
        let committed = store.write(|tx| {
            let done = match &name {
                None => tx.rollback(to)?,
                Some(name) => tx.rollback_namespace(name, to)?,
            };
            let (changes, namespaces) = expected.expect("the model refuses it");
            assert_eq!((done.changes, done.namespaces), (changes, namespaces), "{name:?} to {to}");
            assert!(done.snapshot.as_str().starts_with(&format!("safety/{version}-rollback")));
            for op in &more {
                same(draft.apply(op), &carry_out(tx, op), op);
            }
            Ok(())
        });
        match committed {
            Ok(committed) => {
                draft.state.label = match &name {
                    None => format!("roll back to version {to}"),
                    Some(name) => format!("roll back `{name}` to version {to}"),
                };
                self.chronicle.commit(draft);
                assert_eq!(committed.version, self.chronicle.version());
            }
            Err(error) if error.kind() == Kind::TooOld => {
                assert!(self.is_trimmed, "{error}");
                let oldest = store.snapshot().expect("can be taken").oldest_readable();
                assert!(to < oldest, "{error}");
                assert_eq!(error.oldest_version(), Some(oldest));
            }
            Err(error) => {
                assert_eq!(expected, Err(error.kind()), "{name:?} to {to}: {error}");
                self.compare_tip();
            }
        }
    }

    pub(crate) fn undo(&mut self) -> Done {
        let mut draft = self.draft();
        let expected = self.chronicle.undo(&mut draft);
        let committed = undo(&self.store);
        match committed {
            Ok(done) => {
                let (before, changes) = expected.expect("the model refuses it");
                assert_eq!(done.value.changes, changes, "undo to {before}");
                assert!(done.value.undone.iter().all(|it| it.kept.version == before), "{done:?}");
                let what: Vec<_> = done.value.undone.iter().map(cohab::NamedSnapshot::purpose).collect();
                draft.state.label = format!("undo to {}", what.join(", "));
                self.chronicle.commit(draft);
                assert_eq!(done.version, self.chronicle.version());
                Ok(())
            }
            Err(error) if error.kind() == Kind::TooOld && self.is_trimmed => Err(Kind::TooOld),
            Err(error) => {
                assert_eq!(expected.map(drop), Err(error.kind()), "{error}");
                self.compare_tip();
                Err(error.kind())
            }
        }
    }

    /// Compares the present, and the snapshots that the store took by itself.
    pub(crate) fn compare_tip(&mut self) {
        let snapshot = self.store.snapshot().expect("can be taken");
        assert_eq!(snapshot.version(), self.chronicle.version());
        compare(&self.chronicle, &snapshot, self.chronicle.version(), &mut self.random);
        if self.is_trimmed {
            return;
        }
        let found: Vec<_> = snapshot.named_snapshots().expect("can be listed");
        let found: Vec<_> = found
            .iter()
            .filter_map(|it| {
                let safety = it.kept.as_safety()?;
                Some(Safety {
                    before: it.kept.version,
                    name: it.name.to_string(),
                    operation: safety.operation,
                    namespace: safety.namespace,
                    undone: safety.undone,
                    lapsed: it.kept.lapsed.is_some(),
                })
            })
            .collect();
        assert_eq!(found, self.chronicle.safeties);
    }

    pub(crate) fn verify(&self) {
        let report = self.store.snapshot().expect("can be taken").verify(|_| ()).expect("can be verified");
        assert!(report.is_sound(), "{:?}", report.differences);
    }
}

/// Undoes the last thing that destroyed something.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime")]
pub(crate) fn undo(store: &Store) -> Result<cohab::Committed<cohab::Undone>> {
    store.write(|tx| tx.undo())
}

fn same(expected: Done, done: &Result<()>, op: &Op) {
    match (expected, done) {
        (Ok(()), Ok(())) => {}
        (Err(kind), Err(error)) => assert_eq!(error.kind(), kind, "{op:?}: {error}"),
        _ => panic!("{op:?}: the model says {expected:?}, the store {done:?}"),
    }
}
