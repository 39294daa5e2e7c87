//! `cohab dump`, and loading what it wrote.

use serde_json::json;

use crate::support::Place;

/// A store with everything that a dump has to carry.
fn varied() -> Place {
    let place = Place::with_fruit();
    place.run(["put", "binary", "00ff", "fe00", "--hex", "--create"]).done();
    place.run(["put", "binary", "", "c3bc", "--hex"]).done();
    let labels = ["--label", "a=1", "--label", "b=ü\"\\"];
    place
        .run(
            [&["ns", "set", "binary", "--title", "T\n\"", "--description", "D", "--protect"][..], &labels]
                .concat(),
        )
        .done();
    place.run(["ns", "create", "empty", "--history", "off"]).done();
    place.run(["ns", "create", "dropped"]).done();
    place.run(["ns", "drop", "dropped"]).done();
    place
}

#[test]
fn a_dump_that_was_loaded_is_dumped_the_same() {
    let place = varied();
    let dump = place.dump();
    assert!(dump.starts_with("{\"cohab_dump\":1}\n") && !dump.contains("dropped"), "{dump}");
    place.file("dump", &dump);

    let copy = Place::new();
    let loaded = copy.run([&"load".into(), &place.path("dump")]).done().json();
    assert_eq!(
        (&loaded["namespaces"], &loaded["loaded"], &loaded["version"]),
        (&json!(3), &json!(5), &json!(1))
    );
    assert_eq!(copy.dump(), dump);
    let piped = Place::new();
    piped.feed(&dump, ["load", "-"]).done();
    assert_eq!(piped.dump(), dump);
    let explicit = Place::new();
    explicit.feed(&dump, ["load", "--format", "dump", "-"]).done();
    assert_eq!(explicit.dump(), dump);
    assert_eq!(place.run(["-o", "table", "dump"]).done().text(), dump, "a dump is always a dump");
    let nothing = Place::new();
    let empty = nothing.dump();
    assert_eq!(nothing.feed(&empty, ["load", "-"]).done().json()["namespaces"], json!(0));
}

#[test]
fn one_namespace_of_a_dump_can_be_taken() {
    let place = varied();
    place.file("dump", place.dump());
    let one = place.run(["dump", "fruit"]).done().text();
    place.file("one", &one);
    place.run(["dump", "nothing"]).fails(1, "there is no namespace `nothing`");

    let check = |arguments: &[&str], names: &[&str]| {
        let copy = Place::new();
        let path = |name: &&str| if ["dump", "one"].contains(name) { place.path(name) } else { name.into() };
        copy.run([&["load".into()][..], &arguments.iter().map(path).collect::<Vec<_>>()].concat()).done();
        let listed = copy.run(["ns", "list"]).done().lines();
        let found: Vec<&str> = listed.iter().map(|line| line["name"].as_str().unwrap()).collect();
        assert_eq!(found, names, "{arguments:?}");
        copy
    };
    let copy = check(&["fruit", "dump"], &["fruit"]);
    assert_eq!(copy.run(["dump"]).done().text(), one);
    check(&["binary", "dump", "--format", "dump"][..2], &["binary"]);
    let renamed = check(&["obst", "one"], &["obst"]);
    assert_eq!(
        renamed.dump(),
        one.replace("\"fruit\"", "\"obst\"").replace(&header_digest(&one), &header_digest(&renamed.dump()))
    );

    let copy = Place::new();
    copy.feed(&one, ["load", "obst", "-"]).done();
    assert_eq!(
        copy.run(["ns", "digest", "obst"]).done().out,
        place.run(["ns", "digest", "fruit"]).done().out
    );
    for missing in ["a", "zebra", "cherry"] {
        let dump = place.path("dump");
        copy.run([&"load".into(), &missing.into(), &dump]).fails(1, &format!("no namespace `{missing}`"));
    }
    copy.feed(Place::new().dump(), ["load", "a", "-"]).fails(1, "the standard input has no namespaces");
    copy.run(["load", "x", place.path("one").to_str().unwrap(), place.path("dump").to_str().unwrap()])
        .fails(2, "a dump is loaded by itself");
}

/// The digest of what a dump says about its only namespace, which its name is part of.
fn header_digest(dump: &str) -> String {
    let end: serde_json::Value = serde_json::from_str(dump.lines().rev().nth(1).unwrap()).unwrap();
    end["end"]["header"].as_str().unwrap().to_owned()
}

#[test]
fn a_dump_is_never_merged() {
    let place = varied();
    let dump = place.dump();
    let refused = place.feed(&dump, ["load", "-"]).fails(8, "namespace `binary` is there and holds 2 keys");
    assert!(refused.err.contains("hint: "), "{refused:?}");
    assert_eq!(place.dump(), dump);

    let copy = Place::new();
    copy.run(["ns", "create", "fruit", "--title", "other", "--label", "gone=1", "--protect"]).done();
    copy.feed(&dump, ["load", "-"]).done();
    assert_eq!(copy.dump(), dump, "an empty one becomes what the dump says");
}

#[test]
fn a_damaged_dump_leaves_nothing_behind() {
    let place = varied();
    let dump = place.dump();
    let copy = Place::new();
    let check = |dump: &[u8], says: &str| {
        for into in [&["load", "-"][..], &["load", "fruit", "-", "--format", "dump"]] {
            let refused = copy.feed(dump, into).ends(2);
            assert!(
                refused.err.starts_with("cohab: ") && refused.err.contains(says),
                "{says:?} is not in {refused:?}"
            );
        }
    };
    let lines: Vec<&str> = dump.split_inclusive('\n').collect();
    for cut in 1..lines.len() {
        check(lines[..cut].concat().as_bytes(), &format!("the dump is cut off after line {cut}: "));
    }
    for cut in (20..dump.len()).step_by(97) {
        check(&dump.as_bytes()[..cut], "the dump is cut off after line");
    }
    check(dump.replace("yellow", "yelloW").as_bytes(), "the dump is damaged");
    check(format!("{dump}{{}}\n").as_bytes(), "follows the end of the dump");
    copy.feed(dump.replacen('1', "2", 1), ["load", "-", "--format", "dump"]).fails(5, "format 2");
    assert_eq!((copy.version(), copy.dump()), (0, Place::new().dump()));
}
