//! `cohab ns …`

use serde_json::json;

use crate::support::Place;

fn digest(place: &Place, name: &str) -> String {
    place.run(["ns", "digest", name, "-o", "raw"]).done().text()
}

#[test]
fn what_is_said_about_a_namespace_does_not_touch_its_data() {
    let place = Place::with_fruit();
    let before = digest(&place, "fruit");
    let set = [
        "ns",
        "set",
        "fruit",
        "--title",
        "Fruit",
        "--description",
        "sweet",
        "--label",
        "a=1",
        "--label",
        "b=2=3",
    ];
    assert_eq!(place.run(set).done().json(), json!({"version": 4}));
    place.run(["ns", "set", "fruit", "--unlabel", "a", "--protect", "--history", "off"]).done();
    let shown = place.run(["ns", "show", "fruit", "-o", "json"]).done().json();
    for (field, value) in [
        ("name", json!("fruit")),
        ("title", json!("Fruit")),
        ("description", json!("sweet")),
        ("labels", json!({"b": "2=3"})),
        ("protected", json!(true)),
        ("history", json!("off")),
        ("data_version", json!(3)),
        ("meta_version", json!(5)),
        ("keys", json!(3)),
        ("bytes", json!(30)),
        ("digest", json!(before.trim())),
        ("id", json!(1)),
        ("created", json!(1)),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    place
        .run(["ns", "set", "fruit", "--title", "late", "--if-meta-version", "4"])
        .fails(8, "is at meta_version 5");
    place.run(["ns", "set", "fruit", "--title", "in time", "--if-meta-version", "5"]).done();
    place.run(["ns", "set", "fruit", "--unprotect"]).done();
    assert_eq!(place.run(["ns", "rename", "fruit", "obst"]).done().json(), json!({"version": 8}));
    assert_eq!(digest(&place, "obst"), before);
    assert_eq!(place.run(["ns", "digest", "obst"]).done().json(), json!({"digest": before.trim()}));
    let stat = place.run(["ns", "stat", "obst", "--spread"]).done().json();
    assert_eq!(
        (&stat["keys"], &stat["key_bytes_max"], &stat["last_key"]),
        (&json!(3), &json!(6), &json!("cherry"))
    );
    place.run(["ns", "show", "fruit"]).fails(1, "there is no namespace `fruit`");
    let too_long = "t".repeat(1025);
    place.run(["ns", "set", "obst", "--title", &too_long]).fails(2, "the most is 1024");
}

#[test]
fn namespaces_are_created_listed_and_copied() {
    let place = Place::with_fruit();
    let create = ["ns", "create", "b", "--title", "B", "--label", "x=y", "--protect", "--history", "off"];
    assert_eq!(place.run(create).done().json(), json!({"version": 4}));
    place.run(["ns", "create", "b"]).fails(8, "there is a namespace `b` already");
    place.run(["ns", "copy", "fruit", "b"]).fails(8, "there is a namespace `b` already");
    place.run(["ns", "copy", "fruit", "a/copy"]).done();
    assert_eq!(digest(&place, "a/copy"), digest(&place, "fruit"));
    let listed = place.run(["ns", "list"]).done().lines();
    let names: Vec<&str> = listed.iter().map(|line| line["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a/copy", "b", "fruit"]);
    assert_eq!((&listed[1]["history"], &listed[1]["labels"]), (&json!("off"), &json!({"x": "y"})));
    assert_eq!(place.run(["ns", "list", "-o", "json"]).done().json().as_array().unwrap().len(), 3);
    let table = place.run(["ns", "list", "-o", "table"]).done().text();
    assert!(table.starts_with("NAME ") && table.lines().count() == 4, "{table}");
}

#[test]
fn what_is_dropped_can_be_brought_back_until_it_is_purged() {
    let place = Place::with_fruit();
    let before = digest(&place, "fruit");
    let refused = place.run(["ns", "drop", "fruit"]).fails(8, "holds 3 keys");
    assert!(refused.err.contains("hint: `--force` drops it"), "{refused:?}");
    place.run(["ns", "set", "fruit", "--protect"]).done();
    let refused = place.run(["ns", "drop", "fruit", "--force"]).fails(8, "is protected");
    assert!(refused.err.contains("--unprotect"), "{refused:?}");
    place.run(["ns", "set", "fruit", "--unprotect"]).done();

    place.run(["ns", "drop", "fruit", "--force"]).done();
    place.run(["ns", "drop", "fruit"]).fails(1, "there is no namespace");
    assert!(place.run(["ns", "list"]).done().lines().is_empty());
    let dropped = place.run(["ns", "list", "--dropped"]).done().lines();
    assert_eq!((&dropped[0]["name"], &dropped[0]["keys"]), (&json!("fruit"), &json!(3)));
    place.run(["ns", "undrop", "fruit"]).done();
    assert_eq!(digest(&place, "fruit"), before);
    place.run(["ns", "undrop", "fruit"]).fails(1, "lies in the trash");

    place.run(["ns", "drop", "fruit", "--force"]).done();
    place.run(["ns", "create", "fruit"]).done();
    place.run(["ns", "undrop", "fruit"]).fails(8, "there is a namespace `fruit` already");
    let purged = place.run(["ns", "purge", "fruit"]).done().json();
    assert_eq!(purged["keys"], json!(3));
    place.run(["ns", "purge", "fruit"]).fails(1, "lies in the trash");
    assert_eq!(place.run(["count", "fruit", "-o", "raw"]).done().text(), "0\n", "the new one is another");
    place.run(["verify"]).done();
    let shown = place.run(["log", "show", "1"]).done().lines();
    assert_eq!(shown[0]["ns"], json!(null), "one that was purged has no name any more");
}
