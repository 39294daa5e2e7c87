//! Replicas: stores that are led from version to version of another one by deltas.
//!
//! A replica counts versions of its own: a delta that takes a thousand versions together makes one. Which version of its
//! source it holds, and by which history, stands in its own row, in the transaction of the data itself.

use cohab_core::{StoreId, Token, Version, planted};
use cohab_log::{Chain, DeltaHeader, DeltaKind, Position};
use cohab_namespace::catalog::Root;
pub use cohab_namespace::catalog::Upstream;

use crate::{Error, Kind, Result, Snapshot, Store, commit, guard};

impl Store {
    /// Makes a replica a store of its own, which takes writes and follows nobody.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`] if it is none.
    pub fn promote_replica(&self) -> Result<Token> {
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        guard::check_build(&self.inner)?;
        let promoted = commit::run(&self.inner, |mut commit| {
            let path = self.inner.path.display();
            let none = || Error::invalid(format!("{path} is no replica; it takes writes as it is"));
            let upstream = commit.root.upstream.as_mut().filter(|it| !it.promoted).ok_or_else(none)?;
            upstream.promoted = true;
            let token = Token { store: upstream.store, version: upstream.version };
            commit.changed = true;
            Ok((commit, token))
        })?;
        // From now on plugins are asked before commits, which nobody does on a replica.
        guard::begin_writing(&self.inner)?;
        Ok(promoted)
    }
}

impl Snapshot {
    /// Returns where the store stands as a replica, if it is one, or was before it was promoted.
    pub fn upstream(&self) -> Option<&Upstream> {
        self.state().tip().upstream.as_ref()
    }
}

/// Refuses writes of its own to a replica.
pub(crate) fn check_writable(root: &Root) -> Result<()> {
    match &root.upstream {
        Some(upstream) if !upstream.promoted => {
            let message =
                format!("the store is a replica of store {}, and takes no other writes", upstream.store);
            Err(Error::new(Kind::ReadOnly, message)
                .hint("write to that store, or make this one independent with `cohab promote`"))
        }
        _ => Ok(()),
    }
}

/// Where a store stands in the history of another, if it does; an empty one may begin anywhere.
pub(crate) fn position(root: &Root, source: StoreId) -> Result<Option<Position>> {
    let here = root.store;
    if source == here {
        return Err(Error::new(Kind::Foreign, format!("store {here} cannot follow itself")));
    }
    let written = |since: Version| {
        let (first, last) = (since.next(), root.version);
        let message = format!("somebody wrote to replica {here}: its versions {first} to {last} are its own");
        Error::new(Kind::Diverged, message)
            .hint("promote it to keep what was written, and make a new replica in another place")
    };
    let foreign = |what: &str| {
        let message = format!("store {here} {what}, and cannot become one of store {source}");
        Error::new(Kind::Foreign, message).hint("make a replica of that store in another place")
    };
    match (&root.upstream, &root.origin) {
        (Some(upstream), _) if upstream.store != source => {
            Err(foreign(&format!("is a replica of store {}", upstream.store)))
        }
        (Some(upstream), _) if upstream.promoted => {
            let message = format!(
                "replica {here} was promoted at version {}, and is at version {} of its own now",
                upstream.local, root.version
            );
            Err(Error::new(Kind::Diverged, message).hint("make a new replica in another place"))
        }
        (Some(upstream), _) if upstream.local != root.version => Err(written(upstream.local)),
        (Some(upstream), _) => {
            Ok(Some(Position { version: upstream.version, chain: Chain::from_bytes(upstream.chain) }))
        }
        (None, _) if root.version == Version::ZERO => Ok(None),
        (None, Some(origin)) if origin.store == source && origin.version == root.version => {
            Ok(Some(Position { version: root.version, chain: Chain::from_bytes(root.chain) }))
        }
        (None, Some(origin)) if origin.store == source => {
            let message = format!(
                "store {here} was restored from version {} of store {source}, and written to since",
                origin.version
            );
            Err(Error::new(Kind::Diverged, message).hint("make a replica in another place"))
        }
        (None, _) => Err(foreign("is no replica")),
    }
}

/// When a delta of a whole store may be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    IfEmpty,
    Always,
}

/// Where a delta leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lead {
    On,
    /// From where the replica is to there.
    Nowhere,
}

/// Refuses a delta that does not lead on from where the replica is.
pub(crate) fn admit(header: &DeltaHeader, whole: Whole, root: &Root) -> Result<Lead> {
    let (store, from, to) = (header.store, header.from, header.to);
    let Some(at) = position(root, store)? else {
        if from.version == Version::ZERO {
            return Ok(Lead::On);
        }
        let message = format!("the delta begins at version {}, and the store is empty", from.version);
        return Err(
            Error::new(Kind::Gap, message).hint("begin with a delta from version 0, which holds everything")
        );
    };
    if to.version <= at.version {
        if to.version == at.version && to.chain != at.chain {
            return Err(rewritten(store, at.version));
        }
        if from == to && to == at {
            return Ok(Lead::Nowhere);
        }
        let message = format!(
            "the delta leads to version {} of store {store}, and the replica is at version {} already",
            to.version, at.version
        );
        return Err(Error::new(Kind::AlreadyApplied, message).hint("nothing is left to do"));
    }
    // A replica that is at version zero of its own holds nothing, wherever its source is.
    if is_whole_store(header) && (whole == Whole::Always || root.version == Version::ZERO) {
        return Ok(Lead::On);
    }
    if from.version != at.version {
        let message = format!(
            "the delta begins at version {} of store {store}, and the replica is at version {}",
            from.version, at.version
        );
        let hint = format!(
            "make one from there: `cohab delta --from {}`; where the log does not reach back so far, one from 0, with `cohab apply --reset`",
            at.version
        );
        return Err(Error::new(Kind::Gap, message).hint(hint));
    }
    if from.chain != at.chain && !planted!(ChainUncompared) {
        return Err(rewritten(store, at.version));
    }
    Ok(Lead::On)
}

pub(crate) fn rewritten(store: StoreId, version: Version) -> Error {
    let message =
        format!("the history of store {store} up to version {version} is not the one that the replica has");
    Error::new(Kind::Diverged, message)
        .hint("the source was put back from a copy and written again; make a new replica in another place")
}

/// Whether a delta holds the whole store, so that it leads on from anywhere.
pub(crate) fn is_whole_store(header: &DeltaHeader) -> bool {
    header.kind == DeltaKind::Coalesced && header.from.version == Version::ZERO
}
