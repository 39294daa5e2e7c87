//! `cohab history`

use std::ffi::OsString;

use clap::Args;
use cohab::KeyVersion;

use super::bytes::Encoding;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::failure::Failure;
use crate::interrupt;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::{Record, printable};

/// List what a key was, the newest first
///
/// As far as the log reaches back. `op` is `put`, or `del` where the key was removed; who did it and when is not known of a
/// version whose record was trimmed. Exit code 1 if nothing is known of the key, and 7 once it comes to changes that were not
/// recorded.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: OsString,
    /// The key; @FILE reads it from a file, - from the standard input
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    at: At,
}

impl History {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let namespace = name(&self.namespace)?;
        let key = self.encoding.key(&self.key)?;
        let snapshot = session.snapshot_at(&self.at)?;
        let versions = snapshot.namespace(&namespace)?.history(&key)?;
        let cut_off_at = versions.cut_off_at();
        let mut versions = versions.peekable();
        if versions.peek().is_none() {
            let key = printable(&key, 80);
            return Err(Failure::not_found(format!(
                "nothing is known of a key \"{key}\" of namespace `{namespace}`"
            )));
        }
        let limit = usize::try_from(self.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut list = session.out.list(
            &["version", "op", "value", "time", "label", "instance"],
            &["version", "op", "value", "time", "label"],
        )?;
        for version in versions.by_ref().take(limit) {
            interrupt::check()?;
            let record = Record::new().with("ns", namespace.as_str()).with_bytes("key", key.as_slice());
            let mut record = record;
            record.extend(described(&version?));
            list.push(&record)?;
        }
        list.finish()?;
        if let Some(oldest) = cut_off_at.filter(|_| versions.peek().is_none()) {
            session.note(&format!(
                "older versions of the key may be missing: the log begins with version {oldest}"
            ));
        }
        Ok(Exit::Done)
    }
}

fn described(found: &KeyVersion) -> Record<'static> {
    let op = if found.value.is_some() { "put" } else { "del" };
    let record = Record::new().with("version", found.version).with("op", op);
    let record = match &found.value {
        Some(value) => record.with_bytes("value", value.to_vec()),
        None => record.with("value", None::<u64>),
    };
    let commit = found.commit.as_ref();
    record
        .with("time", commit.map(|commit| commit.time))
        .with("label", commit.map(|commit| commit.label.clone()))
        .with("instance", commit.map(|commit| commit.instance.to_string()))
}
