//! A change of metadata.

use std::collections::BTreeMap;

use cohab_core::Version;

use crate::{History, Metadata};

/// What to change of a namespace's metadata; everything that is not named stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Update {
    title: Option<String>,
    description: Option<String>,
    labels: BTreeMap<String, Option<String>>,
    protected: Option<bool>,
    history: Option<History>,
    pub(crate) expected: Option<Version>,
}

impl Update {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets the description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets one label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), Some(value.into()));
        self
    }

    /// Removes one label, if it is there.
    #[must_use]
    pub fn unlabel(mut self, key: impl Into<String>) -> Self {
        self.labels.insert(key.into(), None);
        self
    }

    /// Sets whether dropping the namespace is refused.
    #[must_use]
    pub fn protected(mut self, protected: bool) -> Self {
        self.protected = Some(protected);
        self
    }

    /// Sets how much of its past is kept from now on.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Makes the update fail unless the namespace is at this `meta_version`.
    #[must_use]
    pub fn if_meta_version(mut self, version: Version) -> Self {
        self.expected = Some(version);
        self
    }

    pub(crate) fn apply(&self, metadata: &mut Metadata) {
        if let Some(title) = &self.title {
            metadata.title.clone_from(title);
        }
        if let Some(description) = &self.description {
            metadata.description.clone_from(description);
        }
        if let Some(protected) = self.protected {
            metadata.protected = protected;
        }
        if let Some(history) = self.history {
            metadata.history = history;
        }
        for (key, value) in &self.labels {
            match value {
                Some(value) => _ = metadata.labels.insert(key.clone(), value.clone()),
                None => _ = metadata.labels.remove(key),
            }
        }
    }
}
