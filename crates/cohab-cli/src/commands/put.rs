//! `cohab put`

use std::ffi::OsString;

use clap::Args;

use super::bytes::{Encoding, one_from_input};
use super::{Outcome, committed};
use crate::arguments::name;
use crate::session::{Session, write};

/// Put a value under a key
///
/// When this has printed the new version, the value survives a crash of the machine. A value that begins with `@`, or
/// is `-`, is given through a file, the standard input, --hex or --base64.
#[derive(Debug, Args)]
pub(crate) struct Put {
    /// The namespace, which must be there
    #[arg(value_name = "NS")]
    namespace: OsString,
    /// The key; @FILE reads it from a file, - from the standard input
    #[arg(allow_negative_numbers = true)]
    key: OsString,
    /// The value; @FILE reads it from a file, - from the standard input
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// Create the namespace if it is not there
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    encoding: Encoding,
}

impl Put {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        one_from_input(&self.key, &self.value)?;
        let namespace = name(&self.namespace)?;
        let key = self.encoding.key(&self.key)?;
        let value = self.encoding.value(&self.value)?;
        let done = write(&session.writer()?, "cohab put", |tx| {
            if self.create {
                tx.ensure_namespace(&namespace)?;
            }
            Ok(tx.put(&namespace, &key, &value)?)
        })?;
        committed(session, done.version)
    }
}
