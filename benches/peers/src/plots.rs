//! Bar charts of the medians relative to LMDB's, as SVG.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::case::Case;
use crate::name::Name;
use crate::report::{Report, ReportRow};

/// The charts: the name of the file, the title, the cases.
const CHARTS: &[(&str, &str, &[Case])] = &[
    ("load", "Loading, CPU time", &[Case::BulkLoad, Case::BulkLoadNohistory]),
    ("get", "Look-ups, CPU time", &[Case::GetHeld, Case::GetFresh]),
    ("scan", "Scans, CPU time", &[Case::Scan10, Case::Scan1000, Case::ScanAll]),
    ("commit", "Durable commits, CPU time", &[Case::Commit1, Case::Commit1000]),
    ("throughput", "Durable commits a second, more is better", &[Case::Commit1x16]),
    (
        "reader",
        "Look-ups in another process, CPU time",
        &[Case::ReaderGetQuiet, Case::ReaderGetOtherNs, Case::ReaderGetSameNs, Case::ReaderGetUncached],
    ),
    ("cache", "Look-ups of what is warm, CPU time", &[Case::GetUniformWarm]),
    ("open", "Opening after a kill, wall time", &[Case::OpenAfterKill10k, Case::OpenAfterKill]),
];

/// What everything is relative to.
const BASE: Name = Name::Lmdb;

const HEIGHT: u32 = 380;
const WIDTH_PER_CASE: u32 = 200;
const WIDTH_REST: u32 = 270;
const FONT: &str = "sans-serif";

/// The part of a case's width that its bars take up.
const FILL: f64 = 0.8;

/// Writes the charts for which there are figures into a directory.
pub fn write(dir: &Path, reports: &[Report]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    for (file, title, cases) in CHARTS {
        let of_case = |case: &Case| reports.iter().find(|report| report.case == *case);
        let groups: Vec<Group<'_>> = cases.iter().filter_map(of_case).filter_map(Group::new).collect();
        if groups.is_empty() {
            continue;
        }
        let path = dir.join(format!("{file}.svg"));
        draw(&path, title, &groups).map_err(|error| anyhow!("drawing {}: {error}", path.display()))?;
    }
    Ok(())
}

/// The bars of a case.
struct Group<'a> {
    name: &'static str,
    rows: &'a [ReportRow],
    base: f64,
}

impl<'a> Group<'a> {
    /// Returns `None` if there is nothing to be relative to.
    fn new(report: &'a Report) -> Option<Self> {
        let base = report.median(BASE)?;
        Some(Self { name: report.case.name(), rows: &report.rows, base })
    }
}

/// A bar with its whisker.
struct Bar {
    name: Name,
    left: f64,
    right: f64,
    median: f64,
    min: f64,
    max: f64,
}

fn bars(groups: &[Group<'_>]) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut middle = 0.0;
    for group in groups {
        let mut left = middle - FILL / 2.0;
        for row in group.rows {
            let right = left + FILL / f64::from(u32::try_from(group.rows.len()).unwrap_or(u32::MAX));
            let of = |figure| figure / group.base;
            let (median, min, max) = (of(row.main.median), of(row.main.min), of(row.main.max));
            bars.push(Bar { name: row.name, left, right, median, min, max });
            left = right;
        }
        middle += 1.0;
    }
    bars
}

fn draw(path: &Path, title: &str, groups: &[Group<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let bars = bars(groups);
    let count = u32::try_from(groups.len())?;
    let top = bars.iter().map(|bar| bar.max).fold(1.0, f64::max) * 1.1;

    let area = SVGBackend::new(path, (WIDTH_PER_CASE * count + WIDTH_REST, HEIGHT)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 18))
        .margin(10)
        .margin_right(160)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(-0.5..f64::from(count) - 0.5, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .max_light_lines(1)
        .bold_line_style(BLACK.mix(0.1))
        .y_desc(format!("relative to {BASE}"))
        .label_style((FONT, 13))
        .axis_desc_style((FONT, 13))
        .draw()?;

    chart
        .draw_series(bars.iter().map(|bar| {
            Rectangle::new([(bar.left, 0.0), (bar.right, bar.median)], color(bar.name).filled())
        }))?;
    chart.draw_series(bars.iter().map(|bar| {
        let middle = f64::midpoint(bar.left, bar.right);
        PathElement::new([(middle, bar.min), (middle, bar.max)], BLACK)
    }))?;
    chart.draw_series([PathElement::new([(-0.5, 1.0), (f64::from(count) - 0.5, 1.0)], BLACK.mix(0.5))])?;

    // The axis can't be trusted to label whole numbers only, and the legend not to cover a bar.
    let below = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Center, VPos::Top));
    let mut middle = 0.0;
    for group in groups {
        let (x, y) = chart.backend_coord(&(middle, 0.0));
        area.draw(&Text::new(group.name, (x, y + 8), below.clone()))?;
        middle += 1.0;
    }
    let (right, mut y) = chart.backend_coord(&(f64::from(count) - 0.5, top));
    for row in groups.iter().map(|group| group.rows).max_by_key(|rows| rows.len()).unwrap_or_default() {
        area.draw(&Rectangle::new([(right + 14, y), (right + 26, y + 12)], color(row.name).filled()))?;
        area.draw(&Text::new(row.name.as_str(), (right + 32, y), (FONT, 14)))?;
        y += 20;
    }
    Ok(area.present()?)
}

fn color(name: Name) -> RGBColor {
    match name {
        #[cfg(feature = "with-cohab")]
        Name::Cohab => RGBColor(242, 142, 43),
        #[cfg(feature = "with-cohab")]
        Name::CohabWith => RGBColor(255, 190, 125),
        #[cfg(feature = "with-cohab")]
        Name::CohabUncached => RGBColor(176, 96, 20),
        #[cfg(feature = "with-cohab")]
        Name::CohabNohistory => RGBColor(156, 117, 95),
        #[cfg(feature = "with-cohab")]
        Name::CohabDelta => RGBColor(215, 181, 166),
        Name::Lmdb => RGBColor(120, 120, 120),
        Name::Sqlite => RGBColor(78, 121, 167),
        Name::Redb => RGBColor(225, 87, 89),
        Name::Fjall => RGBColor(118, 183, 178),
        Name::Moka => RGBColor(89, 161, 79),
        Name::QuickCache => RGBColor(237, 201, 72),
    }
}
