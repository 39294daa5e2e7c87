//! `cohab compact`

use clap::Args;

use super::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::Record;

/// Move the file's pages together and give what is free back to the system
///
/// Needs the store for itself: exit code 3 while another process writes, or has a snapshot open.
#[derive(Debug, Args)]
pub(crate) struct Compact {}

impl Compact {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let store = session.writer()?;
        let before = store.file_bytes()?;
        let compacted = store.compact()?;
        let record = Record::new()
            .with("compacted", compacted)
            .with("bytes_before", before)
            .with("bytes_after", store.file_bytes()?);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}
