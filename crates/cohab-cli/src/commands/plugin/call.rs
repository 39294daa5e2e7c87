//! `cohab plugin call`

use std::ffi::OsString;

use clap::Args;
use cohab::Kind;

use crate::commands::bytes::Encoding;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::{Format, Record, printable};

/// Call a plugin and print its reply
///
/// With `-o raw`, the reply's bytes and nothing else. What the plugin writes is committed before the reply is printed. Beside
/// a process that writes, a plugin may be called that only reads; one that writes is refused with exit code 3.
#[derive(Debug, Args)]
pub(super) struct Call {
    /// The plugin
    name: String,
    /// What it is called with; @FILE reads it from a file, - from the standard input; empty if it is left out
    #[arg(default_value = "", hide_default_value = true, allow_negative_numbers = true)]
    input: OsString,
    #[command(flatten)]
    encoding: Encoding,
}

impl Call {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let input = self.encoding.input(&self.input)?;
        let reply = call(session, &self.name, &input)?;
        match session.out.format() {
            Format::Raw => session.out.bytes(&reply)?,
            Format::Table => {
                for line in reply.strip_suffix(b"\n").unwrap_or(&reply).split(|byte| *byte == b'\n') {
                    session.out.bytes(format!("{}\n", printable(line, usize::MAX)).as_bytes())?;
                }
            }
            Format::Json | Format::Jsonl => {
                let record = Record::new().with("plugin", self.name);
                session.out.record(&record.with_bytes("reply", reply))?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Calls as the writer, so that the plugin may write; beside another writer as a reader.
fn call(session: &Session, name: &str, input: &[u8]) -> Result<Vec<u8>, Failure> {
    if session.path()?.is_file() {
        return Ok(session.reader()?.plugins().call(name, input)?.to_vec());
    }
    match session.writer_at_once() {
        Ok(store) => return Ok(store.plugins().call(name, input)?.to_vec()),
        Err(failure) if failure.kind() == Kind::Busy.as_str() => {}
        Err(failure) => return Err(failure),
    }
    match session.reader()?.plugins().call(name, input) {
        // It writes. So somebody has to, and it is told who does, unless that one ends in time.
        Err(error) if error.kind() == Kind::ReadOnly => {
            Ok(session.writer()?.plugins().call(name, input)?.to_vec())
        }
        other => Ok(other?.to_vec()),
    }
}
