//! Trimming the log by hand.

use serde_json::json;

use crate::support::Place;

#[test]
fn the_log_is_trimmed_to_what_is_asked_for() {
    let place = Place::with_fruit();
    for version in 4..=40 {
        place.run(["put", "fruit", "apple", &format!("{version}")]).done();
    }
    let nothing = place.run(["log", "trim"]).done().json();
    assert_eq!((&nothing["trimmed"], &nothing["oldest_version"]), (&json!(0), &json!(1)));
    let by_age = place.run(["log", "trim", "--keep-age", "1d"]).done().json();
    assert_eq!(by_age["trimmed"], json!(0));
    let by_number = place.run(["log", "trim", "--keep", "30"]).done().json();
    assert_eq!((&by_number["trimmed"], &by_number["oldest_version"]), (&json!(10), &json!(11)));
    assert_eq!((&by_number["lapsed"], &by_number["kept_for"]), (&json!([]), &json!([])));
    assert_eq!(place.run(["info"]).done().json()["oldest_version"], json!(11));
    let bytes = place.run(["info"]).done().json()["log_bytes"].as_u64().unwrap();
    place.run(["log", "trim", "--keep-bytes", &(bytes / 2).to_string()]).done();
    let left = place.run(["info"]).done().json()["log_bytes"].as_u64().unwrap();
    assert!(left <= bytes / 2 && left > bytes / 4, "{left} of {bytes}");
    let all = place.run(["log", "trim", "--keep", "0"]).done().json();
    assert_eq!(all["oldest_version"], json!(40), "the newest record stays");
    place.run(["log", "verify"]).done();
    place.run(["verify"]).done();
    place.run(["log", "show", "39"]).fails(7, "no longer has version 39");
    place.run(["log", "trim", "--keep-age", "3 months"]).fails(2, "expected an age");
    place.run(["log", "trim", "--keep", "-1"]).ends(2);
    assert_eq!(place.version(), 40);
}
