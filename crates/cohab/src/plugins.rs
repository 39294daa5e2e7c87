//! Plugins: code that is kept beside the data, called for what happens to it, and replaced while everything goes on.
//!
//! ```text
//! files ─ loader ─▶ records in the store ─▶ roster ─▶ generations ─▶ calls ─▶ effects ─▶ a batch, or a transaction
//! ```
//!
//! The store's records say what is in service, so every process agrees on it and a crash changes nothing; the roster is what
//! this process has made of them. Whoever calls – a request, a runner that follows the log, a commit that asks for approval –
//! takes a generation from the roster, lets it read and write at a [`Desk`](desk::Desk), and commits what it wrote.

mod calls;
mod desk;
mod generation;
pub(crate) mod guard;
mod journal;
mod loader;
mod records;
mod roster;
mod runner;
mod supervisor;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cohab_core::{InstanceId, Timestamp, Version};
pub use cohab_plugin::{Grants, Level, LoadError, Stage, Tier};
use serde::{Deserialize, Serialize};

pub use self::journal::PluginLogLine;
pub(crate) use self::records::cursor_again;
pub use self::records::{PluginFailure, PluginMode, PluginRecord};
use self::runner::Step;
pub(crate) use self::supervisor::{Crew, Supervisor};
use crate::{Committed, Freshness, Result, Snapshot, Store};

/// How a plugin's files are, compared with what is in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PluginSource {
    /// They are what is in service, as far as it is known.
    #[default]
    InService,
    /// They have changed, and the plugin is in production.
    Changed,
    /// They have changed, and were not taken into service: [`PluginRecord::failure`].
    Refused,
    /// They are not there.
    Missing,
    /// They cannot be read.
    Unreadable,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SourceState {
    pub(crate) source: PluginSource,
    pub(crate) since: Option<Timestamp>,
}

/// How to add a plugin.
#[derive(Clone, PartialEq, Debug, Default)]
#[must_use = "it says how to add a plugin; `Plugins::add` does"]
pub struct AddPlugin {
    pub(crate) mode: PluginMode,
    pub(crate) grants: Option<Grants>,
}

impl AddPlugin {
    /// In development, with everything that it asks for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether changes of its files are taken up by themselves. Default: they are.
    pub fn mode(mut self, mode: PluginMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets what it may touch. Default: what its manifest asks for. One that asks for more is not added.
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = Some(grants);
        self
    }
}

/// How to load a plugin's files anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use = "it says how to reload a plugin; `Plugins::reload` does"]
pub struct ReloadPlugin {
    pub(crate) grants: bool,
    pub(crate) rescan: bool,
}

impl ReloadPlugin {
    /// As they are, with what was granted before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grants what the files ask for beyond what was granted before.
    pub fn grant(mut self) -> Self {
        self.grants = true;
        self
    }

    /// Shows it everything that is there, as when it was added, before what is committed from now on. For a plugin that is so
    /// far behind that the log no longer reaches it.
    pub fn rescan(mut self) -> Self {
        self.rescan = true;
        self
    }
}

/// Everything that is known of a plugin.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// What the store says.
    #[serde(flatten)]
    pub record: PluginRecord,
    /// How the files are.
    pub source_state: PluginSource,
    /// Since when what is in service is not what the files say.
    pub stale_since: Option<Timestamp>,
    /// The error of the load or the call that failed last.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Why it does not go on by itself.
    pub stalled: Option<String>,
    /// The version that it is through with, if it follows commits.
    pub position: Option<Version>,
    /// How many versions it has not looked at yet.
    pub lag: Option<u64>,
    /// Calls in the process that runs it, since it was opened.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How long they took together, in microseconds.
    pub time_us: u64,
    /// The memory of the instance that was called last, and of the cache, in bytes.
    pub memory_bytes: u64,
    /// How many generations this process has in memory: one, and those whose last calls are not over.
    pub generations_alive: usize,
    /// The instance that these numbers are of.
    pub instance: Option<InstanceId>,
    /// Its process.
    pub pid: Option<u32>,
}

/// The plugins of a store; see [`Store::plugins`].
#[derive(Clone, Debug)]
pub struct Plugins {
    store: Store,
}

impl Store {
    /// Returns the store's plugins.
    ///
    /// The writer runs them: it calls them for what was committed and when they are due, and looks whether their files have
    /// changed, on threads of their own ([`Options::run_plugins`](crate::Options::run_plugins)). Other processes may call those that
    /// only read.
    ///
    /// ```
    /// use cohab::{AddPlugin, Store};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let plugin = dir.path().join("hello");
    /// # std::fs::create_dir(&plugin)?;
    /// # std::fs::write(plugin.join("plugin.toml"), "name = 'hello'\napi = 1\nentry = 'hello.rhai'\n[[trigger]]\non = 'request'\n")?;
    /// # std::fs::write(plugin.join("hello.rhai"), r#"fn on_request(input) { "hello, " + input }"#)?;
    /// let store = Store::open(dir.path().join("store"))?;
    /// store.plugins().add(&plugin, AddPlugin::new())?;
    /// assert_eq!(store.plugins().call("hello", b"world")?, "hello, world");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plugins(&self) -> Plugins {
        Plugins { store: self.clone() }
    }
}

impl Plugins {
    /// Adds the plugin in a directory and takes it into service. Returns what it is called.
    ///
    /// # Errors
    ///
    /// [`Kind::Plugin`](crate::Kind::Plugin) with the file and line if it is not fit for service;
    /// [`Kind::Exists`](crate::Kind::Exists) if there is one of its name; as for [`Store::write`].
    pub fn add(&self, directory: impl AsRef<Path>, options: AddPlugin) -> Result<Committed<String>> {
        loader::add(&self.store.inner, directory.as_ref(), options)
    }

    /// Loads a plugin's files as they are now, in either mode, and takes them into service if they differ. Returns the
    /// generation that is in service, and whether it is a new one.
    ///
    /// # Errors
    ///
    /// As for [`add`](Self::add); what was in service is so still.
    pub fn reload(&self, name: &str, options: ReloadPlugin) -> Result<Committed<(u64, bool)>> {
        let loaded = loader::reload(&self.store.inner, name, options)?;
        Ok(Committed { version: loaded.version, value: (loaded.generation, loaded.is_new) })
    }

    /// Removes a plugin, with its state unless that is to be kept for when it is added again.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound); as for [`Store::write`].
    pub fn remove(&self, name: &str, keeps_state: bool) -> Result<Version> {
        loader::remove(&self.store.inner, name, keeps_state)
    }

    /// Has a plugin called again that was disabled. It goes on where it was.
    pub fn enable(&self, name: &str) -> Result<Version> {
        let version = loader::change(&self.store.inner, name, |record| {
            record.enabled = true;
            record.disabled_because = None;
            Ok(())
        })?;
        self.store.inner.plugins.look_after(&self.store.inner);
        Ok(version)
    }

    /// Has a plugin called no more, until it is enabled again.
    pub fn disable(&self, name: &str) -> Result<Version> {
        loader::change(&self.store.inner, name, |record| {
            record.enabled = false;
            Ok(())
        })
    }

    /// Sets whether changes of a plugin's files are taken up by themselves.
    pub fn set_mode(&self, name: &str, mode: PluginMode) -> Result<Version> {
        loader::change(&self.store.inner, name, |record| {
            record.mode = mode;
            Ok(())
        })
    }

    /// Calls a plugin's `on_request`, commits what it writes, and returns its reply.
    ///
    /// The call sees the store as it is, and is made again if somebody writes meanwhile where it reads or writes, so it has the
    /// effect of one that had the store to itself. In a process that is not the writer a plugin may be called that only reads.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is no such plugin; [`Kind::Plugin`](crate::Kind::Plugin) if it is
    /// disabled or fails; [`Kind::ReadOnly`](crate::Kind::ReadOnly) and [`Kind::Busy`](crate::Kind::Busy) if it writes and this is not the
    /// writer.
    pub fn call(&self, name: &str, input: &[u8]) -> Result<Bytes> {
        self.store.inner.check_process()?;
        calls::call(&self.store.inner, name, input)
    }

    /// Lists the plugins by name.
    pub fn list(&self) -> Result<Vec<PluginStatus>> {
        let snapshot = self.store.inner.snapshot(Freshness::Latest)?;
        let all = records::all(&snapshot)?;
        all.into_values().map(|known| self.status(&snapshot, known.record)).collect()
    }

    /// Returns what is known of a plugin.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound).
    pub fn show(&self, name: &str) -> Result<PluginStatus> {
        let snapshot = self.store.inner.snapshot(Freshness::Latest)?;
        let known = records::all(&snapshot)?.remove(name).ok_or_else(|| roster::no_plugin(name))?;
        self.status(&snapshot, known.record)
    }

    /// Returns the last lines of a plugin's log, the oldest first: what it logged, and what became of it.
    pub fn log(&self, name: &str) -> Vec<PluginLogLine> {
        self.store.inner.directory.as_ref().map_or_else(Vec::new, |it| journal::read(&it.plugins(), name))
    }

    /// Takes up files that have changed, and calls the plugins that are behind, on this thread, until none is or the time is over.
    /// Returns how many versions the last one is behind.
    ///
    /// For a handle that opens, writes and closes; one that stays open does all this by itself.
    pub fn catch_up(&self, wait: Duration) -> Result<u64> {
        let inner = &*self.store.inner;
        let deadline = Instant::now() + wait;
        let snapshot = inner.snapshot(Freshness::Latest)?;
        let roster = inner.plugins.roster(inner, &snapshot)?;
        if roster.services.is_empty() {
            return Ok(0);
        }
        inner.writing()?;
        inner.queue.check_reentry()?;
        inner.plugins.look_at_sources(inner, true);
        let mut behind = 0;
        for name in roster.services.keys() {
            // It may be another one by now, or one that is not to be called.
            let Some(service) = inner.plugins.present().services.get(name).cloned() else { continue };
            if !service.record.enabled {
                continue;
            }
            let mut runner = runner::lock(&service.plugin.runner);
            loop {
                let Some(service) = inner.plugins.present().services.get(name).cloned() else { break };
                let step = runner.step(inner, &service)?;
                match step {
                    Step::Busy | Step::Paced if Instant::now() < deadline => {}
                    Step::Idle(_) | Step::Over => {
                        runner.settle_calls(inner, &service)?;
                        break;
                    }
                    // Its policy on errors has disabled it meanwhile.
                    Step::Stuck(_) if !service.record.enabled => break,
                    Step::Stuck(wait)
                        if Instant::now() + wait < deadline
                            && service.generation.is_ok()
                            && service.plugin.meter.stalled().is_none() =>
                    {
                        std::thread::sleep(wait);
                    }
                    Step::Busy | Step::Paced | Step::Stuck(_) => {
                        let position = service.plugin.meter.position().unwrap_or(Version::ZERO);
                        let now = inner.snapshot(Freshness::Latest)?.version();
                        behind = behind.max(now.get().saturating_sub(position.get()));
                        break;
                    }
                }
            }
        }
        Ok(behind)
    }

    fn status(&self, snapshot: &Snapshot, record: PluginRecord) -> Result<PluginStatus> {
        let inner = &*self.store.inner;
        let roster = inner.plugins.present();
        let own = roster.services.get(&record.name).filter(|_| inner.writing.load().is_some());
        let told = || inner.directory.as_ref().and_then(|it| journal::live(&it.plugins(), &record.name));
        let live = own.map(|service| supervisor::live(inner, service)).or_else(told).unwrap_or_default();
        let follows = record.enabled && record.follows();
        let stored = records::cursor(snapshot, &record.name)?.map(|(cursor, _)| cursor.version);
        let position = live.position.into_iter().chain(stored).max().filter(|_| follows);
        let lag = position.map(|position| snapshot.version().get().saturating_sub(position.get()));
        let here = own.and_then(|service| service.generation.as_ref().err());
        let of_load = record.failure.as_ref().map(|failure| (failure.at, failure.error.to_string()));
        let last = live.last_error.into_iter().chain(of_load).max_by_key(|(at, _)| *at);
        let (last_error_at, last_error) = last.unzip();
        Ok(PluginStatus {
            // What was found by a process that is gone is in the record only.
            source_state: match live.source.unwrap_or_default() {
                PluginSource::InService if record.failure.is_some() => PluginSource::Refused,
                source => source,
            },
            stale_since: record.failure.as_ref().map(|failure| failure.stale_since).or(live.source_since),
            last_error: here.map(ToString::to_string).or(last_error),
            last_error_at,
            stalled: live.stalled,
            position,
            lag,
            calls: live.calls,
            failures: live.failures,
            time_us: live.micros,
            memory_bytes: live.memory,
            generations_alive: roster
                .services
                .get(&record.name)
                .map_or(0, |service| service.plugin.meter.alive.load(std::sync::atomic::Ordering::Relaxed)),
            instance: live.instance,
            pid: Some(live.pid).filter(|pid| *pid != 0),
            record,
        })
    }
}
