//! Who holds a lock, for messages.

use std::fmt::{self, Write};
use std::path::Path;

use cohab_core::limits::{HOLDER_BYTES_MAX, HOLDER_TEXT_SHOWN_MAX};
use cohab_core::{Clock, InstanceId, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

/// What a holder says about itself. Informs people; proves nothing.
///
/// Shown with [`Display`](fmt::Display), a text is cut short and cleared of control characters, because it was read
/// from a file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// The instance, if it has an identity.
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// What it does, such as `writer`.
    pub role: String,
    /// Its process id, as it was when the lock was taken.
    pub pid: u32,
    /// When it took the lock.
    pub since: Timestamp,
    /// The application, such as `jobs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The channel that the application was built for, such as `nightly`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The application's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// What a person called the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Holder {
    /// Describes the present process, now.
    pub fn this_process(role: &str) -> Self {
        let (role, pid, since) = (role.to_owned(), std::process::id(), SystemClock.now());
        Self { role, pid, since, ..Self::default() }
    }

    /// Names the instance that takes the lock.
    #[must_use]
    pub fn instance(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }

    /// Names the application.
    #[must_use]
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = Some(app.into());
        self
    }

    /// Names the channel that the application was built for.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// States the application's version.
    #[must_use]
    pub fn app_version(mut self, version: impl Into<String>) -> Self {
        self.app_version = Some(version.into());
        self
    }

    /// States what a person called the instance.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The same, but now.
    pub(crate) fn since_now(&self) -> Self {
        Self { since: SystemClock.now(), ..self.clone() }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialize")
    }

    /// Reads a record, if there is one that can be read.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        Self::from_json(&cohab_fs::read_small(path, HOLDER_BYTES_MAX).ok()?)
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.role.is_empty() { "a process" } else { &self.role };
        write!(f, "{} (process {}, since {}", Shown(role), self.pid, self.since)?;
        if let Some(instance) = self.instance {
            write!(f, ", instance {instance}")?;
        }
        if let Some(channel) = &self.channel {
            write!(f, ", channel {}", Shown(channel))?;
        }
        write!(f, ")")
    }
}

/// A text of unknown origin, fit for one line of a terminal.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(HOLDER_TEXT_SHOWN_MAX) {
            f.write_char(if character.is_control() { char::REPLACEMENT_CHARACTER } else { character })?;
        }
        if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_holder_says_is_shown_short_and_on_one_line() {
        let me = Holder { pid: 7, ..Holder::default() };
        assert_eq!(me.to_string(), "a process (process 7, since 1970-01-01T00:00:00Z)");
        let me = Holder { role: "a\n\x1b[31m".into(), ..me }.channel("x".repeat(1000)).label("desk");
        let long = "x".repeat(HOLDER_TEXT_SHOWN_MAX);
        assert_eq!(
            me.to_string(),
            format!("a\u{fffd}\u{fffd}[31m (process 7, since 1970-01-01T00:00:00Z, channel {long}…)")
        );
    }

    #[test]
    fn older_and_newer_records_are_read() {
        let read = |json: &str| serde_json::from_str::<Holder>(json).ok();
        let old = read(r#"{"instance":null,"role":"writer","pid":7,"since":1}"#).expect("is a record");
        assert_eq!((old.role.as_str(), old.pid, &old.app), ("writer", 7, &None));
        let new = read(r#"{"role":"writer","pid":7,"since":1,"app":"jobs","mood":["new"]}"#);
        assert_eq!(new.and_then(|new| new.app).as_deref(), Some("jobs"));
        assert_eq!(old.to_json(), br#"{"instance":null,"role":"writer","pid":7,"since":1}"#);
    }
}
