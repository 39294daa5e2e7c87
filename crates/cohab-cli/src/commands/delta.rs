//! `cohab delta`

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use cohab::{Delta as Made, DeltaKind, Version};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::moment::Moment;
use crate::session::Session;
use crate::terminal::Record;

/// Write what leads a replica from one version of the store to another
///
/// `cohab apply` applies it. A delta is compressed and verified, and good for one place in one history: it is applied as a
/// whole, once, to a replica that is at its first version. From version 0 it holds the whole store. The bytes go to the
/// standard output, whatever --output says, unless --out names a file.
#[derive(Debug, Args)]
pub(crate) struct Delta {
    /// The version that the replica is at, 0 for an empty store; a number, a snapshot `@NAME`, or a time
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    from: Moment,
    /// The version to lead to; without it, the present one
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    to: Option<Moment>,
    /// Tell of every version in between, so that the replica's log has each; otherwise the replica gets one version
    #[arg(long)]
    complete: bool,
    /// Write it to this file, which appears, or is replaced, when it is complete
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Delta {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        if self.out.is_none() && io::stdout().is_terminal() {
            return Err(Failure::usage("a delta is bytes, which are not for a terminal")
                .hint("`--out FILE` writes it to a file, `| cohab --store REPLICA apply -` applies it"));
        }
        let present = session.snapshot()?;
        let from = self.from.version(&present)?;
        let end = match &self.to {
            Some(to) => to.of(&present)?,
            None => present,
        };
        let to = end.version();
        if from > to && self.to.is_some() {
            return Err(Failure::input(format!("version {from} is later than version {to}")));
        }
        let kind = if self.complete { DeltaKind::Complete } else { DeltaKind::Coalesced };
        let delta = end.delta(from, kind).map_err(|error| explain(error, from))?;
        let Some(file) = self.out else {
            session.out.bytes(delta.as_bytes())?;
            return Ok(Exit::Done);
        };
        put_in_place(&file, delta.as_bytes()).map_err(|error| {
            Failure::io(format!("writing the delta to {} failed", file.display()), &error)
        })?;
        session.out.record(&described(&delta, &file))?;
        Ok(Exit::Done)
    }
}

fn described(delta: &Made, file: &Path) -> Record<'static> {
    Record::new()
        .with("store", delta.store().to_string())
        .with("from", delta.from())
        .with("to", delta.to())
        .with("complete", delta.kind() == DeltaKind::Complete)
        .with("bytes", delta.as_bytes().len() as u64)
        .with("plain_bytes", delta.plain_bytes())
        .with("file", file.to_string_lossy().into_owned())
}

/// Says what else leads a replica on where the log does not reach back.
fn explain(error: cohab::Error, from: Version) -> Failure {
    let is_too_old = error.kind() == cohab::Kind::TooOld && from > Version::ZERO;
    let failure = Failure::from(error);
    if is_too_old {
        return failure
            .hint("`cohab delta --from 0` holds the whole store, and leads a replica on from anywhere");
    }
    failure
}

/// Writes a file beside the one that is meant, and gives it its name when it is complete and durable. A device or a named
/// pipe is written to, and not replaced.
fn put_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.metadata().is_ok_and(|there| !there.is_file()) {
        return File::options().write(true).open(path)?.write_all(bytes);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    if cfg!(unix) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}
