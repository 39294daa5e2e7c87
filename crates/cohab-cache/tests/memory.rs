//! What the process occupies. A test binary of its own, so that nobody else is measured.

use cohab_cache::{At, Cache, Policy};
use cohab_core::Version;

/// What the process's memory without files behind it occupies, in bytes.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is one on Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("is among it");
    let kib = line.split_whitespace().nth(1).expect("there is a number");
    kib.parse::<u64>().expect("is one") << 10
}

fn fill(cache: &Cache, lens: &[usize], rounds: u64) -> u64 {
    let space = cache.space(Policy::Shared);
    let at = At { version: Version::new(1), changed: Version::new(1) };
    let mut random = 7_u64;
    let mut filled = 0;
    let longest = vec![1; lens.iter().copied().max().unwrap_or(0)];
    for round in 0..rounds {
        let mut bytes = 0;
        // Twice what there is room for, twice each, because a full cache takes in what was asked for before.
        for key in 0.. {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let len = lens[usize::try_from(random >> 33).expect("is small") % lens.len()];
            for _ in 0..2 {
                let key = u64::to_be_bytes(round << 32 | key);
                filled += u64::from(space.fill(&key, Some((Version::new(1), &longest[..len])), at));
            }
            bytes += len + 80;
            if bytes > 2 * cache.budget() {
                break;
            }
        }
    }
    filled
}

const BUDGET: usize = 24 << 20;

/// What there is, of which sizes, and how many hundredths of the budget it may occupy: between blocks of several pages
/// the allocator leaves gaps that nobody can account for.
const CASES: [(&str, &[usize], u64); 5] = [
    ("small", &[0, 8, 16, 40], 110),
    ("usual", &[100, 150, 200, 300], 110),
    ("mixed", &[10, 60, 250, 600, 1500, 4000], 110),
    ("large", &[3000, 10_000, 60_000], 150),
    ("small and some larger", &[24, 24, 24, 700], 110),
];

/// Says to a child which of the cases it is.
const VARIABLE: &str = "COHAB_CACHE_MEMORY";

#[test]
fn a_cache_occupies_no_more_than_a_tenth_above_its_budget() {
    if !cfg!(target_os = "linux") {
        return;
    }
    if let Ok(case) = std::env::var(VARIABLE) {
        return measure(CASES[case.parse::<usize>().expect("is a number")]);
    }
    // Each in a process of its own, because an allocator gives nothing back.
    for (case, (what, ..)) in CASES.iter().enumerate() {
        let program = std::env::current_exe().expect("has a path");
        let mut child = std::process::Command::new(program);
        let status = child.arg("--nocapture").env(VARIABLE, case.to_string()).status();
        assert!(status.expect("can be started").success(), "{what}");
    }
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn measure((what, lens, hundredths): (&str, &[usize], u64)) {
    // What comes with the first use of anything is not the cache's.
    fill(&Cache::new(1 << 16), lens, 1);
    let before = anonymous();
    let cache = Cache::new(BUDGET);
    assert!(anonymous() < before + (1 << 20), "nothing is allocated beforehand");
    for _ in 0..2 {
        let filled = fill(&cache, lens, 2);
        let (kept, occupied) = (cache.bytes(), anonymous() - before);
        println!("{what}: {filled} were kept, {kept} bytes says the cache, {occupied} has the process");
        assert!(filled > 100 && kept > BUDGET as u64 / 2, "{what}: {kept}");
        assert!(
            kept.max(occupied) <= BUDGET as u64 / 100 * hundredths,
            "{what}: {kept} and {occupied} of {BUDGET}"
        );
    }
}
