//! The log at work: replicas that are kept in step, and data that is brought back.

use std::fs;
use std::io;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use cohab::{Followed, Follower, Kind, Role, Store};

use super::child::{Writer, said, this_program};
use super::stage::{Stage, digests, digests_by_name, ensure_unchanged};
use super::writer::NAMESPACE;
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "replicate",
        says: "copy the store, change ten keys, and bring the copy up",
        run: replicate,
    },
    Step {
        name: "follow",
        says: "kill -9 a following process beside a writing one, and have it go on",
        run: follow,
    },
    Step {
        name: "roll back",
        says: "delete a thousand keys, roll that back, and undo the roll-back",
        run: roll_back,
    },
    Step { name: "tamper", says: "write to a replica behind its source's back", run: tamper },
];

/// The replica's name in the demonstration's directory.
const REPLICA: &str = "replica";

/// How many keys are changed before the replica is brought up.
const CHANGES: usize = 10;

/// How many keys are deleted by mistake.
const MISTAKES: usize = 1000;

/// How often the follower is killed.
const KILLS: u64 = 3;

fn replicate(stage: &mut Stage) -> Result<String, Failure> {
    let largest = stage.largest()?;
    let begin = Instant::now();
    let mut follower = Follower::open(stage.store_path(), stage.path(REPLICA), |_| ())?;
    let copied = begin.elapsed();
    let keys: u64 = follower
        .source()
        .snapshot()?
        .namespaces()?
        .try_fold(0, |keys, info| info.map(|info| keys + info.keys))?;
    let store = stage.writer()?;
    let view = store.snapshot()?;
    let chosen = view.namespace(&largest.name)?.all()?.take(CHANGES);
    let chosen: Vec<_> =
        chosen.map(|entry| entry.map(|entry| entry.key().to_vec())).collect::<cohab::Result<_>>()?;
    drop(view);
    write(&store, "demo: replicate", |tx| {
        chosen.iter().try_for_each(|key| tx.put(&largest.name, key, "changed by cohab demo"))?;
        Ok(())
    })?;
    let begin = Instant::now();
    let step = follower.catch_up()?;
    let refreshed = begin.elapsed();
    let Followed::Delta { applied, .. } = step else {
        return Err(Failure::unexpected(format!("it was not brought up by a delta: {step:?}")));
    };
    ensure(applied.changes == CHANGES as u64, || format!("{} keys were applied", applied.changes))?;
    ensure_same(stage)?;
    // As they were, for the steps that follow.
    let undone = store.write(|tx| {
        let to = cohab::Version::new(tx.version().get() - 2);
        tx.rollback_namespace(&largest.name, to)
    })?;
    ensure(undone.value.changes == CHANGES as u64, || format!("{} came back", undone.value.changes))?;
    follower.catch_up()?;
    ensure_same(stage)?;
    Ok(format!(
        "{} keys copied in {}; {CHANGES} changes later up to date in {}, all digests equal",
        grouped(keys),
        readable(copied),
        readable(refreshed)
    ))
}

/// Checks that the replica holds what the store does.
fn ensure_same(stage: &Stage) -> Result<(), Failure> {
    let replica = Store::options().role(Role::Reader).open(stage.path(REPLICA))?;
    let (ours, theirs) = (digests_by_name(&stage.snapshot()?)?, digests_by_name(&replica.snapshot()?)?);
    ensure(ours == theirs, || "the replica does not hold what its source does".to_owned())
}

/// A process that follows, killed at the latest when this is dropped.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        // Both fail only where the process is gone already.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Following {
    fn start(stage: &Stage) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("starting the following process failed", &error);
        let mut command = this_program().map_err(failed)?;
        command.arg("follow").arg(stage.store_path()).arg(stage.path(REPLICA));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map(Self).map_err(failed)
    }

    /// Waits until the replica has a version of the source.
    fn reaches(&mut self, stage: &Stage, version: u64) -> Result<(), Failure> {
        let replica = Store::options().role(Role::Reader).register(false).open(stage.path(REPLICA))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            interrupt::check()?;
            let snapshot = replica.refresh()?;
            if snapshot.upstream().is_some_and(|upstream| upstream.version.get() >= version) {
                return Ok(());
            }
            drop(snapshot);
            if self.0.try_wait().is_ok_and(|ended| ended.is_some()) {
                let said = said(&mut self.0);
                return Err(Failure::unexpected(format!("the following process ended by itself: {said}")));
            }
            ensure(Instant::now() < deadline, || format!("the replica does not come to version {version}"))?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn follow(stage: &mut Stage) -> Result<String, Failure> {
    let next = stage.snapshot()?.namespace(NAMESPACE)?.prefix("commit/")?.count() as u64;
    let mut writer = Writer::start(stage, next)?;
    let mut kills = 0;
    for _ in 0..KILLS {
        let mut following = Following::start(stage)?;
        let (_, version) = writer.acknowledgements(15)?[14];
        following.reaches(stage, version.get())?;
        kills += 1;
        // It is killed here, in the middle of its work.
        drop(following);
    }
    let last = writer.kill()?.last().map(|(_, version)| *version);
    let mut follower = Follower::open(stage.store_path(), stage.path(REPLICA), |_| ())?;
    let resumed = follower.catch_up()?;
    let is_cheap = !matches!(resumed, Followed::Whole { .. });
    ensure(is_cheap, || format!("a full copy was needed: {resumed:?}"))?;
    ensure_same(stage)?;
    let report = follower.replica().snapshot()?.verify(|_| interrupt::check_in_callback())?;
    ensure(report.is_sound(), || format!("verification found: {}", report.differences[0]))?;
    let version = last.map_or_else(String::new, |version| format!(" to version {version}"));
    Ok(format!("{kills} kills; went on where it was each time{version}, without a copy; all digests equal"))
}

fn roll_back(stage: &mut Stage) -> Result<String, Failure> {
    let largest = stage.largest()?;
    let store = stage.writer()?;
    let before = digests(&store.snapshot()?)?;
    let view = store.snapshot()?;
    let version = view.version();
    let chosen = view.namespace(&largest.name)?.all()?.take(MISTAKES);
    let chosen: Vec<_> =
        chosen.map(|entry| entry.map(|entry| entry.key().to_vec())).collect::<cohab::Result<_>>()?;
    drop(view);
    write(&store, "demo: a mistake", |tx| {
        for key in &chosen {
            tx.delete(&largest.name, key)?;
        }
        Ok(())
    })?;
    let mistaken = digests(&store.snapshot()?)?;
    let begin = Instant::now();
    let back = store.write(|tx| tx.rollback_namespace(&largest.name, version))?;
    let took = begin.elapsed();
    ensure_unchanged(&before, &digests(&store.snapshot()?)?)?;
    store.write(|tx| tx.undo().map(drop))?;
    ensure_unchanged(&mistaken, &digests(&store.snapshot()?)?)?;
    store.write(|tx| tx.rollback_namespace(&largest.name, version).map(drop))?;
    ensure_unchanged(&before, &digests(&store.snapshot()?)?)?;
    Ok(format!(
        "`{}`: {} keys came back in {}; undone, and rolled back again; all digests stand",
        largest.name,
        grouped(back.value.changes),
        readable(took)
    ))
}

fn tamper(stage: &mut Stage) -> Result<String, Failure> {
    let (store, replica) = (stage.store_path(), stage.path(REPLICA));
    Follower::open(&store, &replica, |_| ())?.catch_up()?;
    let refused = Store::open(&replica)?.write(|tx| tx.put(NAMESPACE, "tampered", "yes"));
    ensure(refused.is_err_and(|error| error.kind() == Kind::ReadOnly), || {
        "the replica takes writes".to_owned()
    })?;
    // So it is done on a copy that was told to follow nobody.
    let tampered = stage.path("tampered");
    fs::create_dir(&tampered).map_err(|error| Failure::io("making a directory failed", &error))?;
    for name in ["store.redb", "store.json"] {
        let copied = fs::copy(replica.join(name), tampered.join(name));
        copied.map_err(|error| Failure::io("copying the replica failed", &error))?;
    }
    let independent = Store::open(&tampered)?;
    independent.promote_replica()?;
    independent.write(|tx| tx.put(NAMESPACE, "tampered", "yes"))?;
    let compared = independent.snapshot()?.compare(&stage.snapshot()?)?;
    ensure(compared.len() == 1, || format!("{} differences were found", compared.len()))?;
    drop(independent);
    let caught = Follower::open(&store, &tampered, |_| ()).map(drop);
    let caught = caught.err().ok_or_else(|| Failure::unexpected("nobody noticed".to_owned()))?;
    ensure(caught.kind() == Kind::Diverged, || format!("it was refused for another reason: {caught}"))?;
    Ok(format!("refused; and on a copy that was promoted, caught: {}", compared[0]))
}
