//! `cohab watch`

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::held::Held;
use crate::support::Place;

/// Starts to watch, and returns once that is registered, which it is before it says anything.
fn watch(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command();
    let child =
        command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_there = || {
        let listed = place.run(["ps"]).done().lines();
        listed.iter().any(|instance| instance["pid"] == child.id())
    };
    while !is_there() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Registered is a moment before it looks where the store is.
    std::thread::sleep(std::time::Duration::from_millis(100));
    child
}

#[test]
fn the_commits_of_others_are_seen_once_and_in_order() {
    let place = Place::with_fruit();
    let watcher = watch(&place, &["--count", "60"]);
    let mut writer = Held::start(&place, &[]);
    for number in 0..58 {
        writer.done(
            &json!({"put": {"ns": "fruit", "key": "n", "value": number.to_string()}, "label": "count"}),
        );
    }
    writer.done(&json!({"del": {"ns": "fruit", "key": "n"}}));
    writer.done(&json!({"put": {"ns": "new", "key": {"base64": "/w=="}, "value": "v"}, "create": true}));
    let output = watcher.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let seen: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(seen.len(), 60);
    for (at, event) in seen.iter().enumerate() {
        assert_eq!(event["version"], at + 4);
        assert_eq!(event["instance"], writer.instance());
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
        if at < 58 {
            let change = json!({"ns": "fruit", "op": "put", "key": "n", "value": at.to_string()});
            assert_eq!((&event["label"], &event["changes"]), (&json!("count"), &json!([change])));
            assert!(event.get("metadata").is_none(), "{event}");
        }
    }
    assert_eq!(seen[58]["changes"], json!([{"ns": "fruit", "op": "del", "key": "n"}]));
    let change = json!({"ns": "new", "op": "put", "key": {"base64": "/w=="}, "value": "v"});
    assert_eq!(seen[59]["changes"], json!([change]));
    assert_eq!(seen[59]["metadata"][0]["op"], "appear");

    let replayed = place.run(["watch", "--from", "1", "--count", "63"]).done().lines();
    let versions: Vec<u64> = replayed.iter().filter_map(|event| event["version"].as_u64()).collect();
    assert_eq!(versions, (1..=63).collect::<Vec<_>>());
    assert_eq!(replayed[3..], seen);
    writer.close();
}

#[test]
fn a_part_is_watched_through_renames() {
    let place = Place::with_fruit();
    place.run(["put", "other", "k", "v", "--create"]).done();
    place.run(["ns", "rename", "fruit", "garden"]).done();
    place.run(["put", "garden", "avocado", "green"]).done();
    let seen = |arguments: &[&str]| -> Vec<u64> {
        let lines = place.run([&["watch", "--from", "1"], arguments].concat()).done().lines();
        lines.iter().filter_map(|event| event["version"].as_u64()).collect()
    };
    assert_eq!(seen(&["garden", "-n", "5"]), [1, 2, 3, 5, 6]);
    assert_eq!(seen(&["garden", "--prefix", "a", "-n", "2"]), [1, 6]);
    assert_eq!(seen(&["--prefix", "6b", "--hex", "-n", "1"]), [4]);
    place.run(["watch", "fruit"]).fails(1, "there is no namespace `fruit`");
    let table = place.run(["watch", "--from", "6", "-n", "1", "-o", "table"]).done().text();
    assert!(table.starts_with("6  ") && table.contains("  put garden avocado = green\n"), "{table}");
}

#[test]
fn a_watcher_that_came_too_late_is_told_what_is_left() {
    let place = Place::with_fruit();
    let store = cohab::Store::options()
        .retention(cohab::Retention::default().versions(2))
        .open(place.store())
        .unwrap();
    for number in 0..10 {
        store.write(|tx| tx.put("fruit", "n", number.to_string())).unwrap();
    }
    store.maintain().unwrap();
    let oldest = store.snapshot().unwrap().oldest_version();
    drop(store);
    place.run(["watch", "--from", "1", "-n", "1"]).fails(7, &format!("whose oldest is version {oldest}"));
    let from = oldest.to_string();
    place.run(["watch", "--from", &from, "-n", "1"]).done();
}

#[test]
#[cfg(unix)]
fn it_ends_when_it_is_told_to_or_nobody_reads_on() {
    use rustix::process::{Pid, Signal, kill_process};

    let place = Place::with_fruit();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 0)] {
        let watcher = watch(&place, &[]);
        kill_process(Pid::from_child(&watcher), signal).unwrap();
        let output = watcher.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
    let mut watcher = watch(&place, &["--from", "1"]);
    let mut line = String::new();
    BufReader::new(watcher.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(r#"{"version":1,"#), "{line}");
    for _ in 0..3 {
        place.run(["put", "fruit", "k", "v"]).done();
    }
    let output = watcher.wait_with_output().unwrap();
    assert!(output.status.code() == Some(0) && output.stderr.is_empty(), "{output:?}");
    assert!(place.run(["ps"]).done().lines().is_empty(), "each has left the list");
}
