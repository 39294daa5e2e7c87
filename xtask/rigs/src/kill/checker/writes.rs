//! Versions have no gaps, and what was acknowledged is there.

use std::collections::{HashMap, HashSet};

use super::{Checked, Invocation, Outcome};
use crate::kill::keys::Op;
use crate::kill::truth::Truth;

/// Whether versions count from one, each once.
pub(super) fn check_versions(truth: &Truth, checked: &mut Checked) -> bool {
    for (expected, commit) in (1..).zip(&truth.commits) {
        if commit.version != expected {
            checked.violation(|| format!("version {} is where version {expected} should be", commit.version));
            return false;
        }
    }
    true
}

/// What was acknowledged is there, at its version and as it was asked for; what was not is there whole or not at all; what
/// was refused is not there; and what was asked for after another was acknowledged comes after it.
pub(super) fn check_writes(truth: &Truth, invocations: &HashMap<Op, Invocation>, checked: &mut Checked) {
    for (op, invocation) in invocations {
        let Outcome::Acknowledged(_, version) = invocation.outcome else { continue };
        checked.acknowledged += 1;
        let index = usize::try_from(version).ok().and_then(|version| version.checked_sub(1));
        let there = index.and_then(|index| truth.commits.get(index)).and_then(|commit| commit.op);
        if there != Some(*op) {
            checked.violation(|| format!("{op:?} was acknowledged at version {version}, which is {there:?}"));
        }
    }
    let mut made = HashSet::new();
    let mut acknowledged_later = u64::MAX;
    for commit in truth.commits.iter().rev() {
        let Some(op) = commit.op else { continue };
        let version = commit.version;
        if !made.insert(op) {
            checked.violation(|| format!("{op:?} was committed more than once, also at version {version}"));
        }
        let Some(invocation) = invocations.get(&op) else {
            checked.violation(|| format!("version {version} is of {op:?}, which nobody has asked for"));
            continue;
        };
        let asked = (invocation.puts, invocation.deletes, invocation.appends);
        // Removing what is not there changes nothing.
        let is_whole = commit.puts == asked.0 && commit.deletes & !asked.1 == 0 && commit.appends == asked.2;
        if !is_whole {
            let did = (commit.puts, commit.deletes, commit.appends);
            checked.violation(|| format!("version {version} did {did:x?}, and {op:?} is {asked:x?}"));
        }
        if acknowledged_later < invocation.time {
            checked
                .violation(|| format!("version {version} was asked for when a later one was acknowledged"));
        }
        match invocation.outcome {
            Outcome::Acknowledged(time, _) => acknowledged_later = acknowledged_later.min(time),
            Outcome::Refused => {
                checked.violation(|| format!("{op:?} was refused, and is version {version}"));
            }
            Outcome::Open => checked.unacknowledged += 1,
        }
    }
}
