//! `cohab count`

use std::ffi::OsString;

use clap::Args;
use cohab::Direction;

use super::range::KeyRange;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::Record;

/// Count keys
///
/// The whole namespace is counted at once, whatever its size; a part of it by reading it.
#[derive(Debug, Args)]
pub(crate) struct Count {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: OsString,
    #[command(flatten)]
    range: KeyRange,
    #[command(flatten)]
    at: At,
}

impl Count {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let namespace = name(&self.namespace)?;
        let bounds = self.range.bounds()?;
        let snapshot = session.snapshot_at(&self.at)?;
        let view = snapshot.namespace(&namespace)?;
        let count = match bounds {
            None => view.count(),
            Some((start, end)) => {
                let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
                let mut count = 0;
                for entry in view.scan(bounds, Direction::Forward)? {
                    interrupt::check()?;
                    entry?;
                    count += 1;
                }
                count
            }
        };
        session.out.record(&Record::new().with("count", count))?;
        Ok(Exit::Done)
    }
}
