//! Results, before they take a form.

use std::borrow::Cow;

use cohab::{Timestamp, Version};
use cohab_exchange::Text;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::printable;

/// One field's value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Cell<'a> {
    /// Nothing.
    Null,
    /// A truth.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text that cohab wrote or checked.
    Text(Cow<'a, str>),
    /// A key or a value: any bytes.
    Bytes(Cow<'a, [u8]>),
    /// Something with parts.
    Json(Value),
}

/// A result: fields in the order in which they are printed.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Record<'a>(Vec<(&'static str, Cell<'a>)>);

impl<'a> Record<'a> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, cell: impl Into<Cell<'a>>) -> Self {
        self.0.push((name, cell.into()));
        self
    }

    /// Adds a key or a value.
    #[must_use]
    pub(crate) fn with_bytes(self, name: &'static str, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        self.with(name, Cell::Bytes(bytes.into()))
    }

    /// The record with no more of each key and value than a line can show, to keep for a while.
    pub(crate) fn shortened(&self, columns: usize) -> Record<'static> {
        let shorten = |(name, cell): &(&'static str, Cell<'a>)| {
            let cell = match cell {
                Cell::Null => Cell::Null,
                Cell::Bool(value) => Cell::Bool(*value),
                Cell::Number(number) => Cell::Number(*number),
                other => Cell::from(other.shown(columns)),
            };
            (*name, cell)
        };
        Record(self.0.iter().map(shorten).collect())
    }

    /// Adds the fields of another record.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The record as a part of something else.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn fields(&self) -> &[(&'static str, Cell<'a>)] {
        &self.0
    }

    /// Returns a field's value; one that is not there is null.
    pub(crate) fn cell(&self, name: &str) -> &Cell<'a> {
        self.0.iter().find(|(field, _)| *field == name).map_or(&Cell::Null, |(_, cell)| cell)
    }
}

impl Cell<'_> {
    /// The cell as a part of something else.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The cell as text for people, in one line of at most so many columns.
    pub(crate) fn shown(&self, columns_max: usize) -> String {
        match self {
            Self::Null => String::new(),
            Self::Bool(value) => if *value { "yes" } else { "no" }.to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => printable(text.as_bytes(), columns_max),
            Self::Bytes(bytes) => printable(bytes, columns_max),
            Self::Json(value) => printable(plain(value).as_bytes(), columns_max),
        }
    }

    /// The cell's bytes for programs that want nothing around them.
    pub(crate) fn raw(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Null => Cow::Borrowed(b""),
            Self::Bool(value) => Cow::Owned(value.to_string().into_bytes()),
            Self::Number(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Text(text) => Cow::Borrowed(text.as_bytes()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Json(value) => Cow::Owned(plain(value).into_bytes()),
        }
    }

    /// Whether a person reads it as a number, which stands at the right of its column.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }
}

/// Parts of a cell without the marks of JSON, as far as they can be told apart without.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let field = |(name, value)| format!("{name}={}", plain(value));
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, cell) in &self.0 {
            map.serialize_entry(name, cell)?;
        }
        map.end()
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => Text::new(bytes).serialize(serializer),
            Self::Json(value) => value.serialize(serializer),
        }
    }
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<Version> for Cell<'_> {
    fn from(version: Version) -> Self {
        Self::Number(version.get())
    }
}

impl From<bool> for Cell<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Timestamp> for Cell<'_> {
    fn from(time: Timestamp) -> Self {
        Self::from(time.to_string())
    }
}

impl From<Value> for Cell<'_> {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
