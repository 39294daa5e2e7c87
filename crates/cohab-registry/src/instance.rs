//! An instance as others see it.

use std::fmt;
use std::fs;

use cohab_core::InstanceId;

use crate::Record;

/// An instance that somebody looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Instance {
    /// Its id, from the name of its lock.
    pub id: InstanceId,
    /// What it says about itself.
    pub record: Record,
    /// Whether its process seems to be stopped (`SIGSTOP`, or a debugger). A hint for messages, and on Linux only: the
    /// process id that it is taken from can be another's.
    pub is_stopped: bool,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, record: Record) -> Self {
        let is_stopped = record.pid != 0 && is_stopped(record.pid);
        Self { id, record, is_stopped }
    }
}

/// Reads the state from `<pid> (<name>) <state> …`, where the name can hold anything, parentheses included.
fn is_stopped(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('T' | 't'))
}

/// For messages: `writer of shop/nightly (process 4711, since 2026-01-31T08:15:00Z, instance 0197…)`.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { role, pid, started, app, channel, .. } = &self.record;
        f.write_str(if role.is_empty() { "an instance" } else { role })?;
        if !app.is_empty() {
            write!(f, " of {app}")?;
            if !channel.is_empty() {
                write!(f, "/{channel}")?;
            }
        }
        f.write_str(" (")?;
        if *pid != 0 {
            let stopped = if self.is_stopped { ", stopped" } else { "" };
            write!(f, "process {pid}{stopped}, since {started}, ")?;
        }
        write!(f, "instance {})", self.id)
    }
}
