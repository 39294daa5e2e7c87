//! `cohab undo`

use clap::Args;
use cohab::{Kind, NamedSnapshot};
use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::{Cell, Format, Record};

/// Undo the last thing that destroyed something: a drop, a roll-back, a load over data
///
/// Before each of those the store takes a snapshot, which `cohab snapshot list` shows; this goes back to the last one that
/// was not undone yet. It is itself a new version. Exit code 1 if there is nothing to undo, and 8 if what would be undone
/// was changed since, so that those changes would be lost with it.
#[derive(Debug, Args)]
pub(crate) struct Undo {}

impl Undo {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method has its lifetimes on the type"
        )]
        let done = session.writer()?.write(|tx| tx.undo()).map_err(explain)?;
        let undone = done.value.undone.iter();
        let undone: Cell<'_> = if session.out.format() == Format::Table {
            undone.map(told).collect::<Vec<_>>().join(", ").into()
        } else {
            undone.map(described).collect::<Value>().into()
        };
        let record = Record::new()
            .with("version", done.version)
            .with("undone", undone)
            .with("changes", done.value.changes);
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}

fn told(known: &NamedSnapshot) -> String {
    format!("{} (version {}, {})", known.name, known.kept.version, known.purpose())
}

fn described(known: &NamedSnapshot) -> Value {
    let safety = known.kept.as_safety();
    json!({
        "name": known.name.as_str(),
        "operation": safety.map(|safety| safety.operation.as_str()),
        "namespace": safety.map(|safety| safety.name.as_str()).filter(|name| !name.is_empty()),
        "version": known.kept.version.get(),
    })
}

/// Says what there is to do about what cannot be undone, unless the error says it.
fn explain(error: cohab::Error) -> Failure {
    let is_in_the_way =
        matches!(error.kind(), Kind::Conflict | Kind::Exists | Kind::TooOld | Kind::NoHistory);
    let has_hint = matches!(error.kind(), Kind::Conflict | Kind::Exists) && error.hint_text().is_some();
    let failure = Failure::from(error);
    if is_in_the_way && !has_hint {
        return failure.hint(
            "`cohab snapshot list` shows what there is to undo; `cohab snapshot drop NAME` gives one of it up",
        );
    }
    failure
}
