use cohab::{DeltaKind, Followed, Follower, History, Kind, Result, Store, Update, Version};

use crate::{Scratch, v};

/// What a store holds, as text: names, metadata, counts, digests.
pub(crate) fn holds(store: &Store) -> Result<Vec<String>> {
    let snapshot = store.refresh()?;
    let mut all = Vec::new();
    for info in snapshot.namespaces()?.chain(snapshot.dropped_namespaces()?) {
        let info = info?;
        all.push(format!(
            "#{} {} {:?} {} {} {} {}",
            info.id,
            info.name,
            info.title,
            info.keys,
            info.bytes,
            info.digest,
            info.dropped.is_some()
        ));
    }
    Ok(all)
}

#[test]
fn a_replica_keeps_in_step() -> Result<()> {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    let source = ours.with_namespace();
    for i in 0..20 {
        source.write(|tx| tx.put("n", format!("{i}"), "x"))?;
    }
    let (mut follower, replica) = (Follower::open(ours.path(), theirs.path(), |_| ())?, theirs.path());
    assert!(matches!(follower.catch_up()?, Followed::Current(_)));
    assert_eq!(holds(&source)?, holds(follower.replica())?);
    source.write(|tx| tx.create_namespace("m"))?;
    source.write(|tx| tx.put("m", "k", "v"))?;
    source.write(|tx| tx.rename_namespace("n", "renamed"))?;
    source.write(|tx| tx.update_namespace("m", &Update::new().title("T").history(History::Off)))?;
    source.write(|tx| tx.put("m", "unrecorded", "v"))?;
    source.write(|tx| tx.delete("renamed", "3"))?;
    assert!(follower.wait(std::time::Duration::from_secs(5))?);
    let caught = follower.catch_up()?;
    assert!(matches!(caught, Followed::Delta { .. }), "{caught:?}");
    assert_eq!(holds(&source)?, holds(follower.replica())?);
    let refused = follower.replica().write(|tx| tx.put("m", "k", "mine")).expect_err("it is a replica");
    assert_eq!(refused.kind(), Kind::ReadOnly);
    assert_eq!(Follower::open(ours.path(), &replica, |_| ()).expect_err("two").kind(), Kind::Busy);
    drop(follower);
    assert_eq!(Follower::open(ours.path(), ours.path(), |_| ()).expect_err("itself").kind(), Kind::Foreign);
    drop(source);
    assert_eq!(Follower::open(&replica, ours.path(), |_| ()).expect_err("circle").kind(), Kind::Foreign);
    let promoted = Store::open(&replica)?;
    promoted.promote_replica()?;
    promoted.write(|tx| tx.put("m", "k", "mine"))?;
    drop(promoted);
    let diverged = Follower::open(ours.path(), &replica, |_| ()).expect_err("it has a life of its own");
    assert_eq!(diverged.kind(), Kind::Diverged);
    Ok(())
}

#[test]
fn a_whole_delta_makes_a_replica_of_an_empty_store_and_others_lead_it_on() -> Result<()> {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    let (source, replica) = (ours.with_namespace(), theirs.store());
    source.write(|tx| tx.put("n", "a", "1"))?;
    replica.apply(&source.snapshot()?.delta(Version::ZERO, DeltaKind::Coalesced)?)?;
    source.write(|tx| tx.put("n", "b", "2"))?;
    source.write(|tx| tx.delete("n", "a"))?;
    let delta = source.snapshot()?.delta(v(2), DeltaKind::Complete)?;
    let before = replica.snapshot()?.version();
    let applied = replica.apply(&delta)?;
    assert_eq!(applied.version.get(), before.get() + 2, "one for each");
    assert_eq!(holds(&source)?, holds(&replica)?);
    assert_eq!(replica.apply(&delta).expect_err("again").kind(), Kind::AlreadyApplied);
    Ok(())
}

/// Its source's first version left nothing, so the replica has come to it without a version of its own.
#[test]
fn a_replica_that_holds_nothing_takes_a_whole_store_wherever_it_is() -> Result<()> {
    let (ours, theirs) = (Scratch::new(), Scratch::new());
    let (source, replica) = (ours.store(), theirs.store());
    source.write(|tx| {
        tx.create_namespace("n")?;
        tx.drop_namespace("n", cohab::DropMode::IfEmpty)?;
        tx.purge_namespace("n").map(drop)
    })?;
    replica.apply(&source.snapshot()?.delta(Version::ZERO, DeltaKind::Coalesced)?)?;
    let stands = replica.snapshot()?;
    assert_eq!((stands.version(), stands.upstream().map(|it| it.version)), (Version::ZERO, Some(v(1))));
    source.write(|tx| tx.create_namespace("m"))?;
    replica.apply(&source.snapshot()?.delta(Version::ZERO, DeltaKind::Coalesced)?)?;
    assert_eq!(holds(&source)?, holds(&replica)?);
    Ok(())
}
