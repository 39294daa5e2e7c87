//! The namespaces of a snapshot that were looked up already.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use cohab_cache::Space;
use cohab_namespace::{Contents, Record};

/// How many are kept; those that follow are looked up every time.
const KEPT_MAX: usize = 16;

/// A namespace as a snapshot shows it.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) record: Record,
    pub(crate) contents: Contents,
    /// Where its values are cached, once that was asked for.
    pub(crate) space: OnceLock<Arc<Space>>,
}

impl Namespace {
    pub(crate) fn new(record: Record, contents: Contents) -> Self {
        Self { record, contents, space: OnceLock::new() }
    }
}

/// A list that only grows, so that it is read without a lock and lent for as long as the snapshot lives.
#[derive(Debug)]
pub(crate) struct Namespaces {
    slots: [OnceLock<Box<Namespace>>; KEPT_MAX],
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { slots: [const { OnceLock::new() }; KEPT_MAX] }
    }
}

/// A namespace that was found: one that the snapshot keeps, or one of the caller's own.
#[derive(Clone, Debug)]
pub(crate) enum Found<'s> {
    Kept(&'s Namespace),
    Owned(Box<Namespace>),
}

impl Deref for Found<'_> {
    type Target = Namespace;

    #[inline]
    fn deref(&self) -> &Namespace {
        match self {
            Self::Kept(namespace) => namespace,
            Self::Owned(namespace) => namespace,
        }
    }
}

impl Namespaces {
    #[inline]
    pub(crate) fn find(&self, name: &str) -> Option<Found<'_>> {
        let kept = self.slots.iter().map_while(OnceLock::get);
        kept.map(|kept| &**kept).find(|kept| kept.record.metadata.name.as_str() == name).map(Found::Kept)
    }

    /// Keeps a namespace if there is room. Of two threads that keep the same, each may take a slot.
    pub(crate) fn keep(&self, namespace: Namespace) -> Found<'_> {
        let mut namespace = Box::new(namespace);
        for slot in &self.slots {
            match slot.set(namespace) {
                Ok(()) => return Found::Kept(slot.get().expect("was set a moment ago")),
                Err(refused) => namespace = refused,
            }
        }
        Found::Owned(namespace)
    }
}
