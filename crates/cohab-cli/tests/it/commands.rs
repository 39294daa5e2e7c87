//! Every command on a healthy store.

use serde_json::{Value, json};

use crate::support::Place;

#[test]
fn a_store_is_made_once() {
    let place = Place::bare();
    place.run(["info"]).fails(1, "there is no store at").fails_with_hint("`cohab init` makes one");
    place.run(["put", "a", "k", "v", "--create"]).fails(1, "there is no store");
    assert!(!place.store().exists(), "only `init` makes a store");
    let made = place.run(["init"]).done().json();
    assert_eq!((&made["version"], &made["origin"]), (&json!(0), &json!(null)));
    place.run(["init"]).fails(8, "there is a store at");

    let info = place.run(["info", "-o", "json"]).done().json();
    assert_eq!(info["store"], made["store"]);
    for (field, value) in
        [("version", 0), ("oldest_version", 1), ("format", 2), ("namespaces", 0), ("keys", 0)]
    {
        assert_eq!(info[field], json!(value), "{field}");
    }
    assert_eq!(info["writer"], json!(null));
    assert!(info["bytes"].as_u64().unwrap() > 0 && info["created"].as_str().unwrap().ends_with('Z'));
    for field in ["path", "epoch", "log_bytes", "origin"] {
        assert!(info.get(field).is_some(), "{field}");
    }
}

impl crate::support::Ran {
    #[track_caller]
    fn fails_with_hint(self, hint: &str) -> Self {
        let found = self.err.lines().any(|line| line.starts_with("hint: ") && line.contains(hint));
        assert!(found, "{self:?}");
        self
    }
}

#[test]
fn a_value_is_read_in_every_form() {
    let place = Place::with_fruit();
    let expected = json!({"ns": "fruit", "key": "banana", "value": "yellow", "version": 2});
    assert_eq!(place.run(["get", "fruit", "banana", "-o", "json"]).done().json(), expected);
    // Where no terminal is, one line of JSON is the default.
    let line = r#"{"ns":"fruit","key":"banana","value":"yellow","version":2}"#;
    assert_eq!(place.run(["get", "fruit", "banana"]).done().text(), format!("{line}\n"));
    assert_eq!(place.run(["get", "fruit", "banana", "-o", "raw"]).done().out, b"yellow");
    let table = place.run(["get", "fruit", "banana", "-o", "table"]).done().text();
    assert_eq!(table, "ns       fruit\nkey      banana\nvalue    yellow\nversion  2\n");

    place.run(["get", "fruit", "durian"]).fails(1, "namespace `fruit` has no key \"durian\"");
    place.run(["get", "vegetables", "leek"]).fails(1, "there is no namespace `vegetables`");
}

#[test]
fn bytes_that_are_no_text_go_in_and_out() {
    let place = Place::new();
    let bytes = b"\xff\x00\n@";
    let file = place.file("value", bytes);
    let from_file = format!("@{}", file.display());
    place.run(["put", "a", "file", &from_file, "--create"]).done();
    place.feed(bytes, ["put", "a", "input", "-"]).done();
    place.run(["put", "a", "66696c6532", "FF000a40", "--hex"]).done();
    place.run(["put", "a", "AP8=", "/wAKQA==", "--base64"]).done();
    place.feed(b"key from input", ["put", "a", "-", &from_file]).done();
    place.run(["put", "a", "-5", "-6"]).done();
    for key in ["file", "input", "file2", "key from input"] {
        assert_eq!(place.run(["get", "a", key, "-o", "raw"]).done().out, bytes, "{key}");
    }
    let read = place.run(["get", "a", "00ff", "--hex"]).done().json();
    assert_eq!(read["key"], json!({"base64": "AP8="}));
    assert_eq!(read["value"], json!({"base64": "/wAKQA=="}));
    let table = place.run(["get", "a", "file", "-o", "table"]).done().text();
    assert!(table.contains(r"value    \xff\u{0}\n@"), "{table}");

    place.run(["put", "a", "-", "-"]).fails(2, "only one of the arguments");
    place.run(["put", "a", "k", "@nowhere"]).fails(1, "opening nowhere for the value failed");
    place.run(["put", "a", "k", "@."]).fails(2, "directory");
    place.run(["put", "a", "zz", "00", "--hex"]).fails(2, "the key is not hexadecimal");
    place.run(["put", "a", "00", "!", "--base64"]).fails(2, "not base64");
    place.run(["put", "a", "00", "00", "--base64", "--hex"]).fails(2, "cannot be used with");
}

#[test]
fn keys_are_put_and_deleted() {
    let place = Place::with_fruit();
    place.run(["put", "vegetables", "leek", "green"]).fails(1, "there is no namespace `vegetables`");
    assert_eq!(place.run(["put", "fruit", "", ""]).done().json(), json!({"version": 4}));
    assert_eq!(place.run(["get", "fruit", "", "-o", "raw"]).done().out, b"");
    assert_eq!(place.run(["del", "fruit", "apple"]).done().json(), json!({"version": 5}));
    place.run(["del", "fruit", "apple"]).fails(1, "namespace `fruit` has no key \"apple\"");
    place.run(["del", "vegetables", "leek"]).fails(1, "there is no namespace");
    assert_eq!(place.version(), 5, "what failed has changed nothing");
}

#[test]
fn a_scan_keeps_to_its_range() {
    let place = Place::with_fruit();
    let check = |arguments: &[&str], keys: &str| {
        let scanned = place.run([&["scan", "fruit"], arguments].concat()).done().lines();
        let found: Vec<&str> = scanned.iter().map(|line| line["key"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), keys, "{arguments:?}");
        if !arguments.iter().any(|argument| ["--limit", "--reverse"].contains(argument)) {
            let counted = place.run([&["count", "fruit"], arguments].concat()).done().json();
            assert_eq!(counted, json!({"count": found.len()}), "{arguments:?}");
        }
    };
    check(&[], "apple banana cherry");
    check(&["--prefix", "b"], "banana");
    check(&["--prefix", ""], "apple banana cherry");
    check(&["--from", "apple", "--to", "cherry"], "apple banana");
    check(&["--from", "az"], "banana cherry");
    check(&["--from", "z"], "");
    check(&["--from", "z", "--to", "a"], "");
    check(&["--prefix", "b", "--from", "c"], "");
    check(&["--limit", "2"], "apple banana");
    check(&["--limit", "0"], "");
    check(&["--reverse"], "cherry banana apple");
    check(&["--reverse", "--limit", "1", "--prefix", "a"], "apple");
    check(&["--hex", "--from", "62"], "banana cherry");

    let first = json!({"ns": "fruit", "key": "apple", "value": "red", "version": 1});
    assert_eq!(place.run(["scan", "fruit", "-o", "json"]).done().json()[0], first);
    assert_eq!(place.run(["scan", "fruit", "-o", "json", "--limit", "0"]).done().json(), json!([]));
    let raw = place.run(["scan", "fruit", "-o", "raw"]).done().text();
    assert_eq!(raw, "apple\tred\nbanana\tyellow\ncherry\tdark\n");
    let table = place.run(["scan", "fruit", "-o", "table"]).done().text();
    assert_eq!(
        table,
        "KEY     VALUE   VERSION\napple   red           1\nbanana  yellow        2\ncherry  dark          3\n"
    );
    assert_eq!(place.run(["count", "fruit", "-o", "raw"]).done().text(), "3\n");
    place.run(["scan", "vegetables"]).fails(1, "there is no namespace");
}

#[test]
fn a_long_table_has_one_header_and_fixed_columns() {
    let place = Place::new();
    let lines = (0..1200).map(|n| format!("{{\"key\":\"key {n:04}\",\"value\":\"{}\"}}\n", "x".repeat(n)));
    place.feed(lines.collect::<String>(), ["load", "a", "--format", "jsonl", "-"]).done();
    let ran =
        crate::support::Ran::of(place.command().env("COLUMNS", "60").args(["scan", "a", "-o", "table"]));
    let table = ran.done().text();
    assert_eq!(table.lines().count(), 1201);
    assert!(table.starts_with("KEY"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() == 60), "the version stands at the right");
}

#[test]
fn the_log_tells_what_happened() {
    let place = Place::with_fruit();
    place.run(["put", "fruit", "apple", "green"]).done();
    place.run(["del", "fruit", "cherry"]).done();
    let tail = place.run(["log", "tail", "-n", "2"]).done().lines();
    assert_eq!(tail.len(), 2);
    assert_eq!((&tail[0]["version"], &tail[0]["changes"]), (&json!(4), &json!(1)));
    assert_eq!(tail[1]["label"], json!("cohab del"));
    assert_eq!(place.run(["log", "tail"]).done().lines().len(), 5);
    assert_eq!(place.run(["log", "tail", "-n", "0"]).done().lines().len(), 0);

    let update = &place.run(["log", "show", "4"]).done().lines()[0];
    let expected = json!({"version": 4, "op": "update", "ns": "fruit", "id": 1, "key": "apple", "before": "red",
        "after": "green", "before_version": 1});
    assert_eq!(*update, expected);
    let first = place.run(["log", "show", "1", "-o", "json"]).done().json();
    assert_eq!((&first[0]["op"], &first[1]["op"]), (&json!("appear"), &json!("insert")));
    let delete = &place.run(["log", "show", "5"]).done().lines()[0];
    assert_eq!(
        (&delete["op"], &delete["before"], &delete["after"]),
        (&json!("delete"), &json!("dark"), &json!(null))
    );
    place.run(["log", "show", "0"]).fails(1, "there is no version 0");
    place.run(["log", "show", "6"]).fails(1, "there is no version 6");
    place.run(["log", "show", "x"]).fails(2, "invalid value 'x'");
    let verified = place.run(["log", "verify"]).done().json();
    assert_eq!((&verified["sound"], &verified["records"]), (&json!(true), &json!(5)));
}

#[test]
fn a_store_is_verified_examined_and_compacted() {
    let place = Place::with_fruit();
    let verified = place.run(["verify", "-o", "json"]).done().json();
    assert_eq!(verified["sound"], json!(true));
    assert_eq!((&verified["keys"], &verified["differences"]), (&json!(3), &json!([])));

    for arguments in [&["doctor"][..], &["doctor", "--repair"]] {
        let checks = place.run(arguments).done().lines();
        assert!(checks.len() > 4 && checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    }
    // A purge whose process ends before the keys are removed.
    let store = cohab::Store::open(place.store()).unwrap();
    store.write(|tx| tx.drop_namespace("fruit", cohab::DropMode::WithContents)).unwrap();
    store.write(|tx| tx.purge_namespace("fruit")).unwrap();
    drop(store);
    let maintenance = |checks: Vec<Value>| {
        let check = checks.into_iter().find(|check| check["check"] == "maintenance").unwrap();
        check["detail"].as_str().unwrap().to_owned()
    };
    let told = maintenance(place.run(["doctor"]).done().lines());
    assert_eq!(told, "1 purged namespaces still have keys");
    let told = maintenance(place.run(["doctor", "--repair"]).done().lines());
    assert!(told.contains("3 keys of purged namespaces removed"), "{told}");
    let told = maintenance(place.run(["doctor"]).done().lines());
    assert_eq!(told, "nothing left of purged namespaces");
    let compacted = place.run(["compact"]).done().json();
    assert!(compacted["bytes_after"].as_u64() <= compacted["bytes_before"].as_u64(), "{compacted}");
}

#[test]
fn a_backup_is_read_and_restored() {
    let place = Place::with_fruit();
    let copied = place.run(["backup", "copy"]).done().json();
    assert_eq!((&copied["version"], &copied["file"]), (&json!(3), &json!("copy")));
    place.run(["backup", "copy"]).fails(8, "copy exists already");
    place.run(["put", "fruit", "apple", "changed"]).done();

    assert_eq!(place.run(["--store", "copy", "get", "fruit", "apple", "-o", "raw"]).done().out, b"red");
    place.run(["--store", "copy", "put", "fruit", "apple", "no"]).ends(2);
    let restored = place.run(["--store", "second", "init", "--from", "copy"]).done().json();
    assert_eq!(restored["version"], json!(3));
    assert!(restored["origin"].as_str().unwrap().ends_with("@3"), "{restored}");
    assert_eq!(
        place.run(["--store", "second", "put", "fruit", "x", "y"]).done().json(),
        json!({"version": 4})
    );
    place.run(["--store", "second", "init", "--from", "copy"]).fails(8, "there is a store at second already");
    place.run(["--store", "third", "init", "--from", "nowhere"]).fails(1, "there is no backup at nowhere");
    let file = place.file("no backup", "text");
    place.run([&"--store".into(), &"third".into(), &"init".into(), &"--from".into(), &file]).ends(2);
}

#[test]
fn shells_and_man_are_served() {
    let place = Place::bare();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(["completions", shell]).done().text();
        assert!(script.contains("cohab") && script.contains("compact"), "{shell}");
        assert!(!script.contains("demo-writer") && !script.contains("demo__writer"), "{shell}");
    }
    place.run(["completions", "cmd"]).fails(2, "invalid value 'cmd'");
    assert!(place.run(["man"]).done().text().contains(".TH cohab 1"));
    assert!(place.run(["man", "ns", "create"]).done().text().contains("\\-\\-title"));
    place.run(["man", "nonsense"]).fails(2, "there is no command `nonsense`");
    assert!(place.run(["--version"]).done().text().starts_with("cohab "));
    assert!(place.run(["help", "ns", "set"]).done().text().contains("--if-meta-version"));
}
