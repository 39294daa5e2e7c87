//! `cohab apply`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use cohab::limits::DELTA_BYTES_MAX;
use cohab::{Delta, Token};
use serde_json::json;

use super::bytes::input_must_be_open;
use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::{Cell, Format, Record};

/// Apply a delta: lead this store, as a replica, to a later version of another one
///
/// The store must be empty, restored from a backup of that other store and not written to since, or a replica already.
/// A delta from version 0 makes a replica of an empty store; of one that holds something only with --reset.
/// From then on it takes no other writes, until `cohab promote` makes it independent. Either all of the delta is applied
/// or nothing: exit code 8 if it does not lead on from where the replica is, 4 if it was damaged on its way, 5 if a newer
/// cohab made it.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The delta; - is the standard input
    file: PathBuf,
    /// Make the replica what a delta from version 0 says, whatever it holds
    #[arg(long)]
    reset: bool,
}

/// The most bytes that a delta has: what does not compress becomes a little longer.
const BYTES_MAX: u64 = DELTA_BYTES_MAX + DELTA_BYTES_MAX / 64;

impl Apply {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let delta = Delta::from_bytes(self.read()?)?;
        let store = session.writer()?;
        let applied = if self.reset { store.reset(&delta)? } else { store.apply(&delta)? };
        let upstream = upstream(applied.upstream, session.out.format());
        let record = Record::new()
            .with("version", applied.version)
            .with("upstream", upstream)
            .with("changes", applied.changes);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        let (name, reader): (_, Box<dyn Read>) = if self.file == Path::new("-") {
            input_must_be_open()?;
            ("the standard input".to_owned(), Box::new(io::stdin()))
        } else {
            let name = self.file.display().to_string();
            let file = File::open(&self.file);
            (
                name.clone(),
                Box::new(file.map_err(|error| Failure::io(format!("opening {name} failed"), &error))?),
            )
        };
        let mut bytes = Vec::new();
        let read = reader.take(BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| Failure::io(format!("reading the delta from {name} failed"), &error))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Failure::input(format!("{name} is longer than any delta")));
        }
        Ok(bytes)
    }
}

/// Which version of another store a replica has.
pub(super) fn upstream(token: Token, format: Format) -> Cell<'static> {
    let Token { store, version } = token;
    match format {
        Format::Table => format!("store {store} at version {version}").into(),
        _ => json!({ "store": store.to_string(), "version": version.get() }).into(),
    }
}
