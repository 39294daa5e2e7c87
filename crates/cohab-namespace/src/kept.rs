//! Versions that are kept: named snapshots, and those that are taken before something is destroyed.

use std::fmt;

use cohab_core::{NamespaceId, Timestamp, Version};
use serde::{Deserialize, Serialize};

/// How the names begin of the snapshots that the store takes by itself.
pub const SAFETY_PREFIX: &str = "safety/";

/// A version under a name. The log keeps what it takes to go back there, within bounds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Kept {
    /// The version.
    pub version: Version,
    /// When the snapshot was made.
    pub created_at: Timestamp,
    /// What the snapshot is for.
    pub purpose: Purpose,
    /// Why the version is kept no longer, if so.
    pub lapsed: Option<Lapse>,
}

/// What a snapshot is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purpose {
    /// Somebody asked for it.
    Named {
        /// What for; may be empty.
        note: String,
    },
    /// It was taken before something was destroyed, in the same transaction.
    Safety(Safety),
}

/// What was about to be destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Safety {
    /// By what.
    pub operation: Operation,
    /// Whose data; none if it was the whole store.
    pub namespace: Option<NamespaceId>,
    /// What that was called then; empty for the whole store.
    pub name: String,
    /// The version that has undone it.
    pub undone: Option<Version>,
}

/// Something that destroys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// A namespace was dropped.
    Drop,
    /// Data was rolled back.
    RollBack,
    /// Data was loaded over what there was.
    Load,
    /// One of the others was undone.
    Undo,
    /// A plugin's state was brought to another layout.
    Migrate,
}

/// Why a version is kept no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Lapse {
    /// The log had grown past what may be kept.
    Bytes,
    /// It was a safety snapshot, and had become old.
    Age,
    /// There were more safety snapshots than may be.
    Number,
}

impl Kept {
    /// Keeps a version that somebody asked for.
    pub const fn named(version: Version, created_at: Timestamp, note: String) -> Self {
        Self { version, created_at, purpose: Purpose::Named { note }, lapsed: None }
    }

    /// Keeps the version before something is destroyed.
    pub fn safety(
        version: Version,
        created_at: Timestamp,
        operation: Operation,
        namespace: Option<(NamespaceId, &str)>,
    ) -> Self {
        let name = namespace.map(|(_, name)| name.to_owned()).unwrap_or_default();
        let namespace = namespace.map(|(id, _)| id);
        let safety = Safety { operation, namespace, name, undone: None };
        Self { version, created_at, purpose: Purpose::Safety(safety), lapsed: None }
    }

    /// Returns what was about to be destroyed, if that is what it was taken for.
    pub const fn as_safety(&self) -> Option<&Safety> {
        match &self.purpose {
            Purpose::Safety(safety) => Some(safety),
            Purpose::Named { .. } => None,
        }
    }

    /// Returns whether the log has to keep the version: not once it has lapsed, or what it was taken before was undone.
    pub const fn is_active(&self) -> bool {
        let is_undone = matches!(&self.purpose, Purpose::Safety(Safety { undone: Some(_), .. }));
        self.lapsed.is_none() && !is_undone
    }
}

impl Operation {
    /// Returns the operation's name, as in the names of snapshots.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::RollBack => "rollback",
            Self::Load => "load",
            Self::Undo => "undo",
            Self::Migrate => "migrate",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Lapse {
    /// Returns the reason in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Number => "number",
        }
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timestamp = Timestamp::from_micros(5);

    fn safety(undone: Option<u64>) -> Kept {
        let dropped = Some((NamespaceId::new(3), "flags"));
        let mut kept = Kept::safety(Version::new(7), TIME, Operation::Drop, dropped);
        if let Purpose::Safety(safety) = &mut kept.purpose {
            safety.undone = undone.map(Version::new);
        }
        kept
    }

    #[test]
    fn it_is_kept_until_it_lapses_or_is_undone() {
        let named = Kept::named(Version::new(7), TIME, "before the move".into());
        let lapsed = |kept: Kept| Kept { lapsed: Some(Lapse::Age), ..kept };
        let check = |kept: Kept, is_active| assert_eq!(kept.is_active(), is_active, "{kept:?}");
        check(named.clone(), true);
        check(lapsed(named), false);
        check(safety(None), true);
        check(safety(Some(9)), false);
        check(lapsed(safety(None)), false);
        check(lapsed(safety(Some(9))), false);
    }

    #[test]
    fn a_safety_snapshot_says_what_it_was_taken_before() {
        let kept = safety(None);
        let safety = kept.as_safety().expect("is one");
        assert_eq!((safety.operation, safety.namespace), (Operation::Drop, Some(NamespaceId::new(3))));
        assert_eq!(safety.name, "flags");
        assert_eq!(Kept::named(Version::new(7), TIME, String::new()).as_safety(), None);
        let whole = Kept::safety(Version::new(7), TIME, Operation::RollBack, None);
        let safety = whole.as_safety().expect("is one");
        assert_eq!((safety.namespace, &*safety.name), (None, ""));
    }

    /// Names of snapshots, and what is printed, are made of these words.
    #[test]
    fn operations_and_reasons_have_their_names() {
        use Operation::{Drop, Load, Migrate, RollBack, Undo};
        let operations = [Drop, RollBack, Load, Undo, Migrate].map(|operation| operation.to_string());
        assert_eq!(operations, ["drop", "rollback", "load", "undo", "migrate"]);
        let reasons = [Lapse::Bytes, Lapse::Age, Lapse::Number].map(|lapse| lapse.to_string());
        assert_eq!(reasons, ["bytes", "age", "number"]);
    }
}
