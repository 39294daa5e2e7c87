//! The lines of a dump, as JSON.

use std::fmt;

use cohab_core::{Digest, Name};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{NamespaceEnd, NamespaceHeader, Totals};
use crate::object::{self, present, present_object};
use crate::{Error, Result, Text};

/// A line after the first.
#[derive(Debug)]
pub(super) enum Line<'a> {
    Namespace(NamespaceHeader),
    Entry(Text<'a>, Text<'a>),
    End(End),
    EndOfDump(Totals),
}

/// What a namespace's last line says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    pub(super) namespace: Name,
    pub(super) keys: u64,
    pub(super) bytes: u64,
    #[serde(with = "hex")]
    pub(super) digest: Digest,
    #[serde(with = "hex")]
    pub(super) header: Digest,
}

/// Every field that any line has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    key: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present_object")]
    namespace: Option<NamespaceHeader>,
    #[serde(default, deserialize_with = "present_object")]
    end: Option<End>,
    #[serde(default, deserialize_with = "present_object")]
    end_of_dump: Option<Totals>,
}

impl<'a> Line<'a> {
    pub(super) fn parse(number: u64, bytes: &'a [u8]) -> Result<Self> {
        let Object { key, value, namespace, end, end_of_dump } = object::parse(number, bytes)?;
        match (key, value, namespace, end, end_of_dump) {
            (Some(key), Some(value), None, None, None) => Ok(Self::Entry(key, value)),
            (None, None, Some(header), None, None) => Ok(Self::Namespace(header)),
            (None, None, None, Some(end), None) => Ok(Self::End(end)),
            (None, None, None, None, Some(totals)) => Ok(Self::EndOfDump(totals)),
            _ => {
                let problem =
                    "a line holds `key` and `value`, or exactly one of `namespace`, `end` and `end_of_dump`";
                Err(Error::malformed(number, problem, bytes))
            }
        }
    }
}

impl End {
    pub(super) fn into_public(self) -> NamespaceEnd {
        let Self { namespace: name, keys, bytes, digest, header: _ } = self;
        NamespaceEnd { name, keys, bytes, digest }
    }
}

/// The counts and digests as an error tells them.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, keys, bytes, digest, header } = self;
        write!(f, "namespace {namespace:?} with {keys} keys, {bytes} bytes, digest {digest}, header {header}")
    }
}

/// Digests as text, since most readers of JSON would round a number of 128 bits.
mod hex {
    use super::{Deserialize, Deserializer, Digest, Serializer, de};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
