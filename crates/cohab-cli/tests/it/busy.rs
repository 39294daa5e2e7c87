//! Beside other processes: this test's own, which opens the store through the facade.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cohab::{Role, Store};
use serde_json::json;

use crate::support::Place;

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let place = Place::with_fruit();
    let store = Store::open(place.store()).unwrap();
    let operations = r#"{"del":{"ns":"fruit","key":"apple"}}"#;
    for arguments in [
        &["put", "fruit", "k", "v"][..],
        &["del", "fruit", "apple"],
        &["compact"],
        &["doctor", "--repair"],
        &["ns", "create", "x"],
        &["ns", "purge", "x"],
        &["load", "x", "--format", "jsonl", "-"],
    ] {
        let refused = place.feed("", arguments).fails(3, "is held by writer (process ");
        assert!(refused.err.contains("hint: "), "{refused:?}");
    }
    let error = place.feed(operations, ["txn", "-o", "json"]).ends(3).error();
    assert_eq!(error["kind"], json!("busy"));
    let holder = &error["holder"];
    assert_eq!((&holder["role"], &holder["pid"]), (&json!("writer"), &json!(std::process::id())));
    assert_eq!(holder["instance"], json!(store.instance().to_string()));
    assert!(holder["since"].as_str().unwrap().ends_with('Z'), "{holder}");

    let begin = Instant::now();
    place.run(["put", "fruit", "k", "v", "--wait", "0.3"]).ends(3);
    assert!(begin.elapsed() >= Duration::from_millis(300));
    let mut waiting = place.command().args(["put", "fruit", "k", "v", "--wait", "30"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    drop(store);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(place.version(), 4);
}

#[test]
fn inspecting_works_beside_a_writer_and_makes_no_file() {
    let place = Place::with_fruit();
    let store = Store::open(place.store()).unwrap();
    let files = place.files();
    let info = place.run(["info"]).done().json();
    assert_eq!(info["writer"]["pid"], json!(std::process::id()));
    for arguments in [
        &["get", "fruit", "apple"][..],
        &["scan", "fruit"],
        &["count", "fruit", "--from", "b"],
        &["ns", "list"],
        &["ns", "list", "--dropped"],
        &["ns", "show", "fruit"],
        &["ns", "stat", "fruit"],
        &["ns", "stat", "fruit", "--spread"],
        &["ns", "stat"],
        &["ns", "digest", "fruit"],
        &["dump"],
        &["verify"],
        &["log", "tail"],
        &["log", "show", "1"],
        &["log", "verify"],
        &["doctor"],
        &["backup", "copy"],
        &["ps"],
        &["locks"],
        &["dirs"],
        &["watch", "--from", "1", "-n", "1"],
    ] {
        place.run(arguments).done();
    }
    assert_eq!(place.files(), files);
    store.write(|tx| tx.put("fruit", "durian", "spiky")).unwrap();
    assert_eq!(place.run(["count", "fruit", "-o", "raw"]).done().text(), "4\n", "the last commit is seen");
}

#[test]
fn compacting_needs_the_store_for_itself() {
    let place = Place::with_fruit();
    let reader = Store::options().role(Role::Reader).open(place.store()).unwrap();
    let snapshot = reader.snapshot().unwrap();
    let error = place.run(["compact", "-o", "json"]).ends(3).error();
    assert_eq!(error["kind"], json!("in_use"));
    drop((snapshot, reader));
    place.run(["compact"]).done();
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_the_wait() {
    use rustix::process::{Pid, Signal, kill_process};

    let place = Place::with_fruit();
    let _store = Store::open(place.store()).unwrap();
    let mut command = place.command();
    command.args(["put", "fruit", "k", "v", "--wait", "60"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begin = Instant::now();
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
#[cfg(unix)]
fn an_interrupted_load_leaves_nothing() {
    use std::io::Write;

    use rustix::process::{Pid, Signal, kill_process};

    let place = Place::with_fruit();
    let mut command = place.command();
    command.args(["load", "new", "--format", "jsonl", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for number in 0..1000 {
        writeln!(stdin, "{{\"key\":\"{number}\",\"value\":\"x\"}}").unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while place.run(["info"]).done().json()["writer"] == json!(null) {
        assert!(Instant::now() < deadline, "the load does not begin");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    drop(stdin);
    assert_eq!(place.version(), 3);
    place.run(["verify"]).done();
}

#[test]
fn what_a_killed_writer_leaves_is_recovered_and_only_on_demand() {
    let place = Place::new();
    place.run(["ns", "create", "demo-kill"]).done();
    let file = place.store().join("store.redb");
    for (start, recovering) in [("0", &["doctor", "--repair"][..]), ("1000", &["info"])] {
        let mut command = place.command();
        let mut child =
            command.args(["demo-writer", "--start", start]).stdout(Stdio::piped()).spawn().unwrap();
        // Kept until it is dead: a writer that nobody listens to ends by itself.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = lines.nth(5).unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lines);

        let before = std::fs::read(&file).unwrap();
        let checks = place.run(["doctor"]).ends(6).lines();
        assert!(
            checks.iter().any(|check| check["check"] == "recovery" && check["ok"] == false),
            "{checks:?}"
        );
        assert!(std::fs::read(&file).unwrap() == before, "an examination changes nothing");
        place.run(recovering).done();
        place.run(["doctor"]).done();
        let version: u64 = acknowledged.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(place.version() >= version);
    }
}
