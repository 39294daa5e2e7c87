//! What files, names and values cannot have the command do; and that `docs/security.md` names tests that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::Place;

/// The document says for each claim which test holds it, as `file.rs` · `test_name`.
#[test]
fn every_test_that_the_document_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let pieces: Vec<&str> = document.split('`').collect();
    // Between the quotes stands the file, a dot between them, and the test.
    let named = pieces.windows(3).filter(|window| window[1].trim() == "·");
    let mut tests = 0;
    for window in named {
        let (file, test) = (window[0], window[2]);
        let source = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let is_there = source.contains(&format!("fn {test}(")) && !test.is_empty();
        assert!(is_there, "there is no test `{test}` in {file}");
        tests += 1;
    }
    let claims: Vec<&str> = document.lines().filter(|line| line.starts_with("**")).collect();
    let numbers: BTreeSet<&str> =
        claims.iter().filter_map(|claim| claim.strip_prefix("**")?.split("**").next()).collect();
    assert_eq!(numbers.len(), claims.len(), "no two claims have one number");
    for claim in &claims {
        assert!(claim.contains("` · `"), "this claim names no test: {claim}");
    }
    assert!(claims.len() > 20 && tests >= claims.len(), "{} claims, {tests} tests", claims.len());
}

#[test]
fn what_is_stored_or_forged_does_not_move_the_cursor() {
    let place = Place::with_fruit();
    let escape = "\u{1b}[2J\u{1b}]0;title\u{7}";
    place.run(["put", "fruit", &format!("k{escape}"), escape]).done();
    place.run(["ns", "set", "fruit", "--title", escape, "--description", escape]);
    let clean = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, 0x1b | 0x07));
    for arguments in [
        &["scan", "fruit", "-o", "table"][..],
        &["ns", "list", "-o", "table"],
        &["ns", "show", "fruit", "-o", "table"],
        &["log", "tail", "-o", "table"],
        &["info", "-o", "table"],
        &["scan", "fruit", "-o", "json"],
    ] {
        let ran = place.run(arguments);
        assert!(ran.code == Some(0) && clean(&ran.out) && clean(ran.err.as_bytes()), "{ran:?}");
    }
    // Somebody who holds the lock says who it is.
    let lock = fs::File::options().write(true).open(place.store().join("writer.lock")).unwrap();
    lock.lock().unwrap();
    let record =
        serde_json::json!({ "role": escape, "pid": 1, "since": 1, "app": escape, "channel": escape });
    fs::write(place.store().join("writer.json"), record.to_string()).unwrap();
    let refused = place.run(["put", "fruit", "k", "v"]);
    assert!(refused.code != Some(0) && clean(refused.err.as_bytes()), "{refused:?}");
    let locks = place.run(["locks", "-o", "table"]);
    assert!(clean(&locks.out) && clean(locks.err.as_bytes()), "{locks:?}");
}

/// `cohab doctor` read a card that it could not make sense of with a call that waits for the other end of a pipe.
#[test]
#[cfg(unix)]
fn an_examination_waits_for_no_pipe() {
    let place = Place::with_fruit();
    let card = place.store().join("store.json");
    fs::remove_file(&card).unwrap();
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &card, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    place.run(["info"]).fails(2, "not a regular file");
    place.run(["doctor"]).ends(4);
    // It is no card, and a card can be made of what the data says.
    place.run(["doctor", "--repair"]).done();
    place.run(["info"]).done();
}

#[test]
#[cfg(unix)]
fn names_lead_nowhere_outside() {
    let place = Place::with_fruit();
    let around = || fs::read_dir(place.path("")).unwrap().count();
    let before = around();
    for arguments in [
        &["ns", "create", "../x"][..],
        &["ns", "rename", "fruit", "../../x"],
        &["snapshot", "create", "../x"],
        &["port", "../x"],
        &["plugin", "log", "../../x"],
        &["put", "../x", "k", "v", "--create"],
    ] {
        let ran = place.run(arguments);
        assert!(ran.code != Some(0), "{ran:?}");
    }
    place.run(["run", "--lock", "../../x", "--", "true"]).done();
    assert_eq!(around(), before);
}
