//! Identities: of stores, of the instances that use them, and of namespaces.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies a store for as long as it exists. A store that is dropped and created anew gets another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(Uuid);

impl StoreId {
    /// Makes a fresh random identity (UUID version 4).
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

/// Identifies one open handle of a store: a process, or one of several within it.
///
/// Identities sort by the time they were made (UUID version 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// Makes a fresh identity.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

/// The text is not a UUID.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a uuid")]
pub struct IdParseError(String);

macro_rules! uuid_text {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdParseError(text.to_owned()))
            }
        }
    };
}

uuid_text!(StoreId);
uuid_text!(InstanceId);

/// Identifies a namespace within its store, for ever: neither a rename nor dropping and recreating a namespace
/// of the same name reuses it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamespaceId(u32);

impl NamespaceId {
    /// The first identity that is handed out.
    pub const FIRST: Self = Self(1);

    /// Wraps a raw identity.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns the raw identity.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the identity to hand out after this one, or `None` once all 2³² − 1 are used up.
    #[must_use]
    pub const fn checked_next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(raw) => Some(Self(raw)),
            None => None,
        }
    }

    /// The identity as the four bytes that begin every key of the namespace; they sort as the number does.
    pub const fn to_be_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    /// Undoes [`to_be_bytes`](Self::to_be_bytes).
    pub const fn from_be_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_their_text_form() {
        let (store, instance) = (StoreId::generate(), InstanceId::generate());
        assert_eq!(store.to_string().parse(), Ok(store));
        assert_eq!(instance.to_string().parse(), Ok(instance));
        assert_eq!(store.to_string().len(), 36);
        let refused = "nonsense".parse::<StoreId>().expect_err("is no uuid");
        assert_eq!(refused.to_string(), "\"nonsense\" is not a uuid");
    }

    #[test]
    fn identities_are_fresh_and_those_of_instances_sort_by_their_age() {
        assert_ne!(StoreId::generate(), StoreId::generate());
        let earlier = InstanceId::generate();
        assert!(earlier < InstanceId::generate());
    }

    #[test]
    fn identities_of_namespaces_are_numbers_that_are_used_up() {
        let id = NamespaceId::new(0x0102_0304);
        assert_eq!((id.get(), id.to_be_bytes()), (0x0102_0304, [1, 2, 3, 4]));
        assert_eq!(NamespaceId::from_be_bytes([1, 2, 3, 4]), id);
        assert_eq!(NamespaceId::FIRST.checked_next(), Some(NamespaceId::new(2)));
        assert_eq!(NamespaceId::new(u32::MAX).checked_next(), None);
        assert_eq!((id.to_string(), format!("{id:?}")), ("16909060".to_owned(), "ns16909060".to_owned()));
    }
}
