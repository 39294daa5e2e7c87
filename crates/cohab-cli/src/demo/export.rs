//! Ways out: dumps and backups.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::Instant;

use cohab::{Integrity, Role, Store};

use super::stage::{Stage, digests_by_name};
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;
use crate::terminal::{Progress, rate, size};
use crate::transfer::{Format, Loaded, Merged, Source, dump, load_dump};

pub(super) const STEPS: &[Step] = &[
    Step {
        name: "dump",
        says: "dump the store as text, load that elsewhere, and dump it again",
        run: dump_twice,
    },
    Step {
        name: "backup",
        says: "copy the store into one file beside the writer, and read that",
        run: backup,
    },
    Step { name: "verify", says: "verify every value, digest, log record and page", run: verify },
];

fn dump_twice(stage: &mut Stage) -> Result<String, Failure> {
    let (first, second) = (stage.path("dump.jsonl"), stage.path("dump-again.jsonl"));
    let silent = Progress::begin("", None, false);
    let snapshot = stage.snapshot()?;
    let begin = Instant::now();
    dump(&snapshot, None, create(&first)?, &silent)?;
    let dump_time = begin.elapsed();
    let bytes = first.metadata().map_or(0, |metadata| metadata.len());

    let copy = Store::open(stage.path("copy"))?;
    let begin = Instant::now();
    let source = Source::open(&first, Some(Format::Dump), &silent)?;
    let merged = Merged::all(source)?;
    write(&copy, "demo: load the dump", |tx| load_dump(tx, merged, &mut Loaded::default()))?;
    let load_time = begin.elapsed();

    let (ours, theirs) = (digests_by_name(&snapshot)?, digests_by_name(&copy.snapshot()?)?);
    ensure(ours == theirs, || "the loaded namespaces have other digests".to_owned())?;
    dump(&copy.snapshot()?, None, create(&second)?, &silent)?;
    ensure(is_equal(&first, &second)?, || "the second dump is not the first".to_owned())?;
    let (dumped, loaded) = (rate(bytes, dump_time), rate(bytes, load_time));
    let (namespaces, bytes) = (ours.len(), size(bytes));
    Ok(format!("{bytes} out at {dumped}, in at {loaded}; {namespaces} equal digests, second dump identical"))
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::io(format!("creating {} failed", path.display()), &error))
}

/// Compares two files byte by byte.
fn is_equal(one: &Path, other: &Path) -> Result<bool, Failure> {
    let failed = |error: std::io::Error| Failure::io("comparing the dumps failed", &error);
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(256 << 10, file));
    let one = open(one).map_err(failed)?.bytes();
    let mut other = open(other).map_err(failed)?.bytes();
    for byte in one {
        let byte = byte.map_err(failed)?;
        if other.next().transpose().map_err(failed)? != Some(byte) {
            return Ok(false);
        }
    }
    Ok(other.next().is_none())
}

fn backup(stage: &mut Stage) -> Result<String, Failure> {
    let file = stage.path("backup.cohab");
    // The writer stays open all the while.
    let store = stage.writer()?;
    let begin = Instant::now();
    let version = stage.snapshot()?.backup(&file, |_| interrupt::check_in_callback())?;
    let time = begin.elapsed();
    let copy = Store::options().role(Role::Reader).open(&file)?.snapshot()?;
    ensure(copy.version() == version, || format!("it holds version {}, not {version}", copy.version()))?;
    let (ours, theirs) = (digests_by_name(&store.snapshot()?)?, digests_by_name(&copy)?);
    ensure(ours == theirs, || "the backup has other digests".to_owned())?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Ok(format!("version {version}, {} at {}; {} equal digests", size(bytes), rate(bytes, time), ours.len()))
}

fn verify(stage: &mut Stage) -> Result<String, Failure> {
    let store = stage.writer()?;
    let begin = Instant::now();
    let report = store.snapshot()?.verify(|_| interrupt::check_in_callback())?;
    ensure(report.is_sound(), || format!("verification found: {}", report.differences[0]))?;
    let pages = store.check()?;
    ensure(pages == Integrity::Sound, || format!("the pages are {pages:?}"))?;
    let (keys, records, time) = (grouped(report.keys), grouped(report.records), readable(begin.elapsed()));
    Ok(format!("{keys} keys, {records} log records and every page are sound, in {time}"))
}
