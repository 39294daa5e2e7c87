//! Tables for people and JSON for programs.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::case::Case;
use crate::measure::{Round, Series, Summary};
use crate::metric::{Metric, Unit};
use crate::name::Name;

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
    /// Those beside it, as far as the engine has them.
    beside: Vec<Option<Summary>>,
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
        let rows = series.iter().filter_map(|(name, rounds)| {
            let mut figures = case.metrics().iter().map(|metric| summary(*metric, rounds));
            let main = figures.next().flatten();
            // That of a module is missing where none are measured.
            assert!(main.is_some() || cfg!(not(feature = "modules")), "every case has a figure that counts");
            Some(ReportRow { name: *name, main: main?, beside: figures.collect() })
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
        let (name, operation, rounds) = (self.case.name(), self.case.operation(), self.rounds);
        if self.rows.is_empty() {
            println!("\n{name}: no engine here has the figure that counts");
            return;
        }
        println!("\n{name}, per {operation} (median, least and most of {rounds})");
        // The first two figures stand beside the ratios, further ones below.
        let metrics: Vec<(usize, Metric)> = self.case.metrics().iter().copied().enumerate().collect();
        for (block, metrics) in metrics.chunks(2).enumerate() {
            let columns: Vec<(usize, Scale)> = metrics.iter().map(|it| (it.0, self.scale(*it))).collect();
            print!("  {:14}", "");
            for (_, scale) in &columns {
                print!("{:>18}{:>10}{:>10}", scale.title, "min", "max");
            }
            println!(
                "{}",
                if block == 0 { self.bases().map(|base| base.1).collect() } else { String::new() }
            );
            for row in &self.rows {
                print!("  {:14}", row.name);
                for (index, scale) in &columns {
                    let [median, min, max] = match row.figure(*index) {
                        Some(figure) => [figure.median, figure.min, figure.max].map(|it| scale.show(it)),
                        None => ["–", "", ""].map(str::to_owned),
                    };
                    print!("{median:>18}{min:>10}{max:>10}");
                }
                println!("{}", if block == 0 { self.ratios(row) } else { String::new() });
            }
        }
    }

    fn ratios(&self, row: &ReportRow) -> String {
        let ratio = |(median, title): (f64, &str)| {
            let ratio = format!("{:.2}", row.main.median / median);
            format!("{ratio:>width$}", width = title.chars().count())
        };
        self.bases().map(ratio).collect()
    }

    /// The medians that the others are compared with, and what stands above the ratios.
    fn bases(&self) -> impl Iterator<Item = (f64, &'static str)> {
        let bases = [
            (Name::Redb, "   × redb"),
            (Name::Lmdb, "   × lmdb"),
            #[cfg(feature = "with-cohab")]
            (Name::CohabUncached, "   × uncached"),
        ];
        bases.into_iter().filter_map(|(name, title)| Some((self.median(name)?, title)))
    }

    fn scale(&self, (index, metric): (usize, Metric)) -> Scale {
        Scale::of(metric, self.rows.iter().filter_map(|row| row.figure(index)).map(|it| it.median))
    }

    fn figures(&self) -> impl Iterator<Item = Figure> {
        let name = self.case.name();
        self.rows.iter().flat_map(move |row| {
            self.case.metrics().iter().enumerate().filter_map(move |(index, metric)| {
                // The figure that counts has the name of the case, and those beside it one of their own.
                let case = match index {
                    0 => name.to_owned(),
                    _ if metric.is_written() => format!("{name} {}", metric.title()),
                    _ => return None,
                };
                let Summary { median, min, max } = row.figure(index)?;
                Some(Figure {
                    case,
                    engine: row.name,
                    unit: metric.unit.name(),
                    median,
                    min,
                    max,
                    n: self.rounds,
                })
            })
        })
    }
}

impl ReportRow {
    fn figure(&self, index: usize) -> Option<Summary> {
        match index {
            0 => Some(self.main),
            _ => self.beside[index - 1],
        }
    }
}

/// Sums up a figure of all rounds, if they have it.
fn summary(metric: Metric, rounds: &[Round]) -> Option<Summary> {
    let figures: Option<Vec<f64>> = rounds.iter().map(|round| metric.of(round)).collect();
    figures.map(Summary::of)
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
            Unit::Count => metric.title().into_owned(),
            _ => format!("{} {unit}", metric.title()),
        };
        Self { title, divisor }
    }

    fn show(&self, figure: f64) -> String {
        let figure = figure / self.divisor;
        let decimals = match figure.abs() {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        format!("{figure:.decimals$}")
    }
}
