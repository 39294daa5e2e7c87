//! Whether what the processes have seen is what the store promises.
//!
//! A pure function of the histories and of what was committed in the end. Each promise is one function; every one goes
//! once through what it looks at, with a binary search for each place in time or in a key's history at the most.

mod effects;
mod fences;
mod reads;
mod timeline;
mod writes;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use self::timeline::Timeline;
use super::history::{Event, History, Time};
use super::keys::Op;
use super::truth::Truth;

/// How many violations are told of; the first ones say enough.
const TOLD_MAX: usize = 40;

/// What was checked, and what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) violations: Vec<String>,
    pub(crate) versions: u64,
    pub(crate) reads: u64,
    pub(crate) snapshots: u64,
    pub(crate) acknowledged: u64,
    /// Commits that nobody was told of, and that are there all the same.
    pub(crate) unacknowledged: u64,
    pub(crate) epochs: u64,
    pub(crate) take_overs: u64,
    pub(crate) tokens_honoured: u64,
    pub(crate) tokens_timed_out: u64,
    pub(crate) locks: u64,
    pub(crate) fenced_commits: u64,
    pub(crate) stale_refused: u64,
    pub(crate) overtaken: u64,
    pub(crate) watched: u64,
    pub(crate) followed: u64,
    pub(crate) effects: u64,
    pub(crate) stalled: u64,
}

impl Checked {
    /// Adds the numbers of another one.
    pub(crate) fn add(&mut self, other: &Self) {
        self.versions += other.versions;
        self.reads += other.reads;
        self.snapshots += other.snapshots;
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.epochs += other.epochs;
        self.take_overs += other.take_overs;
        self.tokens_honoured += other.tokens_honoured;
        self.tokens_timed_out += other.tokens_timed_out;
        self.locks += other.locks;
        self.fenced_commits += other.fenced_commits;
        self.stale_refused += other.stale_refused;
        self.overtaken += other.overtaken;
        self.watched += other.watched;
        self.followed += other.followed;
        self.effects += other.effects;
        self.stalled += other.stalled;
    }

    fn violation(&mut self, what: impl FnOnce() -> String) {
        match self.violations.len() {
            TOLD_MAX.. => {}
            _ => self.violations.push(what()),
        }
    }
}

/// A commit as the process knows it that asked for it.
#[derive(Clone, Copy, Debug)]
struct Invocation {
    time: Time,
    puts: u64,
    deletes: u64,
    appends: u8,
    fence: Option<(u8, u64)>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// Killed, or told that it cannot be told.
    Open,
    Refused,
    Acknowledged(Time, u64),
}

/// Compares what the processes have seen with what was committed.
pub(crate) fn check(histories: &[History], truth: &Truth) -> Checked {
    let mut checked = Checked { versions: truth.commits.len() as u64, ..Checked::default() };
    checked.violations.extend(truth.violations.iter().take(TOLD_MAX).cloned());
    let invocations = invocations(histories, &mut checked);
    // Everything else counts on versions that have no gaps.
    if !writes::check_versions(truth, &mut checked) {
        return checked;
    }
    let timeline = Timeline::new(truth, &invocations);
    writes::check_writes(truth, &invocations, &mut checked);
    fences::check_epochs(histories, truth, &invocations, &mut checked);
    fences::check_locks(histories, truth, &invocations, &mut checked);
    for history in histories {
        reads::check_reads(history, truth, &timeline, &mut checked);
        reads::check_watches(history, truth, &mut checked);
    }
    reads::check_followers(histories, truth, &timeline, &mut checked);
    effects::check_effects(truth, &mut checked);
    checked
}

/// Collects what was asked for, and what each process has said itself.
fn invocations(histories: &[History], checked: &mut Checked) -> HashMap<Op, Invocation> {
    let mut invocations: HashMap<Op, Invocation> = HashMap::new();
    for history in histories {
        for record in &history.records {
            let outcome = match &record.event {
                Event::Invoked { op, puts, deletes, fence, appends } => {
                    let invocation = Invocation {
                        time: record.time,
                        puts: *puts,
                        deletes: *deletes,
                        appends: *appends,
                        fence: *fence,
                        outcome: Outcome::Open,
                    };
                    if invocations.insert(Op(*op), invocation).is_some() {
                        checked.violation(|| format!("the rig is wrong: operation {op:x} is two"));
                    }
                    continue;
                }
                Event::Acknowledged { op, version } => (op, Outcome::Acknowledged(record.time, *version)),
                Event::Refused { op } => (op, Outcome::Refused),
                Event::Broken(what) => {
                    checked.violation(|| format!("process {}: {what}", history.process));
                    continue;
                }
                Event::StaleRefused => {
                    checked.stale_refused += 1;
                    continue;
                }
                Event::Stalled => {
                    checked.stalled += 1;
                    continue;
                }
                _ => continue,
            };
            match invocations.get_mut(&Op(*outcome.0)) {
                Some(invocation) => invocation.outcome = outcome.1,
                None => checked
                    .violation(|| format!("the rig is wrong: operation {:x} was never asked for", outcome.0)),
            }
        }
    }
    invocations
}
