//! What came of damage, and of all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::truth::Reading;

/// What came of one piece of damage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The error that was met first, by its kind.
    pub(super) error: Option<String>,
    /// The first errors, in full.
    pub(super) said: Vec<String>,
    /// What was read and was not so, without an error.
    pub(super) wrong: Vec<String>,
    /// What breaks another promise.
    pub(super) broken: Vec<String>,
    /// Whether a verification, or opening the file, found the damage.
    pub(super) is_found: bool,
    /// Whether only the check of every page did.
    pub(super) is_found_by_pages_alone: bool,
    /// Whether what could be read before the store was written to could not be read afterwards.
    pub(super) has_spread: bool,
}

impl Outcome {
    pub(super) fn add(&mut self, reading: Reading) {
        let kind = reading.errors.into_keys().next();
        self.error = self.error.take().or(kind);
        self.said.extend(reading.said);
        self.wrong.extend(reading.wrong);
        self.broken.extend(reading.misleading);
    }

    pub(super) fn note(&mut self, what: &str, error: &cohab::Error) {
        let mut reading = Reading::default();
        reading.note(what, error);
        self.add(reading);
    }

    /// Notes an error that need not be about damage.
    pub(super) fn met(&mut self, kind: impl Into<String>) {
        self.error.get_or_insert(kind.into());
    }

    pub(super) fn expect(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.broken.push(otherwise());
        }
    }
}

/// What came of all damage to one file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) cases: u64,
    pub(super) harmless: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) found: u64,
    pub(super) by_pages_alone: u64,
    pub(super) spread: u64,
    /// Reads that gave something else without an error.
    pub(super) silent: u64,
    /// The same, where a verification tells.
    pub(super) outdated: u64,
    pub(super) broken: u64,
    pub(super) panics: u64,
    pub(super) slowest_ms: u64,
}

impl Tally {
    /// Counts a case, and says what is not as it must be.
    pub(super) fn count(
        &mut self,
        outcome: &Outcome,
        took: Duration,
        may_be_outdated: bool,
    ) -> Option<String> {
        self.cases += 1;
        self.slowest_ms = self.slowest_ms.max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        self.found += u64::from(outcome.is_found);
        self.by_pages_alone += u64::from(outcome.is_found_by_pages_alone);
        self.spread += u64::from(outcome.has_spread);
        if let Some(kind) = &outcome.error {
            *self.errors.entry(kind.clone()).or_default() += 1;
        } else if outcome.wrong.is_empty() {
            self.harmless += 1;
        }
        if !outcome.broken.is_empty() {
            self.broken += 1;
            return Some(outcome.broken.join("; "));
        }
        if !outcome.wrong.is_empty() {
            if may_be_outdated && (outcome.is_found || outcome.is_found_by_pages_alone) {
                self.outdated += 1;
                return None;
            }
            self.silent += 1;
            let (count, wrong) = (outcome.wrong.len(), &outcome.wrong[..outcome.wrong.len().min(5)]);
            return Some(format!("{count} things read without an error, and not so: {}", wrong.join(", ")));
        }
        None
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.harmless += other.harmless;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.found += other.found;
        self.by_pages_alone += other.by_pages_alone;
        self.spread += other.spread;
        self.silent += other.silent;
        self.outdated += other.outdated;
        self.broken += other.broken;
        self.panics += other.panics;
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
    }

    /// One line of the report.
    pub(super) fn row(&self, name: &str) -> String {
        let errors: Vec<String> = self.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        format!(
            "{name:<26} {:>8} {:>9} {:>8} {:>6} {:>7} {:>7} {:>9} {:>7} {:>7} {:>8}  {}",
            self.cases,
            self.harmless,
            self.found,
            self.by_pages_alone,
            self.spread,
            self.silent,
            self.outdated,
            self.broken,
            self.panics,
            self.slowest_ms,
            errors.join(", ")
        )
    }

    pub(super) fn head() -> String {
        format!(
            "{:<26} {:>8} {:>9} {:>8} {:>6} {:>7} {:>7} {:>9} {:>7} {:>7} {:>8}  {}",
            "file",
            "damaged",
            "harmless",
            "verify",
            "pages",
            "spread",
            "silent",
            "outdated",
            "broken",
            "panics",
            "ms max",
            "first error, by kind"
        )
    }
}
