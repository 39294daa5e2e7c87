//! What is written and looked up: pseudo-random bytes from a fixed seed, the same for every engine.

#[cfg(any(test, feature = "with-cohab"))]
use std::collections::HashSet;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::zipf::Picks;

/// The length of a key, in bytes.
pub const KEY_BYTES: usize = 24;

/// The length of a value, in bytes.
pub const VALUE_BYTES: usize = 150;

/// A key.
pub type Key = [u8; KEY_BYTES];

/// The key that sorts before all others.
pub const FIRST_KEY: Key = [0; KEY_BYTES];

/// A key and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: [u8; VALUE_BYTES],
}

impl Row {
    /// A row whose value is a number and nothing else.
    pub fn marked(key: Key, number: u64) -> Self {
        let mut value = [0; VALUE_BYTES];
        value[..8].copy_from_slice(&number.to_le_bytes());
        Self { key, value }
    }
}

/// The number that a marked row's value begins with.
pub fn mark_in(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|number| u64::from_le_bytes(*number))
}

/// The seed of the rows; each stream of picks has the next one.
const SEED: u64 = 0x00c0_ab5e;

/// The rows that a store holds at first, one after the other.
pub fn first_rows(count: usize) -> impl Iterator<Item = Row> {
    let mut rng = Rng::with_seed(SEED);
    (0..count).map(move |_| {
        let mut row = Row { key: FIRST_KEY, value: [0; VALUE_BYTES] };
        rng.fill(&mut row.key);
        rng.fill(&mut row.value);
        row
    })
}

/// The rows that a store holds by now, and the source of what comes next.
///
/// Keys and values are random bytes, so the order of the rows is a random order of their keys, and nothing
/// compresses.
pub struct Workload {
    rows: Vec<Row>,
    contents: Contents,
    picks: Rng,
}

impl Workload {
    /// Makes rows, always the same ones.
    pub fn new(rows: usize) -> Self {
        let rows: Vec<Row> = first_rows(rows).collect();
        let mut contents = Contents::default();
        for row in &rows {
            contents.add(&row.key, &row.value);
        }
        let mut workload = Self { rows, contents, picks: Rng::new() };
        workload.turn_to(0);
        workload
    }

    /// Starts a stream of picks over, always the same for one number.
    pub fn turn_to(&mut self, stream: u64) {
        self.picks = Rng::with_seed(SEED + 1 + stream);
    }

    /// The rows as they are by now.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The sum of the rows as they are by now.
    pub fn contents(&self) -> Contents {
        self.contents
    }

    /// Picks keys that are there.
    pub fn lookups(&mut self, count: usize) -> Vec<Key> {
        (0..count).map(|_| self.rows[self.picks.usize(..self.rows.len())].key).collect()
    }

    /// Picks keys that are there, few of them over and over.
    pub fn skewed_lookups(&mut self, count: usize) -> Vec<Key> {
        let mut skewed = self.skewed();
        (0..count).map(|_| self.rows[skewed.pick()].key).collect()
    }

    /// Picks rows to write elsewhere.
    pub fn some_rows(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.rows[self.picks.usize(..self.rows.len())]).collect()
    }

    /// Gives rows that are there new values, and returns them in the order in which an engine has to write them.
    pub fn overwrites(&mut self, count: usize) -> Vec<Row> {
        (0..count).map(|_| self.overwrite(0, 1)).collect()
    }

    /// Overwrites of rows that are picked as [`skewed_lookups`](Self::skewed_lookups) are.
    pub fn skewed_overwrites(&mut self, count: usize) -> Vec<Row> {
        let mut skewed = self.skewed();
        (0..count).map(|_| self.rewrite(skewed.pick(), |picks, row| picks.fill(&mut row.value))).collect()
    }

    /// Overwrites for several threads, of which no two write the same key.
    pub fn overwrites_apart(&mut self, threads: usize, count_each: usize) -> Vec<Vec<Row>> {
        let of_thread = |thread| (0..count_each).map(|_| self.overwrite(thread, threads)).collect();
        (0..threads).map(of_thread).collect()
    }

    /// Makes the first row one that is marked with a number.
    pub fn mark(&mut self, number: u64) -> Row {
        self.rewrite(0, |_, row| *row = Row::marked(row.key, number))
    }

    /// The key of the row that is marked.
    pub fn marked_key(&self) -> Key {
        self.rows[0].key
    }

    fn skewed(&mut self) -> Picks {
        Picks::new(self.rows.len(), self.picks.u64(..))
    }

    /// Overwrites one of the rows `offset`, `offset + stride`, …
    fn overwrite(&mut self, offset: usize, stride: usize) -> Row {
        let choices = (self.rows.len() - offset).div_ceil(stride);
        let index = offset + stride * self.picks.usize(..choices);
        self.rewrite(index, |picks, row| picks.fill(&mut row.value))
    }

    fn rewrite(&mut self, index: usize, change: impl FnOnce(&mut Rng, &mut Row)) -> Row {
        let row = &mut self.rows[index];
        self.contents.remove(&row.key, &row.value);
        change(&mut self.picks, row);
        self.contents.add(&row.key, &row.value);
        *row
    }
}

/// For the cases of the log.
#[cfg(any(test, feature = "with-cohab"))]
impl Workload {
    /// Gives rows new values, of which no two are the same row.
    pub fn distinct_overwrites(&mut self, count: usize) -> Vec<Row> {
        let picked = self.distinct(count);
        picked.into_iter().map(|index| self.rewrite(index, |picks, row| picks.fill(&mut row.value))).collect()
    }

    /// Overwrites with the rows that were there before each.
    pub fn overwrites_with_before(&mut self, count: usize) -> Vec<(Row, Row)> {
        (0..count)
            .map(|_| {
                let index = self.picks.usize(..self.rows.len());
                (self.rows[index], self.rewrite(index, |picks, row| picks.fill(&mut row.value)))
            })
            .collect()
    }

    /// Overwrites of different rows that will be taken back: the rows stay what they are.
    pub fn trial_overwrites(&mut self, count: usize) -> Vec<Row> {
        let picked = self.distinct(count);
        let overwrite = |index: usize| {
            let mut row = self.rows[index];
            self.picks.fill(&mut row.value);
            row
        };
        picked.into_iter().map(overwrite).collect()
    }

    /// Picks different rows.
    fn distinct(&mut self, count: usize) -> Vec<usize> {
        assert!(count <= self.rows.len() / 2, "so many would take for ever to pick");
        let mut known = HashSet::new();
        let picks = std::iter::repeat_with(|| self.picks.usize(..self.rows.len()));
        picks.filter(|index| known.insert(*index)).take(count).collect()
    }
}

/// The sum of a set of rows, whatever their order: how many there are, and a hash of each, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Contents {
    rows: u64,
    digest: u128,
}

impl Contents {
    /// Counts a row in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.digest = self.digest.wrapping_add(hash(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.rows -= 1;
        self.digest = self.digest.wrapping_sub(hash(key, value));
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn contents_of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Contents {
        let mut contents = Contents::default();
        rows.into_iter().for_each(|row| contents.add(&row.key, &row.value));
        contents
    }

    #[test]
    fn one_number_always_stands_for_the_same_picks() {
        let (mut one, mut other) = (Workload::new(500), Workload::new(500));
        assert_eq!(one.rows(), other.rows());
        one.overwrites(7);
        one.turn_to(3);
        other.turn_to(3);
        assert_eq!(one.lookups(50), other.lookups(50));
        assert_eq!(one.skewed_lookups(50), other.skewed_lookups(50));
        assert_eq!(one.overwrites(50), other.overwrites(50));
    }

    #[test]
    fn keys_differ() {
        let workload = Workload::new(10_000);
        let keys: HashSet<Key> = workload.rows().iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn what_is_overwritten_is_what_the_contents_sum_up() {
        let mut workload = Workload::new(100);
        let mut written: BTreeMap<Key, Row> = workload.rows().iter().map(|row| (row.key, *row)).collect();
        for row in [workload.overwrites(300), workload.skewed_overwrites(300)].concat() {
            assert!(written.insert(row.key, row).is_some_and(|before| before.value != row.value));
        }
        assert_eq!(workload.contents(), contents_of(written.values()));
        assert_eq!(workload.contents(), contents_of(workload.rows()));
    }

    #[test]
    fn rows_that_differ_are_overwritten_or_only_tried() {
        let mut workload = Workload::new(100);
        let keys = |rows: &[Row]| rows.iter().map(|row| row.key).collect::<HashSet<_>>().len();
        let (rows, contents) = (workload.distinct_overwrites(50), workload.contents());
        assert_eq!((keys(&rows), contents), (50, contents_of(workload.rows())));
        assert_eq!((keys(&workload.trial_overwrites(50)), workload.contents()), (50, contents));
        assert_eq!(contents_of(workload.rows()), contents);
        for (before, after) in workload.overwrites_with_before(50) {
            assert!(before.key == after.key && before.value != after.value);
        }
        assert_eq!(workload.contents(), contents_of(workload.rows()));
    }

    #[test]
    fn a_mark_is_part_of_the_contents() {
        let mut workload = Workload::new(10);
        let row = workload.mark(77);
        assert_eq!((row.key, mark_in(&row.value)), (workload.marked_key(), Some(77)));
        assert_eq!(workload.contents(), contents_of(workload.rows()));
    }

    #[test]
    fn threads_share_no_key() {
        let mut workload = Workload::new(100);
        let parts = workload.overwrites_apart(16, 40);
        let keys: Vec<HashSet<Key>> =
            parts.iter().map(|rows| rows.iter().map(|row| row.key).collect()).collect();
        let all: HashSet<Key> = keys.iter().flatten().copied().collect();
        assert_eq!(all.len(), keys.iter().map(HashSet::len).sum::<usize>());
        assert_eq!(workload.contents(), contents_of(workload.rows()));
    }

    #[test]
    fn contents_tell_sets_apart() {
        let rows = Workload::new(3).rows().to_vec();
        let swapped = [
            Row { key: rows[0].key, value: rows[1].value },
            Row { key: rows[1].key, value: rows[0].value },
            rows[2],
        ];
        assert_eq!(contents_of(&rows), contents_of(rows.iter().rev()));
        assert_ne!(contents_of(&rows), contents_of(&swapped));
        assert_ne!(contents_of(&rows), contents_of(&rows[1..]));
    }
}
