//! What a plugin reads and writes during a call: the store as it is, and over it what the call has written so far.
//!
//! A call changes nothing by itself. When it has succeeded, its [`Effects`] become part of a batch or of a transaction;
//! when it has not, they are dropped.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use cohab_core::{Clock, Timestamp};
use cohab_plugin::{Host, HostError};

use super::records::{SCHEMA_KEY, find, own};
use crate::layout::prefix_end;
use crate::view::Direction;
use crate::{Batch, Result, Snapshot, Transaction};

type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// What a call reads from.
pub(crate) trait Base {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;
    fn scan(
        &mut self,
        namespace: &str,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut Visit<'_>,
    ) -> Result<()>;
}

impl Base for &Snapshot {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(view) = find(self, namespace)? else { return Ok(false) };
        Ok(view.get(key)?.map(|value| found(&value)).is_some())
    }

    fn scan(
        &mut self,
        namespace: &str,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let Some(view) = find(self, namespace)? else { return Ok(()) };
        for entry in view.scan(bounds, Direction::Forward)? {
            let entry = entry?;
            if visit(entry.key(), entry.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Base for Transaction<'_, '_> {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(id) = self.commit.find_any(&own(namespace)?)? else { return Ok(false) };
        Ok(self.get_in(id, key)?.map(|value| found(&value)).is_some())
    }

    fn scan(
        &mut self,
        namespace: &str,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let Some(id) = self.commit.find_any(&own(namespace)?)? else { return Ok(()) };
        for entry in self.range_in(id, bounds, Direction::Forward)? {
            let entry = entry?;
            if visit(entry.key(), entry.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What to leave under keys; `None` removes them.
type Keys = BTreeMap<Vec<u8>, Option<Bytes>>;

/// What a call wants written: by namespace, and there by key; `None` removes it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Few, so looked through.
    namespaces: Vec<(String, Keys)>,
}

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Names the namespaces that are written.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(|(name, _)| name.as_str())
    }

    fn of(&self, namespace: &str) -> Option<&Keys> {
        self.namespaces.iter().find(|(name, _)| name == namespace).map(|(_, keys)| keys)
    }

    pub(crate) fn set(&mut self, namespace: &str, key: &[u8], value: Option<Bytes>) {
        let known = self.namespaces.iter().position(|(name, _)| name == namespace);
        let index = known.unwrap_or_else(|| {
            self.namespaces.push((namespace.to_owned(), BTreeMap::new()));
            self.namespaces.len() - 1
        });
        self.namespaces[index].1.insert(key.to_vec(), value);
    }

    /// Adds them to a batch.
    pub(crate) fn batch(self, mut batch: Batch) -> Result<Batch> {
        for (namespace, keys) in self.namespaces {
            let namespace = own(&namespace)?;
            for (key, value) in keys {
                batch = match value {
                    Some(value) => batch.put_creating(&namespace, key, value),
                    None => batch.discard(&namespace, key),
                };
            }
        }
        Ok(batch)
    }

    /// Writes them in a transaction.
    pub(crate) fn apply(self, transaction: &mut Transaction<'_, '_>) -> Result<()> {
        for (namespace, keys) in self.namespaces {
            for (key, value) in keys {
                match value {
                    Some(value) => transaction.put_own(&namespace, &key, &value)?,
                    None => _ = transaction.delete_own(&namespace, &key)?,
                }
            }
        }
        Ok(())
    }
}

/// A call's access to the store.
pub(crate) struct Desk<'d> {
    base: &'d mut dyn Base,
    /// The namespace that is the plugin's own.
    state: &'d str,
    clock: &'d dyn Clock,
    pub(crate) effects: Effects,
    /// The namespaces that were read.
    pub(crate) read: Vec<String>,
}

impl<'d> Desk<'d> {
    pub(crate) fn new(base: &'d mut dyn Base, state: &'d str, clock: &'d dyn Clock) -> Self {
        Self { base, state, clock, effects: Effects::default(), read: Vec::new() }
    }
}

impl Host for Desk<'_> {
    fn get(&mut self, namespace: &str, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool, HostError> {
        let namespace = named(namespace, self.state);
        if let Some(written) = self.effects.of(namespace).and_then(|keys| keys.get(key)) {
            return Ok(written.as_ref().map(|value| found(value)).is_some());
        }
        if is_own(namespace, self.state, key) {
            return Ok(false);
        }
        note_read(&mut self.read, namespace);
        Ok(self.base.get(namespace, key, found)?)
    }

    fn put(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<(), HostError> {
        let namespace = named(namespace, self.state);
        if is_own(namespace, self.state, key) {
            return Err("the key \"\\0schema\" of a plugin's state is the host's own".into());
        }
        self.effects.set(namespace, key, Some(Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn delete(&mut self, namespace: &str, key: &[u8]) -> Result<bool, HostError> {
        let was_there = self.get(namespace, key, &mut |_| {})?;
        if was_there {
            self.effects.set(named(namespace, self.state), key, None);
        }
        Ok(was_there)
    }

    fn scan(
        &mut self,
        namespace: &str,
        prefix: &[u8],
        from: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), HostError> {
        let namespace = named(namespace, self.state);
        note_read(&mut self.read, namespace);
        let start = Bound::Included(if from > prefix { from } else { prefix });
        let end = prefix_end(prefix);
        let bounds = (start, end.as_ref().map(Vec::as_slice));
        let is_empty = match (&bounds.0, &bounds.1) {
            (Bound::Included(start), Bound::Excluded(end)) => start >= end,
            _ => false,
        };
        if is_empty {
            return Ok(());
        }
        let written = self.effects.of(namespace);
        let mut written = written.into_iter().flat_map(|keys| keys.range::<[u8], _>(bounds)).peekable();
        let mut is_over = false;
        let state = self.state;
        self.base.scan(namespace, bounds, &mut |key, value| {
            // What is written comes in its place, and instead of what was there.
            while let Some((earlier, value)) = written.next_if(|(written, _)| written.as_slice() < key) {
                if let Some(value) = value
                    && visit(earlier, value).is_break()
                {
                    is_over = true;
                    return ControlFlow::Break(());
                }
            }
            let shown = match written.next_if(|(written, _)| written.as_slice() == key) {
                Some((_, value)) => value.as_deref(),
                None if is_own(namespace, state, key) => None,
                None => Some(value),
            };
            let flow = shown.map_or(ControlFlow::Continue(()), |value| visit(key, value));
            is_over |= flow.is_break();
            flow
        })?;
        if !is_over {
            for (key, value) in written {
                if let Some(value) = value
                    && visit(key, value).is_break()
                {
                    break;
                }
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Timestamp {
        self.clock.now()
    }
}

/// Returns the namespace that a plugin means.
fn named<'n>(namespace: &'n str, state: &'n str) -> &'n str {
    if namespace.is_empty() { state } else { namespace }
}

/// Whether it is the one key of the state that is the host's.
fn is_own(namespace: &str, state: &str, key: &[u8]) -> bool {
    key == SCHEMA_KEY && namespace == state
}

fn note_read(read: &mut Vec<String>, namespace: &str) {
    if !read.iter().any(|known| known == namespace) {
        read.push(namespace.to_owned());
    }
}
