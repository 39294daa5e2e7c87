//! Tables for people and JSON for programs.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::case::{Case, Clock, Metric, Unit};
use crate::engine::Name;
use crate::measure::{Series, Summary};

/// What is reported of a case.
pub struct Report {
    /// The case.
    pub case: Case,
    /// How many rounds counted.
    pub rounds: usize,
    /// One entry per engine that can do the case.
    pub rows: Vec<ReportRow>,
}

/// What is reported of an engine in a case.
pub struct ReportRow {
    /// The engine.
    pub name: Name,
    /// The figure that counts.
    pub main: Summary,
    /// The one beside it.
    pub beside: Summary,
}

/// An entry of the JSON file.
#[derive(Serialize)]
struct Figure {
    case: String,
    engine: Name,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    n: usize,
}

impl Report {
    /// Sums up the rounds of a case.
    pub fn new(case: Case, series: &Series) -> Self {
        let [main, beside] = case.metrics();
        let rows = series.iter().map(|(name, rounds)| {
            let summary = |metric: Metric| Summary::of(rounds.iter().map(|round| metric.of(round)));
            ReportRow { name: *name, main: summary(main), beside: summary(beside) }
        });
        let rounds = series.first().map_or(0, |(_, rounds)| rounds.len());
        Self { case, rounds, rows: rows.collect() }
    }

    /// The median of an engine in the figure that counts.
    pub fn median(&self, name: Name) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name).map(|row| row.main.median)
    }

    /// Prints it as a table. The ratios compare the medians of the figure that counts.
    pub fn print(&self) {
        let [main, beside] = self.case.metrics();
        if self.rows.is_empty() {
            println!("\n{}: no engine here can do this", self.case.name());
            return;
        }
        let (name, operation, rounds) = (self.case.name(), self.case.operation(), self.rounds);
        println!("\n{name}, per {operation} (median, least and most of {rounds} rounds)");
        let main_scale = Scale::of(main, self.rows.iter().map(|row| row.main.median));
        let beside_scale = Scale::of(beside, self.rows.iter().map(|row| row.beside.median));
        println!(
            "  {:8}{:>12}{:>10}{:>10}{:>14}{:>10}{:>10}{:>9}{:>9}",
            "", main_scale.title, "min", "max", beside_scale.title, "min", "max", "× redb", "× lmdb"
        );
        for row in &self.rows {
            let ratio = |to| match self.median(to) {
                Some(median) => format!("{:.2}", row.main.median / median),
                None => "–".to_owned(),
            };
            println!(
                "  {:8}{:>12}{:>10}{:>10}{:>14}{:>10}{:>10}{:>9}{:>9}",
                row.name,
                main_scale.show(row.main.median),
                main_scale.show(row.main.min),
                main_scale.show(row.main.max),
                beside_scale.show(row.beside.median),
                beside_scale.show(row.beside.min),
                beside_scale.show(row.beside.max),
                ratio(Name::Redb),
                ratio(Name::Lmdb),
            );
        }
    }

    fn figures(&self) -> impl Iterator<Item = Figure> {
        let [main, beside] = self.case.metrics();
        // Only wall time has a name of its own beside the figure that counts.
        let with_wall = beside.clock == Clock::Wall;
        let figure = move |row: &ReportRow, case: String, metric: Metric, summary: Summary| Figure {
            case,
            engine: row.name,
            unit: metric.unit.name(),
            median: summary.median,
            min: summary.min,
            max: summary.max,
            n: self.rounds,
        };
        self.rows.iter().flat_map(move |row| {
            let name = self.case.name();
            let main = figure(row, name.to_owned(), main, row.main);
            let beside = with_wall.then(|| figure(row, format!("{name} wall"), beside, row.beside));
            std::iter::once(main).chain(beside)
        })
    }
}

/// Writes the figures of all cases as one array.
pub fn write_json(path: &Path, reports: &[Report]) -> Result<()> {
    let write = || {
        let figures: Vec<Figure> = reports.iter().flat_map(Report::figures).collect();
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, &figures)?;
        writeln!(file)?;
        file.flush()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// How a column is shown: in which unit, and what to divide by.
struct Scale {
    title: String,
    divisor: f64,
}

impl Scale {
    /// Takes a larger unit for figures that would be long in the metric's own.
    fn of(metric: Metric, medians: impl Iterator<Item = f64>) -> Self {
        let least = medians.fold(f64::INFINITY, f64::min);
        let (unit, divisor) = match metric.unit {
            Unit::Nanos if least >= 1e6 => (Unit::Millis.name(), 1e6),
            Unit::Nanos if least >= 1e4 => (Unit::Micros.name(), 1e3),
            unit => (unit.name(), 1.0),
        };
        let title = match metric.unit {
            Unit::CommitsPerSecond => unit.to_owned(),
            _ => format!("{} {unit}", metric.clock.name()),
        };
        Self { title, divisor }
    }

    fn show(&self, figure: f64) -> String {
        let figure = figure / self.divisor;
        let decimals = match figure {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        format!("{figure:.decimals$}")
    }
}
