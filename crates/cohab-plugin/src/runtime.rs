//! Compiling plugins, and calling them: two tiers, one contract.

mod script;
#[cfg(feature = "wasm")]
mod wasm;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cohab_core::Timestamp;

use crate::sandbox::{Access, Remains, Sandbox};
use crate::{
    Bundle, CallError, CallErrorKind, Changes, Grants, GuestCache, Host, LoadError, LogLine, Manifest, Stage,
    Trigger,
};

/// The version of the interface between plugins and host.
pub const API: u32 = 1;

/// The oldest version of the interface that the host still speaks.
pub const API_OLDEST: u32 = 1;

/// What a plugin is written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tier {
    /// A module of WebAssembly, compiled from whatever language.
    Wasm,
    /// A script in Rhai.
    Script,
}

/// Compiled code of a plugin, checked against its manifest. Clones share it.
#[derive(Clone)]
pub struct Code {
    manifest: Arc<Manifest>,
    compiled: Arc<Compiled>,
}

enum Compiled {
    Script(script::Script),
    #[cfg(feature = "wasm")]
    Wasm(wasm::Module),
}

/// Code with memory of its own, for one call at a time.
///
/// What it keeps in memory between calls is a cache and nothing more: an instance whose call did not succeed is to be dropped
/// ([`is_spent`](Self::is_spent)), and a new one begins with nothing.
pub struct Instance {
    manifest: Arc<Manifest>,
    running: Running,
    is_spent: bool,
}

#[cfg_attr(feature = "wasm", expect(clippy::large_enum_variant, reason = "instances are few and live long"))]
enum Running {
    Script(script::Instance),
    #[cfg(feature = "wasm")]
    Wasm(wasm::Instance),
}

/// What to call an instance for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Call<'a> {
    /// `on_commit`.
    Commit(&'a Changes),
    /// `before_commit`. An error of kind [`CallErrorKind::Failed`] is a refusal.
    BeforeCommit(&'a Changes),
    /// `on_request`.
    Request(&'a [u8]),
    /// `on_schedule`, with the time at which it was due.
    Schedule(Timestamp),
    /// `migrate`, with the schema that the state has.
    Migrate {
        /// The schema of the generation before.
        from: u32,
    },
    /// `check`, which every plugin may have and none has to.
    Check,
}

/// What a call came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The reply to a request, or why there is none. After an error nothing counts that was written to the host.
    pub result: Result<Vec<u8>, CallError>,
    /// What the plugin logged, also if it failed.
    pub logs: Vec<LogLine>,
    /// The time that it took.
    pub took: Duration,
}

impl Outcome {
    /// A call that could not be made.
    pub fn failed(error: CallError) -> Self {
        Self { result: Err(error), logs: Vec::new(), took: Duration::ZERO }
    }
}

/// Ends calls that are under way, from another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the calls that were made with it, within some milliseconds.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether it was used.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// When a call has to be over.
#[derive(Clone, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) limit: Duration,
    pub(crate) stop: Stop,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn new(limit: Duration, stop: &Stop) -> Self {
        Self { at: Instant::now() + limit, limit, stop: stop.clone() }
    }

    /// Returns why the call has to end, if it has to.
    pub(crate) fn check(&self) -> Result<(), CallError> {
        if self.stop.is_stopped() {
            let message = "it was stopped: a newer generation is in service";
            return Err(CallError::new(CallErrorKind::Stopped, message));
        }
        if Instant::now() >= self.at {
            let message = format!("it ran for longer than the {:?} it may", self.limit);
            return Err(CallError::new(CallErrorKind::OutOfTime, message));
        }
        Ok(())
    }
}

impl Code {
    /// Checks and compiles a bundle's code. Takes from under a millisecond (a script) to some hundred (a large module).
    ///
    /// # Errors
    ///
    /// A [`LoadError`] with the file and line where they are known: a handler that the manifest's triggers need is not there or
    /// has the wrong type, an import that the interface does not have, a language that this build does not have.
    pub fn compile(manifest: Manifest, bundle: &Bundle) -> Result<Self, LoadError> {
        let manifest = Arc::new(manifest);
        let entry = manifest.entry.as_str();
        let missing =
            || LoadError::new(Stage::Validate, "the entry is not among the plugin's files").file(entry);
        let bytes = bundle.file(entry).ok_or_else(missing)?;
        let compiled = match tier(entry)? {
            Tier::Script => Compiled::Script(script::Script::compile(&manifest, bytes)?),
            #[cfg(feature = "wasm")]
            Tier::Wasm => Compiled::Wasm(wasm::Module::compile(&manifest, bytes)?),
            #[cfg(not(feature = "wasm"))]
            Tier::Wasm => {
                let message = "this build has no WebAssembly engine: build cohab with the feature `plugins`";
                return Err(LoadError::new(Stage::Validate, message).file(entry));
            }
        };
        Ok(Self { manifest, compiled: Arc::new(compiled) })
    }

    /// Returns the manifest that it was compiled with.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Returns what it is written in.
    pub fn tier(&self) -> Tier {
        match *self.compiled {
            Compiled::Script(_) => Tier::Script,
            #[cfg(feature = "wasm")]
            Compiled::Wasm(_) => Tier::Wasm,
        }
    }

    /// Makes an instance. What it runs on the way is under the limits of a call.
    #[cfg_attr(not(feature = "wasm"), expect(clippy::unnecessary_wraps, reason = "a module's may fail"))]
    pub fn instantiate(&self) -> Result<Instance, CallError> {
        let running = match &*self.compiled {
            Compiled::Script(script) => Running::Script(script.instantiate()),
            #[cfg(feature = "wasm")]
            Compiled::Wasm(module) => Running::Wasm(module.instantiate(&self.manifest)?),
        };
        Ok(Instance { manifest: self.manifest.clone(), running, is_spent: false })
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("name", &self.manifest.name)
            .field("tier", &self.tier())
            .finish_non_exhaustive()
    }
}

/// Tells from a file's name what is in it.
pub(crate) fn tier(entry: &str) -> Result<Tier, LoadError> {
    match entry.rsplit_once('.').map(|(_, extension)| extension) {
        Some("wasm") => Ok(Tier::Wasm),
        Some("rhai") => Ok(Tier::Script),
        _ => {
            Err(LoadError::new(Stage::Validate, "an entry is a `.wasm` module or a `.rhai` script")
                .file(entry))
        }
    }
}

impl Instance {
    /// Calls a handler, under the limits of the manifest and with the authority of `grants`.
    ///
    /// A handler that is not there does nothing for [`Call::Check`], and for [`Call::Migrate`] is an error.
    pub fn call(
        &mut self,
        call: Call<'_>,
        host: &mut dyn Host,
        grants: &Grants,
        cache: &GuestCache,
        stop: &Stop,
    ) -> Outcome {
        let begin = Instant::now();
        let limit = self.manifest.limits.of(&call);
        let deadline = Deadline::new(limit, stop);
        let mut sandbox = Sandbox::new(host, grants, &self.manifest, cache, call.access());
        let manifest = &*self.manifest;
        let ended = sandbox.enter(|| match &mut self.running {
            Running::Script(script) => script.call(manifest, &call, &deadline),
            #[cfg(feature = "wasm")]
            Running::Wasm(module) => module.call(manifest, &call, &deadline),
        });
        let Remains { logs, reply, failure, denied } = sandbox.end();
        // What it was denied says more than the trap that came of it.
        let result = match (denied, ended) {
            (Some(denied), _) => Err(denied),
            (None, Ok(Answer::Done)) => Ok(reply),
            (None, Ok(Answer::Failed)) => {
                let message = failure.unwrap_or_else(|| format!("`{}` says that it failed", call.handler()));
                Err(CallError::new(CallErrorKind::Failed, message))
            }
            (None, Err(error)) => Err(error),
        };
        let is_plain =
            |error: &CallError| matches!(error.kind, CallErrorKind::Failed | CallErrorKind::NoHandler);
        self.is_spent |= result.as_ref().is_err_and(|error| !is_plain(error));
        Outcome { result, logs, took: begin.elapsed() }
    }

    /// Returns whether a call ended so that the instance is of no more use.
    pub fn is_spent(&self) -> bool {
        self.is_spent
    }

    /// Returns how many bytes of memory it occupies, as far as that is known.
    pub fn memory_bytes(&self) -> u64 {
        match &self.running {
            Running::Script(_) => 0,
            #[cfg(feature = "wasm")]
            Running::Wasm(module) => module.memory_bytes(),
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("name", &self.manifest.name).finish_non_exhaustive()
    }
}

/// What a handler said.
pub(crate) enum Answer {
    Done,
    /// It failed, or refuses; the sandbox knows the reason if it gave one.
    Failed,
}

impl Call<'_> {
    /// Returns the name of the handler.
    pub fn handler(&self) -> &'static str {
        match self {
            Self::Commit(_) => "on_commit",
            Self::BeforeCommit(_) => "before_commit",
            Self::Request(_) => "on_request",
            Self::Schedule(_) => "on_schedule",
            Self::Migrate { .. } => "migrate",
            Self::Check => "check",
        }
    }

    fn access(&self) -> Access {
        match self {
            Self::BeforeCommit(_) => Access::ReadOnly("before a commit"),
            Self::Check => Access::ReadOnly("in its check"),
            _ => Access::Full,
        }
    }
}

impl Trigger {
    /// Returns the name of the handler that it needs.
    pub fn handler(&self) -> &'static str {
        match self {
            Self::Commit { .. } => "on_commit",
            Self::BeforeCommit { .. } => "before_commit",
            Self::Schedule(_) => "on_schedule",
            Self::Request => "on_request",
        }
    }
}

impl crate::Limits {
    fn of(&self, call: &Call<'_>) -> Duration {
        match call {
            Call::BeforeCommit(_) => self.before_commit_time,
            Call::Migrate { .. } | Call::Check => self.migrate_time,
            _ => self.time,
        }
    }
}
