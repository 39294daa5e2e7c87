//! What looks after the plugins of a handle: who is in service, who runs, whose files have changed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use cohab_core::{NamespaceId, Version};
use cohab_fs::fork::{self, Generation as Process};
use cohab_plugin::Level;

use super::generation::Generation;
use super::journal::{self, Live};
use super::loader::{self, How};
use super::records::{self, PluginMode, RECORDS};
use super::roster::{self, Plugin, Prepared, Roster, Service};
use super::runner::{self, Step};
use super::{PluginSource, SourceState};
use crate::coordination::NAMES_CHANGED;
use crate::store::Inner;
use crate::{Freshness, Result, Snapshot};

/// How often the files of plugins in development are looked at.
const DEVELOPMENT_TICK: Duration = Duration::from_millis(40);

/// How often everything else is.
const TICK: Duration = Duration::from_millis(250);

/// How often numbers are told, and the files of plugins in production looked at.
const SECOND: Duration = Duration::from_secs(1);

/// How long a plugin that follows commits one by one leaves them to come together, so that those who commit do not meet a
/// commit of its own each time.
const PACE: Duration = Duration::from_millis(5);

/// How long calls may go on, at the most, on a generation that has been replaced.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// The plugins of a handle.
#[derive(Default)]
pub(crate) struct Supervisor {
    roster: ArcSwap<Roster>,
    plugins: Mutex<HashMap<String, Arc<Plugin>>>,
    pub(crate) prepared: Prepared,
    /// Held while the roster is replaced.
    building: Mutex<()>,
    /// Held while code is loaded.
    pub(crate) loading: Mutex<()>,
    /// The namespace of the records; zero while there is none.
    records: AtomicU32,
    /// Generations that were replaced, and when their calls are to be over.
    draining: Mutex<Vec<(Weak<Generation>, Instant)>>,
    /// The threads at work, by the plugin's name; the empty name is the one that looks at files.
    threads: Mutex<HashSet<String>>,
    /// Set, with word to the thread that looks at files, when it has something to look at.
    poked: Arc<(Mutex<bool>, Condvar)>,
    /// Set when the handle is being closed. Held for reading by threads while they have the handle.
    is_over: Arc<RwLock<bool>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// Returns who is in service, as of the last commit that this process knows of.
    pub(crate) fn present(&self) -> Arc<Roster> {
        self.roster.load_full()
    }

    /// Returns who is to be asked before a commit, if anybody is.
    #[inline]
    pub(crate) fn guards(&self) -> Option<Arc<Roster>> {
        let roster = self.roster.load();
        if roster.guards.is_empty() { None } else { Some(roster.clone()) }
    }

    /// Returns the version from which on some plugin needs the log.
    pub(crate) fn pinned(&self) -> Option<Version> {
        self.roster.load().pinned()
    }

    /// Returns who is in service in a snapshot, or later.
    pub(crate) fn roster(&self, inner: &Inner, snapshot: &Snapshot) -> Result<Arc<Roster>> {
        let roster = self.roster.load();
        if roster.suits(snapshot)? {
            return Ok(roster.clone());
        }
        drop(roster);
        self.refresh(inner)
    }

    /// Returns the store as it is, and who is in service just then: code that is newer does not know the state, nor does code
    /// that is older.
    pub(crate) fn together(&self, inner: &Inner) -> Result<(Snapshot, Arc<Roster>)> {
        loop {
            let snapshot = inner.snapshot(Freshness::Latest)?;
            let roster = self.roster(inner, &snapshot)?;
            if roster.is_of(&snapshot)? {
                return Ok((snapshot, roster));
            }
        }
    }

    /// Brings the roster up to date.
    pub(crate) fn refresh(&self, inner: &Inner) -> Result<Arc<Roster>> {
        let _building = lock(&self.building);
        let snapshot = inner.snapshot(Freshness::Latest)?;
        let last = self.roster.load_full();
        if let Some(view) = records::find(&snapshot, RECORDS)? {
            self.records.store(view.id().get(), Ordering::Relaxed);
        }
        if last.is_of(&snapshot)? {
            return Ok(last);
        }
        let built = roster::build(
            &snapshot,
            &last,
            |record| self.plugin(&record.name, &record.source),
            &self.prepared,
        )?;
        let built = Arc::new(built);
        self.roster.store(built.clone());
        self.drain(&last, &built);
        lock(&self.plugins).retain(|name, _| built.services.contains_key(name));
        self.poke();
        Ok(built)
    }

    /// Returns what there is of a plugin in this process.
    pub(crate) fn plugin(&self, name: &str, source: &Path) -> Arc<Plugin> {
        let mut plugins = lock(&self.plugins);
        if let Some(plugin) = plugins.get(name).filter(|plugin| plugin.source.path() == source) {
            return plugin.clone();
        }
        let plugin = Arc::new(Plugin::new(source));
        plugins.insert(name.to_owned(), plugin.clone());
        plugin
    }

    /// Has the calls that are still under way on what was replaced end some time.
    fn drain(&self, last: &Roster, built: &Roster) {
        let in_service = |service: &Service| service.generation.as_ref().ok().and_then(Option::clone);
        let mut draining = lock(&self.draining);
        for (name, service) in &last.services {
            let Some(before) = in_service(service) else { continue };
            let after = built.services.get(name).and_then(|service| in_service(service));
            if after.is_none_or(|after| !Arc::ptr_eq(&before, &after)) {
                let deadline = Instant::now() + before.code.manifest().limits.time.min(DRAIN_MAX);
                draining.push((Arc::downgrade(&before), deadline));
            }
        }
    }

    fn stop_drained(&self) {
        lock(&self.draining).retain(|(generation, deadline)| {
            let Some(generation) = generation.upgrade() else { return false };
            if Instant::now() >= *deadline {
                generation.stop.stop();
            }
            true
        });
    }

    /// Begins with what the store says, as its writer: somebody else may have written since this process did.
    pub(crate) fn begin_writing(&self, inner: &Inner) -> Result<()> {
        for plugin in lock(&self.plugins).values() {
            // Not its runner itself, which may wait for the turn that the caller has.
            plugin.is_moved.store(true, Ordering::Relaxed);
        }
        self.refresh(inner).map(drop)
    }

    /// Hears of a commit of this process. Under the writer's turn, so that the next transaction finds the roster as it
    /// is to be.
    pub(crate) fn committed(&self, inner: &Inner, changed: &[NamespaceId]) {
        let records = self.records.load(Ordering::Relaxed);
        let is_met = changed.iter().any(|id| id.get() == records || *id == NAMES_CHANGED);
        if !is_met {
            return;
        }
        if let Err(error) = self.refresh(inner) {
            // It is tried again by whoever looks next.
            journal::note(inner, "", Level::Error, format!("the plugins' records cannot be read: {error}"));
        }
    }

    /// Has the thread that looks at files look now.
    pub(crate) fn poke(&self) {
        *lock(&self.poked.0) = true;
        self.poked.1.notify_all();
    }

    /// Looks whether a plugin in development has changed, before it is called: at most every few milliseconds, and it is
    /// another thread that loads what is new.
    #[inline]
    pub(crate) fn look_before_call(&self, service: &Service) {
        if service.record.mode == PluginMode::Development && service.plugin.source.look_if_due() {
            self.poke();
        }
    }

    /// Counts a call that failed.
    pub(crate) fn count_failure(&self, inner: &Inner, plugin: &str, message: &str) {
        if let Some(service) = self.roster.load().services.get(plugin) {
            service.plugin.meter.failed(inner.options.clock.now(), message.to_owned());
        }
    }

    /// Counts a call that failed, and writes it to the plugin's log.
    pub(crate) fn failed(&self, inner: &Inner, plugin: &str, message: &str) {
        self.count_failure(inner, plugin, message);
        journal::note(inner, plugin, Level::Error, message.to_owned());
    }

    /// Sees to it that the threads are there that the plugins need. Called now and then by the handle's keeper.
    pub(crate) fn look_after(&self, inner: &Inner) {
        if inner.writing.load().is_none() || !inner.options.runs_plugins {
            return;
        }
        let Ok(snapshot) = inner.snapshot(Freshness::Latest) else { return };
        if let Ok(roster) = self.roster(inner, &snapshot) {
            self.begin_threads(inner, &roster);
        }
    }

    /// Begins the threads that the plugins need and that are not there.
    fn begin_threads(&self, inner: &Inner, roster: &Roster) {
        let is_idle = roster.services.is_empty() || roster.is_replica;
        if is_idle || inner.writing.load().is_none() || !inner.options.runs_plugins {
            return;
        }
        self.begin_thread(inner, "", |inner, is_over, _| watch(&inner, &is_over));
        for (name, service) in &roster.services {
            if service.record.enabled && service.record.runs() {
                self.begin_thread(inner, name, |inner, is_over, name| run(&inner, &is_over, &name));
            }
        }
    }

    fn begin_thread(
        &self,
        inner: &Inner,
        name: &str,
        body: impl FnOnce(Weak<Inner>, Arc<RwLock<bool>>, String) + Send + 'static,
    ) {
        if !lock(&self.threads).insert(name.to_owned()) {
            return;
        }
        let (handle, is_over, plugin) = (inner.handle.clone(), self.is_over.clone(), name.to_owned());
        let began = thread::Builder::new().name(format!("cohab-plugin {name}")).spawn(move || {
            let leave = Leave { inner: handle.clone(), is_over: is_over.clone(), name: plugin.clone() };
            body(handle, is_over, plugin);
            drop(leave);
        });
        if began.is_err() {
            // It is tried again the next time.
            lock(&self.threads).remove(name);
        }
    }

    /// Looks at the files of all plugins, and loads what is new.
    pub(crate) fn look_at_sources(&self, inner: &Inner, is_second: bool) {
        for service in self.present().services.values() {
            match service.record.mode {
                PluginMode::Development => loader::look(inner, service, How::Automatic),
                PluginMode::Production if is_second => loader::look(inner, service, How::Report),
                PluginMode::Production => {}
            }
        }
    }

    /// Tells other processes of what is counted here.
    fn publish(&self, inner: &Inner, last: &mut HashMap<String, Live>) {
        let Some(directory) = &inner.directory else { return };
        for (name, service) in &self.present().services {
            let live = live(inner, service);
            if last.get(name) != Some(&live) {
                journal::publish(&directory.plugins(), &live);
                last.insert(name.clone(), live);
            }
        }
    }
}

/// What this process says of a plugin.
pub(crate) fn live(inner: &Inner, service: &Service) -> Live {
    let meter = &service.plugin.meter;
    let SourceState { source, since } = service.plugin.source_state();
    Live {
        name: service.record.name.clone(),
        instance: Some(inner.instance),
        pid: std::process::id(),
        generation: service.record.generation,
        hash: service.record.hash.to_string(),
        calls: meter.calls.load(Ordering::Relaxed),
        failures: meter.failures.load(Ordering::Relaxed),
        micros: meter.micros.load(Ordering::Relaxed),
        memory: meter.memory.load(Ordering::Relaxed),
        position: meter.position(),
        stalled: meter.stalled(),
        last_error: meter.last_error(),
        source: Some(source),
        source_since: since,
    }
}

/// Says that a thread is there no more, however it ended.
struct Leave {
    inner: Weak<Inner>,
    is_over: Arc<RwLock<bool>>,
    name: String,
}

impl Drop for Leave {
    fn drop(&mut self) {
        // A handle that is being closed is let go of by whoever closes it.
        let over = self.is_over.read().unwrap_or_else(PoisonError::into_inner);
        if *over {
            return;
        }
        if let Some(inner) = self.inner.upgrade() {
            lock(&inner.plugins.threads).remove(&self.name);
        }
    }
}

/// The thread that looks at files, loads, and tells.
fn watch(handle: &Weak<Inner>, is_over: &RwLock<bool>) {
    let mut second = Instant::now();
    let mut told = HashMap::new();
    loop {
        let (wait, poked) = {
            let over = is_over.read().unwrap_or_else(PoisonError::into_inner);
            if *over {
                return;
            }
            let Some(inner) = handle.upgrade() else { return };
            let supervisor = &inner.plugins;
            *lock(&supervisor.poked.0) = false;
            let roster = supervisor.present();
            if roster.services.is_empty() || roster.is_replica || inner.writing.load().is_none() {
                return;
            }
            supervisor.begin_threads(&inner, &roster);
            let is_second = second.elapsed() >= SECOND;
            supervisor.look_at_sources(&inner, is_second);
            supervisor.stop_drained();
            if is_second {
                supervisor.publish(&inner, &mut told);
                second = Instant::now();
            }
            let in_development = |service: &Arc<Service>| service.record.mode == PluginMode::Development;
            let wait = if roster.services.values().any(in_development) { DEVELOPMENT_TICK } else { TICK };
            (wait, supervisor.poked.clone())
        };
        // Without the handle, which may be closed meanwhile.
        let _ = poked.1.wait_timeout_while(lock(&poked.0), wait, |poked| !*poked);
    }
}

/// The thread of a plugin.
fn run(handle: &Weak<Inner>, is_over: &RwLock<bool>, name: &str) {
    loop {
        let (wait, vantage) = {
            let over = is_over.read().unwrap_or_else(PoisonError::into_inner);
            if *over {
                return;
            }
            let Some(inner) = handle.upgrade() else { return };
            let Some(service) = inner.plugins.present().services.get(name).cloned() else { return };
            inner.plugins.look_before_call(&service);
            let step = runner::lock(&service.plugin.runner).step(&inner, &service);
            let wait = match step {
                Ok(Step::Busy) => continue,
                Ok(Step::Paced) => PACE,
                Ok(Step::Over) => return,
                Ok(Step::Idle(wait)) => wait.unwrap_or(TICK),
                Ok(Step::Stuck(wait)) => wait,
                // The store's trouble. It is looked at again, and whoever asks is told.
                Err(ref error) => {
                    service.plugin.meter.stall(Some(error.to_string()));
                    TICK
                }
            };
            // Woken by the next commit; a new generation is one as well.
            let is_woken = !matches!(step, Ok(Step::Paced));
            (wait.min(TICK), is_woken.then(|| inner.vantage(inner.seen().next())))
        };
        match vantage {
            Some(vantage) => vantage.wait(wait),
            None => thread::sleep(wait),
        }
    }
}

/// Holds the plugins' threads to the life of the handle.
pub(crate) struct Crew {
    handle: Weak<Inner>,
    is_over: Arc<RwLock<bool>>,
    process: Process,
}

impl Crew {
    pub(crate) fn start(inner: &Arc<Inner>) -> Self {
        inner.plugins.look_after(inner);
        Self {
            handle: Arc::downgrade(inner),
            is_over: inner.plugins.is_over.clone(),
            process: fork::generation(),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // A forked child has no such threads, and may have a lock of one.
        if !self.process.is_current() {
            return;
        }
        let Some(inner) = self.handle.upgrade() else { return };
        for service in inner.plugins.present().services.values() {
            if let Ok(Some(generation)) = &service.generation {
                generation.stop.stop();
            }
        }
        inner.plugins.poke();
        // Waits for those at work, which were just stopped.
        *self.is_over.write().unwrap_or_else(PoisonError::into_inner) = true;
        for service in inner.plugins.present().services.values() {
            if let Some(directory) =
                inner.directory.as_ref().filter(|_| service.plugin.meter.position().is_some())
            {
                journal::publish(&directory.plugins(), &live(&inner, service));
            }
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crew")
    }
}

impl Plugin {
    /// Notes how the files are, and returns whether that is news.
    pub(crate) fn set_source_state(&self, source: PluginSource, now: cohab_core::Timestamp) -> bool {
        let mut state = lock(&self.state);
        if state.source == source {
            return false;
        }
        let is_as_it_was = source == PluginSource::InService;
        *state = SourceState { source, since: (!is_as_it_was).then_some(now) };
        true
    }

    pub(crate) fn source_state(&self) -> SourceState {
        lock(&self.state).clone()
    }

    /// Leaves the files alone for a while.
    pub(crate) fn pause(&self, until: Instant) {
        *lock(&self.paused) = Some(until);
    }

    pub(crate) fn paused_until(&self) -> Option<Instant> {
        *lock(&self.paused)
    }
}
