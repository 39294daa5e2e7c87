//! Spaces next to a list of every version: whatever is filled, advanced, cleared and evicted in whatever order, no read
//! at a version gets what another version holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cohab_cache::{At, Cache, Lookup, Policy, Space, Stats};
use cohab_core::Version;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const SPACES: usize = 4;
const POLICIES: [Policy; SPACES] = [Policy::Shared, Policy::Own(24 << 10), Policy::Pinned, Policy::Off];

#[derive(Clone, Debug)]
enum Step {
    /// A version that sets (or, where there is no length, removes) these keys.
    Commit(Vec<(usize, u8, Option<u16>)>),
    /// A space learns of the versions up to one so many before the last, or of nothing but that there were some.
    Advance {
        space: usize,
        back: u64,
        later: u64,
        is_known: bool,
    },
    /// A key is read from a snapshot and kept.
    Fill {
        space: usize,
        key: u8,
        back: u64,
        later: u64,
        is_decoded: bool,
    },
    /// A key is read from the cache.
    Get {
        space: usize,
        key: u8,
        back: u64,
        later: u64,
    },
    /// Everything is read, and kept, as a snapshot shows it.
    Scan {
        space: usize,
        back: u64,
    },
    Clear(usize),
    /// The space goes, and there is another in its place.
    Renew(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let space = || 0..SPACES;
    let key = any::<u8>;
    let back = || prop_oneof![3 => Just(0_u64), 2 => 0..4_u64, 1 => 0..100_u64];
    let later = || prop_oneof![4 => Just(0_u64), 1 => 0..3_u64];
    let len = prop::option::weighted(0.8, prop_oneof![4 => 0..40_u16, 2 => 0..700_u16, 1 => 0..5000_u16]);
    prop_oneof![
        6 => vec((space(), key(), len), 0..6).prop_map(Step::Commit),
        6 => (space(), back(), later(), prop::bool::weighted(0.9))
            .prop_map(|(space, back, later, is_known)| Step::Advance { space, back, later, is_known }),
        10 => (space(), key(), back(), later(), any::<bool>())
            .prop_map(|(space, key, back, later, is_decoded)| Step::Fill { space, key, back, later, is_decoded }),
        10 => (space(), key(), back(), later())
            .prop_map(|(space, key, back, later)| Step::Get { space, key, back, later }),
        3 => (space(), back()).prop_map(|(space, back)| Step::Scan { space, back }),
        1 => space().prop_map(Step::Clear),
        1 => space().prop_map(Step::Renew),
    ]
}

/// A value says whose it is.
type Row = (Version, Vec<u8>);

/// A namespace at one version.
#[derive(Clone, Default)]
struct State {
    rows: BTreeMap<Vec<u8>, Row>,
    changed: Version,
}

struct Model {
    cache: Cache,
    spaces: Vec<Space>,
    /// Every version from zero.
    versions: Vec<[Arc<State>; SPACES]>,
    /// Which keys each version wrote.
    written: Vec<[Vec<Vec<u8>>; SPACES]>,
    counts: Stats,
}

/// Few keys, so that steps meet: the empty one, and prefixes of each other.
fn key(number: u8) -> Vec<u8> {
    vec![number % 3; usize::from(number / 3 % 8)]
}

fn number(version: Version) -> usize {
    usize::try_from(version.get()).expect("is small")
}

impl Model {
    fn new(budget: usize) -> Self {
        let cache = Cache::new(budget);
        let spaces = POLICIES.map(|policy| cache.space(policy)).into();
        let (versions, written) = (vec![Default::default()], vec![Default::default()]);
        Self { cache, spaces, versions, written, counts: Stats::default() }
    }

    /// Where a read of a version takes place: its last change, or somewhat later.
    fn at(&self, space: usize, back: u64, later: u64) -> At {
        let last = self.versions.len() as u64 - 1;
        let version = Version::new(last.saturating_sub(back));
        let changed = self.versions[number(version)][space].changed;
        At { version, changed: Version::new(changed.get() + later).min(version) }
    }

    fn advance(&self, space: usize, to: At, is_known: bool) {
        self.spaces[space].advance(to, |since, drop_key| {
            // Who does not know of all of them may know of some.
            let known = if is_known { to.changed.get() } else { since.get().midpoint(to.changed.get()) };
            for version in since.get() + 1..=known {
                let version = Version::new(version);
                self.written[number(version)][space].iter().for_each(|key| drop_key(key, version));
            }
            is_known
        });
    }

    fn get(&self, space: usize, key: &[u8], at: At) {
        let row = self.versions[number(at.version)][space].rows.get(key);
        let expected = row.map(|(_, value)| value);
        match self.spaces[space].get(key, at) {
            Lookup::Value(value) => {
                assert_eq!(Some(&value[..]), expected.map(Vec::as_slice), "{key:?} {at:?}");
            }
            Lookup::Absent => assert_eq!(None, expected, "{key:?} {at:?}"),
            Lookup::Unknown => {}
        }
        match self.spaces[space].get_decoded::<Row, ()>(key, at) {
            Lookup::Value(value) => assert_eq!(Some(&*value), row, "{key:?} {at:?}"),
            Lookup::Absent => assert_eq!(None, row, "{key:?} {at:?}"),
            Lookup::Unknown => {}
        }
        assert_eq!(
            self.spaces[space].get_decoded::<String, ()>(key, at),
            Lookup::Unknown,
            "nobody kept it as that"
        );
    }

    fn fill(&self, space: usize, key: &[u8], at: At, is_decoded: bool) {
        let row = self.versions[number(at.version)][space].rows.get(key);
        if is_decoded {
            let found = row.map(|row| (row.0, Arc::new(row.clone())));
            self.spaces[space].fill_decoded::<_, ()>(
                key,
                found,
                row.map_or(0, |(_, value)| 32 + value.len()),
                at,
            );
        } else {
            self.spaces[space].fill(key, row.map(|(version, value)| (*version, &value[..])), at);
        }
    }

    fn commit(&mut self, changes: &[(usize, u8, Option<u16>)]) {
        let version = Version::new(self.versions.len() as u64);
        let mut states = self.versions.last().expect("there is one").clone();
        let mut written: [Vec<Vec<u8>>; SPACES] = Default::default();
        for (space, number, len) in changes {
            let (state, key) = (Arc::make_mut(&mut states[*space]), key(*number));
            match len {
                Some(len) => {
                    let text = format!("{space} {key:?} {version:?} ").into_bytes();
                    let value = text.into_iter().cycle().take(usize::from(*len)).collect();
                    state.rows.insert(key.clone(), (version, value));
                }
                None => _ = state.rows.remove(&key),
            }
            state.changed = version;
            written[*space].push(key);
        }
        self.versions.push(states);
        self.written.push(written);
    }

    fn note(&mut self, space: usize) {
        let stats = self.spaces[space].stats();
        self.counts.hits += stats.hits;
        self.counts.misses += stats.misses;
        self.counts.refusals += stats.refusals;
        self.counts.evictions += stats.evictions;
        self.counts.invalidations += stats.invalidations;
        self.counts.floors += stats.floors;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Commit(ref changes) => self.commit(changes),
            Step::Advance { space, back, later, is_known } => {
                let (to, before) = (self.at(space, back, later), self.spaces[space].horizon());
                self.advance(space, to, is_known);
                assert_eq!(self.spaces[space].horizon(), before.max(to.version));
            }
            Step::Fill { space, key: number, back, later, is_decoded } => {
                self.fill(space, &key(number), self.at(space, back, later), is_decoded);
            }
            Step::Get { space, key: number, back, later } => {
                self.get(space, &key(number), self.at(space, back, later));
            }
            Step::Scan { space, back } => {
                let at = self.at(space, back, 0);
                if self.spaces[space].is_behind(at) {
                    self.advance(space, at, true);
                }
                for number in 0..24 {
                    self.get(space, &key(number), at);
                    self.fill(space, &key(number), at, number % 3 == 0);
                    self.get(space, &key(number), at);
                }
            }
            Step::Clear(space) => {
                self.spaces[space].clear();
                let at = self.at(space, 0, 0);
                for number in 0..24 {
                    assert_eq!(self.spaces[space].get(&key(number), at), Lookup::Unknown);
                }
            }
            Step::Renew(space) => {
                self.note(space);
                self.spaces[space] = self.cache.space(POLICIES[space]);
            }
        }
    }

    fn check_the_account(&self) {
        for space in &self.spaces {
            let Stats { entries, bytes, .. } = space.stats();
            assert_eq!(entries == 0, bytes == 0);
            assert!(space.is_on() || entries == 0);
        }
    }
}

#[test]
fn no_read_gets_what_another_version_holds() {
    let source_file = Some(file!());
    let config = ProptestConfig { cases: 400, source_file, ..ProptestConfig::default() };
    let counts = RefCell::new(Stats::default());
    let steps = (prop_oneof![Just(24_usize << 10), Just(64 << 10), Just(16 << 20)], vec(step(), 1..300));
    let outcome = TestRunner::new(config).run(&steps, |(budget, steps)| {
        let mut model = Model::new(budget);
        for step in &steps {
            model.step(step);
        }
        model.check_the_account();
        (0..SPACES).for_each(|space| model.note(space));
        let (mut counts, of_case) = (counts.borrow_mut(), model.counts);
        counts.hits += of_case.hits;
        counts.refusals += of_case.refusals;
        counts.evictions += of_case.evictions;
        counts.invalidations += of_case.invalidations;
        counts.floors += of_case.floors;
        Ok(())
    });
    let counts = counts.into_inner();
    println!("{counts:?}");
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let Stats { hits, refusals, evictions, invalidations, floors, .. } = counts;
    assert!([hits, refusals, evictions, invalidations, floors].iter().all(|it| *it > 100), "{counts:?}");
}

fn at(version: u64, changed: u64) -> At {
    At { version: Version::new(version), changed: Version::new(changed) }
}

#[test]
fn an_entry_answers_from_the_version_that_set_it_and_an_absence_from_the_last_change() {
    let space = Cache::new(1 << 20).space(Policy::Shared);
    space.advance(at(10, 7), |_, _| true);
    assert!(space.fill(b"set at 5", Some((Version::new(5), b"v")), at(10, 7)));
    assert!(space.fill(b"absent", None, at(10, 7)));
    for version in 0..=12 {
        let here = at(version, version.min(10));
        let value = space.get(b"set at 5", here);
        assert_eq!(
            value,
            if version >= 5 { Lookup::Value("v".into()) } else { Lookup::Unknown },
            "{version}"
        );
        let absent = space.get(b"absent", here);
        assert_eq!(absent, if version >= 7 { Lookup::Absent } else { Lookup::Unknown }, "{version}");
    }
    // Nothing is known of a change that the horizon has not come to.
    assert_eq!(space.get(b"set at 5", at(12, 11)), Lookup::Unknown);
    assert_eq!(space.get(b"absent", at(12, 11)), Lookup::Unknown);
}

#[test]
fn what_was_written_is_dropped_unless_it_is_that_which_was_written() {
    let space = Cache::new(1 << 20).space(Policy::Shared);
    space.advance(at(1, 1), |_, _| true);
    for key in [&b"old"[..], b"other"] {
        assert!(space.fill(key, Some((Version::new(1), b"v1")), at(1, 1)));
    }
    // Read from a snapshot of version 3 by one who has not yet told of it.
    assert!(space.fill(b"new", Some((Version::new(3), b"v3")), at(3, 3)));
    space.advance(at(3, 3), |since, drop_key| {
        assert_eq!(since, Version::new(1));
        drop_key(b"old", Version::new(2));
        drop_key(b"new", Version::new(2));
        drop_key(b"new", Version::new(3));
        true
    });
    assert_eq!(space.get(b"old", at(3, 3)), Lookup::Unknown);
    assert_eq!(space.get(b"new", at(3, 3)), Lookup::Value("v3".into()));
    assert_eq!(space.get(b"other", at(3, 3)), Lookup::Value("v1".into()));
    assert_eq!(space.get(b"new", at(2, 2)), Lookup::Unknown, "that is not what version 2 holds");
    assert_eq!((space.stats().invalidations, space.stats().floors), (1, 0));
    // What is behind is neither dropped again nor kept.
    space.advance(at(2, 2), |_, _| panic!("that is known already"));
    assert!(!space.fill(b"old", Some((Version::new(2), b"v2")), at(2, 2)));
    assert_eq!(space.stats().refusals, 2);
}

/// Whoever pins in several spaces, or in one after the other, still has half of the budget at the most. More was pinned for
/// ever, some of it by nobody any more.
#[test]
fn what_is_pinned_never_takes_more_than_half_of_the_budget() {
    let cache = Cache::new(1 << 20);
    let mut spaces = Vec::new();
    for round in 0..12_u32 {
        let space = cache.space(Policy::Pinned);
        for key in 0..600_u32 {
            space.fill(&key.to_be_bytes(), Some((Version::new(1), &[7; 1000])), at(1, 1));
        }
        // Half of them go, half of them stay.
        if round % 2 == 0 {
            spaces.push(space);
        }
        let (bytes, budget) = (cache.bytes(), cache.budget() as u64);
        assert!(bytes <= budget / 20 * 21, "{bytes} of {budget} bytes are in use after {round} rounds");
    }
    let shared = cache.space(Policy::Shared);
    shared.advance(at(1, 1), |_, _| true);
    let read = |is_kept: &mut u32| {
        for key in 0..200_u32 {
            match shared.get(&key.to_be_bytes(), at(1, 1)) {
                Lookup::Unknown => {
                    shared.fill(&key.to_be_bytes(), Some((Version::new(1), &[8; 1000])), at(1, 1));
                }
                _ => *is_kept += 1,
            }
        }
    };
    (0..4).for_each(|_| read(&mut 0));
    let mut kept = 0;
    read(&mut kept);
    assert!(kept > 150, "{kept} of 200 keys of those who pin nothing are kept");
}

/// A space whose entries were all forgotten at once had them pinned all the same, until there was no room for others.
#[test]
fn what_is_forgotten_is_pinned_no_more() {
    let cache = Cache::new(1 << 20);
    let space = cache.space(Policy::Pinned);
    for version in 1..20 {
        space.advance(at(version, version), |_, _| false);
        for key in 0..200_u32 {
            space.fill(&key.to_be_bytes(), Some((Version::new(version), &[7; 1000])), at(version, version));
        }
    }
    let flood = cache.space(Policy::Shared);
    for _ in 0..3 {
        for key in 0..3000_u32 {
            flood.fill(&key.to_be_bytes(), Some((Version::new(1), &[7; 1000])), at(19, 1));
        }
    }
    let kept =
        (0..200_u32).filter(|key| space.get(&key.to_be_bytes(), at(19, 19)) != Lookup::Unknown).count();
    assert_eq!(kept, 200, "they are a fifth of the budget, and pinned");
    assert!(cache.bytes() <= cache.budget() as u64 / 20 * 21);
}

#[test]
fn a_cache_keeps_within_its_budget_whatever_the_sizes() {
    for budget in [0, 100, 1 << 12, 1 << 16, 1 << 20, 9 << 20] {
        for len in [0, 20, 300, 520, 521, 4000, 100_000] {
            let cache = Cache::new(budget);
            let spaces = [cache.space(Policy::Shared), cache.space(Policy::Own(budget / 3))];
            let count = u32::try_from(2 * budget / (len + 100)).expect("is small").min(20_000);
            for _ in 0..2 {
                for key in 0..count {
                    for space in &spaces {
                        space.fill(&key.to_be_bytes(), Some((Version::new(1), &vec![1; len])), at(1, 1));
                    }
                }
            }
            let own = spaces[1].stats().bytes;
            let (bytes, most) = (cache.bytes() + own, budget as u64 + budget as u64 / 10 + (64 << 10));
            assert!(bytes <= most, "{bytes} for values of {len}, {budget} are allowed");
        }
    }
}
