//! `cohab dump`

use std::ffi::OsString;

use clap::Args;

use super::{Exit, Outcome};
use crate::arguments::name;
use crate::moment::At;
use crate::session::Session;
use crate::transfer::dump;

/// Write all namespaces, or one, as lines that `cohab load` reads
///
/// cohab's own namespaces, whose names begin with `_`, are only written by name: plugins are added again from their files.
/// Equal data gives equal bytes, wherever it lies: a dump that is loaded and dumped again is the same file. The form
/// is always that of a dump, whatever --output says.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Only this namespace
    #[arg(value_name = "NS")]
    namespace: Option<OsString>,
    #[command(flatten)]
    at: At,
}

impl Dump {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let only = self.namespace.as_deref().map(name).transpose()?;
        let snapshot = session.snapshot_at(&self.at)?;
        let bytes = if let Some(name) = &only {
            snapshot.namespace(name)?.info().bytes
        } else {
            let sizes = snapshot
                .namespaces()?
                .map(|info| info.map(|info| if info.name.is_reserved() { 0 } else { info.bytes }));
            sizes.sum::<cohab::Result<u64>>()?
        };
        let progress = session.progress("dumping", Some(bytes));
        dump(&snapshot, only.as_ref(), session.out.writer(), &progress)?;
        Ok(Exit::Done)
    }
}
