//! `cohab run`

#![cfg(unix)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::Place;

/// Tells its number, and then sleeps under it.
const SLEEP: &str = "echo $$ > number; mv number held; exec sleep 60";

/// Kills the command that is run.
fn kill_sleeper(place: &Place) {
    let number = std::fs::read_to_string(place.path("held")).unwrap();
    kill_process(Pid::from_raw(number.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command();
    command.arg("run").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Starts the command as [`start`] does, with signals that do what they usually do: under `nohup`, or in the background of
/// a script, some are ignored from the start, and rightly stay so.
fn start_heeding(place: &Place, arguments: &[&str]) -> Child {
    let cohab = place.command();
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,HUP,TERM").arg(cohab.get_program()).args(cohab.get_args());
    for (name, value) in cohab.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(dir) = cohab.get_current_dir() {
        command.current_dir(dir);
    }
    command.arg("run").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a file is there, which the command that is run makes.
fn wait_for(place: &Place, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !place.path(name).exists() {
        assert!(Instant::now() < deadline, "{name} is not made");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_command_has_the_lock_to_itself_and_a_token() {
    let place = Place::new();
    place.file("count", "0");
    place.file("tokens", "");
    let script = "n=$(cat count); sleep 0.01; echo $((n + 1)) > count; echo $COHAB_TOKEN >> tokens";
    let children: Vec<Child> = (0..12)
        .map(|_| start(&place, &["--lock", "count", "--wait", "60", "--", "sh", "-c", script]))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    assert_eq!(std::fs::read_to_string(place.path("count")).unwrap(), "12\n");
    let tokens = std::fs::read_to_string(place.path("tokens")).unwrap();
    let tokens: Vec<u64> = tokens.lines().map(|token| token.parse().unwrap()).collect();
    assert!(tokens.len() == 12 && tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");

    let told = place.run([
        "run",
        "--lock",
        "a lock",
        "--",
        "sh",
        "-c",
        "echo $COHAB_LOCK $COHAB_TOKEN $COHAB_STORE",
    ]);
    assert_eq!(told.done().text(), format!("a lock 1 {}\n", place.store().display()));
}

#[test]
fn the_exit_code_is_the_commands() {
    let place = Place::new();
    let run = |command: &[&str]| place.run([&["run", "--lock", "l", "--"], command].concat());
    run(&["true"]).done();
    run(&["sh", "-c", "exit 7"]).ends(7);
    run(&["sh", "-c", "kill -9 $$"]).ends(137);
    run(&["sh", "-c", "kill -TERM $$"]).ends(143);
    run(&["there is no such command"]).fails(127, "starting \"there is no such command\" failed");
    let path = place.file("no command", "");
    run(&[path.to_str().unwrap()]).fails(126, "Permission denied");
    place.run(["run", "--", "true"]).fails(2, "which lock");
    place.run(["run", "--lock", "l"]).fails(2, "<CMD>");
    place.run(["run", "--lock", "", "--", "true"]).fails(2, "1 to 255 bytes");
    place
        .run(["run", "--lock", "l", "--store", "nowhere", "--", "true"])
        .fails(1, "there is no store at nowhere");
}

#[test]
fn a_lock_that_is_held_is_told_with_its_holder() {
    let place = Place::new();
    let mut holder = start(&place, &["--lock", "l", "--", "sh", "-c", SLEEP]);
    wait_for(&place, "held");
    let busy = place.run(["run", "--lock", "l", "-o", "json", "--", "true"]).ends(3).error();
    assert_eq!((&busy["kind"], &busy["holder"]["pid"]), (&json!("busy"), &json!(holder.id())));
    place.run(["run", "--lock", "l", "--shared", "--wait", "0.2", "--", "true"]).fails(3, "is held by");
    place.run(["run", "--lock", "another", "--", "true"]).done();
    let locks = place.run(["locks"]).done().lines();
    let lock = locks.iter().find(|lock| lock["name"] == "l").unwrap();
    assert_eq!(
        (&lock["held"], &lock["mode"], &lock["token"]),
        (&json!(true), &json!("exclusive"), &json!(1))
    );
    assert_eq!(lock["holder"]["pid"], holder.id());

    // It dies without a word, and the lock is free; its command goes on, which is what tokens are for.
    holder.kill().unwrap();
    holder.wait().unwrap();
    let token = place.run(["run", "--lock", "l", "--wait", "10", "--", "sh", "-c", "echo $COHAB_TOKEN"]);
    assert_eq!(token.done().text(), "2\n");
    let locks = place.run(["locks"]).done().lines();
    let lock = locks.iter().find(|lock| lock["name"] == "l").unwrap();
    assert_eq!((&lock["held"], &lock["holder"]), (&json!(false), &json!(null)));
    kill_sleeper(&place);
}

#[test]
fn what_the_command_leaves_running_does_not_keep_the_lock() {
    let place = Place::new();
    let script = "sleep 60 >/dev/null 2>&1 & echo $!";
    let ran = place.run(["run", "--lock", "l", "--", "sh", "-c", script]).done();
    place.run(["run", "--lock", "l", "--", "true"]).done();
    let left: i32 = ran.text().trim().parse().unwrap();
    kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn some_share_a_lock() {
    let place = Place::new();
    let sharing = start(&place, &["--lock", "l", "--shared", "--", "sh", "-c", SLEEP]);
    wait_for(&place, "held");
    place.run(["run", "--lock", "l", "--shared", "--", "true"]).done();
    place.run(["run", "--lock", "l", "--", "true"]).fails(3, "is held by");
    kill_process(Pid::from_child(&sharing), Signal::TERM).unwrap();
    assert_eq!(sharing.wait_with_output().unwrap().status.code(), Some(143));
    place.run(["run", "--lock", "l", "--", "true"]).done();
}

#[test]
fn signals_are_the_commands_to_deal_with() {
    let place = Place::new();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP")] {
        let script = format!(
            "trap 'touch got-{name}; exit 5' {name}; touch ready-{name}; while :; do sleep 0.02; done"
        );
        let child = start_heeding(&place, &["--lock", "l", "--", "sh", "-c", &script]);
        wait_for(&place, &format!("ready-{name}"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(place.path(format!("got-{name}")).exists());
    }
    // While it waits for the lock there is no command yet.
    let mut holder = start(&place, &["--lock", "l", "--", "sh", "-c", "touch held; exec sleep 60"]);
    wait_for(&place, "held");
    let waiting = start(&place, &["--lock", "l", "--wait", "60", "--", "touch", "never"]);
    std::thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&waiting), Signal::TERM).unwrap();
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(130));
    assert!(!place.path("never").exists());
    kill_process(Pid::from_child(&holder), Signal::TERM).unwrap();
    holder.wait().unwrap();
}
