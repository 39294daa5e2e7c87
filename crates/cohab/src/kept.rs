//! Named snapshots: versions that the log keeps what it takes to go back to.
//!
//! One costs a row of the catalogue and no copy of anything. It pins the log, whose growth beyond the store's retention is
//! bounded: a snapshot that is in the way of the bound lapses, which its row goes on to tell.

use std::collections::BTreeSet;

use cohab_core::limits::{SAFETY_AGE_MAX, SAFETY_SNAPSHOTS_MAX, SNAPSHOT_NOTE_BYTES_MAX, SNAPSHOTS_MAX};
use cohab_core::{Name, NamespaceId, Timestamp, Version};
use cohab_log::Retention;
use cohab_namespace::catalog::{KEPT, Root, Stored, kept_key, parse_kept_key};
use cohab_namespace::{Kept, Lapse, Operation, Purpose, SAFETY_PREFIX};

use crate::commit::{self, extent};
use crate::layout::CATALOG;
use crate::past::check_reach;
use crate::snapshot::catalog_range;
use crate::view::Direction;
use crate::{Error, Kind, Result, Snapshot, Store, Transaction};

/// A version under a name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamedSnapshot {
    /// What it is called.
    pub name: Name,
    /// Which version it keeps, when and what for, and whether it still does.
    pub kept: Kept,
}

impl Store {
    /// Keeps the present version, or an earlier one, under a name, and returns which one it is.
    ///
    /// Makes no version. Cost: a commit, whatever the store holds.
    ///
    /// # Errors
    ///
    /// [`Kind::Exists`] if there is a snapshot of that name; [`Kind::InvalidInput`] for one that begins with `safety/`, a
    /// note over the limit, or more snapshots than there may be; [`Kind::TooOld`] and [`Kind::NotFound`] for a version
    /// that is not there.
    pub fn create_snapshot(
        &self,
        name: impl AsRef<str>,
        at: Option<Version>,
        note: impl Into<String>,
    ) -> Result<Version> {
        let (name, note) = (Name::new(name)?, note.into());
        if name.as_str().starts_with(SAFETY_PREFIX) {
            let message = format!("snapshots called `{SAFETY_PREFIX}…` are taken by the store itself");
            return Err(Error::invalid(message).hint("call it something else"));
        }
        if note.len() > SNAPSHOT_NOTE_BYTES_MAX {
            let message =
                format!("the note is {} bytes long, the most is {SNAPSHOT_NOTE_BYTES_MAX}", note.len());
            return Err(Error::invalid(message));
        }
        self.change_kept(|tx, root, now| {
            let version = at.unwrap_or(root.version);
            check_reach(root, version)?;
            let all = rows(tx)?;
            if all.iter().any(|known| known.name == name) {
                return Err(Error::new(Kind::Exists, format!("there is a snapshot `{name}` already")));
            }
            if all.iter().filter(|known| known.kept.as_safety().is_none()).count() >= SNAPSHOTS_MAX {
                let message = format!("the store has {SNAPSHOTS_MAX} named snapshots, the most there may be");
                return Err(Error::invalid(message).hint("drop one that is needed no more"));
            }
            tx.insert(CATALOG, &kept_key(&name), &[&Kept::named(version, now, note).encode()])?;
            Ok(version)
        })
    }

    /// Gives a named snapshot up, and returns the version that it kept. What it shows can be read until the log is trimmed.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is none of that name.
    pub fn drop_snapshot(&self, name: impl AsRef<str>) -> Result<Version> {
        let name = Name::new(name)?;
        self.change_kept(|tx, _, _| match tx.remove(CATALOG, &kept_key(&name))? {
            Some(row) => Ok(Kept::decode(row)?.version),
            None => Err(no_snapshot(&name)),
        })
    }

    fn change_kept<T>(
        &self,
        f: impl FnOnce(&mut cohab_engine::Transaction<'_>, &Root, Timestamp) -> Result<T>,
    ) -> Result<T> {
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        commit::run(&self.inner, |mut commit| {
            let value = f(commit.tx, &commit.root, commit.now)?;
            commit.root.kept = lowest(&rows(commit.tx)?);
            commit.changed = true;
            Ok((commit, value))
        })
    }
}

impl Snapshot {
    /// Lists the named snapshots, those that the store took by itself included, by version.
    pub fn named_snapshots(&self) -> Result<Vec<NamedSnapshot>> {
        let range = catalog_range(&[KEPT]);
        collect(self.state().engine()?.range(CATALOG, range.as_bounds(), Direction::Forward)?)
    }

    /// Returns the store as it was at a named snapshot; see [`at`](Self::at).
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is none of that name; [`Kind::TooOld`] if it has lapsed.
    pub fn at_named(&self, name: impl AsRef<str>) -> Result<Self> {
        let name = Name::new(name)?;
        let row = self.state().engine()?.get(CATALOG, &kept_key(&name))?;
        let kept = Kept::decode(&row.ok_or_else(|| no_snapshot(&name))?)?;
        self.at(kept.version).map_err(|error| match kept.lapsed {
            Some(lapse) => {
                let message =
                    format!("snapshot `{name}` of version {} has lapsed ({lapse}): {error}", kept.version);
                error.because(message)
            }
            None => error,
        })
    }
}

impl Transaction<'_, '_> {
    /// Takes a snapshot before data is written over what a namespace holds, so that [`undo`](Self::undo) brings that back.
    ///
    /// [`drop_namespace`](Self::drop_namespace) and roll-backs do so by themselves. A [label](Self::label) comes before it.
    /// Returns the snapshot's name.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no namespace of that name.
    pub fn safeguard(&mut self, namespace: impl AsRef<str>) -> Result<Name> {
        let id = self.commit.require(namespace.as_ref())?;
        self.keep_before(Operation::Load, Some(id))
    }

    /// Takes a snapshot before something is destroyed: a namespace, or, without one, the whole store.
    pub(crate) fn keep_before(
        &mut self,
        operation: Operation,
        namespace: Option<NamespaceId>,
    ) -> Result<Name> {
        let called = match namespace {
            Some(id) => {
                let none = || Error::new(Kind::NotFound, format!("there is no namespace #{id}"));
                Some(self.commit.find_record(id)?.ok_or_else(none)?.metadata.name.clone())
            }
            None => None,
        };
        self.whole(|transaction| {
            // So that there is a version for it to be the one before.
            transaction.ledger.record();
            let version = transaction.version();
            let (before, now) = (Version::new(version.get() - 1), transaction.commit.now);
            let of = namespace.zip(called.as_ref().map(Name::as_str));
            let kept = Kept::safety(before, now, operation, of);
            let id = namespace.map(|id| format!("-{id}")).unwrap_or_default();
            let name = Name::new(format!("{SAFETY_PREFIX}{version}-{operation}{id}"))?;
            let commit = &mut transaction.commit;
            commit.tx.insert(CATALOG, &kept_key(&name), &[&kept.encode()])?;
            commit.root.kept = Some(commit.root.kept.map_or(before, |kept| kept.min(before)));
            if transaction.ledger.guard() {
                bound_safety(commit.tx)?;
                commit.root.kept = lowest(&rows(commit.tx)?);
            }
            Ok(name)
        })
    }
}

/// Lets go of the oldest safety snapshots if there are more than may be. Those of one version go together.
fn bound_safety(tx: &mut cohab_engine::Transaction<'_>) -> Result<()> {
    let all: Vec<_> = rows(tx)?.into_iter().filter(|known| known.kept.as_safety().is_some()).collect();
    let too_old = |is_active: bool| {
        let of_kind = all.iter().filter(|known| known.kept.is_active() == is_active);
        let versions: BTreeSet<_> = of_kind.map(|known| known.kept.version).collect();
        versions.into_iter().rev().nth(SAFETY_SNAPSHOTS_MAX)
    };
    let (lapses, goes) = (too_old(true), too_old(false));
    for known in &all {
        let is_over = |bound: Option<Version>| bound.is_some_and(|bound| known.kept.version <= bound);
        if known.kept.is_active() && is_over(lapses) {
            lapse(tx, known, Lapse::Number)?;
        } else if !known.kept.is_active() && is_over(goes) {
            // Of those that have lapsed as many are remembered.
            tx.remove(CATALOG, &kept_key(&known.name))?;
        }
    }
    Ok(())
}

fn is_active_safety(known: &NamedSnapshot) -> bool {
    known.kept.as_safety().is_some() && known.kept.is_active()
}

/// Lets go of snapshots that keep the log from being trimmed for longer, or more of it, than they may. Returns which.
pub(crate) fn lapse_step(
    tx: &mut cohab_engine::Transaction<'_>,
    root: &mut Root,
    retention: &Retention,
    now: Timestamp,
) -> Result<Vec<NamedSnapshot>> {
    let mut all = rows(tx)?;
    let mut lapsed = Vec::new();
    let is_over = is_over_bound(root, retention);
    let blocking = root.kept;
    for known in &mut all {
        let is_old = is_active_safety(known) && now.since(known.kept.created_at) > SAFETY_AGE_MAX;
        let is_in_the_way = is_over && known.kept.is_active() && Some(known.kept.version) == blocking;
        if is_old || is_in_the_way {
            let why = if is_old { Lapse::Age } else { Lapse::Bytes };
            lapse(tx, known, why)?;
            known.kept.lapsed = Some(why);
            lapsed.push(known.clone());
        }
    }
    root.kept = lowest(&all);
    Ok(lapsed)
}

/// Whether the log has grown past what may be kept beyond the retention.
pub(crate) fn is_over_bound(root: &Root, retention: &Retention) -> bool {
    extent(root).bytes > retention.bytes.saturating_add(retention.pinned_bytes)
}

fn lapse(tx: &mut cohab_engine::Transaction<'_>, known: &NamedSnapshot, why: Lapse) -> Result<()> {
    let mut kept = known.kept.clone();
    kept.lapsed = Some(why);
    tx.insert(CATALOG, &kept_key(&known.name), &[&kept.encode()])?;
    Ok(())
}

/// Lists the named snapshots by version.
pub(crate) fn rows(tx: &mut cohab_engine::Transaction<'_>) -> Result<Vec<NamedSnapshot>> {
    let range = catalog_range(&[KEPT]);
    collect(tx.range(CATALOG, range.as_bounds(), Direction::Forward)?)
}

fn collect(mut rows: cohab_engine::Entries<'_>) -> Result<Vec<NamedSnapshot>> {
    let mut all = Vec::new();
    while let Some(row) = rows.step()? {
        let name = parse_kept_key(row.key());
        let name = name.ok_or_else(|| Error::corrupt("a row of named snapshots has no name"))?;
        all.push(NamedSnapshot { name, kept: Kept::decode(row.value())? });
    }
    all.sort_by_key(|known| known.kept.version);
    Ok(all)
}

/// Returns the oldest version that has to be kept.
pub(crate) fn lowest(all: &[NamedSnapshot]) -> Option<Version> {
    all.iter().filter(|known| known.kept.is_active()).map(|known| known.kept.version).min()
}

fn no_snapshot(name: &Name) -> Error {
    Error::new(Kind::NotFound, format!("there is no snapshot `{name}`"))
        .hint("`cohab snapshot list` shows which there are")
}

impl NamedSnapshot {
    /// Returns what the snapshot is for, in words.
    pub fn purpose(&self) -> String {
        match &self.kept.purpose {
            Purpose::Named { note } => note.clone(),
            Purpose::Safety(safety) => {
                let what = match safety.operation {
                    Operation::Drop => "dropping",
                    Operation::RollBack => "rolling back",
                    Operation::Load => "loading over",
                    Operation::Migrate => "migrating",
                    _ => "an undo of",
                };
                match safety.name.as_str() {
                    "" => format!("before {what} the store"),
                    name => format!("before {what} `{name}`"),
                }
            }
            _ => String::new(),
        }
    }
}
