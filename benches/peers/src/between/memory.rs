//! What a process has in memory, as the kernel says.

use std::fs;

use anyhow::{Context as _, Result};

/// The memory that a process shares with nobody.
pub fn private_bytes(process: u32) -> Result<i64> {
    sum(process, &["Private_Clean:", "Private_Dirty:"])
}

/// The memory of a process that is not that of a file.
pub fn anonymous_bytes(process: u32) -> Result<i64> {
    sum(process, &["Anonymous:"])
}

fn sum(process: u32, fields: &[&str]) -> Result<i64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let lines = rollup.lines().filter(|line| fields.iter().any(|field| line.starts_with(field)));
    let kib = lines.map(|line| line.split_whitespace().nth(1)?.parse::<i64>().ok());
    let kib: Option<i64> = kib.sum();
    Ok(kib.with_context(|| format!("{path} is not as expected"))? << 10)
}
