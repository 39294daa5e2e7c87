//! `cohab scan`

use std::ffi::OsString;
use std::ops::Bound;

use clap::Args;
use cohab::Direction;

use super::range::KeyRange;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::Record;

/// Print keys and values in order
///
/// Everything comes from one version of the store. With `-o raw`, a line is the key, a tab and the value.
#[derive(Debug, Args)]
pub(crate) struct Scan {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: OsString,
    #[command(flatten)]
    range: KeyRange,
    #[command(flatten)]
    at: At,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// From the greatest key to the smallest
    #[arg(long)]
    reverse: bool,
}

impl Scan {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let namespace = name(&self.namespace)?;
        let bounds = self.range.bounds()?.unwrap_or((Bound::Unbounded, Bound::Unbounded));
        let bounds = (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice));
        let direction = if self.reverse { Direction::Reverse } else { Direction::Forward };
        let snapshot = session.snapshot_at(&self.at)?;
        let view = snapshot.namespace(&namespace)?;
        let limit = usize::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut list = session.out.list(&["key", "value", "version"], &["key", "value"])?;
        for entry in view.scan(bounds, direction)?.take(limit) {
            interrupt::check()?;
            let entry = entry?;
            let record = Record::new().with("ns", namespace.as_str()).with_bytes("key", entry.key());
            list.push(&record.with_bytes("value", entry.value()).with("version", entry.version()))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}
