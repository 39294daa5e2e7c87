//! Names and keys that break the rules, and some that look as if they did.

use crate::support::Place;

#[test]
fn bad_names_are_refused_by_every_command() {
    let place = Place::with_fruit();
    let long = "n".repeat(256);
    let bad = [
        ("", "is empty"),
        (&long, "is 256 bytes long"),
        ("/", "has the segment"),
        ("a/", "has the segment"),
        ("/a", "has the segment"),
        ("a//b", "has the segment"),
        ("..", "has the segment"),
        ("a/../b", "has the segment"),
        (".", "has the segment"),
        (" a", "white space"),
        ("a\n", "which names may not"),
        ("a\u{1b}[2J", "which names may not"),
        ("a\u{202e}b", "which names may not"),
        ("a\\b", "which names may not"),
    ];
    for (name, why) in bad {
        let refused = place.run(["ns", "create", name]).fails(2, why);
        assert_eq!(refused.err.lines().count(), 1, "nothing of it moves the cursor: {refused:?}");
        place.run(["put", name, "k", "v", "--create"]).fails(2, why);
        place.run(["get", name, "k"]).fails(2, why);
        place.run(["ns", "rename", "fruit", name]).fails(2, why);
        place.run(["ns", "copy", "fruit", name]).fails(2, why);
        place.feed("", ["load", name, "--format", "jsonl", "-"]).fails(2, why);
    }
    // Names of cohab's own can be looked up, and not be made.
    place.run(["get", "_x", "k"]).fails(1, "there is no namespace `_x`");
    for command in [
        &["ns", "create", "_x"][..],
        &["put", "_x", "k", "v", "--create"],
        &["ns", "rename", "fruit", "_x"],
        &["ns", "copy", "fruit", "_x"],
        &["load", "_x", "--format", "jsonl", "-"],
    ] {
        place.feed("", command).fails(2, "is reserved");
    }
    assert_eq!(place.version(), 3, "nothing has changed");
    let longest = "n".repeat(255);
    place.run(["ns", "create", &longest]).done();
}

#[test]
fn names_that_look_alike_stay_apart() {
    let place = Place::new();
    let names = ["a", "a/b", "a/b/c", "A", "ab", "ä", "a\u{308}", "-", "--", "a b", "@a", "日本"];
    for name in names {
        place.run(["put", "--create", "--", name, "key", "value"]).done();
    }
    for name in names {
        assert_eq!(place.run(["get", "-o", "raw", "--", name, "key"]).done().out, b"value");
        assert_eq!(place.run(["count", "-o", "raw", "--", name]).done().text(), "1\n");
    }
    place.run(["ns", "drop", "a", "--force"]).done();
    assert_eq!(place.run(["get", "a/b", "key", "-o", "raw"]).done().out, b"value");
    place.run(["get", "a", "key"]).fails(1, "there is no namespace `a`");
}

#[test]
fn keys_and_values_have_a_longest() {
    let place = Place::with_fruit();
    let longest = "k".repeat(2048);
    place.run(["put", "fruit", &longest, "v"]).done();
    place.run(["get", "fruit", &longest]).done();
    let longer = "k".repeat(2049);
    for command in
        [&["get", "fruit", &longer][..], &["put", "fruit", &longer, "v"], &["del", "fruit", &longer]]
    {
        place.run(command).fails(2, "the key is longer than 2048 bytes");
    }
    let operation = format!("{{\"put\":{{\"ns\":\"fruit\",\"key\":\"{longer}\",\"value\":\"\"}}}}");
    place.feed(operation, ["txn"]).fails(2, "line 1: ");
    let endless = place.file("endless", "");
    let large = std::fs::OpenOptions::new().write(true).open(&endless).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    place.run(["put", "fruit", "k", "@endless"]).fails(2, "the value is longer than 67108864 bytes");
    place.run(["put", "fruit", "@endless", "k"]).fails(2, "the key is longer than 2048 bytes");
}
