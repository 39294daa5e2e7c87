//! Who takes over.

use std::time::{Duration, Instant};

use cohab::{Error, Kind, Result, Role, Store};

use super::{MAIN, Scenario, crashed, some};
use crate::faults::session::{Session, options};

const WAIT: Duration = Duration::from_secs(5);

/// A stand-by that finds nothing but what a writer left that was killed.
pub(super) const CRASHED_WRITER: Scenario = Scenario {
    kinds: &[Kind::TimedOut],
    ..Scenario::new("succeed-crashed", crashed, |session| {
        session.at("open as a stand-by");
        let standby = options(Role::Standby).open(session.path(MAIN))?;
        session.handles.push((MAIN, standby.clone()));
        session.at("become the writer");
        standby.promote(WAIT)?;
        session.note_epoch(MAIN, &standby);
        session.puts(MAIN, &standby, "write", "a", &[("k", b"v")])
    })
};

/// A stand-by takes over by itself from a writer that ends.
pub(super) const CLOSED_WRITER: Scenario = Scenario {
    // It stands by for as long as it cannot write.
    kinds: &[Kind::Busy],
    ..Scenario::new("succeed-closed", some, |session| {
        let store = session.writer(MAIN)?;
        session.at("open as a stand-by");
        let standby = options(Role::Auto).open(session.path(MAIN))?;
        session.handles.push((MAIN, standby.clone()));
        session.puts(MAIN, &store, "write", "a", &[("k", b"1")])?;
        session.at("close the writer");
        let instance = store.instance();
        drop(store);
        session.handles.retain(|(_, handle)| handle.instance() != instance);
        session.at("become the writer");
        becomes_writer(session, &standby);
        session.puts(MAIN, &standby, "write as the successor", "a", &[("k", b"2")])
    })
};

/// Waits until a stand-by is the writer, which no fault that passes may keep it from.
fn becomes_writer(session: &mut Session, standby: &Store) {
    let deadline = Instant::now() + WAIT;
    while standby.role() != Role::Writer && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    if standby.role() == Role::Writer {
        session.note_epoch(MAIN, standby);
    }
}

/// A stand-by asks the writer to hand over.
pub(super) const PROMOTE: Scenario = Scenario {
    kinds: &[Kind::Busy, Kind::TimedOut],
    ..Scenario::new("promote", some, |session| {
        let store = session.writer_with(MAIN, options(Role::Auto))?;
        session.at("open as a stand-by");
        let standby = options(Role::Standby).open(session.path(MAIN))?;
        session.handles.push((MAIN, standby.clone()));
        session.puts(MAIN, &store, "write", "a", &[("k", b"1")])?;
        session.at("become the writer");
        standby.promote(WAIT)?;
        session.note_epoch(MAIN, &standby);
        session.puts(MAIN, &standby, "write as the successor", "a", &[("k", b"2")])?;
        session.at("write as the one that stepped down");
        refused(session, store.write(|tx| tx.put("a", "k", "3")).map(|_| ()));
        let snapshot = session.fresh(MAIN, &store)?;
        session.sees(MAIN, &snapshot).map(drop)
    })
};

fn refused(session: &mut Session, outcome: Result<(), Error>) {
    match outcome {
        Err(error) if matches!(error.kind(), Kind::Busy | Kind::ReadOnly) => {}
        other => session.find(format!("a writer that stepped down answers {other:?}")),
    }
}
