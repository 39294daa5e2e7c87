//! `cohab verify`

use clap::Args;
use cohab::Report;
use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Format, Record, tell};

/// Read everything and compare it with what is kept of it
///
/// Checks every value's checksum, every namespace's counts and digest, the catalogue against itself, and the log's
/// chain. The writer goes on meanwhile. Exit code 4 if anything is not as it should be.
#[derive(Debug, Args)]
pub(crate) struct Verify {}

impl Verify {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let snapshot = session.snapshot()?;
        let report = verify(session, &snapshot)?;
        print(session, snapshot.version().get(), &report, true)
    }
}

/// Verifies a snapshot, showing how far it is.
pub(super) fn verify(session: &Session, snapshot: &cohab::Snapshot) -> Result<Report, Failure> {
    let progress = session.progress("verifying", None);
    let report = snapshot.verify(|done| {
        progress.of(done.total);
        progress.set(done.bytes);
        interrupt::check_in_callback();
    })?;
    Ok(report)
}

/// Prints what a verification found: in JSON within the result, otherwise a line for each difference below it.
pub(super) fn print(session: &mut Session, version: u64, report: &Report, is_whole: bool) -> Outcome {
    let mut record = Record::new().with("sound", report.is_sound()).with("version", version);
    if is_whole {
        record = record
            .with("namespaces", report.namespaces)
            .with("keys", report.keys)
            .with("bytes", report.bytes);
    }
    record = record.with("records", report.records);
    let is_json = matches!(session.out.format(), Format::Json | Format::Jsonl);
    if is_json {
        let differences = report.differences.iter();
        let differences =
            differences.map(|found| json!({ "place": found.place, "problem": found.problem })).collect();
        record = record.with("differences", Value::Array(differences));
    } else {
        record = record.with("differences", report.differences.len() as u64);
    }
    session.out.record(&record)?;
    if !is_json && !report.is_sound() {
        session.out.flush()?;
        for difference in &report.differences {
            tell(&format!("{difference}\n"));
        }
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Corrupt })
}
