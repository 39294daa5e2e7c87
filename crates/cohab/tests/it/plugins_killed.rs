//! Plugins beside processes that are killed: effects are there once, and code, record, state and cursor move together.
//!
//! `COHAB_PLUGIN_KILLS` says how often somebody is killed; the default is eight.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cohab::{AddPlugin, Clock, Kind, LogItem, PluginMode, ReloadPlugin, Result, Role, Store, SystemClock};
use cohab_testkit::{Child, child_store};

use crate::actor::Actor;
use crate::plugins::{Folder, value};
use crate::{Random, Scratch};

/// Long enough for a machine that is busy with something else.
pub(crate) const PATIENT: &str = "[limits]\ntime = \"30s\"\n[on-error]\npolicy = \"retry\"\n";

/// Follows `data`, and counts in `seen` how often it was shown each change.
pub(crate) fn copier(start: &str) -> String {
    format!(
        "{PATIENT}[[trigger]]\non = \"commit\"\nnamespaces = [\"data\"]\nstart = \"{start}\"\n\
         [[trigger]]\non = \"request\"\n[grants]\nwrite = [\"seen\"]\n"
    )
}

pub(crate) const COPY: &str = r#"
fn on_commit(changes) {
    let n = get("n");
    let n = if n == () { 0 } else { n.parse_int() };
    for change in changes {
        let key = change.key + "@" + change.version;
        let before = get("seen", key);
        let before = if before == () { 0 } else { before.parse_int() };
        put("seen", key, (before + 1).to_string());
        n += 1;
    }
    put("n", n.to_string());
}
fn on_request(input) { let n = get("n"); if n == () { "0" } else { n } }
"#;

/// Checks that every change in the log had one effect, and returns how many there were.
pub(crate) fn check_effects(store: &Store) -> Result<usize> {
    let snapshot = store.refresh()?;
    let data = snapshot.namespace("data")?.id();
    let mut due = BTreeMap::new();
    for record in snapshot.log(..) {
        let record = record?;
        let version = record.version();
        record.visit(|item| {
            if let LogItem::Change { namespace, change } = item
                && namespace == data
            {
                let key = format!("{}@{version}", String::from_utf8_lossy(change.key()));
                due.insert(key, "1".to_owned());
            }
            Ok(())
        })?;
    }
    assert_eq!(effects(store)?, due);
    let counted = value(store, "_plugins/copy", "n").map_or(0, |n| n.parse().expect("a number"));
    assert_eq!(due.len(), counted, "the plugin's own count");
    assert!(snapshot.verify(|_| ())?.is_sound());
    Ok(due.len())
}

pub(crate) fn effects(store: &Store) -> Result<BTreeMap<String, String>> {
    let snapshot = store.refresh()?;
    let seen = match snapshot.namespace("seen") {
        Ok(seen) => seen,
        Err(error) if error.kind() == Kind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    seen.all()?
        .map(|entry| {
            let entry = entry?;
            Ok((text(entry.key()), text(entry.value())))
        })
        .collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |it| it.parse().expect("a number"))
}

/// Writes while it may, in transactions of all sizes, and takes over when it is told to.
#[test]
fn child_writes_and_runs_a_plugin_until_it_is_killed() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let store = Store::options().role(Role::Standby).open(path)?;
    let asked = store.clone();
    std::thread::spawn(move || {
        while Child::told().expect("the parent talks").is_some() {
            // Somebody else may be asked at the same time.
            let _ = asked.promote(Duration::from_secs(5));
        }
    });
    let mut random = Random(u64::from(std::process::id()) ^ SystemClock.now().as_micros());
    Child::report("ready").expect("the parent listens");
    loop {
        if store.role() != Role::Writer {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let keys = match random.below(40) {
            0 => 1200 + random.below(1500),
            1..10 => 2 + random.below(30),
            _ => 1,
        };
        let first = random.below(50);
        let written =
            store.write(|tx| (0..keys).try_for_each(|i| tx.put("data", format!("k{}", first + i), "v")));
        match written {
            Ok(done) => Child::report(done.version).expect("the parent listens"),
            Err(error) if matches!(error.kind(), Kind::Busy | Kind::ReadOnly) => {}
            Err(error) => panic!("{error:?}"),
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
    }
}

#[test]
fn every_change_has_one_effect_whoever_is_killed_or_hands_over() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    let folder = Folder::new(&scratch, "copy", &copier("now"), COPY);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    drop(store);
    let seed = SystemClock.now().as_micros();
    println!("seed {seed}");
    let mut random = Random(seed);
    let begin = || {
        let test = "plugins_killed::child_writes_and_runs_a_plugin_until_it_is_killed";
        let mut child = Child::start(test, &scratch.path()).expect("starts");
        assert_eq!(child.next_report().expect("can be heard").as_deref(), Some("ready"));
        child
    };
    let mut children = [begin(), begin()];
    let (mut killed, mut asked) = (0, 0);
    let wanted = setting("COHAB_PLUGIN_KILLS", 8);
    while killed < wanted {
        std::thread::sleep(Duration::from_millis(50 + random.below(300)));
        let which = usize::from(random.below(2) == 1);
        if random.below(3) == 0 {
            children[which].tell("promote").expect("listens");
            asked += 1;
        } else {
            std::mem::replace(&mut children[which], begin()).kill().expect("can be killed");
            killed += 1;
        }
    }
    for child in children {
        child.kill().expect("can be killed");
    }
    let store = Store::open(scratch.path())?;
    assert_eq!(store.plugins().catch_up(Duration::from_mins(2))?, 0);
    let changes = check_effects(&store)?;
    println!("{killed} killed, {asked} asked to take over, {changes} changes");
    assert!(changes > 20, "only {changes} changes");
    Ok(())
}

/// Kills a process at every operation of a kind while it does something, and looks at the store afterwards.
fn killed_at_every(
    path: &Path,
    operation: &str,
    mut prepare: impl FnMut(u64) -> Result<String>,
    mut check: impl FnMut(u64, bool) -> Result<()>,
) -> Result<u64> {
    for n in 1.. {
        let what = prepare(n)?;
        let mut writer = Actor::open(path, "writer gate idle-plugins");
        writer.does(&format!("arm hold {operation} {n}"));
        writer.does(&format!("plugins {what}"));
        let event = writer.hears("");
        let is_done = event.starts_with("done");
        assert!(is_done || event == "still", "{operation} {n}: {event}");
        writer.kill();
        check(n, is_done)?;
        if is_done {
            return Ok(n - 1);
        }
    }
    unreachable!("some run is not met")
}

fn idle(path: &Path) -> Result<Store> {
    Store::options().run_plugins(false).open(path)
}

#[test]
fn a_process_killed_at_any_point_of_a_commit_of_effects_leaves_all_of_them_or_none() -> Result<()> {
    let scratch = Scratch::new();
    let store = idle(&scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    let folder = Folder::new(&scratch, "copy", &copier("now"), COPY);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    drop(store);
    let mut points = 0;
    for operation in ["write", "sync", "synced"] {
        points += killed_at_every(
            &scratch.path(),
            operation,
            |_| {
                let store = idle(&scratch.path())?;
                store.write(|tx| (0..5).try_for_each(|i| tx.put("data", format!("k{i}"), "v")))?;
                Ok("catch-up-aside".into())
            },
            |n, _| {
                let store = idle(&scratch.path())?;
                let there = effects(&store)?;
                let counted = value(&store, "_plugins/copy", "n").map_or(0, |n| n.parse().expect("a number"));
                assert_eq!(there.len(), counted, "{operation} {n}");
                assert_eq!(there.len() % 5, 0, "{operation} {n}: {there:?}");
                assert!(there.values().all(|count| count == "1"), "{operation} {n}: {there:?}");
                Ok(())
            },
        )?;
    }
    assert!(points >= 8, "only {points} points");
    let store = idle(&scratch.path())?;
    assert_eq!(store.plugins().catch_up(Duration::from_mins(1))?, 0);
    assert!(check_effects(&store)? >= 40);
    Ok(())
}

const REQUEST: &str = "[[trigger]]\non = \"request\"\n";

/// Answers with its number and the state's, which a migration makes the same.
pub(crate) fn numbered(number: u64) -> String {
    let number = number.to_string();
    r#"
fn of_state() { let number = get("number"); if number == () { "1" } else { number } }
fn on_request(input) { "NUMBER:" + of_state() }
fn migrate(from) { put("number", (of_state().parse_int() + 1).to_string()); put("old" + from, "NUMBER"); }
fn check() { if get("number") != () && get("number") != "NUMBER" { throw "state and code differ"; } }
"#
    .replace("NUMBER", &number)
}

pub(crate) fn write_numbered(folder: &Folder, name: &str, number: u64) {
    let manifest = format!("name = \"{name}\"\napi = 1\nentry = \"main.rhai\"\nschema = {number}\n{REQUEST}");
    folder.write("plugin.toml", &manifest);
    folder.write("main.rhai", &numbered(number));
}

#[test]
fn a_process_killed_at_any_point_of_a_reload_with_a_migration_leaves_all_of_it_or_nothing() -> Result<()> {
    let scratch = Scratch::new();
    let store = idle(&scratch.path())?;
    let folder = Folder::new(&scratch, "state", REQUEST, "");
    let script = r#"fn on_request(input) { if input != "" { put("number", input); } "1:" + get("number") }"#;
    folder.write("main.rhai", script);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.plugins().call("state", b"1")?;
    drop(store);
    let mut points = 0;
    for operation in ["write", "sync", "synced"] {
        let generation = std::cell::Cell::new(0);
        points += killed_at_every(
            &scratch.path(),
            operation,
            |_| {
                let store = idle(&scratch.path())?;
                generation.set(store.plugins().show("state")?.record.generation);
                write_numbered(&folder, "state", generation.get() + 1);
                Ok("reload-aside state".into())
            },
            |n, is_done| {
                // By turns a reader and a writer come first.
                let role = if n % 2 == 0 { Role::Reader } else { Role::Writer };
                let store = Store::options().role(role).run_plugins(false).open(scratch.path())?;
                let record = store.plugins().show("state")?.record;
                let (now, before) = (record.generation, generation.get());
                assert!(now == before + 1 || (now == before && !is_done), "{operation} {n}: {now}");
                assert_eq!(u64::from(record.schema), now);
                assert_eq!(store.plugins().call("state", b"")?, format!("{now}:{now}"));
                let snapshot = store.refresh()?;
                assert_eq!(snapshot.namespace("_plugins.code")?.count(), 1, "{operation} {n}");
                assert_eq!(
                    snapshot.get("_plugins/state", "\0schema")?.as_deref(),
                    Some(now.to_string().as_bytes())
                );
                assert!(snapshot.verify(|_| ())?.is_sound());
                Ok(())
            },
        )?;
    }
    assert!(points >= 8, "only {points} points");
    // The next one works, where nothing is in the way.
    let store = idle(&scratch.path())?;
    let generation = store.plugins().show("state")?.record.generation;
    write_numbered(&folder, "state", generation + 1);
    assert_eq!(store.plugins().reload("state", ReloadPlugin::new())?.value, (generation + 1, true));
    Ok(())
}

#[test]
fn a_process_killed_at_any_point_of_adding_a_plugin_leaves_it_whole_or_not_there() -> Result<()> {
    let scratch = Scratch::new();
    let store = idle(&scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    drop(store);
    let folder = Folder::new(&scratch, "copy", &copier("existing"), COPY);
    let mut points = 0;
    for operation in ["write", "sync"] {
        points += killed_at_every(
            &scratch.path(),
            operation,
            |_| Ok(format!("add-aside {}", folder.path().display())),
            |n, is_done| {
                let store = idle(&scratch.path())?;
                assert!(store.refresh()?.verify(|_| ())?.is_sound());
                let there = store.plugins().list()?;
                let Some(there) = there.first() else {
                    assert!(!is_done);
                    let refused = store.plugins().call("copy", b"").unwrap_err();
                    assert_eq!(refused.kind(), Kind::NotFound, "{operation} {n}");
                    return Ok(());
                };
                assert_eq!((there.record.generation, there.lag.is_some()), (1, true));
                assert_eq!(store.plugins().call("copy", b"")?, "0", "{operation} {n}");
                assert_eq!(store.plugins().catch_up(Duration::from_secs(20))?, 0);
                store.plugins().remove("copy", false)?;
                Ok(())
            },
        )?;
    }
    assert!(points >= 8, "only {points} points");
    Ok(())
}

#[test]
fn what_was_there_is_shown_once_beside_a_writer_and_across_a_kill() -> Result<()> {
    let scratch = Scratch::new();
    let store = idle(&scratch.path())?;
    store.write(|tx| tx.create_namespace("data"))?;
    store.write(|tx| (0..5000).try_for_each(|i| tx.put("data", format!("old{i}"), "v")))?;
    let folder = Folder::new(&scratch, "copy", &copier("existing"), COPY);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    drop(store);
    // Killed before the commit of one slice after the other.
    for n in [2, 3, 4] {
        let mut writer = Actor::open(&scratch.path(), "writer gate idle-plugins");
        writer.does(&format!("arm hold sync {n}"));
        writer.does("plugins catch-up-aside");
        assert_eq!(writer.hears(""), "still", "{n}");
        writer.kill();
        let store = idle(&scratch.path())?;
        let shown = effects(&store)?.len();
        assert_eq!(shown % 1000, 0, "slices are whole");
        assert!(shown < 5000, "it was killed on the way");
        // What is written meanwhile comes after.
        store.write(|tx| (0..7).try_for_each(|i| tx.put("data", format!("new{n}-{i}"), "v")))?;
        store.write(|tx| tx.put("data", "old4999", "w"))?;
    }
    let store = Store::open(scratch.path())?;
    std::thread::scope(|scope| {
        let writes = || {
            (0..20).try_for_each(|i| store.write(|tx| tx.put("data", format!("beside{i}"), "v")).map(drop))
        };
        let beside = scope.spawn(writes);
        beside.join().expect("does not panic")
    })?;
    assert_eq!(store.plugins().catch_up(Duration::from_mins(2))?, 0);
    assert_eq!(check_effects(&store)?, 5000 + 3 * 8 + 20);
    Ok(())
}

/// A writer that hands over and comes back goes on where the other one was, not where it was itself.
#[test]
fn a_writer_that_comes_back_goes_on_where_the_other_one_was() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.write(|tx| tx.create_namespace("data"))?;
    let folder = Folder::new(&scratch, "copy", &copier("now"), COPY);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let other = Store::options().role(Role::Standby).open(scratch.path())?;
    for round in 0..12 {
        let (from, to) = if round % 2 == 0 { (&store, &other) } else { (&other, &store) };
        from.write(|tx| (0..3).try_for_each(|i| tx.put("data", format!("{round}-{i}"), "v")))?;
        if round % 3 == 0 {
            from.plugins().catch_up(Duration::from_secs(20))?;
        }
        to.promote(Duration::from_secs(20))?;
        to.write(|tx| tx.put("data", format!("{round}"), "v"))?;
    }
    store.plugins().catch_up(Duration::from_secs(30))?;
    assert_eq!(check_effects(&store)?, 48);
    Ok(())
}
