//! Going back, compared with a model that kept every version.
//!
//! `COHAB_UNDO_RUNS` says how many random histories; `COHAB_MODEL_SEED` with which seed to begin.

use std::collections::BTreeMap;
use std::time::Duration;

use cohab::{DropMode, Error, Filter, History, Kind, Operation, Result, Retention, Store, Version};

use crate::chronicle::{May, Ns, Op, Seed, State, World, compare, seeds, undo};
use crate::v;

const MAY: May = May { roll_back: true, reopen: true };

fn unbounded() -> cohab::Options {
    Store::options().retention(Retention::UNBOUNDED)
}

fn name(name: &str) -> String {
    name.to_owned()
}

fn create(it: &str) -> Op {
    Op::Create(name(it), History::Full)
}

fn put(it: &str, key: u8, value: u8) -> Op {
    Op::Put(name(it), vec![key], vec![value])
}

fn drop_all(it: &str) -> Op {
    Op::Drop(name(it), DropMode::WithContents)
}

type Told<'s> = (&'s cohab::Metadata, bool, BTreeMap<&'s [u8], &'s [u8]>);

/// What can be said of a namespace without versions.
fn told(ns: &Ns) -> Told<'_> {
    (&ns.metadata, ns.dropped.is_some(), ns.values())
}

/// Whether the store is as it was, but for what was made since, which has to be dropped.
fn is_as_it_was(now: &State, then: &State) {
    for (id, ns) in &now.namespaces {
        match then.namespaces.get(id) {
            Some(before) => assert_eq!(told(ns), told(before), "#{id}"),
            None => assert!(ns.dropped.is_some(), "#{id} was made since"),
        }
    }
    assert!(then.namespaces.keys().all(|id| now.namespaces.contains_key(id)));
    let order = |state: &State| -> Vec<_> {
        let trash = state.trash().into_iter().map(|ns| ns.id);
        trash.filter(|id| then.namespaces.contains_key(id)).collect()
    };
    assert_eq!(order(now), order(then), "what is undropped first");
}

#[test]
fn roll_backs_and_undos_do_what_the_model_does() {
    for seed in seeds("COHAB_UNDO_RUNS", 10) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, unbounded());
        for step in 0..40 {
            world.step(MAY);
            if step % 8 == 7 {
                world.compare_tip();
                world.verify();
            }
        }
        world.compare_tip();
        let snapshot = world.store.snapshot().expect("can be taken");
        for version in (0..snapshot.version().get()).rev().step_by(3) {
            let shown = snapshot.at(v(version)).expect("is there");
            compare(&world.chronicle, &shown, snapshot.version(), &mut world.random);
        }
        world.verify();
    }
}

#[test]
fn a_roll_back_brings_everything_back_and_rolling_it_back_undoes_it() {
    let mut done = 0;
    for seed in seeds("COHAB_UNDO_RUNS", 12) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, unbounded());
        for _ in 0..20 {
            world.write();
        }
        for _ in 0..4 {
            let to = world.random.version(world.chronicle.version());
            let before = world.chronicle.version();
            if !roll_back(&mut world, to) {
                continue;
            }
            is_as_it_was(world.chronicle.tip(), world.chronicle.at(to));
            world.verify();
            assert!(roll_back(&mut world, before), "what was rolled back can be brought back");
            is_as_it_was(world.chronicle.tip(), world.chronicle.at(before));
            let made = &world.chronicle.at(before).namespaces;
            assert_eq!(world.chronicle.tip().namespaces.len(), made.len());
            world.verify();
            world.write();
            done += 1;
        }
    }
    assert!(done > 8, "only {done} could be rolled back");
}

fn roll_back(world: &mut World, to: Version) -> bool {
    let mut draft = world.draft();
    let expected = world.chronicle.roll_back_store(&mut draft, to, Operation::RollBack);
    let done = world.store.write(|tx| tx.label("back").and_then(|()| tx.rollback(to)));
    assert_eq!(done.as_ref().map(drop).map_err(Error::kind), expected.map(drop));
    draft.state.label = name("back");
    if done.is_ok() {
        world.chronicle.commit(draft);
    }
    world.compare_tip();
    done.is_ok()
}

#[test]
fn undo_goes_further_back_each_time() {
    for seed in seeds("COHAB_UNDO_RUNS", 8) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, unbounded());
        let all: Vec<_> =
            ["a", "b", "c"].into_iter().map(create).chain([put("a", 1, 1), put("b", 2, 2)]).collect();
        world.write_ops(&all);
        let mut was = Vec::new();
        for round in 0..6u8 {
            was.push(world.chronicle.version());
            let live: Vec<_> =
                world.chronicle.tip().live().iter().map(|ns| ns.metadata.name.to_string()).collect();
            // Each touches a namespace of its own, so that none stands in another's way.
            match (round, world.random.below(3)) {
                (0, _) => world.write_ops(&[
                    Op::Safeguard(name("a")),
                    put("a", 1, 9),
                    Op::Delete(name("a"), vec![2]),
                ]),
                (1, _) => world.write_ops(&[drop_all("c")]),
                (2, _) => world.write_ops(&[Op::Safeguard(name("b")), put("b", 5, 5), drop_all("b")]),
                (_, choice) => {
                    let it = format!("n{round}");
                    world.write_ops(&[create(&it), put(&it, 1, 1), drop_all(&it)]);
                    if choice == 0 {
                        world.write_ops(&[create(&it), put(&it, 1, 1)]);
                    }
                }
            }
            assert!(world.chronicle.tip().live().len() <= live.len() + 1);
        }
        // The namespaces that were created in the transaction that dropped them come back as well.
        for _ in was {
            let last = world.undo();
            if last == Err(Kind::Exists) {
                break;
            }
            last.expect("can be undone");
            world.compare_tip();
            world.verify();
        }
    }
}

#[test]
fn names_change_hands_on_the_way_back() {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), create("y"), create("z"), put("x", 1, 1), put("y", 2, 2)]);
    let before = world.chronicle.version();
    // Two swap their names, a third is dropped, and a new one takes its name.
    let rename = |from: &str, to: &str| Op::Rename(name(from), name(to));
    world.write_ops(&[rename("x", "t"), rename("y", "x"), rename("t", "y")]);
    world.write_ops(&[drop_all("z"), create("z"), put("z", 3, 3), put("x", 4, 4)]);
    let after = world.chronicle.version();
    for to in [before, after, before, v(0), after] {
        assert!(roll_back(&mut world, to));
        is_as_it_was(world.chronicle.tip(), world.chronicle.at(to));
        world.verify();
    }
}

#[test]
fn of_two_of_a_name_in_the_trash_the_same_one_comes_back_first_after_a_roll_back() -> Result<()> {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), put("x", 1, 1)]);
    world.write_ops(&[drop_all("x")]);
    world.write_ops(&[create("x"), put("x", 2, 2)]);
    world.write_ops(&[drop_all("x")]);
    let before = world.chronicle.version();
    world.write_ops(&[Op::Undrop(name("x")), Op::Rename(name("x"), name("y"))]);
    world.write_ops(&[Op::Undrop(name("x")), Op::Rename(name("x"), name("w"))]);
    world.write_ops(&[Op::Rename(name("y"), name("x")), drop_all("x")]);
    world.write_ops(&[Op::Rename(name("w"), name("x")), drop_all("x")]);
    assert!(roll_back(&mut world, before));
    is_as_it_was(world.chronicle.tip(), world.chronicle.at(before));
    world.write_ops(&[Op::Undrop(name("x"))]);
    assert_eq!(world.store.snapshot()?.get("x", [2])?.as_deref(), Some(&[2][..]));
    Ok(())
}

#[test]
fn a_roll_back_can_be_undone_although_the_history_is_off() -> Result<()> {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[Op::Create(name("x"), History::Off), put("x", 1, 1)]);
    let before = world.chronicle.version();
    world.write_ops(&[Op::History(name("x"), History::Full)]);
    world.write_ops(&[put("x", 1, 2), put("x", 2, 2)]);
    world.write_ops(&[Op::History(name("x"), History::Off)]);
    let after = world.chronicle.version();
    assert!(roll_back(&mut world, before));
    assert!(roll_back(&mut world, after));
    is_as_it_was(world.chronicle.tip(), world.chronicle.at(after));
    let done = world.store.write(|tx| tx.rollback_namespace("x", before))?;
    assert_eq!(done.value.changes, 2);
    assert_eq!(world.store.snapshot()?.get("x", [1])?.as_deref(), Some(&[1][..]));
    assert_eq!(undo(&world.store)?.value.changes, 2);
    assert_eq!(world.store.snapshot()?.get("x", [1])?.as_deref(), Some(&[2][..]));
    // What is written otherwise is not recorded, as before.
    let last = world.store.snapshot()?.version();
    world.store.write(|tx| tx.put("x", [1], [3]))?;
    let refused = world.store.write(|tx| tx.rollback_namespace("x", last)).map_err(|it| it.kind());
    assert_eq!(refused.err(), Some(Kind::NoHistory));
    Ok(())
}

type Refused<'f> = &'f dyn Fn(&mut cohab::Transaction<'_, '_>) -> Result<()>;

/// What is refused leaves nothing, even if the closure goes on.
#[test]
fn what_is_refused_leaves_nothing_behind() -> Result<()> {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), create("y"), put("x", 1, 1)]);
    world.write_ops(&[Op::History(name("x"), History::Off), put("x", 1, 2)]);
    world.write_ops(&[Op::History(name("x"), History::Full), put("x", 1, 3)]);
    world.write_ops(&[create("p"), Op::Protect(name("p"), true)]);
    let version = world.chronicle.version();
    let refused: [(&str, Kind, Refused<'_>); 7] = [
        ("unrecorded", Kind::NoHistory, &|tx| tx.rollback_namespace("x", v(1)).map(drop)),
        ("unrecorded", Kind::NoHistory, &|tx| tx.rollback(v(1)).map(drop)),
        ("protected", Kind::Conflict, &|tx| tx.rollback(v(3)).map(drop)),
        ("later", Kind::NotFound, &|tx| tx.rollback(v(99)).map(drop)),
        ("later", Kind::NotFound, &|tx| tx.rollback_namespace("y", v(99)).map(drop)),
        ("made since", Kind::NotFound, &|tx| tx.rollback_namespace("p", v(1)).map(drop)),
        ("nothing to undo", Kind::NotFound, &|tx| tx.undo().map(drop)),
    ];
    for (what, kind, f) in refused {
        let error = world.store.write(f).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        world.compare_tip();
        let refused = |tx: &mut cohab::Transaction<'_, '_>| {
            assert_eq!(f(tx).map_err(|it| it.kind()), Err(kind), "{what}");
        };
        // Nothing else happens: there is no version, and no snapshot.
        let nothing = world.store.write(|tx| {
            refused(tx);
            Ok(())
        })?;
        assert_eq!(nothing.version, world.chronicle.version());
        world.compare_tip();
        let done = world.store.write(|tx| {
            refused(tx);
            tx.put("y", "k", what)
        })?;
        let snapshot = world.store.snapshot()?;
        let record = snapshot.log(done.version..).next().expect("is there")?;
        assert_eq!(record.label(), "", "{what}");
        assert!(snapshot.named_snapshots()?.is_empty(), "{what}: nothing was destroyed");
        drop(snapshot);
        let mut draft = world.draft();
        draft.apply(&Op::Put(name("y"), b"k".to_vec(), what.as_bytes().to_vec())).expect("is there");
        world.chronicle.commit(draft);
        world.compare_tip();
    }
    assert!(world.chronicle.version() > version);
    let late = world.store.write(|tx| {
        tx.put("y", "k", "v")?;
        tx.rollback(v(1)).map(drop)
    });
    assert_eq!(late.map_err(|it| it.kind()).err(), Some(Kind::InvalidInput));
    world.compare_tip();
    Ok(())
}

/// Of several things that one transaction destroyed all are undone, or none.
#[test]
fn an_undo_that_is_refused_half_way_is_refused_whole() -> Result<()> {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), create("y"), put("x", 1, 1)]);
    world.write_ops(&[drop_all("x"), drop_all("y")]);
    world.write_ops(&[create("y")]);
    assert_eq!(world.undo(), Err(Kind::Exists));
    world.compare_tip();
    let done = world.store.write(|tx| {
        assert_eq!(tx.undo().map_err(|it| it.kind()).err(), Some(Kind::Exists));
        tx.put("y", "k", "v")
    });
    assert_eq!(done.map_err(|it| it.kind()).err(), Some(Kind::Aborted));
    world.compare_tip();
    world.write_ops(&[Op::Drop(name("y"), DropMode::IfEmpty), Op::Purge(name("y"))]);
    // The last thing that was dropped is gone for good, so it is about what was dropped before.
    assert_eq!(world.undo(), Ok(()));
    world.compare_tip();
    assert_eq!(world.store.snapshot()?.namespaces()?.count(), 2);
    assert_eq!(world.undo(), Err(Kind::NotFound));
    world.verify();
    Ok(())
}

#[test]
fn what_was_changed_since_is_not_undone_silently() -> Result<()> {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), put("x", 1, 1)]);
    world.write_ops(&[put("x", 1, 2)]);
    world.store.write(|tx| tx.rollback_namespace("x", v(1)))?;
    world.store.write(|tx| tx.put("x", "later", "v"))?;
    let error = undo(&world.store).expect_err("would lose what was put later");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.to_string().contains("version 4"), "{error}");
    assert!(error.to_string().contains("`x`"), "{error}");
    world.store.write(|tx| tx.rollback(v(2)))?;
    world.store.write(|tx| tx.put("x", "later", "v"))?;
    let error = undo(&world.store).expect_err("would lose what was put later");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.hint_text().is_some_and(|hint| hint.contains("--to 4")), "{:?}", error.hint_text());
    world.store.write(|tx| tx.drop_namespace("x", DropMode::WithContents))?;
    world.store.write(|tx| tx.create_namespace("x"))?;
    let error = undo(&world.store).expect_err("the name is taken");
    assert_eq!(error.kind(), Kind::Exists);
    assert!(error.to_string().contains("`x`"), "{error}");
    world.verify();
    Ok(())
}

#[test]
fn a_watcher_meets_a_roll_back_as_an_ordinary_version() -> Result<()> {
    let mut world = World::new(1, unbounded());
    let mut watch = world.store.watch(Filter::new().from(v(1)))?;
    world.write_ops(&[create("x"), put("x", 1, 1), put("x", 2, 1)]);
    world.write_ops(&[put("x", 1, 2), Op::Delete(name("x"), vec![2]), put("x", 3, 3)]);
    world.store.write(|tx| tx.rollback(v(1)))?;
    undo(&world.store)?;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let event = watch.next_within(Duration::from_secs(20)).expect("comes")?;
        let changes = event.changes()?.into_iter().map(|it| format!("{:?}", it.key));
        seen.push((event.version().get(), event.label().to_owned(), changes.count()));
    }
    let expected = ["", "", "roll back to version 1", "undo to before rolling back the store"];
    for ((version, label, changes), (number, told)) in seen.into_iter().zip((1..).zip(expected)) {
        assert_eq!(version, number);
        if !told.is_empty() {
            assert_eq!((&*label, changes), (told, 3));
        }
    }
    Ok(())
}

/// A snapshot that made room for others while it was undone stays lapsed.
#[test]
fn an_undo_does_not_bring_back_a_snapshot_that_has_lapsed() {
    let mut world = World::new(1, unbounded());
    world.write_ops(&[create("x"), put("x", 1, 1)]);
    world.write_ops(&[drop_all("x")]);
    let most = cohab::limits::SAFETY_SNAPSHOTS_MAX;
    let count = |world: &World| {
        let active = world.chronicle.safeties.iter().filter(|it| !it.lapsed && it.undone.is_none());
        active.map(|it| it.before).collect::<std::collections::BTreeSet<_>>().len()
    };
    let mut i = 0;
    while count(&world) < most - 1 {
        // Each leaves a snapshot that is undone, and one of the undo.
        let it = format!("n{i}");
        world.write_ops(&[create(&it)]);
        world.write_ops(&[Op::Safeguard(it.clone()), put(&it, 1, 1), drop_all(&it)]);
        world.undo().expect("can be undone");
        i += 1;
    }
    // One that leaves a snapshot and nothing to undo.
    world.write_ops(&[create("m")]);
    world.write_ops(&[drop_all("m")]);
    world.write_ops(&[Op::Undrop(name("m"))]);
    assert_eq!(count(&world), most);
    assert!(world.chronicle.safeties.iter().all(|it| !it.lapsed));
    assert_eq!(world.undo(), Ok(()), "a namespace that was dropped is in the trash, lapsed or not");
    assert!(world.chronicle.safeties[0].lapsed);
    world.compare_tip();
    world.verify();
}

#[test]
fn of_what_the_log_has_no_more_it_says_so() -> Result<()> {
    let mut world = World::new(1, Store::options().retention(Retention::UNBOUNDED.versions(2)));
    world.is_trimmed = true;
    for i in 0..10 {
        world.write_ops(&[create("x"), put("x", i, i)]);
    }
    while world.store.maintain()?.more {}
    let oldest = world.store.snapshot()?.oldest_readable();
    assert_eq!(oldest, v(9));
    for to in 0..=9 {
        let store =
            world.store.write(|tx| tx.rollback(v(to)).map(|_| ()).and(Err(Error::abort("only to see"))));
        let one = world
            .store
            .write(|tx| tx.rollback_namespace("x", v(to)).map(|_| ()).and(Err(Error::abort("only to see"))));
        for done in [store, one] {
            let error: Error = done.map(|_: cohab::Committed<()>| ()).expect_err("is refused or given up");
            let kind = if to < 9 { Kind::TooOld } else { Kind::Aborted };
            assert_eq!(error.kind(), kind, "to {to}: {error}");
            assert_eq!(error.oldest_version(), (to < 9).then_some(oldest));
        }
    }
    Ok(())
}
