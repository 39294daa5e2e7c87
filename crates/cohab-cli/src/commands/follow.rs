//! `cohab follow`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use cohab::{Applied, Followed, Follower, Kind, Options, Token, Version};
use serde_json::{Value, json};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::report;
use crate::session::Session;
use crate::terminal::{Record, is_output_closed};

/// Keep a replica of a store in step with it, until interrupted
///
/// The replica is made, as a copy, if it is not there. It can be read like any store meanwhile, and takes no other writes until
/// `cohab promote` makes it independent. The source's log is kept for it, within bounds; if it was away for too long, the whole
/// store is compared. Neither side minds if this, or the other one, is killed.
///
/// Prints one JSON object a line, whatever the form of output: {"event":"open","source","replica","version"} first; {"event":
/// "image","because",…} when the whole store was gone through, {"event":"delta","from",…} when what had changed was applied, with
/// the "version" of the source that the replica has from then on and the number of "changes"; {"event":"current","version"} when
/// there is nothing more; and {"event":"error","error"}, after which it tries again, or ends if that is of no use: with exit code
/// 8 if somebody has written to the replica, or the source's history is another one.
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The store to follow
    source: PathBuf,
    /// The directory of the replica
    #[arg(value_name = "DEST")]
    replica: PathBuf,
    /// End as soon as the replica has what the source has
    #[arg(long)]
    once: bool,
}

/// How often to see whether the command is to end.
const TICK: Duration = Duration::from_millis(100);

/// How long to leave things alone after a failure.
const PAUSE: Duration = Duration::from_secs(1);

impl Follow {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let is_over = Arc::new(AtomicBool::new(false));
        let is_open = Arc::new(AtomicBool::new(false));
        let (ending, opened) = (is_over.clone(), is_open.clone());
        interrupt::listen(&[Signal::Terminate], move |_| {
            ending.store(true, Ordering::Relaxed);
            if opened.load(Ordering::Relaxed) { Then::End } else { Then::AsUsual }
        });
        let is_new = self.replica.join("store.json").symlink_metadata().is_err();
        let mut follower = self.open(session)?;
        is_open.store(true, Ordering::Relaxed);
        say(session, &opening(&follower)?)?;
        if is_new && let Some(version) = version(&follower)? {
            let record = Record::new().with("event", "image").with("because", "there was no replica");
            say(session, &record.with("version", version))?;
        }
        let (mut current, mut failed) = (None, String::new());
        while !is_over.load(Ordering::Relaxed) {
            match follower.catch_up() {
                Ok(Followed::Current(token)) => {
                    failed.clear();
                    if current != Some(token) {
                        say(session, &Record::new().with("event", "current").with("version", token.version))?;
                        current = Some(token);
                    }
                    if self.once {
                        return Ok(Exit::Done);
                    }
                    wait(&follower, &is_over)?;
                }
                Ok(Followed::Delta { from, applied }) => {
                    let record = Record::new().with("event", "delta").with("from", from);
                    say(session, &with_applied(record, applied))?;
                }
                Ok(Followed::Whole { because, applied }) => {
                    let record = Record::new().with("event", "image").with("because", because);
                    say(session, &with_applied(record, applied))?;
                }
                Ok(other) => return Err(Failure::defect(format!("no such step is known: {other:?}"))),
                Err(error) => {
                    let may_pass = may_pass(error.kind());
                    let failure = Failure::from(error);
                    let summary = failure.summary();
                    if failed != summary {
                        let error = report::brief(&failure);
                        say(session, &Record::new().with("event", "error").with("error", error))?;
                        failed = summary;
                    }
                    if !may_pass || self.once {
                        return Err(failure);
                    }
                    pause(&is_over);
                }
            }
        }
        interrupt::check()?;
        Ok(Exit::Done)
    }

    fn open(&self, session: &Session) -> Result<Follower, Failure> {
        let progress = session.progress("copying", None);
        let options = || -> Options {
            session.options().app("cohab").app_version(env!("CARGO_PKG_VERSION")).label("follow")
        };
        let opened = Follower::open_with(&self.source, options(), &self.replica, options(), |done| {
            progress.of(done.total);
            progress.set(done.bytes);
            interrupt::check_in_callback();
        });
        Ok(opened?)
    }
}

/// Waits for something new, or for the end.
fn wait(follower: &Follower, is_over: &AtomicBool) -> Result<(), Failure> {
    while !is_over.load(Ordering::Relaxed) {
        match follower.wait(TICK) {
            Ok(false) if is_output_closed() => is_over.store(true, Ordering::Relaxed),
            Ok(false) => {}
            Ok(true) => return Ok(()),
            // What that means for the replica, the next step tells.
            Err(error) if may_pass(error.kind()) => {
                pause(is_over);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether what failed may go well another time.
fn may_pass(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Io
            | Kind::Busy
            | Kind::InUse
            | Kind::Stalled
            | Kind::TimedOut
            | Kind::CommitUnknown
            | Kind::Poisoned
            | Kind::SnapshotExpired
    )
}

fn pause(is_over: &AtomicBool) {
    let ticks = PAUSE.as_millis() / TICK.as_millis();
    for _ in 0..ticks {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(TICK);
    }
}

/// Prints an event at once: whoever reads a pipe waits for it.
fn say(session: &mut Session, record: &Record<'_>) -> Result<(), Failure> {
    session.out.line(record)?;
    session.out.flush()
}

/// The version of the source that the replica has.
fn version(follower: &Follower) -> Result<Option<Version>, Failure> {
    let snapshot = follower.replica().snapshot()?;
    Ok(snapshot.upstream().map(|upstream| upstream.version))
}

fn opening(follower: &Follower) -> Result<Record<'static>, Failure> {
    let side = |store: &cohab::Store| -> Value {
        json!({ "store": store.id().to_string(), "path": store.path().to_string_lossy() })
    };
    Ok(Record::new()
        .with("event", "open")
        .with("source", side(follower.source()))
        .with("replica", side(follower.replica()))
        .with("instance", follower.replica().instance().to_string())
        .with("version", version(follower)?))
}

fn with_applied(record: Record<'static>, applied: Applied) -> Record<'static> {
    let Token { version, .. } = applied.upstream;
    record.with("version", version).with("replica_version", applied.version).with("changes", applied.changes)
}
