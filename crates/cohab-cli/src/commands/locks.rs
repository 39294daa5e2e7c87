//! `cohab locks`

use std::path::Path;

use clap::Args;
use cohab::{Holder, LockMode, LockState};
use cohab_lock::{Counter, LockFile, Locks as Named};
use serde_json::Value;

use super::{Exit, Outcome};
use crate::report;
use crate::session::Session;
use crate::terminal::{Cell, Format, Record};

/// List the writer's lock and the named ones, and who holds them
///
/// A named lock stays listed once it has been held. `token` is the number of its last holder, and for the writer's lock
/// the epoch of the last writer; it only grows. Whether a lock is held is the kernel's word, who holds it the
/// holder's own.
#[derive(Debug, Args)]
pub(crate) struct Locks {}

impl Locks {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let directory = session.directory()?;
        let named = Named::in_dir(&directory.join("locks")).list().map_err(cohab::Error::from)?;
        let (writer, handover) = (Seen::writer(directory), Seen::handover(directory));
        let named = named.into_iter().map(Seen::named);
        let seen: Vec<Seen> = [Some(writer), handover].into_iter().flatten().chain(named).collect();
        let format = session.out.format();
        let columns = &["name", "kind", "held", "mode", "token", "holder"];
        let mut list = session.out.list(columns, &["name", "kind", "held", "token"])?;
        for lock in &seen {
            list.push(&lock.record(format))?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}

/// A lock as it was when it was looked at.
struct Seen {
    name: Option<String>,
    /// `store` for the store's own locks, `named` for the application's.
    kind: &'static str,
    mode: Option<LockMode>,
    token: Option<u64>,
    holder: Option<Holder>,
    pids: Vec<u32>,
}

impl Seen {
    fn writer(directory: &Path) -> Self {
        // One that cannot be read does not keep us from telling the rest.
        let token = Counter::at(directory.join("writer.epoch")).current().ok();
        Self { token, ..Self::of_store(directory, "writer") }
    }

    /// The lock of a stand-by that asks the writer to hand over, which is held for a moment only.
    fn handover(directory: &Path) -> Option<Self> {
        let seen = Self::of_store(directory, "handover");
        seen.mode.is_some().then_some(seen)
    }

    fn of_store(directory: &Path, name: &str) -> Self {
        let holder = LockFile::in_dir(directory, name).current();
        let pids = holder.iter().map(|holder| holder.pid).collect();
        let mode = holder.as_ref().map(|_| LockMode::Exclusive);
        Self { name: Some(name.to_owned()), kind: "store", mode, token: None, holder, pids }
    }

    fn named(state: LockState) -> Self {
        let LockState { name, held: mode, holder, pids, token, .. } = state;
        Self { name, kind: "named", mode, token, holder, pids }
    }

    fn record(&self, format: Format) -> Record<'_> {
        let mode = self.mode.map(|mode| match mode {
            LockMode::Exclusive => "exclusive",
            LockMode::Shared => "shared",
        });
        let holder = match (&self.holder, format) {
            (None, _) => Cell::Null,
            (Some(holder), Format::Table | Format::Raw) => holder.to_string().into(),
            (Some(holder), _) => report::holder(holder).into(),
        };
        Record::new()
            .with("name", self.name.as_deref())
            .with("kind", self.kind)
            .with("held", self.mode.is_some())
            .with("mode", mode)
            .with("token", self.token)
            .with("holder", holder)
            .with("pids", Cell::Json(self.pids.iter().copied().collect::<Value>()))
    }
}
