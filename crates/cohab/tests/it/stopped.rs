//! Processes that are stopped for a while, or for good, at any point: nothing is taken from them, and what they hold
//! up is told.

use std::time::{Duration, Instant};

use cohab::{Kind, Result, Role, Store};

use crate::actor::Actor;
use crate::{Scratch, v};

#[test]
fn a_writer_stopped_in_the_middle_of_its_switch_stalls_readers_and_is_not_robbed() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer gate");
    let mut standby = Actor::open(&scratch.path(), "standby patience=200");
    let mut reader = Actor::open(&scratch.path(), "reader patience=200");
    let mut patient = Actor::open(&scratch.path(), "reader patience=20000 stall=200");
    let mut late = Actor::start(&scratch.path());
    let mut version = 1;
    for header in 1.. {
        for actor in [&mut standby, &mut reader, &mut patient] {
            assert_eq!(actor.number("look"), version);
        }
        writer.does(&format!("arm stop header {header}"));
        writer.does("commit-aside");
        version += 1;
        if writer.hears("") != "still" {
            assert!(header > 2, "a commit writes the header twice");
            break;
        }
        writer.is_stopped_soon();
        let since = Instant::now();
        let refused = late.fails("open reader patience=200", Kind::Stalled);
        assert!(refused.hint.contains("kill -CONT"), "{refused:?}");
        assert!(since.elapsed() >= Duration::from_millis(200));
        // Those that are open show what they have, for as long as they believe that nothing is new.
        std::thread::sleep(Duration::from_secs(1));
        patient.tell("look");
        reader.fails("look", Kind::Stalled);
        let refused = standby.fails("promote 100", Kind::Busy);
        assert_eq!(refused.holder.map(|holder| holder.pid.cast_signed()), Some(writer.pid));
        late.fails("open writer", Kind::Busy);
        let stall = patient.hears("stall snapshot ");
        assert!(stall.ends_with(&format!(" {}", writer.pid)), "the stopped writer is named: {stall}");

        writer.go_on();
        assert_eq!(writer.hears("committed "), version.to_string());
        let seen = patient.answer().expect("it has waited").parse().expect("a number");
        assert!((version - 1..=version).contains(&seen), "{seen}");
        for actor in [&mut standby, &mut reader] {
            assert_eq!(actor.number("look"), version);
        }
    }
    assert_eq!(standby.does("role"), "standby");
}

#[test]
fn a_commit_that_waits_for_a_stopped_reader_names_it() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer stall=300");
    let mut reader = Actor::open(&scratch.path(), "reader");
    let mut other = Actor::open(&scratch.path(), "reader");
    reader.does("hold-header");
    for round in 0..2 {
        reader.stop();
        writer.does("commit-aside");
        let stall = writer.hears("stall ");
        let [operation, ms, suspects] = stall.split(' ').collect::<Vec<_>>()[..] else { panic!("{stall}") };
        assert_eq!((operation, suspects), ("commit", &*reader.pid.to_string()));
        assert!((300..3000).contains(&ms.parse::<u64>().expect("a number")), "{stall}");
        assert!(
            writer.hears_within("", Duration::from_millis(600)).is_none(),
            "told once, and nothing is forced"
        );
        assert_eq!(other.number("look"), 1 + round);
        reader.go_on();
        if round == 0 {
            reader.does("release-header");
            assert_eq!(writer.hears("committed "), "2");
            reader.does("hold-header");
        }
    }
    // Who is killed holds nothing up.
    reader.kill();
    assert_eq!(writer.hears("committed "), "3");
    assert_eq!(other.number("look"), 3);
}

#[test]
fn processes_stopped_at_random_points_go_on_and_nothing_is_lost() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut others = ["reader", "reader", "standby"].map(|how| Actor::open(&scratch.path(), how));
    writer.does("keep-committing");
    for other in &mut others {
        other.does("keep-looking");
    }
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = crate::Random(seed);
    for _ in 0..30 {
        let victim = match random.below(6) {
            it @ 0..3 => &others[usize::try_from(it).expect("is small")],
            _ => &writer,
        };
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        victim.stop();
        std::thread::sleep(Duration::from_millis(random.below(60)));
        victim.go_on();
        let version = writer.number("look");
        let deadline = Instant::now() + Duration::from_secs(10);
        for other in &mut others {
            while other.number("seen") < version {
                assert!(Instant::now() < deadline, "a reader does not go on");
            }
        }
    }
    writer.does("rest");
    let last = writer.number("look");
    let events = writer.kill();
    let acknowledged: Vec<_> =
        events.iter().filter_map(|event| event.strip_prefix("acknowledged ")).collect();
    let expected: Vec<_> = (2..=last).map(|version| version.to_string()).collect();
    assert_eq!((acknowledged, events.len()), (expected.iter().map(String::as_str).collect(), expected.len()));
    for (position, mut other) in others.into_iter().enumerate() {
        other.does("rest");
        let events = other.kill();
        // The writer has been killed by now; that is for the stand-by to notice.
        assert!(events.iter().all(|event| position == 2 && event.starts_with("promoted ")), "{events:?}");
    }
}

#[test]
fn the_space_that_a_snapshot_pins_comes_back_when_its_process_is_killed() {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut grow = |commits: u32| {
        writer.does(&format!("commit-bulk 256 {commits}"));
        writer.number("bytes")
    };
    grow(20);
    let steady = grow(20);
    let mut reader = Actor::open(&scratch.path(), "reader");
    reader.does("keep old");
    let pinned = grow(60);
    assert!(pinned >= steady + 50 * (256 << 10), "a snapshot pins: {steady} bytes, then {pinned}");
    reader.kill();
    grow(5);
    let freed = grow(60);
    assert!(freed <= pinned + (1 << 20), "it still grows: {pinned} bytes, then {freed}");
    assert_eq!(writer.does("compact"), "true");
    let compacted = writer.number("bytes");
    assert!(compacted < steady + (4 << 20), "{steady} bytes at first, {compacted} when compacted");
}

#[test]
fn a_stopped_readers_old_snapshot_holds_nobody_up_and_everybody_sees_it() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let mut writer = Actor::open(&scratch.path(), "writer");
    let mut reader = Actor::open(&scratch.path(), "reader");
    reader.does("keep old");
    // Its entry is brought up to date every now and then.
    std::thread::sleep(Duration::from_millis(600));
    reader.stop();
    let since = Instant::now();
    assert_eq!(writer.number("commit 50"), 51);
    assert!(since.elapsed() < Duration::from_secs(5));
    let store = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
    let instances = store.instances()?;
    let stopped: Vec<_> = instances.iter().filter(|it| it.is_stopped).collect();
    let [stopped] = stopped[..] else { panic!("{instances:?}") };
    assert_eq!((stopped.record.pid.cast_signed(), stopped.record.snapshot_version), (reader.pid, Some(v(1))));
    writer.fails("compact", Kind::InUse);
    reader.go_on();
    assert_eq!((reader.number("check old"), reader.number("look")), (1, 51));
    Ok(())
}
