//! `cohab verify`

use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use cohab::{Checkpoint, Difference, Report, Role, Store, VerifyOptions};
use cohab_exchange::Text;
use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::arguments::bytes;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Format, Record, tell};

/// How often the checkpoint is written.
const CHECKPOINT_TICK: Duration = Duration::from_secs(1);

/// Read everything and compare it with what is kept of it
///
/// Checks every value's checksum, every namespace's counts and digest, the catalogue against itself, and the log's
/// chain. It reads in short steps, between which nothing is pinned, and what is written meanwhile is taken into account.
/// Exit code 4 if anything is not as it should be.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Read no more bytes than that in a second, such as 10MB
    #[arg(long, value_name = "BYTES_PER_SECOND", value_parser = bytes)]
    throttle: Option<u64>,
    /// Note in a file how far it is, and go on from there if it is there already; the end removes it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Compare it with another store or a backup as well; exit code 1 if they differ
    #[arg(long, value_name = "STORE")]
    against: Option<PathBuf>,
}

impl Verify {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let store = session.reader()?;
        // A store that is not there is better told of now than in an hour.
        let other = self.against.as_deref().map(|path| open_other(session, path)).transpose()?;
        let report = self.verify(session, &store)?;
        let differs = match &other {
            Some(other) => Some(store.snapshot()?.compare(&other.snapshot()?)?),
            None => None,
        };
        let version = report.version.get();
        print_with(session, version, &report, true, differs.as_deref())
    }

    fn verify(&self, session: &Session, store: &Store) -> Result<Report, Failure> {
        let mut options = VerifyOptions::default();
        if let Some(rate) = self.throttle {
            options = options.bytes_per_second(rate);
        }
        if let Some(checkpoint) = self.checkpoint.as_deref().map(read_checkpoint).transpose()?.flatten() {
            options = options.resume(checkpoint);
        }
        let mut verifier = store.verifier(options)?;
        let progress = session.progress("verifying", None);
        let mut written = Instant::now();
        let report = loop {
            if let Some(report) = verifier.step()? {
                break report;
            }
            let done = verifier.progress();
            progress.of(done.total);
            progress.set(done.bytes);
            let is_over = interrupt::check();
            if let Some(file) = &self.checkpoint
                && (is_over.is_err() || written.elapsed() >= CHECKPOINT_TICK)
            {
                write_checkpoint(file, &verifier.checkpoint())?;
                written = Instant::now();
            }
            is_over?;
        };
        if let Some(file) = &self.checkpoint {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Failure::io(format!("removing {} failed", file.display()), &error));
                }
                _ => {}
            }
        }
        for remark in report.remarks.iter().filter(|_| !session.is_quiet()) {
            tell(&format!("note: {remark}\n"));
        }
        Ok(report)
    }
}

fn open_other(session: &Session, path: &Path) -> Result<Store, Failure> {
    Ok(session.options().register(false).role(Role::Reader).open(path)?)
}

fn read_checkpoint(file: &Path) -> Result<Option<Checkpoint>, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io(format!("reading {} failed", file.display()), &error)),
    };
    let checkpoint = text.trim().parse().map_err(|error| {
        Failure::input(format!("{}: {error}", file.display())).hint("remove it to verify from the beginning")
    });
    checkpoint.map(Some)
}

/// Replaces the file as a whole, so that there is always one to go on from.
fn write_checkpoint(file: &Path, checkpoint: &Checkpoint) -> Result<(), Failure> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = tempfile::NamedTempFile::new_in(dir).and_then(|mut next| {
        writeln!(next, "{checkpoint}")?;
        next.as_file().sync_all()?;
        Ok(next.persist(file)?)
    });
    written.map(drop).map_err(|error| Failure::io(format!("writing {} failed", file.display()), &error))
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
    print_with(session, version, report, is_whole, None)
}

/// Prints what a verification found, and what is different in another store if one was compared with.
fn print_with(
    session: &mut Session,
    version: u64,
    report: &Report,
    is_whole: bool,
    differs: Option<&[Difference]>,
) -> Outcome {
    let mut record = Record::new().with("sound", report.is_sound()).with("version", version);
    if is_whole {
        record = record
            .with("namespaces", report.namespaces)
            .with("keys", report.keys)
            .with("bytes", report.bytes);
    }
    record = record.with("records", report.records);
    let is_json = matches!(session.out.format(), Format::Json | Format::Jsonl);
    let lists = [("differences", Some(&report.differences[..])), ("against", differs)];
    for (name, list) in lists.into_iter().filter_map(|(name, list)| Some((name, list?))) {
        record = if is_json {
            record.with(name, list.iter().map(told).collect::<Value>())
        } else {
            record.with(name, list.len() as u64)
        };
    }
    session.out.record(&record)?;
    let differs = differs.unwrap_or_default();
    if !is_json {
        session.out.flush()?;
        for difference in report.differences.iter().chain(differs) {
            tell(&format!("{difference}\n"));
        }
    }
    Ok(match (report.is_sound(), differs) {
        (false, _) => Exit::Corrupt,
        (true, []) => Exit::Done,
        (true, _) => Exit::Difference,
    })
}

/// A difference in JSON, with the keys among which it is where that is known.
fn told(difference: &Difference) -> Value {
    let mut told = json!({ "place": difference.place, "problem": difference.problem });
    let Some((start, end)) = &difference.range else { return told };
    for (bound, [included, excluded]) in [(start, ["from", "after"]), (end, ["through", "before"])] {
        match bound {
            Bound::Included(key) => told[included] = json!(Text::new(key)),
            Bound::Excluded(key) => told[excluded] = json!(Text::new(key)),
            Bound::Unbounded => {}
        }
    }
    told
}
