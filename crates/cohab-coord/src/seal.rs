//! Numbers that prove themselves: 48 bits and a check of 16 in one word.
//!
//! Because number and check are one word, there is no moment in which one is new and the other old, whoever is
//! killed when.

/// The largest number that a word can hold. A store that commits a million times a second gets there after nine
/// years; from then on its page says nothing.
pub(crate) const NUMBER_MAX: u64 = (1 << NUMBER_BITS) - 1;

const NUMBER_BITS: u32 = 48;
const CHECK_BITS: u32 = 64 - NUMBER_BITS;

/// What makes the check of one place in one store's page differ from that of any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seal(u64);

impl Seal {
    /// The seal of a store, from the two halves of its id.
    pub(crate) fn of_store([high, low]: [u64; 2]) -> Self {
        Self(mix(mix(high) ^ low))
    }

    /// The seal of one place, so that a word which turns up elsewhere, or a pattern that repeats, is worth
    /// nothing.
    pub(crate) fn at(self, place: u64) -> Self {
        Self(mix(self.0.wrapping_add(place)))
    }

    /// Makes a word of a number, or the word that means nothing, 0, if the number is too large.
    pub(crate) fn close(self, number: u64) -> u64 {
        if number > NUMBER_MAX {
            return 0;
        }
        // No check is 0, so the word 0, which is what lost pages read as, is never a number.
        let check = (mix(self.0 ^ number) >> NUMBER_BITS).max(1);
        number << CHECK_BITS | check
    }

    /// Returns the number in a word, or `None` if it is not one that was made for this place.
    pub(crate) fn open(self, word: u64) -> Option<u64> {
        let number = word >> CHECK_BITS;
        (word == self.close(number)).then_some(number)
    }
}

/// Spreads every bit over all others (the finalizer of SplitMix64).
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_valid_in_its_place_alone() {
        let seal = Seal::of_store([1, 2]);
        let here = seal.at(3);
        for number in [0, 1, 77, NUMBER_MAX] {
            let word = here.close(number);
            assert_eq!(here.open(word), Some(number));
            for elsewhere in [seal, seal.at(4), Seal::of_store([2, 1]).at(3)] {
                assert_eq!(elsewhere.open(word), None);
            }
        }
        assert_eq!(here.close(NUMBER_MAX + 1), 0);
        for nothing in [0, u64::MAX, 0x4141_4141_4141_4141] {
            assert_eq!(here.open(nothing), None);
        }
    }

    #[test]
    fn zero_is_no_number_in_any_place() {
        let seal = Seal::of_store([1, 2]);
        assert!((0..1_000_000).all(|place| seal.at(place).open(0).is_none()));
    }
}
