//! Operations of a transaction, one JSON object a line.
//!
//! | line | meaning |
//! |---|---|
//! | `{"put":{"ns":"a","key":"k","value":"v"}}` | gives a key a value; with `"create":true`, in a namespace that may not be there yet |
//! | `{"del":{"ns":"a","key":"k"}}` | removes a key |
//! | `{"expect":{"ns":"a","key":"k","value":"v"}}` | the key has this value |
//! | `{"expect":{"ns":"a","key":"k","version":7}}` | the key last changed at this version |
//! | `{"expect":{"ns":"a","key":"k","absent":true}}` | the key is not there; with `false`, it is |
//! | `{"expect":{"ns":"a","data_version":7}}` | the namespace's data last changed at this version |
//! | `{"expect":{"ns":"a","meta_version":7}}` | the namespace's metadata last changed at this version |
//! | `{"expect":{"version":7}}` | the store is at this version |
//! | `{"expect":{"lock":"l","token":7}}` | no later holder of this lock was here; with `"shared":true`, the lock is held shared |
//!
//! Keys and values are [`Text`]. A line holds one operation; a field that is not in the table is refused, so
//! that a misspelt precondition does not silently hold.

use std::borrow::Cow;
use std::io::BufRead;

use cohab_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use cohab_core::{Name, NameError, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::quote;
use crate::object::{self, present, present_object};
use crate::{Error, Result, Text, lines};

/// One step of a transaction. Serde reads and writes it as the object that makes up its line.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Operation {
    /// Gives a key a value.
    Put {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
        /// Its new value.
        value: Vec<u8>,
        /// Whether the namespace is created should it not be there.
        create: bool,
    },
    /// Removes a key.
    Del {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
    },
    /// Makes the transaction depend on something.
    Expect(Expectation),
}

/// What a transaction depends on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Expectation {
    /// The key has this value.
    Value {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
        /// The value it has.
        value: Vec<u8>,
    },
    /// The key last changed at this version.
    KeyVersion {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
        /// The version of its last change.
        version: Version,
    },
    /// The key is there, whatever its value.
    Present {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
    },
    /// The key is not there.
    Absent {
        /// The namespace.
        ns: Name,
        /// The key.
        key: Vec<u8>,
    },
    /// The namespace's data last changed at this version.
    DataVersion {
        /// The namespace.
        ns: Name,
        /// The version of the last change.
        version: Version,
    },
    /// The namespace's metadata last changed at this version.
    MetaVersion {
        /// The namespace.
        ns: Name,
        /// The version of the last change.
        version: Version,
    },
    /// The store is at this version.
    StoreVersion(Version),
    /// The fencing token of a lock was not overtaken.
    Lock {
        /// The lock's name.
        lock: String,
        /// The token of the holder who asks.
        token: u64,
        /// Whether that one shares the lock with others.
        shared: bool,
    },
}

impl Operation {
    /// Reads one line. The error calls it line 1.
    pub fn parse(line: &[u8]) -> Result<Self> {
        parse(1, line)
    }
}

/// Reads operations, one a line; blank lines are skipped. After an error nothing more is yielded.
pub fn operations<R: BufRead>(reader: R) -> impl Iterator<Item = Result<Operation>> {
    lines::parse_each(reader, |line| parse(line.number, line.bytes))
}

fn parse(number: u64, line: &[u8]) -> Result<Operation> {
    let object: Object<'_> = object::parse(number, line)?;
    object.into_operation().map_err(|problem| Error::malformed(number, problem, line))
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Object::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::object::<_, Object<'_>>(deserializer)?.into_operation().map_err(de::Error::custom)
    }
}

/// An operation as it is written: every field that any has, most of them left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(borrow, default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    put: Option<Put<'a>>,
    #[serde(borrow, default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    del: Option<Del<'a>>,
    #[serde(borrow, default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    expect: Option<Expect<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Put<'a> {
    ns: Cow<'a, Name>,
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    create: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Del<'a> {
    ns: Cow<'a, Name>,
    #[serde(borrow)]
    key: Text<'a>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect<'a> {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    ns: Option<Cow<'a, Name>>,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    absent: Option<bool>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    data_version: Option<Version>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    meta_version: Option<Version>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    lock: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shared: bool,
}

const EXPECT_FORMS: &str = "`expect` has `ns` and `key` with one of `value`, `version` and `absent`, or `ns` with one \
     of `data_version` and `meta_version`, or `lock` and `token`, or `version` alone";

impl Object<'_> {
    fn into_operation(self) -> Result<Operation, String> {
        match self {
            Self { put: Some(put), del: None, expect: None } => Ok(Operation::Put {
                ns: written(put.ns)?,
                key: key(put.key)?,
                value: value(put.value)?,
                create: put.create,
            }),
            Self { put: None, del: Some(del), expect: None } => {
                Ok(Operation::Del { ns: written(del.ns)?, key: key(del.key)? })
            }
            Self { put: None, del: None, expect: Some(expect) } => {
                expect.into_expectation().map(Operation::Expect)
            }
            _ => Err("a line holds exactly one of `put`, `del` and `expect`".to_owned()),
        }
    }
}

/// A name that is reserved may be expected to be something, and not be written.
fn written(name: Cow<'_, Name>) -> Result<Name, String> {
    if name.is_reserved() {
        return Err(NameError::Reserved(name.to_string()).to_string());
    }
    Ok(name.into_owned())
}

impl Expect<'_> {
    fn into_expectation(self) -> Result<Expectation, String> {
        let Self { ns, key: of, value: content, version, absent, data_version, meta_version, .. } = self;
        let ns = ns.map(Cow::into_owned);
        if self.lock.is_some() || self.token.is_some() || self.shared {
            let others = (ns, of, content, version, absent, data_version, meta_version);
            return match (self.lock, self.token, others) {
                (Some(lock), Some(token), (None, None, None, None, None, None, None)) => {
                    Ok(Expectation::Lock { lock: lock.into_owned(), token, shared: self.shared })
                }
                _ => Err(EXPECT_FORMS.to_owned()),
            };
        }
        match (ns, of, content, version, absent, data_version, meta_version) {
            (Some(ns), Some(of), Some(content), None, None, None, None) => {
                Ok(Expectation::Value { ns, key: key(of)?, value: value(content)? })
            }
            (Some(ns), Some(of), None, Some(version), None, None, None) => {
                Ok(Expectation::KeyVersion { ns, key: key(of)?, version })
            }
            (Some(ns), Some(of), None, None, Some(true), None, None) => {
                Ok(Expectation::Absent { ns, key: key(of)? })
            }
            (Some(ns), Some(of), None, None, Some(false), None, None) => {
                Ok(Expectation::Present { ns, key: key(of)? })
            }
            (Some(ns), None, None, None, None, Some(version), None) => {
                Ok(Expectation::DataVersion { ns, version })
            }
            (Some(ns), None, None, None, None, None, Some(version)) => {
                Ok(Expectation::MetaVersion { ns, version })
            }
            (None, None, None, Some(version), None, None, None) => Ok(Expectation::StoreVersion(version)),
            _ => Err(EXPECT_FORMS.to_owned()),
        }
    }
}

fn key(text: Text<'_>) -> Result<Vec<u8>, String> {
    bounded("key", text, KEY_BYTES_MAX)
}

fn value(text: Text<'_>) -> Result<Vec<u8>, String> {
    bounded("value", text, VALUE_BYTES_MAX)
}

fn bounded(what: &str, text: Text<'_>, bytes_max: usize) -> Result<Vec<u8>, String> {
    if text.as_bytes().len() > bytes_max {
        return Err(format!("the {what} {} is longer than {bytes_max} bytes", quote(text.as_bytes())));
    }
    Ok(text.into_vec())
}

impl<'a> From<&'a Operation> for Object<'a> {
    fn from(operation: &'a Operation) -> Self {
        match operation {
            Operation::Put { ns, key, value, create } => Self {
                put: Some(Put {
                    ns: Cow::Borrowed(ns),
                    key: Text::new(key),
                    value: Text::new(value),
                    create: *create,
                }),
                ..Self::default()
            },
            Operation::Del { ns, key } => {
                Self { del: Some(Del { ns: Cow::Borrowed(ns), key: Text::new(key) }), ..Self::default() }
            }
            Operation::Expect(expectation) => {
                Self { expect: Some(Expect::from(expectation)), ..Self::default() }
            }
        }
    }
}

impl<'a> From<&'a Expectation> for Expect<'a> {
    fn from(expectation: &'a Expectation) -> Self {
        let of = |ns, key| Self { ns: Some(Cow::Borrowed(ns)), key: Some(Text::new(key)), ..Self::default() };
        let within = |ns| Self { ns: Some(Cow::Borrowed(ns)), ..Self::default() };
        match expectation {
            Expectation::Value { ns, key, value } => Self { value: Some(Text::new(value)), ..of(ns, key) },
            Expectation::KeyVersion { ns, key, version } => Self { version: Some(*version), ..of(ns, key) },
            Expectation::Present { ns, key } => Self { absent: Some(false), ..of(ns, key) },
            Expectation::Absent { ns, key } => Self { absent: Some(true), ..of(ns, key) },
            Expectation::DataVersion { ns, version } => Self { data_version: Some(*version), ..within(ns) },
            Expectation::MetaVersion { ns, version } => Self { meta_version: Some(*version), ..within(ns) },
            Expectation::StoreVersion(version) => Self { version: Some(*version), ..Self::default() },
            Expectation::Lock { lock, token, shared } => Self {
                lock: Some(Cow::Borrowed(lock)),
                token: Some(*token),
                shared: *shared,
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests;
