//! Going back: as a new version that undoes what others did, so that it can itself be undone.

use cohab_core::{Name, NamespaceId, Version};
use cohab_log::{Net, NetNamespace, Sides};
use cohab_namespace::catalog::{Stored, kept_key};
use cohab_namespace::{History, Kept, Operation, Purpose, Record};

use crate::commit::no_namespace;
use crate::kept::{self, NamedSnapshot};
use crate::layout::{CATALOG, LOG};
use crate::past::{check_reach, lost};
use crate::view::Direction;
use crate::walk::Span;
use crate::{Error, Kind, Result, Transaction};

/// What a roll-back did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RolledBack {
    /// How many keys were given their earlier values, or removed.
    pub changes: u64,
    /// How many namespaces were made, dropped, brought back or described otherwise.
    pub namespaces: u64,
    /// The snapshot of what was there before.
    pub snapshot: Name,
}

/// What was undone.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Undone {
    /// The snapshots that had been taken before it, to which this went back.
    pub undone: Vec<NamedSnapshot>,
    /// How many keys changed.
    pub changes: u64,
}

impl Transaction<'_, '_> {
    /// Brings a namespace's data back to what it was at an earlier version. What is said of it stays. It comes first in
    /// its transaction.
    ///
    /// Cost: proportional to what was changed since.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such namespace, or there was none at that version; [`Kind::TooOld`];
    /// [`Kind::NoHistory`] if some changes since were not recorded.
    pub fn rollback_namespace(&mut self, name: impl AsRef<str>, to: Version) -> Result<RolledBack> {
        let name = name.as_ref();
        let id = self.commit.require(name)?;
        self.going_back(
            || format!("roll back `{name}` to version {to}"),
            |transaction| transaction.roll_back_one(id, name, to),
        )
    }

    fn roll_back_one(&mut self, id: NamespaceId, name: &str, to: Version) -> Result<RolledBack> {
        let since = self.net_since(to, Net::new(Sides::Both).only(id))?;
        let created = self.commit.open(id).record.created;
        if created > to {
            let message = format!("namespace `{name}` was made by version {created}, after version {to}");
            return Err(
                Error::new(Kind::NotFound, message).hint("`cohab ns drop` drops it, and can be undone")
            );
        }
        let changed = since.namespace(id);
        self.refuse_lost(id, changed)?;
        let snapshot = self.keep_before(Operation::RollBack, Some(id))?;
        let count = changed.map_or(Ok(0), |namespace| self.revert(id, namespace))?;
        Ok(RolledBack { changes: count, namespaces: 0, snapshot })
    }

    /// Brings the whole store back to what it was at an earlier version: data, names and what is said of namespaces.
    ///
    /// Namespaces that were made since are dropped, with what they hold; those that were dropped come back. It comes
    /// first in its transaction. Cost: proportional to what was changed since.
    ///
    /// # Errors
    ///
    /// [`Kind::TooOld`]; [`Kind::NoHistory`] if what a namespace held is not known; [`Kind::Conflict`] if a namespace that
    /// would be dropped is protected.
    pub fn rollback(&mut self, to: Version) -> Result<RolledBack> {
        self.going_back(
            || format!("roll back to version {to}"),
            |transaction| transaction.roll_back_store(to, Operation::RollBack),
        )
    }

    fn roll_back_store(&mut self, to: Version, operation: Operation) -> Result<RolledBack> {
        let net = self.net_since(to, Net::new(Sides::Both))?;
        let (version, now) = (self.version(), self.commit.now);
        let mut records = Vec::new();
        for (id, namespace) in net.namespaces() {
            self.refuse_lost(id, Some(namespace).filter(|namespace| !namespace.is_new()))?;
            let Some(record) = namespace.record.as_ref().filter(|_| !namespace.is_purged()) else { continue };
            let present = self.commit.load(id)?;
            let earlier = match &record.before {
                Some(before) => {
                    let earlier = Record::decode(before)?;
                    if earlier.dropped.is_some() && present.record.dropped.is_none() {
                        // Whether it may be dropped is for it to say.
                        present.record.dropped(&present.contents, true, version, now)?;
                    }
                    // When it was dropped decides which one of a name comes back first.
                    let is_same = earlier.metadata == present.record.metadata
                        && earlier.dropped == present.record.dropped;
                    (!is_same).then_some(earlier)
                }
                None if present.record.dropped.is_some() => None,
                None => Some(present.record.dropped(&present.contents, true, version, now)?),
            };
            records.extend(earlier.map(|earlier| (id, Some(earlier.at(version)))));
        }
        let snapshot = self.keep_before(operation, None)?;
        let namespaces = records.len() as u64;
        self.replace_records(records)?;
        let mut changes = 0;
        for (id, namespace) in net.namespaces().filter(|(_, namespace)| !namespace.is_new()) {
            changes += self.revert(id, namespace)?;
        }
        Ok(RolledBack { changes, namespaces, snapshot })
    }

    /// Undoes the last thing that destroyed something and was not undone yet: a drop, a roll-back, a load over data.
    ///
    /// It comes first in its transaction.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is nothing to undo; [`Kind::Conflict`] if what would be undone was changed since, so
    /// that those changes would be lost; [`Kind::Exists`] if the name of a dropped namespace was taken meanwhile;
    /// [`Kind::TooOld`], [`Kind::NoHistory`].
    pub fn undo(&mut self) -> Result<Undone> {
        let mut open = kept::rows(self.commit.tx)?;
        open.retain(|known| {
            let safety = known.kept.as_safety();
            safety.is_some_and(|safety| safety.undone.is_none() && safety.operation != Operation::Undo)
        });
        // The last first; of one version all, because they were one transaction.
        let mut undone = Vec::new();
        for known in open.into_iter().rev() {
            let is_past =
                undone.first().is_some_and(|last: &NamedSnapshot| last.kept.version != known.kept.version);
            if is_past {
                break;
            }
            if !self.is_moot(&known)? {
                undone.push(known);
            }
        }
        if undone.is_empty() {
            return Err(Error::new(Kind::NotFound, "there is nothing to undo"));
        }
        undone.reverse();
        let what: Vec<_> = undone.iter().map(NamedSnapshot::purpose).collect();
        self.going_back(
            || format!("undo to {}", what.join(", ")),
            |transaction| {
                let mut changes = 0;
                for known in &undone {
                    changes += transaction.undo_one(known)?;
                }
                undone.iter().try_for_each(|known| transaction.note_undone(&known.name))?;
                transaction.commit.root.kept = kept::lowest(&kept::rows(transaction.commit.tx)?);
                Ok(Undone { undone: undone.clone(), changes })
            },
        )
    }

    /// Returns whether there is nothing left to undo: a namespace that was dropped was brought back by hand, or given up.
    fn is_moot(&mut self, known: &NamedSnapshot) -> Result<bool> {
        let Some((safety, id)) = known.kept.as_safety().and_then(|safety| Some((safety, safety.namespace?)))
        else {
            return Ok(false);
        };
        let by = known.kept.version.next();
        let record = self.commit.find_record(id)?;
        let is_gone = record.is_none_or(|record| {
            safety.operation == Operation::Drop && record.dropped.is_none_or(|dropped| dropped.version != by)
        });
        // State that its plugin has written to since is its own business, and in nobody's way.
        let is_in_use = !is_gone
            && safety.operation == Operation::Migrate
            && self.commit.load(id)?.contents.data_version != by;
        Ok(is_gone || is_in_use)
    }

    /// Notes that what a snapshot was taken before has been undone.
    fn note_undone(&mut self, name: &Name) -> Result<()> {
        let version = self.version();
        // As it is by now: it may have made room for those that were just taken.
        let Some(row) = self.commit.tx.get(CATALOG, &kept_key(name))? else { return Ok(()) };
        let mut kept = Kept::decode(&row)?;
        drop(row);
        if let Purpose::Safety(safety) = &mut kept.purpose {
            safety.undone = Some(version);
        }
        self.commit.tx.insert(CATALOG, &kept_key(name), &[&kept.encode()])?;
        Ok(())
    }

    fn undo_one(&mut self, known: &NamedSnapshot) -> Result<u64> {
        let (before, Some(safety)) = (known.kept.version, known.kept.as_safety()) else { return Ok(0) };
        let by = before.next();
        let Some(id) = safety.namespace else {
            let since = self.net_since(by, Net::new(Sides::Both))?;
            if !is_nothing(&since)? {
                let now = self.commit.root.version;
                let message =
                    format!("version {by} rolled the store back, and versions up to {now} came since");
                return Err(Error::new(Kind::Conflict, message)
                    .hint(format!("`cohab rollback --to {before}` undoes them all")));
            }
            return Ok(self.roll_back_store(before, Operation::Undo)?.changes);
        };
        let gone = || {
            let message = format!("namespace `{}` was purged since", safety.name);
            Error::new(Kind::NoHistory, message)
        };
        let record = self.commit.find_record(id)?.cloned().ok_or_else(gone)?;
        if safety.operation == Operation::Drop {
            if record.dropped.is_none_or(|dropped| dropped.version != by) {
                let message = format!("namespace `{}` was brought back since", safety.name);
                return Err(Error::new(Kind::Conflict, message));
            }
            let name = record.metadata.name.clone();
            if self.commit.find_any(&name)?.is_some() {
                let message = format!("there is another namespace `{name}` by now");
                let hint =
                    format!("give that one another name, `cohab ns rename {name} OTHER`, and undo again");
                return Err(Error::new(Kind::Exists, message).hint(hint));
            }
            self.keep_before(Operation::Undo, Some(id))?;
            let version = self.version();
            self.replace_records([(id, Some(record.undropped(version)))])?;
            return Ok(0);
        }
        if record.dropped.is_some() {
            return Err(no_namespace(record.metadata.name.as_str()));
        }
        let since = self.net_since(by, Net::new(Sides::Both).only(id))?;
        if since.namespace(id).is_some_and(|namespace| !is_same_data(namespace)) {
            let (name, changed) = (&record.metadata.name, self.commit.open(id).contents.data_version);
            let message =
                format!("namespace `{name}` has changed since version {by}, last by version {changed}");
            return Err(Error::new(Kind::Conflict, message)
                .hint(format!("`cohab ns rollback {name} --to {before}` undoes that, too")));
        }
        let net = self.net_since(before, Net::new(Sides::Both).only(id))?;
        let changed = net.namespace(id);
        self.refuse_lost(id, changed)?;
        self.keep_before(Operation::Undo, Some(id))?;
        let reverted = changed.map_or(Ok(0), |namespace| self.revert(id, namespace))?;
        #[cfg(feature = "scripts")]
        if safety.operation == Operation::Migrate {
            // The code that is in service may not know the state as it is again.
            self.touch_plugin_of(&safety.name)?;
        }
        Ok(reverted)
    }

    /// Runs something that goes back under a label, unless the application gave one. Refuses a transaction that has
    /// changed something already: the log does not tell of it yet. Of what is itself refused nothing is left.
    fn going_back<T>(
        &mut self,
        label: impl FnOnce() -> String,
        f: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        if self.ledger.has_begun() {
            return Err(Error::invalid("a roll-back comes first in its transaction"));
        }
        let is_labelled = self.ledger.is_labelled();
        if !is_labelled {
            self.label(cut(label()))?;
        }
        let done = f(self);
        if done.is_ok() {
            // Also where nothing was different: the snapshot that was taken is to be found, and what was undone is not to
            // be undone again.
            self.ledger.record();
        } else if self.ledger.has_begun() {
            self.commit.broken = true;
        } else if !is_labelled {
            self.label("")?;
        }
        done
    }

    /// Takes together what has changed since a version.
    fn net_since(&mut self, version: Version, net: Net) -> Result<Net> {
        check_reach(&self.commit.root, version)?;
        let span = Span::new(version, self.commit.root.version);
        span.fold(self.commit.tx.range(LOG, span.bounds(), Direction::Forward)?, net)
    }

    /// Refuses to go back to what is not known.
    fn refuse_lost(&mut self, id: NamespaceId, namespace: Option<&NetNamespace>) -> Result<()> {
        let Some(namespace) = namespace.filter(|it| it.is_unrecorded || it.is_purged()) else {
            return Ok(());
        };
        let record =
            namespace.record.iter().find_map(|record| record.before.as_ref().or(record.after.as_ref()));
        let name = match (self.commit.find_record(id)?, record) {
            (Some(record), _) => record.metadata.name.as_str().to_owned(),
            (None, Some(record)) => Record::decode(record)?.metadata.name.as_str().to_owned(),
            (None, None) => format!("#{id}"),
        };
        lost(&name, namespace).map_or(Ok(()), Err)
    }

    /// Gives the keys of a namespace their earlier values, and returns how many.
    fn revert(&mut self, id: NamespaceId, namespace: &NetNamespace) -> Result<u64> {
        // In the log even if the namespace's history is off, so that this can be undone.
        let open = self.commit.load(id)?;
        let history = std::mem::replace(&mut open.record.metadata.history, History::Full);
        let done = self.revert_keys(id, namespace);
        self.commit.open(id).record.metadata.history = history;
        done
    }

    fn revert_keys(&mut self, id: NamespaceId, namespace: &NetNamespace) -> Result<u64> {
        let mut changes = 0;
        for (key, change) in namespace.changes().filter(|(_, change)| !change.is_undone()) {
            match &change.before {
                Some(image) => self.put_in(id, key, &image.value)?,
                None => _ = self.delete_in(id, key)?,
            }
            changes += 1;
        }
        Ok(changes)
    }
}

/// Whether a namespace holds what it held, whatever happened in between.
fn is_same_data(namespace: &NetNamespace) -> bool {
    !namespace.is_unrecorded && namespace.changes().all(|(_, change)| change.is_undone())
}

/// Whether everything is as it was.
fn is_nothing(net: &Net) -> Result<bool> {
    for (_, namespace) in net.namespaces() {
        let Some(record) = &namespace.record else {
            if is_same_data(namespace) {
                continue;
            }
            return Ok(false);
        };
        // One that came and went is no change either.
        let (Some(before), Some(after)) = (&record.before, &record.after) else {
            if record.before == record.after {
                continue;
            }
            return Ok(false);
        };
        let (before, after) = (Record::decode(before)?, Record::decode(after)?);
        if before.metadata != after.metadata || before.dropped != after.dropped || !is_same_data(namespace) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Cuts a text to the length of a label.
fn cut(mut text: String) -> String {
    let mut end = text.len().min(cohab_core::limits::TRANSACTION_LABEL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
