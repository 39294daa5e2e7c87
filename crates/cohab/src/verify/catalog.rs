//! The catalogue against itself, and the data that it knows nothing of.

use std::collections::BTreeMap;
use std::ops::Bound;

use cohab_core::{Name, NamespaceId, Version};
use cohab_namespace::catalog::{
    KEPT, NAMES, RECORDS, Stored, TRASH, parse_kept_key, parse_record_key, parse_trash_key, record_key,
};

use cohab_namespace::Kept;

use super::Report;
use crate::layout::{CATALOG, DATA, prefix_end};
use crate::maintain::reclaiming;
use crate::snapshot::catalog_range;
use crate::view::{Direction, NamespaceView};
use crate::{Error, Result, Snapshot};

/// Decodes every row of the catalogue, checks that names and records agree, and returns how many bytes the namespaces
/// should hold. Of the past there are no rows.
pub(super) fn check(snapshot: &Snapshot, report: &mut Report) -> Result<u64> {
    let mut total = 0;
    if snapshot.state().past.is_some() {
        for id in snapshot.namespace_ids()? {
            total += snapshot.namespace_by_id(id?)?.info().bytes;
        }
        return Ok(total);
    }
    check_rows(snapshot, report)?;
    check_kept(snapshot, report)?;
    let found = names(snapshot, report)?;
    for (id, (name, live)) in &found {
        let view = snapshot.namespace_by_id(*id).map(NamespaceView::into_parts);
        let Some((record, contents)) = report.absorb(format!("namespace `{name}`"), view)? else { continue };
        if record.metadata.name != *name || record.dropped.is_none() != *live || record.id != *id {
            report.note(format!("namespace `{name}`"), "its record says something else");
        }
        total += contents.bytes;
    }
    let mut after = None;
    while let Some(id) = next_namespace(snapshot, after)? {
        if !found.contains_key(&id) {
            report.note("catalogue", format!("namespace #{id} has a record, and no name leads to it"));
        }
        after = Some(id);
    }
    Ok(total)
}

/// Reads every row of the catalogue, and looks each up: a branch that is damaged shows to nobody else.
fn check_rows(snapshot: &Snapshot, report: &mut Report) -> Result<()> {
    let engine = snapshot.state().engine()?;
    for row in engine.salvage(CATALOG, (Bound::Unbounded, Bound::Unbounded), Direction::Forward)? {
        if let Some(row) = report.absorb("catalogue", row.map_err(Error::from))? {
            let found = engine.get(CATALOG, row.key()).map_err(Error::from);
            report.absorb("catalogue", found)?;
        }
    }
    Ok(())
}

/// Decodes the rows of named snapshots, and compares them with what the store's own row says is to be kept.
fn check_kept(snapshot: &Snapshot, report: &mut Report) -> Result<()> {
    let range = catalog_range(&[KEPT]);
    let mut kept = None;
    for row in snapshot.state().engine()?.salvage(CATALOG, range.as_bounds(), Direction::Forward)? {
        let Some(row) = report.absorb("catalogue", row.map_err(Error::from))? else { continue };
        let decoded = parse_kept_key(row.key()).and_then(|_| Kept::decode(row.value()).ok());
        match decoded {
            Some(row) if row.is_active() => {
                kept = Some(kept.map_or(row.version, |kept: Version| kept.min(row.version)));
            }
            Some(_) => {}
            None => report.note("catalogue", format!("row \"{}\" does not decode", row.key().escape_ascii())),
        }
    }
    if kept != snapshot.state().root.kept {
        report.note("catalogue", "the oldest version that a snapshot keeps is not the one that is noted");
    }
    Ok(())
}

/// Reads the rows by which namespaces are found: what each is called, and whether it lives.
fn names(snapshot: &Snapshot, report: &mut Report) -> Result<BTreeMap<NamespaceId, (Name, bool)>> {
    let mut found = BTreeMap::new();
    for (kind, live) in [(NAMES, true), (TRASH, false)] {
        let range = catalog_range(&[kind]);
        let rows = snapshot.state().engine()?.salvage(CATALOG, range.as_bounds(), Direction::Forward)?;
        for row in rows {
            let Some(row) = report.absorb("catalogue", row.map_err(Error::from))? else { continue };
            let parsed = if live {
                NamespaceId::decode(row.value()).ok().zip(row.key().get(1..))
            } else {
                parse_trash_key(row.key()).map(|(name, id)| (id, name))
            };
            let parsed = parsed.and_then(|(id, name)| Some((id, Name::from_bytes(name).ok()?)));
            let Some((id, name)) = parsed else {
                report.note("catalogue", format!("row \"{}\" does not decode", row.key().escape_ascii()));
                continue;
            };
            if found.insert(id, (name.clone(), live)).is_some() {
                report.note("catalogue", format!("namespace #{id} has two names, one is `{name}`"));
            }
        }
    }
    Ok(found)
}

/// Returns the first namespace behind another one, dropped or not. One whose record is damaged is passed over.
pub(super) fn next_namespace(snapshot: &Snapshot, after: Option<NamespaceId>) -> Result<Option<NamespaceId>> {
    let (state, end) = (snapshot.state(), prefix_end(&[RECORDS]));
    let start = after.map_or_else(|| vec![RECORDS], |after| record_key(after).to_vec());
    let bounds = (Bound::Excluded(&start[..]), end.as_ref().map(Vec::as_slice));
    let past = state.past.as_deref();
    let mut present = None;
    for row in state.engine()?.salvage(CATALOG, bounds, Direction::Forward)? {
        let id = match row {
            Ok(row) => parse_record_key(row.key()),
            // It is noted where its name is looked at.
            Err(cohab_engine::Error::Corrupt { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // A damaged branch may lead back.
        let id = id.filter(|id| after.is_none_or(|after| *id > after));
        present = id.filter(|id| past.is_none_or(|past| !past.is_later(*id)));
        if present.is_some() {
            break;
        }
    }
    let purged = past.and_then(|past| past.next_purged(after));
    Ok(present.into_iter().chain(purged).min())
}

/// What a namespace is called in a report.
pub(super) fn place(snapshot: &Snapshot, id: NamespaceId) -> String {
    match snapshot.namespace_by_id(id) {
        Ok(view) => format!("namespace `{}`", view.metadata().name),
        Err(_) => format!("namespace #{id}"),
    }
}

/// Looks for data that belongs to no namespace: one look into each gap between those there are.
pub(super) fn check_strays(snapshot: &Snapshot, report: &mut Report) -> Result<()> {
    if snapshot.state().past.is_some() {
        return Ok(());
    }
    let engine = snapshot.state().engine()?;
    let mut known = reclaiming(engine)?;
    let mut after = None;
    while let Some(id) = next_namespace(snapshot, after)? {
        known.push(id);
        after = Some(id);
    }
    known.sort_unstable();
    let mut from: Bound<Vec<u8>> = Bound::Unbounded;
    for until in known.iter().map(|id| Some(*id)).chain([None]) {
        let end = until.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_be_bytes()));
        let bounds = (from.as_ref().map(Vec::as_slice), end.as_ref().map(|end| &end[..]));
        let rows = engine.range(DATA, bounds, Direction::Forward).map_err(Error::from);
        if let Some(mut rows) = report.absorb("data", rows)?
            && let Some(row) = rows.next()
            && let Some(row) = report.absorb("data", row.map_err(Error::from))?
        {
            report.note("data", format!("row \"{}\" belongs to no namespace", row.key().escape_ascii()));
        }
        match until.and_then(NamespaceId::checked_next) {
            Some(next) => from = Bound::Included(next.to_be_bytes().to_vec()),
            None => break,
        }
    }
    Ok(())
}
