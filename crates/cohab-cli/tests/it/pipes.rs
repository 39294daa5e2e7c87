//! Streams that are closed, full or gone.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Place, Ran};

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let place = Place::new();
    let mut lines = String::new();
    for number in 0..20_000 {
        writeln!(lines, "{{\"key\":\"key {number:06}\",\"value\":\"{}\"}}", "x".repeat(40)).unwrap();
    }
    place.feed(lines, ["load", "a", "-"]).done();
    for arguments in
        [&["scan", "a"][..], &["scan", "a", "-o", "json"], &["scan", "a", "-o", "table"], &["dump"]]
    {
        let mut command = place.command();
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code() == Some(0) && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[cfg(unix)]
fn shell(place: &Place, script: &str) -> Ran {
    let command = place.command();
    let mut shell = std::process::Command::new("sh");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let script = script.replace("cohab", env!("CARGO_BIN_EXE_cohab"));
    Ran::of(shell.current_dir(place.path("")).args(["-c", &script]))
}

#[test]
#[cfg(unix)]
fn a_closed_input_is_not_taken_for_an_empty_one() {
    let place = Place::with_fruit();
    for script in [
        "cohab put fruit k - <&-",
        "cohab get fruit - <&-",
        "cohab txn <&-",
        "cohab load fruit --format jsonl <&-",
        "cohab load - <&-",
    ] {
        shell(&place, script).fails(2, "the standard input is closed");
    }
    assert_eq!(place.version(), 3);
    shell(&place, "cohab count fruit <&-").done();
    shell(&place, "cohab put fruit empty - </dev/null").done();
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_takes_nothing_is_told() {
    let place = Place::with_fruit();
    for script in ["cohab scan fruit >/dev/full", "cohab dump >/dev/full", "cohab --help >/dev/full"] {
        shell(&place, script).fails(74, "writing to the standard output failed");
    }
    shell(&place, "cohab put fruit k v >&-").done();
    assert_eq!(place.run(["get", "fruit", "k", "-o", "raw"]).done().out, b"v");
    assert_eq!(shell(&place, "cohab get fruit nothing 2>&-").ends(1).err, "");
}
