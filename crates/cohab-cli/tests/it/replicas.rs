//! Stores that are led from version to version of another one.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Place, Ran};

/// A store of twenty versions, and more namespaces than one.
fn source() -> Place {
    let place = Place::with_fruit();
    for version in 4..=18 {
        let key = format!("key {}", version % 7);
        place.run(["put", "nuts", &key, &"x".repeat(version * 100), "--create"]).done();
    }
    place.run(["ns", "set", "nuts", "--title", "Nuts", "--label", "kind=seed"]).done();
    place.run(["del", "nuts", "key 3"]).done();
    assert_eq!(place.version(), 20);
    place
}

/// Makes a delta.
fn delta(source: &Place, arguments: &[&str]) -> Vec<u8> {
    source.run([&["delta", "--from"], arguments].concat()).done().out
}

fn apply(replica: &Place, delta: impl AsRef<[u8]>) -> Ran {
    replica.feed(delta, ["apply", "-"])
}

#[track_caller]
fn equal(one: &Place, other: &Place) {
    assert_eq!(one.dump(), other.dump());
}

/// The field of an error that is for programs.
fn kind(ran: &Ran) -> Value {
    ran.error()["kind"].clone()
}

#[test]
fn an_empty_store_becomes_a_replica() {
    let (source, replica) = (source(), Place::new());
    let store = source.run(["info"]).done().json()["store"].clone();
    let at = |version: &str| Place::dump_at(&source, version);
    let first = apply(&replica, delta(&source, &["0", "--to", "5"])).done().json();
    assert_eq!(first["upstream"], json!({"store": store, "version": 5}));
    assert_eq!((&first["version"], &first["changes"]), (&json!(1), &json!(5)));
    assert_eq!(replica.dump(), at("5"));
    apply(&replica, delta(&source, &["5", "--to", "10"])).done();
    assert_eq!(replica.dump(), at("10"));
    let complete = apply(&replica, delta(&source, &["10", "--to", "20", "--complete"])).done().json();
    assert_eq!(complete["version"], json!(12), "ten versions, one by one");
    equal(&replica, &source);
    let digests = ["fruit", "nuts"]
        .map(|name| [&source, &replica].map(|place| place.run(["ns", "digest", name]).done().text()));
    assert!(digests.iter().all(|[one, other]| one == other), "{digests:?}");
    let info = replica.run(["info", "-o", "json"]).done().json();
    assert_eq!(info["replica_of"], json!({"store": store, "version": 20, "promoted": false}));
    assert_eq!(source.run(["info", "-o", "json"]).done().json()["replica_of"], json!(null));
    replica.run(["verify"]).done();
}

#[test]
fn a_backup_becomes_a_replica() {
    let source = source();
    let file = source.path("backup");
    source.run([&"backup".into(), &file]).done();
    let replica = Place::bare();
    replica.run([&"init".into(), &"--from".into(), &file]).done();
    source.run(["put", "fruit", "fig", "violet"]).done();
    source.run(["ns", "drop", "nuts", "--force"]).done();
    apply(&replica, delta(&source, &["20"])).done();
    equal(&replica, &source);
    // A whole store leads on from anywhere, if that is meant.
    source.run(["undo"]).done();
    let whole = delta(&source, &["0"]);
    apply(&replica, whole.clone()).fails(8, "begins at version 0");
    std::fs::write(replica.path("whole"), &whole).unwrap();
    replica.run(["apply", "--reset", "whole"]).done();
    equal(&replica, &source);
    // Of what leads nowhere there is nothing to do.
    assert_eq!(apply(&replica, delta(&source, &["23"])).done().json()["changes"], json!(0));
}

#[test]
fn a_replica_is_written_to_only_when_it_was_promoted() {
    let (source, replica) = (source(), Place::new());
    replica.run(["promote"]).fails(2, "is no replica");
    apply(&replica, delta(&source, &["0"])).done();
    let refused = replica.run(["put", "fruit", "fig", "violet", "-o", "json"]).ends(2).error();
    assert_eq!(refused["kind"], json!("read_only"));
    assert!(refused["hint"].as_str().unwrap().contains("cohab promote"), "{refused}");
    for arguments in [
        &["del", "fruit", "apple"][..],
        &["ns", "drop", "fruit", "--force"],
        &["ns", "create", "mine"],
        &["ns", "purge", "fruit"],
        &["rollback", "--to", "0"],
        &["ns", "rollback", "fruit", "--to", "1"],
        &["undo"],
    ] {
        replica.run(arguments).fails(2, "is a replica of store");
    }
    replica
        .feed("{\"put\":{\"ns\":\"fruit\",\"key\":\"k\",\"value\":\"v\"}}", ["txn"])
        .fails(2, "is a replica");
    replica.feed("{\"key\":\"k\",\"value\":\"v\"}", ["load", "fruit", "-"]).fails(2, "is a replica");
    equal(&replica, &source);

    let promoted = replica.run(["promote"]).done().json();
    assert_eq!((&promoted["version"], &promoted["upstream"]["version"]), (&json!(1), &json!(20)));
    replica.run(["put", "fruit", "fig", "violet"]).done();
    replica.run(["promote"]).fails(2, "is no replica");
    assert_eq!(replica.run(["info", "-o", "json"]).done().json()["replica_of"]["promoted"], json!(true));
    source.run(["put", "fruit", "fig", "violet"]).done();
    let refused = replica.feed(delta(&source, &["20"]), ["apply", "-", "-o", "json"]).ends(8);
    assert_eq!(kind(&refused), json!("diverged"));
}

#[test]
fn what_does_not_lead_on_is_refused_and_changes_nothing() {
    let (source, replica) = (source(), Place::new());
    let (whole, second) = (delta(&source, &["0", "--to", "5"]), delta(&source, &["5", "--to", "10"]));
    let json = ["apply", "-", "-o", "json"];
    let refused = |replica: &Place, delta: &[u8], code: i32, expected: &str| {
        let before = (replica.dump(), replica.version());
        let refused = replica.feed(delta, json).ends(code);
        assert_eq!(kind(&refused), json!(expected), "{refused:?}");
        assert_eq!((replica.dump(), replica.version()), before);
    };
    refused(&replica, &second, 8, "gap");
    apply(&replica, &whole).done();
    refused(&replica, &whole, 8, "already_applied");
    refused(&replica, &delta(&source, &["6", "--to", "10"]), 8, "gap");
    let gap = apply(&replica, delta(&source, &["10"])).fails(8, "the replica is at version 5");
    assert!(gap.err.contains("cohab delta --from 5"), "{gap:?}");
    apply(&replica, &second).done();
    refused(&replica, &second, 8, "already_applied");
    refused(&replica, &delta(&self::source(), &["10"]), 8, "foreign");
    refused(&source, &delta(&source, &["10"]), 8, "foreign");
    refused(&Place::with_fruit(), &whole, 8, "foreign");

    let third = delta(&source, &["10"]);
    for end in [third.len() - 1, third.len() / 2, 60] {
        refused(&replica, &third[..end], 4, "corrupt");
    }
    for at in (16..third.len()).step_by(37) {
        let mut flipped = third.clone();
        flipped[at] ^= 0x10;
        let refused = replica.feed(&flipped, json);
        assert!(matches!(refused.code, Some(4 | 5)), "byte {at}: {refused:?}");
    }
    refused(&replica, b"", 4, "corrupt");
    refused(&replica, b"{\"put\":{}}\n", 2, "invalid_input");
    apply(&replica, &third).done();
    equal(&replica, &source);
    replica.run(["verify"]).done();
}

#[test]
fn a_delta_goes_into_a_file_or_a_pipe() {
    let (source, replica) = (source(), Place::new());
    let file = source.file("delta", "what was there");
    let told = source.run(["delta", "--from", "0", "--out", "delta"]).done().json();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(told["bytes"], json!(bytes.len()));
    assert_eq!(told["store"], source.run(["info"]).done().json()["store"]);
    assert_eq!((&told["from"], &told["to"], &told["complete"]), (&json!(0), &json!(20), &json!(false)));
    assert!(told["plain_bytes"].as_u64().unwrap() > 0 && told["file"] == json!("delta"));
    assert_eq!(fs::read_dir(source.path(".")).unwrap().count(), 2, "nothing else is left");
    assert_eq!(bytes, delta(&source, &["0"]), "the same each time");
    replica.run([&"apply".into(), &file]).done();
    equal(&replica, &source);

    source.run(["delta", "--from", "0", "--out", "."]).fails(2, "writing the delta to . failed");
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::FileTypeExt;
        // Into what is no file, if at all, and not in its place.
        let link = source.path("full");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        source.run(["delta", "--from", "0", "--out", "full"]).fails(74, "writing the delta to full failed");
        assert!(fs::metadata(&link).unwrap().file_type().is_char_device());
    }
    source.run(["delta", "--from", "0", "--out", "no/such/dir/delta"]).fails(1, "no/such/dir/delta failed");
    source.run(["delta", "--from", "9", "--to", "5"]).fails(2, "version 9 is later than version 5");
    source.run(["delta", "--from", "99"]).fails(1, "version 99 is not there");
    source.run(["delta"]).fails(2, "--from");
    replica.run(["apply", "nowhere"]).fails(1, "opening nowhere failed");
    replica.run(["apply", "."]).fails(2, "reading the delta from . failed");
    source.run(["log", "trim", "--keep", "5"]).done();
    let refused = source.run(["delta", "--from", "5"]).fails(7, "older than what the log keeps");
    assert!(refused.err.contains("cohab delta --from 0"), "{refused:?}");
    Place::bare().feed(delta(&source, &["15"]), ["apply", "-"]).fails(1, "there is no store");
}

#[test]
fn what_was_not_recorded_comes_as_a_whole() {
    let (source, replica) = (source(), Place::new());
    source.run(["ns", "create", "bulk", "--history", "off"]).done();
    source.run(["put", "bulk", "a", "1"]).done();
    apply(&replica, delta(&source, &["0"])).done();
    source.run(["put", "bulk", "b", "2"]).done();
    source.run(["del", "bulk", "a"]).done();
    let refused = source.run(["delta", "--from", "22", "--complete"]).fails(7, "with its history off");
    assert!(refused.err.contains("hint: "), "{refused:?}");
    apply(&replica, delta(&source, &["22"])).done();
    equal(&replica, &source);
    source.run(["delta", "--from", "22", "--to", "23"]).fails(7, "with its history off");
}

impl Place {
    fn dump_at(&self, version: &str) -> String {
        self.run(["dump", "--at", version]).done().text()
    }
}
