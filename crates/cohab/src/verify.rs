//! Finding damage: everything a snapshot says, recomputed from what it holds.

mod branches;
mod catalog;
mod checkpoint;
mod course;
mod expected;
mod links;
mod rows;
mod verifier;

use std::fmt;
use std::ops::Bound;

use cohab_core::Version;
use serde::{Deserialize, Serialize};

pub use checkpoint::Checkpoint;
pub use verifier::{Verifier, VerifyOptions};

use self::course::Course;
use crate::{Error, Kind, Result, Snapshot};

/// How far a walk over the store has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Entries seen so far.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many bytes there are to see, where that is known.
    pub total: Option<u64>,
}

/// What a verification looked at and found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The version that it was last compared with.
    pub version: Version,
    /// Namespaces, dropped ones included.
    pub namespaces: u64,
    /// Keys read and verified.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Log records read and verified.
    pub records: u64,
    /// What is not as it should be; empty for a sound store.
    pub differences: Vec<Difference>,
    /// What is worth knowing and no damage: what had to be begun again, what could not be compared, and why.
    pub remarks: Vec<String>,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// Where: a namespace, a record of the log, the catalogue.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
    /// The keys among which it is, if the place is a namespace: a range to read from, as sound as its neighbours.
    pub range: Option<KeyBounds>,
}

/// A range of keys: around damage, the last good key before it and the first behind it, both excluded; otherwise the
/// first and the last of the keys that are wrong. Unbounded where that is not known, or there is none.
pub type KeyBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Difference {
    pub(crate) fn new(
        place: impl fmt::Display,
        problem: impl fmt::Display,
        range: Option<KeyBounds>,
    ) -> Self {
        Self { place: place.to_string(), problem: problem.to_string(), range }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        match &self.range {
            None | Some((Bound::Unbounded, Bound::Unbounded)) => Ok(()),
            Some((Bound::Included(first), Bound::Included(last))) if first == last => {
                write!(f, ", at key \"{}\"", first.escape_ascii())
            }
            Some((start, end)) => {
                f.write_str(", in the keys")?;
                write_bound(f, start, ["from", "behind"])?;
                write_bound(f, end, ["through", "before"])
            }
        }
    }
}

fn write_bound(
    f: &mut fmt::Formatter<'_>,
    bound: &Bound<Vec<u8>>,
    [included, excluded]: [&str; 2],
) -> fmt::Result {
    match bound {
        Bound::Included(key) => write!(f, " {included} \"{}\"", key.escape_ascii()),
        Bound::Excluded(key) => write!(f, " {excluded} \"{}\"", key.escape_ascii()),
        Bound::Unbounded => Ok(()),
    }
}

impl Report {
    /// Returns whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.differences.is_empty()
    }

    fn note(&mut self, place: impl fmt::Display, problem: impl fmt::Display) {
        self.note_in(place, problem, None);
    }

    /// Notes a difference, once: what is looked at again is not worse than before.
    fn note_in(&mut self, place: impl fmt::Display, problem: impl fmt::Display, range: Option<KeyBounds>) {
        let difference = Difference::new(place, problem, range);
        if !self.differences.contains(&difference) {
            self.differences.push(difference);
        }
    }

    fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Notes damage and passes every other error on.
    fn absorb<T>(&mut self, place: impl fmt::Display, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let problem = self.damage(error)?;
                self.note(place, problem);
                Ok(None)
            }
        }
    }

    /// Returns what to note of an error that is damage, and passes every other on.
    fn damage(&self, error: Error) -> Result<String> {
        match error.kind() {
            Kind::Corrupt | Kind::Format => Ok(error.to_string()),
            // Once a read of the file has failed the engine refuses all that follow.
            Kind::Poisoned if !self.is_sound() => Ok(UNREADABLE.to_owned()),
            _ => Err(error),
        }
    }
}

const UNREADABLE: &str = "cannot be read behind the damage that was met before";

/// How many entries go by between two calls of a progress callback.
const PROGRESS_STEP: u64 = 4096;

impl Snapshot {
    /// Reads everything and compares it with what is kept of it: every checksum, every namespace's count, bytes and
    /// digest, the catalogue against itself, the pages that lead to all that, the log's records and their chain.
    ///
    /// Cost: reads the whole store, and pins its pages for as long as that takes; [`Store::verifier`] does the same in
    /// short steps. The writer goes on meanwhile. Damage does not end the walk; it is in the report. Of a snapshot
    /// [of the past](Self::at), what namespaces held is compared with what was counted then; a namespace whose past is
    /// not known is remarked upon.
    ///
    /// [`Store::verifier`]: crate::Store::verifier
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Report> {
        let mut course = Course::begin(self.store());
        while !course.is_done() {
            course.slice(self, course::Size { keys: PROGRESS_STEP, ..course::Size::default() })?;
            progress(course.progress());
        }
        Ok(course.into_report())
    }

    /// Reads every record of the log and follows the chain, as [`verify`](Self::verify) does among other things.
    pub fn verify_log(&self) -> Result<Report> {
        let mut course = Course::of_log(self);
        while !course.is_done() {
            course.slice(self, course::Size::default())?;
        }
        Ok(course.into_report())
    }
}
