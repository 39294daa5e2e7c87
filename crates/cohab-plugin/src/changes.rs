//! Changes as plugins are handed them.
//!
//! One encoding for every tier, in the layout that the interface's document gives: a little-endian `u32` count, then for
//! each change `version: u64, time: u64` (microseconds since 1970), and, each with its length in a `u32` before it, the
//! namespace's name, the key, the value before and the value after. The length `0xFFFF_FFFF` stands for a value that is not there.

use cohab_core::{Timestamp, Version};

const ABSENT: u32 = u32::MAX;

/// Changes of keys, in the order in which they were committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    bytes: Vec<u8>,
}

/// A change of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeRef<'a> {
    /// The version that made it; the one to come before a commit.
    pub version: Version,
    /// When that was committed, by the wall clock.
    pub time: Timestamp,
    /// The namespace's name.
    pub namespace: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// The value before, if there was one.
    pub before: Option<&'a [u8]>,
    /// The value after, unless the key was removed.
    pub after: Option<&'a [u8]>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { bytes: vec![0; 4] }
    }
}

impl Changes {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one at the end.
    ///
    /// # Panics
    ///
    /// If a piece is over 4 GiB long, which the limits on keys and values do not allow.
    pub fn push(&mut self, change: ChangeRef<'_>) {
        let ChangeRef { version, time, namespace, key, before, after } = change;
        self.bytes.extend_from_slice(&version.get().to_le_bytes());
        self.bytes.extend_from_slice(&time.as_micros().to_le_bytes());
        self.piece(Some(namespace.as_bytes()));
        self.piece(Some(key));
        self.piece(before);
        self.piece(after);
        let count = self.len() + 1;
        self.bytes[..4].copy_from_slice(&count.to_le_bytes());
    }

    fn piece(&mut self, piece: Option<&[u8]>) {
        let len =
            piece.map_or(ABSENT, |piece| u32::try_from(piece.len()).expect("a piece is under 4 GiB long"));
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(piece.unwrap_or_default());
    }

    /// Returns how many there are.
    pub fn len(&self) -> u32 {
        u32::from_le_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]])
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets them, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(4);
        self.bytes.fill(0);
    }

    /// Returns them as they are handed to a WebAssembly module.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns them one after the other.
    pub fn iter(&self) -> impl Iterator<Item = ChangeRef<'_>> {
        let mut rest = &self.bytes[4..];
        (0..self.len()).map(move |_| {
            let (version, time) = (number(&mut rest), number(&mut rest));
            let namespace = str::from_utf8(take_piece(&mut rest).unwrap_or_default()).unwrap_or_default();
            let key = take_piece(&mut rest).unwrap_or_default();
            let (before, after) = (take_piece(&mut rest), take_piece(&mut rest));
            let (version, time) = (Version::new(version), Timestamp::from_micros(time));
            ChangeRef { version, time, namespace, key, before, after }
        })
    }
}

fn number(rest: &mut &[u8]) -> u64 {
    let (number, after) = rest.split_first_chunk().expect("what `push` wrote is whole");
    *rest = after;
    u64::from_le_bytes(*number)
}

fn take_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk().expect("what `push` wrote is whole");
    *rest = after;
    let len = u32::from_le_bytes(*len);
    if len == ABSENT {
        return None;
    }
    let (piece, after) = rest.split_at(len as usize);
    *rest = after;
    Some(piece)
}
