//! Everything that a store says, and whether what somebody reads of it is that.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cohab::{Kind, LogItem, NamespaceView, Result, Snapshot, Version};
use rapidhash::v3::rapidhash_v3;

/// A namespace that the rig itself writes to, of which nothing is expected.
pub(super) const PROBE: &str = "probe";

/// How far back the earlier versions lie that are read.
const PAST: [u64; 3] = [1, 5, 17];

/// How many errors of a case are kept in full.
const SAID_MAX: usize = 4;

/// A key, its value, and the version that set it.
type Entry = (Vec<u8>, Vec<u8>, Version);

/// What the store said when it was whole.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) version: Version,
    namespaces: BTreeMap<String, Vec<Entry>>,
    /// What else there is to read, by what it is, as a hash.
    parts: BTreeMap<String, u64>,
}

/// What came of reading everything.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What was read and is not so, without an error.
    pub(super) wrong: Vec<String>,
    /// How often which error was met.
    pub(super) errors: BTreeMap<String, u32>,
    /// The first of them, in full.
    pub(super) said: Vec<String>,
    /// Errors that do not say that there is damage.
    pub(super) misleading: Vec<String>,
}

impl Reading {
    pub(super) fn is_as_it_was(&self) -> bool {
        self.wrong.is_empty() && self.errors.is_empty()
    }

    /// Notes an error. Damage has to be called that; after it the engine may refuse to go on.
    pub(super) fn note(&mut self, what: &str, error: &cohab::Error) {
        let kind = error.kind();
        *self.errors.entry(kind.as_str().to_owned()).or_default() += 1;
        if self.said.len() < SAID_MAX {
            self.said.push(format!("{what}: {error}"));
        }
        let says_so = matches!(kind, Kind::Corrupt | Kind::Format | Kind::NeedsRecovery | Kind::Aborted | Kind::Poisoned)
                // A commit that meets it half-way; the cause is told along.
                || kind == Kind::CommitUnknown;
        // A store that says so shows less than there was, and it is not the error that is wrong.
        if kind == Kind::NotFound {
            self.wrong.push(format!("{what}: {error}"));
        } else if !says_so {
            self.misleading.push(format!("{what}: {error:?}"));
        }
    }
}

impl Truth {
    /// Learns what a whole store says.
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self> {
        let mut truth = Self { version: snapshot.version(), ..Self::default() };
        for info in snapshot.namespaces()? {
            let name = info?.name.to_string();
            if name == PROBE {
                continue;
            }
            let mut entries = Vec::new();
            for entry in snapshot.namespace(&name)?.all()? {
                let entry = entry?;
                entries.push((entry.key().to_vec(), entry.value().to_vec(), entry.version()));
            }
            truth.namespaces.insert(name, entries);
        }
        for (what, read) in truth.parts_of(snapshot, &PAST) {
            truth.parts.insert(what, read?);
        }
        Ok(truth)
    }

    pub(super) fn entries(&self) -> usize {
        self.namespaces.values().map(Vec::len).sum()
    }

    pub(super) fn namespaces(&self) -> usize {
        self.namespaces.len()
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len() + 3 * self.namespaces.len()
    }

    /// Reads everything in every way there is; of earlier versions, which take longest, one by turns.
    pub(super) fn compare(&self, snapshot: &Snapshot, turn: u64, reading: &mut Reading) {
        for (name, expected) in &self.namespaces {
            if let Err(error) = entries_of(snapshot, name, expected, reading) {
                reading.note(name, &error);
            }
        }
        let turn = usize::try_from(turn % PAST.len() as u64).expect("is below a length");
        for (what, read) in self.parts_of(snapshot, &PAST[turn..=turn]) {
            match read {
                Ok(hash) if self.parts.get(&what) == Some(&hash) => {}
                Ok(_) => reading.wrong.push(what),
                Err(error) => reading.note(&what, &error),
            }
        }
    }

    /// Everything but the present entries.
    fn parts_of(&self, snapshot: &Snapshot, past: &[u64]) -> Vec<(String, Result<u64>)> {
        let last = self.version;
        let mut parts = vec![
            ("the list of namespaces".to_owned(), names(snapshot)),
            ("the named snapshots".to_owned(), snapshot.named_snapshots().map(|all| hash_of(&all))),
            ("the oldest version".to_owned(), Ok(snapshot.oldest_version().get())),
        ];
        parts.extend(snapshot.log(..=last).map(|record| {
            let version = record.as_ref().map_or(0, |record| record.version().get());
            let content = record.and_then(|record| {
                let mut hash = Hash::default();
                hash.add(&(record.time(), record.label(), record.instance(), record.epoch()));
                let chain = record.visit(|item| {
                    match &item {
                        LogItem::Change { namespace, change } => {
                            hash.add(&(namespace, change.before_version()));
                            hash.bytes(change.key());
                            hash.image(change.before());
                            hash.image(change.after());
                        }
                        other => hash.add(other),
                    }
                    Ok(())
                })?;
                hash.add(&chain);
                Ok(hash.0)
            });
            (format!("the log's record of version {version}"), content)
        }));
        for back in past {
            let version = Version::new(last.get().saturating_sub(*back));
            parts.push((format!("version {version}"), snapshot.at(version).and_then(|past| all_of(&past))));
            let diff = snapshot.diff(version, last).map(|diff| {
                let mut hash = Hash::default();
                for namespace in diff.namespaces() {
                    hash.add(&(namespace.id(), namespace.name(), namespace.contents()));
                    for change in namespace.changes() {
                        hash.bytes(change.key);
                        hash.image(change.before);
                        hash.image(change.after);
                    }
                }
                hash.0
            });
            parts.push((format!("what changed since version {version}"), diff));
        }
        parts.push(("the history of a key".to_owned(), history(snapshot)));
        parts
    }
}

/// Reads the present entries of a namespace in every way.
fn entries_of(snapshot: &Snapshot, name: &str, expected: &[Entry], reading: &mut Reading) -> Result<()> {
    let view = snapshot.namespace(name)?;
    if view.count() != expected.len() as u64 {
        reading.wrong.push(format!("count of {name}"));
    }
    for (scanned, what) in [(view.all(), "scan"), (view.reverse(..), "backward scan")] {
        let (mut read, mut wrong) = (0, false);
        let outcome = scanned.and_then(|mut range| {
            while let Some(entry) = range.step()? {
                let key = entry.key();
                let found = expected.binary_search_by(|(expected, ..)| expected[..].cmp(key));
                let is_right = found
                    .is_ok_and(|at| expected[at].1 == entry.value() && expected[at].2 == entry.version());
                wrong |= !is_right;
                read += 1;
            }
            Ok(())
        });
        match outcome {
            Ok(()) => wrong |= read != expected.len(),
            Err(error) => reading.note(&format!("{what} of {name}"), &error),
        }
        if wrong {
            reading.wrong.push(format!("{what} of {name}"));
        }
    }
    // Of a large namespace each time another part, and always the ends.
    for (at, (key, value, version)) in expected.iter().enumerate() {
        if expected.len() > 100 && at % 7 != 0 && at + 1 != expected.len() {
            continue;
        }
        match view.get(key) {
            Ok(Some(found)) if *found == value[..] && found.version() == *version => {}
            Ok(_) => reading.wrong.push(format!("key \"{}\" of {name}", key.escape_ascii())),
            Err(error) => reading.note(&format!("a look-up in {name}"), &error),
        }
        if at % 11 == 0 {
            ranges_at(&view, name, expected, at, reading);
        }
        if at % 5 == 0 {
            match view.get([&key[..], b"\x01"].concat()) {
                Ok(None) => {}
                Ok(Some(_)) => reading.wrong.push(format!("an absent key of {name}")),
                Err(error) => reading.note(&format!("an absent key of {name}"), &error),
            }
        }
    }
    Ok(())
}

/// Reads a few entries from one on, in both directions.
fn ranges_at(view: &NamespaceView<'_>, name: &str, expected: &[Entry], at: usize, reading: &mut Reading) {
    let key = &expected[at].0[..];
    let ahead: Vec<&Entry> = expected[at..].iter().take(3).collect();
    let back: Vec<&Entry> = expected[..=at].iter().rev().take(3).collect();
    for (range, expected, what) in [(view.range(key..), ahead, "ahead"), (view.reverse(..=key), back, "back")]
    {
        let read = range.and_then(|range| {
            let mut is_right = true;
            let mut read = 0;
            for (entry, expected) in range.take(3).zip(&expected) {
                let entry = entry?;
                is_right &= entry.key() == expected.0 && entry.value() == expected.1;
                read += 1;
            }
            Ok(is_right && read == expected.len())
        });
        match read {
            Ok(true) => {}
            Ok(false) => reading.wrong.push(format!("a range {what} in {name}")),
            Err(error) => reading.note(&format!("a range {what} in {name}"), &error),
        }
    }
}

fn names(snapshot: &Snapshot) -> Result<u64> {
    let mut hash = Hash::default();
    for info in snapshot.namespaces()?.chain(snapshot.dropped_namespaces()?) {
        let info = info?;
        if info.name.as_str() != PROBE {
            hash.add(&info);
        }
    }
    Ok(hash.0)
}

/// Everything that the present namespaces held then.
fn all_of(past: &Snapshot) -> Result<u64> {
    let mut hash = Hash::default();
    for info in past.namespaces()? {
        let info = info?;
        // What happened to this one was not recorded.
        if [PROBE, "quiet"].contains(&info.name.as_str()) {
            continue;
        }
        hash.add(&info.name);
        let view = past.namespace_by_id(info.id)?;
        let mut range = view.all()?;
        while let Some(entry) = range.step()? {
            hash.bytes(entry.key());
            hash.bytes(entry.value());
        }
    }
    Ok(hash.0)
}

fn history(snapshot: &Snapshot) -> Result<u64> {
    let mut hash = Hash::default();
    for version in snapshot.namespace("wide")?.history("key-00004")? {
        hash.add(&version?);
    }
    Ok(hash.0)
}

fn hash_of(what: &impl Debug) -> u64 {
    let mut hash = Hash::default();
    hash.add(what);
    hash.0
}

#[derive(Default)]
struct Hash(u64);

impl Hash {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = (self.0.rotate_left(7) ^ rapidhash_v3(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn image(&mut self, image: Option<&[u8]>) {
        self.bytes(&[u8::from(image.is_some())]);
        self.bytes(image.unwrap_or_default());
    }

    fn add(&mut self, what: &impl Debug) {
        self.bytes(format!("{what:?}").as_bytes());
    }
}
