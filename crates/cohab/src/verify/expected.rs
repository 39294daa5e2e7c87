//! What the log says that a namespace should hold, to find the keys that are wrong where the sums are.

use std::collections::BTreeMap;

use cohab_core::limits::VERIFY_EXPECTED_BYTES_MAX;
use cohab_core::{Digest, NamespaceId, Version};
use cohab_log::Item;

use crate::layout::LOG;
use crate::view::Direction;
use crate::walk::Span;
use crate::{Kind, Result, Snapshot};

/// A key that is not as the log says.
pub(super) struct Wrong {
    pub(super) key: Vec<u8>,
    pub(super) problem: String,
}

/// What the log knows of the keys that it names: the version that last changed each, and what it set.
struct Expected {
    keys: BTreeMap<Vec<u8>, (Version, Option<Digest>)>,
    /// What has changed later is all here.
    since: Version,
}

/// Compares every key of a namespace with what the log says of it, and names those that are wrong, in order. Cost: reads
/// the log and the namespace. Where the log does not tell there are none.
pub(super) fn wrong_keys(snapshot: &Snapshot, id: NamespaceId) -> Result<Vec<Wrong>> {
    let Some(Expected { keys, since }) = expected(snapshot, id)? else { return Ok(Vec::new()) };
    let mut wrong = Vec::new();
    let missing = |key: Vec<u8>, (version, _): (Version, Option<Digest>)| Wrong {
        problem: format!("key \"{}\" is missing, which version {version} put", key.escape_ascii()),
        key,
    };
    let mut keys = keys.into_iter().peekable();
    let mut rows = snapshot
        .namespace_by_id(id)?
        .salvage((std::ops::Bound::Unbounded, std::ops::Bound::Unbounded), Direction::Forward)?;
    while let Some(row) = rows.step()? {
        let (key, version) = (row.key(), row.version());
        while let Some((key, expected)) = keys.next_if(|(known, _)| &known[..] < key) {
            if expected.1.is_some() {
                wrong.push(missing(key, expected));
            }
        }
        let shown = key.escape_ascii();
        let problem = match keys.next_if(|(known, _)| known == key) {
            Some((_, (put, Some(digest)))) if (put, digest) == (version, digest_of(key, row.value())) => {
                continue;
            }
            Some((_, (put, Some(_)))) => {
                format!("key \"{shown}\" is not what version {put} put, but of version {version}")
            }
            Some((_, (deleted, None))) => {
                format!("key \"{shown}\" is there, and version {deleted} deleted it")
            }
            None if version > since => {
                format!("key \"{shown}\" is there, and version {version} did not put it")
            }
            None => continue,
        };
        wrong.push(Wrong { key: key.to_vec(), problem });
    }
    wrong.extend(keys.filter(|(_, (_, put))| put.is_some()).map(|(key, expected)| missing(key, expected)));
    Ok(wrong)
}

fn digest_of(key: &[u8], value: &[u8]) -> Digest {
    let mut digest = Digest::EMPTY;
    digest.add(key, value);
    digest
}

/// Reads what the log says, if it can be read and is not too much.
fn expected(snapshot: &Snapshot, id: NamespaceId) -> Result<Option<Expected>> {
    let state = snapshot.state();
    let since = Version::new(snapshot.oldest_version().get().saturating_sub(1));
    let span = Span::new(since, snapshot.version());
    let mut expected = Expected { keys: BTreeMap::new(), since };
    let (mut namespace, mut bytes, mut is_over) = (None, 0, false);
    let log = state.engine()?.range(LOG, span.bounds(), Direction::Forward)?;
    let visited = span.visit(log, |version, item| {
        match item {
            Item::Namespace(id) => namespace = Some(*id),
            // What was known of its keys may have changed.
            Item::Unrecorded { namespace, .. } if *namespace == id => {
                (expected.keys, expected.since, bytes) = (BTreeMap::new(), version, 0);
            }
            Item::Change(change) if namespace == Some(id) && !is_over => {
                let key = change.key();
                let what = (version, change.after().map(|value| digest_of(key, value)));
                if expected.keys.insert(key.to_vec(), what).is_none() {
                    // And what an entry of the map takes.
                    bytes += key.len() + 100;
                    is_over = bytes > VERIFY_EXPECTED_BYTES_MAX;
                }
            }
            _ => {}
        }
        Ok(())
    });
    match visited {
        Ok(()) => Ok(Some(expected).filter(|_| !is_over)),
        Err(error) if error.kind() == Kind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}
