//! Values of the host as values of a script, and back.

use std::ops::Deref;

use rhai::{Array, Blob, Dynamic, ImmutableString, Map};

use crate::Changes;

/// Bytes that a script handed over.
pub(super) enum Bytes {
    Text(ImmutableString),
    Blob(Blob),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Blob(blob) => blob,
        }
    }
}

/// A string, if that is what the bytes are; a blob otherwise.
pub(super) fn of_bytes(bytes: &[u8]) -> Dynamic {
    match str::from_utf8(bytes) {
        Ok(text) => Dynamic::from(ImmutableString::from(text)),
        Err(_) => Dynamic::from_blob(bytes.to_vec()),
    }
}

/// The numbers of scripts are signed; what does not fit is the most that does.
pub(super) fn of_number(number: u64) -> Dynamic {
    Dynamic::from_int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// An array of maps.
pub(super) fn of_changes(changes: &Changes) -> Dynamic {
    let mut array = Array::with_capacity(changes.len() as usize);
    // Changes of one commit are mostly of one namespace.
    let mut namespace = ("", Dynamic::from(ImmutableString::new()));
    for change in changes.iter() {
        if change.namespace != namespace.0 {
            namespace = (change.namespace, Dynamic::from(ImmutableString::from(change.namespace)));
        }
        let value = |value: Option<&[u8]>| value.map_or(Dynamic::UNIT, of_bytes);
        let mut map = Map::new();
        map.insert("version".into(), of_number(change.version.get()));
        map.insert("time".into(), of_number(change.time.as_micros()));
        map.insert("namespace".into(), namespace.1.clone());
        map.insert("key".into(), of_bytes(change.key));
        map.insert("before".into(), value(change.before));
        map.insert("after".into(), value(change.after));
        array.push(Dynamic::from_map(map));
    }
    Dynamic::from_array(array)
}

/// The bytes of a string or a blob; the type's name for everything else.
pub(super) fn to_bytes(value: Dynamic) -> Result<Bytes, &'static str> {
    if value.is_string() {
        value.into_immutable_string().map(Bytes::Text)
    } else if value.is_blob() {
        value.into_blob().map(Bytes::Blob)
    } else {
        Err(value.type_name())
    }
}

/// What a thrown value says. An error that was caught and is thrown again is a map with a message.
pub(super) fn message_of(thrown: &Dynamic) -> Option<String> {
    if thrown.is_unit() {
        return None;
    }
    let message = thrown.as_map_ref().ok().and_then(|map| map.get("message").map(ToString::to_string));
    Some(message.unwrap_or_else(|| thrown.to_string()))
}

/// A value of JSON. What is a whole number stays one.
pub(super) fn of_json(json: serde_json::Value) -> Dynamic {
    use serde_json::Value;
    match json {
        Value::Null => Dynamic::UNIT,
        Value::Bool(is) => is.into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(values) => Dynamic::from_array(values.into_iter().map(of_json).collect()),
        Value::Object(entries) => Dynamic::from_map(
            entries.into_iter().map(|(name, value)| (name.into(), of_json(value))).collect(),
        ),
    }
}
