//! The course of a verification: how far it has come, what it has summed up, and how that is brought to the next version.

use cohab_core::limits::{VERIFY_RESTARTS_MAX, VERIFY_SLICE_BYTES, VERIFY_SLICE_KEYS};
use cohab_core::{NamespaceId, StoreId, Version};
use cohab_log::{Chain, Item};
use cohab_namespace::catalog::record_key;
use serde::{Deserialize, Serialize};

use super::branches::Branches;
use super::catalog;
use super::links::Links;
use super::rows::Rows;
use super::{Progress, Report};
use crate::layout::{CATALOG, LOG};
use crate::past::chain_at;
use crate::view::Direction;
use crate::walk::Span;
use crate::{Contents, Kind, Result, Snapshot};

/// A verification that is under way. All it needs to go on is in here, so that another process can.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Course {
    pub(super) store: StoreId,
    /// The version of the last slice: what is summed up was there then.
    pub(super) version: Version,
    chain: Chain,
    /// The namespaces from here on were made later.
    until: Option<NamespaceId>,
    total: u64,
    /// How many bytes were read in all, also of the log.
    pub(super) read: u64,
    report: Report,
    stage: Stage,
    /// Whether this is another process, or another handle, than the one that came so far.
    #[serde(skip, default = "is_resumed")]
    is_resumed: bool,
}

fn is_resumed() -> bool {
    true
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Stage {
    Catalog,
    /// Between two namespaces.
    Next(Option<NamespaceId>),
    Rows(Box<Rows>),
    Strays,
    Branches(Branches),
    Log(Links),
    Done,
}

/// How much to read from one snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) keys: u64,
    pub(super) bytes: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { keys: VERIFY_SLICE_KEYS, bytes: VERIFY_SLICE_BYTES }
    }
}

impl Size {
    pub(super) fn take(&mut self, bytes: u64) {
        self.keys = self.keys.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.keys == 0 || self.bytes == 0
    }
}

/// More than anything that is counted comes to: it is in bytes, and no file is as large.
pub(super) const COUNT_MAX: u64 = 1 << 62;

/// What the log says about the sums of a namespace that is being walked.
enum Carried {
    /// They would be these now.
    Sums(Contents),
    /// It does not tell, and this is why.
    Unknown(&'static str),
}

impl Course {
    pub(super) fn begin(store: StoreId) -> Self {
        Self {
            store,
            version: Version::ZERO,
            chain: Chain::START,
            until: None,
            total: 0,
            read: 0,
            report: Report::default(),
            stage: Stage::Catalog,
            is_resumed: false,
        }
    }

    /// The last stage alone.
    pub(super) fn of_log(snapshot: &Snapshot) -> Self {
        let (version, chain) = (snapshot.version(), Chain::from_bytes(snapshot.state().root.chain));
        let stage = Stage::Log(Links::begin(version));
        Self { version, chain, stage, ..Self::begin(snapshot.store()) }
    }

    /// Returns whether nothing is counted higher than a store can make it: one that comes from outside may say anything, and
    /// going on would count past the end.
    pub(super) fn is_plausible(&self) -> bool {
        let report = &self.report;
        let mut counts =
            [self.total, self.read, report.namespaces, report.keys, report.bytes, report.records].into_iter();
        let is_possible = match &self.stage {
            Stage::Rows(rows) => rows.is_plausible(),
            Stage::Log(links) => links.is_plausible(),
            Stage::Catalog | Stage::Next(_) | Stage::Strays | Stage::Branches(_) | Stage::Done => true,
        };
        is_possible && counts.all(|count| count <= COUNT_MAX)
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    pub(super) fn progress(&self) -> Progress {
        let total = Some(self.total.max(self.report.bytes)).filter(|_| self.stage != Stage::Catalog);
        Progress { entries: self.report.keys, bytes: self.report.bytes, total }
    }

    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    pub(super) fn into_report(self) -> Report {
        self.report
    }

    /// Returns whether the next slice has to be of the same snapshot as the last.
    pub(super) fn stays(&self) -> bool {
        matches!(&self.stage, Stage::Rows(rows) if rows.restarts > VERIFY_RESTARTS_MAX)
    }

    /// Goes on, from a snapshot of the same or a later version, until so much was read, or all.
    ///
    /// After an error it stands where it stood, or a bit further, and can go on.
    pub(super) fn slice(&mut self, snapshot: &Snapshot, mut left: Size) -> Result<()> {
        self.catch_up(snapshot)?;
        let bytes = left.bytes;
        let result = loop {
            if self.is_done() || left.is_used_up() {
                break Ok(());
            }
            match self.advance(snapshot, &mut left) {
                Ok(Some(stage)) => self.stage = stage,
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        };
        self.read += bytes - left.bytes;
        result
    }

    /// Does some of the work of the present stage, and returns the next one if there is nothing more to do.
    fn advance(&mut self, snapshot: &Snapshot, left: &mut Size) -> Result<Option<Stage>> {
        let report = &mut self.report;
        Ok(match &mut self.stage {
            Stage::Catalog => {
                self.until = snapshot.state().root.next_namespace;
                self.total = catalog::check(snapshot, report)?;
                Some(Stage::Next(None))
            }
            Stage::Next(after) => {
                left.take(0);
                let next = catalog::next_namespace(snapshot, *after)?;
                Some(match next.filter(|next| self.until.is_none_or(|until| *next < until)) {
                    Some(next) => Stage::Rows(Box::new(Rows::begin(next))),
                    None => Stage::Strays,
                })
            }
            Stage::Rows(rows) => {
                let is_through = rows.advance(snapshot, report, left)?;
                is_through.then_some(Stage::Next(Some(rows.id)))
            }
            Stage::Strays => {
                catalog::check_strays(snapshot, report)?;
                Some(Stage::Branches(Branches::default()))
            }
            Stage::Branches(branches) => {
                let is_through = branches.advance(snapshot, report, left)?;
                is_through.then(|| Stage::Log(Links::begin(snapshot.version())))
            }
            Stage::Log(links) => links.advance(snapshot, report, left)?.then_some(Stage::Done),
            Stage::Done => None,
        })
    }

    /// Brings what is summed up to the version of a snapshot.
    fn catch_up(&mut self, snapshot: &Snapshot) -> Result<()> {
        let chain = Chain::from_bytes(snapshot.state().root.chain);
        if (snapshot.version(), chain) != (self.version, self.chain) {
            match &self.stage {
                Stage::Rows(rows) => {
                    if snapshot.state().engine()?.get(CATALOG, &record_key(rows.id))?.is_none() {
                        // Purged meanwhile: nobody asks any more what it should hold.
                        self.stage = Stage::Next(Some(rows.id));
                    } else {
                        self.carry(snapshot)?;
                    }
                }
                Stage::Log(_) if self.is_continued(snapshot)? == Some(false) => {
                    self.stage = Stage::Log(Links::begin(snapshot.version()));
                    self.report.remark("the log was begun again: the store has another history now".into());
                }
                _ => {}
            }
        }
        (self.version, self.chain, self.is_resumed) = (snapshot.version(), chain, false);
        self.report.version = self.version;
        Ok(())
    }

    /// Returns whether the log goes on from the version of the last slice, if it still tells.
    fn is_continued(&self, snapshot: &Snapshot) -> Result<Option<bool>> {
        if self.version > snapshot.version() {
            return Ok(Some(false));
        }
        if self.version.next() < snapshot.oldest_version() {
            return Ok(None);
        }
        match chain_at(snapshot.state(), self.version) {
            Ok(chain) => Ok(Some(chain == self.chain)),
            Err(error) if error.kind() == Kind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Brings the sums of the namespace at hand to the version of a snapshot, or begins it again.
    fn carry(&mut self, snapshot: &Snapshot) -> Result<()> {
        let Stage::Rows(rows) = &self.stage else { return Ok(()) };
        let (carried, read) = self.carried(snapshot, rows)?;
        self.read += read;
        let Stage::Rows(rows) = &mut self.stage else { return Ok(()) };
        match carried {
            Carried::Sums(sums) => rows.found = sums,
            Carried::Unknown(why) => {
                let name = catalog::place(snapshot, rows.id);
                // A checkpoint comes from outside, and may say anything.
                self.report.keys = self.report.keys.saturating_sub(rows.keys);
                self.report.bytes = self.report.bytes.saturating_sub(rows.bytes);
                rows.begin_again();
                let mut remark = format!("{name} was begun again ({} so far): {why}", rows.restarts);
                if rows.restarts > VERIFY_RESTARTS_MAX {
                    remark.push_str("; from then on one snapshot was kept until it was through");
                }
                self.report.remark(remark);
            }
        }
        Ok(())
    }

    fn carried(&self, snapshot: &Snapshot, rows: &Rows) -> Result<(Carried, u64)> {
        let Some(through) = &rows.through else { return Ok((Carried::Sums(rows.found), 0)) };
        let state = snapshot.state();
        let is_known = match self.is_continued(snapshot)? {
            Some(false) => return Ok((Carried::Unknown("the store has another history now"), 0)),
            Some(true) => true,
            // The handle has made sure that the history is the same, where it has read all along.
            None if self.is_resumed => return Ok((Carried::Unknown("the log does not reach back"), 0)),
            None => false,
        };
        let changed = snapshot.namespace_by_id(rows.id).map(|view| view.info().data_version);
        if changed.is_ok_and(|changed| changed <= self.version) {
            return Ok((Carried::Sums(rows.found), 0));
        }
        if !is_known {
            return Ok((Carried::Unknown("the log does not reach back to what was written meanwhile"), 0));
        }
        let span = Span::new(self.version, snapshot.version());
        let log = state.engine()?.range(LOG, span.bounds(), Direction::Forward)?;
        let (mut sums, mut namespace, mut is_unrecorded, mut read) = (rows.found, None, false, 0);
        let visited = span.visit(log, |_, item| {
            match item {
                Item::Namespace(id) => namespace = Some(*id),
                Item::Unrecorded { namespace, .. } => is_unrecorded |= *namespace == rows.id,
                Item::Change(change) => {
                    let (key, before, after) = (change.key(), change.before(), change.after());
                    let values = [before, after].map(|value| value.map_or(0, <[u8]>::len));
                    read += (key.len() + values[0] + values[1]) as u64;
                    if namespace == Some(rows.id) && key <= &through[..] {
                        // One change after the other leads to the same sums as the first image and the last.
                        if let Some(before) = before {
                            sums.remove(key, before);
                        }
                        if let Some(after) = after {
                            sums.add(key, after);
                        }
                    }
                }
                _ => {}
            }
            Ok(())
        });
        Ok(match visited {
            Ok(()) if is_unrecorded => {
                (Carried::Unknown("it was written meanwhile with its history off"), read)
            }
            Ok(()) => (Carried::Sums(sums), read),
            Err(error) if error.kind() == Kind::Corrupt => (Carried::Unknown("the log is damaged"), read),
            Err(error) => return Err(error),
        })
    }
}
