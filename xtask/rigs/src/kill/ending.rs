//! How a store's life begins, and how it is found when everybody is dead.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use cohab::{Follower, Integrity, LockMode, Retention, Store, Wait};

use super::actor::Scene;
use super::history::{Event, History, Journal};
use super::keys::{Key, LISTED, LOCKS, NAMESPACES, Op};
use super::plugin;
use super::truth::Truth;

/// By when a store can be opened for writing whose processes are all dead, on a machine that is busy.
const PROMPT: Duration = Duration::from_secs(20);

/// Makes the store, and returns the first version that the plugin follows.
pub(crate) fn set_up(scene: &Scene) -> Result<u64> {
    fs::create_dir(scene.histories())?;
    let journal = Journal::create(&scene.histories(), 0)?;
    let store = Store::options().retention(Retention::UNBOUNDED).register(false).open(scene.store())?;
    journal.note(Event::Promoted { epoch: store.epoch().map_or(0, cohab::Epoch::get) });
    let puts = Key::all().fold(0, |set, key| set | key.bit());
    journal.note(Event::Invoked { op: Op::SETUP.0, puts, deletes: 0, fence: None, appends: 0 });
    let committed = store.write(|tx| {
        tx.label(Op::SETUP.label())?;
        for name in NAMESPACES.into_iter().chain([LISTED]) {
            tx.create_namespace(name)?;
        }
        Key::all().try_for_each(|key| tx.put(key.namespace(), key.name(), key.value(Op::SETUP)))
    })?;
    journal.note(Event::Acknowledged { op: Op::SETUP.0, version: committed.version.get() });
    plugin::add(&store, &scene.plugin())?;
    Ok(store.refresh()?.version().get() + 1)
}

/// Opens what the dead have left, as the next writer does, and reads what has happened. What is wrong with it is added to
/// `violations`.
pub(crate) fn look(
    scene: &Scene,
    followed_from: u64,
    histories: &[History],
    violations: &mut Vec<String>,
) -> Result<Truth> {
    let begin = Instant::now();
    let store = Store::options().retention(Retention::UNBOUNDED).open(scene.store())?;
    let mut demand = |is: bool, otherwise: &str| {
        if !is {
            violations.push(otherwise.to_owned());
        }
    };
    demand(begin.elapsed() < PROMPT, "what the dead have left keeps the next writer from opening the store");
    for (number, name) in (0..).zip(LOCKS) {
        let lock = store.lock(name, LockMode::Exclusive, Wait::Try)?;
        let is_later = |event: &Event| !matches!(event, Event::Locked { lock: it, token, .. } if *it == number && *token >= lock.token());
        let mut events = histories.iter().flat_map(|history| &history.records).map(|record| &record.event);
        demand(events.all(is_later), "the last token of a lock is not larger than all before");
    }
    let left = store.plugins().catch_up(Duration::from_mins(1))?;
    demand(left == 0, "the plugin does not catch up");
    let snapshot = store.refresh()?;
    for difference in snapshot.verify(|_| ())?.differences {
        demand(false, &format!("{}: {}", difference.place, difference.problem));
    }
    let truth = Truth::read(&snapshot, followed_from)?;
    // The writer looks after them on a thread of its own.
    while store.instances()?.len() > 1 && begin.elapsed() < PROMPT {
        thread::sleep(Duration::from_millis(10));
    }
    demand(store.instances()?.len() == 1, "the dead stay among the instances");

    let options = || Store::options().retention(Retention::UNBOUNDED).register(false);
    let mut follower = Follower::open_with(scene.store(), options(), scene.replica(), options(), |_| ())?;
    follower.catch_up()?;
    let replica = follower.replica().snapshot()?;
    for difference in replica.compare(&snapshot)? {
        demand(false, &format!("the replica differs: {difference}"));
    }
    for difference in replica.verify(|_| ())?.differences {
        demand(false, &format!("the replica, {}: {}", difference.place, difference.problem));
    }
    drop((replica, snapshot));
    let is_sound = |store: &Store| Ok::<_, cohab::Error>(store.check()? == Integrity::Sound);
    let is_replica_sound = is_sound(follower.replica())?;
    drop(follower);
    demand(is_replica_sound, "the accounting of the replica's pages had to be rebuilt");
    demand(is_sound(&store)?, "the accounting of the store's pages had to be rebuilt");
    Ok(truth)
}
