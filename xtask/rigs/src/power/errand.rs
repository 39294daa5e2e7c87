//! A process that does a little of everything and ends, for a system that refuses it something on the way.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use cohab::{AddPlugin, Follower, Kind, PluginMode, Role};

use super::cast::{Script, Writer, options, replica_path, report_failure, store_path};
use super::report::Report;

/// Counts the changes that it is shown, each once.
const MANIFEST: &str = "name = \"count\"\napi = 1\nentry = \"main.rhai\"\n[[trigger]]\non = \"commit\"\n\
    namespaces = [\"accounts\"]\nstart = \"now\"\n[on-error]\npolicy = \"retry\"\n";

const SCRIPT: &str = r#"
fn on_commit(changes) {
    let n = get("n");
    let n = if n == () { 0 } else { n.parse_int() };
    put("n", (n + changes.len()).to_string());
}
"#;

/// Writes the plugin that errands add; done by the rig, which nothing is refused.
pub(crate) fn write_plugin(dir: &Path) -> io::Result<()> {
    let dir = dir.join("plugin");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("plugin.toml"), MANIFEST)?;
    fs::write(dir.join("main.rhai"), SCRIPT)
}

/// Runs the errand. Where it fails it says why, and goes on if it is told that it can.
pub(crate) fn run(script: &Script, seed: u64) -> cohab::Result<()> {
    let mut writer = None;
    let Err(error) = run_through(script, seed, &mut writer) else {
        Report::Stage("end".into()).send();
        return Ok(());
    };
    report_failure(&error);
    // A line says that there is room again; otherwise the input ends.
    if !matches!(io::stdin().lines().next(), Some(Ok(_))) {
        return Err(error);
    }
    if let Some(writer) = &mut writer {
        // Of use also where nothing had failed in the engine.
        writer.store.reopen()?;
        writer.begin()?;
        writer.commit_some(2)?;
    } else {
        run_through(script, seed ^ 1, &mut writer)?;
    }
    Report::Recovered.send();
    Ok(())
}

fn run_through(script: &Script, seed: u64, kept: &mut Option<Writer>) -> cohab::Result<()> {
    let stage = |name: &str| Report::Stage(name.into()).send();
    let place = &script.place;
    stage("open");
    let store = options().role(Role::Writer).open(store_path(place))?;
    let writer = kept.insert(Writer::new(store.clone(), place, seed));
    stage("commit");
    writer.begin()?;
    writer.commit_some(3)?;
    writer.commit_together()?;
    stage("lock");
    writer.commit_behind_a_lock()?;
    writer.commit_behind_a_lock()?;
    stage("plugin");
    match store.plugins().add(script.mount.join("plugin"), AddPlugin::new().mode(PluginMode::Production)) {
        Err(error) if error.kind() != Kind::Exists => return Err(error),
        _ => {}
    }
    writer.commit_some(3)?;
    store.plugins().catch_up(Duration::from_secs(5))?;
    stage("follow");
    let mut follower =
        Follower::open_with(store_path(place), options(), replica_path(place), options(), |_| ())?;
    follower.catch_up()?;
    writer.commit_some(2)?;
    follower.catch_up()?;
    if let Some(upstream) = follower.replica().snapshot()?.upstream() {
        Report::Followed(upstream.version.get()).send();
    }
    drop(follower);
    stage("backup");
    writer.back_up()?;
    stage("maintain");
    store.maintain()?;
    match store.compact() {
        Err(error) if error.kind() != Kind::InUse => return Err(error),
        _ => {}
    }
    writer.commit_some(1)
}
