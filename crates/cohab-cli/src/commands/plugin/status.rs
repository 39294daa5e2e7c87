//! What is known of a plugin, as it is printed.

use cohab::{PluginFailure, PluginGrants, PluginRecord, PluginStatus, Plugins, Version};
use serde::Serialize;
use serde_json::{Value, json};

use crate::commands::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::{Record, size};

/// How many digits tell contents apart for people.
const HASH_DIGITS: usize = 12;

/// Ends a command that changed a plugin, by telling what it is now.
pub(super) fn changed(session: &mut Session, plugins: &Plugins, version: Version, name: &str) -> Outcome {
    let plugin = plugins.show(name)?.record;
    let record = Record::new()
        .with("version", version)
        .with("plugin", name)
        .with("generation", plugin.generation)
        .with("mode", word(plugin.mode))
        .with("enabled", plugin.enabled);
    session.out.record(&record)?;
    Ok(Exit::Done)
}

/// A plugin, for programs.
pub(super) fn described(status: &PluginStatus) -> Record<'static> {
    let PluginRecord { name, description, source, mode, enabled, disabled_because, .. } =
        status.record.clone();
    let PluginRecord { generation, hash, tier, api, schema, triggers, grants, loaded_at, failure, .. } =
        status.record.clone();
    Record::new()
        .with("name", name)
        .with("description", description)
        .with("generation", generation)
        .with("hash", hash.to_string())
        .with("tier", word(tier))
        .with("api", u64::from(api))
        .with("schema", u64::from(schema))
        .with("mode", word(mode))
        .with("enabled", enabled)
        .with("disabled_because", disabled_because)
        .with("triggers", Value::from(triggers))
        .with("grants", word(grants))
        .with("source", source.to_string_lossy().into_owned())
        .with("source_state", word(status.source_state))
        .with("stale_since", status.stale_since)
        .with("loaded_at", loaded_at)
        .with("position", status.position)
        .with("lag", status.lag)
        .with("calls", status.calls)
        .with("failures", status.failures)
        .with("time_us", status.time_us)
        .with("memory_bytes", status.memory_bytes)
        .with("last_error", status.last_error.clone())
        .with("last_error_at", status.last_error_at)
        .with("stalled", status.stalled.clone())
        .with("failure", failure.as_ref().map(failure_of))
        .with("instance", status.instance.map(|instance| instance.to_string()))
        .with("pid", status.pid.map(u64::from))
}

/// A plugin, for people: what does not apply is left out, and what belongs together shares a line.
pub(super) fn told(status: &PluginStatus) -> Record<'static> {
    let PluginRecord { name, description, source, mode, disabled_because, .. } = status.record.clone();
    let PluginRecord { generation, hash, tier, api, schema, triggers, grants, loaded_at, failure, .. } =
        status.record.clone();
    let mut hash = hash.to_string();
    hash.truncate(HASH_DIGITS);
    let time = status.calls.checked_div(status.calls).map(|_| format!("{} ms", status.time_us / 1000));
    let fields = [
        ("description", Some(description).filter(|text| !text.is_empty())),
        ("disabled_because", disabled_because),
        ("stale_since", status.stale_since.map(|time| time.to_string())),
        ("time", time),
        ("memory", Some(status.memory_bytes).filter(|bytes| *bytes > 0).map(size)),
        ("last_error", status.last_error.clone()),
        ("last_error_at", status.last_error_at.map(|time| time.to_string())),
        ("stalled", status.stalled.clone()),
        (
            "failure",
            failure.as_ref().map(|failure| {
                let stage = word(failure.error.stage);
                format!("{}: {} ({})", stage.as_str().unwrap_or_default(), failure.error, failure.at)
            }),
        ),
        ("instance", status.instance.map(|instance| instance.to_string())),
    ];
    let mut record = Record::new()
        .with("name", name)
        .with("generation", generation)
        .with("hash", hash)
        .with("tier", word(tier))
        .with("api", u64::from(api))
        .with("schema", u64::from(schema))
        .with("mode", word(mode))
        .with("enabled", status.record.enabled)
        .with("triggers", triggers.join(", "))
        .with("grants", granted(&grants))
        .with("source", source.to_string_lossy().into_owned())
        .with("source_state", word(status.source_state))
        .with("loaded_at", loaded_at)
        .with("position", status.position)
        .with("lag", status.lag)
        .with("calls", status.calls)
        .with("failures", status.failures);
    for (name, text) in fields {
        if let Some(text) = text {
            record = record.with(name, text);
        }
    }
    record.with("pid", status.pid.map(u64::from))
}

fn failure_of(failure: &PluginFailure) -> Value {
    let PluginFailure { error, hash, at, stale_since, .. } = failure;
    json!({
        "stage": word(error.stage),
        "message": error.message,
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "hash": hash.map(|hash| hash.to_string()),
        "at": at.to_string(),
        "stale_since": stale_since.to_string(),
    })
}

/// What a plugin may touch, in a line.
fn granted(grants: &PluginGrants) -> String {
    let PluginGrants { read, write, log, clock } = grants;
    let names =
        |what: &str, names: &[String]| (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")));
    let flag = |what: &str, is_granted: bool| is_granted.then(|| what.to_owned());
    let all = [names("read", read), names("write", write), flag("log", *log), flag("clock", *clock)];
    all.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a value is called where it is written down.
pub(super) fn word(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
