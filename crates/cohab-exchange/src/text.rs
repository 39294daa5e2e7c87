//! Bytes, written in JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use cohab_core::limits::{KEY_BYTES_MAX, LINE_BYTES_MAX, VALUE_BYTES_MAX};
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most bytes that a string may have in JSON, quotes aside: what base64 needs for the longest value.
const STRING_BYTES_MAX: usize = VALUE_BYTES_MAX.div_ceil(3) * 4;

const _: () = assert!(
    STRING_BYTES_MAX + KEY_BYTES_MAX * ESCAPE_BYTES_MAX + 1024 <= LINE_BYTES_MAX,
    "any key and any value fit into one line"
);

/// How many bytes JSON's longest escape makes of one.
const ESCAPE_BYTES_MAX: usize = 6;

/// A key or value in JSON: a string where the bytes are UTF-8, otherwise `{"base64":"…"}`.
///
/// Any bytes survive the way there and back. UTF-8 that a string would escape beyond what a line may hold (64
/// MiB of control characters become 384 MiB) is written in base64, too. Both forms are read for any bytes. What
/// is read from a slice is borrowed from it where the string has no escapes.
///
/// ```
/// use cohab_exchange::Text;
///
/// assert_eq!(serde_json::to_string(&Text::new("Grüße".as_bytes()))?, r#""Grüße""#);
/// assert_eq!(serde_json::to_string(&Text::new(b"\xff\x00"))?, r#"{"base64":"/wA="}"#);
/// let text: Text<'_> = serde_json::from_str(r#"{"base64":"/wA="}"#)?;
/// assert_eq!(text.as_bytes(), b"\xff\x00");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<'a>(Cow<'a, [u8]>);

impl<'a> Text<'a> {
    /// Borrows bytes to be written.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as the reader's own.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.0
    }

    /// Returns the bytes, copied if they are borrowed.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_owned()
    }
}

impl From<Vec<u8>> for Text<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Cow::Owned(bytes))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = str::from_utf8(&self.0)
            && fits_string(text)
        {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &Base64(&self.0))?;
        map.end()
    }
}

fn fits_string(text: &str) -> bool {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => ESCAPE_BYTES_MAX,
        _ => 1,
    };
    text.len() <= STRING_BYTES_MAX / ESCAPE_BYTES_MAX
        || text.bytes().map(escaped).sum::<usize>() <= STRING_BYTES_MAX
}

/// Bytes to be written in base64 without making a string of it first.
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"a string or {"base64": "…"}"#)
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.into()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.into_bytes()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let field = map.next_key::<String>()?;
        if field.as_deref() != Some("base64") {
            return Err(de::Error::custom(r#"bytes are a string or {"base64": "…"}, with no other field"#));
        }
        let bytes: Decoded = map.next_value()?;
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom(r#"{"base64": "…"} has another field"#));
        }
        Ok(Cow::Owned(bytes.0))
    }
}

/// Bytes read from base64 without copying the text first.
struct Decoded(Vec<u8>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Decode;
        impl Visitor<'_> for Decode {
            type Value = Decoded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decoded, E> {
                let bytes = STANDARD.decode(text);
                bytes.map(Decoded).map_err(|why| E::custom(format_args!("this is not base64: {why}")))
            }
        }
        deserializer.deserialize_str(Decode)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(bytes: &[u8]) -> String {
        serde_json::to_string(&Text::new(bytes)).expect("bytes can be written")
    }

    #[test]
    fn what_is_utf8_stays_legible() {
        let check = |bytes: &[u8], json: &str| assert_eq!(write(bytes), json);
        check(b"", r#""""#);
        check("Grüße \u{1f980}".as_bytes(), "\"Grüße \u{1f980}\"");
        check(b"a\"\\\n\0", r#""a\"\\\n\u0000""#);
        check(b"\xff", r#"{"base64":"/w=="}"#);
        check(b"\xed\xa0\x80", r#"{"base64":"7aCA"}"#);
    }

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let check = |json: &str, bytes: &[u8]| {
            let text: Text<'_> = serde_json::from_str(json).expect(json);
            assert_eq!(text.as_bytes(), bytes, "{json}");
        };
        check(r#""\u0061\ud83e\udd80""#, "a\u{1f980}".as_bytes());
        check(r#"{"base64":"YQ=="}"#, b"a");
        check(r#"{"b\u0061se64":"Y\u0051=="}"#, b"a");
        check(r#"{"base64":""}"#, b"");

        let refuse = |json: &str, why: &str| {
            let message = serde_json::from_str::<Text<'_>>(json).expect_err(json).to_string();
            assert!(message.contains(why), "{json}: {message}");
        };
        refuse(r#"{"base64":"YQ"}"#, "not base64");
        refuse(r#"{"base64":"YR=="}"#, "not base64");
        refuse(r#"{"base64":"Y Q=="}"#, "not base64");
        refuse(r#"{"base64":["a"]}"#, "a string in base64");
        refuse(r#"{"base64":"YQ==","more":1}"#, "another field");
        refuse(r#"{"hex":"61"}"#, r#"a string or {"base64""#);
        refuse("{}", r#"a string or {"base64""#);
        refuse("null", r#"expected a string or {"base64""#);
        refuse("5", r#"expected a string or {"base64""#);
        refuse(r#""\ud800""#, "unexpected end of hex escape");
    }

    #[test]
    fn what_escapes_would_blow_up_is_written_in_base64() {
        let check = |byte: u8, bytes: usize, start: &str| {
            let json = write(&vec![byte; bytes]);
            assert!(json.starts_with(start) && json.len() <= STRING_BYTES_MAX + 2);
        };
        let longest = STRING_BYTES_MAX / 6;
        check(0, longest, r#""\u0000"#);
        check(0, longest + 1, r#"{"base64":"AAAA"#);
        check(b'x', longest + 1, r#""xxx"#);
    }

    proptest! {
        #[test]
        fn any_bytes_survive(bytes: Vec<u8>, string: String) {
            for bytes in [&bytes[..], string.as_bytes()] {
                let json = write(bytes);
                prop_assert_eq!(json.starts_with('"'), str::from_utf8(bytes).is_ok());
                let text: Text<'_> = serde_json::from_str(&json)?;
                prop_assert_eq!(text.as_bytes(), bytes);
            }
        }
    }
}
