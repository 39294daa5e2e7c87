//! `cohab snapshot …`

use std::ffi::OsString;

use clap::{Args, Subcommand};
use cohab::{Kept, NamedSnapshot, Purpose};

use super::{Exit, Outcome};
use crate::arguments::name;
use crate::moment::Moment;
use crate::session::Session;
use crate::terminal::{Format, Record};

/// Keep versions of the store under names
///
/// A snapshot costs nothing but that the log keeps what has changed since, within bounds: the oldest lapse when they make
/// it grow by more than a gigabyte. `--at @NAME` reads from one, `rollback --to @NAME` goes back to it. Those that begin
/// with `safety/` the store takes by itself before something is destroyed; `cohab undo` goes back to the last of them.
#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Drop(Drop),
}

impl Snapshot {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        match self.command {
            Command::Create(command) => command.run(session),
            Command::List(command) => command.run(session),
            Command::Drop(command) => command.run(session),
        }
    }
}

/// Keep the present version, or an earlier one, under a name
#[derive(Debug, Args)]
struct Create {
    /// What to call it
    name: OsString,
    /// The version to keep: a number, a snapshot `@NAME`, or a time; without it, the present one
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    at: Option<Moment>,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
}

impl Create {
    fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let store = session.writer()?;
        let present = store.snapshot()?;
        let at = self.at.map(|moment| moment.version(&present)).transpose()?;
        drop(present);
        let version = store.create_snapshot(&name, at, self.note)?;
        session.out.record(&Record::new().with("name", name.as_str()).with("version", version))?;
        Ok(Exit::Done)
    }
}

/// List the snapshots by version
#[derive(Debug, Args)]
struct List {}

impl List {
    fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let all = session.snapshot()?.named_snapshots()?;
        let format = session.out.format();
        let columns = &["name", "version", "created", "purpose", "state"];
        let mut list = session.out.list(columns, &["name", "version", "created_at", "kind"])?;
        for known in &all {
            list.push(&if format == Format::Table { told(known) } else { described(known) })?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}

/// A snapshot, for people.
fn told(known: &NamedSnapshot) -> Record<'_> {
    let Kept { version, created_at, lapsed, .. } = &known.kept;
    let undone = known.kept.as_safety().and_then(|safety| safety.undone);
    let state = match (lapsed, undone) {
        (Some(lapse), _) => format!("lapsed: {lapse}"),
        (None, Some(by)) => format!("undone by {by}"),
        (None, None) => "active".to_owned(),
    };
    Record::new()
        .with("name", known.name.as_str())
        .with("version", *version)
        .with("created", *created_at)
        .with("purpose", known.purpose())
        .with("state", state)
}

/// A snapshot, for programs.
fn described(known: &NamedSnapshot) -> Record<'_> {
    let Kept { version, created_at, purpose, lapsed, .. } = &known.kept;
    let safety = known.kept.as_safety();
    let note = match purpose {
        Purpose::Named { note } => Some(note.as_str()),
        _ => None,
    };
    Record::new()
        .with("name", known.name.as_str())
        .with("version", *version)
        .with("created_at", *created_at)
        .with("kind", if safety.is_some() { "safety" } else { "named" })
        .with("operation", safety.map(|safety| safety.operation.as_str()))
        .with("namespace", safety.map(|safety| safety.name.as_str()).filter(|name| !name.is_empty()))
        .with("note", note)
        .with("undone", safety.and_then(|safety| safety.undone))
        .with("lapsed", lapsed.map(cohab::Lapse::as_str))
}

/// Give a snapshot up, also one that the store took, so that the log need keep its version no longer
#[derive(Debug, Args)]
struct Drop {
    /// What it is called
    name: OsString,
}

impl Drop {
    fn run(self, session: &mut Session) -> Outcome {
        let name = name(&self.name)?;
        let version = session.writer()?.drop_snapshot(&name)?;
        session.out.record(&Record::new().with("name", name.as_str()).with("version", version))?;
        Ok(Exit::Done)
    }
}
