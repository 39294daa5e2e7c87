//! What the cases ask of whoever reads a store: its writer, or a reader in another process.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::workload::{Contents, FIRST_KEY, Key};

/// How long a reader that can't be woken sleeps between two looks.
const POLL: Duration = Duration::from_millis(1);

/// How many keys are looked up at a time to warm a cache.
const WARM_CHUNK: usize = 1024;

/// What an engine's file implements for reading. Reads show the engine's own bytes to a closure and copy nothing.
pub trait Reads: Sync {
    /// Looks keys up, one after the other, in one snapshot.
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()>;

    /// Looks keys up, each in a snapshot of its own that is taken then.
    fn get_fresh(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()>;

    /// Reads up to `limit` rows from each start on, all in one snapshot.
    fn scan(&self, starts: &[Key], limit: usize, see: impl FnMut(&[u8], &[u8])) -> Result<()>;

    /// Looks a key up in one new snapshot after the other, until the closure breaks off. An engine that wakes readers
    /// when there is a new one waits for that; the others have to look, which they do every millisecond.
    fn follow(&self, key: &Key, mut see: impl FnMut(Option<&[u8]>) -> ControlFlow<()>) -> Result<()> {
        loop {
            let mut flow = ControlFlow::Continue(());
            self.get_fresh(std::slice::from_ref(key), |value| flow = see(value))?;
            if flow.is_break() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }

    /// Looks all keys up once. A cache without a store is given the rows.
    fn warm(&self, data: Data) -> Result<()> {
        let mut keys = data.rows().map(|(key, _)| key).peekable();
        while keys.peek().is_some() {
            let some: Vec<Key> = keys.by_ref().take(WARM_CHUNK).collect();
            self.get_fresh(&some, |value| {
                black_box(value);
            })?;
        }
        Ok(())
    }

    /// What its cache of values counts, if it has one.
    fn counts(&self) -> Option<Counts> {
        None
    }
}

/// A store that is open for reading, as the cases see it. Several threads may read at a time.
pub trait Reader: Sync {
    /// Looks keys up in one snapshot.
    fn get_held(&self, keys: &[Key]) -> Result<Seen>;

    /// Looks keys up, each in a fresh snapshot.
    fn get_fresh(&self, keys: &[Key]) -> Result<Seen>;

    /// Reads up to `limit` rows from each start on, all in one snapshot.
    fn scan(&self, starts: &[Key], limit: usize) -> Result<Seen>;

    /// Looks a key up in one new snapshot after the other, until the closure breaks off.
    fn follow(&self, key: &Key, see: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>) -> Result<()>;

    /// Looks all keys up once.
    fn warm(&self, data: Data) -> Result<()>;

    /// What its cache of values counts, if it has one.
    fn counts(&self) -> Option<Counts>;

    /// Sums up everything that is there.
    fn contents(&self) -> Result<Contents>;

    /// Makes sure that the store holds what was written to it, every byte and nothing else.
    fn check(&self, written: Contents) -> Result<()> {
        let found = self.contents()?;
        ensure!(found == written, "the store holds {found:?}, and {written:?} was written");
        Ok(())
    }
}

impl<R: Reads> Reader for R {
    fn get_held(&self, keys: &[Key]) -> Result<Seen> {
        let mut seen = Seen::default();
        Reads::get_held(self, keys, |value| seen.value(value))?;
        Ok(seen)
    }

    fn get_fresh(&self, keys: &[Key]) -> Result<Seen> {
        let mut seen = Seen::default();
        Reads::get_fresh(self, keys, |value| seen.value(value))?;
        Ok(seen)
    }

    fn scan(&self, starts: &[Key], limit: usize) -> Result<Seen> {
        let mut seen = Seen::default();
        Reads::scan(self, starts, limit, |key, value| seen.row(key, value))?;
        Ok(seen)
    }

    fn follow(&self, key: &Key, see: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>) -> Result<()> {
        Reads::follow(self, key, see)
    }

    fn warm(&self, data: Data) -> Result<()> {
        Reads::warm(self, data)
    }

    fn counts(&self) -> Option<Counts> {
        Reads::counts(self)
    }

    fn contents(&self) -> Result<Contents> {
        let mut contents = Contents::default();
        Reads::scan(self, &[FIRST_KEY], usize::MAX, |key, value| contents.add(key, value))?;
        Ok(contents)
    }
}

/// What a cache of values counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Look-ups that it answered.
    pub hits: u64,
    /// Look-ups that it left to the store.
    pub misses: u64,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes it takes them for.
    pub bytes: u64,
}

impl Counts {
    /// What happened since it counted before, and what it has now.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { hits: self.hits - before.hits, misses: self.misses - before.misses, ..self }
    }
}

/// What reads have read: every byte of every key and value.
///
/// Whoever asks for a value wants its bytes, so an engine does not get away with pointing at memory that it never
/// touched. Engines that were given the same reads must end with the same sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// How many rows were found.
    pub rows: u64,
    sum: u64,
}

impl Seen {
    /// Touches the outcome of a look-up.
    #[inline]
    pub fn value(&mut self, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.rows += 1;
            self.touch(value);
        }
    }

    /// Touches a row of a scan.
    #[inline]
    pub fn row(&mut self, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.touch(key);
        self.touch(value);
    }

    /// Forgets which bytes were seen, where that depends on who was faster.
    #[must_use]
    pub fn count_only(self) -> Self {
        Self { sum: 0, ..self }
    }

    /// Adds what was seen elsewhere.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum + other.sum }
    }

    #[inline]
    fn touch(&mut self, bytes: &[u8]) {
        self.sum += bytes.len() as u64 + bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }
}
