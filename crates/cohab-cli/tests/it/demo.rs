//! `cohab demo`, with less data than it takes by itself.

use std::process::Command;

use serde_json::Value;

use crate::support::{Place, Ran};

#[test]
fn the_demonstration_passes() {
    let place = Place::bare();
    let mut command = place.command();
    command.env("COHAB_DEMO_BYTES", "300000").args(["demo", "--keep", "kept", "-o", "json"]);
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);
    let steps = ran.json();
    let steps = steps.as_array().unwrap();
    assert!(steps.len() > 10 && steps.iter().all(|step| step["result"] == "PASS"), "{steps:?}");
    assert!(steps.iter().all(|step| step["ms"].is_u64() && step["detail"].is_string()), "{steps:?}");
    assert!(ran.err.contains("steps passed in"), "{}", ran.err);

    let listed: Vec<Value> = place.run(["--store", "kept/store", "ns", "list"]).done().lines();
    assert!(!listed.is_empty());
    place.run(["--store", "kept/store", "doctor"]).done();
    place.run(["demo", "--keep", "kept"]).fails(8, "kept exists already");
    place.run(["demo", "--keep", "no/where"]).fails(1, "failed: no/where");
}

#[test]
fn the_other_program_runs_it_by_default() {
    let place = Place::bare();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_cohab-demo"));
    demo.env("COHAB_DEMO_BYTES", "1").env("COHAB_QUIET", "1").env_remove("COHAB_OUTPUT");
    let ran = Ran::of(&mut demo);
    assert_eq!(ran.code, Some(0), "{}{}", ran.text(), ran.err);
    assert!(ran.err.is_empty(), "{}", ran.err);
    assert!(ran.text().contains("STEP") && ran.text().contains("PASS"), "{}", ran.text());

    let kept = place.path("kept");
    let mut keeping = Command::new(env!("CARGO_BIN_EXE_cohab-demo"));
    keeping.env("COHAB_DEMO_BYTES", "1").env_remove("COHAB_OUTPUT").args(["-q", "--keep"]).arg(&kept);
    let ran = Ran::of(&mut keeping).done();
    assert!(ran.text().contains("PASS"), "{}", ran.text());
    let mut listing = Command::new(env!("CARGO_BIN_EXE_cohab-demo"));
    listing.arg("--store").arg(kept.join("store")).args(["ns", "list"]);
    assert!(!Ran::of(&mut listing).done().out.is_empty());
    let mut mistaken = Command::new(env!("CARGO_BIN_EXE_cohab-demo"));
    Ran::of(mistaken.args(["--kep", "kept"])).fails(2, "unexpected argument '--kep'");

    let mut version = Command::new(env!("CARGO_BIN_EXE_cohab-demo"));
    assert!(Ran::of(version.arg("--version")).done().text().starts_with("cohab "));
}
