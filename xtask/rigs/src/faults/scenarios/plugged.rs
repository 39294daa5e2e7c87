//! Plugins.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cohab::{AddPlugin, Error, Kind, LogItem, PluginMode, ReloadPlugin, Result, Role, Store};

use super::{MAIN, Scenario};
use crate::faults::session::{Session, options};

const MANIFEST: &str = r#"name = "copy"
api = 1
entry = "main.rhai"
schema = SCHEMA
[limits]
time = "30s"
[on-error]
policy = "retry"
[[trigger]]
on = "commit"
namespaces = ["data"]
start = "existing"
[[trigger]]
on = "request"
[grants]
write = ["seen"]
"#;

/// Counts in `seen` how often it was shown each change.
const SCRIPT: &str = r#"
fn on_commit(changes) {
    for change in changes {
        let key = change.key + "@" + change.version;
        let before = get("seen", key);
        let before = if before == () { 0 } else { before.parse_int() };
        put("seen", key, (before + 1).to_string());
    }
    put("was-called", "yes");
}
fn migrate(from) { put("schema", "SCHEMA"); }
fn on_request(input) { let schema = get("schema"); if schema == () { "1" } else { schema } }
"#;

/// What is asked before a commit.
const GUARD: (&str, &str) = (
    "name = \"guard\"\napi = 1\nentry = \"main.rhai\"\n[limits]\ntime = \"30s\"\n[[trigger]]\non = \"before-commit\"\nnamespaces = [\"data\"]\n",
    "fn before_commit(changes) { for change in changes { if change.after == \"bad\" { throw \"bad\"; } } }",
);

fn write_plugin(dir: &Path, manifest: &str, script: &str) -> Result<()> {
    fs::create_dir_all(dir).map_err(Error::abort)?;
    fs::write(dir.join("plugin.toml"), manifest).map_err(Error::abort)?;
    fs::write(dir.join("main.rhai"), script).map_err(Error::abort)
}

fn write_copier(place: &Path, schema: u32) -> Result<()> {
    let with = |text: &str| text.replace("SCHEMA", &schema.to_string());
    write_plugin(&place.join("plugin"), &with(MANIFEST), &with(SCRIPT))
}

/// A store with something to follow, and a plugin beside it.
fn beside(place: &Path) -> Result<()> {
    let store = options(Role::Writer).open(place.join(MAIN))?;
    store.write(|tx| {
        tx.create_namespace("data")?;
        (0..5).try_for_each(|i| tx.put("data", format!("k{i}"), "v"))
    })?;
    write_copier(place, 1)
}

fn production() -> AddPlugin {
    AddPlugin::new().mode(PluginMode::Production)
}

/// The same, with the plugin in service, and one that is asked.
fn in_service(place: &Path) -> Result<()> {
    beside(place)?;
    let guard = place.join("guard");
    write_plugin(&guard, GUARD.0, GUARD.1)?;
    let store = options(Role::Writer).open(place.join(MAIN))?;
    store.plugins().add(place.join("plugin"), production())?;
    store.plugins().add(guard, production())?;
    store.plugins().catch_up(Duration::from_secs(20)).map(drop)
}

const fn plugged(
    name: &'static str,
    prepare: fn(&Path) -> Result<()>,
    run: fn(&mut Session) -> Result<()>,
) -> Scenario {
    let scenario = Scenario::new(name, prepare, run);
    Scenario { shared: &[MAIN], kinds: &[Kind::Plugin, Kind::Refused], check, ..scenario }
}

fn catch_up(session: &mut Session, store: &Store) -> Result<()> {
    session.at("run the plugins");
    let behind = store.plugins().catch_up(Duration::from_secs(20))?;
    if behind > 0 {
        session.find(format!("{behind} versions are left to the plugins"));
    }
    Ok(())
}

pub(super) const ADD: Scenario = plugged("plugin-add", beside, |session| {
    let store = session.writer(MAIN)?;
    session.at("add the plugin");
    store.plugins().add(session.path("plugin"), production())?;
    catch_up(session, &store)?;
    session.at("call the plugin");
    let _ = store.plugins().call("copy", b"")?;
    Ok(())
});

pub(super) const RELOAD: Scenario = plugged("plugin-reload", in_service, |session| {
    crate::seam::aside(|| write_copier(&session.path(""), 2))?;
    let store = session.writer(MAIN)?;
    session.puts(MAIN, &store, "write", "data", &[("new", b"v")])?;
    session.at("reload the plugin");
    store.plugins().reload("copy", ReloadPlugin::new())?;
    session.at("call the plugin");
    if store.plugins().call("copy", b"")? != "2" {
        session.find("what was reloaded is not in service");
    }
    catch_up(session, &store)?;
    session.at("list the plugins");
    let _ = (store.plugins().list()?, store.plugins().log("copy"));
    session.at("remove a plugin");
    store.plugins().remove("guard", false).map(drop)
});

pub(super) const RUN: Scenario = plugged("plugin-run", in_service, |session| {
    let store = session.writer_with(MAIN, options(Role::Writer).run_plugins(true))?;
    session.puts(MAIN, &store, "write", "data", &[("k1", b"new"), ("more", b"v")])?;
    catch_up(session, &store)?;
    session.puts(MAIN, &store, "write again", "data", &[("k1", b"newer")])?;
    catch_up(session, &store)
});

/// Checks that every change had one effect.
fn check(session: &mut Session) -> Result<()> {
    session.at("running the plugins anew");
    let store = options(Role::Writer).open(session.path(MAIN))?;
    if store.plugins().list()?.iter().any(|plugin| plugin.record.name == "copy") {
        let _ = store.plugins().call("copy", b"")?;
    } else {
        store.plugins().add(session.path("plugin"), production())?;
    }
    let behind = store.plugins().catch_up(Duration::from_secs(20))?;
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
                due.insert(format!("{}@{version}", String::from_utf8_lossy(change.key())), "1".to_owned());
            }
            Ok(())
        })?;
    }
    let mut seen = BTreeMap::new();
    for entry in snapshot.namespace("seen")?.all()? {
        let entry = entry?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        seen.insert(text(entry.key()), text(entry.value()));
    }
    // One that was added later was shown the last version of each key only, and none by its version at that.
    if behind > 0 || seen.values().any(|count| count != "1") || !seen.keys().all(|key| due.contains_key(key))
    {
        session.find(format!("{behind} versions behind, the plugin has seen {seen:?}, and there is {due:?}"));
    }
    for key in due.keys().filter(|key| !seen.contains_key(*key)) {
        let (key, version) = key.split_once('@').unwrap_or((key, "0"));
        let number = |text: &str| text.parse().unwrap_or(0_u64);
        let is_later = |one: &String| {
            one.split_once('@').is_some_and(|(other, at)| other == key && number(at) > number(version))
        };
        if !seen.keys().any(is_later) {
            session.find(format!("the plugin was not shown `{key}` of version {version}"));
        }
    }
    Ok(())
}
