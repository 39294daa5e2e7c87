//! `cohab plugin`, and what plugins do to other commands.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::held::Held;
use crate::support::{Place, Ran};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps, under `seen/KEY`, what became of each key of `fruit`; answers with the number of what it has seen.
const SEEN: (&str, &str) = (
    "name = 'seen'\ndescription = 'What was seen'\napi = 1\nentry = 'plugin.rhai'\n\
     [[trigger]]\non = 'commit'\nnamespaces = ['fruit']\nstart = 'existing'\n[[trigger]]\non = 'request'\n\
     [grants]\nwrite = ['seen']\nlog = true\n",
    "fn on_commit(changes) {\n    for change in changes {\n        put(\"seen\", change.key, `${change.after}`);\n    }\n}\n\
     fn on_request(input) {\n    if input == \"count\" { return scan(\"seen\", \"\").len.to_string(); }\n    \
     if input != \"\" { put(\"asked\", input); log(`asked for ${input}`); }\n    `one: ${input}`\n}\n",
);

/// Refuses what is bitter.
const SWEET: (&str, &str) = (
    "name = 'sweet'\napi = 1\nentry = 'plugin.rhai'\n[[trigger]]\non = 'before-commit'\nnamespaces = ['fruit']\n",
    "fn before_commit(changes) {\n    for change in changes {\n        \
     if change.after == \"bitter\" { throw `${change.key} is bitter`; }\n    }\n}\n",
);

impl Place {
    /// Writes the files of a plugin into a directory beside the store.
    fn plugin(&self, name: &str, (manifest, script): (&str, &str)) -> PathBuf {
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("plugin.toml"), manifest).unwrap();
        fs::write(dir.join("plugin.rhai"), script).unwrap();
        dir
    }

    fn show(&self, name: &str) -> Value {
        self.run(["plugin", "show", name, "-o", "json"]).done().json()
    }

    fn value(&self, namespace: &str, key: &str) -> String {
        self.run(["get", namespace, key, "-o", "raw"]).done().text()
    }

    fn reply(&self, name: &str, input: &str) -> String {
        self.run(["plugin", "call", name, input, "-o", "raw"]).done().text()
    }
}

/// A store with fruit and the plugin `seen`.
fn place() -> Place {
    let place = Place::with_fruit();
    place.plugin("seen", SEEN);
    place.run(["plugin", "add", "seen"]).done();
    place
}

/// Waits for something that another process is to do.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_plugin_is_added_called_reloaded_and_removed() {
    let place = Place::with_fruit();
    assert!(place.run(["plugin", "list"]).done().lines().is_empty());
    let dir = place.plugin("seen", SEEN);
    let added = place.run(["plugin", "add", "seen"]).done().json();
    let expected =
        json!({"version": 4, "plugin": "seen", "generation": 1, "mode": "development", "enabled": true});
    assert_eq!(added, expected);
    place.run(["plugin", "add", "seen"]).fails(8, "there is a plugin `seen` already");
    assert_eq!(place.value("seen", "banana"), "yellow", "what was there was shown to it");
    let listed = place.run(["plugin", "list"]).done().lines();
    assert_eq!(listed, [place.show("seen")], "a list has all fields");
    assert_eq!(place.reply("seen", "x"), "one: x");
    assert_eq!(place.reply("seen", "count"), "3");
    assert_eq!(place.reply("seen", ""), "one: ", "a call without input");
    let json = place.run(["plugin", "call", "seen", "y"]).done().json();
    assert_eq!(json, json!({"plugin": "seen", "reply": "one: y"}));
    assert_eq!(place.run(["plugin", "call", "seen", "y", "-o", "table"]).done().text(), "one: y\n");
    let piped = place.feed("from a pipe", ["plugin", "call", "seen", "-", "-o", "raw"]).done();
    assert_eq!(piped.text(), "one: from a pipe");

    let script = SEEN.1.replace("one:", "two:");
    fs::write(dir.join("plugin.rhai"), &script).unwrap();
    let reloaded = place.run(["plugin", "reload", "seen"]).done().json();
    assert_eq!((&reloaded["generation"], &reloaded["new"]), (&json!(2), &json!(true)));
    let again = place.run(["plugin", "reload", "seen"]).done().json();
    assert_eq!((&again["generation"], &again["new"]), (&json!(2), &json!(false)));
    assert_eq!(place.reply("seen", "x"), "two: x");

    let logged = place.run(["plugin", "log", "seen"]).done().lines();
    let texts: Vec<&str> = logged.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(texts[0].starts_with("added, from /"), "{texts:?}");
    assert!(texts.contains(&"asked for from a pipe"), "{texts:?}");
    assert!(logged.iter().all(|line| line["at"].as_str().unwrap().ends_with('Z')), "{logged:?}");
    let last = place.run(["plugin", "log", "seen", "--limit", "1"]).done().lines();
    assert_eq!(last, logged[logged.len() - 1..]);
    let table = place.run(["plugin", "list", "-o", "table"]).done().text();
    assert!(table.starts_with("NAME") && table.contains("development"), "{table}");

    let removed = place.run(["plugin", "remove", "seen"]).done().json();
    assert_eq!(removed["plugin"], "seen");
    for command in
        [&["show", "seen"][..], &["call", "seen"], &["log", "seen"], &["reload", "seen"], &["enable", "seen"]]
    {
        place.run([&["plugin"], command].concat()).fails(1, "there is no plugin `seen`");
    }
    assert_eq!(place.value("seen", "banana"), "yellow", "what it wrote stays");
}

#[test]
fn what_is_known_of_a_plugin_has_stable_fields() {
    let place = place();
    let shown = place.show("seen");
    let fields: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    for field in [
        "name",
        "description",
        "generation",
        "hash",
        "tier",
        "api",
        "schema",
        "mode",
        "enabled",
        "disabled_because",
        "triggers",
        "grants",
        "source",
        "source_state",
        "stale_since",
        "loaded_at",
        "position",
        "lag",
        "calls",
        "failures",
        "time_us",
        "memory_bytes",
        "last_error",
        "last_error_at",
        "stalled",
        "failure",
        "instance",
        "pid",
    ] {
        assert!(fields.contains(&field), "{field} is not in {fields:?}");
    }
    assert_eq!(shown["description"], "What was seen");
    assert_eq!((&shown["tier"], &shown["source_state"]), (&json!("script"), &json!("in_service")));
    assert_eq!(shown["triggers"], json!(["on_commit", "on_request"]));
    assert_eq!(shown["grants"]["write"], json!(["seen"]));
    assert_eq!(shown["grants"]["log"], json!(true));
    assert_eq!(shown["hash"].as_str().unwrap().len(), 64);
    assert_eq!((&shown["lag"], &shown["failure"]), (&json!(0), &json!(null)));
    assert!(shown["loaded_at"].as_str().unwrap().ends_with('Z'));
    let table = place.run(["plugin", "show", "seen", "-o", "table"]).done().text();
    let hash = &shown["hash"].as_str().unwrap()[..12];
    assert!(table.contains(&format!("  {hash}\n")) && table.contains("write seen, log"), "{table}");
}

#[test]
fn what_is_not_fit_for_service_is_named_with_its_line() {
    let place = Place::with_fruit();
    let dir = place.plugin("seen", (&SEEN.0.replace("api = 1", "api = 'x'"), SEEN.1));
    place.run(["plugin", "add", "seen"]).fails(2, "plugin.toml:3:");
    let error = place.run(["plugin", "add", "seen", "-o", "json"]).ends(2).error();
    assert_eq!(
        (&error["kind"], &error["causes"]),
        (&json!("plugin"), &json!([])),
        "the cause is in the message"
    );
    place.run(["plugin", "add", "nowhere"]).ends(2);
    fs::remove_file(dir.join("plugin.toml")).unwrap();
    place.run(["plugin", "add", "seen"]).fails(2, "plugin.toml");
    assert_eq!(place.version(), 3, "nothing has changed");

    place.plugin("seen", SEEN);
    place.run(["plugin", "add", "seen", "--grant-read", "fruit"]).fails(2, "not granted");
    let granted = ["--grant-read", "fruit", "--grant-write", "seen", "--grant-log", "--mode", "production"];
    let added = place.run([&["plugin", "add", "seen"][..], &granted].concat()).done().json();
    assert_eq!(added["mode"], "production");
    let grants = place.show("seen")["grants"].clone();
    assert_eq!(grants, json!({"read": ["fruit"], "write": ["seen"], "log": true, "clock": false}));

    fs::write(dir.join("plugin.rhai"), "fn on_commit(changes) {\n    let x = ;\n}\n").unwrap();
    place.run(["plugin", "reload", "seen"]).fails(2, "plugin.rhai:2:");
    let shown = place.show("seen");
    let failure = &shown["failure"];
    assert_eq!((&shown["generation"], &shown["source_state"]), (&json!(1), &json!("refused")));
    assert_eq!((&failure["stage"], &failure["file"]), (&json!("compile"), &json!("plugin.rhai")));
    assert_eq!(failure["line"], json!(2));
    assert!(failure["column"].is_u64() && failure["message"].is_string(), "{failure}");
    assert!(
        failure["at"].as_str().unwrap().ends_with('Z') && failure["stale_since"].is_string(),
        "{failure}"
    );
    assert!(shown["last_error"].as_str().unwrap().starts_with("plugin.rhai:2:"), "{shown}");
    assert_eq!(place.reply("seen", "x"), "one: x", "what was in service is so still");
    let table = place.run(["plugin", "show", "seen", "-o", "table"]).done().text();
    assert!(table.contains("failure") && table.contains("compile: plugin.rhai:2:"), "{table}");
}

#[test]
fn what_a_plugin_makes_of_a_commit_is_there_when_the_command_ends() {
    let place = place();
    place.run(["put", "fruit", "durian", "spiky"]).done();
    assert_eq!(place.value("seen", "durian"), "spiky");
    place.feed(r#"{"put":{"ns":"fruit","key":"elder","value":"small"}}"#, ["txn"]).done();
    assert_eq!(place.value("seen", "elder"), "small");
    let lines = r#"{"key":"fig","value":"blue"}"#;
    place.feed(lines, ["load", "fruit", "--format", "jsonl", "-"]).done();
    assert_eq!(place.value("seen", "fig"), "blue");
    assert_eq!(place.show("seen")["lag"], json!(0));

    place.run(["plugin", "disable", "seen"]).done();
    place.run(["put", "fruit", "guava", "pink"]).done();
    place.run(["get", "seen", "guava"]).fails(1, "has no key");
    place.run(["plugin", "call", "seen", "x"]).fails(2, "plugin `seen` is disabled");
    let enabled = place.run(["plugin", "enable", "seen"]).done().json();
    assert_eq!(enabled["enabled"], json!(true));
    assert_eq!(place.value("seen", "guava"), "pink", "it goes on where it was");
}

#[test]
fn a_plugin_that_is_behind_is_told_of_and_fails_nothing() {
    let place = Place::with_fruit();
    let retries = SEEN.0.to_owned() + "[on-error]\npolicy = 'retry'\nbackoff = '1h'\nbackoff-max = '1h'\n";
    place.plugin(
        "seen",
        (&retries, "fn on_commit(changes) { throw \"not today\"; }\nfn on_request(input) { input }\n"),
    );
    let added = place.run(["plugin", "add", "seen"]).ends(0);
    assert_eq!(added.json()["generation"], json!(1));
    let put = place.run(["put", "fruit", "durian", "spiky"]).ends(0);
    assert!(put.json()["version"].is_u64());
    assert!(put.err.starts_with("cohab: plugin `seen` is ") && put.err.contains("not today"), "{put:?}");
    assert_eq!(put.err.lines().count(), 1, "{put:?}");
    place.run(["put", "fruit", "elder", "small", "--quiet"]).done();
}

#[test]
fn a_plugin_that_is_asked_before_a_commit_can_refuse_it() {
    let place = Place::with_fruit();
    place.plugin("sweet", SWEET);
    place.run(["plugin", "add", "sweet"]).done();
    let before = (place.version(), place.dump());
    place
        .run(["put", "fruit", "lemon", "bitter"])
        .fails(8, "plugin `sweet` refuses: ")
        .says("lemon is bitter");
    let error = place.run(["put", "fruit", "lemon", "bitter", "-o", "json"]).ends(8).error();
    assert_eq!(error["kind"], "refused");
    let operations = "{\"put\":{\"ns\":\"fruit\",\"key\":\"a\",\"value\":\"sweet\"}}\n\
                      {\"put\":{\"ns\":\"fruit\",\"key\":\"b\",\"value\":\"bitter\"}}\n";
    place.feed(operations, ["txn"]).fails(8, "b is bitter");
    assert_eq!((place.version(), place.dump()), before, "nothing has changed");
    place.run(["put", "fruit", "lemon", "sour"]).done();
    let mut writer = Held::start(&place, &[]);
    let error = writer.fails("refused", &json!({"put": {"ns": "fruit", "key": "c", "value": "bitter"}}));
    assert!(error["message"].as_str().unwrap().contains("c is bitter"), "{error}");
    writer.close();
}

impl Ran {
    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is not in {self:?}");
        self
    }
}

#[test]
fn who_holds_the_store_runs_its_plugins() {
    let place = place();
    let dir = place.path("seen");
    let mut writer = Held::start(&place, &["--app", "shop"]);
    writer.done(&json!({"put": {"ns": "fruit", "key": "durian", "value": "spiky"}}));
    until("the commit's effect", || place.run(["get", "seen", "durian"]).code == Some(0));
    fs::write(dir.join("plugin.rhai"), SEEN.1.replace("one:", "two:")).unwrap();
    until("the reload", || place.show("seen")["generation"] == 2);
    assert_eq!(place.reply("seen", ""), "two: ", "a call that only reads works beside the writer");
    let files = place.files();
    for command in [&["list"][..], &["show", "seen"], &["log", "seen"], &["call", "seen", "count"]] {
        place.run([&["plugin"], command].concat()).done();
    }
    assert_eq!(place.files(), files);

    let refused = place.run(["plugin", "call", "seen", "x"]).fails(3, "is held by writer (process ");
    assert!(refused.err.contains(&writer.pid().to_string()), "{refused:?}");
    place.run(["plugin", "add", "seen"]).ends(3);
    place.run(["plugin", "disable", "seen"]).ends(3);

    fs::write(dir.join("plugin.rhai"), "fn on_commit(changes) {\n    oh no\n}\n").unwrap();
    until("the error", || place.show("seen")["failure"]["line"] == 2);
    let running = || place.run(["ps"]).done().lines()[0]["plugins"].clone();
    until("the word of who runs it", || running() != json!([]) && running()[0]["last_error"].is_string());
    let plugin = &running()[0];
    for (field, value) in
        [("name", json!("seen")), ("generation", json!(2)), ("enabled", json!(true)), ("lag", json!(0))]
    {
        assert_eq!(plugin[field], value, "{field}");
    }
    let mut command = place.command();
    let table = Ran::of(command.env("COLUMNS", "250").args(["ps", "-o", "table"])).done().text();
    assert!(table.contains("PLUGINS") && table.contains("seen g2 (error: plugin.rhai:2:"), "{table}");
    assert_eq!(writer.done(&json!({"instances": {}}))["instances"][0]["plugins"][0]["name"], "seen");
    let shown = place.show("seen");
    assert_eq!((&shown["pid"], &shown["instance"]), (&json!(writer.pid()), &json!(writer.instance())));
    assert!(shown["calls"].as_u64().unwrap() > 0, "{shown}");
    writer.close();
}

#[test]
fn in_production_files_are_taken_up_when_somebody_says_so() {
    let place = place();
    let mode = place.run(["plugin", "mode", "seen", "production"]).done().json();
    assert_eq!((&mode["mode"], &mode["generation"]), (&json!("production"), &json!(1)));
    let writer = Held::start(&place, &[]);
    fs::write(place.path("seen").join("plugin.rhai"), SEEN.1.replace("one:", "two:")).unwrap();
    until("the report", || place.show("seen")["source_state"] == "changed");
    assert_eq!(place.show("seen")["generation"], json!(1));
    writer.close();
    assert_eq!(place.reply("seen", "x"), "one: x");
    assert_eq!(place.run(["plugin", "reload", "seen"]).done().json()["generation"], json!(2));
    assert_eq!(place.reply("seen", "x"), "two: x");
    place.run(["plugin", "mode", "seen", "sometimes"]).fails(2, "invalid value 'sometimes'");
}

#[test]
fn a_log_is_followed() {
    let place = place();
    let mut command = place.command();
    command.args(["plugin", "log", "seen", "--follow", "--limit", "0"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    until("the command", || place.run(["ps"]).done().lines().len() == 1);
    std::thread::sleep(Duration::from_millis(300));
    for input in ["a", "b"] {
        place.reply("seen", input);
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&line["text"], &line["level"]), (&json!(format!("asked for {input}")), &json!("info")));
        assert_eq!(line["generation"], json!(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn bytes_that_are_no_text_go_through_a_plugin() {
    let place = Place::with_fruit();
    let manifest = "name = 'echo'\napi = 1\nentry = 'plugin.rhai'\n[[trigger]]\non = 'request'\n";
    place.plugin("echo", (manifest, "fn on_request(input) { input }\n"));
    place.run(["plugin", "add", "echo"]).done();
    let call = |arguments: &[&str]| place.run([&["plugin", "call", "echo"], arguments].concat()).done();
    assert_eq!(call(&["ff00", "--hex", "-o", "raw"]).out, b"\xff\x00");
    assert_eq!(call(&["ff00", "--hex"]).json()["reply"], json!({"base64": "/wA="}));
    assert_eq!(call(&["1b5b324a", "--hex", "-o", "table"]).text(), "\\u{1b}[2J\n");
    place.file("input", b"\xfe\n");
    assert_eq!(call(&["@input", "-o", "raw"]).out, b"\xfe\n");
}

#[test]
fn the_namespaces_of_plugins_are_not_the_users() {
    let place = Place::with_fruit();
    let before = (place.dump(), place.run(["info"]).done().json()["keys"].clone());
    let dir = place.plugin("sweet", SWEET);
    place.run(["plugin", "add", "sweet"]).done();
    let info = place.run(["info"]).done().json();
    assert_eq!((place.dump(), info["keys"].clone()), before);
    assert_eq!(info["namespaces"], json!(1));
    let names = |arguments: &[&str]| -> Vec<String> {
        let listed = place.run([&["ns", "list"], arguments].concat()).done().lines();
        listed.iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["fruit"]);
    assert_eq!(place.run(["ns", "stat"]).done().lines().len(), 1);
    let all = names(&["--all"]);
    assert!(all.contains(&"_plugins".to_owned()) && all.len() > 2, "{all:?}");

    let record: Value = serde_json::from_str(&place.value("_plugins", "sweet")).unwrap();
    assert_eq!(record["name"], "sweet");
    assert!(place.run(["dump", "_plugins"]).done().text().contains("sweet"));
    let event = &place.run(["watch", "_plugins", "--from", "4", "-n", "1"]).done().lines()[0];
    let change =
        &event["changes"].as_array().unwrap().iter().find(|change| change["ns"] == "_plugins").unwrap();
    assert_eq!((&change["op"], &change["key"]), (&json!("put"), &json!("sweet")));

    let dump = place.run(["dump", "_plugins"]).done().text();
    place.file("system", dump);
    for command in [
        &["put", "_plugins", "k", "v"][..],
        &["put", "_other", "k", "v", "--create"],
        &["del", "_plugins", "sweet"],
        &["ns", "drop", "_plugins", "--force"],
        &["ns", "set", "_plugins", "--title", "T"],
        &["ns", "rename", "_plugins", "mine"],
        &["ns", "rename", "fruit", "_mine"],
        &["ns", "create", "_mine"],
        &["ns", "copy", "fruit", "_mine"],
        &["ns", "rollback", "_plugins", "--to", "3"],
        &["ns", "undrop", "_plugins"],
        &["ns", "purge", "_plugins"],
        &["load", "_plugins", "--format", "jsonl", "-"],
        &["load", "system"],
    ] {
        place.feed("", command).fails(2, "is reserved");
    }
    for operation in
        [r#"{"put":{"ns":"_plugins","key":"k","value":"v"}}"#, r#"{"del":{"ns":"_plugins","key":"sweet"}}"#]
    {
        place.feed(operation, ["txn"]).fails(2, "is reserved");
    }
    assert_eq!(place.show("sweet")["generation"], json!(1), "nothing has changed");

    place.run(["plugin", "remove", "sweet"]).done();
    assert!(names(&["--dropped"]).is_empty());
    assert!(dir.is_dir());
}

#[test]
fn a_command_line_without_plugins_makes_nothing_of_them() {
    let place = Place::with_fruit();
    let files = place.files();
    place.run(["put", "fruit", "durian", "spiky"]).done();
    place.run(["plugin", "list"]).done();
    assert_eq!(place.files(), files);
    let page = place.run(["man", "plugin", "call"]).done().text();
    assert!(page.contains(".TH") && page.contains("reply"), "{page}");
    assert!(place.run(["completions", "bash"]).done().text().contains("plugin"));
    assert!(place.run(["help", "plugin", "add"]).done().text().contains("--grant-write"));
}
