//! Reading the store as it was, and keeping versions under names.

use serde_json::{Value, json};

use crate::support::Place;

/// `fruit` as always, then `apple` green (4), `banana` gone (5), `durian` new (6), `nuts` made (7), `fruit` renamed (8).
fn with_a_past() -> Place {
    let place = Place::with_fruit();
    place.run(["put", "fruit", "apple", "green"]).done();
    place.run(["del", "fruit", "banana"]).done();
    place.run(["put", "fruit", "durian", "green"]).done();
    place.run(["put", "nuts", "hazel", "brown", "--create"]).done();
    place.run(["ns", "rename", "fruit", "obst"]).done();
    assert_eq!(place.version(), 8);
    place
}

#[test]
fn every_reading_command_shows_the_store_as_it_was() {
    let then = Place::with_fruit();
    let place = with_a_past();
    let check = |arguments: &[&str]| {
        let past = place.run([arguments, &["--at", "3"]].concat()).done();
        assert_eq!(past.text(), then.run(arguments).done().text(), "{arguments:?}");
        assert_ne!(past.text(), place.run([arguments, &["--at", "8"]].concat()).text(), "{arguments:?}");
    };
    check(&["get", "fruit", "apple"]);
    check(&["get", "fruit", "banana", "-o", "raw"]);
    check(&["scan", "fruit", "--reverse"]);
    check(&["scan", "fruit", "--prefix", "b"]);
    check(&["count", "fruit"]);
    check(&["count", "fruit", "--from", "b"]);
    check(&["dump"]);
    check(&["dump", "fruit"]);
    check(&["ns", "digest", "fruit"]);
    check(&["ns", "stat"]);
    check(&["ns", "stat", "fruit", "--spread"]);
    for name in [None, Some("fruit")] {
        let arguments = [&["ns", if name.is_some() { "show" } else { "list" }], name.as_slice()].concat();
        let [mut past, mut present] = [(&place, &["--at", "3"][..]), (&then, &[])]
            .map(|(place, at)| place.run([&arguments[..], at].concat()).done().lines());
        for record in past.iter_mut().chain(&mut present) {
            record["created_at"] = Value::Null;
        }
        assert_eq!(past, present);
    }
    // The version at which the key last changed, seen from then.
    let read = place.run(["get", "fruit", "apple", "--at", "3"]).done().json();
    assert_eq!(read, json!({"ns": "fruit", "key": "apple", "value": "red", "version": 1}));
    let read = place.run(["get", "obst", "apple", "--at", "8"]).done().json();
    assert_eq!((&read["value"], &read["version"]), (&json!("green"), &json!(4)));

    let info = place.run(["info", "--at", "3"]).done().json();
    let told = ["version", "namespaces", "keys", "oldest_version"].map(|field| info[field].clone());
    assert_eq!(told, [3, 1, 3, 1].map(Value::from));
    assert_eq!(place.run(["count", "fruit", "--at", "0"]).fails(1, "no namespace `fruit`").out, b"");
    assert_eq!(place.run(["dump", "--at", "0"]).done().text(), Place::new().dump());
}

#[test]
fn what_is_not_kept_or_not_there_is_told_apart() {
    let place = with_a_past();
    place.run(["get", "fruit", "durian", "--at", "5"]).fails(1, "no key \"durian\"");
    place.run(["get", "obst", "apple", "--at", "7"]).fails(1, "no namespace `obst`");
    place.run(["get", "obst", "apple", "--at", "9"]).fails(1, "version 9 is not there; the last one is 8");
    place.run(["get", "obst", "apple", "--at", "@nothing"]).fails(1, "there is no snapshot `nothing`");
    place.run(["log", "trim", "--keep", "3"]).done();
    let refused = place.run(["get", "obst", "apple", "--at", "5", "-o", "json"]).ends(7).error();
    assert_eq!(refused["kind"], json!("too_old"));
    assert!(refused["hint"].as_str().unwrap().contains("version 6"), "{refused}");
    place.run(["get", "fruit", "apple", "--at", "6"]).done();

    place.run(["ns", "create", "bulk", "--history", "off"]).done();
    place.run(["put", "bulk", "k", "1"]).done();
    place.run(["put", "bulk", "k", "2"]).done();
    let refused = place.run(["get", "bulk", "k", "--at", "10", "-o", "json"]).ends(7).error();
    assert_eq!(refused["kind"], json!("no_history"));
    place.run(["get", "obst", "apple", "--at", "10"]).done();
}

#[test]
fn a_version_is_a_number_a_snapshot_or_a_time() {
    let place = Place::with_fruit();
    // Times are shown to the second, so the next version is to be of another one.
    let time = place.run(["log", "tail", "-n", "1"]).done().json()["time"].as_str().unwrap().to_owned();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    place.run(["snapshot", "create", "ripe", "--note", "for the jam"]).done();
    place.run(["put", "fruit", "apple", "brown"]).done();
    let local = time.replace('T', " ");
    for at in ["3", "@ripe", &time, &local] {
        let read = place.run(["get", "fruit", "apple", "--at", at]).done().json();
        assert_eq!(read["value"], json!("red"), "{at}");
    }
    let read = place.run(["get", "fruit", "apple", "--at", "2999-01-01T00:00:00+02:00"]).done().json();
    assert_eq!(read["value"], json!("brown"));
    place.run(["get", "fruit", "apple", "--at", "1999-01-01T00:00:00Z"]).fails(7, "does not reach back");
    for (at, says) in [
        ("yesterday", "expected a version's number"),
        ("-1", "expected a version's number"),
        ("2026-01-01T00:00:00", "offset"),
        ("@a//b", "segment"),
        ("99999999999999999999", "no store has that many"),
    ] {
        place.run(["get", "fruit", "apple", "--at", at]).fails(2, says);
    }
}

#[test]
fn what_writes_has_no_past_to_write_to() {
    let place = Place::with_fruit();
    for arguments in [
        &["put", "fruit", "apple", "green"][..],
        &["del", "fruit", "apple"],
        &["txn"],
        &["load", "fruit", "-"],
        &["ns", "drop", "fruit"],
        &["ns", "set", "fruit", "--title", "Obst"],
        &["ns", "rename", "fruit", "obst"],
        &["undo"],
        &["compact"],
    ] {
        place.run([arguments, &["--at", "1"]].concat()).fails(2, "unexpected argument '--at'");
    }
    assert_eq!(place.version(), 3);
}

#[test]
fn a_version_is_kept_under_a_name() {
    let place = with_a_past();
    let made = place.run(["snapshot", "create", "before/rename", "--at", "7", "--note", "just in case"]);
    assert_eq!(made.done().json(), json!({"name": "before/rename", "version": 7}));
    place.run(["snapshot", "create", "now"]).done();
    place.run(["ns", "drop", "nuts", "--force"]).done();
    let mut list = place.run(["snapshot", "list"]).done().lines();
    for record in &mut list {
        assert!(record["created_at"].take().as_str().unwrap().ends_with('Z'));
    }
    let record = |name: &str, version, note: Value| {
        json!({"name": name, "version": version, "created_at": null, "kind": "named", "operation": null,
               "namespace": null, "note": note, "undone": null, "lapsed": null})
    };
    let safety = json!({"name": "safety/9-drop-2", "version": 8, "created_at": null, "kind": "safety",
                        "operation": "drop", "namespace": "nuts", "note": null, "undone": null, "lapsed": null});
    assert_eq!(list[0], record("before/rename", 7, json!("just in case")));
    let mut rest = list[1..].to_vec();
    rest.sort_by_key(|record| record["name"].to_string());
    assert_eq!(rest, [record("now", 8, json!("")), safety]);
    let table = place.run(["snapshot", "list", "-o", "table"]).done().text();
    assert!(table.starts_with("NAME") && table.contains("just in case"), "{table}");
    assert!(table.contains("before dropping `nuts`") && table.contains("active"), "{table}");

    place.run(["snapshot", "create", "now"]).fails(8, "there is a snapshot `now` already");
    place.run(["snapshot", "create", "safety/mine"]).fails(2, "taken by the store itself");
    place.run(["snapshot", "create", "late", "--at", "99"]).fails(1, "version 99 is not there");
    place.run(["snapshot", "create", "x", "--note", &"n".repeat(2000)]).fails(2, "the note is 2000 bytes");
    place.run(["snapshot", "create", "again", "--at", "@before/rename"]).done();
    assert_eq!(place.version(), 9, "none of this makes a version");

    // They hold the log, until they are dropped.
    let trimmed = place.run(["log", "trim", "--keep", "1"]).done().json();
    assert_eq!((&trimmed["trimmed"], &trimmed["oldest_version"]), (&json!(6), &json!(7)));
    assert_eq!(trimmed["kept_for"], json!(["again", "before/rename"]));
    place.run(["count", "fruit", "--at", "@before/rename"]).done();
    for name in ["again", "before/rename", "now", "safety/9-drop-2"] {
        place.run(["snapshot", "drop", name]).done();
        place.run(["snapshot", "drop", name]).fails(1, &format!("there is no snapshot `{name}`"));
    }
    assert_eq!(place.run(["snapshot", "list"]).done().text(), "");
    place.run(["log", "trim", "--keep", "1"]).done();
    place.run(["count", "fruit", "--at", "7"]).fails(7, "version 7 is older than what the log keeps");
}
