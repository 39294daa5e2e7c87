//! Who has a store open, and what they leave: `cohab ps`, `reap`, `locks`, `dirs` and `port`.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::held::Held;
use crate::support::{Place, Ran};

fn ps(place: &Place) -> Vec<Value> {
    place.run(["ps"]).done().lines()
}

#[test]
fn those_who_have_the_store_open_are_listed() {
    let place = Place::with_fruit();
    assert!(ps(&place).is_empty());
    assert_eq!(place.run(["ps", "-o", "json"]).done().json(), json!([]));
    let about = ["--app", "shop", "--channel", "nightly", "--app-version", "1.2", "--label", "till-1"];
    let mut writer = Held::start(&place, &about);
    let mut reader = Held::start(&place, &["--role", "reader"]);
    let files = place.files();
    let listed = ps(&place);
    assert_eq!(listed.len(), 2);
    let [first, second] = [&listed[0], &listed[1]];
    for (field, value) in [
        ("id", json!(writer.instance())),
        ("role", json!("writer")),
        ("pid", json!(writer.pid())),
        ("app", json!("shop")),
        ("channel", json!("nightly")),
        ("app_version", json!("1.2")),
        ("label", json!("till-1")),
        ("ports", json!([])),
        ("snapshot_age_ms", json!(null)),
        ("stopped", json!(false)),
    ] {
        assert_eq!(first[field], value, "{field} in {first}");
    }
    assert!(first["started"].as_str().unwrap().ends_with('Z'), "{first}");
    let fields = if cfg!(feature = "scripts") { 14 } else { 13 };
    assert_eq!(first.as_object().unwrap().len(), fields, "{first}");
    assert_eq!(
        (&second["role"], &second["app"], &second["label"]),
        (&json!("reader"), &json!(null), &json!(null))
    );

    reader.done(&json!({"snapshot": {}}));
    let version = writer.done(&json!({"del": {"ns": "fruit", "key": "apple"}}))["version"].clone();
    std::thread::sleep(Duration::from_millis(700));
    let listed = ps(&place);
    assert_eq!((&listed[0]["version"], &listed[1]["version"]), (&version, &version));
    assert_eq!(listed[0]["snapshot_age_ms"], json!(null));
    assert!(listed[1]["snapshot_age_ms"].as_u64().unwrap() >= 300, "{}", listed[1]);
    reader.done(&json!({"release": 1}));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(ps(&place)[1]["snapshot_age_ms"], json!(null), "a reader that holds nothing pins nothing");
    assert!(place.run(["ps", "-o", "table"]).done().text().contains("nightly"));
    assert_eq!(place.files(), files, "looking makes nothing");
    writer.close();
    reader.close();
    assert!(ps(&place).is_empty());
}

#[test]
fn what_the_dead_leave_is_removed_on_demand() {
    let place = Place::with_fruit();
    let (dead, live) =
        (Held::start(&place, &["--label", "dead"]), Held::start(&place, &["--role", "reader"]));
    let id = dead.instance().to_owned();
    dead.kill();
    let listed = ps(&place);
    assert!(listed.len() == 1 && listed[0]["id"] == live.instance(), "{listed:?}");
    let checks = Ran::of(place.command().arg("doctor")).lines();
    let check = checks.iter().find(|check| check["check"] == "instances");
    assert!(check.is_none_or(|check| check["detail"] == "1 live, 1 dead have left something"), "{checks:?}");
    let reaped = place.run(["reap"]).done().lines();
    assert!(
        reaped.len() == 1 && reaped[0]["id"] == id.as_str() && reaped[0]["label"] == "dead",
        "{reaped:?}"
    );
    assert!(place.run(["reap"]).done().lines().is_empty());
    assert_eq!(ps(&place).len(), 1);
    live.kill();
    place.run(["doctor", "--repair"]).done();
    assert!(std::fs::read_dir(place.store().join("instances")).unwrap().next().is_none());
}

#[test]
fn the_writers_lock_is_listed_without_being_taken() {
    let place = Place::with_fruit();
    let lock = |place: &Place| place.run(["locks"]).done().lines().swap_remove(0);
    let free = lock(&place);
    assert_eq!(
        (&free["name"], &free["kind"], &free["held"]),
        (&json!("writer"), &json!("store"), &json!(false))
    );
    let writer = Held::start(&place, &["--channel", "beta"]);
    let held = lock(&place);
    assert_eq!((&held["held"], &held["mode"]), (&json!(true), &json!("exclusive")));
    assert_eq!(held["token"], writer.opened["epoch"]);
    let holder = &held["holder"];
    assert_eq!((&holder["instance"], &holder["channel"]), (&json!(writer.instance()), &json!("beta")));
    let place = Place::bare();
    for command in ["ps", "locks", "reap"] {
        place.run([command]).fails(1, "there is no store at");
    }
    assert!(!place.store().exists());
    writer.close();
}

#[test]
fn directories_are_told_and_not_made() {
    let place = Place::bare();
    let home = place.path("home");
    let dirs = |arguments: &[&str]| {
        let mut command = place.command();
        for variable in
            ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"]
        {
            command.env_remove(variable);
        }
        command.env("HOME", &home).env_remove("COHAB_STORE").arg("dirs").args(arguments);
        Ran::of(&mut command)
    };
    let stable = dirs(&["--app", "shop"]).done().json();
    let nightly = dirs(&["--app", "shop", "--channel", "nightly"]).done().json();
    let one = dirs(&["--app", "shop", "--channel", "nightly", "--label", "one"]).done().json();
    assert_eq!(
        (&stable["channel"], &nightly["channel"], &one["label"]),
        (&json!("stable"), &json!("nightly"), &json!("one"))
    );
    for kind in ["data", "config", "cache"] {
        let all = [&stable[kind], &nightly[kind], &one[kind]];
        assert!(all.iter().all(|dir| dir.as_str().unwrap().starts_with(home.to_str().unwrap())), "{all:?}");
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
    }
    assert!(!home.exists());
    let store = dirs(&["--store", "somewhere"]).done().json();
    assert!(store["store_file"].as_str().unwrap().ends_with("/somewhere/store.redb"), "{store}");
    dirs(&[]).fails(2, "whose directories?");
    dirs(&["--app", "../shop"]).fails(2, "holds '/'");
    dirs(&["--channel", "nightly"]).fails(2, "--app");
}

/// Starts to hold a port, and returns what it said.
fn port(place: &Place, arguments: &[&str]) -> (Child, Value) {
    let mut command = place.command();
    command.arg("port").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[test]
fn a_port_is_held_until_the_input_closes() {
    let place = Place::new();
    let (mut one, held) = port(&place, &["http"]);
    let number = held["port"].as_u64().unwrap();
    assert_eq!(held["name"], "http");
    let address = held["addresses"][0].as_str().unwrap();
    assert_eq!(address, format!("127.0.0.1:{number}"));
    TcpStream::connect(address).unwrap();
    let listed = ps(&place);
    assert_eq!(
        (&listed[0]["role"], &listed[0]["ports"]),
        (&json!("port"), &json!([{"name": "http", "port": number}]))
    );
    let wish = number.to_string();
    place.run(["port", "other", "--port", &wish, "--strict"]).fails(3, &format!("port {number}"));
    let range = format!("{number}-{number}");
    let (other, elsewhere) = port(&place, &["other", "--range", &range]);
    assert_ne!(elsewhere["port"], held["port"]);
    drop(one.stdin.take());
    assert!(one.wait().unwrap().success());
    let (again, same) = port(&place, &["http"]);
    assert_eq!(same["port"], held["port"], "a port is remembered");
    for mut child in [other, again] {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    assert!(ps(&place).is_empty());
    place.run(["port", "http", "--range", "9-1"]).fails(2, "8000-8099");
    place.run(["port", "http", "--strict"]).fails(2, "--strict needs ports");
    place.run(["port", "UPPER"]).fails(2, "holds 'U'");
}
