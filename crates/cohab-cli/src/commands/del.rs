//! `cohab del`

use std::ffi::OsString;

use clap::Args;

use super::bytes::Encoding;
use super::get::no_key;
use super::{Outcome, committed};
use crate::arguments::name;
use crate::session::{Session, write};

/// Remove a key
///
/// A key that is not there is an error, exit code 1, and changes nothing.
#[derive(Debug, Args)]
pub(crate) struct Del {
    /// The namespace
    #[arg(value_name = "NS")]
    namespace: OsString,
    /// The key; @FILE reads it from a file, - from the standard input
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    #[command(flatten)]
    encoding: Encoding,
}

impl Del {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let namespace = name(&self.namespace)?;
        let key = self.encoding.key(&self.key)?;
        let store = session.writer()?;
        let done = write(&store, "cohab del", |tx| Ok(tx.delete(&namespace, &key)?))?;
        if !done.value {
            return Err(no_key(namespace.as_str(), &key));
        }
        committed(session, done.version)
    }
}
