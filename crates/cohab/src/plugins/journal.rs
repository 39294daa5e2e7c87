//! What plugins log, and what is counted of them, in files beside the store.
//!
//! Hints: whoever cannot write them loses a line or a number, never data. A log is a file of JSON lines that is begun anew when
//! it is large, the one before it being kept.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cohab_core::{InstanceId, Timestamp, Version};
use cohab_fs::Access;
use cohab_plugin::{Level, LogLine};
use serde::{Deserialize, Serialize};

use crate::store::Inner;

/// How long a log grows before it is begun anew.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// The longest text of a line, in bytes.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// The longest file of numbers that is read, in bytes.
const LIVE_BYTES_MAX: usize = 64 << 10;

/// A line of a plugin's log: what it said itself, or what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginLogLine {
    /// When it was written.
    pub at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// The generation that said it, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// What it says.
    pub text: String,
}

/// Writes to a plugin's log what becomes of it.
pub(crate) fn note(inner: &Inner, plugin: &str, level: Level, text: String) {
    let Some(directory) = &inner.directory else { return };
    let line = PluginLogLine { at: inner.options.clock.now(), level, generation: None, text };
    append(&directory.plugins(), plugin, std::iter::once(line));
}

/// Writes to a plugin's log what a call has logged.
pub(crate) fn note_logs(inner: &Inner, plugin: &str, generation: u64, logs: &[LogLine]) {
    let Some(directory) = inner.directory.as_ref().filter(|_| !logs.is_empty()) else { return };
    let (at, generation) = (inner.options.clock.now(), Some(generation));
    let lines = logs.iter().map(|LogLine { level, text }| {
        let (level, text) = (*level, text.clone());
        PluginLogLine { at, level, generation, text }
    });
    append(&directory.plugins(), plugin, lines);
}

/// Adds lines to a plugin's log.
fn append(dir: &Path, plugin: &str, lines: impl Iterator<Item = PluginLogLine>) {
    let mut text = Vec::new();
    for mut line in lines {
        let end = line.text.floor_char_boundary(TEXT_BYTES_MAX);
        line.text.truncate(end);
        // It has no part that could not be written.
        let _ = serde_json::to_writer(&mut text, &line);
        text.push(b'\n');
    }
    if text.is_empty() || cohab_fs::create_dir(dir).is_err() {
        return;
    }
    let path = log_path(dir, plugin);
    if path.symlink_metadata().is_ok_and(|metadata| metadata.len() >= LOG_BYTES_MAX) {
        let _ = fs::rename(&path, path.with_extension("log.1"));
    }
    // In one call, so that lines of several processes do not mix.
    if let Ok(mut file) = cohab_fs::open(&path, Access::Append) {
        let _ = file.write_all(&text);
    }
}

/// Reads a plugin's log, the oldest line first. What cannot be read is left out, and what is no plugin's name has none.
pub(crate) fn read(dir: &Path, plugin: &str) -> Vec<PluginLogLine> {
    if plugin.contains(['/', '\\', '.']) {
        return Vec::new();
    }
    let path = log_path(dir, plugin);
    let mut lines = Vec::new();
    for path in [path.with_extension("log.1"), path] {
        let text = cohab_fs::read_small(&path, 4 * usize::try_from(LOG_BYTES_MAX).unwrap_or(1 << 20));
        let text = text.unwrap_or_default();
        lines.extend(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
    }
    lines
}

/// Removes what there is of a plugin.
pub(crate) fn remove(dir: &Path, plugin: &str) {
    let path = log_path(dir, plugin);
    for path in [path.with_extension("log.1"), live_path(dir, plugin), path] {
        let _ = fs::remove_file(path);
    }
}

/// What the process that runs a plugin says of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Live {
    pub(crate) name: String,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) pid: u32,
    pub(crate) generation: u64,
    pub(crate) hash: String,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) micros: u64,
    pub(crate) memory: u64,
    pub(crate) position: Option<Version>,
    pub(crate) stalled: Option<String>,
    pub(crate) last_error: Option<(Timestamp, String)>,
    pub(crate) source: Option<super::PluginSource>,
    pub(crate) source_since: Option<Timestamp>,
}

pub(crate) fn publish(dir: &Path, live: &Live) {
    if cohab_fs::create_dir(dir).is_ok()
        && let Ok(text) = serde_json::to_vec(live)
    {
        let _ = cohab_fs::replace_hint(&live_path(dir, &live.name), &text);
    }
}

pub(crate) fn live(dir: &Path, plugin: &str) -> Option<Live> {
    serde_json::from_slice(&cohab_fs::read_small(&live_path(dir, plugin), LIVE_BYTES_MAX).ok()?).ok()
}

fn log_path(dir: &Path, plugin: &str) -> PathBuf {
    dir.join(format!("{plugin}.log"))
}

fn live_path(dir: &Path, plugin: &str) -> PathBuf {
    dir.join(format!("{plugin}.json"))
}
