//! Encodings of values.

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// An encoding of values.
pub trait Codec {
    /// Encodes a value.
    fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;

    /// Decodes a value from exactly these bytes.
    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, Box<dyn Error + Send + Sync>>;
}

/// The [postcard](https://postcard.jamesmunns.com/) encoding: compact, fast, without field names. Fields may be
/// appended to a type only where everything that reads the old values copes with their absence.
#[derive(Clone, Copy, Debug)]
pub enum Postcard {}

impl Codec for Postcard {
    fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(postcard::to_extend(value, Vec::new())?)
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, Box<dyn Error + Send + Sync>> {
        match postcard::take_from_bytes(bytes)? {
            (value, []) => Ok(value),
            (_, rest) => Err(format!("{} bytes are left over", rest.len()).into()),
        }
    }
}

/// JSON: larger and slower, and readable by everything.
#[cfg(feature = "json")]
#[derive(Clone, Copy, Debug)]
pub enum Json {}

#[cfg(feature = "json")]
impl Codec for Json {
    fn encode<V: Serialize>(value: &V) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
