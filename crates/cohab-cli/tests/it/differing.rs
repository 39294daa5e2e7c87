//! `cohab history`, `cohab diff` and `cohab ns diff`

use serde_json::{Value, json};

use crate::support::Place;

/// `fruit` as always, then `apple` green (4), gone (5) and blue (6), `nuts` made (7), `fruit` renamed (8).
fn with_a_past() -> Place {
    let place = Place::with_fruit();
    place.run(["put", "fruit", "apple", "green"]).done();
    place.run(["del", "fruit", "apple"]).done();
    place.run(["put", "fruit", "apple", "blue"]).done();
    place.run(["put", "nuts", "hazel", "brown", "--create"]).done();
    place.run(["ns", "rename", "fruit", "obst"]).done();
    place
}

#[test]
fn a_key_has_a_history() {
    let place = with_a_past();
    let lines = place.run(["history", "obst", "apple"]).done().lines();
    let told = |lines: &[Value]| -> Vec<Value> {
        lines.iter().map(|line| json!([line["version"], line["op"], line["value"]])).collect()
    };
    let all = [
        json!([6, "put", "blue"]),
        json!([5, "del", null]),
        json!([4, "put", "green"]),
        json!([1, "put", "red"]),
    ];
    assert_eq!(told(&lines), all);
    assert_eq!(
        (&lines[1]["ns"], &lines[1]["key"], &lines[1]["label"]),
        (&json!("obst"), &json!("apple"), &json!("cohab del"))
    );
    assert!(lines[0]["time"].as_str().unwrap().ends_with('Z') && lines[0]["instance"].is_string());
    let limited = place.run(["history", "obst", "apple", "--limit", "1"]).done().lines();
    assert_eq!(told(&limited), all[..1]);
    let then = place.run(["history", "fruit", "apple", "--at", "4"]).done().lines();
    assert_eq!(told(&then), all[2..]);
    let gone = place.run(["history", "fruit", "apple", "--at", "5"]).done().lines();
    assert_eq!(told(&gone), all[1..]);
    place.run(["history", "obst", "durian"]).fails(1, "nothing is known of a key \"durian\"");
    place.run(["history", "none", "apple"]).fails(1, "no namespace `none`");

    // What was trimmed is known as far as the next record tells.
    place.run(["log", "trim", "--keep", "5"]).done();
    let left = place.run(["history", "obst", "apple"]).ends(0);
    assert!(left.err.contains("older versions of the key may be missing: the log begins with version 4"));
    let left = left.lines();
    assert_eq!(told(&left), all);
    assert_eq!((&left[3]["time"], &left[3]["instance"]), (&json!(null), &json!(null)));
    let banana = place.run(["history", "obst", "banana", "--quiet"]).done().lines();
    assert_eq!(told(&banana), [json!([2, "put", "yellow"])]);

    place.run(["ns", "create", "bulk", "--history", "off"]).done();
    place.run(["put", "bulk", "k", "1"]).done();
    place.run(["put", "bulk", "k", "2"]).done();
    let refused = place.run(["history", "bulk", "k"]).fails(7, "without a record");
    assert_eq!(told(&refused.lines()), [json!([11, "put", "2"])]);
}

#[test]
fn versions_differ_in_what_is_left_of_their_changes() {
    let place = with_a_past();
    let change = |ns: &str, key: &str, before: Value, after: Value, op: &str| json!({"ns": ns, "key": key, "before": before, "after": after, "op": op});
    let diff = |arguments: &[&str]| place.run(arguments).done().lines();
    let expected = [change("fruit", "apple", json!("red"), json!("blue"), "update")];
    assert_eq!(diff(&["diff", "--from", "3", "--to", "6"]), expected);
    assert_eq!(diff(&["ns", "diff", "fruit", "--from", "3", "--to", "6"]), expected);
    let back = [change("fruit", "apple", json!("blue"), json!("red"), "update")];
    assert_eq!(diff(&["diff", "--from", "6", "--to", "3"]), back);
    let gone = [change("fruit", "apple", json!("red"), json!(null), "delete")];
    assert_eq!(
        diff(&["diff", "--from", "1", "--to", "5"]).last(),
        diff(&["diff", "--from", "2", "--to", "5"]).last()
    );
    assert_eq!(diff(&["diff", "--from", "3", "--to", "5"]), gone);

    let all = diff(&["diff", "--from", "3"]);
    let told: Vec<_> = all.iter().map(|line| json!([line["op"], line["ns"], line["key"]])).collect();
    let expected = [
        json!(["describe", "obst", null]),
        json!(["update", "obst", "apple"]),
        json!(["appear", "nuts", null]),
        json!(["insert", "nuts", "hazel"]),
    ];
    assert_eq!(told, expected);
    assert_eq!((&all[0]["before"]["name"], &all[0]["after"]["name"]), (&json!("fruit"), &json!("obst")));
    assert_eq!(diff(&["ns", "diff", "obst", "--from", "3"]), all[..2]);

    place.run(["snapshot", "create", "now"]).done();
    assert_eq!(diff(&["diff", "--from", "@now", "--exit-code"]), [] as [Value; 0]);
    assert_eq!(place.run(["diff", "--from", "7", "--exit-code"]).ends(1).lines().len(), 1);
    assert_eq!(place.run(["diff", "--from", "8", "-o", "json"]).done().json(), json!([]));
    place.run(["diff", "--from", "9"]).fails(1, "version 9 is not there");
    // By the name that it had then.
    assert_eq!(diff(&["ns", "diff", "fruit", "--from", "3"]), all[..2]);
    place.run(["ns", "diff", "pears", "--from", "3"]).fails(1, "no namespace `pears`");
    place.run(["diff"]).fails(2, "--from");
    place.run(["log", "trim", "--keep", "2"]).done();
    place.run(["diff", "--from", "3"]).fails(7, "older than what the log keeps");
}

#[test]
fn what_is_not_recorded_is_different_all_the_same() {
    let place = Place::new();
    place.run(["ns", "create", "bulk", "--history", "off"]).done();
    place.run(["put", "bulk", "k", "v"]).done();
    let lines = place.run(["diff", "--from", "1"]).done().lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["op"], &lines[0]["key"]), (&json!("unrecorded"), &json!(null)));
    assert_eq!((&lines[0]["before"]["keys"], &lines[0]["after"]["keys"]), (&json!(0), &json!(1)));
    place.run(["ns", "diff", "bulk", "--from", "1"]).fails(7, "history off");
}
