//! The rows of one namespace: read from a cursor on, also behind damage, and summed up.

use std::ops::Bound;

use cohab_core::NamespaceId;
use cohab_core::limits::VERIFY_PLACES_MAX;
use serde::{Deserialize, Serialize};

use super::catalog::place;
use super::course::{COUNT_MAX, Size};
use super::expected::wrong_keys;
use super::{KeyBounds, Report, UNREADABLE};
use crate::entries::Range;
use crate::layout::ID_BYTES;
use crate::view::{Direction, NamespaceView};
use crate::{Contents, Kind, Result, Snapshot};

/// A namespace that is being walked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Rows {
    pub(super) id: NamespaceId,
    /// The key up to which everything is summed up.
    pub(super) through: Option<Vec<u8>>,
    /// The sums of the rows up to there.
    pub(super) found: Contents,
    /// How many keys, and bytes of them and their values, were read.
    pub(super) keys: u64,
    pub(super) bytes: u64,
    /// How often it was begun again.
    pub(super) restarts: u32,
    /// How many places are damaged so far.
    places: u32,
    /// How many rows were of a version that the namespace has not reached.
    late: u32,
}

/// How the reading of one slice went.
enum Reached {
    /// As far as it was to.
    Enough,
    /// The end, perhaps behind damage of which it is not known whose it is.
    End(Option<String>),
    /// Damage behind which nothing can be read.
    Wall(String),
}

impl Rows {
    pub(super) fn begin(id: NamespaceId) -> Self {
        let found = Contents::EMPTY;
        Self { id, through: None, found, keys: 0, bytes: 0, restarts: 0, places: 0, late: 0 }
    }

    /// Returns whether nothing is counted higher than it can be.
    pub(super) fn is_plausible(&self) -> bool {
        let mut counts = [self.keys, self.bytes, self.found.keys, self.found.bytes].into_iter();
        let mut places = [self.restarts, self.places, self.late].into_iter();
        counts.all(|count| count <= COUNT_MAX) && places.all(|count| count <= u32::MAX / 2)
    }

    pub(super) fn begin_again(&mut self) {
        *self = Self { restarts: self.restarts + 1, ..Self::begin(self.id) };
    }

    /// Reads on, and returns whether it is through.
    pub(super) fn advance(
        &mut self,
        snapshot: &Snapshot,
        report: &mut Report,
        left: &mut Size,
    ) -> Result<bool> {
        let place = place(snapshot, self.id);
        let Some(view) = report.absorb(&place, snapshot.namespace_by_id(self.id))? else { return Ok(true) };
        let reached = match self.read(&view, &place, report, left) {
            // Only of the past: what it held is not known.
            Err(error) if error.kind() == Kind::NoHistory => {
                report.remark(format!("{place} was not compared: {error}"));
                return Ok(true);
            }
            reached => reached?,
        };
        let kept = view.into_parts().1;
        let is_as_kept = kept.is_same_as(&self.found);
        report.namespaces += u64::from(!matches!(reached, Reached::Enough));
        let rest = || (behind(self.through.as_deref()), Bound::Unbounded);
        match reached {
            Reached::Enough => return Ok(false),
            // If nothing is missing it is a row of the next namespace, which tells it.
            Reached::End(Some(problem)) if !is_as_kept => report.note_in(&place, problem, Some(rest())),
            Reached::Wall(problem) => report.note_in(&place, problem, Some(rest())),
            // Behind damage the sums could only be wrong.
            Reached::End(_) if is_as_kept || self.places > 0 => {}
            Reached::End(_) => self.compare(snapshot, &kept, &place, report)?,
        }
        Ok(true)
    }

    /// Says how what is kept of the namespace differs from what was found, and among which keys.
    fn compare(&self, snapshot: &Snapshot, kept: &Contents, place: &str, report: &mut Report) -> Result<()> {
        let wrong = wrong_keys(snapshot, self.id)?;
        let all = (Bound::Unbounded, Bound::Unbounded);
        let range = match (wrong.first(), wrong.last()) {
            (Some(first), Some(last)) => {
                (Bound::Included(first.key.clone()), Bound::Included(last.key.clone()))
            }
            _ => all,
        };
        let mut note = |what: &str, kept: String, found: String| {
            if kept != found {
                let problem = format!("{what} should be {kept}, found {found}");
                report.note_in(place, problem, Some(range.clone()));
            }
        };
        note("the number of keys", kept.keys.to_string(), self.found.keys.to_string());
        note("the number of bytes", kept.bytes.to_string(), self.found.bytes.to_string());
        note("the digest", kept.digest.to_string(), self.found.digest.to_string());
        for wrong in wrong.into_iter().take(VERIFY_PLACES_MAX as usize) {
            report.note_in(place, wrong.problem, Some(at(&wrong.key)));
        }
        Ok(())
    }

    /// Reads on, also behind pages that cannot be read.
    fn read(
        &mut self,
        view: &NamespaceView<'_>,
        place: &str,
        report: &mut Report,
        left: &mut Size,
    ) -> Result<Reached> {
        // Damage whose end is yet to be found.
        let mut damage = None;
        let mut start = behind(self.through.as_deref());
        loop {
            let bounds = (start.as_ref().map(Vec::as_slice), Bound::Unbounded);
            let rows = view.salvage(bounds, Direction::Forward);
            let read = rows.and_then(|rows| self.read_rows(rows, &mut damage, view, place, report, left));
            let error = match read {
                Ok(reached) => return Ok(reached),
                Err(error) => error,
            };
            if error.kind() == Kind::Poisoned && damage.is_some() {
                return Ok(Reached::Wall(damage.unwrap_or_else(|| UNREADABLE.to_owned())));
            }
            let problem = damage.get_or_insert(report.damage(error)?).clone();
            self.places += 1;
            match seek_behind(view, self.through.as_deref().unwrap_or_default()) {
                Some(next) if self.places <= VERIFY_PLACES_MAX => start = Bound::Included(next),
                _ => return Ok(Reached::Wall(problem)),
            }
        }
    }

    /// Reads on, also behind rows that are damaged. An error is one behind which there is no going on.
    fn read_rows(
        &mut self,
        mut rows: Range<'_>,
        damage: &mut Option<String>,
        view: &NamespaceView<'_>,
        place: &str,
        report: &mut Report,
        left: &mut Size,
    ) -> Result<Reached> {
        let last_version = view.last_version();
        // Where in memory the next key is, if it is on the same page.
        let mut behind_last = None;
        loop {
            let step = rows.step();
            if let Err(error) = step {
                if rows.has_ended() {
                    return Err(error);
                }
                let problem = report.damage(error)?;
                damage.get_or_insert(problem);
                continue;
            }
            let Some(entry) = step? else {
                if let Some(last) = self.through.clone() {
                    self.look_up(view, &last, place, report)?;
                }
                return Ok(Reached::End(damage.take()));
            };
            let (key, version) = (entry.key(), entry.version());
            // A damaged branch may lead back, and what was summed up must not be so twice, nor for ever.
            if self.through.as_deref().is_some_and(|through| key <= through) {
                damage.get_or_insert_with(|| "the keys are out of order".to_owned());
                continue;
            }
            let start = key.as_ptr().addr();
            if behind_last != Some(start) {
                let last = behind_last.and(self.through.clone());
                for key in last.as_deref().into_iter().chain([key]) {
                    self.look_up(view, key, place, report)?;
                }
            }
            behind_last = Some(start + key.len() + ID_BYTES);
            if let Some(problem) = damage.take() {
                let range = (behind(self.through.as_deref()), Bound::Excluded(key.to_vec()));
                report.note_in(place, problem, Some(range));
                self.places += 1;
            }
            if version > last_version {
                self.late += 1;
                if self.late <= VERIFY_PLACES_MAX {
                    let key_shown = key.escape_ascii();
                    let problem = format!(
                        "key \"{key_shown}\" is of version {version}, later than the namespace's last"
                    );
                    report.note_in(place, problem, Some(at(key)));
                }
            }
            let bytes = self.count(key, entry.value());
            report.keys += 1;
            report.bytes += bytes;
            left.take(bytes);
            if self.places >= VERIFY_PLACES_MAX {
                let problem = format!("{} places are damaged; the rest was not read", self.places);
                return Ok(Reached::Wall(problem));
            }
            if left.is_used_up() {
                return Ok(Reached::Enough);
            }
        }
    }

    /// Makes sure that a key is found that is there.
    ///
    /// What is walked are the leaves; a branch whose dividing key is damaged shows only to who looks for a key beside it.
    /// On a page keys lie one behind the other, so those that do not are the first and the last of theirs, and no others
    /// can be led astray.
    fn look_up(
        &mut self,
        view: &NamespaceView<'_>,
        key: &[u8],
        place: &str,
        report: &mut Report,
    ) -> Result<()> {
        let Err(error) = view.get(key) else { return Ok(()) };
        let problem = report.damage(error)?;
        self.places += 1;
        report.note_in(place, problem, Some(at(key)));
        Ok(())
    }

    fn count(&mut self, key: &[u8], value: &[u8]) -> u64 {
        let bytes = (key.len() + value.len()) as u64;
        self.found.add(key, value);
        let through = self.through.get_or_insert_default();
        through.clear();
        through.extend_from_slice(key);
        self.keys += 1;
        self.bytes += bytes;
        bytes
    }
}

/// Finds a key behind another one from which on reading works again: the first one as far as eight bytes tell.
///
/// What stands between is not known, so it bisects: a look that succeeds has found the far side of the damage. One that finds
/// a key ahead of where it began, as damage may have it, has not.
fn seek_behind(view: &NamespaceView<'_>, key: &[u8]) -> Option<Vec<u8>> {
    let first = |bounds: (Bound<&[u8]>, Bound<&[u8]>), direction| {
        let mut rows = view.salvage(bounds, direction).ok()?;
        rows.step().ok().flatten().map(|entry| entry.key().to_vec())
    };
    let mut good = first((Bound::Excluded(key), Bound::Unbounded), Direction::Reverse)?;
    let common = key.iter().zip(&good).take_while(|(a, b)| a == b).count();
    let beginning = &key[..common];
    let number = |key: &[u8]| {
        let mut bytes = [0; 8];
        let rest = key.get(common..).unwrap_or_default();
        let len = rest.len().min(8);
        bytes[..len].copy_from_slice(&rest[..len]);
        u64::from_be_bytes(bytes)
    };
    let (mut bad, mut end) = (number(key), number(&good));
    while let middle = bad + end.saturating_sub(bad) / 2
        && middle > bad
    {
        let probe = [beginning, &middle.to_be_bytes()].concat();
        let found = first((Bound::Included(&probe), Bound::Unbounded), Direction::Forward);
        match found.filter(|found| *found >= probe) {
            Some(found) => (good, end) = (found, middle),
            None => bad = middle,
        }
    }
    (&good[..] > key).then_some(good)
}

fn behind(key: Option<&[u8]>) -> Bound<Vec<u8>> {
    key.map_or(Bound::Unbounded, |key| Bound::Excluded(key.to_vec()))
}

fn at(key: &[u8]) -> KeyBounds {
    (Bound::Included(key.to_vec()), Bound::Included(key.to_vec()))
}
