//! Processes that do not see the same world: other process ids, another host name, another time, no room on the disk.

use std::fs;
use std::process::Command;

use cohab::{Kind, Result, Role, Store};

use crate::actor::Actor;
use crate::{Scratch, not_tested};

/// Whether a command that gives a child its own world works here; says so if not.
fn works(command: &[&str], what: &str) -> bool {
    let probe = Command::new(command[0]).args(&command[1..]).arg("true").output();
    let works = probe.is_ok_and(|probe| probe.status.success());
    if !works {
        not_tested(what, "it needs root and Linux");
    }
    works
}

/// A record of a crash said process 4711, and by then 4711 was somebody else.
#[test]
fn a_process_id_that_is_used_again_neither_keeps_a_store_nor_frees_it() -> Result<()> {
    let scratch = Scratch::with_ledger();
    let forge = |path: &std::path::Path, pid: u32, new: u32| {
        let text = fs::read_to_string(path).expect("is there");
        let forged = text.replace(&format!("\"pid\":{pid}"), &format!("\"pid\":{new}"));
        assert_ne!(text, forged, "{text}");
        fs::write(path, forged).expect("can be written");
    };
    let record = scratch.path().join("writer.json");
    let dead = Actor::open(&scratch.path(), "writer");
    let pid = dead.pid.cast_unsigned();
    dead.kill();
    // The dead one's id belongs to a process that lives: this one.
    forge(&record, pid, std::process::id());
    for entry in fs::read_dir(scratch.path().join("instances")).expect("is there").flatten() {
        if entry.path().extension().is_some_and(|it| it == "json") {
            forge(&entry.path(), pid, std::process::id());
        }
    }
    let store = Store::options().role(Role::Reader).register(false).open(scratch.path())?;
    assert_eq!((store.writer(), store.instances()?), (None, vec![]), "both are dead, whatever they say");
    let mut live = Actor::open(&scratch.path(), "writer");
    assert_eq!(live.number("commit"), 2);
    // The live one's id belongs to nobody.
    forge(&record, live.pid.cast_unsigned(), 0x3fff_fff0);
    let mut other = Actor::start(&scratch.path());
    let refused = other.fails("open writer", Kind::Busy);
    assert_eq!(refused.holder.map(|holder| holder.pid), Some(0x3fff_fff0), "a hint, and that is all it is");
    assert_eq!(live.number("commit"), 3);
    Ok(())
}

#[test]
fn containers_with_process_ids_of_their_own_share_a_store() {
    const WORLD: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    if !works(&WORLD, "two pid namespaces over one store") {
        return;
    }
    let scratch = Scratch::with_ledger();
    let start = || Actor::start_through(&WORLD, &scratch.path());
    let (mut first, mut second) = (start(), start());
    assert_eq!(first.pid, second.pid, "each has the same id in its own world");
    first.does("open writer label=first");
    let refused = second.fails("open writer label=second", Kind::Busy);
    assert_eq!(refused.holder.and_then(|holder| holder.label).as_deref(), Some("first"));
    second.does("open standby label=second");
    assert_eq!((first.number("commit"), second.number("look")), (2, 2));
    assert_eq!(
        (first.number("instances"), second.number("instances")),
        (2, 2),
        "neither takes the other for dead"
    );
    assert_eq!(second.number("lock job 0"), 1);
    first.fails("lock job 0", Kind::Busy);
    first.kill();
    second.hears("promoted ");
    assert_eq!(second.number("commit"), 3);
    assert_eq!(second.number("instances"), 1);
}

#[test]
fn a_changed_host_name_changes_nothing() {
    let world = |name| ["unshare", "--uts", "sh", "-c", name, "sh"];
    let (one, two) = (world("hostname one && exec \"$@\""), world("hostname two && exec \"$@\""));
    if !works(&one, "two host names over one store") {
        return;
    }
    let scratch = Scratch::with_ledger();
    let mut first = Actor::start_through(&one, &scratch.path());
    first.does("open writer");
    assert_eq!(first.number("commit"), 2);
    let mut second = Actor::start_through(&two, &scratch.path());
    second.fails("open writer", Kind::Busy);
    second.does("open standby");
    assert_eq!((second.number("look"), second.number("instances")), (2, 2));
    first.kill();
    second.hears("promoted ");
    assert_eq!((second.number("commit"), second.number("instances")), (3, 1));
    second.kill();
    let mut first = Actor::start_through(&one, &scratch.path());
    first.does("open writer");
    assert_eq!(first.number("commit"), 4);
}

#[test]
fn a_clock_that_is_a_day_off_either_way_changes_nothing() {
    let scratch = Scratch::with_ledger();
    let mut reader = Actor::open(&scratch.path(), "reader");
    reader.does("keep-looking");
    let mut version = 1;
    for shift in [86_400, -86_400, 0, -86_400, 86_400] {
        let mut writer = Actor::open(&scratch.path(), &format!("writer shift={shift} snapshots=60000"));
        let mut standby = Actor::open(&scratch.path(), &format!("standby shift={} snapshots=60000", -shift));
        writer.does("keep kept");
        version = writer.number("commit 3");
        standby.does("keep kept");
        assert_eq!(standby.number("check kept"), version);
        assert_eq!(standby.number("look max-age 0"), version);
        let token = a_token(&mut reader);
        assert_eq!(writer.number("lock job 0"), token + 1);
        writer.kill();
        standby.hears("promoted ");
        version += 1;
        assert_eq!((standby.number("commit"), standby.number("check kept")), (version, version - 1));
        assert_eq!(standby.number("verify"), version);
        standby.kill();
    }
    assert_eq!(version, 21);
    let last = token(&mut reader, version);
    assert_eq!(reader.number(&format!("look at-least {last} 5000")), version);
    reader.does("rest");
    assert!(reader.kill().is_empty());
}

/// Takes the lock for a moment, and returns its token.
fn a_token(actor: &mut Actor) -> u64 {
    let token = actor.number("lock job 0");
    actor.does("unlock job");
    token
}

/// Makes a token of a version out of one that the actor has.
fn token(actor: &mut Actor, version: u64) -> String {
    let token = actor.does("token");
    let (store, _) = token.split_once('@').expect("is a token");
    format!("{store}@{version}")
}

#[test]
fn a_full_disk_leaves_nothing_half_held_and_tokens_do_not_repeat() {
    // The store's directory is made within: what is to be full is its parent.
    let script = "mount -t tmpfs -o size=6m tiny \"$(dirname \"$COHAB_TESTKIT_CHILD\")\" && exec \"$@\"";
    let scratch = Scratch::new();
    let probe = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", "true"])
        .env("COHAB_TESTKIT_CHILD", scratch.path())
        .output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        not_tested("a full disk", "a tmpfs needs root and Linux");
        return;
    }
    let mut first = Actor::start_through(&["unshare", "--mount", "sh", "-c", script, "sh"], &scratch.path());
    let into = format!("--mount=/proc/{}/ns/mnt", first.pid);
    let mut second = Actor::start_through(&["nsenter", &into], &scratch.path());
    // Making one: refused, and made as soon as there is room.
    first.does("fill-disk");
    let refused = first.fails("open writer", Kind::Io);
    assert!(refused.message.contains("No space left"), "{refused:?}");
    first.does("free-disk");
    second.does("open writer");
    second.does("close");
    first.does("open writer");
    first.does("make-ledger");
    let epoch = first.number("epoch");
    let mut last = first.number("lock job 0");
    first.does("unlock job");
    first.does("close");

    // Opening: refused or not, nobody is kept from opening it when there is room again.
    first.does("fill-disk");
    let opened = first.ask("open writer");
    if let Err(refused) = &opened {
        assert_eq!(refused.kind, "io", "{refused:?}");
        assert!(refused.message.contains("No space left"), "{refused:?}");
    }
    println!("opening for writing on a full disk: {opened:?}");
    first.does("close");
    assert_eq!(second.does("open reader"), "reader", "reading needs no room");
    assert_eq!(second.number("look"), 1);
    second.does("close");
    first.does("free-disk");
    second.does("open writer");
    assert!(second.number("epoch") > epoch);
    assert_eq!(second.number("commit"), 2);

    // Locks: an old one has its room, a new one needs some.
    first.does("open reader");
    for new in ["one", "two", "three"] {
        first.does("fill-disk");
        let token = first.number("lock job 0");
        assert!(token > last, "{token} after {last}");
        last = token;
        first.does("unlock job");
        for actor in [&mut first, &mut second] {
            let refused = actor.fails(&format!("lock {new} 0"), Kind::Io);
            assert!(refused.message.contains("No space left"), "{refused:?}");
        }
        first.does("free-disk");
        // Neither holds half of it.
        for (actor, token) in [(&mut second, 1), (&mut first, 2)] {
            assert_eq!(actor.number(&format!("lock {new} 0")), token);
            actor.does(&format!("unlock {new}"));
        }
    }
    // Commits: all or nothing, and no harm is done.
    first.does("fill-disk");
    let refused = loop {
        if let Err(refused) = second.ask("commit-bulk 200 1") {
            break refused;
        }
    };
    assert!(["io", "commit_unknown"].contains(&&*refused.kind), "{refused:?}");
    first.does("free-disk");
    let found = second.number("reopen");
    assert_eq!(second.number("commit"), found + 1);
    assert_eq!((second.number("verify"), first.number("look")), (found + 1, found + 1));
    second.kill();
    first.does("close");
    first.does("open writer");
    assert_eq!(first.number("commit"), found + 2);
}
