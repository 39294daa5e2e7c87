//! Writers that follow each other: `cohab hold` in its roles, as processes that are killed.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::held::Held;
use crate::support::Place;

#[test]
fn a_stand_by_takes_over_from_a_killed_writer_and_nothing_is_lost() {
    let place = Place::with_fruit();
    let mut writer = Held::start(&place, &["--app", "shop", "--channel", "stable"]);
    let mut standby = Held::start(&place, &["--role", "standby", "--app", "shop", "--channel", "nightly"]);
    assert_eq!(standby.opened["role"], "standby");
    let put = |value: u64| json!({"put": {"ns": "fruit", "key": "apple", "value": value.to_string()}});
    let mut acknowledged = 0;
    for value in 0..20 {
        acknowledged = writer.done(&put(value))["version"].as_u64().unwrap();
    }
    standby.reaches(acknowledged);
    let before = writer.opened["epoch"].as_u64().unwrap();
    writer.kill();
    let begin = Instant::now();
    let promoted = standby.event("promoted");
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    assert!(promoted["epoch"].as_u64().unwrap() > before, "{promoted}");
    let get = standby.done(&json!({"get": {"ns": "fruit", "key": "apple"}}));
    assert_eq!((&get["value"], &get["version"]), (&json!("19"), &json!(acknowledged)));
    assert_eq!(standby.done(&put(20))["version"], acknowledged + 1);
    let info = place.run(["info"]).done().json();
    assert_eq!(info["epoch"], promoted["epoch"]);
    assert_eq!(info["writer"]["pid"], standby.pid());
    assert_eq!((&info["writer"]["app"], &info["writer"]["channel"]), (&json!("shop"), &json!("nightly")));
    standby.close();
    place.run(["doctor"]).done();
}

#[test]
fn the_role_is_handed_over_and_back() {
    let place = Place::with_fruit();
    let mut one = Held::start(&place, &["--role", "auto"]);
    let mut two = Held::start(&place, &["--role", "auto"]);
    assert_eq!((&one.opened["role"], &two.opened["role"]), (&json!("writer"), &json!("standby")));
    let put = json!({"put": {"ns": "fruit", "key": "apple", "value": "green"}});
    for _ in 0..3 {
        let promoted = two.done(&json!({"id": 1, "promote": {"wait_ms": 20000}}));
        assert_eq!((&promoted["role"], &promoted["id"]), (&json!("writer"), &json!(1)));
        assert_eq!(one.event("stepped_down")["role"], "standby");
        assert_eq!(two.event("promoted")["epoch"], promoted["epoch"]);
        let version = two.done(&put)["version"].clone();
        let token = two.done(&json!({"token": {}}))["token"].clone();
        one.fails("busy", &put);
        assert_eq!(one.done(&json!({"at_least": {"token": token, "wait_ms": 20000}}))["version"], version);
        std::mem::swap(&mut one, &mut two);
    }
    assert_eq!(one.done(&json!({"step_down": {}}))["role"], "standby");
    one.event("stepped_down");
    two.event("promoted");
    two.done(&put);
    one.close();
    two.close();
}

#[test]
fn a_writer_that_does_not_hand_over_is_left_alone() {
    let place = Place::with_fruit();
    let mut writer = Held::start(&place, &["--no-hand-over"]);
    let mut standby = Held::start(&place, &["--role", "standby"]);
    let error = standby.fails("busy", &json!({"promote": {"wait_ms": 700}}));
    assert_eq!(error["holder"]["instance"], writer.instance());
    writer.done(&json!({"del": {"ns": "fruit", "key": "apple"}}));
    writer.close();
    standby.event("promoted");
    standby.close();
}

#[test]
fn a_snapshot_expires_where_the_writer_says_so() {
    let place = Place::with_fruit();
    let writer = Held::start(&place, &["--snapshot-age-max", "0.2"]);
    let mut reader = Held::start(&place, &["--role", "reader"]);
    reader.done(&json!({"snapshot": {}}));
    std::thread::sleep(Duration::from_secs(1));
    reader.done(&json!({"get": {"ns": "fruit", "key": "apple"}}));
    reader.fails("snapshot_expired", &json!({"get": {"ns": "fruit", "key": "apple"}, "snapshot": 1}));
    reader.close();
    writer.close();
}
