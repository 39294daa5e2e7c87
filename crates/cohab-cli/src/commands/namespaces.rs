//! `cohab ns …`

mod create;
mod drop;
mod list;
mod relocate;
mod set;
mod show;
mod stat;

use clap::{Args, Subcommand};
use cohab::NamespaceInfo;
use serde_json::Value;

use super::diff::DiffOne;
use super::rollback::RollbackOne;
use super::{Outcome, committed};
use crate::session::Session;
use crate::terminal::Record;

/// Work with namespaces: make, describe, rename, drop and restore them
///
/// What is said about a namespace is kept apart from what it holds: none of these but `copy`, `drop`, `purge` and
/// `rollback` touches data, and none of the others takes longer where there is more of it.
#[derive(Debug, Args)]
pub(crate) struct Namespaces {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Create(create::Create),
    Set(set::Set),
    Rename(relocate::Rename),
    Copy(relocate::Copy),
    Drop(drop::Drop),
    Undrop(drop::Undrop),
    Purge(drop::Purge),
    Stat(stat::Stat),
    Digest(show::Digest),
    Diff(DiffOne),
    Rollback(RollbackOne),
}

impl Namespaces {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        match self.command {
            Command::List(command) => command.run(session),
            Command::Show(command) => command.run(session),
            Command::Create(command) => command.run(session),
            Command::Set(command) => command.run(session),
            Command::Rename(command) => command.run(session),
            Command::Copy(command) => command.run(session),
            Command::Drop(command) => command.run(session),
            Command::Undrop(command) => command.run(session),
            Command::Purge(command) => command.run(session),
            Command::Stat(command) => command.run(session),
            Command::Digest(command) => command.run(session),
            Command::Diff(command) => command.run(session),
            Command::Rollback(command) => command.run(session),
        }
    }
}

/// Everything that is known of a namespace.
fn described(info: NamespaceInfo) -> Record<'static> {
    let labels = info.labels.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
    let mut record = Record::new()
        .with("name", info.name.as_str().to_owned())
        .with("title", info.title)
        .with("description", info.description)
        .with("labels", Value::Object(labels))
        .with("protected", info.protected)
        .with("history", info.history.as_str())
        .with("data_version", info.data_version)
        .with("meta_version", info.meta_version)
        .with("keys", info.keys)
        .with("bytes", info.bytes)
        .with("digest", info.digest.to_string())
        .with("id", u64::from(info.id.get()))
        .with("created", info.created)
        .with("created_at", info.created_at);
    if let Some(dropped) = info.dropped {
        record = record.with("dropped", dropped.version).with("dropped_at", dropped.at);
    }
    record
}

/// Splits `K=V`, the way labels stand in the arguments.
fn label(argument: &str) -> Result<(String, String), String> {
    let (key, value) = argument.split_once('=').ok_or("a label is KEY=VALUE")?;
    if key.is_empty() {
        return Err("a label's key is not empty".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
