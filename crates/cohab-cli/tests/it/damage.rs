//! Files that are not what they should be.

use std::fs;

use serde_json::{Value, json};

use crate::support::Place;

/// Every command that opens the store, with arguments that make sense.
const COMMANDS: &[&[&str]] = &[
    &["info"],
    &["verify"],
    &["doctor"],
    &["doctor", "--repair"],
    &["compact"],
    &["backup", "copy"],
    &["get", "fruit", "apple"],
    &["put", "fruit", "apple", "x"],
    &["del", "fruit", "apple"],
    &["scan", "fruit"],
    &["count", "fruit"],
    &["dump"],
    &["ns", "list"],
    &["ns", "show", "fruit"],
    &["ns", "create", "new"],
    &["ns", "set", "fruit", "--title", "x"],
    &["log", "tail"],
    &["log", "verify"],
    &["init"],
];

#[test]
fn a_torn_card_is_corrupt_and_says_so() {
    let place = Place::with_fruit();
    let card = place.store().join("store.json");
    let whole = fs::read_to_string(&card).unwrap();
    for torn in ["", "{", "{}", "[]", "null", &whole[..whole.len() / 2], "{\"format\":2,\"oldest_format\":2}"]
    {
        fs::write(&card, torn).unwrap();
        let refused = place.run(["info"]).fails(4, "store.json is damaged");
        assert!(refused.err.contains("hint: run `cohab doctor --repair`"), "{refused:?}");
        place.run(["put", "fruit", "k", "v"]).fails(4, "store.json is damaged");
        let checks = place.run(["doctor"]).ends(4).lines();
        let bad: Vec<&Value> = checks.iter().filter(|check| check["ok"] == false).collect();
        assert!(
            bad.len() == 1 && bad[0]["check"] == "store.json",
            "the data is sound all the same: {checks:?}"
        );
    }
    place.run(["doctor", "--repair"]).done();
    assert_eq!(fs::read_to_string(&card).unwrap(), whole);
    assert_eq!(place.run(["count", "fruit", "-o", "raw"]).done().text(), "3\n");
    fs::remove_file(&card).unwrap();
    place.run(["info"]).fails(1, "there is no store");
    place.run(["doctor"]).ends(4);
    place.run(["doctor", "--repair"]).done();
    assert_eq!(fs::read_to_string(&card).unwrap(), whole);

    // One that names another store may be right, and the data in the wrong place.
    let other = Place::new();
    fs::copy(other.store().join("store.json"), &card).unwrap();
    place.run(["info"]).fails(4, "but store.redb is store");
    place.run(["doctor"]).ends(4);
    place.run(["doctor", "--repair"]).ends(4);
    place.run(["info"]).fails(4, "but store.redb is store");
    fs::write(&card, whole).unwrap();
    place.run(["info"]).done();
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let place = Place::with_fruit();
    let card = place.store().join("store.json");
    let mut fields: Value = serde_json::from_slice(&fs::read(&card).unwrap()).unwrap();
    (fields["format"], fields["oldest_format"]) = (json!(7), json!(7));
    fs::write(&card, serde_json::to_vec(&fields).unwrap()).unwrap();
    for arguments in COMMANDS {
        let refused = place.run(*arguments).ends(5);
        let said = if arguments[0] == "doctor" { refused.text() } else { refused.err };
        assert!(said.contains("is written in format 7"), "{arguments:?}: {said}");
    }
    let error = place.run(["info", "-o", "json"]).error();
    assert_eq!(error["kind"], json!("format"));
    // Newer, but said to be readable by this build.
    fields["oldest_format"] = json!(1);
    fs::write(&card, serde_json::to_vec(&fields).unwrap()).unwrap();
    place.run(["info"]).done();
}

#[test]
fn no_file_however_broken_makes_a_command_panic() {
    let sound = Place::with_fruit();
    let file = fs::read(sound.store().join("store.redb")).unwrap();
    let foreign: Vec<u8> = b"SQLite format 3\0".iter().copied().cycle().take(1 << 20).collect();
    let broken: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("zeroed", vec![0; file.len()]),
        ("foreign", foreign),
        ("cut to a header", file[..512].to_vec()),
        ("cut in the middle", file[..file.len() / 2].to_vec()),
        ("without its header", [&vec![0; 4096], &file[4096..]].concat()),
    ];
    for (what, content) in broken {
        let place = Place::with_fruit();
        let path = place.store().join("store.redb");
        for arguments in COMMANDS {
            fs::write(&path, &content).unwrap();
            let ran = place.run(*arguments);
            assert_eq!(ran.code, Some(4), "{what}: {ran:?}");
            let is_examination = *arguments == ["doctor"] || *arguments == ["doctor", "--repair"];
            assert!(is_examination || ran.err.starts_with("cohab: "), "{what}: {ran:?}");
        }
    }
}

#[test]
fn a_missing_file_is_not_replaced_by_an_empty_one() {
    let place = Place::with_fruit();
    fs::remove_file(place.store().join("store.redb")).unwrap();
    for arguments in [&["info"][..], &["put", "fruit", "k", "v"], &["doctor", "--repair"], &["init"]] {
        let ran = place.run(arguments);
        assert!(ran.code != Some(0), "{ran:?}");
        assert!(!place.store().join("store.redb").exists(), "{ran:?}");
    }
}

#[test]
fn one_damaged_value_is_found_and_named() {
    let place = Place::with_fruit();
    let path = place.store().join("store.redb");
    let mut file = fs::read(&path).unwrap();
    // Everywhere: the pages of older versions hold the value, too.
    let places: Vec<usize> =
        file.windows(6).enumerate().filter(|(_, w)| w == b"yellow").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        file[at] ^= 0x20;
    }
    fs::write(&path, file).unwrap();
    place.run(["get", "fruit", "banana"]).fails(4, "banana");
    let report = place.run(["verify"]).ends(4);
    let verified = report.json();
    assert_eq!(verified["sound"], json!(false));
    assert!(
        verified["differences"].as_array().unwrap().iter().any(|found| found["place"] == "namespace `fruit`")
    );
    let told = place.run(["verify", "-o", "table"]).ends(4);
    assert!(told.err.contains("namespace `fruit`: "), "{told:?}");
    place.run(["scan", "fruit"]).ends(4);
    place.run(["dump"]).ends(4);
    place.run(["backup", "copy"]).ends(4);
    assert!(!place.path("copy").exists(), "no backup of damaged data appears");
    let checks = place.run(["doctor"]).ends(4).lines();
    assert!(checks.iter().any(|check| check["check"] == "data" && check["ok"] == false), "{checks:?}");
}

#[test]
fn leftovers_of_a_crash_are_tidied_up_on_demand() {
    let place = Place::with_fruit();
    let leftover = place.store().join(".cohab-abc");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("copy"), "unfinished").unwrap();
    let young = |checks: Vec<Value>| checks.into_iter().find(|check| check["check"] == "leftovers").unwrap();
    assert_eq!(
        young(place.run(["doctor"]).done().lines())["detail"],
        json!("none"),
        "somebody may be at work"
    );
    fs::File::open(&leftover)
        .unwrap()
        .set_modified(
            fs::metadata(place.store()).unwrap().modified().unwrap() - std::time::Duration::from_mins(2),
        )
        .unwrap();
    assert_eq!(young(place.run(["doctor"]).done().lines())["detail"], json!("1 unfinished files of a crash"));
    assert!(leftover.exists());
    place.run(["doctor", "--repair"]).done();
    assert!(!leftover.exists());
}
