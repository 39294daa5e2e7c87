//! One call's authority: what the plugin was granted, what the call allows, and what it has used up.
//!
//! Both tiers reach the [`Host`] through here, so a rule is written once. The functions that a plugin imports know no call,
//! only the thread they run on; [`Sandbox::enter`] lends it to them for the time of the call.

use std::ops::ControlFlow;

use cohab_core::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX, VALUE_BYTES_MAX};
use cohab_core::{Name, Timestamp};
use scoped_tls_hkt::scoped_thread_local;

use crate::manifest::Manifest;
use crate::{CallError, CallErrorKind, Grants, GuestCache, Host, HostError, Level, LogLine};

/// The most lines that one call may log.
const LOG_LINES_MAX: usize = 64;

/// The longest line of them, in bytes.
const LOG_LINE_BYTES_MAX: usize = 4 << 10;

/// What each write counts for beside its names and bytes.
const WRITE_BYTES: usize = 32;

/// The longest reply to a request, in bytes.
pub(crate) const REPLY_BYTES_MAX: usize = 16 << 20;

/// The longest message that a plugin may fail with, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

/// The most entries, and the most bytes of them, that one scan returns.
pub(crate) const SCAN_ENTRIES_MAX: usize = 10_000;
pub(crate) const SCAN_BYTES_MAX: usize = 1 << 20;

scoped_thread_local!(static mut CURRENT: for<'a> &'a mut (dyn Guest + 'a));

/// What a plugin may ask for during a call.
pub(crate) trait Guest {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Denied>;
    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), Denied>;
    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, Denied>;
    /// Shows at most `limit` entries, at most [`SCAN_BYTES_MAX`] bytes of them but at least one.
    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Denied>;
    fn cache_get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool;
    /// Zero milliseconds: until there is no room for it.
    fn cache_put(&mut self, key: &[u8], value: &[u8], ttl_ms: u64);
    fn log(&mut self, level: Level, text: &str) -> Result<(), Denied>;
    fn now(&mut self) -> Result<Timestamp, Denied>;
    fn reply(&mut self, bytes: &[u8]) -> Result<(), Denied>;
    /// Says why the call fails, or why the transaction is refused.
    fn fail(&mut self, message: &str);
}

/// The call did what it may not, or the host could not do it. What it was is kept in the sandbox: the call ends.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the call may not go on")]
pub(crate) struct Denied;

/// Runs `f` with the sandbox of the call that this thread is in.
pub(crate) fn with<T>(f: impl FnOnce(&mut dyn Guest) -> T) -> T {
    CURRENT.with(f)
}

/// What the call is for, as far as it decides what it may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Reads and writes.
    Full,
    /// Reads only: before a commit, and for a check.
    ReadOnly(&'static str),
}

/// The authority of one call.
pub(crate) struct Sandbox<'h> {
    host: &'h mut dyn Host,
    grants: &'h Grants,
    cache: &'h GuestCache,
    access: Access,
    writes_left: u64,
    logs: Vec<LogLine>,
    reply: Vec<u8>,
    failure: Option<String>,
    denied: Option<CallError>,
}

/// What is left of a sandbox after the call.
pub(crate) struct Remains {
    pub(crate) logs: Vec<LogLine>,
    pub(crate) reply: Vec<u8>,
    /// What the plugin says went wrong.
    pub(crate) failure: Option<String>,
    /// What it was denied: that ends a call as an error whatever the plugin makes of it.
    pub(crate) denied: Option<CallError>,
}

impl<'h> Sandbox<'h> {
    pub(crate) fn new(
        host: &'h mut dyn Host,
        grants: &'h Grants,
        manifest: &Manifest,
        cache: &'h GuestCache,
        access: Access,
    ) -> Self {
        Self {
            host,
            grants,
            cache,
            access,
            writes_left: manifest.limits.writes,
            logs: Vec::new(),
            reply: Vec::new(),
            failure: None,
            denied: None,
        }
    }

    /// Lends the sandbox to the functions that plugins import, on this thread, while `f` runs.
    pub(crate) fn enter<T>(&mut self, f: impl FnOnce() -> T) -> T {
        CURRENT.set(self, f)
    }

    pub(crate) fn end(self) -> Remains {
        let Self { logs, reply, failure, denied, .. } = self;
        Remains { logs, reply, failure, denied }
    }

    fn deny(&mut self, kind: CallErrorKind, message: impl Into<String>) -> Denied {
        self.denied.get_or_insert_with(|| CallError::new(kind, message));
        Denied
    }

    fn forbid(&mut self, message: impl Into<String>) -> Denied {
        self.deny(CallErrorKind::Forbidden, message)
    }

    fn host_failed(&mut self, error: HostError) -> Denied {
        let message = error.to_string();
        let error = CallError { kind: CallErrorKind::Host, message, source: Some(error) };
        self.denied.get_or_insert(error);
        Denied
    }

    fn check_name(&mut self, namespace: &str) -> Result<(), Denied> {
        if namespace.len() <= NAME_BYTES_MAX {
            return Ok(());
        }
        let message =
            format!("it names a namespace with {} bytes, the most is {NAME_BYTES_MAX}", namespace.len());
        Err(self.forbid(message))
    }

    fn check_key(&mut self, key: &[u8]) -> Result<(), Denied> {
        if key.len() <= KEY_BYTES_MAX {
            return Ok(());
        }
        let message = format!("it names a key of {} bytes, the most is {KEY_BYTES_MAX}", key.len());
        Err(self.forbid(message))
    }

    /// The plugin's own state, which the empty name stands for, needs no grant.
    fn check_read(&mut self, namespace: &str, key: &[u8]) -> Result<(), Denied> {
        // Whoever was denied something once gets no further, even if it drops the error.
        if self.denied.is_some() {
            return Err(Denied);
        }
        self.check_name(namespace)?;
        if !namespace.is_empty() && !self.grants.may_read(namespace) {
            return Err(self.forbid(format!(
                "it reads namespace `{namespace}`, which it was not granted (`[grants] read`)"
            )));
        }
        self.check_key(key)
    }

    fn check_write(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        if self.denied.is_some() {
            return Err(Denied);
        }
        match self.access {
            Access::Full => {}
            Access::ReadOnly(when) => {
                return Err(self.forbid(format!("it writes {when}, where it may only read")));
            }
        }
        self.check_name(namespace)?;
        if !namespace.is_empty() && !self.grants.may_write(namespace) {
            return Err(self.forbid(format!(
                "it writes to namespace `{namespace}`, which it was not granted (`[grants] write`)"
            )));
        }
        self.check_key(key)?;
        if value.len() > VALUE_BYTES_MAX {
            let message =
                format!("it writes a value of {} bytes, the most is {VALUE_BYTES_MAX}", value.len());
            return Err(self.forbid(message));
        }
        // A pattern grants names that are none.
        let is_named = namespace.is_empty() || self.grants.write.iter().any(|name| name == namespace);
        if !is_named && let Err(error) = Name::new(namespace) {
            return Err(self.forbid(format!("it writes to what is no namespace: {error}")));
        }
        let bytes = WRITE_BYTES + namespace.len() + key.len() + value.len();
        match self.writes_left.checked_sub(bytes as u64) {
            Some(left) => self.writes_left = left,
            None => return Err(self.forbid("it writes more than a call may (`[limits] writes`)")),
        }
        Ok(())
    }
}

impl Guest for Sandbox<'_> {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, Denied> {
        self.check_read(namespace, key)?;
        self.host.get(namespace, key, found).map_err(|error| self.host_failed(error))
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), Denied> {
        self.check_write(namespace, key, value)?;
        self.host.put(namespace, key, value).map_err(|error| self.host_failed(error))
    }

    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, Denied> {
        self.check_write(namespace, key, &[])?;
        self.host.delete(namespace, key).map_err(|error| self.host_failed(error))
    }

    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Denied> {
        self.check_read(namespace, prefix)?;
        let (mut entries, mut bytes) = (limit.min(SCAN_ENTRIES_MAX), 0);
        if entries == 0 {
            return Ok(());
        }
        let mut show = |key: &[u8], value: &[u8]| {
            bytes += key.len() + value.len();
            visit(key, value);
            entries -= 1;
            if entries == 0 || bytes >= SCAN_BYTES_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        self.host.scan(namespace, prefix, from, &mut show).map_err(|error| self.host_failed(error))
    }

    fn cache_get(&mut self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> bool {
        self.cache.get(key, found)
    }

    fn cache_put(&mut self, key: &[u8], value: &[u8], ttl_ms: u64) {
        self.cache.put(key, value, ttl_ms);
    }

    fn log(&mut self, level: Level, text: &str) -> Result<(), Denied> {
        if self.denied.is_some() {
            return Err(Denied);
        }
        if !self.grants.log {
            return Err(self.forbid("it logs, which it was not granted (`[grants] log`)"));
        }
        match self.logs.len() {
            ..LOG_LINES_MAX => self.logs.push(LogLine { level, text: shorten(text, LOG_LINE_BYTES_MAX) }),
            LOG_LINES_MAX => {
                let text = format!("more than {LOG_LINES_MAX} lines in one call; the rest is left out");
                self.logs.push(LogLine { level: Level::Warn, text });
            }
            _ => {}
        }
        Ok(())
    }

    fn now(&mut self) -> Result<Timestamp, Denied> {
        if !self.grants.clock {
            return Err(self.forbid("it asks for the time, which it was not granted (`[grants] clock`)"));
        }
        Ok(self.host.now())
    }

    fn reply(&mut self, bytes: &[u8]) -> Result<(), Denied> {
        if bytes.len() > REPLY_BYTES_MAX {
            let message = format!("it replies with {} bytes, the most is {REPLY_BYTES_MAX}", bytes.len());
            return Err(self.forbid(message));
        }
        self.reply.clear();
        self.reply.extend_from_slice(bytes);
        Ok(())
    }

    fn fail(&mut self, message: &str) {
        self.failure = Some(shorten(message, MESSAGE_BYTES_MAX));
    }
}

/// The beginning of a text, in whole characters.
fn shorten(text: &str, bytes: usize) -> String {
    let end = text.floor_char_boundary(bytes);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", &text[..end])
}
