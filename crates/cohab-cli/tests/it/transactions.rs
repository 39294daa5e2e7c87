//! `cohab txn`

use serde_json::json;

use crate::support::Place;

#[test]
fn operations_happen_together() {
    let place = Place::with_fruit();
    let operations = r#"
        {"expect":{"ns":"fruit","key":"apple","value":"red"}}
        {"expect":{"ns":"fruit","key":"apple","version":1}}
        {"expect":{"ns":"fruit","key":"durian","absent":true}}
        {"expect":{"ns":"fruit","data_version":3}}
        {"expect":{"ns":"fruit","meta_version":1}}
        {"expect":{"version":3}}
        {"put":{"ns":"fruit","key":"apple","value":"green"}}
        {"put":{"ns":"new","key":"k","value":{"base64":"/w=="},"create":true}}
        {"del":{"ns":"fruit","key":"banana"}}
        {"del":{"ns":"fruit","key":"never there"}}
    "#;
    assert_eq!(place.feed(operations, ["txn", "--label", "swap"]).done().json(), json!({"version": 4}));
    assert_eq!(place.run(["get", "fruit", "apple", "-o", "raw"]).done().out, b"green");
    assert_eq!(place.run(["get", "new", "k", "-o", "raw"]).done().out, b"\xff");
    assert_eq!(place.run(["log", "tail", "-n", "1"]).done().json()["label"], json!("swap"));

    place.file("operations", r#"{"put":{"ns":"third","key":"k","value":"v"}}"#);
    place.run(["txn", "operations"]).fails(1, "there is no namespace `third`");
    assert_eq!(place.run(["txn", "operations", "--create"]).done().json(), json!({"version": 5}));
    assert_eq!(
        place.feed("", ["txn"]).done().json(),
        json!({"version": 5}),
        "nothing to do makes no version"
    );
}

#[test]
fn every_failed_precondition_is_named() {
    let place = Place::with_fruit();
    let operations = r#"{"put":{"ns":"fruit","key":"apple","value":"lost"}}
        {"expect":{"ns":"fruit","key":"apple","value":"green"}}
        {"expect":{"ns":"fruit","key":"banana","version":2}}
        {"expect":{"ns":"nowhere","key":"k","absent":false}}"#;
    let refused = place.feed(operations, ["txn"]).fails(8, "2 preconditions failed, so nothing was changed");
    assert!(
        refused.err.contains("\n  expected key \"apple\" of namespace `fruit` to be \"green\""),
        "{refused:?}"
    );
    assert!(refused.err.contains("\n  expected key \"k\" of namespace `nowhere`"), "{refused:?}");
    let error = place.feed(operations, ["txn", "-o", "json"]).ends(8).error();
    assert_eq!((&error["kind"], error["causes"].as_array().unwrap().len()), (&json!("conflict"), 2));
    assert_eq!(place.run(["get", "fruit", "apple", "-o", "raw"]).done().out, b"red");
    place.feed(r#"{"expect":{"version":9}}"#, ["txn"]).fails(8, "expected the store at version 9, found 3");
}

#[test]
fn bad_operations_name_their_line_and_change_nothing() {
    let place = Place::with_fruit();
    let check = |second: &str, says: &str| {
        let operations = format!("{{\"del\":{{\"ns\":\"fruit\",\"key\":\"apple\"}}}}\n{second}\n");
        place.feed(&operations, ["txn"]).fails(2, &format!("standard input: line 2: {says}"));
        place.file("operations", &operations);
        place.run(["txn", "operations"]).fails(2, "operations: line 2: ");
    };
    check("{", "EOF");
    check(r#"{"drop":{}}"#, "unknown field `drop`");
    check(r#"{"put":{"ns":"_x","key":"k","value":"v"}}"#, "namespace name");
    check(r#"{"put":{"ns":"fruit","key":"k"}}"#, "missing field `value`");
    place.run(["txn", "nowhere"]).fails(1, "opening nowhere failed");
    place.run(["txn", "."]).ends(2);
    assert_eq!(place.version(), 3);
}

#[test]
fn a_transaction_over_the_limits_says_what_to_do() {
    let place = Place::with_fruit();
    let operations = "{\"del\":{\"ns\":\"fruit\",\"key\":\"apple\"}}\n".repeat(100_001);
    let refused = place.feed(operations, ["txn"]).fails(2, "the most is 100000 operations");
    assert!(refused.err.contains("hint: `cohab load`"), "{refused:?}");
    assert_eq!(place.version(), 3);
    let label = "l".repeat(256);
    place.feed("", ["txn", "--label", &label]).fails(2, "the most is 255");
}
