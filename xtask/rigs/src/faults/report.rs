//! What was covered, and what was found.

use std::collections::BTreeMap;

use super::case::Outcome;
use super::fault::{Fault, Point};

/// Everything that came out.
#[derive(Default)]
pub(crate) struct Report {
    rows: BTreeMap<(usize, &'static str, Fault), Row>,
    findings: BTreeMap<String, Finding>,
    pub(crate) pairs: u64,
    pub(crate) pairs_met: u64,
    slowest: (u64, String),
}

#[derive(Default)]
struct Row {
    once: u64,
    for_ever: u64,
    errors: BTreeMap<String, u64>,
    succeeded: u64,
    poisoned: u64,
    findings: u64,
}

struct Finding {
    count: u64,
    first: String,
    replay: String,
    kept: String,
}

impl Report {
    /// Notes a run.
    pub(crate) fn note(
        &mut self,
        (index, scenario): (usize, &'static str),
        points: &[Point],
        seed: u64,
        outcome: &Outcome,
    ) {
        let first = points[0];
        let replay: Vec<String> = points.iter().map(|point| format!("--point {point}")).collect();
        let replay = format!("cargo xtask faults --scenario {scenario} {} --seed {seed}", replay.join(" "));
        if outcome.millis > self.slowest.0 {
            self.slowest = (outcome.millis, replay.clone());
        }
        if points.len() > 1 {
            self.pairs += 1;
            self.pairs_met += u64::from(outcome.is_met);
        } else {
            let row = self.rows.entry((index, scenario, first.fault)).or_default();
            if outcome.is_met {
                *if first.for_ever { &mut row.for_ever } else { &mut row.once } += 1;
                match &outcome.error {
                    Some(kind) => *row.errors.entry(kind.clone()).or_default() += 1,
                    None => row.succeeded += 1,
                }
                row.poisoned += u64::from(outcome.is_poisoned);
            }
            row.findings += u64::from(!outcome.findings.is_empty());
        }
        for finding in &outcome.findings {
            let key = format!("{scenario} {}", general(finding));
            let is_new = !self.findings.contains_key(&key);
            if is_new {
                // A long run is not to keep it for itself.
                eprintln!("found: {finding} [{}]\n       {replay}", outcome.hit);
            }
            let entry = self.findings.entry(key).or_insert_with(|| Finding {
                count: 0,
                first: format!("{finding} [{}]", outcome.hit),
                replay: replay.clone(),
                kept: outcome.kept.as_ref().map(|kept| kept.display().to_string()).unwrap_or_default(),
            });
            entry.count += 1;
        }
    }

    pub(crate) fn has_findings(&self) -> bool {
        !self.findings.is_empty()
    }

    pub(crate) fn points(&self) -> u64 {
        self.rows.values().map(|row| row.once + row.for_ever).sum()
    }

    /// Prints it all.
    pub(crate) fn print(&self) {
        if !self.rows.is_empty() {
            println!(
                "{:<20} {:<12} {:>6} {:>8} {:>9} {:>8} {:>8}  errors",
                "scenario", "fault", "once", "for ever", "succeeded", "poisoned", "findings"
            );
        }
        let mut sums: BTreeMap<Fault, Row> = BTreeMap::new();
        for ((_, scenario, fault), row) in &self.rows {
            row.print(scenario, &fault.to_string());
            sums.entry(*fault).or_default().add(row);
        }
        let mut all = Row::default();
        for (fault, row) in &sums {
            row.print("all", &fault.to_string());
            all.add(row);
        }
        if !sums.is_empty() {
            all.print("all", "all");
            println!();
            println!("points    {}, each from a store of its own", self.points());
        }
        if self.pairs > 0 {
            println!("pairs     {}, of which {} met both", self.pairs, self.pairs_met);
        }
        println!("slowest   {} ms: {}", self.slowest.0, self.slowest.1);
        println!("findings  {}", self.findings.len());
        for (key, finding) in &self.findings {
            println!("\n{key}\n  {} times, first: {}\n  {}", finding.count, finding.first, finding.replay);
            if !finding.kept.is_empty() {
                println!("  kept in {}", finding.kept);
            }
        }
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.once += other.once;
        self.for_ever += other.for_ever;
        self.succeeded += other.succeeded;
        self.poisoned += other.poisoned;
        self.findings += other.findings;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
    }

    fn print(&self, scenario: &str, fault: &str) {
        let errors: Vec<String> = self.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        println!(
            "{scenario:<20} {fault:<12} {:>6} {:>8} {:>9} {:>8} {:>8}  {}",
            self.once,
            self.for_ever,
            self.succeeded,
            self.poisoned,
            self.findings,
            errors.join(", ")
        );
    }
}

/// A finding without its numbers, ids and places, so that it is told once.
fn general(finding: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in finding.split_whitespace() {
        let is_particular = word.contains('/') || word.chars().any(|c| c.is_ascii_digit());
        let word = if is_particular && !word.contains(".rs:") { "…" } else { word };
        if words.last().is_none_or(|last| last != word) || word != "…" {
            words.push(word.to_owned());
        }
    }
    let text = words.join(" ");
    text.chars().take(160).collect()
}
