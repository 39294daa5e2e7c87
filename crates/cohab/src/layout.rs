//! How the store's rows are laid out in the engine's tables.
//!
//! ```text
//! data     namespace id (4, big endian) ‖ key   → version that set it (8, little endian) ‖ value
//! catalog  see cohab_namespace::catalog
//! log      version (8, big endian) ‖ chunk (4)  → a chunk of the version's record
//! ```

use std::ops::Bound;

use cohab_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use cohab_core::{NamespaceId, Version};
use cohab_engine::Table;
use smallvec::SmallVec;

use crate::{Error, Result};

/// Keys and values of all namespaces.
pub(crate) const DATA: Table = Table::new(0, "data").bytes_min(VERSION_BYTES);
/// What is known of the store and its namespaces.
pub(crate) const CATALOG: Table = Table::new(1, "catalog");
/// One record per version.
pub(crate) const LOG: Table = Table::new(2, "log");

/// All tables of a store.
pub(crate) const TABLES: &[Table] = &[DATA, CATALOG, LOG];

pub(crate) const ID_BYTES: usize = 4;
const VERSION_BYTES: usize = 8;

/// A key of the data table; one of usual length is kept without an allocation.
pub(crate) type DataKey = SmallVec<[u8; 64]>;

/// Builds the data table's key for a key of a namespace, or refuses a key that is too long.
#[inline]
pub(crate) fn data_key(id: NamespaceId, key: &[u8]) -> Result<DataKey> {
    if key.len() > KEY_BYTES_MAX {
        let start = key[..32].escape_ascii();
        let message = format!("key \"{start}…\" is {} bytes long, the most is {KEY_BYTES_MAX}", key.len());
        return Err(Error::invalid(message));
    }
    let mut row = DataKey::with_capacity(ID_BYTES + key.len());
    row.extend_from_slice(&id.to_be_bytes());
    row.extend_from_slice(key);
    Ok(row)
}

/// Refuses a value that is too long.
pub(crate) fn check_value(key: &[u8], value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    let key = key.escape_ascii();
    let bytes = value.len();
    Err(Error::invalid(format!(
        "the value of key \"{key}\" is {bytes} bytes long, the most is {VALUE_BYTES_MAX}"
    )))
}

/// Returns the key within its namespace.
#[inline]
pub(crate) fn user_key(row: &[u8]) -> &[u8] {
    row.get(ID_BYTES..).unwrap_or_default()
}

/// Splits a data row's value into the version that set it and what was set. The engine hands out none that is shorter
/// than a version.
#[inline]
pub(crate) fn split_value(stored: &[u8]) -> (Version, &[u8]) {
    match stored.split_first_chunk::<VERSION_BYTES>() {
        Some((version, value)) => (Version::new(u64::from_le_bytes(*version)), value),
        None => (Version::ZERO, &[]),
    }
}

/// What stands before a value that this version sets.
pub(crate) fn version_prefix(version: Version) -> [u8; VERSION_BYTES] {
    version.get().to_le_bytes()
}

/// A range of the data table.
pub(crate) struct DataRange {
    start: Bound<DataKey>,
    end: Bound<DataKey>,
}

impl DataRange {
    /// The rows of a namespace whose keys lie in a range. Bounds longer than any key are cut: nothing lies between.
    pub(crate) fn of(id: NamespaceId, range: (Bound<&[u8]>, Bound<&[u8]>)) -> Self {
        let row = |key: &[u8]| {
            let cut = &key[..key.len().min(KEY_BYTES_MAX)];
            data_key(id, cut).expect("a cut key is short enough")
        };
        let was_cut = |key: &[u8]| key.len() > KEY_BYTES_MAX;
        let start = match range.0 {
            Bound::Unbounded => Bound::Included(row(&[])),
            // Everything up to the cut key is smaller than the bound.
            Bound::Included(key) | Bound::Excluded(key) if was_cut(key) => Bound::Excluded(row(key)),
            Bound::Included(key) => Bound::Included(row(key)),
            Bound::Excluded(key) => Bound::Excluded(row(key)),
        };
        let end = match range.1 {
            Bound::Unbounded => id
                .checked_next()
                .map_or(Bound::Unbounded, |next| Bound::Excluded(data_key(next, &[]).expect("is short"))),
            Bound::Included(key) | Bound::Excluded(key) if was_cut(key) => Bound::Included(row(key)),
            Bound::Included(key) => Bound::Included(row(key)),
            Bound::Excluded(key) => Bound::Excluded(row(key)),
        };
        Self { start, end }
    }

    /// All rows of a namespace.
    pub(crate) fn all(id: NamespaceId) -> Self {
        Self::of(id, (Bound::Unbounded, Bound::Unbounded))
    }

    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(|key| &**key), self.end.as_ref().map(|key| &**key))
    }
}

/// Returns the bound that ends the keys with a prefix.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// Tells damage in terms of the store instead of the engine's tables.
pub(crate) fn corrupt(table: &str, key: Option<&[u8]>, detail: &str) -> Error {
    let place = match key {
        Some(row) if table == DATA.name() && row.len() >= ID_BYTES => {
            let (id, key) = row.split_at(ID_BYTES);
            let id = id.iter().fold(0u32, |id, byte| id << 8 | u32::from(*byte));
            format!("namespace #{id}, key \"{}\"", key.escape_ascii())
        }
        Some(row) if table == LOG.name() => match cohab_log::parse_chunk_key(row) {
            Some((version, _)) => format!("the log record of version {version}"),
            None => format!("the log at \"{}\"", row.escape_ascii()),
        },
        Some(row) => format!("{table} at \"{}\"", row.escape_ascii()),
        None if table == "file" => "the store's file".to_owned(),
        None => format!("the store's file, table `{table}`,"),
    };
    Error::corrupt(format!("{place} is damaged: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        let check =
            |prefix: &[u8], end: Bound<&[u8]>| assert_eq!(prefix_end(prefix), end.map(<[u8]>::to_vec));
        check(b"", Bound::Unbounded);
        check(b"a", Bound::Excluded(b"b"));
        check(b"a\xff", Bound::Excluded(b"b"));
        check(b"\xff\xff", Bound::Unbounded);
    }

    #[test]
    fn the_last_namespace_ends_with_the_table() {
        let last = DataRange::all(NamespaceId::new(u32::MAX));
        assert_eq!(last.bounds(), (Bound::Included(&[0xff; 4][..]), Bound::Unbounded));
    }
}
