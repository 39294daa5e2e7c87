//! `cohab get`

use std::ffi::OsString;

use clap::Args;

use super::bytes::Encoding;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::failure::Failure;
use crate::moment::At;
use crate::session::Session;
use crate::terminal::{Format, Record, printable};

/// Print the value of a key
///
/// With `-o raw`, the value's bytes and nothing else. `version` is the version at which the key last changed,
/// also where --at shows an earlier one of the store.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: OsString,
    /// The key; @FILE reads it from a file, - from the standard input
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    at: At,
}

impl Get {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let namespace = name(&self.namespace)?;
        let key = self.encoding.key(&self.key)?;
        let snapshot = session.snapshot_at(&self.at)?;
        let value = snapshot.get(&namespace, &key)?;
        let value = value.ok_or_else(|| no_key(namespace.as_str(), &key))?;
        if session.out.format() == Format::Raw {
            session.out.bytes(&value)?;
            return Ok(Exit::Done);
        }
        let record = Record::new().with("ns", namespace.as_str()).with_bytes("key", key.as_slice());
        session.out.record(&record.with_bytes("value", &*value).with("version", value.version()))?;
        Ok(Exit::Done)
    }
}

/// Says that a namespace does not have a key.
pub(super) fn no_key(namespace: &str, key: &[u8]) -> Failure {
    Failure::not_found(format!("namespace `{namespace}` has no key \"{}\"", printable(key, 80)))
}
