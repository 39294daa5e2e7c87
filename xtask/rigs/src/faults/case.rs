//! One run of a scenario with faults, and what has to be true afterwards.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use cohab::{Error, Kind, LockMode, Result, Role, Store, Wait};
use serde::{Deserialize, Serialize};

use super::fault::Point;
use super::injector::{Hit, Injector};
use super::ledger::{Ledger, State};
use super::scenarios::Scenario;
use super::session::{Session, options};
use crate::seam;

/// What became of a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Whether every fault was met.
    pub(crate) is_met: bool,
    /// How many calls there were that the first fault fits, up to and including where it was met.
    pub(crate) calls: u64,
    /// The kind of the error that the scenario ended with.
    pub(crate) error: Option<String>,
    pub(crate) is_poisoned: bool,
    /// What was met first, and where.
    pub(crate) hit: String,
    pub(crate) findings: Vec<String>,
    pub(crate) millis: u64,
    /// Where the files are, if they were kept.
    pub(crate) kept: Option<PathBuf>,
}

/// A scenario that was prepared: the files that every run begins with a copy of.
pub(crate) struct Prepared {
    scenario: &'static Scenario,
    place: PathBuf,
    ledgers: BTreeMap<&'static str, Ledger>,
    kept: Cell<u32>,
}

/// How many runs of a scenario that found something leave their files.
const KEPT_MAX: u32 = 8;

impl Prepared {
    pub(crate) fn new(scenario: &'static Scenario, place: &Path) -> anyhow::Result<Self> {
        let place = place.join(scenario.name);
        // Where every run will be: plugins remember where their files are.
        fs::create_dir_all(place.join("run"))?;
        (scenario.prepare)(&place.join("run")).with_context(|| format!("preparing `{}`", scenario.name))?;
        fs::rename(place.join("run"), place.join("base"))?;
        // Of a copy, because looking at a store that was not closed recovers it.
        let look = place.join("look");
        copy(&place.join("base"), &look)?;
        let mut ledgers = BTreeMap::new();
        for name in scenario.stores {
            let path = look.join(name);
            let mut ledger = Ledger::default();
            if path.exists() {
                let store = options(Role::Writer).open(&path)?;
                ledger = Ledger::of(State::of(&store.snapshot()?)?);
                ledger.epoch = store.epoch().map_or(0, cohab::Epoch::get) - 1;
            }
            ledger.is_shared = scenario.shared.contains(name);
            if let Some(state) = ledger.certain.as_mut().filter(|_| ledger.is_shared) {
                // What plugins write.
                state.content.remove("seen");
            }
            ledger.is_replica = scenario.replicas.contains(name);
            ledgers.insert(*name, ledger);
        }
        fs::remove_dir_all(&look)?;
        let prepared = Self { scenario, place, ledgers, kept: Cell::new(0) };
        // Some things are opened once in a process.
        prepared.run(&[], 0, false)?;
        Ok(prepared)
    }

    /// Runs the scenario once.
    pub(crate) fn run(&self, points: &[Point], seed: u64, keep: bool) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let root = self.place.join("run");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        copy(&self.place.join("base"), &root)?;
        let open_before = descriptors()?;
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let injector = Arc::new(Injector::new(&root, points, seed));
        let mut session = Session::new(&root, self.ledgers.clone());
        let watched = seam::watch(injector.clone());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let ended = (self.scenario.run)(&mut session);
            self.aftermath(&mut session, &ended, points, &injector)
        }));
        let (error, is_poisoned) = ended.unwrap_or_else(|_| {
            session.find("panicked");
            (None, false)
        });
        injector.mend();
        session.at("closing");
        session.handles.clear();
        drop(watched);
        if let Err(error) = self.check(&mut session, &injector, points) {
            session.find(format!("{} ({:?})", chain(&error), error.kind()));
        }
        check_descriptors(&mut session, &open_before)?;
        for panic in PANICS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            session.findings.push(panic);
        }
        let hits = injector.hits();
        let mut outcome = Outcome {
            is_met: injector.is_met(),
            calls: injector.seen(),
            error,
            is_poisoned,
            hit: hits.first().map(show).unwrap_or_default(),
            findings: session.findings,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            kept: None,
        };
        // A few are enough to look at.
        if keep && !outcome.findings.is_empty() && self.kept.get() < KEPT_MAX {
            self.kept.set(self.kept.get() + 1);
            let points: Vec<String> = points.iter().map(ToString::to_string).collect();
            let kept = self.place.join(format!("kept-{}", points.join("-")));
            let _ = fs::remove_dir_all(&kept);
            fs::rename(&root, &kept)?;
            outcome.kept = Some(kept);
        }
        Ok(outcome)
    }

    /// Looks at what the scenario has left open: its error, and what each handle says about itself.
    fn aftermath(
        &self,
        session: &mut Session,
        ended: &Result<()>,
        points: &[Point],
        injector: &Injector,
    ) -> (Option<String>, bool) {
        let hits = injector.hits();
        let mut is_poisoned = false;
        if let Err(error) = ended {
            judge(session, error, &hits, points, self.scenario.kinds);
            is_poisoned = session.handles.iter().any(|(_, store)| store.is_poisoned());
            // On a disk that stays full reading goes on.
            if points.iter().all(|point| point.fault.spares_reads()) {
                for (name, store) in session.handles.clone() {
                    // Nobody is shown what no writer has said to be durable and the disk does not make so.
                    let is_undurable = |error: &Error| {
                        store.role() != Role::Writer
                            && error.kind() == Kind::Io
                            && chain(error).starts_with("syncing ")
                    };
                    if let Err(error) = read(session, name, &store)
                        && error.kind() != Kind::Poisoned
                        && !is_undurable(&error)
                    {
                        session.find(format!("reading fails on a full disk: {}", chain(&error)));
                    }
                }
            }
        } else {
            for (name, ledger) in &session.ledgers {
                if ledger.maybe.is_some() {
                    session.findings.push(format!("`{name}` is in doubt although nothing failed"));
                }
            }
        }
        // The faults of a pair may meet what comes now as well.
        if points.len() < 2 {
            injector.mend();
        }
        for (name, store) in session.handles.clone() {
            if let Err(error) = use_again(session, name, &store) {
                if points.len() < 2 || injector.hits().is_empty() {
                    session.find(format!(
                        "the handle is of no more use: {} ({:?})",
                        chain(&error),
                        error.kind()
                    ));
                } else {
                    judge(session, &error, &injector.hits(), points, self.scenario.kinds);
                    injector.mend();
                    if let Err(error) = use_again(session, name, &store) {
                        session.find(format!(
                            "the handle cannot be mended: {} ({:?})",
                            chain(&error),
                            error.kind()
                        ));
                    }
                }
            }
        }
        (ended.as_ref().err().map(|error| error.kind().as_str().to_owned()), is_poisoned)
    }

    /// Opens everything anew, as another process would, without faults.
    fn check(&self, session: &mut Session, injector: &Injector, points: &[Point]) -> Result<()> {
        for name in self.scenario.stores {
            let path = session.path(name);
            let is_acknowledged = session.ledger(name).certain.is_some();
            if !is_acknowledged && !path.join("store.json").exists() {
                // Its creation was interrupted; who tries again finishes it.
                session.at("finishing the creation");
                if self.scenario.copies.contains(name) {
                    continue;
                }
            }
            let ledger = session.ledger(name);
            if ledger.certain.is_none() && ledger.maybe.is_none() {
                // Nobody has written to it, so that it is empty if it is there.
                ledger.certain = Some(State::default());
            }
            if (is_acknowledged || path.join("store.json").exists())
                && points.first().is_some_and(|point| point.k.is_multiple_of(2))
            {
                Self::check_reader(session, name)?;
            }
            Self::check_writer(session, name)?;
            Self::check_reader(session, name)?;
        }
        session.at("afterwards");
        (self.scenario.check)(session)?;
        session.at("afterwards");
        let root = session.path("");
        check_left(session, &root, injector).map_err(Error::abort)
    }

    fn check_reader(session: &mut Session, name: &'static str) -> Result<()> {
        session.at("reading anew");
        let store = options(Role::Reader).open(session.path(name))?;
        let snapshot = store.snapshot()?;
        session.verifies(name, &snapshot)?;
        if session.ledger(name).is_replica {
            return Ok(());
        }
        let found = session.sees(name, &snapshot)?;
        if session.ledger(name).allows(&found) {
            session.ledger(name).settle(found);
        }
        Ok(())
    }

    fn check_writer(session: &mut Session, name: &'static str) -> Result<()> {
        session.at("writing anew");
        let store = options(Role::Writer).open(session.path(name))?;
        session.note_epoch(name, &store);
        let snapshot = store.snapshot()?;
        session.verifies(name, &snapshot)?;
        if session.ledger(name).is_replica {
            return Ok(());
        }
        let found = session.sees(name, &snapshot)?;
        if session.ledger(name).allows(&found) {
            session.ledger(name).settle(found);
        }
        drop(snapshot);
        session.puts(name, &store, "writing anew", "probe", &[("anew", b"y")])?;
        session.at("locking anew");
        let locks: Vec<String> = session.ledger(name).tokens.keys().cloned().collect();
        for lock in locks {
            let held = store.lock(&lock, LockMode::Exclusive, Wait::Try)?;
            session.note_token(name, &lock, held.token());
        }
        Ok(())
    }
}

/// Uses a handle that may have met a fault, now that there are none.
fn use_again(session: &mut Session, name: &'static str, store: &Store) -> Result<()> {
    session.at("using the handle again");
    if store.role() != Role::Writer {
        return session.reads(name, store).map(drop);
    }
    if store.is_poisoned() {
        match store.write(|tx| tx.put("probe", "refused", "x")) {
            Err(error) if error.kind() == Kind::Poisoned => {}
            other => session.find(format!("a poisoned handle answers a write with {:?}", other.map(|_| ()))),
        }
        // Nothing is shown that was never acknowledged.
        match store.snapshot().and_then(|snapshot| State::of(&snapshot)) {
            Ok(found) => {
                if !session.ledger(name).is_certain(&found) {
                    let expected = session.ledger(name).expected();
                    session.find(format!(
                        "a poisoned handle shows {}, and should be at {expected}",
                        found.brief()
                    ));
                }
            }
            Err(error) if error.kind() == Kind::Poisoned => {}
            Err(error) => return Err(error),
        }
        session.at("reopening");
        session.ledger(name).told = Some(store.reopen()?);
    }
    if let Some(version) = session.ledger(name).told {
        let snapshot = store.snapshot()?;
        let found = session.sees(name, &snapshot)?;
        // Others commit meanwhile, where there are any.
        let is_later = found.version > version.get() && session.ledger(name).is_shared;
        if found.version != version.get() && !is_later {
            session.find(format!("reopening says version {version}, and there is version {}", found.version));
        }
        session.ledger(name).settle(found);
    } else if session.ledger(name).maybe.is_some() {
        session.find("a commit's outcome is unknown, and the handle is not poisoned");
    }
    if store.snapshot()?.upstream().is_some() {
        let snapshot = store.snapshot()?;
        return session.verifies(name, &snapshot);
    }
    session.puts(name, store, "using the handle again", "probe", &[("again", b"x")])?;
    read(session, name, store)
}

fn read(session: &mut Session, name: &'static str, store: &Store) -> Result<()> {
    let snapshot = store.snapshot()?;
    session.sees(name, &snapshot)?;
    session.verifies(name, &snapshot)
}

/// Checks that an error says what happened, and that it may happen.
fn judge(session: &mut Session, error: &Error, hits: &[Hit], points: &[Point], kinds: &[Kind]) {
    let text = chain(error);
    if hits.is_empty() {
        session.find(format!("fails without a fault: {text} ({:?})", error.kind()));
        return;
    }
    if points.iter().all(|point| point.fault.is_invisible()) {
        session.find(format!("is not tried again: {text} ({:?})", error.kind()));
        return;
    }
    let known = [Kind::Io, Kind::CommitUnknown, Kind::Poisoned, Kind::NeedsRecovery];
    if !known.contains(&error.kind()) && !kinds.contains(&error.kind()) {
        session.find(format!("reports a fault as {:?}: {text}", error.kind()));
    }
    let is_told = points
        .iter()
        .filter_map(|point| point.fault.errno())
        .any(|errno| text.contains(&std::io::Error::from_raw_os_error(errno).to_string()));
    // Others stand for themselves.
    if !matches!(error.kind(), Kind::Io | Kind::CommitUnknown | Kind::NeedsRecovery | Kind::Plugin) {
        return;
    }
    if !is_told {
        session.find(format!("does not say what the system said: {text} ({:?})", error.kind()));
    }
    let root = session.path("").display().to_string();
    // The store's file is one, and a plugin's go by their names.
    let files = [root.trim_end_matches('/'), "the store's file", "main.rhai", "plugin.toml"];
    if !files.iter().any(|file| text.contains(file)) {
        session.find(format!("does not say which file: {text} ({:?})", error.kind()));
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn show(hit: &Hit) -> String {
    format!("{} of {} on {}", hit.call, hit.path.display(), hit.thread)
}

/// Checks that no unfinished work is left, but what could not be removed.
fn check_left(session: &mut Session, dir: &Path, injector: &Injector) -> std::io::Result<()> {
    let kept = injector.kept();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let is_unfinished = entry.file_name().as_encoded_bytes().starts_with(b".cohab-")
            || path.extension().is_some_and(|extension| extension == "new");
        if is_unfinished && !kept.iter().any(|kept| kept.starts_with(&path) || path.starts_with(kept)) {
            let below = path.strip_prefix(session.path("")).unwrap_or(&path).display().to_string();
            session.find(format!("{} is left behind", anonymous(&below)));
        }
        if entry.file_type()?.is_dir() {
            check_left(session, &path, injector)?;
        }
    }
    Ok(())
}

/// A name without what is made up anew each time.
fn anonymous(path: &str) -> String {
    path.find(".cohab-").map_or_else(|| path.to_owned(), |at| format!("{}.cohab-…", &path[..at]))
}

fn descriptors() -> std::io::Result<Vec<PathBuf>> {
    let mut open = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        if let Ok(path) = fs::read_link(entry?.path()) {
            open.push(path);
        }
    }
    open.sort();
    Ok(open)
}

/// Checks that everything that was opened was closed, by threads that have a moment to end as well.
fn check_descriptors(session: &mut Session, before: &[PathBuf]) -> std::io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let now = descriptors()?;
        if now.len() <= before.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let mut known = before.to_vec();
            let mut left = Vec::new();
            for path in now {
                match known.iter().position(|known| *known == path) {
                    Some(at) => drop(known.swap_remove(at)),
                    None => left.push(path.display().to_string()),
                }
            }
            session.find(format!("descriptors are left open: {}", left.join(", ")));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Panics that were met, in any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes panics from now on, in place of printing them.
pub(crate) fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let trace = seam::aside(|| std::backtrace::Backtrace::force_capture().to_string());
        let is_caught = trace.contains("guarded");
        let how = if is_caught { "panics, and is caught" } else { "panics" };
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let place = place.rsplit_once("/src/").map_or(place.clone(), |(_, place)| place.to_owned());
        let said = panic.payload_as_str().unwrap_or_default();
        let note = format!("thread {thread} {how} at {place}: {said}");
        if std::env::var_os("COHAB_TRACE").is_some() {
            eprintln!("{note}\n{trace}");
        }
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }));
}

/// Copies a directory with everything in it, modes included.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
