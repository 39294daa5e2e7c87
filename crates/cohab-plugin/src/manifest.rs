//! What a plugin says of itself: `plugin.toml`.

mod parse;

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

    /// Returns whether a plugin may be called like that. Such a name is fit for paths, threads and messages.
    pub fn is_name(text: &str) -> bool {
        parse::is_name(text)
    }

    /// Reads the manifest of a bundle.
    ///
    /// # Errors
    ///
    /// There is none, or something in it is not as it has to be; the error says in which line.
    pub fn of(bundle: &Bundle) -> Result<Self, LoadError> {
        parse::parse(bundle)
    }

    /// Returns what the plugin gets to see and to do once it is added: its grants, and to read what its triggers show it.
    pub fn asks_for(&self) -> Grants {
        let mut asked = self.grants.clone();
        for trigger in &self.triggers {
            let (Trigger::Commit { namespaces, .. } | Trigger::BeforeCommit { namespaces, .. }) = trigger
            else {
                continue;
            };
            for namespace in namespaces {
                if !asked.covers_read(namespace) {
                    asked.read.push(namespace.clone());
                }
            }
        }
        asked
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

    /// Returns what of `asked` is not granted here, as texts such as ``write `orders` `` and `the clock`.
    pub fn lacking(&self, asked: &Self) -> Vec<String> {
        let reads = asked.read.iter().filter(|pattern| !self.covers_read(pattern));
        let writes = asked.write.iter().filter(|pattern| !covers(&self.write, pattern));
        let mut lacking: Vec<_> = reads.map(|pattern| format!("read `{pattern}`")).collect();
        lacking.extend(writes.map(|pattern| format!("write `{pattern}`")));
        lacking.extend((asked.log && !self.log).then(|| "the log".to_owned()));
        lacking.extend((asked.clock && !self.clock).then(|| "the clock".to_owned()));
        lacking
    }

    /// Returns what is granted here or there.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.read.extend(other.read.iter().filter(|pattern| !self.covers_read(pattern)).cloned());
        union.write.extend(other.write.iter().filter(|pattern| !covers(&self.write, pattern)).cloned());
        union.log |= other.log;
        union.clock |= other.clock;
        union
    }

    fn covers_read(&self, asked: &str) -> bool {
        covers(&self.read, asked) || covers(&self.write, asked)
    }
}

/// Whether a namespace's name fits a pattern: itself, `name/*` for whatever is below it, or `*` for all. Names that are
/// reserved fit none.
pub fn matches(pattern: &str, namespace: &str) -> bool {
    if namespace.is_empty() || namespace.starts_with('_') {
        return false;
    }
    if pattern == "*" {
        return true;
    }
    match pattern.strip_suffix('*') {
        Some(start) if start.ends_with('/') => namespace.len() > start.len() && namespace.starts_with(start),
        _ => pattern == namespace,
    }
}

/// Whether all that a pattern may stand for is covered by one of others.
fn covers(patterns: &[String], asked: &str) -> bool {
    // What is below a name is below whatever the name itself is below.
    let name = asked.strip_suffix("/*").unwrap_or(asked);
    patterns.iter().any(|held| held == asked || (asked != "*" && held.ends_with('*') && matches(held, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names() {
        let check = |pattern, fits: &[&str], others: &[&str]| {
            for name in fits {
                assert!(matches(pattern, name), "{pattern} {name}");
            }
            for name in others {
                assert!(!matches(pattern, name), "{pattern} {name}");
            }
        };
        check("a", &["a"], &["", "b", "a/b", "aa", "A"]);
        check("a/*", &["a/b", "a/b/c"], &["a", "a/", "ab", "aa/b", "b/a/c", ""]);
        check("*", &["a", "a/b"], &["", "_", "_plugins", "_plugins/a"]);
        check("_plugins/*", &[], &["_plugins/a"]);
        check("_plugins", &[], &["_plugins"]);
    }

    fn grants(read: &[&str], write: &[&str], log: bool, clock: bool) -> Grants {
        let own = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Grants { read: own(read), write: own(write), log, clock }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let check = |held: &Grants, asked: &Grants, lacking: &[&str]| {
            assert_eq!(held.lacking(asked), lacking, "{held:?} {asked:?}");
        };
        let nothing = Grants::default();
        let all = grants(&["*"], &["*"], true, true);
        let asked = grants(&["a", "a/*", "*"], &["b/c/*"], true, true);
        check(&nothing, &nothing, &[]);
        check(&all, &asked, &[]);
        check(&asked, &asked, &[]);
        check(
            &nothing,
            &asked,
            &["read `a`", "read `a/*`", "read `*`", "write `b/c/*`", "the log", "the clock"],
        );
        // What may be written may be read, and not the other way around.
        check(&grants(&[], &["a"], false, true), &grants(&["a"], &[], false, false), &[]);
        check(&grants(&["*"], &[], false, false), &grants(&[], &["a"], false, false), &["write `a`"]);
        // All below a name is not the name, and a name is nothing below it.
        check(&grants(&["a/*"], &[], true, false), &grants(&["a/b", "a/b/*", "a/*"], &[], true, false), &[]);
        check(
            &grants(&["a/*"], &[], true, false),
            &grants(&["a", "*", "aa/*"], &[], true, false),
            &["read `a`", "read `*`", "read `aa/*`"],
        );
        check(
            &grants(&["a", "a/b"], &[], true, false),
            &grants(&["a/*", "a/b/*"], &[], true, false),
            &["read `a/*`", "read `a/b/*`"],
        );
    }
}
