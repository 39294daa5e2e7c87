//! `cohab ns show` and `cohab ns digest`

use std::ffi::OsString;

use clap::Args;

use super::described;
use crate::arguments::name;
use crate::commands::{Exit, Outcome};
use crate::moment::At;
use crate::session::Session;
use crate::terminal::{Format, Record};

/// Show everything that is known of a namespace
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The namespace
    name: OsString,
    #[command(flatten)]
    at: At,
}

impl Show {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let info = session.snapshot_at(&self.at)?.namespace(&name)?.info();
        session.out.record(&described(info))?;
        Ok(Exit::Done)
    }
}

/// Print the digest of a namespace's keys and values
///
/// Two namespaces hold the same exactly if their digests are equal. Takes the same time at any size.
#[derive(Debug, Args)]
pub(super) struct Digest {
    /// The namespace
    name: OsString,
    #[command(flatten)]
    at: At,
}

impl Digest {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let digest = session.snapshot_at(&self.at)?.namespace(&name)?.digest().to_string();
        match session.out.format() {
            Format::Table | Format::Raw => session.out.bytes(format!("{digest}\n").as_bytes())?,
            Format::Json | Format::Jsonl => session.out.record(&Record::new().with("digest", digest))?,
        }
        Ok(Exit::Done)
    }
}
