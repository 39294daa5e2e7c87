//! Plugins where something fails: the disk, the log, the clock, the plugin itself.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use cohab::{
    AddPlugin, Batch, Clock, Kind, Mapping, PluginMode, ReloadPlugin, Result, Retention, Store, SystemClock,
    Timestamp,
};
use cohab_testkit::{Failure, Faults};

use crate::Scratch;
use crate::plugins::{Folder, has_caught_up, value, wait_for};
use crate::plugins_killed::{COPY, check_effects, copier, effects, write_numbered};

const REQUEST: &str = "[[trigger]]\non = \"request\"\n";

fn failing(scratch: &Scratch) -> Result<(Store, Faults)> {
    let faults = Faults::default();
    let options = Store::options().mapping(Mapping::Off).run_plugins(false);
    let store = faults.install(options).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    Ok((store, faults))
}

fn fail_every_operation_of_a_reload(plan: impl Fn(&Faults, u64)) -> Result<u64> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    let folder = Folder::new(&scratch, "state", REQUEST, "");
    write_numbered(&folder, "state", 1);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    for k in 0.. {
        let before = store.plugins().show("state")?.record.generation;
        write_numbered(&folder, "state", before + 1);
        plan(&faults, k);
        let result = store.plugins().reload("state", ReloadPlugin::new());
        if faults.heal() == 0 {
            assert_eq!(result?.value, (before + 1, true));
            return Ok(k);
        }
        let error = result.expect_err("a failed operation is reported");
        assert!(matches!(error.kind(), Kind::CommitUnknown | Kind::Io), "k = {k}: {error:?}");
        // Old code on old state, where it can be read at all.
        match store.plugins().call("state", b"") {
            Ok(reply) => assert_eq!(reply, format!("{before}:{before}"), "k = {k}"),
            Err(error) => assert_eq!(error.kind(), Kind::Poisoned, "k = {k}: {error:?}"),
        }
        store.reopen()?;
        let record = store.plugins().show("state")?.record;
        let now = record.generation;
        assert!(now == before || now == before + 1, "k = {k}");
        assert_eq!(u64::from(record.schema), now, "k = {k}");
        assert_eq!(store.plugins().call("state", b"")?, format!("{now}:{now}"), "k = {k}");
        assert_eq!(store.plugins().reload("state", ReloadPlugin::new())?.value.0, before + 1, "k = {k}");
        assert_eq!(store.plugins().call("state", b"")?, format!("{0}:{0}", before + 1), "k = {k}");
        assert!(store.refresh()?.verify(|_| ())?.is_sound());
    }
    unreachable!("some reload works")
}

#[test]
fn a_full_disk_at_every_write_of_a_reload_leaves_the_old_code_and_its_state_in_service() -> Result<()> {
    let writes = fail_every_operation_of_a_reload(|faults, k| faults.fail_write(k, Failure::ForEver))?;
    assert!(writes >= 4, "only {writes} writes were failed");
    Ok(())
}

#[test]
fn a_failed_sync_of_a_reload_leaves_all_of_it_or_nothing() -> Result<()> {
    fail_every_operation_of_a_reload(|faults, k| faults.fail_sync(k, Failure::Once)).map(drop)
}

fn fail_every_operation_of_effects(plan: impl Fn(&Faults, u64)) -> Result<u64> {
    let scratch = Scratch::new();
    let (store, faults) = failing(&scratch)?;
    let folder = Folder::new(&scratch, "copy", &copier("now"), COPY);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    for k in 0.. {
        store.write(|tx| (0..5).try_for_each(|i| tx.put("data", format!("k{i}"), "v")))?;
        plan(&faults, k);
        let result = store.plugins().catch_up(Duration::from_secs(20));
        let is_done = faults.heal() == 0;
        if is_done {
            assert_eq!(result?, 0);
        } else {
            assert!(result.is_err(), "k = {k}");
            store.reopen()?;
            assert_eq!(store.plugins().catch_up(Duration::from_secs(20))?, 0, "k = {k}");
        }
        check_effects(&store)?;
        if is_done {
            return Ok(k);
        }
    }
    unreachable!("some run works")
}

#[test]
fn a_full_disk_at_every_write_of_effects_doubles_none_and_loses_none() -> Result<()> {
    let writes = fail_every_operation_of_effects(|faults, k| faults.fail_write(k, Failure::ForEver))?;
    assert!(writes >= 4, "only {writes} writes were failed");
    Ok(())
}

#[test]
fn a_commit_of_effects_whose_outcome_is_unknown_is_looked_up_and_not_repeated() -> Result<()> {
    fail_every_operation_of_effects(|faults, k| faults.fail_sync(k, Failure::Once)).map(drop)
}

#[test]
fn where_no_log_can_be_written_everything_else_goes_on() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    let _ = fs::remove_dir_all(scratch.path().join("plugins"));
    fs::write(scratch.path().join("plugins"), "in the way").expect("can be written");
    let script = COPY.replace("fn on_request(input) {", "fn on_request(input) { log(\"asked\");");
    let manifest = copier("now").replace("write = [\"seen\"]", "write = [\"seen\"]\nlog = true");
    let folder = Folder::new(&scratch, "copy", &manifest, &script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    store.write(|tx| tx.put("data", "k", "v"))?;
    wait_for("the effect", || has_caught_up(&store, "copy"));
    assert_eq!(store.plugins().call("copy", b"")?, "1");
    folder.write("main.rhai", "fn on_commit(changes) {");
    wait_for("the failure", || store.plugins().show("copy").expect("is there").record.failure.is_some());
    folder.write("main.rhai", &script.replace("\"asked\"", "\"asked again\""));
    wait_for("the mended one", || store.plugins().show("copy").expect("is there").record.generation == 2);
    assert_eq!(store.plugins().call("copy", b"")?, "1");
    assert_eq!(store.plugins().log("copy"), []);
    drop(store);
    let store = scratch.store();
    assert_eq!(store.plugins().call("copy", b"")?, "1");
    store.plugins().remove("copy", false)?;
    assert_eq!(fs::read_to_string(scratch.path().join("plugins")).expect("is there"), "in the way");
    Ok(())
}

const FAILS_WHILE_TOLD: &str = r#"
fn on_commit(changes) {
    for change in changes {
        if change.after == "bad" { throw change.key; }
        let before = get("seen", change.key);
        let before = if before == () { 0 } else { before.parse_int() };
        put("seen", change.key, (before + 1).to_string());
    }
}
"#;

fn follower(policy: &str) -> String {
    format!(
        "[limits]\ntime = \"20s\"\n[on-error]\n{policy}\n[[trigger]]\non = \"commit\"\nnamespaces = [\"data\"]\n\
         [grants]\nwrite = [\"seen\"]\n"
    )
}

fn with_data(scratch: &Scratch) -> Result<Store> {
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    Ok(store)
}

#[test]
fn a_plugin_that_is_stuck_pins_the_log_up_to_a_bound_and_then_it_is_said() -> Result<()> {
    let scratch = Scratch::new();
    let retention = Retention::default().versions(5).bytes(20_000).pinned_bytes(40_000);
    let store = Store::options().retention(retention).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    let folder =
        Folder::new(&scratch, "stuck", &follower("policy = \"retry\"\nbackoff = \"10ms\""), FAILS_WHILE_TOLD);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.write(|tx| tx.put("data", "a", "bad"))?;
    let at = store.plugins().show("stuck")?.position.expect("it follows");
    for i in 0..30 {
        store.write(|tx| tx.put("data", format!("early{i}"), "v"))?;
    }
    let status = store.plugins().show("stuck")?;
    assert!(store.refresh()?.oldest_version() <= at.next(), "it is waited for: {status:?}");
    assert_eq!(status.stalled, None);
    let large = vec![7; 1000];
    for i in 0..200 {
        store.write(|tx| tx.put("data", format!("late{i}"), &large))?;
    }
    assert!(store.refresh()?.oldest_version() > at.next(), "not beyond the bound");
    wait_for("word of it", || store.plugins().show("stuck").expect("is there").stalled.is_some());
    let why = store.plugins().show("stuck")?.stalled.expect("was just there");
    assert!(why.contains("--rescan"), "{why}");
    store.write(|tx| tx.put("data", "a", "good"))?;
    store.plugins().reload("stuck", ReloadPlugin::new().rescan())?;
    store.write(|tx| tx.put("data", "after", "v"))?;
    wait_for("it to go on", || has_caught_up(&store, "stuck"));
    assert_eq!(store.plugins().show("stuck")?.stalled, None);
    let seen = effects(&store)?;
    assert_eq!(seen.len(), 232);
    assert!(seen.values().all(|count| count == "1"), "{seen:?}");
    Ok(())
}

#[test]
fn a_plugin_that_only_has_a_schedule_needs_nothing_of_the_log() -> Result<()> {
    let scratch = Scratch::new();
    let retention = Retention::default().versions(5).bytes(20_000);
    let store = Store::options().retention(retention).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    let manifest = "[[trigger]]\non = \"schedule\"\nevery = \"100ms\"\n";
    let script = r#"fn on_schedule(due) { put("ran", "1"); }"#;
    let folder = Folder::new(&scratch, "clock", manifest, script);
    let added = store.plugins().add(folder.path(), AddPlugin::new())?.version;
    wait_for("it to run", || value(&store, "_plugins/clock", "ran").is_some());
    for i in 0..60 {
        store.write(|tx| tx.put("data", format!("{i}"), "v"))?;
    }
    let oldest = store.refresh()?.oldest_version();
    assert!(oldest > added.next(), "the log begins with {oldest}, {added} was long ago");
    Ok(())
}

#[test]
fn plugins_that_write_what_each_other_follows_come_to_rest() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| ["x", "y"].into_iter().try_for_each(|name| tx.create_namespace(name).map(drop)))?;
    for (name, from, to) in [("a", "x", "y"), ("b", "y", "x")] {
        let manifest = format!(
            "[[trigger]]\non = \"commit\"\nnamespaces = [\"{from}\"]\n[grants]\nwrite = [\"{to}\"]\n"
        );
        let script =
            "fn on_commit(changes) { for change in changes { put(\"TO\", \"NAME\" + change.key, \"v\"); } }";
        let script = script.replace("TO", to).replace("NAME", name);
        let folder = Folder::new(&scratch, name, &manifest, &script);
        store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    }
    store.write(|tx| tx.put("x", "1", "v"))?;
    store.write(|tx| tx.put("y", "2", "v"))?;
    let settled = || has_caught_up(&store, "a") && has_caught_up(&store, "b");
    wait_for("them to come to rest", settled);
    let version = store.refresh()?.version();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(store.refresh()?.version(), version, "it is quiet");
    assert_eq!(value(&store, "y", "a1").as_deref(), Some("v"));
    assert_eq!(value(&store, "x", "ba1").as_deref(), Some("v"));
    assert_eq!(value(&store, "x", "b2").as_deref(), Some("v"));
    assert_eq!(value(&store, "y", "ab2").as_deref(), Some("v"));
    assert_eq!(store.refresh()?.namespace("x")?.count(), 3);
    assert_eq!(store.refresh()?.namespace("y")?.count(), 3);
    let labels: Vec<String> =
        store.refresh()?.log(..).map(|record| Ok(record?.label().to_owned())).collect::<Result<_>>()?;
    assert!(labels.iter().any(|label| label == "plugin:b,a"), "{labels:?}");
    // Nobody else may say so.
    let refused = store.write(|tx| tx.label("plugin:a")).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidInput);
    let x = "x".parse()?;
    let refused = store.submit(Batch::new().label("plugin:b").put(&x, "3", "v")).unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidInput);
    Ok(())
}

/// What a plugin does for a user's change and for another plugin's is not taken together: the one that led to the latter
/// still sees the former.
#[test]
fn what_a_user_led_to_is_seen_by_a_plugin_that_led_to_something_beside_it() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().run_plugins(false).open(scratch.path())?;
    let names = ["in", "middle", "out"];
    store.write(|tx| names.into_iter().try_for_each(|name| tx.create_namespace(name).map(drop)))?;
    let manifest = "[[trigger]]\non = \"commit\"\nnamespaces = [\"in\", \"out\"]\n[grants]\nwrite = [\"middle\", \"seen\"]\n";
    let script = r#"fn on_commit(changes) { for change in changes { if change.namespace == "in" { put("middle", change.key, "v"); } else { put("seen", change.key, "v"); } } }"#;
    let first = Folder::new(&scratch, "first", manifest, script);
    store.plugins().add(first.path(), AddPlugin::new().mode(PluginMode::Production))?;
    let manifest = "[[trigger]]\non = \"commit\"\nnamespaces = [\"middle\"]\n[grants]\nwrite = [\"out\"]\n";
    let script = r#"fn on_commit(changes) { for change in changes { put("out", change.key, "v"); } }"#;
    let second = Folder::new(&scratch, "second", manifest, script);
    store.plugins().add(second.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.write(|tx| tx.put("in", "led", "v"))?;
    store.write(|tx| tx.put("middle", "before", "v"))?;
    // The first goes first, and leaves a change beside the user's to the second.
    store.plugins().catch_up(Duration::from_secs(20))?;
    store.write(|tx| tx.put("middle", "after", "v"))?;
    store.plugins().catch_up(Duration::from_secs(20))?;
    store.plugins().catch_up(Duration::from_secs(20))?;
    assert_eq!(store.refresh()?.namespace("out")?.count(), 3);
    let seen: Vec<String> = effects(&store)?.into_keys().collect();
    assert_eq!(seen, ["after", "before"], "not what it led to itself, but all else");
    Ok(())
}

#[test]
fn of_a_slice_only_the_version_that_fails_is_passed_over() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().run_plugins(false).open(scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    let folder = Folder::new(&scratch, "log", &follower("policy = \"log\""), FAILS_WHILE_TOLD);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    for i in 0..30 {
        store.write(|tx| {
            tx.put("data", format!("a{i:02}"), "v")?;
            tx.put("data", format!("b{i:02}"), if i % 10 == 4 { "bad" } else { "v" })
        })?;
    }
    assert_eq!(store.plugins().catch_up(Duration::from_secs(20))?, 0);
    let seen = effects(&store)?;
    assert!(seen.values().all(|count| count == "1"), "{seen:?}");
    let missing: Vec<i32> = (0..30).filter(|i| !seen.contains_key(&format!("a{i:02}"))).collect();
    assert_eq!((seen.len(), missing), (54, vec![4, 14, 24]));
    let status = store.plugins().show("log")?;
    assert_eq!((status.failures, status.record.enabled), (3, true));
    let errors = store.plugins().log("log").into_iter().filter(|line| line.text.contains("on_commit"));
    assert_eq!(errors.count(), 3);
    Ok(())
}

#[test]
fn a_fix_is_tried_at_once_however_long_the_plugin_was_to_wait() -> Result<()> {
    let scratch = Scratch::new();
    let store = with_data(&scratch)?;
    let policy = "policy = \"retry\"\nbackoff = \"1h\"\nbackoff-max = \"2h\"";
    let folder = Folder::new(&scratch, "retry", &follower(policy), FAILS_WHILE_TOLD);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    store.write(|tx| tx.put("data", "a", "bad"))?;
    store.write(|tx| tx.put("data", "b", "v"))?;
    wait_for("the failure", || store.plugins().show("retry").expect("is there").failures > 0);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(store.plugins().show("retry")?.failures, 1, "it waits");
    assert_eq!(value(&store, "seen", "b"), None, "in order");
    folder.write("main.rhai", &FAILS_WHILE_TOLD.replace("throw change.key", "put(\"seen\", \"bad\", \"1\")"));
    wait_for("the fix", || has_caught_up(&store, "retry"));
    let seen: Vec<String> = effects(&store)?.into_keys().collect();
    assert_eq!(seen, ["a", "b", "bad"]);
    Ok(())
}

#[test]
fn a_plugin_that_fails_too_often_is_disabled_and_goes_on_where_it_was() -> Result<()> {
    for (policy, attempts) in
        [("policy = \"retry\"\nattempts = 3\nbackoff = \"10ms\"", 3), ("policy = \"disable\"", 1)]
    {
        let scratch = Scratch::new();
        let store = with_data(&scratch)?;
        let folder = Folder::new(&scratch, "fails", &follower(policy), FAILS_WHILE_TOLD);
        store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
        let status = || store.plugins().show("fails").expect("is there");
        store.write(|tx| tx.put("data", "a", "bad"))?;
        store.write(|tx| tx.put("data", "b", "v"))?;
        wait_for("it to be disabled", || !status().record.enabled);
        assert_eq!(status().failures, attempts, "{policy}");
        let why = status().record.disabled_because.expect("it says why");
        assert!(why.contains("on_commit for version"), "{why}");
        // With as many attempts as before.
        store.plugins().enable("fails")?;
        wait_for("it to be disabled again", || !status().record.enabled);
        assert_eq!(status().failures, 2 * attempts, "{policy}");
        folder.write("main.rhai", &FAILS_WHILE_TOLD.replace("throw change.key;", ""));
        store.plugins().reload("fails", ReloadPlugin::new())?;
        assert!(!status().record.enabled, "a reload does not enable it");
        store.plugins().enable("fails")?;
        assert_eq!(status().record.disabled_because, None);
        wait_for("it to go on", || has_caught_up(&store, "fails"));
        let seen: Vec<String> = effects(&store)?.into_keys().collect();
        assert_eq!(seen, ["a", "b"], "{policy}");
    }
    Ok(())
}

/// A clock that can be set.
#[derive(Clone, Debug, Default)]
struct Settable(Arc<AtomicI64>);

impl Clock for Settable {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().as_micros();
        Timestamp::from_micros(now.saturating_add_signed(self.0.load(Ordering::SeqCst) * 1_000_000))
    }
}

#[test]
fn a_schedule_takes_the_clock_as_it_comes() -> Result<()> {
    const DAY: i64 = 86_400;
    let scratch = Scratch::new();
    let clock = Settable::default();
    let store = Store::options().clock(clock.clone()).open(scratch.path())?;
    let manifest = "[[trigger]]\non = \"schedule\"\nevery = \"100ms\"\n";
    let script = r#"fn on_schedule(due) { let n = get("n"); let n = if n == () { 0 } else { n.parse_int() }; put("n", (n + 1).to_string()); }"#;
    let folder = Folder::new(&scratch, "clock", manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let runs = || value(&store, "_plugins/clock", "n").map_or(0, |n| n.parse::<u64>().expect("a number"));
    wait_for("it to run", || runs() >= 3);
    for offset in [DAY, 0, -DAY, DAY, 0] {
        clock.0.store(offset, Ordering::SeqCst);
        let (before, begin) = (runs(), Instant::now());
        wait_for("it to run on", || runs() >= before + 3);
        std::thread::sleep(Duration::from_millis(200));
        let (ran, elapsed) = (runs() - before, begin.elapsed());
        let most = u64::try_from(elapsed.as_millis() / 100).expect("is small") + 2;
        assert!(ran <= most, "at {offset}: {ran} times in {elapsed:?}");
    }
    // What was missed while nobody was there is made up for once.
    let before = runs();
    drop(store);
    clock.0.store(2 * DAY, Ordering::SeqCst);
    let store = Store::options().clock(clock).run_plugins(false).open(scratch.path())?;
    let begin = Instant::now();
    store.plugins().catch_up(Duration::ZERO)?;
    let after = value(&store, "_plugins/clock", "n").map_or(0, |n| n.parse::<u64>().expect("a number"));
    // One more may have been under way when the handle was closed.
    assert!(
        (before..=before + 2 + u64::try_from(begin.elapsed().as_millis() / 100).expect("is small"))
            .contains(&after),
        "{before} {after}"
    );
    Ok(())
}

#[test]
fn what_a_plugin_follows_may_change_in_the_middle_of_a_transaction() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().run_plugins(false).open(scratch.path())?;
    store
        .write(|tx| ["data", "other"].into_iter().try_for_each(|name| tx.create_namespace(name).map(drop)))?;
    let manifest = |namespaces: &str| {
        format!(
            "name = \"copy\"\napi = 1\nentry = \"main.rhai\"\n[limits]\ntime = \"20s\"\n[on-error]\npolicy = \"retry\"\nbackoff = \"1h\"\nbackoff-max = \"1h\"\n\
             [[trigger]]\non = \"commit\"\nnamespaces = {namespaces}\n[grants]\nwrite = [\"seen\"]\n"
        )
    };
    let copies = r#"fn on_commit(changes) { for change in changes { let before = get("seen", change.key); let before = if before == () { 0 } else { before.parse_int() }; put("seen", change.key, (before + 1).to_string()); } }"#;
    // Fails with the second slice.
    let stops = copies
        .replace("for change", "if get(\"stop\") != () { throw \"stop\"; } put(\"stop\", \"1\"); for change");
    let folder = Folder::new(&scratch, "copy", "", &stops);
    folder.write("plugin.toml", &manifest("[\"data\", \"other\"]"));
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.write(|tx| {
        (0..700).try_for_each(|i| tx.put("data", format!("a{i:04}"), "v"))?;
        (0..700).try_for_each(|i| tx.put("other", format!("b{i:04}"), "v"))?;
        (700..1500).try_for_each(|i| tx.put("data", format!("a{i:04}"), "v"))
    })?;
    store.plugins().catch_up(Duration::from_millis(1))?;
    assert_eq!(effects(&store)?.len(), 1000);
    let shown = effects(&store)?;
    folder.write("main.rhai", copies);
    folder.write("plugin.toml", &manifest("[\"data\"]"));
    store.plugins().reload("copy", ReloadPlugin::new())?;
    assert_eq!(store.plugins().catch_up(Duration::from_secs(20))?, 0);
    let seen = effects(&store)?;
    assert!(seen.values().all(|count| count == "1"), "something was shown twice");
    let missing: Vec<String> =
        (0..1500).map(|i| format!("a{i:04}")).filter(|key| !seen.contains_key(key)).collect();
    assert_eq!(missing, Vec::<String>::new(), "of {} shown before", shown.len());
    Ok(())
}

#[test]
fn what_is_there_is_shown_also_where_no_history_is_kept() -> Result<()> {
    let scratch = Scratch::new();
    let store = Store::options().run_plugins(false).open(scratch.path())?;
    store.write(|tx| {
        tx.create_namespace("data")?;
        tx.create_namespace("plain")?;
        tx.update_namespace("plain", &cohab::Update::new().history(cohab::History::Off))
    })?;
    store.write(|tx| {
        tx.put("data", "a", "v")?;
        tx.put("plain", "b", "v")
    })?;
    let manifest = follower("policy = \"log\"").replace("[\"data\"]", "[\"*\"]\nstart = \"existing\"");
    let folder = Folder::new(&scratch, "copy", &manifest, FAILS_WHILE_TOLD);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    store.write(|tx| tx.put("plain", "c", "v"))?;
    store.write(|tx| tx.put("data", "d", "v"))?;
    assert_eq!(store.plugins().catch_up(Duration::from_secs(20))?, 0);
    let seen: Vec<String> = effects(&store)?.into_keys().collect();
    assert!(["a", "b", "d"].iter().all(|key| seen.iter().any(|seen| seen == key)), "{seen:?}");
    Ok(())
}
