//! Which keys of a namespace a command is about.

use std::ffi::OsString;
use std::ops::Bound;

use clap::Args;

use super::bytes::Encoding;
use crate::failure::Failure;

/// A part of a namespace; without any of these, all of it.
#[derive(Debug, Args)]
pub(super) struct KeyRange {
    /// Only keys that begin with this
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    prefix: Option<OsString>,
    /// Only this key and greater ones
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    from: Option<OsString>,
    /// Only keys smaller than this
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    to: Option<OsString>,
    #[command(flatten)]
    encoding: Encoding,
}

/// The bounds of a range, owned.
pub(super) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl KeyRange {
    /// Returns the bounds that all of the conditions together make, or `None` if everything is meant.
    pub(super) fn bounds(&self) -> Result<Option<Bounds>, Failure> {
        let read = |argument: &Option<OsString>| {
            argument.as_deref().map(|argument| self.encoding.key(argument)).transpose()
        };
        let from_input = [&self.prefix, &self.from, &self.to].into_iter().flatten().filter(|key| *key == "-");
        if from_input.count() > 1 {
            return Err(Failure::usage("only one of the arguments can be read from the standard input"));
        }
        let (prefix, from, to) = (read(&self.prefix)?, read(&self.from)?, read(&self.to)?);
        if prefix.is_none() && from.is_none() && to.is_none() {
            return Ok(None);
        }
        Ok(Some(bounds_of(prefix, from, to)))
    }
}

/// Returns the bounds of the keys that meet all of the conditions.
pub(super) fn bounds_of(prefix: Option<Vec<u8>>, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Bounds {
    let after_prefix = prefix.as_deref().and_then(successor);
    let start = [prefix, from].into_iter().flatten().max();
    let end = [after_prefix, to].into_iter().flatten().min();
    (start.map_or(Bound::Unbounded, Bound::Included), end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// The smallest key that is greater than all that begin with a prefix; there is none behind `ff ff …`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut successor = prefix[..=last].to_vec();
    successor[last] += 1;
    Some(successor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_add_up() {
        let check = |prefix: Option<&str>, from: Option<&str>, to: Option<&str>, expected: (&str, &str)| {
            let range = KeyRange {
                prefix: prefix.map(Into::into),
                from: from.map(Into::into),
                to: to.map(Into::into),
                encoding: Encoding::default(),
            };
            let (start, end) = range.bounds().expect("can be read").expect("there is a condition");
            let text = |bound: Bound<Vec<u8>>| match bound {
                Bound::Included(key) | Bound::Excluded(key) => String::from_utf8_lossy(&key).into_owned(),
                Bound::Unbounded => "…".to_owned(),
            };
            assert_eq!((&*text(start), &*text(end)), expected);
        };
        check(Some("a"), None, None, ("a", "b"));
        check(Some("a"), Some("ab"), Some("ac"), ("ab", "ac"));
        check(Some("b"), Some("a"), Some("c"), ("b", "c"));
        check(None, Some("x"), None, ("x", "…"));
        check(Some(""), None, None, ("", "…"));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
    }
}
