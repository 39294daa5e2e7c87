//! What a plugin says of itself: `plugin.toml`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Bundle, LoadError, Schedule};

/// A plugin's manifest, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Manifest {
    /// What the plugin is called: 1 to 64 of `a-z`, `0-9`, `-` and `_`, a letter first.
    pub name: String,
    /// What it is for, in a line.
    pub description: String,
    /// The version of the interface that it is written for.
    pub api: u32,
    /// The file with its code: `*.wasm`, or `*.rhai`.
    pub entry: String,
    /// The version of the layout of its state.
    pub schema: u32,
    /// What it is called for; there is at least one.
    pub triggers: Vec<Trigger>,
    /// What it asks for.
    pub grants: Grants,
    /// How much of everything a call may use.
    pub limits: Limits,
    /// What happens when a call that follows a commit, or a schedule, fails.
    pub on_error: ErrorPolicy,
}

/// What a plugin is called for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trigger {
    /// After commits, with what they changed: `on_commit`.
    Commit {
        /// Of which namespaces: names, `name/*` for all below one, `*` for all.
        namespaces: Vec<String>,
        /// Only keys that begin with one of these, unless there is none.
        prefixes: Vec<String>,
        /// Where to begin.
        start: Start,
    },
    /// Before a transaction commits, with what it would change: `before_commit`, which may refuse.
    BeforeCommit {
        /// As for [`Commit`](Self::Commit).
        namespaces: Vec<String>,
        /// As for [`Commit`](Self::Commit).
        prefixes: Vec<String>,
        /// What becomes of the transaction if the plugin fails instead of answering.
        on_failure: OnFailure,
    },
    /// From time to time: `on_schedule`.
    Schedule(Schedule),
    /// When it is called by name: `on_request`.
    Request,
}

/// Where a commit trigger begins when the plugin is added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the next commit.
    #[default]
    Now,
    /// With everything that is there, which it is shown as if it had just been put.
    Existing,
}

/// What becomes of a transaction whose validator fails instead of answering.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is refused.
    #[default]
    Refuse,
    /// It is committed, and the failure logged.
    Allow,
}

/// What a plugin may touch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// The namespaces it may read: names, `name/*`, `*`. What it may write it may read as well.
    pub read: Vec<String>,
    /// The namespaces it may write.
    pub write: Vec<String>,
    /// Whether it may log.
    pub log: bool,
    /// Whether it may know what time it is.
    pub clock: bool,
}

/// How much a call may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory. Default: 16 MiB; the most is 1 GiB.
    pub memory: u64,
    /// Steps: instructions of WebAssembly, operations of a script. Default: 1,000,000,000 and 10,000,000.
    pub fuel: Option<u64>,
    /// Wall time of a call. Default: 1 s; the most is a minute.
    pub time: Duration,
    /// Wall time of a call before a commit, during which nobody else commits. Default: 50 ms; the most is 1 s.
    pub before_commit_time: Duration,
    /// Wall time of `migrate`, during which nobody commits. Default: 10 s; the most is a minute.
    pub migrate_time: Duration,
    /// Bytes of keys and values that a call may write. Default: 16 MiB; the most is 64 MiB.
    pub writes: u64,
    /// Bytes of the in-memory cache. Default: 1 MiB; the most is 256 MiB.
    pub cache: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            fuel: None,
            time: Duration::from_secs(1),
            before_commit_time: Duration::from_millis(50),
            migrate_time: Duration::from_secs(10),
            writes: 16 << 20,
            cache: 1 << 20,
        }
    }
}

/// What happens when a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ErrorPolicy {
    /// It is logged, and the changes of that version are passed over.
    #[default]
    Log,
    /// It is tried again, after a time that doubles up to a bound; a new generation is tried at once.
    Retry {
        /// How often, before the plugin is disabled; `None` for ever.
        attempts: Option<u32>,
        /// How long to wait the first time.
        backoff: Duration,
        /// How long to wait at the most.
        backoff_max: Duration,
    },
    /// The plugin is disabled. It goes on where it was when it is enabled again.
    Disable,
}

impl Manifest {
    /// The name of the file.
    pub const FILE: &str = "plugin.toml";

    /// Reads the manifest of a bundle.
    pub fn of(bundle: &Bundle) -> Result<Self, LoadError> {
        let _ = bundle;
        todo!("parsed with `toml`, errors with line and column")
    }
}

impl Grants {
    /// Returns whether a namespace may be read.
    pub fn may_read(&self, namespace: &str) -> bool {
        self.may_write(namespace) || self.read.iter().any(|pattern| matches(pattern, namespace))
    }

    /// Returns whether a namespace may be written.
    pub fn may_write(&self, namespace: &str) -> bool {
        self.write.iter().any(|pattern| matches(pattern, namespace))
    }
}

/// Whether a namespace's name fits a pattern: itself, `name/*` for whatever is below, or `*`.
pub fn matches(pattern: &str, namespace: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => namespace.starts_with(start),
        None => pattern == namespace,
    }
}
