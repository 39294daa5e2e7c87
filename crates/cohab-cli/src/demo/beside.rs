//! Two processes and one store.

use std::time::Instant;

use cohab::{Kind, Role, Snapshot, Store};

use super::child::Writer;
use super::stage::{Stage, digests};
use super::writer::{LARGE_KEYS, NAMESPACE, is_large, key};
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;

pub(super) const STEPS: &[Step] = &[Step {
    name: "beside",
    says: "read here while another process writes, and try to write as well",
    run: beside,
}];

/// How many commits the other process makes meanwhile.
const COMMITS: usize = 40;

fn beside(stage: &mut Stage) -> Result<String, Failure> {
    write(&stage.writer()?, "demo: beside", |tx| Ok(tx.create_namespace(NAMESPACE)?))?;
    let mut writer = Writer::start(stage, 0)?;
    writer.acknowledgements(1)?;

    let refused = Store::open(stage.store_path());
    let busy = refused.err().ok_or_else(|| Failure::unexpected("two processes write at the same time"))?;
    ensure(busy.kind() == Kind::Busy, || format!("the second writer failed for another reason: {busy}"))?;
    let names_it = busy.holder().is_some_and(|holder| holder.pid == writer.pid());
    ensure(names_it, || format!("the refusal does not name the writer: {busy}"))?;

    let store = Store::options().role(Role::Reader).open(stage.store_path())?;
    let pinned = store.snapshot()?;
    let then = digests(&pinned)?;
    let (mut snapshots, mut seen) = (0, pinned.version());
    let begin = Instant::now();
    for _ in 0..COMMITS {
        interrupt::check()?;
        let acknowledged = writer.acknowledgements(1)?;
        let snapshot = store.snapshot()?;
        snapshots += 1;
        ensure(snapshot.version() >= seen, || "a later snapshot was of an earlier version".to_owned())?;
        let is_there = acknowledged.iter().all(|(_, version)| snapshot.version() >= *version);
        ensure(is_there, || "a commit that was acknowledged cannot be read".to_owned())?;
        ensure_consistent(&snapshot)?;
        seen = snapshot.version();
    }
    let each = begin.elapsed() / u32::try_from(COMMITS).unwrap_or(u32::MAX);
    ensure(digests(&pinned)? == then, || "the first snapshot has changed".to_owned())?;
    let pid = writer.pid();
    writer.kill()?;
    Ok(format!(
        "{snapshots} snapshots {} apart, each consistent and with every acknowledged commit; the second writer is \
         refused, and told that process {pid} writes",
        readable(each),
    ))
}

/// Checks that a snapshot shows every transaction as a whole.
fn ensure_consistent(snapshot: &Snapshot) -> Result<(), Failure> {
    let view = snapshot.namespace(NAMESPACE)?;
    let commits = view.prefix("commit/")?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
    let expected: u64 = (0..commits).map(|number| if is_large(number) { LARGE_KEYS + 1 } else { 1 }).sum();
    let last = view.get(key(commits.max(1) - 1))?.map(|value| value.version());
    ensure(last.is_none_or(|last| last == snapshot.version()), || {
        "the last commit is not the last".to_owned()
    })?;
    let found = view.count();
    ensure(found == expected, || {
        format!("after {commits} commits there are {} keys, not {}", grouped(found), grouped(expected))
    })
}
