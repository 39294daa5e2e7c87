//! Replaying a log record: what it says must lead from the model before to the model after.

use std::collections::{BTreeMap, BTreeSet};

use cohab::{Change, LogItem, NamespaceId, Snapshot, Version};

use crate::Model;
use crate::model::{Cell, Space};

type Spaces = BTreeMap<NamespaceId, BTreeMap<Vec<u8>, Cell>>;

/// Compares the record of the last version with what that version did.
///
/// # Panics
///
/// If they differ.
pub(crate) fn replay(snapshot: &Snapshot, before: &Model, after: &Model) {
    let version = after.version;
    let record = snapshot.log(version..=version).next().expect("the newest record is never trimmed");
    let record = record.expect("the log is sound");
    let mut replayed: Spaces = spaces(before).map(|space| (space.id, space.entries.clone())).collect();
    let mut mismatches = Vec::new();
    let (mut unrecorded, mut touched) = (BTreeSet::new(), BTreeSet::new());
    let visited = record.visit(|item| {
        match item {
            LogItem::Change { namespace, change } => {
                touched.insert(namespace);
                if !apply(replayed.entry(namespace).or_default(), &change, version) {
                    mismatches.push((namespace, format!("{change:?}")));
                }
            }
            LogItem::Unrecorded { namespace, changes } => {
                assert!(changes > 0);
                unrecorded.insert(namespace);
            }
            LogItem::Summary(summary) => {
                touched.insert(summary.namespace);
                let space = spaces(after).find(|space| space.id == summary.namespace);
                let space = space.expect("what is summed up is there");
                let counted = (space.entries.len() as u64, space.bytes(), space.digest());
                let held = summary.after;
                assert_eq!((held.keys, held.bytes, held.digest), counted);
            }
            _ => {}
        }
        Ok(())
    });
    visited.expect("the log is sound");
    mismatches.retain(|(namespace, _)| !unrecorded.contains(namespace));
    assert!(mismatches.is_empty(), "the log has other images before: {mismatches:?}");
    for space in spaces(after) {
        let is_touched = space.data_version == version;
        assert_eq!(touched.contains(&space.id), is_touched, "{space:?}");
        if !unrecorded.contains(&space.id) {
            let entries = replayed.remove(&space.id).unwrap_or_default();
            assert_eq!(entries, space.entries, "the log leads elsewhere");
        }
    }
}

fn spaces(model: &Model) -> impl Iterator<Item = &Space> {
    model.live.values().chain(model.trash.iter().map(|(_, space)| space))
}

/// Makes a change, and says whether what it found was what it names.
fn apply(entries: &mut BTreeMap<Vec<u8>, Cell>, change: &Change<'_>, version: Version) -> bool {
    let found = match change.after() {
        Some(value) => entries.insert(change.key().to_vec(), (value.to_vec(), version)),
        None => entries.remove(change.key()),
    };
    let named = match *change {
        Change::Insert { .. } => None,
        Change::Update { before, before_version, .. } | Change::Delete { before, before_version, .. } => {
            Some((before.to_vec(), before_version))
        }
    };
    found == named
}
