//! `cohab load` with everything but dumps.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::support::Place;

const PACKAGES: &str = "Package: hello\nVersion: 1\nSection: devel\n\nPackage: bye\nVersion: 2\n\n\
                        Package: hello\nVersion: 1\nSection: devel\n\nPackage: hello\nVersion: 1\nSection: devel\n";

#[test]
fn each_format_is_guessed_or_told() {
    let place = Place::new();
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"22\"}\n{\"key\":\"a\",\"value\":\"3\"}\n";
    place.file("lines", lines);
    place.file("packages", PACKAGES);
    fs::create_dir_all(place.path("tree/deep")).unwrap();
    fs::write(place.path("tree/deep/file"), "content").unwrap();
    fs::write(place.path("tree/top"), b"\xff").unwrap();

    let loaded = place.run(["load", "lines", "./lines"]).done().json();
    assert_eq!(loaded, json!({"version": 1, "loaded": 3, "bytes": 7}));
    assert_eq!(place.run(["get", "lines", "a", "-o", "raw"]).done().out, b"3", "the last one counts");
    let loaded = place.run(["load", "packages", "packages"]).done().json();
    assert_eq!((&loaded["loaded"], &loaded["repeated"]), (&json!(2), &json!(2)), "of four stanzas");
    let bye = place.run(["get", "packages", "bye", "-o", "raw"]).done().text();
    assert_eq!(bye, "Package: bye\nVersion: 2");
    let loaded = place.run(["load", "tree", "tree"]).done().json();
    assert_eq!((&loaded["loaded"], &loaded["skipped"]), (&json!(2), &json!(0)));
    assert_eq!(place.run(["get", "tree", "deep/file", "-o", "raw"]).done().out, b"content");

    let loaded = place.feed(lines, ["load", "input", "--format", "jsonl"]).done().json();
    assert_eq!(loaded["loaded"], json!(3));
    let mut gzip = GzEncoder::new(fs::File::create(place.path("packed")).unwrap(), Compression::fast());
    gzip.write_all(PACKAGES.as_bytes()).unwrap();
    gzip.finish().unwrap();
    place.run(["load", "packed", "packed"]).done();
    assert_eq!(
        place.run(["ns", "digest", "packed"]).done().out,
        place.run(["ns", "digest", "packages"]).done().out
    );
    let several = place.run(["load", "several", "lines", "packages", "tree"]).done().json();
    assert_eq!(several["loaded"], json!(7));
    assert_eq!(several["version"].as_u64().unwrap(), place.version(), "in one transaction");

    // What a scan prints can be loaded.
    let scanned = place.run(["scan", "tree"]).done().out;
    place.feed(scanned, ["load", "scanned", "-"]).done();
    assert_eq!(
        place.run(["ns", "digest", "scanned"]).done().out,
        place.run(["ns", "digest", "tree"]).done().out
    );
}

#[test]
fn an_error_names_the_place_and_nothing_is_loaded() {
    let place = Place::with_fruit();
    let before = place.dump();
    place.file("good", "{\"key\":\"a\",\"value\":\"1\"}\n");
    place.file("bad", "{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n");
    place.file("bad packages", "Package: a\n\nVersion: 1\n");
    place.file("odd", "neither this nor that\n");
    place.file("empty", "");
    place.file("cut.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b");
    let check = |arguments: &[&str], code: i32, says: &str| {
        place.run([&["load"], arguments].concat()).fails(code, says);
    };
    check(&["fruit", "good", "bad"], 2, "bad: line 3: missing field `value`");
    check(&["new", "bad packages"], 2, "bad packages: line 3: the stanza has no `Package`");
    check(&["new", "odd"], 2, "odd begins like none of the known formats");
    check(&["new", "odd", "--format", "jsonl"], 2, "odd: line 1: ");
    check(&["new", "odd", "--format", "tree"], 2, "odd is not a directory");
    check(&["new", "empty"], 2, "empty is empty");
    check(&["new", "cut.gz"], 2, "cut.gz");
    check(&["new", "nowhere"], 1, "opening nowhere failed");
    check(&["new", ".", "--format", "jsonl"], 2, ".");
    check(&["good"], 2, "good is no dump, so say into which namespace");
    check(&["_new", "good"], 2, "is reserved");
    let refused = place.feed("{\n", ["load", "new", "--format", "jsonl"]);
    refused.fails(2, "standard input: line 1: ");
    assert_eq!(place.dump(), before);
    assert_eq!(place.version(), 3);
    place.run(["load", "empty", "empty", "--format", "jsonl"]).done();
}
