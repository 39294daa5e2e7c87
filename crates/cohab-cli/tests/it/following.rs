//! `cohab follow`

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Place, Ran};

/// The replica of a place's store, which lies beside it.
fn on_replica(place: &Place, arguments: &[&str]) -> Ran {
    Ran::of(place.command().arg("--store").arg(place.path("replica")).args(arguments))
}

fn once(place: &Place) -> Vec<Value> {
    place.run(["follow", "store", "replica", "--once"]).done().lines()
}

#[track_caller]
fn equal(place: &Place) {
    assert_eq!(on_replica(place, &["dump"]).done().text(), place.dump());
}

/// A follower that goes on until it is ended.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(place: &Place) -> Self {
        let mut command = place.command();
        command.args(["follow", "store", "replica"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut following = Self { child, lines };
        assert_eq!(following.next()["event"], "open");
        following
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// Waits until it says that it has a version.
    fn reaches(&mut self, version: u64) {
        while self.next() != json!({"event": "current", "version": version}) {}
    }
}

#[test]
fn a_replica_is_made_and_kept_in_step() {
    let place = Place::with_fruit();
    let store = place.run(["info"]).done().json()["store"].clone();
    let events = once(&place);
    assert_eq!((&events[0]["event"], &events[0]["version"]), (&json!("open"), &json!(3)));
    assert_eq!(events[0]["source"], json!({"store": store, "path": "store"}));
    assert_eq!(events[0]["replica"]["path"], json!("replica"));
    assert_eq!(events[1], json!({"event": "image", "because": "there was no replica", "version": 3}));
    assert_eq!(events[2..], [json!({"event": "current", "version": 3})]);
    equal(&place);
    let info = on_replica(&place, &["info"]).done().json();
    assert_eq!(info["replica_of"], json!({"store": store, "version": 3, "promoted": false}));
    // It has the source's past, too.
    on_replica(&place, &["get", "fruit", "apple", "--at", "1"]).done();
    on_replica(&place, &["put", "fruit", "fig", "violet"]).fails(2, "is a replica of store");

    assert_eq!(once(&place)[1..], [json!({"event": "current", "version": 3})]);
    place.run(["put", "fruit", "fig", "violet"]).done();
    place.run(["del", "fruit", "apple"]).done();
    let delta = json!({"event": "delta", "from": 3, "version": 5, "replica_version": 4, "changes": 2});
    assert_eq!(once(&place)[1..], [delta, json!({"event": "current", "version": 5})]);
    equal(&place);

    on_replica(&place, &["promote"]).done();
    on_replica(&place, &["put", "fruit", "fig", "black"]).done();
    place.run(["put", "fruit", "fig", "blue"]).done();
    let refused = place.run(["follow", "store", "replica", "--once", "-o", "json"]).ends(8);
    assert_eq!(refused.error()["kind"], json!("diverged"));
}

#[test]
fn what_is_committed_arrives_until_it_is_told_to_end() {
    let place = Place::with_fruit();
    let mut following = Following::start(&place);
    following.reaches(3);
    for number in 4..12 {
        place.run(["put", "fruit", "n", &number.to_string()]).done();
        following.reaches(number);
        equal(&place);
    }
    // Who is followed shows it, and keeps its log.
    let listed = place.run(["ps"]).done().lines();
    assert_eq!((&listed[0]["label"], &listed[0]["pid"]), (&json!("follow"), &json!(following.child.id())));
    place.run(["follow", "store", "replica"]).fails(3, "is held by");
    let trimmed = place.run(["log", "trim", "--keep", "1"]).done().json();
    let path = place.path("replica").canonicalize().unwrap();
    if trimmed["oldest_version"] != json!(11) {
        assert_eq!(trimmed["followed_by"], json!([path]));
    }
    // It is killed, and the next one goes on from there.
    following.child.kill().unwrap();
    following.child.wait().unwrap();
    place.run(["put", "fruit", "n", "12"]).done();
    let events = once(&place);
    assert_eq!((&events[1]["event"], &events[1]["from"]), (&json!("delta"), &json!(11)), "{events:?}");
    equal(&place);
    // It will not come back.
    place.run(["log", "trim", "--forget", "elsewhere"]).fails(1, "no follower at elsewhere has left word");
    place.run(["log", "trim", "--forget", "replica"]).done();
    place.run(["put", "fruit", "n", "13"]).done();
    let trimmed = place.run(["log", "trim", "--keep", "1"]).done().json();
    assert_eq!((&trimmed["oldest_version"], &trimmed["followed_by"]), (&json!(13), &json!([])));
}

#[cfg(unix)]
#[test]
fn it_ends_quietly_when_it_is_asked_to_or_nobody_listens() {
    use std::os::unix::process::ExitStatusExt;
    let place = Place::with_fruit();
    for (signal, code) in [("TERM", 0), ("INT", 130)] {
        let mut following = Following::start(&place);
        following.reaches(3);
        let pid = following.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let status = following.child.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{signal}");
        on_replica(&place, &["verify"]).done();
    }
    let Following { mut child, lines } = Following::start(&place);
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let place = Place::with_fruit();
    place.run(["follow", "nowhere", "replica"]).fails(1, "there is no store at nowhere");
    assert!(!place.path("replica").exists());
    place.run(["follow", "store", "store"]).fails(8, "is the store to be followed");
    place.run(["follow", "store", "store/within"]).fails(8, "or within it");
    once(&place);
    place.run(["follow", "replica", "store"]).fails(8, "cannot follow it in turn");
    place.run(["--store", "other", "init"]).done();
    place.run(["--store", "other", "put", "a", "k", "v", "--create"]).done();
    place.run(["follow", "store", "other"]).fails(8, "is no replica");
    place.run(["follow", "other", "replica"]).fails(8, "is a replica of store");
    fs::create_dir(place.path("full")).unwrap();
    place.file("full/file", "");
    place.run(["follow", "store", "full"]).fails(2, "neither empty nor a store");
    place.run(["follow", "store"]).fails(2, "<DEST>");
}

#[test]
fn one_that_was_away_for_too_long_is_compared_as_a_whole() {
    let place = Place::with_fruit();
    once(&place);
    for number in 4..10 {
        place.run(["put", "fruit", "n", &number.to_string()]).done();
    }
    // Whoever takes back what the follower has left lets go of the log.
    fs::remove_dir_all(place.store().join("followers")).unwrap();
    place.run(["log", "trim", "--keep", "2"]).done();
    let events = once(&place);
    assert_eq!(events[1]["event"], json!("image"), "{events:?}");
    assert!(events[1]["because"].as_str().unwrap().contains("older than what the log keeps"), "{events:?}");
    assert_eq!(events[1]["changes"], json!(1));
    equal(&place);
}
