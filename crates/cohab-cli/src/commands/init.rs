//! `cohab init`

use std::path::{Path, PathBuf};

use clap::Args;
use cohab::{Role, Store};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::Record;

/// Make a store, empty or from a backup
///
/// The directory must not exist yet, or be empty; its parent must exist.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Fill it with what a backup holds; it gets an identity of its own
    #[arg(long, value_name = "BACKUP")]
    from: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let path = session.path()?.to_owned();
        let store = match self.from {
            Some(backup) => {
                let bytes = backup.metadata().ok().map(|metadata| metadata.len());
                let progress = session.progress("restoring", bytes);
                Store::restore(&backup, &path, |done| {
                    progress.set(done.bytes);
                    interrupt::check_in_callback();
                })
                .map_err(|error| explain(error, &backup))?
            }
            None => {
                // What is there already is looked at as a reader does, which makes nothing.
                match session.options().role(Role::Reader).register(false).open(&path) {
                    Ok(_) => {
                        let message = format!("there is a store at {} already", path.display());
                        return Err(
                            Failure::exists(message).hint("use it, or name another place with --store")
                        );
                    }
                    Err(error) if error.kind() == cohab::Kind::NotFound => session.create()?,
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let snapshot = store.snapshot()?;
        let record = Record::new()
            .with("store", store.id().to_string())
            .with("path", path.to_string_lossy().into_owned())
            .with("version", snapshot.version())
            .with("origin", snapshot.origin().map(|origin| origin.to_string()));
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}

/// Says that it is the backup that is not there, and not the store that is to be made of it.
fn explain(error: cohab::Error, backup: &Path) -> Failure {
    let is_missing = backup.try_exists().is_ok_and(|exists| !exists);
    if error.kind() == cohab::Kind::NotFound && is_missing {
        return Failure::not_found(format!("there is no backup at {}", backup.display()))
            .hint("`cohab backup FILE` makes one");
    }
    error.into()
}
