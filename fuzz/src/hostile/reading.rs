//! Reading all there is of a store that may be damaged, next to what it held.

use std::collections::BTreeMap;
use std::fmt::Debug;

use cohab::{Entry, Kind, NamespaceView, Snapshot};

use super::origin::{Held, Origin};
use crate::compare::owned;

/// How many keys of a namespace are looked up one by one.
const LOOKED_UP_MAX: usize = 40;

/// How many past versions are read.
const PAST_MAX: usize = 3;

/// What was read without an error, and is not what was there.
#[derive(Default)]
pub(super) struct Differences(Vec<String>);

impl Debug for Differences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().take(8)).finish()
    }
}

impl Differences {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a snapshot, and what can be read of the past from it.
    pub(super) fn of(snapshot: &Snapshot, origin: &Origin) -> Self {
        let mut differences = Self::default();
        differences.compare(snapshot, origin);
        let oldest = snapshot.oldest_readable().get();
        for version in (oldest..snapshot.version().get()).rev().take(PAST_MAX) {
            if let Ok(past) = snapshot.at(cohab::Version::new(version)) {
                differences.compare(&past, origin);
            }
        }
        // There is nothing to compare it with, but it is to end.
        for record in snapshot.log(..).map_while(Result::ok) {
            let _ = record.visit(|_| Ok(()));
        }
        let _ = snapshot.dropped_namespaces().map(Iterator::count);
        differences
    }

    fn note(&mut self, difference: String) {
        self.0.push(difference);
    }

    fn compare(&mut self, snapshot: &Snapshot, origin: &Origin) {
        let version = snapshot.version();
        let Some(expected) = origin.at(version) else {
            return self.note(format!("there was no version {version}"));
        };
        self.compare_names(snapshot, expected);
        for name in origin.names() {
            match (snapshot.namespace(name), expected.get(name)) {
                (Ok(view), Some(held)) => self.compare_data(&view, held),
                (Ok(_), None) => self.note(format!("there was no namespace `{name}` at {version}")),
                (Err(error), Some(_)) if error.kind() == Kind::NotFound => {
                    self.note(format!("namespace `{name}` is gone at {version}"));
                }
                _ => {}
            }
        }
    }

    fn compare_names(&mut self, snapshot: &Snapshot, expected: &BTreeMap<String, Held>) {
        let Ok(infos) = snapshot.namespaces() else { return };
        let (mut found, mut is_whole) = (Vec::new(), true);
        for info in infos {
            let Ok(info) = info else {
                is_whole = false;
                break;
            };
            let name = info.name.to_string();
            match expected.get(&name) {
                Some(held) if held.title != info.title => {
                    self.note(format!("`{name}` is titled {:?} and not {:?}", info.title, held.title));
                }
                Some(held) if held.entries.len() as u64 != info.keys => {
                    self.note(format!("`{name}` has {} keys and not {}", info.keys, held.entries.len()));
                }
                Some(_) => {}
                None => self.note(format!("`{name}` is listed")),
            }
            found.push(name);
        }
        if is_whole && !found.iter().eq(expected.keys()) {
            self.note(format!("namespaces are {found:?} and not {:?}", expected.keys()));
        }
    }

    fn compare_data(&mut self, view: &NamespaceView<'_>, held: &Held) {
        for is_reverse in [false, true] {
            let range = if is_reverse { view.reverse(..) } else { view.all() };
            let Ok(range) = range else { continue };
            let mut expected: Vec<_> = held.entries.iter().collect();
            if is_reverse {
                expected.reverse();
            }
            let (mut expected, mut is_whole) = (expected.into_iter(), true);
            for entry in range {
                let Ok(entry) = entry else {
                    is_whole = false;
                    break;
                };
                if !self.is_next(&entry, expected.next()) {
                    return;
                }
            }
            if let Some((key, _)) = expected.next().filter(|_| is_whole) {
                self.note(format!("{} and what follows is left out", key.escape_ascii()));
            }
        }
        let step = held.entries.len().div_ceil(LOOKED_UP_MAX).max(1);
        for (key, cell) in held.entries.iter().step_by(step) {
            match view.get(key) {
                Ok(Some(value)) if *value == *cell.0 && value.version() == cell.1 => {}
                Ok(found) => {
                    self.note(format!("{} is {:?}", key.escape_ascii(), found.map(|found| found.version())));
                }
                Err(_) => {}
            }
            let beside = [key, &b"-"[..]].concat();
            if let Ok(Some(found)) = view.get(&beside)
                && !held.entries.contains_key(&beside)
            {
                self.note(format!("{} is {found:?}", beside.escape_ascii()));
            }
        }
    }

    /// Compares an entry with the one that should come; says whether to go on.
    fn is_next(&mut self, entry: &Entry<'_>, expected: Option<(&Vec<u8>, &crate::model::Cell)>) -> bool {
        let (key, cell) = owned(entry);
        let is_right = expected.is_some_and(|expected| (&key, &cell) == expected);
        if !is_right {
            let expected = expected.map(|(key, _)| key.escape_ascii().to_string());
            self.note(format!("{} comes in the place of {expected:?}", key.escape_ascii()));
        }
        is_right
    }
}
