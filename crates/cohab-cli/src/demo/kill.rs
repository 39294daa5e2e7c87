//! Killing the writer.

use std::time::{Duration, Instant};

use cohab::{NamespaceView, Snapshot, Version};

use super::child::{Acknowledged, Writer};
use super::stage::{Stage, digests, ensure_unchanged};
use super::writer::{LARGE_KEYS, NAMESPACE, is_large, key, part_key};
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;

pub(super) const STEPS: &[Step] = &[Step {
    name: "kill",
    says: "kill -9 a writing process in the middle of its work, several times",
    run: kill,
}];

/// After how many acknowledged commits the writer is killed, each time.
const ROUNDS: &[usize] = &[7, 20, 33, 52, 74];

fn kill(stage: &mut Stage) -> Result<String, Failure> {
    let snapshot = stage.snapshot()?;
    let mut others = digests(&snapshot)?;
    let view = snapshot.namespace(NAMESPACE)?;
    others.remove(&view.id().get());
    let mut next = view.prefix("commit/")?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
    let (mut acknowledged, mut slowest) = (0, Duration::ZERO);
    let first = snapshot.version();
    drop(snapshot);
    for &commits in ROUNDS {
        interrupt::check()?;
        let mut writer = Writer::start(stage, next)?;
        let mut round = writer.acknowledgements(commits)?;
        round.extend(writer.kill()?);
        let begin = Instant::now();
        let store = stage.writer()?;
        slowest = slowest.max(begin.elapsed());
        next = check(&store.snapshot()?, &round)?;
        acknowledged += round.len() as u64;
    }
    let snapshot = stage.snapshot()?;
    let versions = ensure_no_gaps(&snapshot, first)?;
    let mut after = digests(&snapshot)?;
    after.remove(&snapshot.namespace(NAMESPACE)?.id().get());
    ensure_unchanged(&others, &after)?;
    let report = snapshot.verify(|_| interrupt::check_in_callback())?;
    ensure(report.is_sound(), || format!("verification found: {}", report.differences[0]))?;
    Ok(format!(
        "{} kills; all {} acknowledged commits are there, {} versions without a gap, open again in {}; sound",
        ROUNDS.len(),
        grouped(acknowledged),
        grouped(versions),
        readable(slowest),
    ))
}

/// Checks what a killed writer left behind, and returns the number its successor begins with.
fn check(snapshot: &Snapshot, acknowledged: &[Acknowledged]) -> Result<u64, Failure> {
    let view = snapshot.namespace(NAMESPACE)?;
    for &(number, version) in acknowledged {
        let value = view.get(key(number))?;
        let found = value.as_ref().map(|value| (value.version(), value.to_vec()));
        let expected = (version, number.to_string().into_bytes());
        ensure(found == Some(expected), || {
            format!("commit {number} was acknowledged at {version} and is lost")
        })?;
        ensure_whole(&view, number, true)?;
    }
    let Some(&(last, version)) = acknowledged.last() else { return Ok(0) };
    // The commit after it was under way: it is there as a whole, or not at all.
    let unheard = last + 1;
    let is_there = view.get(key(unheard))?.is_some();
    ensure_whole(&view, unheard, is_there)?;
    let expected = version.get() + u64::from(is_there);
    let found = snapshot.version().get();
    ensure(found == expected, || format!("the store is at version {found}, not {expected}"))?;
    Ok(if is_there { unheard + 1 } else { unheard })
}

/// Checks that all parts of a large transaction are there, or none.
fn ensure_whole(view: &NamespaceView<'_>, number: u64, is_there: bool) -> Result<(), Failure> {
    let expected = if is_there && is_large(number) { LARGE_KEYS } else { 0 };
    let range = part_key(number, 0)..part_key(number + 1, 0);
    let found = view.range(range)?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
    ensure(found == expected, || format!("commit {number} has {found} parts, not {expected}"))
}

/// Reads every record of the log since a version, and returns how many there are.
fn ensure_no_gaps(snapshot: &Snapshot, first: Version) -> Result<u64, Failure> {
    let mut expected = first;
    for record in snapshot.log(first..) {
        let found = record?.version();
        ensure(found == expected, || format!("after version {expected} comes {found}"))?;
        expected = expected.next();
    }
    ensure(expected == snapshot.version().next(), || format!("the log ends before version {expected}"))?;
    Ok(expected.get() - first.get())
}
