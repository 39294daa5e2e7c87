//! Followers, sources and the processes they are in, killed at every point.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use cohab::{
    Clock, Followed, Follower, Kind, Mapping, Result, Retention, Role, Store, SystemClock, Timestamp,
};
use cohab_testkit::{Failure, Faults};

use crate::actor::Actor;
use crate::follow::holds;
use crate::{Random, Scratch, ledger};

/// Brings a replica up, whatever state it was left in, and compares it with its source.
fn resume(source: &Path, replica: &Path) -> Result<(Followed, u64)> {
    let mut follower = Follower::open(source, replica, |_| ())?;
    let caught = follower.catch_up()?;
    assert!(matches!(follower.catch_up()?, Followed::Current(_)));
    let snapshot = follower.replica().refresh()?;
    assert!(snapshot.verify(|_| ())?.is_sound());
    assert_eq!(holds(follower.source())?, holds(follower.replica())?);
    Ok((caught, snapshot.version().get()))
}

fn follow(source: &Path) -> String {
    format!("follow {}", source.display())
}

/// Kills a follower at the n-th operation of a kind while it applies, for every n there is.
fn killed_at_every(operation: &str) -> Result<u64> {
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    let (source, path) = (ours.store(), theirs.path());
    resume(&ours.path(), &path)?;
    for n in 1.. {
        let before = Store::options().role(Role::Reader).open(&path)?.snapshot()?;
        let (version, at) = (before.version().get(), before.upstream().expect("is a replica").version);
        drop(before);
        ledger::commit(&source)?;
        ledger::commit(&source)?;
        let mut follower = Actor::start(&path);
        follower.does(&format!("{} gate", follow(&ours.path())));
        follower.does(&format!("arm hold {operation} {n}"));
        follower.does("catch-up-aside");
        let event = follower.hears("");
        if event.starts_with("caught ") {
            return Ok(n - 1);
        }
        assert_eq!(event, "still");
        follower.kill();
        let snapshot = Store::options().role(Role::Reader).open(&path)?.snapshot()?;
        let upstream = snapshot.upstream().expect("is a replica");
        assert_eq!(upstream.local, snapshot.version(), "{operation} {n}: data and position agree");
        let (now, reached) = (snapshot.version().get(), upstream.version);
        assert!(
            (now, reached) == (version, at) || (now, reached) == (version + 1, source.snapshot()?.version()),
            "{operation} {n}: from {version} of {at} to {now} of {reached}"
        );
        drop(snapshot);
        let (_, resumed) = resume(&ours.path(), &path)?;
        assert_eq!(resumed, version + 1, "{operation} {n}: applied once");
    }
    unreachable!("some operation is not met")
}

#[test]
fn invariant_8_a_follower_killed_before_any_write_goes_on_where_it_was() -> Result<()> {
    assert!(killed_at_every("write")? >= 5);
    Ok(())
}

#[test]
fn invariant_8_a_follower_killed_before_or_after_any_sync_goes_on_where_it_was() -> Result<()> {
    assert!(killed_at_every("sync")? >= 2);
    assert!(killed_at_every("synced")? >= 2);
    Ok(())
}

#[test]
fn a_follower_killed_while_it_copies_begins_again_or_has_a_whole_copy() -> Result<()> {
    let ours = Scratch::with_ledger();
    let source = ours.store();
    let filler = vec![7; 1 << 20];
    for i in 0..16_u8 {
        source.write(|tx| tx.put("bulk", [i], &filler))?;
    }
    let mut random = Random(5);
    for _ in 0..12 {
        let theirs = Scratch::new();
        let mut follower = Actor::start(&theirs.path());
        follower.does(&format!("follow-aside {}", ours.path().display()));
        thread::sleep(Duration::from_micros(random.next() % 60_000));
        follower.kill();
        resume(&ours.path(), &theirs.path())?;
        let left = fs::read_dir(theirs.path()).expect("is there").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name == "copy").collect();
        assert!(left.is_empty());
    }
    Ok(())
}

#[test]
fn source_and_follower_killed_at_random_end_in_step() -> Result<()> {
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    let mut random = Random(11);
    let mut reached = 0;
    for round in 0..12 {
        let mut writer = Actor::open(&ours.path(), "writer");
        writer.does("keep-committing");
        let mut follower = Actor::start(&theirs.path());
        follower.does(&follow(&ours.path()));
        follower.does("keep-following");
        follower.hears("caught ");
        thread::sleep(Duration::from_millis(random.next() % 80));
        let kills_writer_first = random.next().is_multiple_of(2);
        let (said, _) = if kills_writer_first {
            let said = writer.kill();
            thread::sleep(Duration::from_millis(random.next() % 30));
            (follower.kill(), said)
        } else {
            (follower.kill(), writer.kill())
        };
        let broken: Vec<_> =
            said.iter().filter(|it| it.starts_with("broken") || it.starts_with("refused")).collect();
        assert!(broken.is_empty(), "round {round}: {broken:?}");
        let snapshot = Store::options().role(Role::Reader).open(theirs.path())?.snapshot()?;
        let at = snapshot.upstream().expect("is a replica").version.get();
        assert!(at >= reached, "round {round}: from {reached} back to {at}");
        reached = at;
    }
    let (followed, _) = resume(&ours.path(), &theirs.path())?;
    assert!(!matches!(followed, Followed::Whole { .. }), "no round cost a full copy: {followed:?}");
    Ok(())
}

#[test]
fn the_log_is_kept_for_a_follower_and_without_its_word_everything_is_compared() -> Result<()> {
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    resume(&ours.path(), &theirs.path())?;
    let trimmed = Store::options().retention(Retention::default().versions(3)).open(ours.path())?;
    for _ in 0..40 {
        ledger::commit(&trimmed)?;
    }
    while trimmed.maintain()?.more {}
    let oldest = trimmed.snapshot()?.oldest_version().get();
    assert!(oldest <= 2, "the log is kept from {oldest} on");
    let (followed, _) = resume(&ours.path(), &theirs.path())?;
    assert!(matches!(followed, Followed::Delta { .. }), "{followed:?}");

    let replica = trimmed.followers().first().expect("has left word").replica;
    trimmed.forget_follower(replica);
    for _ in 0..40 {
        ledger::commit(&trimmed)?;
    }
    while trimmed.maintain()?.more {}
    assert!(trimmed.snapshot()?.oldest_version().get() > 40, "nobody keeps it");
    let (followed, _) = resume(&ours.path(), &theirs.path())?;
    let Followed::Whole { because, applied } = followed else { panic!("{followed:?}") };
    assert!(because.contains("older than what the log keeps"), "{because}");
    assert_eq!(applied.changes, 16, "only what was different");
    Ok(())
}

/// A reader believes for half a second that the file is the one it was; until then nothing is different.
fn refused_soon(follower: &mut Follower, kind: Kind) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let caught = follower.catch_up();
        if matches!(&caught, Err(error) if error.kind() == kind) {
            return;
        }
        assert!(Instant::now() < deadline, "{caught:?}");
        assert!(!matches!(caught, Ok(Followed::Delta { .. } | Followed::Whole { .. })), "{caught:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn another_store_or_another_history_under_the_same_path_is_told_from_the_one_that_was_followed() -> Result<()>
{
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    let source = ours.store();
    ledger::commit(&source)?;
    source.backup(ours.file("backup"), |_| ())?;
    let copied = ours.file("copied");
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).expect("can be made");
        for name in ["store.redb", "store.json"] {
            fs::copy(from.join(name), to.join(name)).expect("can be copied");
        }
    };
    drop(source);
    copy(&ours.path(), &copied);
    let source = ours.store();
    ledger::commit(&source)?;
    let mut follower = Follower::open(ours.path(), theirs.path(), |_| ())?;
    follower.catch_up()?;
    let before = holds(follower.replica())?;
    drop(source);

    // Put back from a copy, and written anew: as many versions, another history.
    fs::remove_dir_all(ours.path()).expect("can be removed");
    copy(&copied, &ours.path());
    let source = ours.store();
    source.write(|tx| tx.put("accounts", [0], "rewritten"))?;
    refused_soon(&mut follower, Kind::Diverged);
    source.write(|tx| tx.put("accounts", [0], "on"))?;
    assert_eq!(follower.catch_up().expect_err("another history").kind(), Kind::Diverged);
    assert_eq!(holds(follower.replica())?, before);
    drop(source);

    // Dropped and made again.
    fs::remove_dir_all(ours.path()).expect("can be removed");
    ledger::create(&ours.store())?;
    refused_soon(&mut follower, Kind::Foreign);
    assert_eq!(holds(follower.replica())?, before);
    drop(follower);
    assert_eq!(
        Follower::open(ours.path(), theirs.path(), |_| ()).expect_err("another store").kind(),
        Kind::Foreign
    );
    Ok(())
}

#[test]
fn a_follower_is_soon_in_step_with_a_writer_in_another_process() {
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    let mut writer = Actor::open(&ours.path(), "writer");
    let mut follower = Actor::start(&theirs.path());
    follower.does(&follow(&ours.path()));
    follower.does("keep-following");
    let begin = Instant::now();
    for _ in 0..50 {
        let version = writer.number("commit");
        follower.hears(&format!("caught {version}"));
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn a_follower_that_stays_away_for_too_long_or_whose_clock_is_off_is_not_waited_for() -> Result<()> {
    /// The present, some days on.
    #[derive(Debug)]
    struct Days(u64);
    impl Clock for Days {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(SystemClock.now().as_micros() + self.0 * 86_400_000_000)
        }
    }
    let keep = Retention::default().versions(3);
    for (days, bytes, is_kept) in [(0, 1 << 30, true), (6, 1 << 30, true), (8, 1 << 30, false), (0, 1, false)]
    {
        let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
        resume(&ours.path(), &theirs.path())?;
        let retention = keep.bytes(if bytes == 1 { 1000 } else { 1 << 30 }).pinned_bytes(bytes);
        let source = Store::options().retention(retention).clock(Days(days)).open(ours.path())?;
        for _ in 0..40 {
            ledger::commit(&source)?;
        }
        while source.maintain()?.more {}
        let oldest = source.snapshot()?.oldest_version().get();
        assert_eq!(oldest <= 2, is_kept, "{days} days, {bytes} bytes: kept from {oldest}");
        let (caught, _) = resume(&ours.path(), &theirs.path())?;
        assert_eq!(matches!(caught, Followed::Delta { .. }), is_kept, "{days} days, {bytes} bytes");
    }
    Ok(())
}

#[test]
fn a_follower_goes_on_when_there_is_room_again() -> Result<()> {
    let (ours, theirs) = (Scratch::with_ledger(), Scratch::new());
    let source = ours.store();
    resume(&ours.path(), &theirs.path())?;
    let mut met = 0;
    for n in 0.. {
        let faults = Faults::default();
        let theirs_options = faults.install(Store::options().mapping(Mapping::Off));
        let mut follower =
            Follower::open_with(ours.path(), Store::options(), theirs.path(), theirs_options, |_| ())?;
        follower.catch_up()?;
        ledger::commit(&source)?;
        faults.fail_write(n, Failure::ForEver);
        let failed = follower.catch_up();
        if faults.heal() == 0 {
            assert!(failed.is_ok(), "{n}: {failed:?}");
            break;
        }
        met += 1;
        follower.catch_up()?;
        assert_eq!(holds(&source)?, holds(follower.replica())?, "write {n}");
    }
    assert!(met >= 3, "only {met} writes");
    Ok(())
}
