//! Picks of which few are made over and over, as in YCSB: by a Zipf distribution of exponent 0.99, over ranks that are
//! scattered so that those that are picked often are no neighbours, neither by key nor by when they were written.

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};

/// How skewed they are.
const EXPONENT: f64 = 0.99;

/// Larger than any number of rows, and prime, so that multiples of it modulo that number meet every row once. YCSB
/// scatters with a hash, under which ranks collide and others are never met.
const STRIDE: u64 = 2_654_435_761;

/// A stream of picks.
pub struct Picks {
    zipf: Zipf<f64>,
    rows: u64,
    random: SmallRng,
}

impl Picks {
    /// Picks from so many rows, always the same ones for one seed.
    #[expect(clippy::cast_precision_loss, reason = "numbers of rows are far below 2⁵³")]
    pub fn new(rows: usize, seed: u64) -> Self {
        let zipf = Zipf::new(rows as f64, EXPONENT).expect("there is a row to pick");
        Self { zipf, rows: rows as u64, random: SmallRng::seed_from_u64(seed) }
    }

    /// The index of the next row.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are whole numbers from one to the number of rows"
    )]
    pub fn pick(&mut self) -> usize {
        let rank = self.zipf.sample(&mut self.random) as u64;
        scattered(rank, self.rows) as usize
    }
}

/// Where the row of a rank is.
fn scattered(rank: u64, rows: u64) -> u64 {
    rank * STRIDE % rows
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_seed_always_stands_for_the_same_picks() {
        let picks = |seed| {
            let mut picks = Picks::new(1_000, seed);
            (0..100).map(|_| picks.pick()).collect::<Vec<_>>()
        };
        assert_eq!(picks(3), picks(3));
        assert_ne!(picks(3), picks(4));
    }

    #[test]
    fn every_rank_has_a_row_of_its_own() {
        for rows in [1, 2, 1_000, 1_000_000] {
            let met: HashSet<u64> = (1..=rows).map(|rank| scattered(rank, rows)).collect();
            assert_eq!(met.len() as u64, rows);
        }
    }

    #[test]
    fn the_first_of_many_are_picked_as_often_as_the_formula_says() {
        const ROWS: usize = 1_000;
        const PICKS: usize = 200_000;
        let mut counts = vec![0_u32; ROWS];
        let mut picks = Picks::new(ROWS, 1);
        for _ in 0..PICKS {
            counts[picks.pick()] += 1;
        }
        let weight = |rank: u32| f64::from(rank).powf(-EXPONENT);
        let sum: f64 = (1..=1_000).map(weight).sum();
        for rank in 1..=10 {
            let expected = 200_000.0 * weight(rank) / sum;
            let row = usize::try_from(scattered(rank.into(), ROWS as u64)).expect("it is below the number");
            let found = f64::from(counts[row]);
            assert!((found / expected - 1.0).abs() < 0.1, "rank {rank}: {found}, not {expected}");
        }
    }
}
