//! `cohab watch`

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use cohab::{Change, Filter, Kind, LogItem, NamespaceId, Role, Version, WatchEvent};
use serde_json::{Value, json};

use super::bytes::Encoding;
use super::log::{metadata, names};
use super::{Exit, Outcome};
use crate::arguments::name;
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::session::Session;
use crate::terminal::{Cell, Format, Record, printable, tell};

/// Print versions as they are committed, by any process, each exactly once and in order
///
/// Each comes with its changes. With --from it begins in the past, as far as the log reaches; if versions were trimmed
/// before they were seen, it ends with exit code 7 and names the oldest one left. A namespace is followed through
/// renames. Of namespaces with history off, only how many keys changed is known.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only versions that change this namespace
    #[arg(value_name = "NS")]
    namespace: Option<OsString>,
    /// Only keys that begin with this
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    prefix: Option<OsString>,
    /// The version to begin with; without it, the next one
    #[arg(long, value_name = "VERSION")]
    from: Option<u64>,
    /// Stop after so many versions
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    encoding: Encoding,
}

/// How often to see whether the command is to end.
const TICK: Duration = Duration::from_millis(100);

impl Watch {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut filter = Filter::new();
        if let Some(namespace) = &self.namespace {
            filter = filter.namespace(name(namespace)?.as_str());
        }
        if let Some(prefix) = &self.prefix {
            filter = filter.prefix(self.encoding.key(prefix)?);
        }
        if let Some(from) = self.from {
            filter = filter.from(Version::new(from));
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ending = is_over.clone();
        interrupt::listen(&[Signal::Terminate], move |_| {
            ending.store(true, Ordering::Relaxed);
            Then::End
        });
        let store = session
            .options()
            .role(Role::Reader)
            .app("cohab")
            .app_version(env!("CARGO_PKG_VERSION"))
            .label("watch")
            .open(session.path()?)?;
        let mut watch = store.watch(filter)?;
        let mut names = names(&store.snapshot()?)?;
        let mut left = self.count.unwrap_or(u64::MAX);
        while left > 0 && !is_over.load(Ordering::Relaxed) {
            match watch.next_within(TICK) {
                None => {}
                Some(Ok(event)) => {
                    print(session, &event, &mut names)?;
                    left -= 1;
                }
                // It goes on when the writer does.
                Some(Err(error)) if error.kind() == Kind::Stalled => tell(&format!("cohab: {error}\n")),
                Some(Err(error)) => return Err(error.into()),
            }
        }
        interrupt::check()?;
        Ok(Exit::Done)
    }
}

/// The names that namespaces have, as far as they are known.
type Names = HashMap<NamespaceId, String>;

/// Prints a version at once: whoever reads a pipe waits for it.
fn print(session: &mut Session, event: &WatchEvent, names: &mut Names) -> Result<(), Failure> {
    let pieces = Pieces::of(event, names)?;
    match session.out.format() {
        Format::Table | Format::Raw => {
            let head = format!("{}  {}", event.version(), event.time());
            let label = printable(event.label().as_bytes(), 40);
            session.out.bytes(format!("{head}  {label}\n").as_bytes())?;
            for line in &pieces.lines {
                session.out.bytes(format!("  {line}\n").as_bytes())?;
            }
        }
        Format::Json | Format::Jsonl => {
            let mut record = Record::new()
                .with("version", event.version())
                .with("time", event.time())
                .with("label", event.label())
                .with("instance", event.instance().to_string())
                .with("changes", Value::from(pieces.changes));
            if !pieces.metadata.is_empty() {
                record = record.with("metadata", Value::from(pieces.metadata));
            }
            if !pieces.unrecorded.is_empty() {
                record = record.with("unrecorded", Value::from(pieces.unrecorded));
            }
            session.out.line(&record)?;
        }
    }
    session.out.flush()
}

/// What a version did.
#[derive(Default)]
struct Pieces {
    changes: Vec<Value>,
    metadata: Vec<Value>,
    unrecorded: Vec<Value>,
    /// The same, for people.
    lines: Vec<String>,
}

impl Pieces {
    fn of(event: &WatchEvent, names: &mut Names) -> Result<Self, Failure> {
        let mut pieces = Self::default();
        event.visit(|item| {
            pieces.add(&item, names);
            Ok(())
        })?;
        Ok(pieces)
    }

    fn add(&mut self, item: &LogItem<'_>, names: &mut Names) {
        match item {
            LogItem::Change { namespace, change } => {
                let (op, value) = match change {
                    Change::Insert { value, .. } | Change::Update { value, .. } => ("put", Some(*value)),
                    Change::Delete { .. } => ("del", None),
                };
                // One that was purged since has no name any more.
                let name = names.get(namespace).map(String::as_str);
                let record = Record::new().with("ns", name).with("op", op).with_bytes("key", change.key());
                let shown = value.map(|value| format!(" = {}", printable(value, 60))).unwrap_or_default();
                let key = printable(change.key(), 60);
                self.lines.push(format!("{op} {} {key}{shown}", name.unwrap_or("?")));
                self.changes.push(match value {
                    Some(value) => record.with("value", Cell::Bytes(value.into())).to_json(),
                    None => record.to_json(),
                });
            }
            LogItem::Metadata { namespace, before, after } => {
                let op = match (before, after) {
                    (None, Some(_)) => "appear",
                    (Some(_), None) => "disappear",
                    _ => "describe",
                };
                if let Some(after) = after {
                    names.insert(*namespace, after.name.to_string());
                }
                let name = names.get(namespace);
                let [before, after] = [before, after].map(|side| side.as_deref().map(metadata));
                self.lines.push(format!("{op} {}", name.map_or("?", String::as_str)));
                self.metadata.push(json!({ "ns": name, "op": op, "before": before, "after": after }));
            }
            LogItem::Unrecorded { namespace, changes } => {
                let name = names.get(namespace);
                self.lines.push(format!("{changes} unrecorded {}", name.map_or("?", String::as_str)));
                self.unrecorded.push(json!({ "ns": name, "changes": changes }));
            }
            _ => {}
        }
    }
}
