//! `cohab ns list`

use clap::Args;
use cohab::NamespaceInfo;

use super::described;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::List as Listed;

/// List the namespaces in order of their names
///
/// Those of cohab itself, whose names begin with `_`, only with --all.
#[derive(Debug, Args)]
pub(super) struct List {
    /// List those in the trash instead; of one name the latest last
    #[arg(long)]
    dropped: bool,
    /// List cohab's own as well
    #[arg(long)]
    all: bool,
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
                self.push(&mut list, info?)?;
            }
            list.finish()?;
        } else {
            let columns =
                &["name", "title", "keys", "bytes", "data_version", "meta_version", "history", "protected"];
            let mut list = session.out.list(columns, raw)?;
            for info in snapshot.namespaces()? {
                self.push(&mut list, info?)?;
            }
            list.finish()?;
        }
        Ok(Exit::Done)
    }

    fn push(&self, list: &mut Listed<'_>, info: NamespaceInfo) -> Result<(), Failure> {
        interrupt::check()?;
        if self.all || !info.name.is_reserved() { list.push(&described(info)) } else { Ok(()) }
    }
}
