//! `cohab doctor`

mod files;

use std::path::Path;

use clap::Args;
use cohab::{Integrity, Kind, Registry, Report, Role, Store};

use self::files::Leftovers;
use super::verify::verify;
use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::Session;
use crate::terminal::{Record, size};

/// Look for everything that can be wrong with a store, and with --repair put it right
///
/// Without --repair nothing is changed. Exit code 0 if all is well, 4 if data is damaged, 6 if the store waits for
/// recovery, 1 for lesser things.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Recover the store, write a damaged store.json anew, check every page, and tidy up
    #[arg(long)]
    repair: bool,
}

/// One thing that was looked at.
struct Check {
    what: &'static str,
    exit: Exit,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self { what, exit: Exit::Done, detail: detail.into(), hint: None }
    }

    fn bad(what: &'static str, exit: Exit, detail: impl Into<String>) -> Self {
        Self { exit, ..Self::good(what, detail) }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Makes a check of an error that says something about the store; passes on every other.
    fn of(what: &'static str, failure: Failure) -> Result<Self, Failure> {
        let exit = [Exit::Corrupt, Exit::Format, Exit::NeedsRecovery]
            .into_iter()
            .find(|exit| exit.code() == failure.code());
        match exit {
            Some(exit) => {
                let bad = Self::bad(what, exit, failure.summary());
                Ok(Self { hint: failure.hint_text().map(str::to_owned), ..bad })
            }
            None => Err(failure),
        }
    }

    fn record(&self) -> Record<'_> {
        let is_good = self.exit == Exit::Done;
        let record = Record::new().with("check", self.what).with("ok", is_good);
        record.with("detail", &*self.detail).with("hint", self.hint.as_deref())
    }
}

impl Doctor {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let checks = if self.repair { repair(session) } else { examine(session) }?;
        let columns = &["check", "ok", "detail", "hint"];
        let mut list = session.out.list(columns, columns)?;
        for check in &checks {
            list.push(&check.record())?;
        }
        list.finish()?;
        // The worst of all decides; the order is that of the list below, not of the codes.
        let worst = [Exit::Corrupt, Exit::Format, Exit::NeedsRecovery, Exit::Difference];
        let found = worst.into_iter().find(|worst| checks.iter().any(|check| check.exit == *worst));
        Ok(found.unwrap_or(Exit::Done))
    }
}

/// Looks and touches nothing.
fn examine(session: &Session) -> Result<Vec<Check>, Failure> {
    let path = session.path()?;
    let mut checks = files::permissions(path);
    // As a file of its own the data is opened without being recovered, which would change it.
    let data = if path.is_dir() { path.join("store.redb") } else { path.to_owned() };
    match Store::options().role(Role::Reader).open(&data) {
        Err(error) if error.kind() == Kind::NeedsRecovery => {
            checks.push(
                Check::bad(
                    "recovery",
                    Exit::NeedsRecovery,
                    "the last writer ended without closing the store",
                )
                .hint("`cohab doctor --repair`, or any other command, recovers it; no commit is lost"),
            );
            return Ok(checks);
        }
        Err(error) => {
            // Opening the directory says best what is wrong with it as a whole.
            let failure = session.reader().err().unwrap_or_else(|| error.into());
            checks.push(Check::of("data", failure)?);
            return Ok(checks);
        }
        Ok(data) => {
            checks.push(Check::good("recovery", "not needed"));
            match session.reader() {
                Ok(store) => {
                    checks.push(identity(&store));
                    checks.push(writer(&store));
                }
                Err(_) if path.is_dir() && !files::has_card(path) => checks.push(
                    Check::bad("store.json", Exit::Corrupt, "is missing or damaged")
                        .hint("`cohab doctor --repair` writes it anew from what the data says"),
                ),
                Err(error) => checks.push(Check::of("store.json", error)?),
            }
            checks.push(content(session, &data)?);
            checks.push(purged(&data)?);
        }
    }
    checks.extend(instances(path, Leftovers::Count)?);
    checks.extend(files::leftovers(path, Leftovers::Count)?);
    Ok(checks)
}

/// Opens the store for writing, which recovers it, and puts right what can be.
fn repair(session: &Session) -> Result<Vec<Check>, Failure> {
    let path = session.path()?;
    let mut checks = files::permissions(path);
    let store = match session.writer() {
        Ok(store) => store,
        // All that matters is in the data. A card that can be read and says otherwise is not for us to overrule.
        Err(failure) if files::has_data(path) && !files::has_card(path) => {
            if let Err(error) = Store::rewrite_card(path) {
                checks.push(Check::of("data", error.into())?);
                return Ok(checks);
            }
            checks.push(Check::good("store.json", format!("written anew; {}", failure.message())));
            session.writer()?
        }
        Err(failure) => {
            checks.push(Check::of("data", failure)?);
            return Ok(checks);
        }
    };
    checks.push(Check::good("recovery", "done where it was needed"));
    checks.push(identity(&store));
    checks.push(match store.check() {
        Ok(Integrity::Repaired) => Check::good("pages", "sound; the accounting of free ones was rebuilt"),
        Ok(_) => Check::good("pages", "sound"),
        Err(error) if error.kind() == Kind::InUse => {
            Check::bad("pages", Exit::Difference, format!("not checked: {error}"))
                .hint("run this again when no other process reads")
        }
        Err(error) => {
            checks.push(Check::of("pages", error.into())?);
            return Ok(checks);
        }
    });
    checks.push(content(session, &store)?);
    checks.push(tidy(&store)?);
    checks.extend(instances(path, Leftovers::Remove)?);
    checks.extend(files::leftovers(path, Leftovers::Remove)?);
    Ok(checks)
}

fn identity(store: &Store) -> Check {
    Check::good("store.json", format!("store {}, as the data says", store.id()))
}

fn writer(store: &Store) -> Check {
    match store.writer() {
        Some(holder) => Check::good("writer", format!("held by {holder}")),
        None => Check::good("writer", "nobody writes"),
    }
}

/// Looks for what instances that died have left behind, which is harmless, too.
fn instances(path: &Path, what: Leftovers) -> Result<Option<Check>, Failure> {
    if !path.is_dir() {
        return Ok(None);
    }
    let registry = Registry::in_dir(path);
    let dead = match what {
        Leftovers::Count => registry.dead().map_err(cohab::Error::from)?,
        Leftovers::Remove => registry.reap().map_err(cohab::Error::from)?.instances,
    };
    let live = registry.list().map_err(cohab::Error::from)?.len();
    Ok(Some(match (dead.len(), what) {
        (0, _) => Check::good("instances", format!("{live} live, nothing left of dead ones")),
        (dead, Leftovers::Remove) => {
            Check::good("instances", format!("{live} live; what {dead} dead ones left was removed"))
        }
        (dead, Leftovers::Count) => {
            Check::good("instances", format!("{live} live, {dead} dead have left something"))
                .hint("harmless; the next writer removes it, or `cohab reap`, or `cohab doctor --repair`")
        }
    }))
}

/// Reads everything and compares it with what is kept of it.
fn content(session: &Session, store: &Store) -> Result<Check, Failure> {
    let report: Report = match store.snapshot().map_err(Failure::from).and_then(|s| verify(session, &s)) {
        Ok(report) => report,
        Err(failure) => return Check::of("data", failure),
    };
    Ok(match &report.differences[..] {
        [] => {
            let (keys, bytes) = (report.keys, size(report.bytes));
            let (namespaces, records) = (report.namespaces, report.records);
            let detail = format!("{keys} keys ({bytes}) in {namespaces} namespaces, {records} log records");
            Check::good("data", detail)
        }
        [first, ..] => {
            let count = report.differences.len();
            Check::bad("data", Exit::Corrupt, format!("{count} differences, the first: {first}"))
                .hint("`cohab verify` lists all; restore what they name from a backup")
        }
    })
}

/// Looks for what an interrupted `cohab ns purge` left behind, which is harmless but for the room it takes.
fn purged(store: &Store) -> Result<Check, Failure> {
    match store.snapshot().and_then(|snapshot| snapshot.purged_namespaces()) {
        Ok(0) => Ok(Check::good("maintenance", "nothing left of purged namespaces")),
        Ok(count) => Ok(Check::good("maintenance", format!("{count} purged namespaces still have keys"))
            .hint("harmless; `cohab doctor --repair` removes them")),
        Err(error) => Check::of("maintenance", error.into()),
    }
}

/// Does what commits have left over.
fn tidy(store: &Store) -> Result<Check, Failure> {
    let (mut trimmed, mut reclaimed) = (0, 0);
    loop {
        interrupt::check()?;
        let done = store.maintain()?;
        trimmed += done.trimmed;
        reclaimed += done.reclaimed;
        if !done.more {
            break;
        }
    }
    let detail = format!("{trimmed} log records trimmed, {reclaimed} keys of purged namespaces removed");
    Ok(Check::good("maintenance", detail))
}
