//! Measures how fast a package list is parsed, and how fast a dump of it is written and read.
//!
//! ```text
//! cargo run --release -p cohab-exchange --example throughput -- Packages.lz4
//! ```
//!
//! Everything is decompressed into memory first, and each measurement is the best of five.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use cohab_exchange::deb822::Stanzas;
use cohab_exchange::dump::{Event, NamespaceHeader, Reader, Writer};
use cohab_exchange::{input, jsonl};

fn main() -> Result<(), Box<dyn Error>> {
    let mut list = Vec::new();
    for path in std::env::args_os().skip(1) {
        io::copy(&mut input::open(Path::new(&path))?, &mut list)?;
        list.extend_from_slice(b"\n\n");
    }

    let mut entries = BTreeMap::new();
    let mut stanzas = Stanzas::new(&list[..]);
    while let Some(stanza) = stanzas.next()? {
        entries.insert(stanza.key.to_vec(), stanza.body.to_vec());
    }
    let mut dump = Vec::new();
    write(&entries, &mut dump)?;

    measure("deb822 parsing", list.len(), || {
        let mut stanzas = Stanzas::new(&list[..]);
        let mut count = 0;
        while stanzas.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    })?;
    measure("dump writing", dump.len(), || {
        let mut written = Vec::with_capacity(dump.len());
        write(&entries, &mut written)?;
        assert!(written == dump, "equal data gives equal bytes");
        Ok(entries.len())
    })?;
    measure("dump reading", dump.len(), || {
        let mut reader = Reader::new(&dump[..]);
        let mut count = 0;
        while let Some(event) = reader.next()? {
            count += usize::from(matches!(event, Event::Entry { .. }));
        }
        Ok(count)
    })?;
    let lines: Vec<_> =
        dump.split_inclusive(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"key\"")).collect();
    let lines = lines.concat();
    measure("jsonl reading", lines.len(), || {
        jsonl::entries(&lines[..]).try_fold(0, |count, entry| Ok(entry.map(|_| count + 1)?))
    })
}

fn write(entries: &BTreeMap<Vec<u8>, Vec<u8>>, to: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let mut dump = Writer::begin(to)?;
    dump.namespace(&NamespaceHeader::new("packages".parse()?))?;
    for (key, value) in entries {
        dump.entry(key, value)?;
    }
    dump.end_namespace()?;
    dump.finish()?;
    Ok(())
}

fn measure(
    what: &str,
    bytes: usize,
    mut run: impl FnMut() -> Result<usize, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut best = f64::INFINITY;
    let mut count = 0;
    for _ in 0..5 {
        let start = Instant::now();
        count = run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "megabytes are shown without decimals")]
    let megabytes = bytes as f64 / 1e6;
    writeln!(
        io::stdout(),
        "{what:<16}{count:>8} entries {megabytes:>6.0} MB {:>6.0} MB/s",
        megabytes / best
    )?;
    Ok(())
}
