//! What a process and a directory take up at a moment.

use std::fs;
use std::path::Path;

/// What the kernel says of a process.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Process {
    /// Memory of its own, in KiB; what it maps of files is not its own.
    pub(crate) memory_kib: u64,
    /// What it has mapped of files, in KiB.
    pub(crate) mapped_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) mappings: u64,
    pub(crate) threads: u64,
    /// Processor time so far, in ticks of a hundredth of a second.
    pub(crate) ticks: u64,
}

/// Looks at a process, or returns `None` if it is gone.
pub(crate) fn process(pid: u32) -> Option<Process> {
    let at = |name: &str| format!("/proc/{pid}/{name}");
    let status = fs::read_to_string(at("status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let stat = fs::read_to_string(at("stat")).ok()?;
    // Behind the name, which may hold anything, the times are the 12th and 13th field.
    let times: Vec<u64> =
        stat.rsplit_once(") ")?.1.split(' ').skip(11).take(2).filter_map(|time| time.parse().ok()).collect();
    Some(Process {
        memory_kib: field("RssAnon"),
        mapped_kib: field("RssFile") + field("RssShmem"),
        descriptors: fs::read_dir(at("fd")).ok()?.count() as u64,
        mappings: fs::read_to_string(at("maps")).ok()?.lines().count() as u64,
        threads: field("Threads"),
        ticks: times.iter().sum(),
    })
}

/// How many files there are in a directory and below.
pub(crate) fn files(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.file_type().is_ok_and(|it| it.is_dir()) { 1 + files(&entry.path()) } else { 1 })
        .sum()
}

/// The length of a file in KiB.
pub(crate) fn kib(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len() / 1024)
}
