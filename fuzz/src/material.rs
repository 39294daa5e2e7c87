//! The names, keys and values that plans are made of: few and similar, so that steps meet.

use std::fmt;

use arbitrary::{Arbitrary, Result, Unstructured};
use cohab::Name;

/// One of six names.
#[derive(Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) struct Namespace(u8);

impl Namespace {
    /// Returns the name.
    pub(crate) fn name(self) -> Name {
        // Prefixes of each other, and one that sorts behind all that is ASCII.
        let names = ["a", "a/b", "ab", "b", "b/a/b", "ü"];
        Name::new(names[usize::from(self.0) % names.len()]).expect("is a name")
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// A key, most often one of 64 that are prefixes of each other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Returns whether a store refuses it.
    pub(crate) fn is_too_long(&self) -> bool {
        self.0.len() > cohab::limits::KEY_BYTES_MAX
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> Arbitrary<'a> for Key {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        const FILLINGS: [u8; 4] = [0, b'k', 0xFE, 0xFF];
        let choice: u8 = input.arbitrary()?;
        Ok(Self(match choice {
            0..0xC0 => vec![FILLINGS[usize::from(choice) / 16 % 4]; usize::from(choice) % 16],
            // Of the longest length there is, and one more, which is refused.
            0xC0..0xC8 => vec![choice; cohab::limits::KEY_BYTES_MAX + usize::from(choice == 0xC7)],
            _ => input.arbitrary()?,
        }))
    }

    fn size_hint(_depth: usize) -> (usize, Option<usize>) {
        (1, None)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        short(f, &self.0)
    }
}

/// A value: a few bytes, or many of one.
#[derive(Clone, PartialEq, Eq, Arbitrary)]
pub(crate) enum Value {
    /// These.
    Bytes(Vec<u8>),
    /// The same byte many times.
    Filled(u8, u16),
}

impl Value {
    /// Returns the bytes.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            // Seldom long, so that a plan does not spend its time on one value.
            Self::Filled(byte, count) => vec![*byte; usize::from(count >> (byte % 8))],
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        short(f, &self.to_vec())
    }
}

fn short(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    match bytes {
        [first, .., _] if bytes.len() > 32 => write!(f, "[{first}, …; {}]", bytes.len()),
        _ => write!(f, "\"{}\"", bytes.escape_ascii()),
    }
}
