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

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp::from_micros(5);

    fn metadata() -> Metadata {
        Metadata::new("flags".parse().expect("is a name"))
    }

    fn record() -> Record {
        Record::create(NamespaceId::new(3), metadata(), Version::new(7), TIME).expect("is within bounds")
    }

    #[test]
    fn history_has_its_words() {
        for (history, word) in [(History::Full, "full"), (History::Off, "off")] {
            assert_eq!(history.to_string(), word);
            assert_eq!(word.parse(), Ok(history));
        }
        let refused = "Full".parse::<History>().expect_err("is neither");
        assert_eq!(refused.to_string(), "history \"Full\" is neither `full` nor `off`");
    }

    #[test]
    fn texts_are_as_long_as_they_may_be_and_no_longer() {
        let text = |len| "t".repeat(len);
        let labels = |count: usize| (0..count).map(|i| (i.to_string(), String::new())).collect();
        let label = |key: &str, value: String| BTreeMap::from([(key.to_owned(), value)]);
        let check = |metadata: Metadata, refusal: Option<&str>| {
            let checked = Record::create(NamespaceId::FIRST, metadata, Version::new(1), TIME);
            let message = checked.err().map(|error| error.to_string());
            assert_eq!(message.as_deref(), refusal);
        };
        let with = metadata;
        check(Metadata { title: text(TITLE_BYTES_MAX), ..with() }, None);
        let refusal = "title of namespace `flags` is 1025 bytes long, the most is 1024";
        check(Metadata { title: text(TITLE_BYTES_MAX + 1), ..with() }, Some(refusal));
        check(Metadata { description: text(DESCRIPTION_BYTES_MAX), ..with() }, None);
        let refusal = "description of namespace `flags` is 65537 bytes long, the most is 65536";
        check(Metadata { description: text(DESCRIPTION_BYTES_MAX + 1), ..with() }, Some(refusal));
        check(Metadata { labels: labels(LABELS_MAX), ..with() }, None);
        let refusal = "namespace `flags` would carry 65 labels, the most is 64";
        check(Metadata { labels: labels(LABELS_MAX + 1), ..with() }, Some(refusal));
        check(
            Metadata { labels: label(&text(LABEL_KEY_BYTES_MAX), text(LABEL_VALUE_BYTES_MAX)), ..with() },
            None,
        );
        let refusal = "label key of namespace `flags` is 64 bytes long, the most is 63";
        check(
            Metadata { labels: label(&text(LABEL_KEY_BYTES_MAX + 1), String::new()), ..with() },
            Some(refusal),
        );
        let refusal = "label value of namespace `flags` is 256 bytes long, the most is 255";
        check(Metadata { labels: label("k", text(LABEL_VALUE_BYTES_MAX + 1)), ..with() }, Some(refusal));
        for key in ["", "a=b", "a\nb"] {
            let refusal = format!("label key {key:?} is empty or holds `=` or a control character");
            check(Metadata { labels: label(key, String::new()), ..with() }, Some(&refusal));
        }
    }

    #[test]
    fn an_update_changes_what_it_names_and_leaves_the_rest() {
        let update = Update::new()
            .title("Feature flags")
            .description("what is on")
            .label("team", "web")
            .label("tier", "1")
            .protected(true)
            .history(History::Off);
        let all = record().update(&update, Version::new(8)).expect("is within bounds");
        let labels = [("team", "web"), ("tier", "1")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let expected = Metadata {
            title: "Feature flags".into(),
            description: "what is on".into(),
            labels: labels.clone().into(),
            protected: true,
            history: History::Off,
            ..metadata()
        };
        assert_eq!(all.metadata, expected);
        assert_eq!((all.created, all.created_at, all.meta_version), (Version::new(7), TIME, Version::new(8)));

        let none = all.update(&Update::new(), Version::new(9)).expect("is within bounds");
        assert_eq!(none, all.clone().at(Version::new(9)));
        let fewer = all.update(&Update::new().unlabel("tier").unlabel("none"), Version::new(9));
        assert_eq!(fewer.expect("is within bounds").metadata.labels, BTreeMap::from([labels[0].clone()]));
        let too_long = Update::new().title("t".repeat(TITLE_BYTES_MAX + 1));
        assert!(matches!(all.update(&too_long, Version::new(9)), Err(Error::TooLong { what: "title", .. })));
    }

    #[test]
    fn an_update_for_another_state_is_refused() {
        let update = |expected| Update::new().title("new").if_meta_version(Version::new(expected));
        assert!(record().update(&update(7), Version::new(8)).is_ok());
        let refused = record().update(&update(6), Version::new(8)).expect_err("is at version 7");
        let message = "namespace `flags` is at meta_version 7, not 6: read it again and decide anew";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn what_is_protected_or_holds_something_is_not_dropped_by_mistake() {
        let mut held = Contents::EMPTY;
        held.add(b"key", b"value");
        let open = record();
        let protected = record().update(&Update::new().protected(true), Version::new(8)).expect("may be");
        let check = |record: &Record, contents: &Contents, even_if_not_empty, refusal: Option<&str>| {
            let dropped = record.dropped(contents, even_if_not_empty, Version::new(9), TIME);
            let message = dropped.as_ref().err().map(ToString::to_string);
            assert_eq!(message.as_deref(), refusal);
            if let Ok(dropped) = dropped {
                assert_eq!(dropped.dropped, Some(Dropped { version: Version::new(9), at: TIME }));
                assert_eq!(dropped.meta_version, Version::new(9));
                let back = dropped.undropped(Version::new(10));
                assert_eq!(back, record.clone().at(Version::new(10)), "nothing else has changed");
            }
        };
        let is_held = "namespace `flags` holds 1 keys and is only dropped when told to drop it nevertheless";
        let is_protected = "namespace `flags` is protected; remove the protection first";
        check(&open, &Contents::EMPTY, false, None);
        check(&open, &Contents::EMPTY, true, None);
        check(&open, &held, false, Some(is_held));
        check(&open, &held, true, None);
        for (contents, even_if_not_empty) in [(&Contents::EMPTY, false), (&held, true)] {
            check(&protected, contents, even_if_not_empty, Some(is_protected));
        }
    }

    #[test]
    fn a_rename_changes_nothing_but_the_name() {
        let renamed = record().renamed("switches".parse().expect("is a name"), Version::new(8));
        assert_eq!((renamed.metadata.name.as_str(), renamed.meta_version), ("switches", Version::new(8)));
        let back = renamed.renamed("flags".parse().expect("is a name"), Version::new(7));
        assert_eq!(back, record());
    }
}
