//! Which version was the last at a moment, and when each key held what.

use std::collections::HashMap;

use super::{Invocation, Outcome};
use crate::kill::history::Time;
use crate::kill::keys::{KEYS, Key, Op};
use crate::kill::truth::Truth;

/// What the versions are compared with that somebody has read.
pub(super) struct Timeline {
    /// The state of every version, the empty one first.
    states: Vec<[u64; KEYS]>,
    /// For each key, the versions that changed it and what they left there.
    changes: Vec<Vec<(u64, Op)>>,
    /// When commits were acknowledged, and the last version that was by then.
    acknowledged: Vec<(Time, u64)>,
    /// For each version, the earliest time at which it or a later one could be seen.
    begun: Vec<Time>,
}

impl Timeline {
    pub(super) fn new(truth: &Truth, invocations: &HashMap<Op, Invocation>) -> Self {
        let mut state = [0; KEYS];
        let mut states = vec![state];
        let mut changes = vec![vec![(0, Op::NONE)]; KEYS];
        let mut begun = vec![0];
        for commit in &truth.commits {
            for key in Key::all() {
                let after = match commit.op {
                    Some(op) if commit.puts & key.bit() != 0 => op,
                    _ if commit.deletes & key.bit() != 0 => Op::NONE,
                    _ => continue,
                };
                state[key.number()] = after.0;
                changes[key.number()].push((commit.version, after));
            }
            states.push(state);
            let invoked = commit.op.and_then(|op| invocations.get(&op)).map_or(0, |it| it.time);
            begun.push(invoked.max(begun[begun.len() - 1]));
        }
        let mut acknowledged: Vec<(Time, u64)> = invocations
            .values()
            .filter_map(|it| match it.outcome {
                Outcome::Acknowledged(time, version) => Some((time, version)),
                _ => None,
            })
            .collect();
        acknowledged.sort_unstable();
        let mut last = 0;
        for (_, version) in &mut acknowledged {
            last = last.max(*version);
            *version = last;
        }
        Self { states, changes, acknowledged, begun }
    }

    /// The last version that anybody was told of before a moment.
    pub(super) fn acknowledged_before(&self, time: Time) -> u64 {
        let later = self.acknowledged.partition_point(|(acknowledged, _)| *acknowledged < time);
        later.checked_sub(1).map_or(0, |last| self.acknowledged[last].1)
    }

    /// What the keys held at a version.
    pub(super) fn state(&self, version: u64) -> Option<&[u64; KEYS]> {
        self.states.get(usize::try_from(version).ok()?)
    }

    /// Whether nobody had asked for a version at a moment, nor for one before it that it follows.
    pub(super) fn is_future(&self, version: u64, time: Time) -> bool {
        usize::try_from(version)
            .ok()
            .and_then(|version| self.begun.get(version))
            .is_none_or(|begun| *begun > time)
    }

    /// The first version from `since` on at which a key held this.
    pub(super) fn first_with(&self, key: usize, held: u64, since: u64) -> Option<u64> {
        let changes = self.changes.get(key)?;
        let next = changes.partition_point(|(version, _)| *version <= since);
        let current = next.checked_sub(1)?;
        changes[current..].iter().find(|(_, op)| op.0 == held).map(|(version, _)| since.max(*version))
    }
}
