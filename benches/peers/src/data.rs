//! Rows that any process can make for itself: pseudo-random bytes from a fixed seed.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::workload::{Contents, FIRST_KEY, Key, first_rows};

/// The seed of rows of mixed sizes.
const SEED: u64 = 0x0031_e3d5;

/// How long values of mixed sizes are, in bytes: as many of them below 256 as above.
const SHORTEST: f64 = 16.0;
const LONGEST: f64 = 4096.0;

/// How long they are on average: the distance of the ends by that of their logarithms.
const MEAN: usize = 736;

/// Some rows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Data {
    /// The first so many rows of the workload, as they are before anything is overwritten.
    Even(usize),
    /// So many rows with values of mixed sizes.
    Mixed(usize),
}

impl Data {
    /// Rows of mixed sizes that take about so many bytes.
    pub fn mixed(bytes: usize) -> Self {
        Self::Mixed(bytes.div_ceil(FIRST_KEY.len() + MEAN))
    }

    /// The rows.
    pub fn rows(self) -> Box<dyn Iterator<Item = (Key, Vec<u8>)>> {
        match self {
            Self::Even(count) => Box::new(first_rows(count).map(|row| (row.key, row.value.to_vec()))),
            Self::Mixed(count) => {
                let mut random = Rng::with_seed(SEED);
                Box::new((0..count).map(move |_| mixed_row(&mut random)))
            }
        }
    }

    /// The sum of the rows.
    pub fn contents(self) -> Contents {
        let mut contents = Contents::default();
        self.rows().for_each(|(key, value)| contents.add(&key, &value));
        contents
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lengths are between the shortest and the longest"
)]
fn mixed_row(random: &mut Rng) -> (Key, Vec<u8>) {
    let mut key = FIRST_KEY;
    random.fill(&mut key);
    let mut value = vec![0; (SHORTEST * (LONGEST / SHORTEST).powf(random.f64())) as usize];
    random.fill(&mut value);
    (key, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Workload;

    #[test]
    fn even_rows_are_those_of_the_workload() {
        assert_eq!(Data::Even(100).contents(), Workload::new(100).contents());
    }

    #[test]
    fn mixed_rows_are_of_all_sizes_and_take_what_they_should() {
        let lengths: Vec<usize> =
            Data::mixed(4 << 20).rows().map(|(key, value)| key.len() + value.len()).collect();
        let bytes: usize = lengths.iter().sum();
        assert!((3_900_000..4_500_000).contains(&bytes), "{bytes}");
        assert!(lengths.iter().any(|&length| length < 50) && lengths.iter().any(|&length| length > 4_000));
    }
}
