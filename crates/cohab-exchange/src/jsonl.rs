//! Entries of a namespace, one JSON object a line: `{"key":"k","value":"v"}`.
//!
//! Keys and values are [`Text`]. `ns` and `version`, which a scan writes beside them, are read over, so that
//! what was scanned from one namespace can be loaded into another; any other field is refused.

use std::io::BufRead;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::{check_key, check_value};
use crate::{Result, Text, lines, object};

/// A key and its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// The line it was read from, counted from 1.
    pub line: u64,
}

/// Reads entries, one a line; blank lines are skipped. After an error nothing more is yielded.
///
/// Keys may come in any order and more than once.
pub fn entries<R: BufRead>(reader: R) -> impl Iterator<Item = Result<Entry>> {
    lines::parse_each(reader, |line| parse(line.number, line.bytes))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Text<'a>,
    #[serde(default, rename = "ns")]
    _ns: IgnoredAny,
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
}

fn parse(number: u64, line: &[u8]) -> Result<Entry> {
    let object: Object<'_> = object::parse(number, line)?;
    check_key(number, object.key.as_bytes())?;
    check_value(number, object.value.as_bytes())?;
    Ok(Entry { key: object.key.into_vec(), value: object.value.into_vec(), line: number })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_read_with_their_lines() {
        let input = concat!(
            r#"{"key":"a","value":"1"}"#,
            "\r\n\n \t\n",
            r#"{"ns":"x","version":3,"value":{"base64":"/w=="},"key":{"base64":"AA=="}}"#
        );
        let read: Result<Vec<_>> = entries(input.as_bytes()).collect();
        let entry = |key: &[u8], value: &[u8], line| Entry { key: key.into(), value: value.into(), line };
        assert_eq!(read.expect("is well-formed"), [entry(b"a", b"1", 1), entry(b"\0", b"\xff", 4)]);
    }

    #[test]
    fn what_is_refused_says_where_and_why() {
        let check = |line: &str, why: &str| {
            let input = format!("\n\n{line}\n");
            let message = entries(input.as_bytes()).next().expect("a line").expect_err(line).to_string();
            assert!(message.starts_with("line 3: ") && message.contains(why), "{line}: {message}");
        };
        check("{", "EOF");
        check(r#"["a","1"]"#, "invalid type: sequence, expected an object");
        check(r#"{"key":"a"}"#, "missing field `value`");
        check(r#"{"key":"a","value":null}"#, "invalid type: null");
        check(r#"{"key":"a","value":"1","ttl":5}"#, "unknown field `ttl`");
        check(r#"{"key":"a","value":"1","key":"b"}"#, "duplicate field `key`");
        check(&format!(r#"{{"key":"{}","value":""}}"#, "k".repeat(2049)), "the key `kkk");
    }

    proptest! {
        #[test]
        fn entries_survive_the_way_there_and_back(pairs: Vec<(Vec<u8>, Vec<u8>)>) {
            let mut input = String::new();
            for (key, value) in &pairs {
                let [key, value] = [key, value].map(|bytes| serde_json::to_string(&Text::new(bytes)));
                writeln!(input, r#"{{"key":{},"value":{}}}"#, key?, value?)?;
            }
            let read: Result<Vec<_>> = entries(input.as_bytes()).collect();
            let read: Vec<_> = read?.into_iter().map(|entry| (entry.key, entry.value)).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>) {
            entries(&bytes[..]).for_each(drop);
        }
    }
}
