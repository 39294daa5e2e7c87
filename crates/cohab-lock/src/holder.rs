//! Who holds a lock, for messages.

use std::fmt;

use cohab_core::{Clock, InstanceId, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

/// What a holder says about itself. Informs people; proves nothing.
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
}

impl Holder {
    /// Describes the present process, now.
    pub fn this_process(role: &str) -> Self {
        Self { instance: None, role: role.to_owned(), pid: std::process::id(), since: SystemClock.now() }
    }

    /// Names the instance that takes the lock.
    #[must_use]
    pub fn instance(mut self, instance: InstanceId) -> Self {
        self.instance = Some(instance);
        self
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields always serialize")
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.role.is_empty() { "a process" } else { &self.role };
        write!(f, "{role} (process {}, since {}", self.pid, self.since)?;
        if let Some(instance) = self.instance {
            write!(f, ", instance {instance}")?;
        }
        write!(f, ")")
    }
}
