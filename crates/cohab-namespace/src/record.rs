//! A namespace's records.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use cohab_core::limits::{
    DESCRIPTION_BYTES_MAX, LABEL_KEY_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, TITLE_BYTES_MAX,
};
use cohab_core::{Contents, Name, NamespaceId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Update};

/// How much of a namespace's past the log keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Every change with the images before and after, within the store's retention.
    #[default]
    Full,
    /// Versions, counts and digests only.
    Off,
}

impl History {
    /// Returns the policy's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is neither `full` nor `off`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("history {0:?} is neither `full` nor `off`")]
pub struct HistoryParseError(String);

impl FromStr for History {
    type Err = HistoryParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "off" => Ok(Self::Off),
            other => Err(HistoryParseError(other.to_owned())),
        }
    }
}

/// What people say about a namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metadata {
    /// What it is called in paths and commands.
    pub name: Name,
    /// What it is called for readers; may be empty.
    pub title: String,
    /// What it is for; may be empty.
    pub description: String,
    /// Free key/value pairs.
    pub labels: BTreeMap<String, String>,
    /// Whether dropping it is refused.
    pub protected: bool,
    /// How much of its past is kept.
    pub history: History,
}

impl Metadata {
    /// Names a namespace and leaves everything else at its default.
    pub const fn new(name: Name) -> Self {
        Self {
            name,
            title: String::new(),
            description: String::new(),
            labels: BTreeMap::new(),
            protected: false,
            history: History::Full,
        }
    }

    /// Checks every text against its bound.
    pub fn check(&self) -> Result<()> {
        let name = || self.name.as_str().to_owned();
        let bounded = |what, bytes: usize, max| {
            if bytes <= max { Ok(()) } else { Err(Error::TooLong { name: name(), what, bytes, max }) }
        };
        bounded("title", self.title.len(), TITLE_BYTES_MAX)?;
        bounded("description", self.description.len(), DESCRIPTION_BYTES_MAX)?;
        if self.labels.len() > LABELS_MAX {
            return Err(Error::TooManyLabels { name: name(), labels: self.labels.len(), max: LABELS_MAX });
        }
        for (key, value) in &self.labels {
            if key.is_empty() || key.chars().any(|c| c.is_control() || c == '=') {
                return Err(Error::LabelKey { key: key.clone() });
            }
            bounded("label key", key.len(), LABEL_KEY_BYTES_MAX)?;
            bounded("label value", value.len(), LABEL_VALUE_BYTES_MAX)?;
        }
        Ok(())
    }
}

/// When a namespace was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// The version that dropped it.
    pub version: Version,
    /// When that was.
    pub at: Timestamp,
}

/// A namespace, apart from what it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Its identity, for ever.
    pub id: NamespaceId,
    /// What people say about it.
    pub metadata: Metadata,
    /// The version that created it.
    pub created: Version,
    /// When that was.
    pub created_at: Timestamp,
    /// The version that last changed this record.
    pub meta_version: Version,
    /// Set while it lies in the trash.
    pub dropped: Option<Dropped>,
}

impl Record {
    /// Makes a new namespace.
    pub fn create(id: NamespaceId, metadata: Metadata, version: Version, at: Timestamp) -> Result<Self> {
        metadata.check()?;
        Ok(Self { id, metadata, created: version, created_at: at, meta_version: version, dropped: None })
    }

    /// Says that a version has changed it.
    #[must_use]
    pub fn at(self, version: Version) -> Self {
        Self { meta_version: version, ..self }
    }

    fn changed(&self, version: Version) -> Self {
        Self { meta_version: version, ..self.clone() }
    }

    /// Changes the metadata.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if the update expects another `meta_version`, and errors of bounds.
    pub fn update(&self, update: &Update, version: Version) -> Result<Self> {
        if let Some(expected) = update.expected.filter(|&expected| expected != self.meta_version) {
            let name = self.metadata.name.as_str().to_owned();
            return Err(Error::Conflict { name, expected, found: self.meta_version });
        }
        let mut record = self.changed(version);
        update.apply(&mut record.metadata);
        record.metadata.check()?;
        Ok(record)
    }

    /// Gives it another name.
    #[must_use]
    pub fn renamed(&self, name: Name, version: Version) -> Self {
        let mut record = self.changed(version);
        record.metadata.name = name;
        record
    }

    /// Lays it in the trash.
    ///
    /// # Errors
    ///
    /// [`Error::Protected`] always stands; [`Error::NotEmpty`] unless `even_if_not_empty`.
    pub fn dropped(
        &self,
        contents: &Contents,
        even_if_not_empty: bool,
        version: Version,
        at: Timestamp,
    ) -> Result<Self> {
        let name = || self.metadata.name.as_str().to_owned();
        if self.metadata.protected {
            return Err(Error::Protected { name: name() });
        }
        if contents.keys > 0 && !even_if_not_empty {
            return Err(Error::NotEmpty { name: name(), keys: contents.keys });
        }
        Ok(Self { dropped: Some(Dropped { version, at }), ..self.changed(version) })
    }

    /// Takes it out of the trash.
    #[must_use]
    pub fn undropped(&self, version: Version) -> Self {
        Self { dropped: None, ..self.changed(version) }
    }
}
