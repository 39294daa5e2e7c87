//! Names of namespaces.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// The name of a namespace: a `/`-separated path of non-empty segments, such as `flags` or `team/prod/flags`.
///
/// A name is valid by construction. Rules: 1 to 255 bytes of UTF-8; segments are not empty, `.` or `..`; no
/// control characters, no backslash, no white space at the ends of a segment; the first segment does not begin
/// with `_`, which is reserved. Names are compared byte by byte: `a` and `a/b` are two unrelated namespaces, and
/// so are `Flags` and `flags`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a [`Name`]. Every variant carries the text it refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("a namespace name is empty")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`] bytes.
    #[error("namespace name {start:?}… is {bytes} bytes long, the most is {NAME_BYTES_MAX}")]
    TooLong {
        /// How the name begins.
        start: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The name holds a character that names may not hold.
    #[error("namespace name {name:?} holds {character:?}, which names may not")]
    Character {
        /// The refused name.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// A segment between slashes is empty, `.` or `..`, or begins or ends with white space.
    #[error(
        "namespace name {name:?} has the segment {segment:?}: segments between slashes are not empty, `.` or `..`, \
         nor do they begin or end with white space"
    )]
    Segment {
        /// The refused name.
        name: String,
        /// The offending segment.
        segment: String,
    },
    /// The name begins with an underscore.
    #[error("namespace name {0:?} begins with `_`, which is reserved")]
    Reserved(String),
    /// The name is not UTF-8.
    #[error("namespace name {0:?} is not UTF-8")]
    NotUtf8(String),
}

impl Name {
    /// Checks a text against the rules and keeps it.
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        let name = Self::any(text)?;
        if name.is_reserved() { Err(NameError::Reserved(name.0.as_ref().to_owned())) } else { Ok(name) }
    }

    /// Checks a text that may also be a name that is reserved for cohab: to look something up, not to make it.
    pub fn any(text: impl AsRef<str>) -> Result<Self, NameError> {
        let text = text.as_ref();
        let name = || text.to_owned();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { start: text.chars().take(32).collect(), bytes: text.len() });
        }
        if let Some(character) = text.chars().find(|&c| c.is_control() || c == '\\' || is_invisible(c)) {
            return Err(NameError::Character { name: name(), character });
        }
        let bad = |segment: &&str| matches!(*segment, "" | "." | "..") || segment.trim() != *segment;
        if let Some(segment) = text.split('/').find(bad) {
            return Err(NameError::Segment { name: name(), segment: segment.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// Returns whether it begins with `_`, as the names do that cohab gives.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('_')
    }

    /// Checks bytes that may not even be text; like [`any`](Self::any), it takes what is reserved.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NameError> {
        let text = str::from_utf8(bytes).map_err(|_| {
            let start = &bytes[..bytes.len().min(NAME_BYTES_MAX)];
            NameError::NotUtf8(String::from_utf8_lossy(start).into_owned())
        })?;
        Self::any(text)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name's bytes, which sort as names do.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Characters that print as nothing or turn the direction of what follows: two names that look the same would
/// not be.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    /// As [`any`](Name::any) does, because what was stored is read back so.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::any(text)
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl TryFrom<&Name> for Name {
    type Error = NameError;

    fn try_from(name: &Name) -> Result<Self, Self::Error> {
        Ok(name.clone())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_kept() {
        let longest = "n".repeat(NAME_BYTES_MAX);
        for text in ["a", "a/b", "team/prod/flags", "Grüße", "with space", "a.b", "...", "a_b", &longest] {
            assert_eq!(Name::new(text).map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_name_is_the_same_in_every_form() {
        let name = Name::new("team/flags").expect("is a name");
        assert_eq!((name.as_str(), name.as_bytes()), ("team/flags", &b"team/flags"[..]));
        assert_eq!((name.to_string(), format!("{name:?}")), ("team/flags".into(), "\"team/flags\"".into()));
        assert_eq!((name.as_ref(), Borrow::<str>::borrow(&name)), ("team/flags", "team/flags"));
        assert_eq!("team/flags".parse(), Ok(name.clone()));
        assert_eq!(Name::try_from("team/flags"), Ok(name.clone()));
        assert_eq!(Name::try_from(&name), Ok(name.clone()));
        assert_eq!(Name::try_from(String::from(name.clone())), Ok(name.clone()));
        assert_eq!(Name::from_bytes(b"team/flags"), Ok(name));
    }

    /// Applications do not give reserved names, and read them back where cohab has given them.
    #[test]
    fn reserved_names_are_found_and_not_given() {
        let name = Name::any("_plugins").expect("may be looked up");
        assert!(name.is_reserved());
        assert!(!Name::any("a/_b").expect("is a name").is_reserved());
        assert_eq!(Name::try_from("_plugins".to_owned()), Ok(name.clone()));
        assert_eq!(Name::from_bytes(b"_plugins"), Ok(name));
        let refused = Err(NameError::Reserved("_plugins".into()));
        assert_eq!(Name::new("_plugins"), refused);
        assert_eq!("_plugins".parse::<Name>(), refused);
        assert_eq!(Name::try_from("_plugins"), refused);
    }

    #[test]
    fn a_refusal_shows_no_more_than_the_beginning() {
        let refused = Name::new("n".repeat(1000)).expect_err("is too long");
        assert_eq!(refused, NameError::TooLong { start: "n".repeat(32), bytes: 1000 });
        let refused = Name::from_bytes(&[0xFF; 1000]).expect_err("is no text");
        assert_eq!(refused, NameError::NotUtf8("\u{FFFD}".repeat(NAME_BYTES_MAX)));
    }

    #[test]
    fn names_that_are_refused_say_why() {
        let check = |text: &str, why: &str| {
            let message = Name::new(text).expect_err(text).to_string();
            assert!(message.contains(why), "{text:?}: {message}");
        };
        check("", "empty");
        check(&"n".repeat(NAME_BYTES_MAX + 1), "256 bytes long");
        check("/", "segment");
        check("/a", "segment");
        check("a/", "segment");
        check("a//b", "segment");
        check(".", "segment");
        check("a/../b", r#""..""#);
        check(" a", "white space");
        check("a/ b", "white space");
        check("a\0b", r"'\0'");
        check("a\nb", r"'\n'");
        check("a\u{7f}", r"'\u{7f}'");
        check("a\\b", "'\\\\'");
        for invisible in ['\u{200b}', '\u{200f}', '\u{2028}', '\u{202e}', '\u{2060}', '\u{206f}', '\u{feff}']
        {
            check(&format!("a{invisible}b"), "holds");
        }
        check("_meta", "reserved");
        assert!(matches!(Name::from_bytes(b"a\xff"), Err(NameError::NotUtf8(_))));
    }
}
