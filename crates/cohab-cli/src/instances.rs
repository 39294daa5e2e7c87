//! Instances, as they are printed.

use std::time::Duration;

#[cfg(feature = "scripts")]
use cohab::PluginStatus;
use cohab::{CacheRecord, Clock, Instance, SystemClock};
use serde_json::{Value, json};

use crate::terminal::{Cell, Format, Record, age, percent, size};

/// The fields that a table of instances shows, which are few enough for a hundred columns.
const COLUMNS: &[&str] =
    &["role", "pid", "app", "label", "ports", "up", "version", "snapshot", "hits", "cache", "id"];

/// The same where there are plugins.
#[cfg(feature = "scripts")]
const COLUMNS_WITH_PLUGINS: &[&str] =
    &["role", "pid", "app", "label", "ports", "up", "version", "snapshot", "hits", "cache", "plugins", "id"];

/// The plugins of a store, each of which one instance runs.
#[derive(Debug, Default)]
pub(crate) struct Running {
    #[cfg(feature = "scripts")]
    plugins: Vec<PluginStatus>,
}

impl Running {
    #[cfg(feature = "scripts")]
    pub(crate) fn new(plugins: Vec<PluginStatus>) -> Self {
        Self { plugins }
    }

    /// Returns the columns of a table of instances.
    #[cfg_attr(
        not(feature = "scripts"),
        expect(clippy::unused_self, reason = "without plugins there is one set of columns")
    )]
    pub(crate) fn columns(&self) -> &'static [&'static str] {
        #[cfg(feature = "scripts")]
        if !self.plugins.is_empty() {
            return COLUMNS_WITH_PLUGINS;
        }
        COLUMNS
    }

    /// Adds to an instance what it runs.
    fn with(&self, record: Record<'static>, instance: &Instance, format: Format) -> Record<'static> {
        #[cfg(feature = "scripts")]
        {
            let own = self.plugins.iter().filter(|plugin| plugin.instance == Some(instance.id));
            record.with(
                "plugins",
                match format {
                    Format::Table => own.map(plugin_told).collect::<Vec<_>>().join(", ").into(),
                    _ => Cell::Json(own.map(plugin_json).collect()),
                },
            )
        }
        #[cfg(not(feature = "scripts"))]
        {
            _ = (self, instance, format);
            record
        }
    }
}

#[cfg(feature = "scripts")]
fn plugin_json(plugin: &PluginStatus) -> Value {
    json!({
        "name": plugin.record.name,
        "generation": plugin.record.generation,
        "enabled": plugin.record.enabled,
        "lag": plugin.lag,
        "last_error": plugin.last_error,
    })
}

#[cfg(feature = "scripts")]
fn plugin_told(plugin: &PluginStatus) -> String {
    let lag = plugin.lag.filter(|lag| *lag > 0).map(|lag| format!("{lag} behind"));
    let notes = [
        (!plugin.record.enabled).then(|| "disabled".to_owned()),
        lag,
        plugin.last_error.as_ref().map(|error| format!("error: {error}")),
    ];
    let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let notes = if notes.is_empty() { notes } else { format!(" ({notes})") };
    format!("{} g{}{notes}", plugin.record.name, plugin.record.generation)
}

/// An instance as a result.
pub(crate) fn record(instance: &Instance, running: &Running, format: Format) -> Record<'static> {
    let record = if format == Format::Table { for_people(instance) } else { for_programs(instance, format) };
    running.with(record, instance, format)
}

/// Instances as they are part of something else.
pub(crate) fn json<'i>(instances: impl IntoIterator<Item = &'i Instance>, running: &Running) -> Value {
    instances.into_iter().map(|instance| record(instance, running, Format::Json).to_json()).collect()
}

fn for_programs(instance: &Instance, format: Format) -> Record<'static> {
    let said = &instance.record;
    // An empty text is one that the instance did not say.
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ports: Vec<Value> = match format {
        Format::Raw => ports(instance).into_iter().map(Value::from).collect(),
        _ => said.ports.iter().map(|port| json!({ "name": port.name, "port": port.port })).collect(),
    };
    let age = snapshot_age(instance).map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
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
        .with("cache", said.cache.as_ref().map(cache))
}

fn cache(cache: &CacheRecord) -> Value {
    json!({
        "budget": cache.budget,
        "bytes": cache.bytes,
        "hits": cache.hits,
        "misses": cache.misses,
        "refusals": cache.refusals,
        "evictions": cache.evictions,
        "invalidations": cache.invalidations,
        "entries": cache.entries,
    })
}

/// In fewer columns: what belongs together shares one, and times are how long ago.
fn for_people(instance: &Instance) -> Record<'static> {
    let said = &instance.record;
    let role = if instance.is_stopped { format!("{}, stopped", said.role) } else { said.role.clone() };
    let app =
        if said.channel.is_empty() { said.app.clone() } else { format!("{}/{}", said.app, said.channel) };
    // An instance whose record cannot be read has not begun in 1970.
    let up = (said.pid != 0).then(|| age(SystemClock.now().since(said.started)));
    Record::new()
        .with("id", instance.id.to_string())
        .with("role", role)
        .with("pid", u64::from(said.pid))
        .with("app", app)
        .with("label", said.label.clone())
        .with("ports", ports(instance).join(", "))
        .with("up", up)
        .with("version", said.version)
        .with("snapshot", snapshot_age(instance).map(age))
        .with("hits", said.cache.as_ref().and_then(CacheRecord::hit_rate).map(percent))
        .with("cache", said.cache.as_ref().map(|cache| size(cache.bytes)))
}

fn ports(instance: &Instance) -> Vec<String> {
    instance.record.ports.iter().map(|port| format!("{}={}", port.name, port.port)).collect()
}

/// Returns for how long the oldest snapshot has been kept.
fn snapshot_age(instance: &Instance) -> Option<Duration> {
    instance.record.snapshot_since.map(|since| SystemClock.now().since(since))
}
