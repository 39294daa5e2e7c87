//! Histories written by hand: one that is as it should be, and for each promise one that is not.

use super::*;
use crate::kill::history::{Asked, Record};
use crate::kill::keys::{KEYS, Key};
use crate::kill::truth::Committed;

const A: u32 = 1;
const B: u32 = 2;

/// A world in which things happen one after the other, and what it has become.
struct World {
    histories: Vec<History>,
    truth: Truth,
    time: Time,
    state: [u64; KEYS],
}

impl World {
    fn new() -> Self {
        let histories = (0..6).map(|process| History { process, records: Vec::new() }).collect();
        // Nobody follows, unless a test says so.
        let truth = Truth { followed_from: u64::MAX, ..Truth::default() };
        Self { histories, truth, time: 0, state: [0; KEYS] }
    }

    fn note(&mut self, process: u32, event: Event) {
        self.time += 10;
        let history = &mut self.histories[process as usize];
        history.records.push(Record { thread: 0, time: self.time, event });
    }

    fn invoke(&mut self, op: Op, keys: &[Key], fence: Option<(u8, u64)>) {
        let puts = keys.iter().fold(0, |set, key| set | key.bit());
        let event = Event::Invoked { op: op.0, puts, deletes: 0, fence, appends: 0 };
        self.note(op.process(), event);
    }

    /// What the log says.
    fn commit(&mut self, op: Op, epoch: u64, keys: &[Key]) -> u64 {
        let version = self.truth.commits.len() as u64 + 1;
        for key in keys {
            self.state[key.number()] = op.0;
        }
        let puts = keys.iter().fold(0, |set, key| set | key.bit());
        self.truth.commits.push(Committed { version, epoch, op: Some(op), puts, ..Committed::default() });
        version
    }

    /// Asks for a commit, makes it, and acknowledges it.
    fn write(&mut self, op: Op, epoch: u64, keys: &[Key]) -> u64 {
        self.invoke(op, keys, None);
        let version = self.commit(op, epoch, keys);
        self.note(op.process(), Event::Acknowledged { op: op.0, version });
        version
    }

    fn read_as(&mut self, process: u32, asked: Asked, version: u64, values: &[u64; KEYS]) {
        let invoked = self.time + 5;
        self.note(process, Event::Read { invoked, asked, version, values: values.to_vec() });
    }

    fn read(&mut self, process: u32) {
        let version = self.truth.commits.len() as u64;
        let state = self.state;
        self.read_as(process, Asked::Latest, version, &state);
    }

    fn single(&mut self, process: u32, key: Key, held: Op) {
        let invoked = self.time + 5;
        let reads = vec![(1, u8::try_from(key.number()).unwrap(), held.0)];
        self.note(process, Event::Singles { invoked, reads });
    }

    fn check(&self) -> Checked {
        check(&self.histories, &self.truth)
    }

    #[track_caller]
    fn is_flagged(&self, what: &str) {
        let violations = self.check().violations;
        assert!(violations.iter().any(|violation| violation.contains(what)), "{violations:?}");
    }
}

fn op(process: u32, number: u32) -> Op {
    Op::new(process, number)
}

fn pair() -> Vec<Key> {
    Key::pair(0).to_vec()
}

/// Three commits of two writers, and everybody sees them.
fn good() -> World {
    let mut world = World::new();
    world.note(A, Event::Promoted { epoch: 1 });
    world.write(op(A, 0), 1, &pair());
    world.read(3);
    world.write(op(A, 1), 1, &[Key::hot(0)]);
    world.single(4, Key::hot(0), op(A, 1));
    world.note(B, Event::Promoted { epoch: 2 });
    world.write(op(B, 0), 2, &pair());
    world.read(3);
    world.single(4, Key::pair(0)[0], op(B, 0));
    world
}

#[test]
fn a_history_as_it_should_be_is_not_flagged() {
    let mut world = good();
    // Killed on the way: one that is there, and one that is not.
    world.invoke(op(B, 1), &[Key::hot(1)], None);
    world.commit(op(B, 1), 2, &[Key::hot(1)]);
    world.invoke(op(A, 2), &[Key::hot(1)], None);
    world.read(3);
    world.note(5, Event::Watching { from: 2 });
    for version in 2..=4 {
        let Committed { op, puts, .. } = world.truth.commits[version - 1];
        let op = op.unwrap().0;
        world.note(5, Event::Watched { version: version as u64, op, puts, deletes: 0 });
    }
    let checked = world.check();
    assert_eq!(checked.violations, Vec::<String>::new());
    assert_eq!((checked.versions, checked.acknowledged, checked.unacknowledged), (4, 3, 1));
    assert_eq!((checked.reads, checked.watched, checked.epochs), (3 * KEYS as u64 + 2, 3, 2));
}

#[test]
fn a_lost_acknowledged_commit_is_flagged() {
    let mut world = good();
    world.truth.commits.pop();
    world.is_flagged("was acknowledged at version 3, which is None");
}

#[test]
fn a_commit_at_another_version_than_the_one_acknowledged_is_flagged() {
    let mut world = good();
    world.truth.commits.swap(0, 1);
    world.truth.commits[0].version = 1;
    world.truth.commits[1].version = 2;
    world.is_flagged("was acknowledged at version 1");
    world.is_flagged("was asked for when a later one was acknowledged");
}

#[test]
fn a_gap_and_a_repeated_version_are_flagged() {
    let mut world = good();
    world.truth.commits[1].version = 3;
    world.is_flagged("version 3 is where version 2 should be");
    world.truth.commits[1].version = 1;
    world.is_flagged("version 1 is where version 2 should be");
}

#[test]
fn a_commit_that_is_there_in_part_is_flagged() {
    let mut world = good();
    world.truth.commits[2].puts = Key::pair(0)[0].bit();
    world.is_flagged("version 3 did");
}

#[test]
fn a_commit_that_is_there_twice_is_flagged() {
    let mut world = good();
    world.commit(op(B, 0), 2, &pair());
    world.is_flagged("was committed more than once");
}

#[test]
fn a_commit_that_was_refused_or_never_asked_for_is_flagged() {
    let mut world = good();
    world.invoke(op(B, 1), &pair(), None);
    world.commit(op(B, 1), 2, &pair());
    world.note(B, Event::Refused { op: op(B, 1).0 });
    world.is_flagged("was refused, and is version 4");
    world.commit(op(B, 2), 2, &pair());
    world.is_flagged("which nobody has asked for");
}

#[test]
fn a_stale_read_is_flagged() {
    let mut world = good();
    let before = world.state;
    world.write(op(B, 1), 2, &[Key::hot(0)]);
    world.read_as(5, Asked::Latest, 3, &before);
    world.is_flagged("older than 4");

    let mut world = good();
    world.single(5, Key::pair(0)[1], op(A, 0));
    world.is_flagged("which it did not from version 3 on");
}

#[test]
fn a_token_that_is_not_honoured_is_flagged() {
    let mut world = good();
    let state = world.state;
    world.invoke(op(B, 1), &[Key::hot(0)], None);
    world.read_as(5, Asked::Token(4), 3, &state);
    world.is_flagged("Token(4) is version 3");
}

#[test]
fn reads_that_go_back_are_flagged() {
    let mut world = good();
    let before = world.state;
    // Not yet acknowledged, so that either is new enough.
    world.invoke(op(B, 1), &[Key::hot(0)], None);
    world.commit(op(B, 1), 2, &[Key::hot(0)]);
    world.read(3);
    world.read_as(3, Asked::Latest, 3, &before);
    world.is_flagged("version 3 after version 4");

    let mut world = good();
    world.invoke(op(B, 1), &[Key::hot(0)], None);
    world.commit(op(B, 1), 2, &[Key::hot(0)]);
    world.single(4, Key::hot(0), op(B, 1));
    world.single(4, Key::hot(0), op(A, 1));
    world.is_flagged("which it did not from version 4 on");
}

#[test]
fn a_fractured_read_is_flagged() {
    let mut world = good();
    let mut values = world.state;
    values[Key::pair(0)[1].number()] = op(A, 0).0;
    world.read_as(5, Asked::Any, 3, &values);
    world.is_flagged("of version 3 was read as");
}

#[test]
fn a_read_from_the_future_or_of_what_never_was_is_flagged() {
    let mut world = good();
    let state = world.state;
    world.read_as(5, Asked::Any, 4, &state);
    world.is_flagged("version 4 was read before it was asked for, or never was");
    let mut world = good();
    world.single(5, Key::hot(3), op(B, 7));
    world.is_flagged("which it did not from version 3 on");
}

#[test]
fn an_epoch_of_two_and_one_that_goes_back_are_flagged() {
    let mut world = good();
    world.note(5, Event::Promoted { epoch: 2 });
    world.is_flagged("epoch 2 is of processes 2 and 5");
    let mut world = good();
    world.write(op(A, 2), 1, &pair());
    world.is_flagged("version 4 is of epoch 1, after epoch 2");
    let mut world = good();
    world.write(op(A, 2), 2, &pair());
    world.is_flagged("not of process 2");
}

#[test]
fn a_commit_of_a_writer_that_was_overtaken_is_flagged() {
    let mut world = good();
    world.note(B, Event::Overtaken { epoch: 3 });
    world.write(op(B, 1), 2, &pair());
    world.is_flagged("version 4 was committed in epoch 2, and acknowledged, after epoch 3 had begun");
}

#[test]
fn a_writer_that_was_robbed_while_it_was_stopped_is_flagged() {
    let mut world = good();
    world.note(B, Event::Fenced);
    world.is_flagged("process 2 was robbed");
    let mut world = good();
    world.note(B, Event::Overtaken { epoch: 3 });
    world.note(B, Event::Fenced);
    assert_eq!(world.check().violations, Vec::<String>::new());
}

#[test]
fn a_token_that_is_given_twice_and_one_that_goes_back_are_flagged() {
    let locked = |token| Event::Locked { invoked: 0, lock: 0, token };
    let mut world = good();
    world.note(3, locked(7));
    world.note(4, locked(8));
    assert_eq!((world.check().violations.len(), world.check().locks), (0, 2));
    world.note(5, locked(8));
    world.is_flagged("token 8 of `nightly report` was given twice");
    let mut world = good();
    world.note(3, locked(8));
    world.note(3, Event::Unlocking { lock: 0, token: 8 });
    world.note(4, locked(7));
    world.note(4, Event::Unlocking { lock: 0, token: 7 });
    world.is_flagged("token 8 of `nightly report` was given before 7 was");
}

#[test]
fn a_lock_that_two_hold_is_flagged() {
    let mut world = good();
    world.note(3, Event::Locked { invoked: 0, lock: 1, token: 1 });
    world.note(4, Event::Locked { invoked: 0, lock: 1, token: 2 });
    world.note(3, Event::Unlocking { lock: 1, token: 1 });
    world.is_flagged("while it was held");
}

#[test]
fn a_stale_token_that_is_let_through_is_flagged() {
    let mut world = good();
    for (number, token) in [(1, 5), (2, 4)] {
        let keys = [Key::guarded(0)];
        world.invoke(op(B, number), &keys, Some((0, token)));
        let version = world.commit(op(B, number), 2, &keys);
        world.note(B, Event::Acknowledged { op: op(B, number).0, version });
    }
    world.is_flagged("version 5 shows token 4 after 5");
}

#[test]
fn a_watch_that_leaves_out_repeats_or_invents_is_flagged() {
    let watched = |world: &World, version: u64| {
        let Committed { op, puts, .. } = world.truth.commits[usize::try_from(version).unwrap() - 1];
        Event::Watched { version, op: op.unwrap().0, puts, deletes: 0 }
    };
    for (shown, wrong) in [([1, 3], 3), ([1, 1], 1), ([2, 3], 2)] {
        let mut world = good();
        world.note(5, Event::Watching { from: 1 });
        for version in shown {
            world.note(5, watched(&world, version));
        }
        world.is_flagged(&format!("was shown version {wrong} out of order"));
    }
    let mut world = good();
    world.note(5, Event::Watching { from: 1 });
    world.note(5, Event::Watched { version: 1, op: op(B, 0).0, puts: 0, deletes: 0 });
    world.is_flagged("was shown Watched");
}

#[test]
fn a_replica_that_differs_or_goes_back_is_flagged() {
    let mut world = good();
    world.truth.commits[1].digests = vec![(1, [1; 16])];
    let first = world.state;
    let followed = |digest: u8, values: &[u64; KEYS]| Event::Followed {
        version: 3,
        digests: vec![(1, [digest; 16])],
        values: values.to_vec(),
    };
    world.note(5, followed(1, &first));
    assert_eq!((world.check().violations.len(), world.check().followed), (0, 1));
    world.note(5, followed(2, &first));
    world.is_flagged("namespace #1 of the replica at version 3 differs");

    let mut world = good();
    world.note(5, followed(1, &[7; KEYS]));
    world.is_flagged("in the replica");

    let mut world = good();
    world.note(5, followed(1, &first));
    world.note(4, Event::Followed { version: 2, digests: vec![], values: world.state.to_vec() });
    world.is_flagged("went from version 3 back to 2");
}

#[test]
fn an_effect_that_is_missing_twice_or_of_nothing_is_flagged() {
    let effect = |world: &mut World, key, of| {
        let version = world.truth.commits.len() as u64 + 1;
        let effects = vec![(key, of)];
        world.truth.commits.push(Committed { version, epoch: 2, effects, ..Committed::default() });
    };
    let mut world = good();
    world.truth.followed_from = 1;
    world.is_flagged("1 effects are missing, the first of key 24 at version 2");
    effect(&mut world, Key::hot(0), 2);
    assert_eq!((world.check().violations.len(), world.check().effects), (0, 1));
    effect(&mut world, Key::hot(0), 2);
    world.is_flagged("version 5 is the effect of");

    let mut world = good();
    effect(&mut world, Key::hot(1), 3);
    world.is_flagged("which is not due");
}

#[test]
fn what_a_process_saw_itself_is_told() {
    let mut world = good();
    world.note(4, Event::Broken("torn".into()));
    world.is_flagged("process 4: torn");
}
