//! Taking code into service.
//!
//! Read, validate, compile and make a first instance beside everything else; then, in one transaction, bring the state to its
//! schema, have the code check itself, and commit the files, the hash, the generation and the state together. What fails on the
//! way leaves the last good generation where it is.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use cohab_core::Version;
use cohab_namespace::Operation;
use cohab_plugin::{
    Bundle, Call, Code, ContentHash, Grants, Level, LoadError, Look, Manifest, Source, Stage, Start,
};

use super::desk::Desk;
use super::generation::Generation;
use super::journal;
use super::records::{
    self, Cursor, Existing, PluginFailure, PluginMode, PluginRecord, SCHEMA_KEY, own, state_name,
};
use super::roster::{Service, no_plugin};
use super::runner::start;
use super::{AddPlugin, PluginSource, ReloadPlugin};
use crate::store::Inner;
use crate::transaction::PLUGIN_LABEL;
use crate::{Committed, Error, Kind, Result, Transaction};

/// How long files have to be left alone before they count as written.
const SETTLE: Duration = Duration::from_millis(20);

/// How long to leave it at that when the store could not take what was loaded.
const PAUSE: Duration = Duration::from_secs(1);

/// What to do about files that have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// Load them, unless that failed before.
    Automatic,
    /// Say so.
    Report,
}

/// What was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) version: Version,
    pub(crate) generation: u64,
    /// Whether it is another one than before.
    pub(crate) is_new: bool,
}

/// Why nothing was.
enum Failed {
    /// The plugin's fault.
    Load(LoadError),
    /// The store's.
    Store(Error),
}

impl From<LoadError> for Failed {
    fn from(error: LoadError) -> Self {
        Self::Load(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Code that is ready for service.
struct Ready {
    bundle: Bundle,
    code: Code,
}

/// Adds a plugin and takes it into service.
pub(crate) fn add(inner: &Inner, directory: &Path, options: AddPlugin) -> Result<Committed<String>> {
    inner.queue.check_reentry()?;
    let _loading = inner.plugins.loading.lock().unwrap_or_else(PoisonError::into_inner);
    let path = std::path::absolute(directory)
        .map_err(|error| Error::invalid(format!("{}: {error}", directory.display())).source(error))?;
    let source = Source::new(&path);
    let (bundle, signature) = source.read_settled(SETTLE).map_err(|error| not_loaded(None, &error))?;
    let ready = prepare(bundle).map_err(|error| not_loaded(None, &error))?;
    let manifest = ready.code.manifest().clone();
    let asked = manifest.asks_for();
    let granted = options.grants.unwrap_or_else(|| asked.clone());
    refuse_ungranted(&granted, &asked).map_err(|error| not_loaded(Some(&manifest.name), &error))?;
    let name = manifest.name.clone();
    let request = Request { expected: None, granted, mode: options.mode, path: &path, rescan: false };
    let loaded = commit(inner, &ready, &request).map_err(|failed| failed.into_error(&name))?;
    if let Some(service) = inner.plugins.present().services.get(&name) {
        service.plugin.source.adopt(&signature);
    }
    journal::note(inner, &name, Level::Info, format!("added, from {}", path.display()));
    inner.plugins.look_after(inner);
    Ok(Committed { version: loaded.version, value: name })
}

/// Loads a plugin's files as they are now.
pub(crate) fn reload(inner: &Inner, name: &str, options: ReloadPlugin) -> Result<Loaded> {
    inner.queue.check_reentry()?;
    let roster = inner.plugins.refresh(inner)?;
    let service = roster.find(name)?;
    let how = Asked { grants: options.grants, rescan: options.rescan, by_name: true };
    match load(inner, service, how) {
        Ok(loaded) => Ok(loaded),
        Err(failed) => Err(failed.into_error(name)),
    }
}

/// Looks at a plugin's files, and does what is to be done if they have changed.
pub(crate) fn look(inner: &Inner, service: &Arc<Service>, how: How) {
    let (plugin, now) = (&service.plugin, inner.options.clock.now());
    let name = &service.record.name;
    let news = |source: PluginSource, level: Level, text: String| {
        if plugin.set_source_state(source, now) {
            journal::note(inner, name, level, text);
        }
    };
    let path = || plugin.source.path().display().to_string();
    let is_back = || matches!(plugin.source_state().source, PluginSource::Missing | PluginSource::Unreadable);
    let found = match plugin.source.look() {
        // Whether it is what it was before it was gone is for a closer look to say.
        Look::Same if is_back() => Look::Changed,
        found => found,
    };
    match found {
        Look::Missing => {
            let text = format!("{} is not there; generation {} serves on", path(), service.record.generation);
            news(PluginSource::Missing, Level::Warn, text);
        }
        Look::Unreadable(why) => {
            let text = format!(
                "{} cannot be read: {why}; generation {} serves on",
                path(),
                service.record.generation
            );
            news(PluginSource::Unreadable, Level::Warn, text);
        }
        Look::Changed if how == How::Report => {
            let Ok((bundle, signature)) = plugin.source.read_settled(Duration::ZERO) else { return };
            plugin.source.adopt(&signature);
            if bundle.hash() == service.record.hash {
                plugin.set_source_state(PluginSource::InService, now);
            } else {
                let text = format!(
                    "the files have changed and are not taken up, because the plugin is in production: `cohab plugin reload {name}` does"
                );
                news(PluginSource::Changed, Level::Warn, text);
            }
        }
        Look::Changed => {
            if plugin.paused_until().is_some_and(|until| Instant::now() < until) {
                return;
            }
            let how = Asked { grants: false, rescan: false, by_name: false };
            if let Err(Failed::Store(error)) = load(inner, service, how) {
                // The files are not taken for seen, so this comes back to them.
                plugin.pause(Instant::now() + PAUSE);
                plugin.meter.failed(now, error.to_string());
                journal::note(inner, name, Level::Error, format!("could not be committed: {error}"));
            }
        }
        // As it was.
        _ => {}
    }
}

/// How a load was asked for.
#[derive(Clone, Copy)]
struct Asked {
    /// Whether to grant what it asks for beyond what it was granted.
    grants: bool,
    rescan: bool,
    /// Whether somebody asked, as opposed to files that have changed.
    by_name: bool,
}

fn load(inner: &Inner, service: &Arc<Service>, asked: Asked) -> Result<Loaded, Failed> {
    let _loading = inner.plugins.loading.lock().unwrap_or_else(PoisonError::into_inner);
    // Somebody may have loaded it meanwhile.
    let roster = inner.plugins.present();
    let service = roster.services.get(&service.record.name).unwrap_or(service);
    let (record, plugin) = (&service.record, &service.plugin);
    let now = inner.options.clock.now();
    let mut hash = None;
    let mut signature = None;
    let mut is_known_bad = false;
    let loaded = (|| {
        let (bundle, seen) = plugin.source.read_settled(SETTLE)?;
        signature = Some(seen);
        hash = Some(bundle.hash());
        let is_serving = service.generation.is_ok();
        let is_same = bundle.hash() == record.hash && is_serving && !asked.rescan;
        if is_same && record.failure.is_none() {
            return Ok(None);
        }
        if is_same {
            // Somebody went back to what is in service.
            let version = change(inner, &record.name, |record| {
                record.failure = None;
                Ok(())
            })?;
            return Ok(Some(Loaded { version, generation: record.generation, is_new: false }));
        }
        is_known_bad = record.failure.as_ref().is_some_and(|failure| failure.hash == hash);
        if is_known_bad && !asked.by_name {
            return Ok(None);
        }
        let ready = prepare(bundle)?;
        let wanted = &ready.code.manifest().name;
        if *wanted != record.name {
            let message = format!("it calls itself `{wanted}` now, and is known as `{}`", record.name);
            return Err(LoadError::new(Stage::Validate, message).file(Manifest::FILE).into());
        }
        let asks = ready.code.manifest().asks_for();
        let granted = if asked.grants { record.grants.union(&asks) } else { record.grants.clone() };
        refuse_ungranted(&granted, &asks)?;
        let (path, mode) = (record.source.clone(), record.mode);
        let request =
            Request { expected: Some(service.version), granted, mode, path: &path, rescan: asked.rescan };
        commit(inner, &ready, &request).map(Some)
    })();
    let adopt = || signature.iter().for_each(|seen| plugin.source.adopt(seen));
    match loaded {
        Ok(loaded) => {
            adopt();
            let is_refused = is_known_bad && loaded.is_none();
            let state = if is_refused { PluginSource::Refused } else { PluginSource::InService };
            plugin.set_source_state(state, now);
            let (version, generation) = (service.version, record.generation);
            Ok(loaded.unwrap_or(Loaded { version, generation, is_new: false }))
        }
        Err(Failed::Load(error)) => {
            // Where the store cannot take that, the files are not taken for seen either.
            note_failure(inner, service, hash, &error)?;
            adopt();
            plugin.set_source_state(PluginSource::Refused, now);
            Err(Failed::Load(error))
        }
        Err(failed) => Err(failed),
    }
}

/// Says in the store why a plugin's files are not in service.
fn note_failure(
    inner: &Inner,
    service: &Service,
    hash: Option<ContentHash>,
    error: &LoadError,
) -> Result<()> {
    let name = &service.record.name;
    if service.record.failure.as_ref().is_none_or(|failure| failure.error != *error) {
        let text =
            format!("not taken into service: {error}; generation {} serves on", service.record.generation);
        journal::note(inner, name, Level::Error, text);
    }
    let now = inner.options.clock.now();
    change(inner, name, |record| {
        let is_known = |failure: &PluginFailure| failure.error == *error && failure.hash == hash;
        if record.failure.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let stale_since = record.failure.as_ref().map_or(now, |failure| failure.stale_since);
        record.failure = Some(PluginFailure { error: error.clone(), hash, at: now, stale_since });
        Ok(())
    })
    .map(drop)
}

/// Changes a plugin's record.
pub(crate) fn change(
    inner: &Inner,
    name: &str,
    f: impl FnOnce(&mut PluginRecord) -> Result<()>,
) -> Result<Version> {
    let done = inner.write(|tx| {
        tx.label_any(format!("{PLUGIN_LABEL}{name}"))?;
        let mut record = tx.plugin_record(name)?.ok_or_else(|| no_plugin(name))?.record;
        let before = record.clone();
        f(&mut record)?;
        if record == before { Ok(()) } else { tx.put_plugin_record(&record) }
    })?;
    Ok(done.version)
}

/// Disables a plugin for what a generation did, as its policy says.
pub(crate) fn disable(inner: &Inner, plugin: &str, generation: u64, why: String) -> Result<()> {
    journal::note(inner, plugin, Level::Error, format!("disabled: {why}"));
    let disabled = change(inner, plugin, |record| {
        // Newer code is not to blame.
        if record.generation == generation {
            record.enabled = false;
            record.disabled_because = Some(why);
        }
        Ok(())
    });
    disabled.map(drop)
}

fn refuse_ungranted(granted: &Grants, asked: &Grants) -> Result<(), LoadError> {
    let lacking = granted.lacking(asked);
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!(
        "it asks for what it was not granted: {}; a reload with `--grant` grants it",
        lacking.join(", ")
    );
    Err(LoadError::new(Stage::Validate, message).file(Manifest::FILE))
}

/// Checks and compiles what was read, and tries it out.
fn prepare(bundle: Bundle) -> Result<Ready, LoadError> {
    let manifest = Manifest::of(&bundle)?;
    let code = Code::compile(manifest, &bundle)?;
    let tried = code.instantiate();
    tried.map_err(|error| {
        LoadError::new(Stage::Instantiate, error.message).file(code.manifest().entry.clone())
    })?;
    Ok(Ready { bundle, code })
}

/// What to commit code as.
struct Request<'r> {
    /// The version of the record that was looked at; `None` for a new plugin.
    expected: Option<Version>,
    granted: Grants,
    mode: PluginMode,
    path: &'r Path,
    rescan: bool,
}

/// Migrates, checks and commits, all in one transaction.
fn commit(inner: &Inner, ready: &Ready, request: &Request<'_>) -> Result<Loaded, Failed> {
    let name = ready.code.manifest().name.clone();
    let mut refused = None;
    let mut prepared = None;
    let done = inner.write(|tx| {
        tx.label_any(format!("{PLUGIN_LABEL}{name}"))?;
        match install(tx, ready, request) {
            Ok(generation) => {
                let number = generation.number;
                // Before it is committed, so that whoever sees the commit finds it.
                inner
                    .plugins
                    .prepared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(generation.clone());
                prepared = Some(generation);
                Ok(number)
            }
            Err(Failed::Load(error)) => {
                refused = Some(error);
                Err(Error::new(Kind::Aborted, "the code was not taken into service"))
            }
            Err(Failed::Store(error)) => Err(error),
        }
    });
    if let Some(prepared) = &prepared {
        // In service by now, or never.
        let mut all = inner.plugins.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| !Arc::ptr_eq(known, prepared));
    }
    match (done, refused) {
        (_, Some(error)) => Err(Failed::Load(error)),
        (Err(error), None) if error.kind() == Kind::Refused => {
            Err(Failed::Load(LoadError::new(Stage::Commit, error.to_string())))
        }
        (Err(error), None) => Err(Failed::Store(error)),
        (Ok(Committed { version, value }), None) => {
            if let Some(service) = inner.plugins.present().services.get(&name) {
                service.plugin.is_moved.store(true, Ordering::Relaxed);
            }
            if value > 1 {
                let text =
                    format!("generation {value} is in service, content {}", ready.bundle.hash().short());
                journal::note(inner, &name, Level::Info, text);
            }
            Ok(Loaded { version, generation: value, is_new: true })
        }
    }
}

fn install(
    tx: &mut Transaction<'_, '_>,
    ready: &Ready,
    request: &Request<'_>,
) -> Result<Arc<Generation>, Failed> {
    let manifest = ready.code.manifest();
    let (name, inner) = (manifest.name.as_str(), tx.commit.inner);
    let known = tx.plugin_record(name)?;
    match (&known, request.expected) {
        (Some(_), None) => {
            let message = format!("there is a plugin `{name}` already");
            let hint = format!(
                "`cohab plugin reload {name}` loads it anew, `cohab plugin remove {name}` removes it"
            );
            return Err(Error::new(Kind::Exists, message).hint(hint).into());
        }
        (Some(known), Some(expected)) if known.version != expected => {
            let message = format!("plugin `{name}` was changed by version {} meanwhile", known.version);
            return Err(Error::new(Kind::Conflict, message).hint("try again").into());
        }
        (None, Some(_)) => return Err(no_plugin(name).into()),
        _ => {}
    }
    let before = known.map(|known| known.record);
    let number = before.as_ref().map_or(1, |record| record.generation + 1);
    // What it was granted beyond what it asks for now stays granted, and is not used.
    let used = manifest.asks_for();
    let meter = inner.plugins.plugin(name, request.path).meter.clone();
    let hash = ready.bundle.hash();
    let generation = Arc::new(Generation::new(number, hash, ready.code.clone(), used, meter));
    migrate(tx, &generation, name, manifest.schema)?;
    let clock = inner.options.clock.clone();
    let mut desk = Desk::new(tx, &generation.state, &*clock);
    let checked = generation.call(Call::Check, &mut desk);
    journal::note_logs(inner, name, number, &checked.logs);
    checked.result.map_err(|error| {
        LoadError::new(Stage::Check, format!("its own check failed: {}", error.message))
            .file(manifest.entry.clone())
    })?;
    tx.replace_plugin_code(None, Some(&ready.bundle))?;
    tx.put_plugin_record(&PluginRecord {
        name: name.to_owned(),
        description: manifest.description.clone(),
        source: request.path.to_owned(),
        mode: request.mode,
        enabled: before.as_ref().is_none_or(|record| record.enabled),
        disabled_because: before.as_ref().and_then(|record| record.disabled_because.clone()),
        generation: number,
        hash,
        tier: ready.code.tier(),
        api: manifest.api,
        schema: manifest.schema,
        triggers: manifest.triggers.iter().map(|trigger| trigger.handler().to_owned()).collect(),
        grants: request.granted.clone(),
        loaded_at: tx.commit.now,
        failure: None,
    })?;
    tx.replace_plugin_code(before.as_ref().map(|record| record.hash), Some(&ready.bundle))?;
    put_cursor(tx, &generation, before.as_ref(), request.rescan)?;
    Ok(generation)
}

/// Sets where a plugin begins, unless it has been somewhere already.
fn put_cursor(
    tx: &mut Transaction<'_, '_>,
    generation: &Generation,
    before: Option<&PluginRecord>,
    rescan: bool,
) -> Result<()> {
    let manifest = generation.code.manifest();
    let start = start(&manifest.triggers);
    let known = tx.plugin_cursor(&manifest.name)?.map(|(cursor, _)| cursor);
    let did_follow = before.is_some_and(PluginRecord::follows);
    let is_placed = known.is_some() && (did_follow || start.is_none());
    if is_placed && !rescan {
        return Ok(());
    }
    let (store, version) = (tx.commit.root.store, Version::new(tx.version().get() - 1));
    let mut cursor = Cursor::at(store, version);
    cursor.due = known.and_then(|known| known.due);
    if start == Some(Start::Existing) || (start.is_some() && rescan) {
        cursor.existing = Some(Existing::default());
    }
    tx.put_plugin_cursor(&manifest.name, &cursor)
}

/// Brings a plugin's state to the schema of its code.
fn migrate(
    tx: &mut Transaction<'_, '_>,
    generation: &Generation,
    name: &str,
    wanted: u32,
) -> Result<(), Failed> {
    let (inner, entry) = (tx.commit.inner, generation.code.manifest().entry.clone());
    let failed = |message: String| Failed::Load(LoadError::new(Stage::Migrate, message).file(entry.clone()));
    let schema = tx.plugin_schema(name)?;
    match schema {
        Some(from) if from > wanted => {
            let message = format!(
                "its state is of schema {from}, and the code is for schema {wanted}: there is no way back"
            );
            return Err(failed(format!("{message}; raise `schema` in {}", Manifest::FILE)));
        }
        Some(from) if from < wanted => {
            let state = tx.commit.find_any(&own(&state_name(name))?)?;
            tx.keep_before(Operation::Migrate, state)?;
            let clock = inner.options.clock.clone();
            let mut desk = Desk::new(tx, &generation.state, &*clock);
            let outcome = generation.call(Call::Migrate { from }, &mut desk);
            let effects = desk.effects;
            journal::note_logs(inner, name, generation.number, &outcome.logs);
            outcome.result.map_err(|error| {
                failed(format!(
                    "its state could not be brought from schema {from} to {wanted}: {}",
                    error.message
                ))
            })?;
            effects.apply(tx)?;
        }
        _ => {}
    }
    if schema != Some(wanted) {
        tx.put_own(&state_name(name), SCHEMA_KEY, wanted.to_string().as_bytes())?;
    }
    Ok(())
}

impl Failed {
    fn into_error(self, name: &str) -> Error {
        match self {
            Self::Load(error) => not_loaded(Some(name), &error),
            Self::Store(error) => error,
        }
    }
}

fn not_loaded(name: Option<&str>, error: &LoadError) -> Error {
    let name = name.map_or_else(|| "the plugin".to_owned(), |name| format!("plugin `{name}`"));
    Error::new(Kind::Plugin, format!("{name} cannot be taken into service: {error}"))
        .source(error.clone())
        .hint("mend it and try again; what was in service is in service still")
}

/// Removes a plugin, and unless told otherwise its state.
pub(crate) fn remove(inner: &Inner, name: &str, keeps_state: bool) -> Result<Version> {
    inner.queue.check_reentry()?;
    let _loading = inner.plugins.loading.lock().unwrap_or_else(PoisonError::into_inner);
    let done = inner.write(|tx| {
        tx.label_any(format!("{PLUGIN_LABEL}{name}"))?;
        let record = tx.plugin_record(name)?.ok_or_else(|| no_plugin(name))?.record;
        if !keeps_state && let Some(id) = tx.commit.find_any(&own(&state_name(name))?)? {
            tx.drop_by_id(id, crate::DropMode::WithContents)?;
        }
        tx.delete_own(records::RECORDS, name.as_bytes())?;
        tx.delete_own(records::CURSORS, name.as_bytes())?;
        tx.replace_plugin_code(Some(record.hash), None)
    })?;
    if let Some(directory) = &inner.directory {
        super::journal::remove(&directory.plugins(), name);
    }
    Ok(done.version)
}
