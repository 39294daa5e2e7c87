//! A read shows a version as it was, one that is new enough, and never one older than the last.

use std::collections::HashMap;

use super::Checked;
use super::timeline::Timeline;
use crate::kill::history::{Asked, Event, History, Record, Time};
use crate::kill::keys::{Key, Op};
use crate::kill::truth::Truth;

/// Checks the reads of a process, thread by thread.
pub(super) fn check_reads(history: &History, truth: &Truth, timeline: &Timeline, checked: &mut Checked) {
    // The version that each thread has come to, at the least.
    let mut positions: HashMap<u8, u64> = HashMap::new();
    let newest = truth.commits.len() as u64;
    for record in &history.records {
        let reached = positions.entry(record.thread).or_default();
        let who = || format!("process {}, thread {}", history.process, record.thread);
        match &record.event {
            Event::Acknowledged { version, .. } => *reached = (*reached).max(*version),
            Event::Read { invoked, asked, version, values } => {
                checked.reads += values.len() as u64;
                checked.snapshots += 1;
                check_state(*version, values, timeline, record, checked, who);
                let told = timeline.acknowledged_before(*invoked);
                let least = match asked {
                    Asked::Any => continue,
                    Asked::Latest => told,
                    Asked::Token(token) => {
                        checked.tokens_honoured += 1;
                        *token
                    }
                };
                if *version < least {
                    checked.violation(|| {
                        format!("{}: {asked:?} is version {version}, older than {least}", who())
                    });
                }
                if *version < *reached {
                    checked.violation(|| format!("{}: version {version} after version {reached}", who()));
                }
                *reached = (*reached).max((*version).min(newest));
            }
            Event::Singles { invoked, reads } => {
                checked.reads += reads.len() as u64;
                for (after, key, held) in reads {
                    let least = timeline.acknowledged_before(*invoked + Time::from(*after)).max(*reached);
                    match timeline.first_with(usize::from(*key), *held, least) {
                        Some(version) if timeline.is_future(version, record.time) => {
                            let key = Key::new(usize::from(*key));
                            checked.violation(|| {
                                format!("{}: {key:?} held {held:x} before it was asked for", who())
                            });
                        }
                        Some(version) => *reached = version,
                        None => {
                            let key = Key::new(usize::from(*key));
                            checked.violation(|| {
                                format!(
                                    "{}: {key:?} held {held:x}, which it did not from version {least} on",
                                    who()
                                )
                            });
                        }
                    }
                }
            }
            Event::TimedOut { .. } => checked.tokens_timed_out += 1,
            _ => {}
        }
    }
}

/// Checks what was read of a version against what it was.
fn check_state(
    version: u64,
    values: &[u64],
    timeline: &Timeline,
    record: &Record,
    checked: &mut Checked,
    who: impl Fn() -> String,
) {
    if timeline.is_future(version, record.time) {
        checked.violation(|| {
            format!("{}: version {version} was read before it was asked for, or never was", who())
        });
        return;
    }
    let Some(state) = timeline.state(version).filter(|state| state[..] != *values) else { return };
    let Some(key) = state.iter().zip(values).position(|(is, read)| is != read) else {
        checked.violation(|| format!("the rig is wrong: {} has read {} keys", who(), values.len()));
        return;
    };
    let (is, read) = (state[key], values[key]);
    let key = Key::new(key);
    checked
        .violation(|| format!("{}: {key:?} of version {version} was read as {read:x}, and is {is:x}", who()));
}

/// A watch shows every version from where it begins, in order, once, and as it is.
pub(super) fn check_watches(history: &History, truth: &Truth, checked: &mut Checked) {
    let mut next = None;
    for record in &history.records {
        match &record.event {
            Event::Watching { from } => next = Some(*from),
            Event::Watched { version, op, puts, deletes } => {
                checked.watched += 1;
                let who = history.process;
                if next.replace(version + 1) != Some(*version) {
                    checked.violation(|| format!("process {who}: was shown version {version} out of order"));
                }
                let index = usize::try_from(*version).ok().and_then(|version| version.checked_sub(1));
                let commit = index.and_then(|index| truth.commits.get(index));
                let is_same = |it: &super::super::truth::Committed| {
                    (it.op.unwrap_or(Op::NONE).0, it.puts, it.deletes) == (*op, *puts, *deletes)
                };
                if !commit.is_some_and(is_same) {
                    checked
                        .violation(|| format!("process {who}: was shown {:?} as {commit:?}", record.event));
                }
            }
            _ => {}
        }
    }
}

/// A replica holds what its source held at the version where it says it is, and does not go back.
pub(super) fn check_followers(
    histories: &[History],
    truth: &Truth,
    timeline: &Timeline,
    checked: &mut Checked,
) {
    let mut positions = Vec::new();
    for history in histories {
        for record in &history.records {
            if let Event::Followed { version, digests, values } = &record.event {
                positions.push((record.time, *version, history.process, digests, values, record));
            }
        }
    }
    checked.followed += positions.len() as u64;
    // One follower after the other, so that time is the order of positions as well.
    positions.sort_by_key(|(time, version, ..)| (*time, *version));
    for pair in positions.windows(2) {
        let [(_, before, ..), (_, after, who, ..)] = pair else { continue };
        if after < before {
            checked.violation(|| {
                format!("process {who}: the replica went from version {before} back to {after}")
            });
        }
    }
    positions.sort_by_key(|(_, version, ..)| *version);
    let mut current: HashMap<u32, [u8; 16]> = HashMap::new();
    let mut commits = truth.commits.iter().peekable();
    for (_, version, who, digests, values, record) in positions {
        while let Some(commit) = commits.next_if(|commit| commit.version <= version) {
            current.extend(commit.digests.iter().copied());
        }
        let found: HashMap<u32, [u8; 16]> = digests.iter().copied().collect();
        // What never held anything has no digest in the log.
        let different = current.iter().find(|(id, digest)| found.get(id) != Some(digest));
        if let Some((id, _)) = different {
            checked.violation(|| {
                format!("process {who}: namespace #{id} of the replica at version {version} differs")
            });
        }
        checked.reads += values.len() as u64;
        check_state(version, values, timeline, record, checked, || format!("process {who}, in the replica"));
    }
}
