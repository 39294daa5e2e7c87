//! Verifying a store that is in use: in short steps, each from a new snapshot.

use std::thread;
use std::time::{Duration, Instant};

use cohab_core::Version;
use cohab_core::limits::{VERIFY_PAUSE_MAX, VERIFY_SLICE_BYTES, VERIFY_SLICE_KEYS};

use super::course::{Course, Size};
use super::{Checkpoint, Progress, Report};
use crate::{Error, Kind, Result, Snapshot, Store};

/// How a store is verified while it is in use; see [`Store::verifier`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How many keys, or records of the log, a step reads at the most.
    pub slice_keys: u64,
    /// How many bytes a step reads, and somewhat more: the last value as a whole.
    pub slice_bytes: u64,
    /// How many bytes are read in a second, on average; as many as can be if none.
    pub bytes_per_second: Option<u64>,
    /// How far an earlier verification has come.
    pub checkpoint: Option<Checkpoint>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        let (slice_keys, slice_bytes) = (VERIFY_SLICE_KEYS, VERIFY_SLICE_BYTES);
        Self { slice_keys, slice_bytes, bytes_per_second: None, checkpoint: None }
    }
}

impl VerifyOptions {
    /// Reads at most so many keys from one snapshot.
    #[must_use]
    pub fn slice_keys(mut self, keys: u64) -> Self {
        self.slice_keys = keys;
        self
    }

    /// Reads at most so many bytes from one snapshot, and the last value as a whole.
    #[must_use]
    pub fn slice_bytes(mut self, bytes: u64) -> Self {
        self.slice_bytes = bytes;
        self
    }

    /// Reads no more bytes than that in a second, on average.
    #[must_use]
    pub fn bytes_per_second(mut self, bytes: u64) -> Self {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Goes on from where an earlier verification of the same store has come to, in this process or another.
    #[must_use]
    pub fn resume(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// A paced verification reads little at a time, or it would hold a snapshot to read and then rest for long.
    fn size(&self) -> Size {
        let paced = self.bytes_per_second.map_or(u64::MAX, |rate| rate / 4);
        Size { keys: self.slice_keys.max(1), bytes: self.slice_bytes.min(paced).max(1) }
    }
}

/// A verification of a store in use; see [`Store::verifier`].
#[derive(Debug)]
pub struct Verifier {
    store: Store,
    options: VerifyOptions,
    course: Course,
    /// The snapshot that a namespace is walked in that changes too much, or without a log.
    pinned: Option<Snapshot>,
    /// When the next slice is due.
    due: Option<Instant>,
}

impl Store {
    /// Begins to verify the store as [`Snapshot::verify`] does, but in steps that pin pages only for as long as each
    /// takes, while other transactions go on.
    ///
    /// Each step reads on from a new snapshot. What was committed since the last one to keys that were read already is
    /// taken from the log, so that in the end what was summed up is comparable with what is kept of each namespace. If
    /// the log does not tell – it was trimmed, or the namespace has its history off – the namespace is begun again, and
    /// after a few times walked in one snapshot. That is remarked upon in the report. Namespaces that are made
    /// meanwhile are left to the next verification; those that are purged meanwhile are left out.
    ///
    /// ```
    /// # use cohab::{Checkpoint, Store, VerifyOptions};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// # store.write(|tx| tx.create_namespace("flags"))?;
    /// let mut verifier = store.verifier(VerifyOptions::default().bytes_per_second(10 << 20))?;
    /// let report = loop {
    ///     let saved = verifier.checkpoint().to_string(); // keep it, to go on after a crash
    ///     assert_eq!(saved.parse::<Checkpoint>()?.store(), store.id());
    ///     if let Some(report) = verifier.step()? {
    ///         break report;
    ///     }
    /// };
    /// assert!(report.is_sound());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::Foreign`] for a checkpoint of another store.
    pub fn verifier(&self, mut options: VerifyOptions) -> Result<Verifier> {
        let course = match options.checkpoint.take() {
            Some(Checkpoint(course)) if course.store == self.id() => course,
            Some(checkpoint) => {
                let message = format!("the checkpoint is of store {}, not of this one", checkpoint.store());
                return Err(Error::new(Kind::Foreign, message).hint("verify from the beginning"));
            }
            None => Course::begin(self.id()),
        };
        Ok(Verifier { store: self.clone(), options, course, pinned: None, due: None })
    }
}

impl Verifier {
    /// Goes on by one slice, and returns the report if that was the last.
    ///
    /// Blocks for as long as reading the slice takes. If it is too early for the rate that was asked for, it waits until it is
    /// not, but for no longer than a second: then it has read nothing.
    ///
    /// # Errors
    ///
    /// As for [`Store::snapshot`]; the verification stands where it stood, and can go on.
    /// [`Kind::SnapshotExpired`] if a namespace has to be walked in one snapshot and takes longer than the writer allows.
    pub fn step(&mut self) -> Result<Option<Report>> {
        if !self.course.is_done() && self.is_due() {
            let begun = Instant::now();
            let before = self.course.read;
            self.read_slice()?;
            if let Some(rate) = self.options.bytes_per_second {
                let (bytes, rate) = (self.course.read - before, rate.max(1));
                let takes = Duration::from_millis(bytes.saturating_mul(1000) / rate);
                // A pause that went on for longer than it should is not made up for by haste.
                self.due = begun.checked_add(takes);
            }
        }
        Ok(self.course.is_done().then(|| self.course.report().clone()))
    }

    /// Waits for the next slice to be due, within bounds, and returns whether it is.
    fn is_due(&self) -> bool {
        let early = self.due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now()));
        thread::sleep(early.min(VERIFY_PAUSE_MAX));
        early <= VERIFY_PAUSE_MAX
    }

    fn read_slice(&mut self) -> Result<()> {
        let snapshot = match self.pinned.take() {
            Some(snapshot) => snapshot,
            None => self.store.refresh()?,
        };
        let read = self.course.slice(&snapshot, self.options.size());
        // Who meets an expired one is told so, once.
        self.pinned = Some(snapshot).filter(|snapshot| self.course.stays() && !snapshot.is_expired());
        read
    }

    /// Goes on to the end, and tells after each step how far it is.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn run(&mut self, mut progress: impl FnMut(Progress)) -> Result<Report> {
        loop {
            let report = self.step()?;
            progress(self.progress());
            if let Some(report) = report {
                return Ok(report);
            }
        }
    }

    /// Returns how far it is.
    pub fn progress(&self) -> Progress {
        self.course.progress()
    }

    /// Returns the version that was read last.
    pub fn version(&self) -> Version {
        self.course.version
    }

    /// Returns what was found so far.
    pub fn report(&self) -> &Report {
        self.course.report()
    }

    /// Returns how far it is in a form from which another process can go on: [`VerifyOptions::resume`].
    ///
    /// What is summed up is carried on by the log, so the sooner, the better.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.course.clone())
    }
}
