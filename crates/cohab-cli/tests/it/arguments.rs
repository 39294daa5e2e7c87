//! Flags, variables, and arguments that make no sense.

use serde_json::json;

use crate::support::{Place, Ran};

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let place = Place::with_fruit();
    for arguments in [
        &["-o", "raw", "count", "fruit"][..],
        &["count", "-o", "raw", "fruit"],
        &["count", "fruit", "--output=raw"],
        &["--quiet", "count", "fruit", "-o", "raw", "--wait", "0.5", "--color", "never"],
    ] {
        assert_eq!(place.run(arguments).done().text(), "3\n", "{arguments:?}");
    }
    let elsewhere = place.path("elsewhere");
    place.run(["count", "fruit", "--store", elsewhere.to_str().unwrap()]).fails(1, "elsewhere");
}

#[test]
fn every_global_flag_has_a_variable_and_the_flag_wins() {
    let place = Place::with_fruit();
    let run = |name: &str, value: &str, arguments: &[&str]| {
        Ran::of(place.command().env(name, value).args(arguments))
    };
    assert_eq!(run("COHAB_OUTPUT", "raw", &["count", "fruit"]).done().text(), "3\n");
    assert_eq!(
        run("COHAB_OUTPUT", "raw", &["-o", "json", "count", "fruit"]).done().json(),
        json!({"count": 3})
    );
    assert_eq!(
        run("COHAB_OUTPUT", "raw", &["count", "fruit", "-o", "json"]).done().json(),
        json!({"count": 3})
    );
    run("COHAB_QUIET", "1", &["count", "fruit"]).done();
    run("COHAB_WAIT", "much", &["count", "fruit"]).fails(2, "expected a number of seconds");
    run("COHAB_WAIT", "-1", &["count", "fruit"]).fails(2, "expected a number of seconds");
    place.run(["--wait", "-1", "info"]).fails(2, "expected a number of seconds");
    for name in ["COHAB_OUTPUT", "COHAB_COLOR", "COHAB_WAIT", "COHAB_QUIET"] {
        run(name, "", &["count", "fruit"]).done();
    }
    run("COHAB_OUTPUT", "xml", &["count", "fruit"]).fails(2, "xml");
    let error = run("COHAB_OUTPUT", "json", &["count", "nothing"]).ends(1).error();
    assert_eq!(error["kind"], json!("not_found"));
    let colored = run("COHAB_COLOR", "always", &["count", "nothing"]).ends(1);
    assert!(colored.err.starts_with("\x1b["), "{colored:?}");
    let plain = run("COHAB_COLOR", "always", &["count", "nothing", "--color", "never"]).ends(1);
    assert!(plain.err.starts_with("cohab: "), "{plain:?}");

    let mut without = place.command();
    without.env_remove("COHAB_STORE").args(["count", "fruit"]);
    Ran::of(&mut without).fails(2, "which store?");
    run("COHAB_STORE", "", &["count", "fruit"]).fails(2, "which store?");
}

#[test]
fn nonsense_is_refused_in_one_line() {
    let place = Place::with_fruit();
    let check = |arguments: &[&str], says: &str| {
        let refused = place.run(arguments).fails(2, says);
        let lines: Vec<&str> = refused.err.lines().collect();
        assert!(lines.len() == 2 && lines[1].starts_with("hint: "), "{refused:?}");
        let json = place.run([&["-o", "json"], arguments].concat()).ends(2);
        assert!(json.out.is_empty(), "{json:?}");
        assert_eq!(json.error()["kind"], json!("usage"), "{json:?}");
    };
    check(&["frobnicate"], "unrecognized subcommand");
    check(&["get", "fruit"], "<KEY>");
    check(&["get", "fruit", "a", "b"], "unexpected argument 'b'");
    check(&["scan", "fruit", "--form", "a"], "unexpected argument '--form'");
    check(&["scan", "fruit", "--limit", "few"], "invalid value 'few' for '--limit <N>'");
    check(&["ns"], "requires a subcommand");
    check(&["ns", "set", "fruit"], "nothing to change");
    check(&["ns", "create", "x", "--label", "novalue"], "a label is KEY=VALUE");
    check(&["ns", "create", "x", "--history", "some"], "neither `full` nor `off`");
    check(&["load", "fruit", "--format", "xml", "x"], "xml");
    assert!(place.run::<&str>([]).ends(2).err.contains("Usage: cohab"), "help for who gives no arguments");
    assert!(!place.run::<&str>([]).err.contains("demo-writer"));
}

#[test]
#[cfg(unix)]
fn arguments_that_are_not_text_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Place::with_fruit();
    let odd = OsStr::from_bytes(b"odd\xff");
    let word = |text: &'static str| OsStr::new(text);
    place.run([word("get"), odd, word("k")]).fails(2, "is not UTF-8");
    place.run([word("ns"), word("create"), odd]).fails(2, "is not UTF-8");
    place.run([word("get"), word("fruit"), odd]).fails(2, r#"the key "odd\xff" is not UTF-8"#);
    place.run([word("put"), word("fruit"), word("k"), odd]).fails(2, "the value");
    place.run([word("scan"), word("fruit"), word("--prefix"), odd]).fails(2, "the key");
    place.run([word("ns"), word("create"), word("x"), word("--title"), odd]).fails(2, "UTF-8");
    place.run([odd]).ends(2);
    // A path may be any bytes.
    place.run([word("init"), word("--store"), odd]).done();
    place.run([word("put"), word("a"), word("k"), word("v"), word("--create"), word("--store"), odd]).done();
}
