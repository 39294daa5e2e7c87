//! Versions, epochs and the tokens that carry them between processes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::StoreId;

/// Counts the logical transactions of a store: 1, 2, 3 …, without gaps. Zero is the empty store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    /// The version of a store that nothing was committed to.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw count.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw count.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the version after this one.
    ///
    /// # Panics
    ///
    /// After 2⁶⁴ − 1 transactions, which a store that commits a million times a second reaches after
    /// 584,000 years.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("a store does not live for 2^64 transactions"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Counts the writers a store has had, one after the other. A writer of an older epoch is fenced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch of a store that no writer ever committed to.
    pub const ZERO: Self = Self(0);

    /// Wraps a raw count.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns the raw count.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the epoch of the next writer.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of one particular store: what one process hands another to say "read at least this".
///
/// Its text form is `<store uuid>@<version>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Token {
    /// The store that the version counts in.
    pub store: StoreId,
    /// The version to be reached.
    pub version: Version,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.store, self.version)
    }
}

/// The text is not a token: it should read `<store uuid>@<version>`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("token {0:?} is not of the form <store uuid>@<version>")]
pub struct TokenParseError(String);

impl FromStr for Token {
    type Err = TokenParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (store, version) = text.split_once('@')?;
            Some(Self { store: store.parse().ok()?, version: Version::new(version.parse().ok()?) })
        };
        parse().ok_or_else(|| TokenParseError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_epochs_count() {
        let (version, epoch) = (Version::new(41), Epoch::new(41));
        assert_eq!((version.next().get(), epoch.next().get()), (42, 42));
        assert_eq!((version.to_string(), format!("{version:?}")), ("41".to_owned(), "v41".to_owned()));
        assert_eq!(epoch.to_string(), "41");
        assert_eq!((Version::ZERO.get(), Epoch::ZERO.get()), (0, 0));
        assert_eq!(Epoch::new(u64::MAX).next(), Epoch::new(u64::MAX), "nobody follows the last");
    }

    #[test]
    fn a_token_survives_its_text_form() {
        let token = Token { store: StoreId::generate(), version: Version::new(42) };
        assert_eq!(token.to_string().parse(), Ok(token));
        for wrong in
            ["", "@", "42", "nonsense@1", &format!("{}@", token.store), &format!("{}@-1", token.store)]
        {
            assert!(wrong.parse::<Token>().is_err(), "{wrong:?} was taken for a token");
        }
    }
}
