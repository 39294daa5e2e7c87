//! How much work there is in a round, and how many rounds.

use std::time::Duration;

/// The rows that are overwritten before something is brought up to date, where there are that many.
const CHANGES: usize = 1_000;

/// Fixed counts, so that every engine and every run does the same.
#[cfg_attr(not(feature = "with-cohab"), expect(dead_code, reason = "some are of cases of cohab alone"))]
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rows in a store.
    pub keys: usize,
    /// Rows in the small store that is killed.
    pub keys_small: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds of loading that count.
    pub load_rounds: usize,
    /// Look-ups in a held snapshot.
    pub gets_held: usize,
    /// Look-ups in fresh snapshots.
    pub gets_fresh: usize,
    /// Scans of ten rows.
    pub scans_10: usize,
    /// Scans of a thousand rows.
    pub scans_1000: usize,
    /// Scans of all rows.
    pub scans_all: usize,
    /// Look-ups through a cache of values. They are many, because it takes longer from one commit of another process to
    /// the next than a hundred thousand of them.
    pub gets_cached: usize,
    /// Look-ups before them that do not count.
    pub gets_before: usize,
    /// How long threads and processes look up at a time.
    pub spin: Duration,
    /// The budget of a cache that is filled.
    pub budget: usize,
    /// Look-ups of a reader that has just begun.
    pub gets_uncached: usize,
    /// Readers that are opened, one after the other.
    pub openings: usize,
    /// Readers that are there at a time.
    pub readers: usize,
    /// Rounds that count, of cases in which much has to happen for a figure.
    pub long_rounds: usize,
    /// The most commits beside a reader.
    pub commits_beside_gets: usize,
    /// Commits alone, and beside readers in their own loops, unless [`patience`](Self::patience) ends before.
    pub commits_beside_readers: usize,
    /// When commits that take for ever are broken off.
    pub patience: Duration,
    /// Commits that a reader waits for.
    pub wakes: usize,
    /// Commits of one row.
    pub commits_1: usize,
    /// Commits of one row by each of the threads.
    pub commits_1x16: usize,
    /// Commits of a thousand rows.
    pub commits_1000: usize,
    /// Renames there and back.
    pub renames: usize,
    /// Rounds that count in which something is brought up to date.
    pub refreshes: usize,
    /// Rows of a delta that is applied to a store without any.
    pub applied: usize,
    /// How many versions lie between the present and the past that is read.
    pub versions: usize,
    /// Commits beside a process that keeps a replica.
    pub lags: usize,
    /// What is done with plugins.
    pub plugins: &'static PluginSizes,
}

/// How much there is to do for plugins in a round.
#[cfg_attr(not(feature = "with-cohab"), expect(dead_code, reason = "only cohab has plugins"))]
#[derive(Debug)]
pub struct PluginSizes {
    /// How often it is asked whether files have changed.
    pub looks: usize,
    /// Calls.
    pub calls: usize,
    /// Commits that are followed.
    pub followed: usize,
    /// Edits.
    pub edits: usize,
    /// Reloads.
    pub reloads: usize,
}

#[cfg_attr(not(feature = "with-cohab"), expect(dead_code, reason = "some are of cases of cohab alone"))]
impl Sizes {
    /// For figures to publish.
    pub const FULL: Self = Self {
        keys: 1_000_000,
        keys_small: 10_000,
        rounds: 7,
        load_rounds: 5,
        gets_held: 200_000,
        gets_fresh: 200_000,
        scans_10: 40_000,
        scans_1000: 2_000,
        scans_all: 2,
        gets_cached: 1_000_000,
        gets_before: 1_000_000,
        spin: Duration::from_millis(500),
        budget: 64 << 20,
        gets_uncached: 20_000,
        openings: 20,
        readers: 64,
        long_rounds: 3,
        commits_beside_gets: 4_000,
        commits_beside_readers: 300,
        patience: Duration::from_secs(15),
        wakes: 500,
        commits_1: 500,
        commits_1x16: 100,
        commits_1000: 20,
        renames: 100,
        refreshes: 25,
        applied: 100_000,
        versions: 1_000,
        lags: 300,
        plugins: &PluginSizes {
            looks: 10_000_000,
            calls: 20_000,
            followed: 10_000,
            edits: 100,
            reloads: 1_000,
        },
    };

    /// For a first look.
    pub const QUICK: Self = Self {
        keys: 100_000,
        rounds: 3,
        load_rounds: 3,
        gets_held: 100_000,
        gets_fresh: 100_000,
        scans_10: 20_000,
        scans_1000: 1_000,
        scans_all: 10,
        gets_cached: 300_000,
        gets_before: 50_000,
        spin: Duration::from_millis(200),
        budget: 16 << 20,
        gets_uncached: 10_000,
        openings: 10,
        long_rounds: 2,
        commits_beside_readers: 200,
        patience: Duration::from_secs(5),
        wakes: 100,
        commits_1: 200,
        commits_1x16: 25,
        commits_1000: 10,
        renames: 50,
        refreshes: 10,
        lags: 100,
        plugins: &PluginSizes { looks: 1_000_000, calls: 5_000, followed: 2_000, edits: 20, reloads: 100 },
        ..Self::FULL
    };

    /// To see that everything works and that every engine does the same; the figures mean nothing.
    pub const CHECK: Self = Self {
        keys: 2_000,
        keys_small: 500,
        rounds: 1,
        load_rounds: 1,
        gets_held: 2_000,
        gets_fresh: 2_000,
        scans_10: 200,
        scans_1000: 20,
        scans_all: 1,
        gets_cached: 2_000,
        gets_before: 500,
        spin: Duration::from_millis(20),
        budget: 1 << 20,
        gets_uncached: 200,
        openings: 2,
        readers: 8,
        long_rounds: 1,
        commits_beside_gets: 500,
        commits_beside_readers: 10,
        patience: Duration::from_secs(2),
        wakes: 5,
        commits_1: 10,
        commits_1x16: 3,
        commits_1000: 2,
        renames: 4,
        refreshes: 2,
        applied: 1_000,
        versions: 20,
        lags: 5,
        plugins: &PluginSizes { looks: 10_000, calls: 200, followed: 50, edits: 2, reloads: 20 },
    };

    /// How many of so many rows are overwritten before something is brought up to date.
    pub fn changes(self, rows: usize) -> usize {
        let Self { keys, keys_small, .. } = self;
        CHANGES.min(rows.min(keys).min(keys_small) / 2)
    }

    /// How often a past is made ready.
    pub fn ats(self) -> usize {
        (self.versions / 50).max(2)
    }

    /// Rows that are written and rolled back.
    pub fn rolled_back(self) -> usize {
        self.applied / 10
    }

    /// The same work on another number of rows.
    #[must_use]
    pub fn with_keys(self, keys: usize) -> Self {
        Self { keys, keys_small: self.keys_small.min(keys), ..self }
    }
}
