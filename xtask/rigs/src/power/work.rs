//! What is written: each transaction is a number, from which follows everything it does, to a store and to the model.

use std::collections::BTreeMap;

use cohab::{Batch, DropMode, Error, Fence, Kind, Name, Result, Store, Transaction, Version};

use crate::random::Random;

/// The namespaces that are always there.
const FIXED: [&str; 4] = ["accounts", "bulk", "orders", "stock"];

/// Those that come and go.
const COMING: [&str; 3] = ["side/a", "side/b", "side/c"];

/// The number of the transaction that begins a store.
pub(crate) const FIRST: u64 = 0;

/// A value: what it is made of, and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    seed: u64,
    len: usize,
}

impl Content {
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let mut bytes = Vec::with_capacity(self.len + 8);
        while bytes.len() < self.len {
            bytes.extend_from_slice(&random.next().to_le_bytes());
        }
        bytes.truncate(self.len);
        bytes
    }
}

/// One thing that a transaction does.
#[derive(Clone, Debug)]
enum Step {
    Create(&'static str),
    Put(&'static str, u8, Content),
    Delete(&'static str, u8),
    /// Drops a namespace with what it holds, or makes it.
    Toggle(&'static str),
    /// Renames one, if it is there and the other is not.
    Rename(&'static str, &'static str),
    /// Gives up for good what was dropped under a name.
    Purge(&'static str),
}

/// A transaction.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    number: u64,
    steps: Vec<Step>,
    is_batch: bool,
}

impl Work {
    pub(crate) fn of(number: u64) -> Self {
        let mut random = Random::new(number);
        if number == FIRST {
            let steps = FIXED.into_iter().map(Step::Create).collect();
            return Self { number, steps, is_batch: false };
        }
        let kind = random.below(16);
        let mut steps: Vec<Step> = (0..=random.below(5)).map(|_| small(&mut random)).collect();
        match kind {
            0 => steps.push(Step::Toggle(COMING[random.index(COMING.len())])),
            1 => {
                let from = random.index(COMING.len());
                steps.push(Step::Rename(COMING[from], COMING[(from + 1) % COMING.len()]));
            }
            2 => steps.push(Step::Purge(COMING[random.index(COMING.len())])),
            3 => {
                let len = if random.one_in(8) { 1 << 20 } else { 8 << 10 << random.below(5) };
                steps.push(put("bulk", 6, len, &mut random));
            }
            4 => (0..40).for_each(|_| steps.push(small(&mut random))),
            _ => {}
        }
        // Always a change, or it would make no version.
        steps.push(put("accounts", 1, 64, &mut random));
        Self { number, steps, is_batch: kind >= 10 }
    }

    pub(crate) fn id(&self) -> u64 {
        self.number
    }

    fn label(&self) -> String {
        format!("work {}", self.number)
    }

    /// Reads its number from the label that a transaction has in the log.
    pub(crate) fn id_of(label: &str) -> Option<u64> {
        label.strip_prefix("work ")?.parse().ok()
    }

    /// Commits it, as a batch or as a transaction.
    pub(crate) fn commit(&self, store: &Store, fence: Option<&Fence>) -> Result<Version> {
        if self.is_batch {
            let mut batch = Batch::new().label(self.label());
            if let Some(fence) = fence {
                batch = batch.fence(fence.clone());
            }
            for step in &self.steps {
                batch = match *step {
                    Step::Put(namespace, key, content) => {
                        batch.put(&Name::new(namespace)?, vec![key], content.bytes())
                    }
                    Step::Delete(namespace, key) => batch.delete(&Name::new(namespace)?, vec![key]),
                    _ => return Err(Error::abort("a batch of what batches cannot do")),
                };
            }
            return store.submit(batch);
        }
        let committed = store.write(|tx| {
            tx.label(self.label())?;
            if let Some(fence) = fence {
                tx.fence(fence)?;
            }
            self.steps.iter().try_for_each(|step| step.run(tx))
        });
        Ok(committed?.version)
    }
}

fn put(namespace: &'static str, keys: u64, len: u64, random: &mut Random) -> Step {
    let key = u8::try_from(random.below(keys)).expect("is small");
    let len = usize::try_from(len).expect("is small");
    Step::Put(namespace, key, Content { seed: random.next(), len })
}

fn small(random: &mut Random) -> Step {
    let namespace = FIXED[[0, 2, 3][random.index(3)]];
    if random.one_in(5) {
        return Step::Delete(namespace, u8::try_from(1 + random.below(60)).expect("is small"));
    }
    let len = random.below(700);
    put(namespace, 60, len, random)
}

impl Step {
    fn run(&self, tx: &mut Transaction<'_, '_>) -> Result<()> {
        let is_there = |tx: &mut Transaction<'_, '_>, name: &str| match tx.namespace_info(name) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        match *self {
            Self::Create(name) => tx.create_namespace(name).map(drop),
            Self::Put(namespace, key, content) => tx.put(namespace, [key], content.bytes()),
            Self::Delete(namespace, key) => tx.delete(namespace, [key]).map(drop),
            Self::Toggle(name) => {
                if is_there(tx, name)? {
                    return tx.drop_namespace(name, DropMode::WithContents);
                }
                tx.create_namespace(name)?;
                (0..9u8).try_for_each(|key| tx.put(name, [key], name))
            }
            Self::Rename(from, to) => {
                if is_there(tx, from)? && !is_there(tx, to)? {
                    tx.rename_namespace(from, to)?;
                }
                Ok(())
            }
            Self::Purge(name) => match tx.purge_namespace(name) {
                Err(error) if error.kind() != Kind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}

/// What the store holds, as it should be.
#[derive(Clone, Default, Debug)]
pub(crate) struct Model {
    namespaces: BTreeMap<&'static str, Entries>,
}

type Entries = BTreeMap<u8, Held>;

#[derive(Clone, Copy, Debug)]
enum Held {
    Content(Content),
    /// The name of the namespace that it was put into first.
    Name(&'static str),
}

impl Model {
    pub(crate) fn apply(&mut self, work: &Work) {
        for step in &work.steps {
            match *step {
                Step::Create(name) => drop(self.namespaces.insert(name, Entries::new())),
                Step::Put(name, key, content) => {
                    self.namespaces.entry(name).or_default().insert(key, Held::Content(content));
                }
                Step::Delete(name, key) => {
                    self.namespaces.entry(name).or_default().remove(&key);
                }
                Step::Toggle(name) => {
                    if self.namespaces.remove(name).is_none() {
                        let entries = (0..9).map(|key| (key, Held::Name(name))).collect();
                        self.namespaces.insert(name, entries);
                    }
                }
                Step::Rename(from, to) => {
                    if !self.namespaces.contains_key(to)
                        && let Some(entries) = self.namespaces.remove(from)
                    {
                        self.namespaces.insert(to, entries);
                    }
                }
                Step::Purge(_) => {}
            }
        }
    }

    /// Compares a snapshot with it, every key and every byte. Returns how many keys there are.
    pub(crate) fn compare(&self, snapshot: &cohab::Snapshot) -> anyhow::Result<u64> {
        let version = snapshot.version();
        let there: Vec<String> = snapshot
            .namespaces()?
            .map(|info| Ok(info?.name.to_string()))
            .filter(|name| !name.as_ref().is_ok_and(|name: &String| name.starts_with('_')))
            .collect::<Result<_>>()?;
        let expected: Vec<&str> = self.namespaces.keys().copied().collect();
        anyhow::ensure!(there == expected, "version {version} has namespaces {there:?}, not {expected:?}");
        let mut keys = 0;
        for (&name, entries) in &self.namespaces {
            let mut expected = entries.iter();
            let view = snapshot.namespace(name)?;
            let mut range = match view.all() {
                // What a namespace held in the past that was purged since is not known, and said to be so.
                Err(error) if error.kind() == Kind::NoHistory && COMING.contains(&name) => continue,
                range => range?,
            };
            while let Some(entry) = range.step()? {
                let Some((key, held)) = expected.next() else {
                    let key = entry.key().escape_ascii();
                    anyhow::bail!("version {version} has a key too many in {name}: {key}")
                };
                let is_same = match held {
                    Held::Content(content) => content.bytes() == entry.value(),
                    Held::Name(name) => name.as_bytes() == entry.value(),
                };
                if entry.key() != [*key] || !is_same {
                    let found = entry.key().escape_ascii();
                    anyhow::bail!("version {version} has another {name}/{found} than {name}/{key}: {held:?}");
                }
                keys += 1;
            }
            if let Some((key, _)) = expected.next() {
                anyhow::bail!("version {version} lacks {name}/{key}");
            }
        }
        Ok(keys)
    }
}
