//! Verifying a store: at a rate, with a checkpoint, and against another one.

use serde_json::json;

use crate::support::Place;

#[test]
fn a_rate_is_a_number_of_bytes() {
    let place = Place::with_fruit();
    for rate in ["10MB", "1000000", "512KiB", "1G"] {
        assert_eq!(place.run(["verify", "--throttle", rate]).done().json()["sound"], json!(true));
    }
    for wrong in ["", "0", "MB", "10 miles", "-1", "99999999999999GB"] {
        place.run(["verify", &format!("--throttle={wrong}")]).fails(2, "such as 10MB");
    }
}

#[test]
fn a_checkpoint_is_gone_on_from_and_removed_at_the_end() {
    let place = Place::with_fruit();
    let file = place.path("checkpoint");
    let verify = |place: &Place| place.run(["verify", "--checkpoint", file.to_str().unwrap()]);
    verify(&place).done();
    assert!(!file.exists(), "nothing is left to go on with");

    let store = cohab::Store::options().role(cohab::Role::Reader).open(place.store()).unwrap();
    let mut verifier = store.verifier(cohab::VerifyOptions::default().slice_keys(1)).unwrap();
    while verifier.report().keys < 2 {
        assert!(verifier.step().unwrap().is_none());
    }
    place.file("checkpoint", verifier.checkpoint().to_string());
    drop(store);
    place.run(["put", "fruit", "apple", "green"]).done();
    let report = verify(&place).done().json();
    assert_eq!((&report["sound"], &report["keys"], &report["version"]), (&json!(true), &json!(3), &json!(4)));
    assert!(!file.exists());

    place.file("checkpoint", verifier.checkpoint().to_string());
    let other = Place::with_fruit();
    let refused = other.run(["verify", "--checkpoint", file.to_str().unwrap()]);
    assert!(refused.code != Some(0) && refused.err.contains("the checkpoint is of store"), "{refused:?}");
    assert!(file.exists(), "it is not ours to remove");
    place.file("checkpoint", "something else");
    verify(&place).fails(2, "is no checkpoint");
}

#[test]
fn a_store_is_compared_with_a_backup() {
    let place = Place::with_fruit();
    place.run(["backup", "copy"]).done();
    let same = place.run(["verify", "--against", "copy"]).done().json();
    assert_eq!((&same["sound"], &same["against"]), (&json!(true), &json!([])));
    place.run(["put", "fruit", "banana", "brown"]).done();
    place.run(["put", "fruit", "date", "sweet"]).done();
    let differs = place.run(["verify", "--against", "copy"]).ends(1).json();
    assert_eq!(differs["differences"], json!([]), "neither is damaged");
    let expected = json!([{
        "place": "namespace `fruit`",
        "problem": "keys that differ: 2, of which 1 only here, 0 only there, 1 with other values",
        "from": "banana",
        "through": "date",
    }]);
    assert_eq!(differs["against"], expected);
    place.run(["verify", "--against", "nowhere"]).ends(1);
}
