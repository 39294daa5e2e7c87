//! `cohab ns list`

use clap::Args;

use super::described;
use crate::commands::{Exit, Outcome};
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;

/// List the namespaces in order of their names
#[derive(Debug, Args)]
pub(super) struct List {
    /// List those in the trash instead; of one name the latest last
    #[arg(long)]
    dropped: bool,
    #[command(flatten)]
    at: At,
}

impl List {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let snapshot = session.snapshot_at(&self.at)?;
        let raw = &["name", "keys", "bytes", "digest"];
        if self.dropped {
            let columns = &["name", "title", "keys", "bytes", "dropped", "dropped_at"];
            let mut list = session.out.list(columns, raw)?;
            for info in snapshot.dropped_namespaces()? {
                interrupt::check()?;
                list.push(&described(info?))?;
            }
            list.finish()?;
        } else {
            let columns =
                &["name", "title", "keys", "bytes", "data_version", "meta_version", "history", "protected"];
            let mut list = session.out.list(columns, raw)?;
            for info in snapshot.namespaces()? {
                interrupt::check()?;
                list.push(&described(info?))?;
            }
            list.finish()?;
        }
        Ok(Exit::Done)
    }
}
