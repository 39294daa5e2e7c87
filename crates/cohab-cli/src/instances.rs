//! Instances, as they are printed.

use cohab::{Clock, Instance, SystemClock};
use serde_json::{Value, json};

use crate::terminal::{Cell, Format, Record};

/// The fields that a table of instances shows.
pub(crate) const COLUMNS: &[&str] = &[
    "role",
    "pid",
    "app",
    "channel",
    "label",
    "ports",
    "started",
    "version",
    "snapshot_age_ms",
    "stopped",
    "id",
];

/// An instance as a result.
pub(crate) fn record(instance: &Instance, format: Format) -> Record<'static> {
    let said = &instance.record;
    // An empty text is one that the instance did not say.
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ports: Vec<Value> = match format {
        Format::Table | Format::Raw => {
            said.ports.iter().map(|port| format!("{}={}", port.name, port.port).into()).collect()
        }
        _ => said.ports.iter().map(|port| json!({ "name": port.name, "port": port.port })).collect(),
    };
    let age = said.snapshot_since.map(|since| SystemClock.now().since(since).as_millis());
    let age = age.map(|age| u64::try_from(age).unwrap_or(u64::MAX));
    Record::new()
        .with("id", instance.id.to_string())
        .with("role", said.role.clone())
        .with("pid", u64::from(said.pid))
        .with("app", text(&said.app))
        .with("channel", text(&said.channel))
        .with("app_version", text(&said.app_version))
        .with("label", said.label.clone())
        .with("ports", Cell::Json(ports.into()))
        .with("started", said.started)
        .with("version", said.version)
        .with("snapshot_age_ms", age)
        .with("stopped", instance.is_stopped)
}

/// Instances as they are part of something else.
pub(crate) fn json<'i>(instances: impl IntoIterator<Item = &'i Instance>) -> Value {
    instances.into_iter().map(|instance| record(instance, Format::Json).to_json()).collect()
}
