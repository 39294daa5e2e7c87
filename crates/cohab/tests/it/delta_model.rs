//! Replicas that are led along random histories by deltas, compared with a model of the source at every stop.
//!
//! `COHAB_DELTA_RUNS` says how many random histories; `COHAB_MODEL_SEED` with which seed to begin.

use std::collections::BTreeMap;

use cohab::{
    Applied, Delta, DeltaKind, Error, History, Kind, Mapping, Name, Result, Retention, Snapshot, Store,
    Timestamp, Upstream, Version,
};
use cohab_engine::Table;
use cohab_log::{DeltaReader, DeltaWriter, Piece};
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored};
use cohab_testkit::{Failure, Faults};

use crate::chronicle::{Chronicle, May, Ns, Op, Seed, World, seeds, undo};
use crate::{Scratch, v};

use DeltaKind::{Coalesced, Complete};

const MAY: May = May { roll_back: true, reopen: false };

fn options() -> cohab::Options {
    Store::options().retention(Retention::UNBOUNDED)
}

fn create(it: &str) -> Op {
    Op::Create(it.to_owned(), History::Full)
}

fn put(it: &str, key: u8, value: u8) -> Op {
    Op::Put(it.to_owned(), vec![key], vec![value])
}

fn drop_all(it: &str) -> Op {
    Op::Drop(it.to_owned(), cohab::DropMode::WithContents)
}

/// A replica, and where it was.
struct Replica {
    store: Store,
    _scratch: Scratch,
    at: Version,
    /// Which of its own versions held which version of the source.
    stops: Vec<(Version, Version)>,
}

impl Replica {
    fn empty() -> Self {
        let scratch = Scratch::new();
        let store = options().register(false).open(scratch.path()).expect("can be made");
        Self { store, _scratch: scratch, at: Version::ZERO, stops: Vec::new() }
    }

    fn of_backup(world: &World) -> Self {
        let scratch = Scratch::new();
        let file = scratch.file("backup");
        let at = world.store.backup(&file, |_| ()).expect("can be taken");
        drop(Store::restore(&file, scratch.path(), |_| ()).expect("can be restored"));
        let store = options().register(false).open(scratch.path()).expect("is there");
        Self { store, _scratch: scratch, at, stops: vec![(at, at)] }
    }
}

/// What must not change when something is refused.
fn told(store: &Store) -> (Version, Option<Upstream>, Vec<cohab::NamespaceInfo>) {
    let snapshot = store.snapshot().expect("can be taken");
    let live = snapshot.namespaces().expect("can be listed");
    let trash = snapshot.dropped_namespaces().expect("can be listed");
    let all = live.chain(trash).map(|it| it.expect("is sound")).collect();
    (snapshot.version(), snapshot.upstream().copied(), all)
}

/// Applies a delta, also one of a whole store to a replica that holds something.
fn apply(store: &Store, delta: &Delta) -> Result<Applied> {
    let holds_something = store.snapshot()?.version() > Version::ZERO;
    if delta.from() == Version::ZERO && delta.kind() == Coalesced && holds_something {
        return store.reset(delta);
    }
    store.apply(delta)
}

/// Applies what is to be refused.
#[track_caller]
fn refused(store: &Store, delta: &Delta, kind: Kind) -> Error {
    let before = told(store);
    let error = apply(store, delta).expect_err("is to be refused");
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(told(store), before, "nothing changes");
    error
}

/// Compares what a snapshot of a replica shows with what the source held.
fn compare(chronicle: &Chronicle, shown: &Snapshot, version: Version, may_be_lost: bool) {
    let state = chronicle.at(version);
    let live: Vec<_> = shown.namespaces().expect("can be listed").map(|it| it.expect("is sound")).collect();
    let trash = shown.dropped_namespaces().expect("can be listed").map(|it| it.expect("is sound"));
    let trash: BTreeMap<_, _> = trash.map(|it| (it.id, it)).collect();
    let ids: Vec<_> = live.iter().map(|it| it.id).collect();
    assert_eq!(ids, state.live().iter().map(|it| it.id).collect::<Vec<_>>(), "namespaces at {version}");
    let mut expected: Vec<_> = state.trash().iter().map(|it| it.id).collect();
    expected.sort_unstable();
    assert_eq!(trash.keys().copied().collect::<Vec<_>>(), expected, "the trash at {version}");
    for info in live.iter().chain(trash.values()) {
        let ns = &state.namespaces[&info.id];
        let of = &ns.metadata;
        assert_eq!(
            (&info.name, &info.title, info.protected, info.history, info.created_at, &info.labels),
            (&of.name, &of.title, of.protected, of.history, ns.created_at, &of.labels),
            "at {version}"
        );
        assert_eq!((info.keys, info.bytes, info.digest), ns.counted(), "`{}` at {version}", info.name);
        let view = shown.namespace_by_id(info.id).expect("is there");
        let found = match view.all() {
            Err(error) if may_be_lost && error.kind() == Kind::NoHistory => continue,
            all => entries(all.expect("can be read")),
        };
        let expected: Vec<_> =
            ns.entries.iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect();
        assert_eq!(found, expected, "`{}` at {version}", info.name);
        if info.dropped.is_none() {
            assert_eq!(shown.namespace(&info.name).expect("is there").id(), info.id);
        }
    }
}

fn entries(range: cohab::Range<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let own = |it: cohab::Entry<'_>| (it.key().to_vec(), it.value().to_vec());
    range.map(|it| own(it.expect("is sound"))).collect()
}

/// How many keys of a namespace have other values.
fn differing(from: Option<&Ns>, to: &Ns) -> u64 {
    let from = from.map(Ns::values).unwrap_or_default();
    let to = to.values();
    let gone = from.keys().filter(|key| !to.contains_key(*key)).count();
    let set = to.iter().filter(|(key, value)| from.get(*key) != Some(value)).count();
    (gone + set) as u64
}

/// How many keys of a namespace were changed after a version, but for those that came and went.
fn changed(from: Option<&Ns>, to: &Ns, after: Version) -> u64 {
    let gone =
        from.map_or(0, |from| from.entries.keys().filter(|key| !to.entries.contains_key(*key)).count());
    let set = to.entries.values().filter(|(version, _)| *version > after).count();
    (gone + set) as u64
}

impl Chronicle {
    fn is_unrecorded(&self, id: cohab::NamespaceId, after: Version, through: Version) -> bool {
        self.unrecorded.get(&id).is_some_and(|all| all.iter().any(|at| *at > after && *at <= through))
    }

    /// How many keys a coalesced delta changes.
    fn changes(&self, from: Version, to: Version, is_whole: bool) -> u64 {
        let (before, after) = (self.at(from), self.at(to));
        let of = |ns: &std::sync::Arc<Ns>| {
            let earlier = before.namespaces.get(&ns.id).map(|it| &**it);
            if is_whole || self.is_unrecorded(ns.id, from, to) {
                differing(earlier, ns)
            } else {
                changed(earlier, ns, from)
            }
        };
        after.namespaces.values().map(of).sum()
    }

    /// Whether a delta can be made from what the tip knows.
    fn can_tell(&self, from: Version, to: Version, kind: DeltaKind, tip: Version) -> bool {
        let state = self.at(to);
        match kind {
            Coalesced => state.namespaces.keys().all(|id| {
                let is_whole = from == Version::ZERO || self.is_unrecorded(*id, from, to);
                !is_whole || to == tip || !self.is_lost(*id, to, tip)
            }),
            Complete => !self.unrecorded.values().flatten().any(|at| *at > from && *at <= to),
        }
    }
}

/// Leads a replica on to a version, or finds that this cannot be told.
fn lead(world: &World, replica: &mut Replica, to: Version, kind: DeltaKind, is_whole: bool) -> bool {
    let tip = world.chronicle.version();
    let snapshot = world.store.snapshot().expect("can be taken").at(to).expect("is there");
    let from = if is_whole { Version::ZERO } else { replica.at };
    let delta = match snapshot.delta(from, kind) {
        Ok(delta) => delta,
        Err(error) => {
            assert_eq!(error.kind(), Kind::NoHistory, "{error}");
            assert!(!world.chronicle.can_tell(from, to, kind, tip), "{from} to {to}, {kind:?}: {error}");
            return false;
        }
    };
    assert!(world.chronicle.can_tell(from, to, kind, tip), "{from} to {to}, {kind:?}");
    assert_eq!((delta.store(), delta.from(), delta.to(), delta.kind()), (snapshot.store(), from, to, kind));
    let delta = Delta::from_bytes(delta.as_bytes().clone()).expect("is one");
    if to == replica.at
        && (to > Version::ZERO || replica.store.snapshot().expect("can be taken").upstream().is_some())
    {
        if from < to {
            refused(&replica.store, &delta, Kind::AlreadyApplied);
        } else {
            // It leads from there to there.
            let before = told(&replica.store);
            assert_eq!(replica.store.apply(&delta).expect("follows").changes, 0);
            assert_eq!(told(&replica.store), before);
        }
        return true;
    }
    let before = told(&replica.store);
    let Applied { version, upstream, changes, .. } = apply(&replica.store, &delta).expect("follows");
    assert_eq!((upstream.store, upstream.version), (snapshot.store(), to));
    assert!(version >= before.0);
    if kind == Coalesced {
        assert!(version <= before.0.next(), "it makes one version, or none");
        let expected = world.chronicle.changes(replica.at, to, is_whole || replica.at == Version::ZERO);
        assert_eq!(changes, expected, "{from} to {to}, replica at {}", replica.at);
    }
    replica.at = to;
    let shown = replica.store.snapshot().expect("can be taken");
    assert_eq!(shown.version(), version, "versions have no gaps");
    let stands = shown.upstream().expect("it is a replica");
    assert_eq!((stands.store, stands.version, stands.local), (snapshot.store(), to, version));
    assert_eq!(stands.chain, chain(&snapshot), "{to}");
    replica.stops.retain(|(own, _)| *own < version);
    replica.stops.push((version, to));
    compare(&world.chronicle, &shown, to, false);
    if from < to {
        refused(&replica.store, &delta, Kind::AlreadyApplied);
    }
    true
}

/// The log's chain through the version that is shown.
fn chain(snapshot: &Snapshot) -> [u8; 32] {
    let record = snapshot.log(snapshot.version()..).next();
    let chain = record.map(|it| it.expect("is sound").visit(|_| Ok(())).expect("is sound"));
    chain.unwrap_or(cohab::Chain::START).to_bytes()
}

/// Makes deltas that do not lead on from where the replica is.
fn lead_astray(world: &mut World, replica: &Replica) {
    let to = world.random.version(world.chronicle.version());
    let from = world.random.version(to);
    let kind = *world.random.pick(&[Coalesced, Complete]);
    let snapshot = world.store.snapshot().expect("can be taken").at(to).expect("is there");
    let Ok(delta) = snapshot.delta(from, kind) else { return };
    let is_new =
        replica.store.snapshot().expect("can be taken").upstream().is_none() && replica.at == Version::ZERO;
    if !is_new && from == to && to == replica.at {
        let before = told(&replica.store);
        assert_eq!(replica.store.apply(&delta).expect("leads nowhere").changes, 0);
        assert_eq!(told(&replica.store), before);
    } else if !is_new && to <= replica.at {
        refused(&replica.store, &delta, Kind::AlreadyApplied);
    } else if from != replica.at && (from > Version::ZERO || kind == Complete) {
        let error = refused(&replica.store, &delta, Kind::Gap);
        assert!(error.to_string().contains(&format!("version {from}")), "{error}");
    }
}

#[test]
fn replicas_hold_what_their_source_held() {
    let mut told_of = [0u64; 3];
    for seed in seeds("COHAB_DELTA_RUNS", 60) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, options());
        let mut replica = Replica::empty();
        let steps = 6 + world.random.below(14);
        for step in 0..=steps {
            world.step(MAY);
            if step < steps && !world.random.one_in(3) {
                continue;
            }
            if world.random.one_in(12) {
                replica = Replica::of_backup(&world);
                compare(
                    &world.chronicle,
                    &replica.store.snapshot().expect("can be taken"),
                    replica.at,
                    false,
                );
            }
            if world.random.one_in(3) {
                lead_astray(&mut world, &replica);
            }
            let tip = world.chronicle.version();
            let is_last = step == steps;
            let to = if is_last || world.random.one_in(2) {
                tip
            } else {
                v(replica.at.get() + world.random.below(tip.get() + 1 - replica.at.get()))
            };
            let kind = *world.random.pick(&[Coalesced, Coalesced, Complete]);
            let is_whole = kind == Coalesced && world.random.one_in(6);
            let is_led = lead(&world, &mut replica, to, kind, is_whole);
            told_of[usize::from(is_led)] += 1;
            // What cannot be told version by version may be told as a whole.
            if !is_led && kind == Complete {
                told_of[2] += u64::from(lead(&world, &mut replica, to, Coalesced, false));
            }
            if is_last && replica.at < tip {
                assert!(lead(&world, &mut replica, tip, Coalesced, false), "the present can always be told");
            }
            if is_last || world.random.one_in(3) {
                verify(&replica.store);
            }
            if world.random.one_in(8) {
                while replica.store.maintain().expect("can be done").more {}
            }
        }
        // The replica's own past is that of its source.
        let shown = replica.store.snapshot().expect("can be taken");
        for (own, of) in &replica.stops {
            if *own >= shown.oldest_readable() {
                compare(&world.chronicle, &shown.at(*own).expect("is there"), *of, true);
            }
        }
        check_log(&world.store.snapshot().expect("can be taken"), &shown);
        if world.random.one_in(8) {
            let full = Replica::of_backup(&world).store.snapshot().expect("can be taken");
            for info in full.namespaces().expect("can be listed") {
                let id = info.expect("is sound").id;
                let [full, own] = [&full, &shown].map(|it| it.namespace_by_id(id).expect("is there"));
                assert_eq!(full.digest(), own.digest());
                assert_eq!(
                    entries(full.all().expect("can be read")),
                    entries(own.all().expect("can be read"))
                );
            }
        }
        world.verify();
    }
    let [refused, led, other] = told_of;
    assert!(led > 5 * refused && refused > 0 && other > 0, "{told_of:?}");
}

fn verify(store: &Store) {
    let report = store.snapshot().expect("can be taken").verify(|_| ()).expect("can be verified");
    assert!(report.is_sound(), "{:?}", report.differences);
}

/// A version that was told as it was committed has the time and the label that it had.
fn check_log(source: &Snapshot, replica: &Snapshot) {
    let of = |snapshot: &Snapshot| -> Vec<_> {
        let told = |it: cohab::LogRecord<'_>| (it.time(), it.label().to_owned(), it.instance());
        snapshot.log(..).map(|it| told(it.expect("is sound"))).collect()
    };
    let mut known = of(source).into_iter();
    for one in of(replica) {
        if !one.1.starts_with("versions ") {
            assert!(known.any(|it| it == one), "{one:?} is not of the source, or not in order");
        }
    }
}

/// A source with a bit of everything, and its replica at some version.
fn pair(at: Version) -> (World, Replica) {
    let mut world = World::new(7, options());
    world.write_ops(&[create("a"), create("b"), put("a", 1, 1), put("b", 1, 1)]);
    world.write_ops(&[put("a", 1, 2), Op::Delete("b".into(), vec![1]), put("b", 2, 2)]);
    world.write_ops(&[create("c"), put("c", 3, 3), Op::Rename("a".into(), "d".into())]);
    world.write_ops(&[drop_all("c"), put("d", 4, 4)]);
    let mut replica = Replica::empty();
    if at > Version::ZERO {
        assert!(lead(&world, &mut replica, at, Coalesced, true));
    }
    (world, replica)
}

fn delta(world: &World, from: u64, to: u64, kind: DeltaKind) -> Delta {
    let snapshot = world.store.snapshot().expect("can be taken").at(v(to)).expect("is there");
    snapshot.delta(v(from), kind).expect("can be told")
}

#[test]
fn bytes_that_are_no_delta_any_more_are_refused() {
    let (world, _) = pair(v(0));
    for (from, kind) in [(0, Coalesced), (2, Coalesced), (2, Complete)] {
        let delta = delta(&world, from, 4, kind);
        let bytes = delta.as_bytes();
        for length in 0..bytes.len() {
            let error = Delta::from_bytes(bytes.slice(..length)).expect_err("is cut off");
            assert_eq!(error.kind(), Kind::Corrupt, "{length} bytes: {error}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Delta::from_bytes(bytes).expect_err("has changed");
            let kind = match bit / 8 {
                0..8 => Kind::InvalidInput,
                8..10 => Kind::Format,
                _ => Kind::Corrupt,
            };
            assert_eq!(error.kind(), kind, "bit {bit}: {error}");
        }
        let longer = [bytes, &b"x"[..]].concat();
        assert_eq!(Delta::from_bytes(longer).map(drop).map_err(|it| it.kind()), Err(Kind::Corrupt));
    }
    for bytes in [&b"Dear Sir or Madam"[..], b"x"] {
        assert_eq!(Delta::from_bytes(bytes).map(drop).map_err(|it| it.kind()), Err(Kind::InvalidInput));
    }
    assert_eq!(Delta::from_bytes(&b""[..]).map(drop).map_err(|it| it.kind()), Err(Kind::Corrupt));
}

#[test]
fn what_does_not_lead_on_is_refused() -> Result<()> {
    let (world, replica) = pair(v(2));
    let store = &replica.store;
    for (from, to, kind, refusal) in [
        // Skipped, or in another order.
        (3, 4, Coalesced, Kind::Gap),
        (3, 4, Complete, Kind::Gap),
        // Overlapping.
        (1, 4, Coalesced, Kind::Gap),
        (1, 3, Complete, Kind::Gap),
        (0, 4, Complete, Kind::Gap),
        // Repeated.
        (1, 2, Coalesced, Kind::AlreadyApplied),
        (0, 2, Coalesced, Kind::AlreadyApplied),
        (0, 1, Complete, Kind::AlreadyApplied),
        (0, 0, Coalesced, Kind::AlreadyApplied),
    ] {
        refused(store, &delta(&world, from, to, kind), refusal);
    }
    // One that leads nowhere is no mistake.
    let before = told(store);
    assert_eq!(store.apply(&delta(&world, 2, 2, Coalesced))?.changes, 0);
    assert_eq!(told(store), before);
    let (own, other) = (delta(&world, 2, 4, Coalesced), pair(v(0)).0);
    let foreign = delta(&other, 2, 4, Coalesced);
    refused(store, &foreign, Kind::Foreign);
    refused(store, &delta(&other, 0, 4, Coalesced), Kind::Foreign);
    refused(&world.store, &own, Kind::Foreign);
    refused(&world.store, &delta(&world, 0, 4, Coalesced), Kind::Foreign);
    refused(&other.store, &own, Kind::Foreign);
    refused(&Replica::empty().store, &own, Kind::Gap);
    refused(&Replica::empty().store, &delta(&world, 2, 4, Complete), Kind::Gap);
    // It takes no other writes, in whatever way.
    let kind = |error: Error| error.kind();
    assert_eq!(store.write(|tx| tx.put("b", "k", "v")).map_err(kind).err(), Some(Kind::ReadOnly));
    let batch = cohab::Batch::new().put(&"b".parse()?, "k", "v");
    assert_eq!(store.submit(batch).map_err(kind).err(), Some(Kind::ReadOnly));
    assert_eq!(store.purge("c", |_| ()).map_err(kind).err(), Some(Kind::ReadOnly));
    assert_eq!(undo(store).map_err(kind).err(), Some(Kind::ReadOnly));
    store.apply(&own)?;
    // Promoted, with and without writes.
    assert_eq!(store.promote_replica()?.version, v(4));
    assert_eq!(store.promote_replica().map_err(kind), Err(Kind::InvalidInput));
    for _ in 0..2 {
        for it in [&own, &delta(&world, 4, 4, Coalesced), &delta(&world, 0, 4, Coalesced)] {
            refused(store, it, Kind::Diverged);
        }
        store.write(|tx| tx.put("b", "k", "v"))?;
    }
    assert_eq!(store.snapshot()?.upstream().map(|it| (it.version, it.promoted)), Some((v(4), true)));
    verify(store);
    Ok(())
}

/// One that was restored from a backup takes writes, after which it is none.
#[test]
fn a_backup_that_was_written_to_is_no_replica() -> Result<()> {
    let (mut world, _) = pair(v(0));
    let replica = Replica::of_backup(&world);
    replica.store.write(|tx| tx.put("b", "own", "v"))?;
    world.write_ops(&[put("b", 9, 9)]);
    for it in [delta(&world, 4, 5, Coalesced), delta(&world, 4, 5, Complete), delta(&world, 0, 5, Coalesced)]
    {
        refused(&replica.store, &it, Kind::Diverged);
    }
    // Undoing what was written does not make it one again.
    replica.store.write(|tx| tx.rollback(v(4)))?;
    refused(&replica.store, &delta(&world, 4, 5, Coalesced), Kind::Diverged);
    Ok(())
}

#[test]
fn a_source_whose_history_was_rewritten_is_noticed() {
    let (mut world, _) = pair(v(0));
    let mut early = Replica::of_backup(&world);
    let mut late = Replica::of_backup(&world);
    let old = world.copy_files();
    world.write_ops(&[put("b", 9, 9), create("mine"), put("mine", 1, 1)]);
    world.write_ops(&[put("b", 8, 8)]);
    assert!(lead(&world, &mut late, v(6), Coalesced, false));
    let true_history = delta(&world, 4, 6, Coalesced);
    // The store is put back, and goes another way.
    world.put_back(old, v(4));
    world.write_ops(&[put("b", 7, 7), create("other"), put("other", 2, 2)]);
    world.write_ops(&[put("b", 6, 6)]);
    refused(&late.store, &delta(&world, 0, 6, Coalesced), Kind::Diverged);
    refused(&late.store, &delta(&world, 4, 6, Coalesced), Kind::Diverged);
    refused(&late.store, &delta(&world, 6, 6, Coalesced), Kind::Diverged);
    // Nothing of what this changes has become another in the meantime: the history alone tells.
    world.write_ops(&[Op::Describe("d".into(), "told".into())]);
    for kind in [Coalesced, Complete] {
        refused(&late.store, &delta(&world, 6, 7, kind), Kind::Diverged);
        refused(&late.store, &delta(&world, 5, 7, kind), Kind::Gap);
    }
    // Who has seen nothing of what is gone goes the new way, and not the old one any more.
    assert!(lead(&world, &mut early, v(5), Complete, false));
    refused(&early.store, &true_history, Kind::Gap);
    assert!(lead(&world, &mut early, v(7), Coalesced, false));
}

/// The whole store leads on from anywhere, so that of a history that was written anew only what does not fit shows.
#[test]
fn a_whole_store_reconciles_a_replica_and_never_gives_an_identity_to_another_namespace() -> Result<()> {
    let (mut world, _) = pair(v(0));
    let old = world.copy_files();
    world.write_ops(&[create("mine"), put("mine", 1, 1), put("mine", 2, 2)]);
    let mut replica = Replica::of_backup(&world);
    world.put_back(old, v(4));
    for i in 0..5 {
        world.write_ops(&[put("b", 7, i)]);
    }
    // An identity was given back.
    refused(&replica.store, &delta(&world, 0, 9, Coalesced), Kind::Diverged);
    verify(&replica.store);
    // With as many namespaces nothing tells.
    world.write_ops(&[create("other"), put("other", 2, 3)]);
    let whole = delta(&world, 0, 10, Coalesced);
    assert_eq!(replica.store.apply(&whole).map_err(|it| it.kind()), Err(Kind::Gap), "not unless it is meant");
    replica.store.reset(&whole)?;
    replica.at = v(10);
    compare(&world.chronicle, &replica.store.snapshot()?, v(10), false);
    verify(&replica.store);
    world.write_ops(&[create("another"), put("another", 1, 9)]);
    assert!(lead(&world, &mut replica, v(11), Complete, false));
    replica.store.promote_replica()?;
    replica.store.write(|tx| tx.create_namespace("own").and_then(|_| tx.put("own", [1], [1])))?;
    assert_eq!(replica.store.snapshot()?.namespace("own")?.count(), 1);
    verify(&replica.store);
    Ok(())
}

#[test]
fn a_whole_store_writes_what_differs_and_removes_what_is_gone() -> Result<()> {
    let mut world = World::new(1, options());
    let many: Vec<_> = (0..10_000u32)
        .filter(|i| i % 3 > 0)
        .map(|i| Op::Put("a".into(), i.to_be_bytes().to_vec(), vec![1; 20]))
        .collect();
    world.write_ops(&[create("a"), create("gone"), put("gone", 1, 1)]);
    world.write_ops(&many);
    let mut replica = Replica::of_backup(&world);
    // Longer than what is looked at in one step: between, before and behind what there is.
    let change = |i: u32| {
        let key = i.to_be_bytes().to_vec();
        match i % 7 {
            0 => Some(Op::Put("a".into(), key, vec![2])),
            1 => Some(Op::Delete("a".into(), key)),
            _ => None,
        }
    };
    world.write_ops(&(0..12_000).filter_map(change).collect::<Vec<_>>());
    world.write_ops(&[drop_all("gone"), Op::Purge("gone".into()), create("new"), put("new", 1, 1)]);
    let tip = world.chronicle.version();
    // `lead` compares the number of changes.
    assert!(lead(&world, &mut replica, tip, Coalesced, true));
    verify(&replica.store);
    world.write_ops(&[Op::Describe("a".into(), "told".into())]);
    let whole = delta(&world, 0, tip.get() + 1, Coalesced);
    assert_eq!(replica.store.reset(&whole)?.changes, 0, "nothing differs");
    verify(&replica.store);
    Ok(())
}

/// Makes a delta whose bytes are intact, and that tells something else.
fn altered(delta: &Delta, mut alter: impl FnMut(usize, Piece<'_>, &mut dyn FnMut(Piece<'_>))) -> Delta {
    let reader = DeltaReader::open(delta.as_bytes(), u64::MAX).expect("is one");
    let mut writer = DeltaWriter::begin(reader.header(), u64::MAX);
    let mut index = 0;
    reader
        .visit(|piece| {
            alter(index, piece, &mut |piece| writer.piece(&piece).expect("breaks no rule"));
            index += 1;
            Ok::<_, cohab_log::DeltaError>(())
        })
        .expect("is sound");
    Delta::from_bytes(writer.finish().expect("breaks no rule")).expect("is one")
}

#[test]
fn a_delta_that_does_not_make_what_it_says_is_refused_whole() -> Result<()> {
    for (from, kind) in [(2, Coalesced), (2, Complete), (0, Coalesced)] {
        let (world, replica) = pair(v(2));
        let delta = delta(&world, from, 4, kind);
        let mut pieces = Vec::new();
        altered(&delta, |_, piece, write| {
            pieces.push(format!("{piece:?}"));
            write(piece);
        });
        for (at, told) in pieces.iter().enumerate() {
            // One entry is left out, or another one.
            if told.starts_with("Put") || told.starts_with("Delete") {
                let less = altered(&delta, |index, piece, write| {
                    if index != at {
                        write(piece);
                    }
                });
                refused(&replica.store, &less, Kind::Diverged);
                let other = altered(&delta, |index, piece, write| match piece {
                    Piece::Put { key, .. } if index == at => write(Piece::Put { key, value: b"other" }),
                    Piece::Delete { key } if index == at => write(Piece::Put { key, value: b"other" }),
                    piece => write(piece),
                });
                refused(&replica.store, &other, Kind::Diverged);
            }
            if told.starts_with("Namespace") {
                let after = altered(&delta, |index, piece, write| match piece {
                    Piece::Namespace { namespace, before, mut after, is_whole } if index == at => {
                        after.add(b"more", b"");
                        write(Piece::Namespace { namespace, before, after, is_whole });
                    }
                    piece => write(piece),
                });
                refused(&replica.store, &after, Kind::Diverged);
                if from > 0 {
                    let before = altered(&delta, |index, piece, write| match piece {
                        Piece::Namespace { namespace, mut before, after, is_whole } if index == at => {
                            before.add(b"more", b"");
                            write(Piece::Namespace { namespace, before, after, is_whole });
                        }
                        piece => write(piece),
                    });
                    refused(&replica.store, &before, Kind::Diverged);
                }
                let absent = altered(&delta, |index, piece, write| match piece {
                    Piece::Namespace { before, after, is_whole, .. } if index == at => {
                        let namespace = cohab::NamespaceId::new(99);
                        write(Piece::Namespace { namespace, before, after, is_whole });
                    }
                    piece => write(piece),
                });
                refused(&replica.store, &absent, Kind::Diverged);
            }
            if told.starts_with("Record") {
                let garbage = altered(&delta, |index, piece, write| match piece {
                    Piece::Record { namespace, .. } if index == at => {
                        let record = Some(serde_bytes(b"\x02garbage"));
                        write(Piece::Record { namespace, record });
                    }
                    piece => write(piece),
                });
                refused(&replica.store, &garbage, Kind::Corrupt);
            }
        }
        // After all of this it is what it was, and goes on.
        apply(&replica.store, &delta)?;
        compare(&world.chronicle, &replica.store.snapshot()?, v(4), false);
        verify(&replica.store);
    }
    Ok(())
}

/// A delta whose bytes are intact and whose digests add up, made by somebody who means harm.
#[test]
fn what_a_delta_cannot_say_of_namespaces_is_refused() -> Result<()> {
    let (world, replica) = pair(v(2));
    let sound = delta(&world, 2, 4, Coalesced);
    let reader = DeltaReader::open(sound.as_bytes(), u64::MAX).expect("is one");
    let known = world.chronicle.tip().live()[0].id;
    let snapshot = replica.store.snapshot()?;
    let next = DeltaReader::open(sound.as_bytes(), u64::MAX).expect("is one").header().next_namespace;
    let next = next.expect("there are more");
    let record = |id: cohab::NamespaceId, edit: &dyn Fn(&mut cohab_namespace::Record)| {
        let metadata = cohab::Metadata::new(Name::new("made-up").expect("is a name"));
        let mut record =
            cohab_namespace::Record::create(id, metadata, v(3), Timestamp::from_micros(1)).expect("is one");
        edit(&mut record);
        cohab_namespace::catalog::Stored::encode(&record)
    };
    let apply = |next_namespace: Option<cohab::NamespaceId>, records: &[(cohab::NamespaceId, Vec<u8>)]| {
        let mut header = reader.header().clone();
        header.next_namespace = next_namespace;
        let mut writer = DeltaWriter::begin(&header, u64::MAX);
        for (namespace, record) in records {
            let record = Some(serde_bytes(record));
            writer.piece(&Piece::Record { namespace: *namespace, record }).expect("breaks no rule");
        }
        Delta::from_bytes(writer.finish().expect("breaks no rule")).expect("is one")
    };
    drop(snapshot);
    let after = next.checked_next();
    let zero = cohab::NamespaceId::new(0);
    let cases: Vec<(&str, Delta, Kind)> = vec![
        ("another's record", apply(after, &[(next, record(known, &|_| ()))]), Kind::Corrupt),
        ("an id that is none", apply(after, &[(zero, record(zero, &|_| ()))]), Kind::Corrupt),
        (
            "two of one",
            apply(after, &[(next, record(next, &|_| ())), (next, record(next, &|_| ()))]),
            Kind::Corrupt,
        ),
        (
            "a title that is too long",
            apply(after, &[(next, record(next, &|record| record.metadata.title = "x".repeat(2000)))]),
            Kind::InvalidInput,
        ),
        (
            "a label that is none",
            apply(
                after,
                &[(next, record(next, &|it| _ = it.metadata.labels.insert("a=b".into(), String::new())))],
            ),
            Kind::InvalidInput,
        ),
        (
            "a name that is taken",
            apply(
                after,
                &[(next, record(next, &|it| it.metadata.name = Name::new("b").expect("is a name")))],
            ),
            Kind::Exists,
        ),
        ("an id that is handed out again", apply(Some(known), &[]), Kind::Diverged),
        ("an id that is in use already", apply(Some(next), &[(next, record(next, &|_| ()))]), Kind::Diverged),
    ];
    for (what, delta, kind) in cases {
        let before = told(&replica.store);
        let refusal = replica.store.apply(&delta).map_err(|it| it.kind());
        assert_eq!(refusal.map(drop), Err(kind), "{what}");
        assert_eq!(told(&replica.store), before, "{what}");
    }
    replica.store.apply(&sound)?;
    verify(&replica.store);
    Ok(())
}

fn serde_bytes(bytes: &[u8]) -> &::serde_bytes::Bytes {
    ::serde_bytes::Bytes::new(bytes)
}

#[test]
fn of_what_the_log_has_no_more_no_delta_can_be_made() -> Result<()> {
    let mut world = World::new(1, Store::options().retention(Retention::UNBOUNDED.versions(3)));
    world.is_trimmed = true;
    world.write_ops(&[create("a")]);
    for i in 0..9 {
        world.write_ops(&[put("a", i, i)]);
    }
    while world.store.maintain()?.more {}
    let snapshot = world.store.snapshot()?;
    assert_eq!(snapshot.oldest_version(), v(8));
    for kind in [Coalesced, Complete] {
        for from in 0..=11 {
            let made = snapshot.delta(v(from), kind).map(|it| it.from());
            let expected = match from {
                0 if kind == Coalesced => Ok(v(0)),
                0..7 => Err((Kind::TooOld, Some(v(7)))),
                7..=10 => Ok(v(from)),
                _ => Err((Kind::NotFound, None)),
            };
            assert_eq!(made.map_err(|it| (it.kind(), it.oldest_version())), expected, "{kind:?} from {from}");
        }
    }
    let mut replica = Replica::of_backup(&world);
    world.write_ops(&[put("a", 20, 20)]);
    assert!(lead(&world, &mut replica, v(11), Complete, false));
    Ok(())
}

/// A replica can have replicas.
#[test]
fn a_replica_leads_others_on() -> Result<()> {
    for seed in seeds("COHAB_DELTA_RUNS", 4) {
        let _seed = Seed(seed);
        let mut world = World::new(seed, options());
        let (mut first, second) = (Replica::empty(), Replica::empty());
        let mut at = Version::ZERO;
        for _ in 0..6 {
            for _ in 0..3 {
                world.step(MAY);
            }
            let tip = world.chronicle.version();
            if first.at == tip {
                continue;
            }
            assert!(lead(&world, &mut first, tip, Coalesced, false));
            let snapshot = first.store.snapshot()?;
            if snapshot.version() == at && at > Version::ZERO {
                continue;
            }
            let own = snapshot.delta(at, Coalesced)?;
            at = second.store.apply(&own)?.upstream.version;
            compare(&world.chronicle, &second.store.snapshot()?, tip, false);
            verify(&second.store);
            refused(&second.store, &delta(&world, 0, tip.get(), Coalesced), Kind::Foreign);
        }
    }
    Ok(())
}

/// Fails the k-th operation while a delta is applied, for every k until it works.
fn fail_every_operation(plan: impl Fn(&Faults, u64), kind: DeltaKind) -> Result<u64> {
    let scratch = Scratch::new();
    let faults = Faults::default();
    let store = faults.install(options().mapping(Mapping::Off)).open(scratch.path())?;
    let mut world = World::new(3, options());
    let bulk = |world: &mut World, value: u8| {
        let mut ops: Vec<_> = (0..60u32)
            .map(|i| Op::Put("a".into(), (i * 20).to_be_bytes().to_vec(), vec![value; 400]))
            .collect();
        ops.push(Op::Describe("a".into(), format!("{value}")));
        world.write_ops(&ops);
        world.write_ops(&[put("a", 1, value), create(&format!("n{value}"))]);
    };
    world.write_ops(&[create("a")]);
    bulk(&mut world, 0);
    let mut at = store.apply(&delta(&world, 0, world.chronicle.version().get(), Coalesced))?.upstream.version;
    for k in 0..200u8 {
        bulk(&mut world, k + 1);
        let tip = world.chronicle.version();
        let delta = delta(&world, at.get(), tip.get(), kind);
        let before = store.snapshot()?.version();
        plan(&faults, k.into());
        let done = store.apply(&delta);
        if faults.heal() == 0 {
            assert_eq!(done?.upstream.version, tip);
            return Ok(k.into());
        }
        let error = done.expect_err("a failed operation is reported");
        assert!(matches!(error.kind(), Kind::CommitUnknown | Kind::Io), "{error:?}");
        let found = store.reopen()?;
        let shown = store.snapshot()?;
        let upstream = shown.upstream().expect("it is a replica");
        assert_eq!(upstream.local, found, "k = {k}");
        if upstream.version == at {
            assert_eq!(found, before, "k = {k}: nothing of it is there");
        } else {
            assert_eq!(upstream.version, tip, "k = {k}: all of it is there");
        }
        compare(&world.chronicle, &shown, upstream.version, false);
        assert!(shown.verify(|_| ())?.is_sound(), "k = {k}");
        drop(shown);
        match store.apply(&delta) {
            Ok(done) => assert_eq!((found, done.upstream.version), (before, tip), "k = {k}"),
            Err(error) => assert_eq!((error.kind(), found > before), (Kind::AlreadyApplied, true), "k = {k}"),
        }
        at = tip;
        compare(&world.chronicle, &store.snapshot()?, tip, false);
        verify(&store);
    }
    unreachable!("some delta is applied")
}

#[test]
fn a_full_disk_at_every_write_leaves_a_replica_before_or_after() -> Result<()> {
    let writes = fail_every_operation(|faults, k| faults.fail_write(k, Failure::ForEver), Coalesced)?;
    assert!(writes > 5, "only {writes} writes were failed");
    fail_every_operation(|faults, k| faults.fail_write(k, Failure::Once), Complete).map(drop)
}

#[test]
fn a_failed_sync_leaves_a_replica_before_or_after() -> Result<()> {
    let syncs = fail_every_operation(|faults, k| faults.fail_sync(k, Failure::Once), Complete)?;
    assert!(syncs >= 2, "only {syncs} syncs were failed");
    fail_every_operation(|faults, k| faults.fail_sync(k, Failure::ForEver), Coalesced).map(drop)
}

/// Changes the store's own row, as no program does.
fn tamper(path: &std::path::Path, f: impl FnOnce(&mut Root)) {
    const CATALOG: Table = Table::new(1, "catalog");
    const TABLES: &[Table] = &[Table::new(0, "data"), CATALOG, Table::new(2, "log")];
    let options = cohab_engine::Options::new(TABLES).create(false);
    let engine = cohab_engine::Engine::open(&path.join("store.redb"), options).expect("is there");
    engine
        .write(|tx| {
            let row = tx.get(CATALOG, ROOT_KEY)?.map(|row| Root::decode(&row));
            let mut root = row.expect("is there").expect("is one");
            f(&mut root);
            tx.insert(CATALOG, ROOT_KEY, &[&root.encode()]).map(drop)
        })
        .map_err(|error: cohab_engine::Error| error)
        .expect("can be written");
}

/// As by a program that knows nothing of replicas.
#[test]
fn a_replica_that_somebody_wrote_to_is_noticed() -> Result<()> {
    let (mut world, replica) = pair(v(2));
    replica.store.apply(&delta(&world, 2, 3, Coalesced))?;
    let next = delta(&world, 3, 4, Coalesced);
    let path = replica.store.path().to_owned();
    let Replica { store, _scratch, .. } = replica;
    drop(store);
    // The versions that its own row tells of are not the ones that deltas have made.
    tamper(&path, |root| {
        root.upstream.as_mut().expect("is one").local = v(1);
    });
    let store = options().register(false).open(&path)?;
    let error = refused(&store, &next, Kind::Diverged);
    assert!(error.to_string().contains("versions 2 to 2"), "{error}");
    world.write_ops(&[put("b", 9, 9)]);
    refused(&store, &delta(&world, 0, 5, Coalesced), Kind::Diverged);
    assert_eq!(store.write(|tx| tx.put("b", "k", "v")).map_err(|it| it.kind()).err(), Some(Kind::ReadOnly));
    Ok(())
}

/// Identities go on from those of the source, also where the last ones are gone.
#[test]
fn a_promoted_replica_hands_out_identities_that_were_never_there() -> Result<()> {
    for kind in [Coalesced, Complete] {
        let (mut world, mut replica) = pair(v(2));
        world.write_ops(&[create("x"), put("x", 1, 1)]);
        let last = world.store.snapshot()?.namespace("x")?.id();
        world.write_ops(&[drop_all("x"), Op::Purge("x".into())]);
        if kind == Coalesced {
            // What came and went is nobody's business.
            altered(&delta(&world, 2, 6, kind), |_, piece, write| {
                assert!(!matches!(piece, Piece::Record { namespace, .. } if namespace == last));
                write(piece);
            });
        }
        assert!(lead(&world, &mut replica, v(6), kind, false));
        replica.store.promote_replica()?;
        let id = replica.store.write(|tx| tx.create_namespace("own"))?.value;
        assert!(id > last, "#{id} after #{last}");
        replica.store.write(|tx| tx.put("own", "k", "v"))?;
        verify(&replica.store);
    }
    Ok(())
}
