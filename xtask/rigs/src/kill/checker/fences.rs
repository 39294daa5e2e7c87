//! One writer an epoch, one holder a token, each larger than all before.

use std::collections::HashMap;

use super::{Checked, Invocation, Outcome};
use crate::kill::history::{Event, History, Time};
use crate::kill::keys::{LOCKS, Op};
use crate::kill::truth::Truth;

/// Epochs grow with versions and are one process's each; whoever was overtaken commits nothing more; and nobody is, unless
/// the locks were made to lie.
pub(super) fn check_epochs(
    histories: &[History],
    truth: &Truth,
    invocations: &HashMap<Op, Invocation>,
    checked: &mut Checked,
) {
    // Whose each epoch is, by what processes say, and then by what they have committed.
    let mut owners: HashMap<u64, u32> = HashMap::new();
    // From when on which epochs are over.
    let mut begun: Vec<(Time, u64)> = Vec::new();
    for history in histories {
        for record in &history.records {
            match record.event {
                Event::Promoted { epoch } => {
                    checked.take_overs += 1;
                    begun.push((record.time, epoch));
                    // One that becomes the writer while it is opened may be told so twice.
                    let other = owners.insert(epoch, history.process);
                    if let Some(other) = other.filter(|other| *other != history.process) {
                        checked.violation(|| {
                            format!("epoch {epoch} is of processes {other} and {}", history.process)
                        });
                    }
                }
                Event::Overtaken { epoch } => {
                    begun.push((record.time, epoch));
                    checked.overtaken += 1;
                    if let Some(other) = owners.insert(epoch, history.process) {
                        checked.violation(|| format!("epoch {epoch} was taken, and is of process {other}"));
                    }
                }
                _ => {}
            }
        }
    }
    let mut last = 0;
    for commit in &truth.commits {
        let (version, epoch) = (commit.version, commit.epoch);
        if epoch < last {
            checked.violation(|| format!("version {version} is of epoch {epoch}, after epoch {last}"));
        }
        if epoch > last {
            checked.epochs += 1;
            last = epoch;
        }
        let Some(op) = commit.op else { continue };
        let owner = *owners.entry(epoch).or_insert(op.process());
        if owner != op.process() {
            checked.violation(|| {
                format!("version {version} of epoch {epoch} is of {op:?}, not of process {owner}")
            });
        }
    }
    begun.sort_unstable();
    let mut highest = 0;
    for (_, epoch) in &mut begun {
        highest = highest.max(*epoch);
        *epoch = highest;
    }
    for commit in &truth.commits {
        let Some(invocation) = commit.op.and_then(|op| invocations.get(&op)) else { continue };
        let later = begun.partition_point(|(time, _)| *time < invocation.time);
        let current = later.checked_sub(1).map_or(0, |last| begun[last].1);
        if commit.epoch < current {
            let (version, epoch) = (commit.version, commit.epoch);
            let how = if matches!(invocation.outcome, Outcome::Acknowledged(..)) {
                ", and acknowledged"
            } else {
                ""
            };
            checked.violation(|| {
                format!(
                    "version {version} was committed in epoch {epoch}{how}, after epoch {current} had begun"
                )
            });
        }
    }
    for history in histories {
        let is = |wanted: fn(&Event) -> bool| history.records.iter().position(|record| wanted(&record.event));
        let fenced = is(|event| matches!(event, Event::Fenced));
        let overtaken = is(|event| matches!(event, Event::Overtaken { .. }));
        if fenced.is_some_and(|fenced| overtaken.is_none_or(|overtaken| fenced < overtaken)) {
            checked
                .violation(|| format!("process {} was robbed of its role while it lived", history.process));
        }
    }
}

struct Hold {
    lock: u8,
    token: u64,
    /// When it was given at the latest, and when it was held at least until.
    from: Time,
    until: Time,
    process: u32,
}

/// Tokens grow from holder to holder, holders do not overlap, and what is written behind a lock shows tokens that grow.
pub(super) fn check_locks(
    histories: &[History],
    truth: &Truth,
    invocations: &HashMap<Op, Invocation>,
    checked: &mut Checked,
) {
    let mut holds = Vec::new();
    for history in histories {
        let mut held: HashMap<(u8, u64), usize> = HashMap::new();
        for record in &history.records {
            match record.event {
                Event::Locked { lock, token, .. } => {
                    held.insert((lock, token), holds.len());
                    let (from, until) = (record.time, record.time);
                    holds.push(Hold { lock, token, from, until, process: history.process });
                }
                Event::Unlocking { lock, token } => {
                    if let Some(hold) = held.remove(&(lock, token)) {
                        holds[hold].until = record.time;
                    }
                }
                _ => {}
            }
        }
    }
    checked.locks += holds.len() as u64;
    holds.sort_by_key(|hold| (hold.lock, hold.token, hold.from));
    for pair in holds.windows(2) {
        let [before, after] = pair else { continue };
        if before.lock != after.lock {
            continue;
        }
        let (lock, token) = (usize::from(after.lock), after.token);
        let who = (before.process, after.process);
        if before.token == token {
            checked.violation(|| format!("token {token} of `{}` was given twice, to {who:?}", LOCKS[lock]));
        } else if after.from < before.until {
            let earlier = before.token;
            checked.violation(|| {
                format!(
                    "token {token} of `{}` was given before {earlier} was, or while it was held: {who:?}",
                    LOCKS[lock]
                )
            });
        }
    }
    let mut shown = [0; LOCKS.len()];
    for commit in &truth.commits {
        let fence = commit.op.and_then(|op| invocations.get(&op)).and_then(|it| it.fence);
        let Some((lock, token)) = fence else { continue };
        checked.fenced_commits += 1;
        let shown = &mut shown[usize::from(lock)];
        if token < *shown {
            checked.violation(|| format!("version {} shows token {token} after {shown}", commit.version));
        }
        *shown = token.max(*shown);
    }
}
