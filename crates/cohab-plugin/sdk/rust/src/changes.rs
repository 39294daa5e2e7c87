//! What the handlers of commits are handed.

/// The length that stands for a value that is not there.
const ABSENT: u32 = u32::MAX;

/// Changes of keys, in the order in which they were committed. They are decoded as they are iterated, and nothing is copied.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    left: u32,
    rest: &'a [u8],
}

/// A change of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<'a> {
    /// The version of the store that made it; before a commit, the one to come.
    pub version: u64,
    /// When that was committed, in microseconds since 1970.
    pub time: u64,
    /// The name of the namespace.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// The value before, if there was one.
    pub before: Option<&'a [u8]>,
    /// The value after, unless the key was removed.
    pub after: Option<&'a [u8]>,
}

impl<'a> Changes<'a> {
    /// Reads changes as the host encodes them. Handlers are handed them; this is for tests.
    ///
    /// The encoding is a `u32` count and then for each change `u64` version, `u64` time, and, each with its length in a `u32`
    /// before it, namespace, key, value before and value after, all little-endian; the length `0xFFFF_FFFF` is an absent value.
    ///
    /// # Panics
    ///
    /// If there is no count. Where bytes are missing later on, the iteration panics.
    pub fn decode(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        let left = number(&mut rest);
        Self { left, rest }
    }

    fn piece(&mut self) -> Option<&'a [u8]> {
        let len = number(&mut self.rest);
        if len == ABSENT {
            return None;
        }
        let (piece, rest) = self.rest.split_at(len as usize);
        self.rest = rest;
        Some(piece)
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(Change {
            version: long_number(&mut self.rest),
            time: long_number(&mut self.rest),
            namespace: self.piece().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default(),
            key: self.piece().unwrap_or_default(),
            before: self.piece(),
            after: self.piece(),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Changes<'_> {}

pub(crate) fn number(rest: &mut &[u8]) -> u32 {
    let (number, after) = rest.split_at(4);
    *rest = after;
    u32::from_le_bytes([number[0], number[1], number[2], number[3]])
}

fn long_number(rest: &mut &[u8]) -> u64 {
    let (low, high) = (number(rest), number(rest));
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &mut Vec<u8>, piece: &[u8]) {
        bytes.extend((piece.len() as u32).to_le_bytes());
        bytes.extend(piece);
    }

    #[test]
    fn changes_come_out_as_the_host_encodes_them() {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for version in [7_u64, 1 << 40] {
            bytes.extend(version.to_le_bytes());
            bytes.extend((version + 1).to_le_bytes());
            piece(&mut bytes, "größe".as_bytes());
            piece(&mut bytes, b"key");
            bytes.extend(ABSENT.to_le_bytes());
            piece(&mut bytes, b"");
        }
        let change = |version| Change {
            version,
            time: version + 1,
            namespace: "größe",
            key: b"key",
            before: None,
            after: Some(b""),
        };
        let changes = Changes::decode(&bytes);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes.collect::<Vec<_>>(), [change(7), change(1 << 40)]);
    }

    #[test]
    fn no_changes_are_none() {
        assert_eq!(Changes::decode(&[0; 4]).next(), None);
    }
}
