//! `cohab log …`

mod trim;

use std::collections::HashMap;

use clap::{Args, Subcommand};
use cohab::{Change, LogItem, LogRecord, Metadata, NamespaceId, Snapshot, Version};
use serde_json::{Value, json};

use super::verify::print;
use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Cell, Record};

/// Read the log of transactions, or trim it
#[derive(Debug, Args)]
pub(crate) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(Tail),
    Show(Show),
    Verify(Verify),
    Trim(trim::Trim),
}

impl Log {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        match self.command {
            Command::Tail(command) => command.run(session),
            Command::Show(command) => command.run(session),
            Command::Verify(command) => command.run(session),
            Command::Trim(command) => command.run(session),
        }
    }
}

/// List the last transactions, the oldest first
#[derive(Debug, Args)]
struct Tail {
    /// How many
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    lines: u64,
}

impl Tail {
    fn run(self, session: &mut Session) -> Outcome {
        let snapshot = session.snapshot()?;
        let mut list = session.out.list(
            &["version", "time", "changes", "label", "instance"],
            &["version", "time", "changes", "label", "instance"],
        )?;
        let first = snapshot.version().get().saturating_sub(self.lines) + 1;
        for record in snapshot.log(Version::new(first)..) {
            let record = record?;
            let mut changes = 0;
            record.visit(|item| {
                changes += match item {
                    LogItem::Change { .. } | LogItem::Metadata { .. } => 1,
                    LogItem::Unrecorded { changes, .. } => changes,
                    _ => 0,
                };
                Ok(())
            })?;
            interrupt::check()?;
            list.push(&header(&record).with("changes", changes))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}

fn header(record: &LogRecord<'_>) -> Record<'static> {
    Record::new()
        .with("version", record.version())
        .with("time", record.time())
        .with("label", record.label().to_owned())
        .with("instance", record.instance().to_string())
        .with("epoch", record.epoch().get())
}

/// Show every change of one transaction, with what was there before
#[derive(Debug, Args)]
struct Show {
    /// The version that the transaction made
    version: u64,
}

impl Show {
    fn run(self, session: &mut Session) -> Outcome {
        let snapshot = session.snapshot()?;
        let version = Version::new(self.version);
        let names = names(&snapshot)?;
        let record = snapshot.log(version..=version).next();
        let record = record.ok_or_else(|| missing(&snapshot, version))??;
        let mut list = session
            .out
            .list(&["op", "ns", "key", "before", "after"], &["op", "ns", "key", "before", "after"])?;
        // The facade's callback returns the facade's error; ours is kept beside it.
        let mut failure = None;
        let visited = record.visit(|item| {
            let pushed = interrupt::check().and_then(|()| match shown(version, &names, &item) {
                Some(record) => list.push(&record),
                None => Ok(()),
            });
            pushed.map_err(|reason| {
                failure = Some(reason);
                cohab::Error::abort("told elsewhere")
            })
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        visited?;
        list.finish()?;
        Ok(Exit::Done)
    }
}

fn missing(snapshot: &Snapshot, version: Version) -> Failure {
    let (oldest, newest) = (snapshot.oldest_version(), snapshot.version());
    if version < oldest && version > Version::ZERO {
        let message = format!("the log no longer has version {version}; its oldest is {oldest}");
        return Failure::too_old(message).hint("a store opened with more retention keeps more of its past");
    }
    Failure::not_found(format!("there is no version {version}; the newest is {newest}"))
}

/// The names that namespaces have now, also those in the trash.
pub(super) fn names(snapshot: &Snapshot) -> Result<HashMap<NamespaceId, String>, Failure> {
    let mut names = HashMap::new();
    for info in snapshot.namespaces()?.chain(snapshot.dropped_namespaces()?) {
        let info = info?;
        names.insert(info.id, info.name.as_str().to_owned());
    }
    Ok(names)
}

/// One piece of a record as a result; nothing for the sums that follow the changes.
fn shown<'a>(
    version: Version,
    names: &'a HashMap<NamespaceId, String>,
    item: &LogItem<'a>,
) -> Option<Record<'a>> {
    let begin = |op: &'static str, id: NamespaceId| {
        // One that was purged since has no name any more.
        let name = names.get(&id).map(String::as_str);
        let record = Record::new().with("version", version).with("op", op).with("ns", name);
        record.with("id", u64::from(id.get()))
    };
    let bytes = |bytes: Option<&'a [u8]>| bytes.map_or(Cell::Null, |bytes| Cell::Bytes(bytes.into()));
    match item {
        LogItem::Change { namespace, change } => {
            let (op, before_version) = match change {
                Change::Insert { .. } => ("insert", None),
                Change::Update { before_version, .. } => ("update", Some(*before_version)),
                Change::Delete { before_version, .. } => ("delete", Some(*before_version)),
            };
            let record = begin(op, *namespace).with_bytes("key", change.key());
            let record = record.with("before", bytes(change.before())).with("after", bytes(change.after()));
            Some(record.with("before_version", before_version))
        }
        LogItem::Metadata { namespace, before, after } => {
            let op = match (before, after) {
                (None, Some(_)) => "appear",
                (Some(_), None) => "disappear",
                _ => "describe",
            };
            let [before, after] = [before, after].map(|side| side.as_deref().map(metadata));
            Some(begin(op, *namespace).with("before", before).with("after", after))
        }
        LogItem::Unrecorded { namespace, changes } => {
            Some(begin("unrecorded", *namespace).with("changes", *changes))
        }
        _ => None,
    }
}

pub(super) fn metadata(metadata: &Metadata) -> Value {
    json!({
        "name": metadata.name.as_str(),
        "title": metadata.title,
        "description": metadata.description,
        "labels": metadata.labels,
        "protected": metadata.protected,
        "history": metadata.history.as_str(),
    })
}

/// Read every record and follow the chain that ties them together
///
/// Exit code 4 if a record is damaged or missing.
#[derive(Debug, Args)]
struct Verify {}

impl Verify {
    fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let snapshot = session.snapshot()?;
        let report = snapshot.verify_log()?;
        print(session, snapshot.version().get(), &report, false)
    }
}
