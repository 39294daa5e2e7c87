//! The words that say whose page it is.

use cohab_core::StoreId;

use crate::seal::{Seal, mix};

/// The first eight bytes of the file.
const MAGIC: u64 = u64::from_ne_bytes(*b"cohabpg\0");

/// The layout that this build writes and reads. Written in the machine's byte order, like everything here, so that
/// a machine of the other order takes the page for one of another layout.
pub(crate) const LAYOUT: u64 = 1;

/// What a page of a store begins with: magic, layout, the two halves of the store's id, and a check of the four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header([u64; 5]);

/// What is wrong with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mismatch {
    Nonsense,
    Layout(u64),
    OtherStore,
}

impl Header {
    pub(crate) fn of(store: StoreId) -> Self {
        let digits = store.to_string().replace('-', "");
        let [high, low] = [&digits[..16], &digits[16..]]
            .map(|half| u64::from_str_radix(half, 16).expect("a uuid is written in hexadecimal digits"));
        Self([MAGIC, LAYOUT, high, low, check([MAGIC, LAYOUT, high, low])])
    }

    pub(crate) fn seal(self) -> Seal {
        Seal::of_store([self.0[2], self.0[3]])
    }

    /// The words as they are in the file.
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> {
        self.0.into_iter().flat_map(u64::to_ne_bytes)
    }

    /// Compares with what a page holds, and says what is wrong if it does not match.
    pub(crate) fn matches(self, found: [u64; 5]) -> Result<(), Mismatch> {
        let [magic, layout, high, low, sum] = found;
        match () {
            () if found == self.0 => Ok(()),
            () if magic != MAGIC || sum != check([magic, layout, high, low]) => Err(Mismatch::Nonsense),
            () if layout != LAYOUT => Err(Mismatch::Layout(layout)),
            () => Err(Mismatch::OtherStore),
        }
    }
}

fn check(words: [u64; 4]) -> u64 {
    words.into_iter().fold(0, |sum, word| mix(sum ^ word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_what_is_wrong_with_another() {
        let [ours, theirs] = [(); 2].map(|()| Header::of(StoreId::generate()));
        assert_eq!(ours.matches(ours.0), Ok(()));
        assert_eq!(ours.matches(theirs.0), Err(Mismatch::OtherStore));
        assert_eq!(ours.matches([0; 5]), Err(Mismatch::Nonsense));
        for word in 0..5 {
            let mut flipped = ours.0;
            flipped[word] ^= 1 << 17;
            assert_eq!(ours.matches(flipped), Err(Mismatch::Nonsense), "word {word}");
        }
        let [magic, _, high, low, _] = ours.0;
        let newer = [magic, 2, high, low, check([magic, 2, high, low])];
        assert_eq!(ours.matches(newer), Err(Mismatch::Layout(2)));
    }

    #[test]
    fn a_header_is_what_the_documentation_draws() {
        let id = "00112233-4455-6677-8899-aabbccddeeff";
        let header = Header::of(id.parse().expect("is a uuid"));
        assert_eq!(header.0[2..4], [0x0011_2233_4455_6677, 0x8899_AABB_CCDD_EEFF]);
        assert!(header.bytes().take(8).eq(*b"cohabpg\0"));
        assert_eq!(header.bytes().count(), 40);
    }
}
