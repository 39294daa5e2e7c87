//! `cohab backup`

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Outcome};
use crate::interrupt;
use crate::session::Session;
use crate::terminal::Record;

/// Copy the store, as it is at one version, into one file
///
/// The writer goes on meanwhile. The file appears when it is complete and verified; `--store FILE` reads from it, and
/// `cohab init --from FILE` makes a store of it.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to make, which must not exist yet
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let store = session.reader()?;
        let progress = session.progress("copying", store.file_bytes().ok());
        let version = store.backup(&self.file, |done| {
            progress.set(done.bytes);
            interrupt::check_in_callback();
        })?;
        drop(progress);
        let bytes = self.file.metadata().ok().map(|metadata| metadata.len());
        let record = Record::new()
            .with("version", version)
            .with("file", self.file.to_string_lossy().into_owned())
            .with("bytes", bytes);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}
