//! What a store holds, as a number: two that are equal hold the same.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use cohab::{Result, Snapshot};
use rapidhash::fast::RapidHasher;

use super::promise::Which;

/// What was there at a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// Everything: namespaces with their metadata and versions, the trash, every entry with its version.
    pub(super) whole: u64,
    /// What a replica has as well: the live namespaces and what they hold.
    pub(super) shared: u64,
}

/// What every version of a session's stores held.
pub(super) type States = HashMap<(Which, u64), State>;

/// Reads everything that a snapshot shows.
pub(super) fn state(snapshot: &Snapshot) -> Result<State> {
    let (mut whole, mut shared) = (RapidHasher::default(), RapidHasher::default());
    for info in snapshot.namespaces()? {
        let info = info?;
        let metadata = (info.id, &info.name, &info.title, &info.description, info.protected);
        let contents = (info.keys, info.bytes, info.digest.to_string());
        (metadata, contents).hash_into(&mut shared);
        (metadata, (info.created, info.meta_version, info.data_version)).hash_into(&mut whole);
        let mut entries = snapshot.namespace(&info.name)?.all()?;
        while let Some(entry) = entries.step()? {
            (entry.key(), entry.value(), entry.version()).hash(&mut whole);
            (entry.key(), entry.value()).hash(&mut shared);
        }
    }
    for info in snapshot.dropped_namespaces()? {
        let info = info?;
        let dropped = info.dropped.as_ref().map(|dropped| dropped.version);
        (info.id, &info.name, dropped, info.keys, info.digest.to_string()).hash(&mut whole);
    }
    Ok(State { whole: whole.finish(), shared: shared.finish() })
}

/// As `Hash`, for tuples of things that have it.
trait HashInto: Hash {
    fn hash_into(&self, hasher: &mut RapidHasher<'_>) {
        self.hash(hasher);
    }
}

impl<T: Hash> HashInto for T {}
