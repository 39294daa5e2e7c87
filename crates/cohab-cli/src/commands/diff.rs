//! `cohab diff` and `cohab ns diff`

use std::ffi::OsString;

use clap::Args;
use cohab::{Contents, Name, NamespaceDiff, Snapshot, Version};
use serde_json::{Value, json};

use super::log::metadata;
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::failure::Failure;
use crate::interrupt;
use crate::moment::Moment;
use crate::session::Session;
use crate::terminal::{Cell, Record};

/// Show what is different in one version of the store from another
///
/// What changed and changed back is not shown. `op` is `insert`, `update` or `delete` for a key; for what is said of a
/// namespace it is `appear`, `disappear`, where it was dropped, or `describe`; and `unrecorded` where a namespace is different
/// and the log does not know how, because its history was off or it was purged. Exit code 7 if the log does not reach back.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    versions: Versions,
}

/// Show what is different in a namespace from what it was
///
/// What changed and changed back is not shown. `op` is `insert`, `update` or `delete` for a key, and `appear` or `describe`
/// for what is said of the namespace. The name is the one it has in the later of the versions. Exit code 7 if the log does
/// not know what there was.
#[derive(Debug, Args)]
pub(super) struct DiffOne {
    /// The namespace
    name: OsString,
    #[command(flatten)]
    versions: Versions,
}

/// The versions that are compared, and how to tell what came of it.
#[derive(Debug, Args)]
struct Versions {
    /// The version to compare with: a number, a snapshot `@NAME`, or a time
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    from: Moment,
    /// The version to compare, which may be the earlier one; without it, the present
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    to: Option<Moment>,
    /// End with exit code 1 if anything is different
    #[arg(long)]
    exit_code: bool,
}

impl Diff {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        self.versions.compare(session, None)
    }
}

impl DiffOne {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        self.versions.compare(session, Some(&name))
    }
}

impl Versions {
    fn compare(&self, session: &mut Session, only: Option<&Name>) -> Outcome {
        let present = session.snapshot()?;
        let from = self.from.version(&present)?;
        let to = match &self.to {
            Some(moment) => moment.version(&present)?,
            None => present.version(),
        };
        // Names are those of the later version, whatever they have become since.
        let later = present.at(from.max(to))?;
        let is_different = print(session, &later, only, from, to)?;
        Ok(if is_different && self.exit_code { Exit::Difference } else { Exit::Done })
    }
}

fn print(
    session: &mut Session,
    later: &Snapshot,
    only: Option<&Name>,
    from: Version,
    to: Version,
) -> Result<bool, Failure> {
    let diff = match only {
        Some(name) => later.diff_namespace(name, from, to)?,
        None => later.diff(from, to)?,
    };
    let columns = &["op", "ns", "key", "before", "after"];
    let mut list = session.out.list(columns, columns)?;
    for namespace in diff.namespaces() {
        for record in of_namespace(&namespace)? {
            list.push(&record)?;
        }
        if !namespace.is_known() {
            continue;
        }
        let name = namespace.name();
        for change in namespace.changes() {
            interrupt::check()?;
            let op = match (change.before, change.after) {
                (None, _) => "insert",
                (_, None) => "delete",
                _ => "update",
            };
            let side = |value: Option<_>| value.map_or(Cell::Null, |value: &[u8]| Cell::Bytes(value.into()));
            let record = Record::new().with("ns", name.as_str()).with_bytes("key", change.key);
            let record = record.with("before", side(change.before)).with("after", side(change.after));
            list.push(&record.with("op", op))?;
        }
    }
    list.finish()?;
    Ok(!diff.is_empty())
}

/// What is different about a namespace besides its keys.
fn of_namespace(namespace: &NamespaceDiff<'_>) -> Result<Vec<Record<'static>>, Failure> {
    let record = |op: &'static str, before: Value, after: Value| {
        let record = Record::new().with("ns", namespace.name()).with("key", None::<u64>);
        record.with("before", before).with("after", after).with("op", op)
    };
    let mut records = Vec::new();
    if let Some((before, after)) = namespace.metadata()? {
        let op = match (&before, &after) {
            (None, _) => "appear",
            (_, None) => "disappear",
            _ => "describe",
        };
        let side = |side: Option<_>| side.as_ref().map_or(Value::Null, metadata);
        records.push(record(op, side(before), side(after)));
    }
    if !namespace.is_known() {
        let sums =
            |it: Contents| json!({"keys": it.keys, "bytes": it.bytes, "digest": it.digest.to_string()});
        let contents = namespace.contents().map(|(before, after)| (sums(before), sums(after)));
        let (before, after) = contents.unwrap_or_default();
        records.push(record("unrecorded", before, after));
    }
    Ok(records)
}
