//! What a plugin is shown next: changes from the log, or entries that were there when it was added.

use std::collections::HashMap;
use std::ops::Bound::{Excluded, Unbounded};

use cohab_core::NamespaceId;
use cohab_plugin::{ChangeRef, Changes, matches};

use super::{Owned, Work};
use crate::plugins::records::{Cursor, Existing};
use crate::transaction::PLUGIN_LABEL;
use crate::{Direction, Kind, LogItem, LogRecord, Name, Result, Snapshot};

/// How many changes, and bytes of them, a call is handed at the most.
const SLICE_CHANGES: u32 = 1000;
const SLICE_BYTES: usize = 1 << 20;

/// Whether a call is handed no more than that.
pub(super) fn is_full(changes: &Changes) -> bool {
    changes.len() >= SLICE_CHANGES || changes.as_bytes().len() >= SLICE_BYTES
}

/// Returns the plugins whose calls led to a transaction.
pub(super) fn led_by<'r>(record: &'r LogRecord<'_>) -> Vec<&'r str> {
    record.label().strip_prefix(PLUGIN_LABEL).map_or_else(Vec::new, |names| names.split(',').collect())
}

/// What a commit trigger is for.
pub(super) struct Interest<'g> {
    pub(super) namespaces: &'g [String],
    pub(super) prefixes: &'g [String],
}

impl Interest<'_> {
    fn covers(&self, namespace: &Name) -> bool {
        !namespace.is_reserved() && self.namespaces.iter().any(|pattern| matches(pattern, namespace.as_str()))
    }

    fn wants(&self, key: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
    }
}

/// What the namespaces are called that changes are of, where the plugin wants them.
pub(super) struct Names<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) interest: &'a Interest<'a>,
    pub(super) known: HashMap<NamespaceId, Option<Name>>,
}

impl Names<'_> {
    fn find(&mut self, id: NamespaceId) -> Option<&Name> {
        let Self { snapshot, interest, known } = self;
        let found = known.entry(id).or_insert_with(|| {
            // One that is gone for good has no name any more, and nobody to miss its changes.
            let name = snapshot.namespace_by_id(id).ok()?.metadata().name.clone();
            Some(name).filter(|name| interest.covers(name))
        });
        found.as_ref()
    }

    fn want(&mut self, id: NamespaceId, key: &[u8]) -> bool {
        self.interest.wants(key) && self.find(id).is_some()
    }
}

/// How much of a record was taken.
pub(super) enum Seen {
    Whole,
    /// What there is among so many of its changes.
    Part(u64),
}

/// Takes the changes of a record that a plugin wants, but for what is among the first `skip`, until there is a slice of them.
pub(super) fn take(
    record: &LogRecord<'_>,
    names: &mut Names<'_>,
    skip: u64,
    changes: &mut Changes,
    mut unrecorded: impl FnMut(NamespaceId),
) -> Result<Seen> {
    let (version, time) = (record.version(), record.time());
    // All of them count: what the plugin wants may be something else when the rest comes.
    let (mut met, mut through, mut is_enough, mut is_more) = (0, skip, false, false);
    record.visit(|item| {
        match item {
            LogItem::Change { namespace, change } => {
                met += 1;
                if met <= skip || is_more || !names.want(namespace, change.key()) {
                    return Ok(());
                }
                is_more = is_enough;
                if is_more {
                    return Ok(());
                }
                let name = names.find(namespace).map_or("", Name::as_str);
                let (before, after) = (change.before(), change.after());
                changes.push(ChangeRef { version, time, namespace: name, key: change.key(), before, after });
                is_enough = is_full(changes);
                through = met;
            }
            LogItem::Unrecorded { namespace, .. } if names.find(namespace).is_some() => unrecorded(namespace),
            _ => {}
        }
        Ok(())
    })?;
    Ok(if is_more { Seen::Part(through) } else { Seen::Whole })
}

/// Whether a record has changes that a plugin wants.
pub(super) fn is_wanted(record: &LogRecord<'_>, names: &mut Names<'_>) -> Result<bool> {
    let mut is_wanted = false;
    record.visit(|item| {
        if let LogItem::Change { namespace, change } = item {
            is_wanted = is_wanted || names.want(namespace, change.key());
        }
        Ok(())
    })?;
    Ok(is_wanted)
}

/// Collects what comes next of what was there when the plugin was added, as if it had just been put.
pub(super) fn gather_existing(
    snapshot: &Snapshot,
    interest: &Interest<'_>,
    cursor: &Cursor,
    single: bool,
) -> Result<Work> {
    let at = snapshot.at(cursor.version)?;
    let existing = cursor.existing.clone().unwrap_or_default();
    let mut after = cursor.clone();
    let mut changes = Changes::new();
    let time = snapshot.created_at();
    for info in at.namespaces()? {
        let info = info?;
        let name = info.name.as_str();
        if !interest.covers(&info.name) || name < existing.namespace.as_str() {
            continue;
        }
        let last = existing.after.as_ref().filter(|_| name == existing.namespace);
        let start = last.map_or(Unbounded, |key| Excluded(&key[..]));
        let bounds = (start, Unbounded);
        let mut view = at.namespace_by_id(info.id)?;
        match view.scan(bounds, Direction::Forward).map(drop) {
            // What it held then is not known, and what came since is shown by nothing else.
            Err(error) if error.kind() == Kind::NoHistory => match snapshot.namespace_by_id(info.id) {
                Ok(present) => view = present,
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) => return Err(error),
            },
            other => other?,
        }
        for entry in view.scan(bounds, Direction::Forward)? {
            let entry = entry?;
            let key = entry.key();
            if interest.wants(key) {
                let (version, value) = (entry.version(), Some(entry.value()));
                changes.push(ChangeRef { version, time, namespace: name, key, before: None, after: value });
            }
            if is_full(&changes) || (single && !changes.is_empty()) {
                let key = serde_bytes::ByteBuf::from(key.to_vec());
                after.existing = Some(Existing { namespace: name.to_owned(), after: Some(key) });
                let is_several = changes.len() > 1;
                return Ok(Work { call: Owned::Changes(changes), after, chain: Vec::new(), is_several });
            }
        }
    }
    after.existing = None;
    let is_several = changes.len() > 1;
    Ok(Work { call: Owned::Changes(changes), after, chain: Vec::new(), is_several })
}
