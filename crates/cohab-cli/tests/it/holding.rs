//! `cohab hold`: its protocol.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::held::Held;
use crate::support::{Place, Ran};

#[test]
fn every_request_is_answered_with_the_version_it_has() {
    let place = Place::with_fruit();
    let mut held = Held::start(&place, &[]);
    assert_eq!((&held.opened["role"], &held.opened["version"]), (&json!("writer"), &json!(3)));
    let info = place.run(["info"]).done().json();
    assert_eq!(info["writer"]["instance"], held.instance());

    let check = |held: &mut Held, request: Value, answer: Value| {
        assert_eq!(held.ask(&request), answer, "{request}");
    };
    let put = json!({"ns": "fruit", "key": "apple", "value": "green"});
    check(&mut held, json!({"id": 1, "txn": [{"put": put}]}), json!({"id": 1, "ok": true, "version": 4}));
    let put = json!({"ns": "new", "key": {"base64": "/w=="}, "value": {"base64": "AP8="}});
    check(
        &mut held,
        json!({"id": "b", "put": put, "create": true, "label": "blob"}),
        json!({"id": "b", "ok": true, "version": 5}),
    );
    check(&mut held, json!({"del": {"ns": "fruit", "key": "cherry"}}), json!({"ok": true, "version": 6}));
    check(&mut held, json!({"txn": []}), json!({"ok": true, "version": 6}));

    let get = |key: &str| json!({"ns": "fruit", "key": key});
    check(&mut held, json!({"get": get("apple")}), json!({"ok": true, "value": "green", "version": 6}));
    check(&mut held, json!({"get": get("cherry")}), json!({"ok": true, "value": null, "version": 6}));
    check(
        &mut held,
        json!({"id": null, "get": {"ns": "new", "key": {"base64": "/w=="}}}),
        json!({"id": null, "ok": true, "value": {"base64": "AP8="}, "version": 6}),
    );
    check(
        &mut held,
        json!({"get_many": [get("apple"), get("cherry"), get("banana")]}),
        json!({"ok": true, "values": ["green", null, "yellow"], "version": 6}),
    );
    check(&mut held, json!({"count": {"ns": "fruit"}}), json!({"ok": true, "count": 2, "version": 6}));
    check(
        &mut held,
        json!({"scan": {"ns": "fruit", "prefix": "a"}}),
        json!({"ok": true, "entries": [{"key": "apple", "value": "green", "version": 4}], "more": false, "version": 6}),
    );
    let scanned = held.done(&json!({"scan": {"ns": "fruit", "limit": 1, "reverse": true}}));
    assert_eq!((&scanned["entries"][0]["key"], &scanned["more"]), (&json!("banana"), &json!(true)));
    let scanned = held.done(&json!({"scan": {"ns": "fruit", "from": "b", "to": "c"}}));
    assert_eq!(scanned["entries"].as_array().map(Vec::len), Some(1));

    let token = format!("{}@6", info["store"].as_str().unwrap());
    check(&mut held, json!({"token": {}}), json!({"ok": true, "token": token, "version": 6}));
    for token in [json!(token), json!(6), json!("6")] {
        check(&mut held, json!({"at_least": {"token": token}}), json!({"ok": true, "version": 6}));
    }
    check(&mut held, json!({"refresh": {}}), json!({"ok": true, "version": 6}));
    check(&mut held, json!({"reopen": {}}), json!({"ok": true, "version": 6}));
    let instances = held.done(&json!({"instances": {}}));
    assert_eq!(instances["instances"][0]["id"], held.instance());
    held.reaches(6);
    assert_eq!(place.run(["log", "tail", "-n", "2"]).done().lines()[0]["label"], "blob");
    check(&mut held, json!({"id": 9, "close": {}}), json!({"id": 9, "ok": true}));
    held.ends(0);
    assert!(!place.files().contains(&"writer.json".to_owned()));
}

#[test]
fn a_snapshot_is_read_from_until_it_is_released() {
    let place = Place::with_fruit();
    let mut held = Held::start(&place, &["--role", "reader"]);
    assert_eq!(held.done(&json!({"snapshot": {}})), json!({"ok": true, "snapshot": 1, "version": 3}));
    place.run(["put", "fruit", "apple", "green"]).done();
    assert_eq!(held.done(&json!({"snapshot": {}})), json!({"ok": true, "snapshot": 2, "version": 4}));
    let get = json!({"ns": "fruit", "key": "apple"});
    for (snapshot, value, version) in [(1, "red", 3), (2, "green", 4)] {
        let expected = json!({"ok": true, "value": value, "version": version});
        assert_eq!(held.ask(&json!({"get": get, "snapshot": snapshot})), expected);
        let within = json!({"ns": "fruit", "key": "apple", "snapshot": snapshot});
        assert_eq!(held.ask(&json!({"get": within})), expected);
        let many = held.done(&json!({"get_many": [get], "snapshot": snapshot}));
        assert_eq!(many["values"], json!([value]));
        assert_eq!(held.done(&json!({"count": {"ns": "fruit"}, "snapshot": snapshot}))["version"], version);
    }
    held.done(&json!({"release": 1}));
    held.fails("not_found", &json!({"release": 1}));
    held.fails("not_found", &json!({"get": get, "snapshot": 1}));
    held.done(&json!({"release": {"snapshot": 2}}));
    held.done(&json!({"snapshot": {}}));
    held.done(&json!({"release": {}}));
    held.fails("not_found", &json!({"get": get, "snapshot": 3}));
    held.close();
}

#[test]
fn what_cannot_be_done_is_told_and_the_hold_goes_on() {
    let place = Place::with_fruit();
    let mut held = Held::start(&place, &[]);
    for (line, says) in [
        ("nonsense", "the line is no JSON"),
        ("[]", "the line is no JSON object"),
        ("{}", "exactly one thing"),
        (r#"{"get":{"ns":"a","key":"k"},"count":{"ns":"a"}}"#, "exactly one thing"),
        (r#"{"frob":{}}"#, "no command `frob`"),
        (r#"{"get":{"ns":"fruit"}}"#, "missing field `key`"),
        (r#"{"get":{"ns":"fruit","key":"a","if":1}}"#, "unknown field `if`"),
        (r#"{"get":{"ns":"fruit","key":5}}"#, "expected a string"),
        (r#"{"refresh":{"now":true}}"#, "unknown field `now`"),
        (r#"{"get":{"ns":"fruit","key":"a"},"label":"x"}"#, "`label` does not go with `get`"),
        (r#"{"txn":[{"del":{"ns":"fruit","key":"apple"}},{"delete":{}}]}"#, "unknown field `delete`"),
        (r#"{"at_least":{"token":"x@1"}}"#, "not of the form"),
        (r#"{"lock":{"name":""}}"#, "1 to 255 bytes"),
    ] {
        held.say(line);
        let answer = held.answer();
        let error = &answer["error"];
        assert_eq!(
            (&answer["ok"], &error["kind"]),
            (&json!(false), &json!("invalid_input")),
            "{line}: {answer}"
        );
        assert!(error["message"].as_str().unwrap().contains(says), "{line}: {answer}");
    }
    held.say("");
    let get = json!({"get": {"ns": "nowhere", "key": "k"}});
    let error = held.fails("not_found", &get);
    assert!(error["message"].as_str().unwrap().contains("nowhere"), "{error}");
    held.fails("not_found", &json!({"put": {"ns": "nowhere", "key": "k", "value": "v"}}));
    held.fails("timed_out", &json!({"at_least": {"token": 9, "wait_ms": 300}}));
    held.fails("not_found", &json!({"unlock": "never"}));
    let lost = json!({"put": {"ns": "fruit", "key": "apple", "value": "lost"}});
    let stale = json!({"expect": {"ns": "fruit", "key": "apple", "version": 2}});
    let error = held.fails("conflict", &json!({"id": 3, "txn": [lost, stale, {"expect": {"version": 1}}]}));
    assert_eq!(error["causes"].as_array().map(Vec::len), Some(2), "{error}");

    let mut reader = Held::start(&place, &["--role", "reader"]);
    reader.fails("read_only", &lost);
    reader.fails("read_only", &json!({"promote": {}}));
    let mut standby = Held::start(&place, &["--role", "auto"]);
    assert_eq!(standby.opened["role"], "standby");
    let error = standby.fails("busy", &lost);
    assert_eq!(error["holder"]["pid"], held.pid());
    for held in [held, reader, standby] {
        held.close();
    }
    assert_eq!(place.version(), 3);
}

#[test]
fn answers_come_in_order_also_to_what_was_asked_ahead() {
    let place = Place::with_fruit();
    let mut input = String::new();
    for number in 0..200 {
        let request = match number % 3 {
            0 => json!({"id": number, "put": {"ns": "fruit", "key": "k", "value": number.to_string()}}),
            1 => json!({"id": number, "get": {"ns": "fruit", "key": "k"}}),
            _ => json!({"id": number, "frob": {}}),
        };
        writeln!(input, "{request}").unwrap();
    }
    let lines = place.feed(input, ["hold", "-o", "table"]).done().lines();
    assert_eq!((&lines[0]["event"], &lines[lines.len() - 1]["event"]), (&json!("open"), &json!("closed")));
    let answers: Vec<&Value> = lines.iter().filter(|line| line.get("ok").is_some()).collect();
    assert_eq!(answers.len(), 200);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["id"], number);
        if number % 3 == 1 {
            assert_eq!(answer["value"], (number - 1).to_string(), "it reads what was written just before");
        }
    }
    let seen: Vec<u64> = lines
        .iter()
        .filter(|line| line["event"] == "version")
        .filter_map(|line| line["version"].as_u64())
        .collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
}

#[test]
fn locks_exclude_and_their_tokens_fence() {
    let place = Place::with_fruit();
    let (mut writer, mut reader) = (Held::start(&place, &[]), Held::start(&place, &["--role", "reader"]));
    let lock = json!({"lock": {"name": "nightly"}});
    assert_eq!(writer.done(&lock)["token"], 1);
    writer.fails("reentrant", &lock);
    let error = reader.fails("busy", &json!({"lock": {"name": "nightly", "wait_ms": 50}}));
    assert_eq!(error["holder"]["pid"], writer.pid());
    let write = |token: u64| {
        let put = json!({"put": {"ns": "fruit", "key": "apple", "value": "green"}});
        json!({"txn": [{"expect": {"lock": "nightly", "token": token}}, put]})
    };
    writer.done(&write(1));
    writer.done(&json!({"unlock": "nightly"}));
    assert_eq!(reader.done(&json!({"lock": {"name": "nightly", "mode": "exclusive"}}))["token"], 2);
    writer.done(&write(2));
    let error = writer.fails("fenced", &write(1));
    assert!(error["message"].as_str().unwrap().contains("token 1"), "{error}");
    reader.done(&json!({"unlock": {"name": "nightly"}}));
    for held in [&mut writer, &mut reader] {
        held.done(&json!({"lock": {"name": "nightly", "mode": "shared"}}));
    }
    reader.kill();
    writer.close();
    let stale = r#"{"expect":{"lock":"nightly","token":1}}
        {"put":{"ns":"fruit","key":"apple","value":"lost"}}"#;
    place.feed(stale, ["txn"]).fails(9, "token 1 is stale");
    place.feed(stale.replace("1}", "2}"), ["txn"]).done();
}

#[test]
fn a_failure_to_open_is_told_as_by_every_command() {
    let place = Place::bare();
    let refused = place.run(["hold"]).fails(1, "there is no store at");
    assert!(refused.out.is_empty());
    assert!(!place.store().exists());
    place.run(["init"]).done();
    let held = Held::start(&place, &[]);
    let refused = place.run(["hold", "-o", "json"]).ends(3);
    assert!(refused.out.is_empty());
    assert_eq!(refused.error()["holder"]["pid"], held.pid());
    place.run(["hold", "--role", "boss"]).fails(2, "boss");
    place.run(["hold", "--freshness", "fresh"]).fails(2, "milliseconds");
    held.close();
}

#[test]
#[cfg(unix)]
fn a_signal_closes_it_as_the_end_of_its_input_does() {
    use rustix::process::Signal;

    let place = Place::with_fruit();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 0)] {
        for waiting in [false, true] {
            let mut held = Held::start(&place, &["--label", "one"]);
            held.done(&json!({"lock": {"name": "nightly"}}));
            if waiting {
                held.say(r#"{"at_least":{"token":999,"wait_ms":60000}}"#);
            }
            held.signal(signal);
            held.ends(code);
            assert!(place.run(["ps"]).done().lines().is_empty());
            assert!(
                std::fs::read_dir(place.store().join("instances")).unwrap().next().is_none(),
                "nothing is left"
            );
        }
    }
}

#[test]
fn a_hold_that_nobody_listens_to_ends_quietly() {
    let place = Place::with_fruit();
    let mut command = place.command();
    command.arg("hold").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let stdin = child.stdin.take().unwrap();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(output.status.code() == Some(0) && output.stderr.is_empty(), "{output:?}");
    assert!(place.run(["ps"]).done().lines().is_empty());
}

#[test]
fn a_pinned_reader_stays_where_it_is_until_it_refreshes() {
    let place = Place::with_fruit();
    let mut held = Held::start(&place, &["--role", "reader", "--freshness", "pinned"]);
    place.run(["put", "fruit", "apple", "green"]).done();
    let get = json!({"get": {"ns": "fruit", "key": "apple"}});
    assert_eq!(held.ask(&get), json!({"ok": true, "value": "red", "version": 3}));
    assert_eq!(held.ask(&json!({"refresh": {}})), json!({"ok": true, "version": 4}));
    assert_eq!(held.ask(&get), json!({"ok": true, "value": "green", "version": 4}));
    held.close();
}

#[test]
#[cfg(unix)]
fn a_stopped_process_is_named_by_those_it_holds_up() {
    use rustix::process::Signal;

    let place = Place::with_fruit();
    let stopped = Held::start(&place, &["--role", "reader", "--label", "stopped"]);
    stopped.signal(Signal::STOP);
    // A process is stopped when all its threads have come to notice.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = Ran::of(place.command().arg("ps")).done().json();
        assert_eq!(listed["label"], json!("stopped"));
        if listed["stopped"] == json!(true) {
            break;
        }
        assert!(Instant::now() < deadline, "it is not said to be stopped: {listed}");
    }
    place.run(["put", "fruit", "apple", "green"]).done();
    stopped.signal(Signal::CONT);
    stopped.close();
}

#[test]
fn a_hold_reads_what_was_there() {
    let place = Place::with_fruit();
    place.run(["snapshot", "create", "ripe"]).done();
    let mut held = Held::start(&place, &[]);
    held.done(&json!({"put": {"ns": "fruit", "key": "apple", "value": "brown"}}));
    held.done(&json!({"snapshot": {}}));
    held.done(&json!({"put": {"ns": "fruit", "key": "apple", "value": "black"}}));
    let get = json!({"ns": "fruit", "key": "apple"});
    for at in [json!(3), json!("3"), json!("@ripe")] {
        let answer = held.done(&json!({"get": get, "at": at}));
        assert_eq!((&answer["value"], &answer["version"]), (&json!("red"), &json!(3)), "{at}");
    }
    assert_eq!(held.done(&json!({"get": get, "at": 4, "snapshot": 1}))["value"], "brown");
    assert_eq!(held.done(&json!({"count": {"ns": "fruit"}, "at": 2}))["count"], 2);
    assert_eq!(held.done(&json!({"get_many": [get], "at": 3}))["values"], json!(["red"]));
    assert_eq!(held.done(&json!({"scan": {"ns": "fruit"}, "at": 1}))["entries"][0]["value"], "red");
    held.fails("not_found", &json!({"get": get, "at": 5, "snapshot": 1}));
    held.fails("not_found", &json!({"get": get, "at": 9}));
    held.fails("invalid_input", &json!({"get": get, "at": "soon"}));
    held.fails("invalid_input", &json!({"get": get, "at": -1}));
    held.fails("invalid_input", &json!({"put": {"ns": "fruit", "key": "k", "value": "v"}, "at": 3}));
}
