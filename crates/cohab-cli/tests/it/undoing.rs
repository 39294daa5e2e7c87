//! Going back, and undoing what destroyed something.

use serde_json::{Value, json};

use crate::support::{Place, Ran};

/// A result without what is different each time.
fn fields<const N: usize>(ran: Ran, fields: [&str; N]) -> [Value; N] {
    let json = ran.done().json();
    fields.map(|field| json[field].clone())
}

#[test]
fn a_namespace_is_rolled_back_and_that_is_undone() {
    let place = Place::with_fruit();
    let then = place.dump();
    place.run(["put", "fruit", "apple", "rotten"]).done();
    place.run(["del", "fruit", "banana"]).done();
    place.run(["put", "fruit", "durian", "smelly"]).done();
    place.run(["put", "nuts", "hazel", "brown", "--create"]).done();
    place.run(["ns", "set", "fruit", "--title", "Fruit"]).done();
    let later = place.dump();
    let done = place.run(["ns", "rollback", "fruit", "--to", "3"]).done().json();
    let expected = json!({"version": 9, "changes": 3, "namespaces": 0, "snapshot": "safety/9-rollback-1"});
    assert_eq!(done, expected);
    assert_eq!(place.run(["scan", "fruit"]).done().text().lines().count(), 3);
    assert_eq!(place.run(["ns", "show", "fruit"]).done().json()["title"], json!("Fruit"));
    place.run(["get", "nuts", "hazel"]).done();
    let log = place.run(["log", "tail", "-n", "1"]).done().json();
    assert_eq!(log["label"], json!("roll back `fruit` to version 3"));

    let undone = place.run(["undo"]).done().json();
    assert_eq!(
        undone["undone"],
        json!([
            {"name": "safety/9-rollback-1", "operation": "rollback", "namespace": "fruit", "version": 8}
        ])
    );
    assert_eq!((&undone["version"], &undone["changes"]), (&json!(10), &json!(3)));
    assert_eq!(place.dump(), later);
    place.run(["undo"]).fails(1, "there is nothing to undo");
    let list = place.run(["snapshot", "list"]).done().lines();
    assert_eq!(list[0]["undone"], json!(10));

    // All of it, names and descriptions included.
    let back = place.run(["rollback", "--to", "3"]);
    assert_eq!(fields(back, ["version", "changes", "namespaces"]), [json!(11), json!(3), json!(2)]);
    assert_eq!(place.dump(), then);
    place.run(["undo"]).done();
    assert_eq!(place.dump(), later);
    place.run(["verify"]).done();
}

#[test]
fn going_back_to_where_one_is_changes_nothing_and_is_undone_all_the_same() {
    let place = Place::with_fruit();
    let before = place.dump();
    for (version, arguments) in
        [(4, &["rollback", "--to", "3"][..]), (6, &["ns", "rollback", "fruit", "--to", "3"])]
    {
        let done = place.run(arguments).done().json();
        assert_eq!((&done["version"], &done["changes"]), (&json!(version), &json!(0)));
        let undone = place.run(["undo"]).done().json();
        assert_eq!(undone["undone"][0]["name"], done["snapshot"]);
    }
    assert_eq!(place.dump(), before);
    place.run(["undo"]).fails(1, "there is nothing to undo");
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_and_nothing_is_done() {
    let place = Place::with_fruit();
    place.run(["put", "nuts", "hazel", "brown", "--create"]).done();
    place.run(["ns", "set", "nuts", "--protect"]).done();
    place.run(["ns", "create", "bulk", "--history", "off"]).done();
    place.run(["put", "bulk", "k", "v"]).done();
    let before = place.dump();
    place.run(["rollback", "--to", "3"]).fails(8, "protected");
    place.run(["rollback", "--to", "6"]).fails(7, "history off");
    place.run(["ns", "rollback", "bulk", "--to", "6"]).fails(7, "history off");
    place.run(["ns", "rollback", "nuts", "--to", "3"]).fails(1, "was made by version 4");
    place.run(["ns", "rollback", "none", "--to", "3"]).fails(1, "no namespace `none`");
    place.run(["rollback", "--to", "99"]).fails(1, "version 99 is not there");
    place.run(["rollback", "--to", "@nowhere"]).fails(1, "no snapshot `nowhere`");
    place.run(["rollback"]).fails(2, "--to");
    place.run(["log", "trim", "--keep", "2"]).done();
    place.run(["ns", "rollback", "fruit", "--to", "1"]).fails(7, "older than what the log keeps");
    assert_eq!((place.dump(), place.version()), (before, 7));
    assert_eq!(place.run(["snapshot", "list"]).done().text(), "");
}

#[test]
fn a_snapshot_or_a_time_will_do() {
    let place = Place::with_fruit();
    let then = place.dump();
    place.run(["snapshot", "create", "good"]).done();
    place.run(["del", "fruit", "apple"]).done();
    place.run(["ns", "rollback", "fruit", "--to", "@good"]).done();
    assert_eq!(place.dump(), then);
    place.run(["del", "fruit", "apple"]).done();
    place.run(["rollback", "--to", "@good"]).done();
    assert_eq!(place.dump(), then);
    place.run(["rollback", "--to", "2999-01-01T00:00:00Z"]).done();
    assert_eq!(place.dump(), then);
}

#[test]
fn a_drop_is_undone() {
    let place = Place::with_fruit();
    let before = place.dump();
    let dropped = place.run(["ns", "drop", "fruit", "--force"]).done().json();
    assert_eq!(dropped, json!({"version": 4, "snapshot": "safety/4-drop-1"}));
    place.run(["put", "nuts", "hazel", "brown", "--create"]).done();
    let undone = place.run(["undo"]).done().json();
    assert_eq!(undone["undone"][0]["operation"], json!("drop"));
    assert_eq!(place.run(["dump", "fruit"]).done().text(), before);
    place.run(["get", "nuts", "hazel"]).done();

    // Its name was taken meanwhile, or it came back already.
    place.run(["ns", "drop", "fruit", "--force"]).done();
    place.run(["ns", "create", "fruit"]).done();
    let refused = place.run(["undo", "-o", "json"]).ends(8).error();
    assert!(refused["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{refused}");
    place.run(["ns", "rename", "fruit", "other"]).done();
    place.run(["ns", "undrop", "fruit"]).done();
    place.run(["undo"]).fails(1, "there is nothing to undo");
    assert_eq!(place.run(["dump", "fruit"]).done().text(), before);
}

#[test]
fn a_load_over_data_is_undone() {
    let place = Place::with_fruit();
    let before = place.dump();
    let entries = "{\"key\":\"apple\",\"value\":\"blue\"}\n{\"key\":\"zucchini\",\"value\":\"green\"}\n";
    let load = ["load", "fruit", "-", "--format", "jsonl"];
    let loaded = place.feed(entries, load).done().json();
    assert_eq!((&loaded["version"], &loaded["snapshot"]), (&json!(4), &json!("safety/4-load-1")));
    let undone = place.run(["undo"]).done().json();
    assert_eq!((&undone["undone"][0]["operation"], &undone["changes"]), (&json!("load"), &json!(2)));
    assert_eq!(place.dump(), before);

    // What came later would be lost with it.
    place.feed(entries, load).done();
    place.run(["put", "fruit", "fig", "violet"]).done();
    let refused = place.run(["undo", "-o", "json"]).ends(8).error();
    assert!(refused["hint"].as_str().unwrap().contains("cohab ns rollback fruit --to 5"), "{refused}");
    place.run(["ns", "rollback", "fruit", "--to", "5"]).done();
    assert_eq!(place.dump(), before);

    // Into what is new or empty: nothing is lost.
    let loaded = place.feed(entries, ["load", "new", "-", "--format", "jsonl"]).done().json();
    assert_eq!(loaded.get("snapshot"), None);
}

#[test]
fn a_load_that_cannot_be_undone_says_so() {
    let place = Place::new();
    place.run(["ns", "create", "bulk", "--history", "off"]).done();
    let load = ["load", "bulk", "-", "--format", "jsonl"];
    place.feed("{\"key\":\"k\",\"value\":\"1\"}\n", load).done();
    let loaded = place.feed("{\"key\":\"k\",\"value\":\"2\"}\n", load).ends(0);
    assert!(loaded.err.contains("the history of namespace `bulk` is off"), "{loaded:?}");
    assert_eq!(loaded.json()["snapshot"], Value::Null);
    let quiet = [&load[..], &["--quiet"]].concat();
    place.feed("{\"key\":\"k\",\"value\":\"3\"}\n", quiet).done();
    place.run(["undo"]).fails(1, "nothing to undo");
    assert_eq!(place.run(["get", "bulk", "k", "-o", "raw"]).done().text(), "3");
}

#[test]
fn several_things_are_undone_one_after_the_other() {
    let place = Place::with_fruit();
    let first = place.dump();
    let load = ["load", "fruit", "-", "--format", "jsonl"];
    place.feed("{\"key\":\"apple\",\"value\":\"blue\"}\n", load).done();
    let second = place.dump();
    place.run(["rollback", "--to", "1"]).done();
    place.run(["ns", "drop", "fruit", "--force"]).done();
    place.run(["undo"]).done();
    // The drop left nothing, so the roll-back before it is next, and then the load.
    place.run(["undo"]).done();
    assert_eq!(place.dump(), second);
    place.run(["undo"]).done();
    assert_eq!(place.dump(), first);
    // What was done since would be lost.
    place.run(["rollback", "--to", "4"]).done();
    assert_eq!(place.dump(), second);
    place.run(["put", "fruit", "later", "1"]).done();
    let refused = place.run(["undo", "-o", "json"]).ends(8).error();
    assert!(refused["hint"].as_str().unwrap().contains("cohab rollback --to 9"), "{refused}");
    place.run(["verify"]).done();
}
