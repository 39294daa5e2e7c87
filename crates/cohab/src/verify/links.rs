//! The log: every record, and the chain that ties them together.

use cohab_core::Version;
use cohab_core::limits::VERIFY_PLACES_MAX;
use cohab_log::Chain;
use serde::{Deserialize, Serialize};

use super::Report;
use super::course::Size;
use crate::past::chain_at;
use crate::{LogItem, Result, Snapshot};

const PLACE: &str = "log";

/// How far the log was followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Links {
    next: Version,
    /// The last version to look at: a log that grows would never end.
    until: Version,
    /// The chain before the next record, if the one before was sound.
    chain: Option<Chain>,
    places: u32,
}

impl Links {
    pub(super) fn begin(until: Version) -> Self {
        Self { next: Version::ZERO, until, chain: None, places: 0 }
    }

    /// Returns whether nothing is counted higher than it can be.
    pub(super) fn is_plausible(&self) -> bool {
        self.places <= VERIFY_PLACES_MAX
    }

    /// Reads on, and returns whether it is through.
    pub(super) fn advance(
        &mut self,
        snapshot: &Snapshot,
        report: &mut Report,
        left: &mut Size,
    ) -> Result<bool> {
        // What was trimmed meanwhile cannot be asked any more.
        if self.next < snapshot.oldest_version() {
            (self.next, self.chain) = (snapshot.oldest_version(), None);
        }
        for record in snapshot.log(self.next..=self.until) {
            let version = self.next;
            let mut bytes = 0;
            let known = report.absorb(PLACE, record)?;
            if let (Some(chain), Some(record)) = (self.chain, &known)
                && chain != record.previous()
            {
                report.note(PLACE, format!("the chain breaks before version {version}"));
            }
            let followed = known.map(|record| {
                record.visit(|item| {
                    if let LogItem::Change { change, .. } = item {
                        let values = [change.before(), change.after()];
                        bytes += change.key().len() as u64;
                        bytes += values.iter().flatten().map(|value| value.len() as u64).sum::<u64>();
                    }
                    Ok(())
                })
            });
            self.chain = match followed {
                Some(followed) => {
                    report.records += 1;
                    report.absorb(PLACE, followed)?
                }
                None => None,
            };
            self.next = version.next();
            self.places += u32::from(self.chain.is_none());
            if self.places >= VERIFY_PLACES_MAX {
                let problem = format!("{} records are damaged; the rest was not read", self.places);
                report.note(PLACE, problem);
                return Ok(true);
            }
            left.take(bytes);
            if left.is_used_up() {
                return Ok(false);
            }
        }
        self.check_end(snapshot, report)?;
        Ok(true)
    }

    fn check_end(&self, snapshot: &Snapshot, report: &mut Report) -> Result<()> {
        let Some(chain) = self.chain else { return Ok(()) };
        if self.until == snapshot.version() {
            if chain != Chain::from_bytes(snapshot.state().root.chain) {
                report.note(PLACE, "the chain does not end in the store's own row");
            }
        } else if self.until < snapshot.version()
            && let Some(next) = report.absorb(PLACE, chain_at(snapshot.state(), self.until))?
            && chain != next
        {
            report.note(PLACE, format!("the chain breaks before version {}", self.until.next()));
        }
        Ok(())
    }
}
