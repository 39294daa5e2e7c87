//! Plugins that are asked before a commit, and may refuse it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use cohab_core::NamespaceId;
use cohab_plugin::{Call, CallErrorKind, ChangeRef, Changes, Level, OnFailure, matches};

use super::desk::{Desk, Effects};
use super::roster::{Guard, Roster};
use super::{journal, records};
use crate::commit::Open;
use crate::store::Inner;
use crate::{Batch, Error, Freshness, Kind, Result, Transaction};

/// How many changes, and bytes of them, a plugin is shown at a time.
const SLICE_CHANGES: u32 = 1000;
const SLICE_BYTES: usize = 1 << 20;

/// How many bytes of guarded changes a transaction may have.
const PENDING_BYTES_MAX: usize = 256 << 20;

/// Sees to it that the plugins that are to be asked are there, before the first transaction.
pub(crate) fn begin_writing(inner: &Inner) -> Result<()> {
    inner.plugins.begin_writing(inner)
}

/// Checks that it can be known whom to ask: a replica whose plugins' records are damaged would become a store that nobody can
/// write.
pub(crate) fn check_build(inner: &Inner) -> Result<()> {
    let snapshot = inner.snapshot(Freshness::Latest)?;
    records::all(&snapshot)?.keys().try_for_each(|name| records::cursor(&snapshot, name).map(drop))
}

/// The values before and after.
type Sides = (Option<Bytes>, Option<Bytes>);

/// What a transaction changes that some plugin guards: by namespace and key, what was there before it, and what it leaves.
pub(crate) struct Pending {
    roster: Option<Arc<Roster>>,
    guarded: HashMap<NamespaceId, bool>,
    changes: BTreeMap<(String, Vec<u8>), Sides>,
    bytes: usize,
}

impl Pending {
    pub(crate) fn begin(inner: &Inner) -> Self {
        let roster = inner.plugins.guards();
        Self { roster, guarded: HashMap::new(), changes: BTreeMap::new(), bytes: 0 }
    }

    /// Notes a change of a key.
    #[inline]
    pub(crate) fn note(&mut self, open: &Open, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        if self.roster.is_some() {
            self.keep(open, key, before, after);
        }
    }

    /// Forgets which namespaces are guarded, after names have changed.
    pub(crate) fn forget_names(&mut self) {
        self.guarded.clear();
    }

    fn keep(&mut self, open: &Open, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let Some(roster) = &self.roster else { return };
        let name = &open.record.metadata.name;
        let is_guarded =
            || !name.is_reserved() && roster.guards.iter().any(|guard| guard.covers(name.as_str()));
        if !*self.guarded.entry(open.record.id).or_insert_with(is_guarded) || self.bytes > PENDING_BYTES_MAX {
            return;
        }
        let len = |value: Option<&[u8]>| value.map_or(0, <[u8]>::len);
        self.bytes += key.len() + len(before) + len(after);
        let copy = |value: Option<&[u8]>| value.map(Bytes::copy_from_slice);
        let change =
            self.changes.entry((name.to_string(), key.to_vec())).or_insert_with(|| (copy(before), None));
        change.1 = copy(after);
    }
}

fn too_much() -> Error {
    let message = format!("it changes over {PENDING_BYTES_MAX} bytes that plugins are to approve");
    Error::invalid(message).hint("split it up")
}

impl Guard {
    fn covers(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|pattern| matches(pattern, namespace))
    }

    fn wants(&self, namespace: &str, key: &[u8]) -> bool {
        self.covers(namespace)
            && (self.prefixes.is_empty()
                || self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes())))
    }

    /// Shows a slice of the changes to the plugin.
    fn ask(
        &self,
        transaction: &mut Transaction<'_, '_>,
        effects: Effects,
        changes: &Changes,
    ) -> Result<Effects> {
        let inner = transaction.commit.inner;
        let failed = |kind: CallErrorKind, message: &str| {
            let name = &self.name;
            let level = if kind == CallErrorKind::Failed { Level::Info } else { Level::Error };
            journal::note(inner, name, level, format!("before_commit: {message}"));
            match (kind, self.on_failure) {
                (CallErrorKind::Failed, _) => {
                    let message = format!("plugin `{name}` refuses: {message}");
                    Err(Error::new(Kind::Refused, message).hint("mend what it names; nothing was committed"))
                }
                (_, OnFailure::Allow) => {
                    inner.plugins.count_failure(inner, name, message);
                    Ok(())
                }
                (_, OnFailure::Refuse) => {
                    inner.plugins.count_failure(inner, name, message);
                    let message = format!("plugin `{name}` cannot say whether to commit this: {message}");
                    let hint =
                        format!("mend the plugin, or `cohab plugin disable {name}`; nothing was committed");
                    Err(Error::new(Kind::Refused, message).hint(hint))
                }
            }
        };
        let generation = match &self.generation {
            Ok(generation) => generation,
            Err(error) => {
                failed(CallErrorKind::Trapped, &error.to_string())?;
                return Ok(effects);
            }
        };
        let clock = inner.options.clock.clone();
        let mut desk = Desk::new(transaction, &generation.state, &*clock);
        desk.effects = effects;
        let outcome = generation.call(Call::BeforeCommit(changes), &mut desk);
        let effects = desk.effects;
        journal::note_logs(inner, &self.name, generation.number, &outcome.logs);
        if let Err(error) = outcome.result {
            failed(error.kind, &error.message)?;
        }
        Ok(effects)
    }

    /// Shows all changes that the plugin wants to see, in slices.
    fn ask_all<'a>(
        &self,
        transaction: &mut Transaction<'_, '_>,
        mut effects: Effects,
        changes: impl Iterator<Item = (&'a str, &'a [u8], Option<&'a [u8]>, Option<&'a [u8]>)>,
    ) -> Result<Effects> {
        let (version, time) = (transaction.version(), transaction.commit.now);
        let mut slice = Changes::new();
        for (namespace, key, before, after) in
            changes.filter(|(namespace, key, ..)| self.wants(namespace, key))
        {
            slice.push(ChangeRef { version, time, namespace, key, before, after });
            if slice.len() >= SLICE_CHANGES || slice.as_bytes().len() >= SLICE_BYTES {
                effects = self.ask(transaction, effects, &slice)?;
                slice.clear();
            }
        }
        if !slice.is_empty() {
            effects = self.ask(transaction, effects, &slice)?;
        }
        Ok(effects)
    }
}

impl Transaction<'_, '_> {
    /// Asks the plugins that guard what the transaction has changed.
    ///
    /// # Errors
    ///
    /// [`Kind::Refused`].
    pub(crate) fn ask_plugins(&mut self) -> Result<()> {
        let Some(roster) = self.pending.roster.take() else { return Ok(()) };
        if self.pending.bytes > PENDING_BYTES_MAX {
            return Err(too_much());
        }
        let changes = std::mem::take(&mut self.pending.changes);
        for guard in &roster.guards {
            let changes = changes.iter().map(|((namespace, key), (before, after))| {
                (namespace.as_str(), key.as_slice(), before.as_deref(), after.as_deref())
            });
            guard.ask_all(self, Effects::default(), changes)?;
        }
        Ok(())
    }
}

impl Batch {
    /// Asks the plugins that guard what the batch would change, before any of it is done: a batch shares its commit with
    /// others, and what it has done could not be taken back alone.
    pub(crate) fn ask_plugins(&self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        let Some(roster) = transaction.pending.roster.take() else { return Ok(()) };
        let outcome = self.outcome();
        let is_guarded = |name: &str| roster.guards.iter().any(|guard| guard.covers(name));
        let mut changes = Vec::new();
        let mut effects = Effects::default();
        let mut bytes = 0;
        for ((namespace, key), after) in outcome {
            if namespace.is_reserved() {
                continue;
            }
            // Also what nobody guards: a plugin may look at it.
            effects.set(namespace.as_str(), key, after.cloned());
            if !is_guarded(namespace.as_str()) {
                continue;
            }
            let before = match transaction.commit.find_any(namespace)? {
                Some(id) => transaction.get_in(id, key)?.map(|value| value.to_bytes()),
                None => None,
            };
            bytes += key.len() + before.as_ref().map_or(0, Bytes::len);
            if bytes > PENDING_BYTES_MAX {
                return Err(too_much());
            }
            if before.is_some() || after.is_some() {
                changes.push((namespace.as_str(), key, before, after));
            }
        }
        for guard in &roster.guards {
            let changes = changes.iter().map(|(namespace, key, before, after)| {
                (*namespace, &***key, before.as_deref(), after.map(|after| &**after))
            });
            // What the plugin reads is as the batch would leave it.
            effects = guard.ask_all(transaction, effects, changes)?;
        }
        Ok(())
    }
}
