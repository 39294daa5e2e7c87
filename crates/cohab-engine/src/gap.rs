//! The gap in which a key would stand: what has to be sound for "there is no such key" to be true, and for a new one to
//! be found again.

use std::cmp::Ordering;
use std::ops::{Bound, Range};

use redb::ReadableTable;

use crate::Result;
use crate::branches::Branches;
use crate::entries::out_of_order;
use crate::guard::guarded;
use crate::seal::{Guard, Seal};

/// A table's entry in a page, borrowed.
type Stored<'a> = (Guard<'a>, Guard<'a>);

/// The entries before and after a gap, as far as there are any.
pub(crate) type Beside<'a> = [Option<Stored<'a>>; 2];

pub(crate) fn keys_of<'g>(beside: &'g Beside<'_>) -> [Option<&'g [u8]>; 2] {
    beside.each_ref().map(|entry| entry.as_ref().map(|(key, _)| key.value()))
}

/// Verifies that the gap in which a key would stand is one between two sound entries.
///
/// A search that was led astray by one damaged key ends right beside that key, and one that a damaged dividing key of a branch
/// led into the leaf beside it finds that leaf's neighbour on the wrong side of the gap. Where the two are not of one leaf,
/// `verify_edge` verifies what leads there.
pub(crate) fn verify_absence(
    tree: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: Seal,
    key: &[u8],
    verify_edge: impl FnOnce([Option<&[u8]>; 2]) -> Result<()>,
) -> Result<()> {
    if planted!(AbsenceUnverified) {
        return Ok(());
    }
    guarded(seal.table(), || -> Result<_> {
        let mut cursor = tree.lower_bound(Bound::Included(key))?;
        let beside = [cursor.peek_prev()?, cursor.peek_next()?];
        verify_sides(seal, key, &beside)?;
        if is_within_one_leaf(keys_of(&beside)) {
            return Ok(());
        }
        tree.verify_neighbours(seal, keys_of(&beside))?;
        verify_edge(keys_of(&beside))
    })
}

/// Verifies what leads to a gap between two leaves, or at an end of the table, and that there is no other leaf in between.
pub(crate) fn verify_edge(branches: Option<&Branches>, seal: Seal, beside: [Option<&[u8]>; 2]) -> Result<()> {
    let leaves = beside.iter().flatten().count();
    branches.map_or(Ok(()), |branches| branches.verify_leaves(seal.of(), beside, leaves))
}

/// Verifies that a key that was not there and is now, stands between two sound entries.
///
/// Looking afterwards costs nothing where a value was replaced, and sees as much: what a damaged branch makes of the order of
/// keys is the same with one key more. It is to be looked at each time: a put that adds a key to a branch changes with which of
/// its keys a search compares, so that a damaged one may lead the next search astray.
pub(crate) fn verify_put(
    tree: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: Seal,
    key: &[u8],
    verify_edge: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if planted!(AbsenceUnverified) {
        return Ok(());
    }
    guarded(seal.table(), || -> Result<_> {
        let mut cursor = tree.lower_bound(Bound::Included(key))?;
        let before = cursor.peek_prev()?;
        let put = cursor.next()?;
        let beside = [before, cursor.peek_next()?];
        let Some(put) = put.as_ref().map(|(put, _)| put.value()).filter(|put| *put == key) else {
            return Err(out_of_order(seal, key));
        };
        verify_sides(seal, key, &beside)?;
        match keys_of(&beside) {
            [Some(before), Some(after)]
                if are_of_one_leaf(&place(before), &place(put))
                    && are_of_one_leaf(&place(put), &place(after)) =>
            {
                Ok(())
            }
            [before, after] => {
                verify_walks(tree, seal, [before, Some(put)], [Some(put), after])?;
                verify_edge()
            }
        }
    })
}

/// Verifies that what stands before and after a key is sound, and on the right side of it.
fn verify_sides(seal: Seal, key: &[u8], beside: &Beside<'_>) -> Result<()> {
    for (entry, expected) in beside.iter().zip([Ordering::Less, Ordering::Greater]) {
        let Some((found, value)) = entry else { continue };
        seal.verify(found.value(), value.value())?;
        if found.value().cmp(key) != expected {
            return Err(out_of_order(seal, found.value()));
        }
    }
    Ok(())
}

/// A table of which it can be verified that two keys, or a key and an end of it, are neighbours.
///
/// In one leaf, those are that a search has found beside each other. Between two leaves, a damaged branch may lead to some other
/// leaf in place of the one that belongs there, and all keys of that one may lie on one side of the gap, so that nothing is out of
/// order. It has a place of its own as well, though, with other neighbours: that is where a search for its keys leads. Cost: two
/// walks.
pub(crate) trait Neighbours {
    /// Verifies that a search for either of two keys ends beside the other, or at an end of the table.
    fn verify_neighbours(&self, seal: Seal, beside: [Option<&[u8]>; 2]) -> Result<()>;
}

impl<T: ReadableTable<&'static [u8], &'static [u8]>> Neighbours for T {
    fn verify_neighbours(&self, seal: Seal, beside: [Option<&[u8]>; 2]) -> Result<()> {
        verify_walks(self, seal, beside, beside)
    }
}

/// Verifies that a search for what is behind the first of some keys ends between the two of `behind`, and one for what is
/// ahead of the last between those of `ahead`.
fn verify_walks(
    tree: &impl ReadableTable<&'static [u8], &'static [u8]>,
    seal: Seal,
    behind: [Option<&[u8]>; 2],
    ahead: [Option<&[u8]>; 2],
) -> Result<()> {
    let behind = behind[0].map(|key| (tree.upper_bound(Bound::Included(key)), key, behind));
    let ahead = ahead[1].map(|key| (tree.lower_bound(Bound::Included(key)), key, ahead));
    for (cursor, key, beside) in [behind, ahead].into_iter().flatten() {
        let mut cursor = cursor?;
        if keys_of(&[cursor.peek_prev()?, cursor.peek_next()?]) != beside {
            return Err(out_of_order(seal, key));
        }
    }
    Ok(())
}

/// Returns whether there are two keys, of the same leaf.
pub(crate) fn is_within_one_leaf(beside: [Option<&[u8]>; 2]) -> bool {
    matches!(beside, [Some(before), Some(after)] if are_of_one_leaf(&place(before), &place(after)))
}

/// Returns whether two keys that were found beside each other in these places are of the same leaf: there, keys follow each other without a gap,
/// and what is behind a leaf's last key is at least the header of the next.
pub(crate) fn are_of_one_leaf(before: &Range<usize>, after: &Range<usize>) -> bool {
    before.end == after.start
}

/// Where a key is in memory.
pub(crate) fn place(key: &[u8]) -> Range<usize> {
    let place = key.as_ptr_range();
    place.start.addr()..place.end.addr()
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase, TableDefinition};

    use super::*;

    /// Should the B-tree lay its leaves out in another way, every look-up that finds nothing would take three walks.
    #[test]
    fn nearly_all_keys_are_known_to_be_of_one_leaf_with_the_next() -> std::result::Result<(), redb::Error> {
        const KEYS: usize = 10_000;
        let table = TableDefinition::<&[u8], &[u8]>::new("t");
        let database = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new())?;
        let writing = database.begin_write()?;
        {
            let mut tree = writing.open_table(table)?;
            for i in 0..KEYS {
                tree.insert(format!("{i:09}").as_bytes(), &[0; 30][..])?;
            }
        }
        writing.commit()?;
        let tree = database.begin_read()?.open_table(table)?;
        let mut cursor = tree.lower_bound(Bound::<&[u8]>::Unbounded)?;
        let (mut pairs, mut edges) = (0, 0);
        while cursor.next()?.is_some() {
            if let [Some(before), Some(after)] = keys_of(&[cursor.peek_prev()?, cursor.peek_next()?]) {
                pairs += 1;
                edges += usize::from(!are_of_one_leaf(&place(before), &place(after)));
            }
        }
        assert_eq!(pairs, KEYS - 1);
        // A leaf has room for some seventy of them.
        assert!((KEYS / 100..KEYS / 30).contains(&edges), "{edges} edges of leaves");
        Ok(())
    }
}
