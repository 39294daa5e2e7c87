//! Which generation of which plugin is in service, as the store's records say.
//!
//! Built from a snapshot, replaced as a whole when a commit has changed a record. So every transaction sees one generation of
//! a plugin, and none sees an earlier one than a transaction before it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cohab_core::Version;
use cohab_plugin::{Code, LoadError, Manifest, OnFailure, Source, Stage, Trigger};

use super::SourceState;
use super::generation::{Generation, Meter};
use super::records::{self, Known, PluginRecord};
use super::runner::Runner;
use crate::{Error, Kind, Result, Snapshot};

/// What there is of a plugin in this process, whatever generation is in service.
pub(crate) struct Plugin {
    pub(crate) source: Source,
    pub(crate) meter: Arc<Meter>,
    pub(crate) runner: Mutex<Runner>,
    /// How the files are.
    pub(crate) state: Mutex<SourceState>,
    /// Until when they are left alone.
    pub(crate) paused: Mutex<Option<Instant>>,
    /// Whether somebody other than the runner may have moved the cursor.
    pub(crate) is_moved: AtomicBool,
}

impl Plugin {
    pub(crate) fn new(source: &Path) -> Self {
        let (source, meter) = (Source::new(source), Arc::new(Meter::new()));
        let (runner, state, paused, is_moved) = Default::default();
        Self { source, meter, runner, state, paused, is_moved }
    }
}

/// A plugin as a record says it is.
pub(crate) struct Service {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) record: PluginRecord,
    /// The version that wrote the record.
    pub(crate) version: Version,
    /// What is in service; nothing if the plugin is disabled, an error if this process cannot run it.
    pub(crate) generation: Result<Option<Arc<Generation>>, LoadError>,
}

impl Service {
    /// Returns what is in service.
    ///
    /// # Errors
    ///
    /// [`Kind::Plugin`] if the plugin is disabled, or cannot be run here.
    pub(crate) fn generation(&self) -> Result<&Arc<Generation>> {
        let name = &self.record.name;
        match &self.generation {
            Ok(Some(generation)) => Ok(generation),
            Ok(None) => {
                let why =
                    self.record.disabled_because.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
                let error = Error::new(Kind::Plugin, format!("plugin `{name}` is disabled{why}"));
                Err(error.hint(format!("`cohab plugin enable {name}` has it called again")))
            }
            Err(error) => {
                let number = self.record.generation;
                let message = format!("generation {number} of plugin `{name}` cannot be run here: {error}");
                Err(Error::new(Kind::Plugin, message))
            }
        }
    }
}

/// A plugin that is asked before a commit.
pub(crate) struct Guard {
    pub(crate) name: String,
    pub(crate) generation: Result<Arc<Generation>, LoadError>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) prefixes: Vec<String>,
    pub(crate) on_failure: OnFailure,
}

/// All plugins, as of one version of their records.
#[derive(Default)]
pub(crate) struct Roster {
    /// The version that last changed a record.
    pub(crate) as_of: Version,
    /// The version of the snapshot that it was built from.
    seen: Version,
    /// Whether the store is led by another one, and calls nothing of its own accord.
    pub(crate) is_replica: bool,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) guards: Vec<Guard>,
}

impl Roster {
    /// Finds a plugin.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`].
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<Service>> {
        self.services.get(name).ok_or_else(|| no_plugin(name))
    }

    /// Returns whether it says what a snapshot's records say, or what later ones do.
    pub(crate) fn suits(&self, snapshot: &Snapshot) -> Result<bool> {
        let is_past = snapshot.version() <= self.seen && self.is_replica == is_replica(snapshot);
        Ok(is_past || self.is_of(snapshot)?)
    }

    /// Returns whether it says what a snapshot's records say.
    pub(crate) fn is_of(&self, snapshot: &Snapshot) -> Result<bool> {
        Ok(self.is_replica == is_replica(snapshot) && self.as_of == records::records_version(snapshot)?)
    }

    /// Returns whether a plugin is in service just so.
    pub(crate) fn has(&self, service: &Service) -> bool {
        let present = self.services.get(&service.record.name);
        present.is_some_and(|present| present.version == service.version)
    }

    /// Returns the version from which on some plugin needs the log.
    pub(crate) fn pinned(&self) -> Option<Version> {
        let running = self.services.values().filter(|service| service.record.enabled);
        running.filter_map(|service| service.plugin.meter.pinned()).min()
    }
}

pub(crate) fn no_plugin(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no plugin `{name}`"))
        .hint("`cohab plugin list` shows which there are, `cohab plugin add` makes one")
}

fn is_replica(snapshot: &Snapshot) -> bool {
    snapshot.upstream().is_some_and(|upstream| !upstream.promoted)
}

/// Generations that are about to be committed, so that nobody compiles them once they are.
pub(crate) type Prepared = Mutex<Vec<Arc<Generation>>>;

/// Builds the roster that a snapshot's records describe. What the last one has is taken over.
pub(crate) fn build(
    snapshot: &Snapshot,
    last: &Roster,
    plugin: impl Fn(&PluginRecord) -> Arc<Plugin>,
    prepared: &Prepared,
) -> Result<Roster> {
    let (as_of, seen) = (records::records_version(snapshot)?, snapshot.version());
    let mut roster = Roster { as_of, seen, is_replica: is_replica(snapshot), ..Roster::default() };
    for (name, known) in records::all(snapshot)? {
        let Known { record, version } = known;
        let plugin = plugin(&record);
        let is_same = |generation: &Generation| {
            (generation.number, generation.hash) == (record.generation, record.hash)
                && generation.code.manifest().name == name
        };
        let generation = if record.enabled {
            let kept =
                last.services.get(&name).and_then(|service| service.generation.as_ref().ok()?.as_ref());
            let kept = kept.filter(|generation| is_same(generation)).cloned();
            let ready = || {
                let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
                let index = prepared.iter().position(|generation| is_same(generation))?;
                Some(prepared.swap_remove(index))
            };
            match kept.or_else(ready) {
                Some(generation) => check_schema(snapshot, &record).map(|()| Some(generation)),
                None => load(snapshot, &record, &plugin).map(|generation| Some(Arc::new(generation))),
            }
        } else {
            Ok(None)
        };
        note_cursor(snapshot, &record, &plugin)?;
        if !roster.is_replica {
            roster.guards.extend(guard(&record, &generation));
        }
        roster.services.insert(name, Arc::new(Service { plugin, record, version, generation }));
    }
    Ok(roster)
}

/// Loads what is in service from the store itself.
fn load(snapshot: &Snapshot, record: &PluginRecord, plugin: &Plugin) -> Result<Generation, LoadError> {
    let lost = |error: Error| LoadError::new(Stage::Read, error.to_string());
    let bundle = records::bundle(snapshot, record.hash).map_err(lost)?;
    let code = Code::compile(Manifest::of(&bundle)?, &bundle)?;
    check_schema(snapshot, record)?;
    let (grants, meter) = (code.manifest().asks_for(), plugin.meter.clone());
    let lacking = record.grants.lacking(&grants);
    if !lacking.is_empty() {
        let message = format!("it asks for what it was not granted: {}", lacking.join(", "));
        return Err(LoadError::new(Stage::Validate, message).file(Manifest::FILE));
    }
    Ok(Generation::new(record.generation, record.hash, code, grants, meter))
}

/// Refuses code whose state is of another layout, as after it was rolled back to an earlier one.
fn check_schema(snapshot: &Snapshot, record: &PluginRecord) -> Result<(), LoadError> {
    let lost = |error: Error| LoadError::new(Stage::Read, error.to_string());
    match records::state_schema(snapshot, &record.name).map_err(lost)? {
        Some(schema) if schema != record.schema => {
            let wanted = record.schema;
            let message = format!(
                "its state is of schema {schema}, and the code is for schema {wanted}: `cohab plugin reload` brings them together"
            );
            Err(LoadError::new(Stage::Migrate, message))
        }
        _ => Ok(()),
    }
}

/// Notes from where on a plugin that follows commits needs the log.
fn note_cursor(snapshot: &Snapshot, record: &PluginRecord, plugin: &Plugin) -> Result<()> {
    let follows = record.follows();
    let cursor = records::cursor(snapshot, &record.name)?;
    let cursor = cursor.map(|(cursor, _)| cursor);
    let at = cursor.filter(|cursor| follows && cursor.store == snapshot.store()).map(|cursor| cursor.version);
    let at = at.map_or(u64::MAX, Version::get);
    plugin.meter.pinned.store(at, std::sync::atomic::Ordering::Relaxed);
    Ok(())
}

fn guard(record: &PluginRecord, generation: &Result<Option<Arc<Generation>>, LoadError>) -> Option<Guard> {
    let name = record.name.clone();
    if !record.enabled || !record.triggers.iter().any(|trigger| trigger == "before_commit") {
        return None;
    }
    match generation {
        Ok(Some(generation)) => {
            generation.code.manifest().triggers.iter().find_map(|trigger| match trigger {
                Trigger::BeforeCommit { namespaces, prefixes, on_failure } => Some(Guard {
                    name: name.clone(),
                    generation: Ok(generation.clone()),
                    namespaces: namespaces.clone(),
                    prefixes: prefixes.clone(),
                    on_failure: *on_failure,
                }),
                _ => None,
            })
        }
        // Which namespaces it guards is not known, so it guards all.
        Err(error) => Some(Guard {
            name,
            generation: Err(error.clone()),
            namespaces: vec!["*".into()],
            prefixes: Vec::new(),
            on_failure: OnFailure::Refuse,
        }),
        Ok(None) => None,
    }
}
