//! What leads a view from one version to another.

use cohab_core::limits::VIEW_CHANGES_BYTES_MIN;
use cohab_core::{NamespaceId, Version};
use cohab_log::{Chain, Item, Net, NetChange, NetNamespace, Sides};
use cohab_namespace::Contents;

use super::Rebuild;
use crate::layout::LOG;
use crate::view::Direction;
use crate::walk::Span;
use crate::{Error, Name, Result, Snapshot};

/// Where in which history a value is, and of what.
pub(super) struct Position {
    pub(super) version: Version,
    pub(super) chain: [u8; 32],
    namespaces: Vec<(NamespaceId, Contents)>,
}

impl Position {
    pub(super) fn of(snapshot: &Snapshot, names: &[Name]) -> Result<Self> {
        let mut namespaces = Vec::with_capacity(names.len());
        for name in names {
            let (record, contents) = snapshot.namespace(name)?.into_parts();
            namespaces.push((record.id, contents));
        }
        Ok(Self { version: snapshot.version(), chain: snapshot.state().root.chain, namespaces })
    }

    /// Returns which namespaces have the names, in their order.
    pub(super) fn ids(&self) -> impl Iterator<Item = NamespaceId> {
        self.namespaces.iter().map(|(id, _)| *id)
    }
}

/// Nothing changed.
pub(super) const fn nothing() -> Net {
    Net::new(Sides::Both)
}

/// Returns the keys of a namespace that hold something else than before, in order.
pub(super) fn changes_of(net: &Net, id: NamespaceId) -> impl Iterator<Item = (&[u8], &NetChange)> {
    let changes = net.namespace(id).into_iter().flat_map(NetNamespace::changes);
    changes.filter(|(_, change)| !change.is_undone())
}

/// Returns what has changed in the namespaces, or why that is not to be had.
///
/// If their digests are what they were, that is nothing, and the log is not read.
pub(super) fn changes(snapshot: &Snapshot, from: &Position, to: &Position) -> Result<Result<Net, Rebuild>> {
    if !from.ids().eq(to.ids()) {
        return Ok(Err(Rebuild::Replaced));
    }
    let pairs = || from.namespaces.iter().zip(&to.namespaces);
    if pairs().all(|((_, before), (_, after))| before.is_same_as(after)) {
        return Ok(Ok(nothing()));
    }
    if to.version <= from.version {
        return Ok(Err(Rebuild::AnotherHistory));
    }
    if from.version.next() < snapshot.state().root.log_oldest {
        return Ok(Err(Rebuild::Trimmed));
    }
    let wants = |namespace: NamespaceId| from.ids().any(|id| id == namespace);
    let bytes_max = to.namespaces.iter().map(|(_, contents)| contents.bytes).sum::<u64>();
    // Of each key there may be two values.
    let mut net = nothing().bytes_max(bytes_max.saturating_mul(3).max(VIEW_CHANGES_BYTES_MIN));
    let (mut is_wanted, mut rebuild) = (false, None);
    let span = Span::new(from.version, to.version);
    let rows = snapshot.state().engine()?.range(LOG, span.bounds(), Direction::Forward)?;
    let visited = span.visit(rows, |version, item| {
        let concerns = match item {
            Item::Begin(header) => {
                let is_next = version == from.version.next();
                if is_next && header.previous != Chain::from_bytes(from.chain) {
                    rebuild = Some(Rebuild::AnotherHistory);
                }
                false
            }
            Item::Namespace(namespace) => {
                is_wanted = wants(*namespace);
                is_wanted
            }
            Item::Change(_) => is_wanted,
            Item::Unrecorded { namespace, .. } => {
                if wants(*namespace) {
                    rebuild = Some(Rebuild::Unrecorded);
                }
                false
            }
            Item::Summary(summary) => wants(summary.namespace),
            _ => false,
        };
        if concerns {
            net.add(version, item);
            if net.is_over() {
                rebuild = Some(Rebuild::TooMuch);
            }
        }
        if rebuild.is_some() { Err(Error::abort("what follows is not needed")) } else { Ok(()) }
    });
    if let Some(rebuild) = rebuild {
        return Ok(Err(rebuild));
    }
    visited?;
    // What was folded is what the changes begin with, and they end with what there is.
    let leads_there = |((id, before), (_, after)): (&(NamespaceId, Contents), &(_, Contents))| match net
        .namespace(*id)
        .and_then(|namespace| namespace.contents)
    {
        Some((first, last)) => first.is_same_as(before) && last.is_same_as(after),
        None => before.is_same_as(after),
    };
    Ok(if pairs().all(leads_there) { Ok(net) } else { Err(Rebuild::AnotherHistory) })
}
