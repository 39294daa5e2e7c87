//! Measures how fast a delta is written and read, and what levels of zstd make of the same entries.
//!
//! ```text
//! cargo run --release -p cohab-log --example delta
//! ```
//!
//! There are 100,000 entries with ascending keys of 24 bytes and values of 150 bytes, half words and half random. Each
//! measurement is the best of five.

use std::error::Error;
use std::io::{self, Write};
use std::time::Instant;

use cohab_core::limits::{DELTA_BYTES_MAX, LOG_CHUNK_BYTES};
use cohab_core::{Contents, NamespaceId, StoreId, Version};
use cohab_log::{Chain, DeltaError, DeltaHeader, DeltaKind, DeltaReader, DeltaWriter, Piece, Position};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let entries: Vec<_> = entries().collect();
    let plain: Vec<u8> = entries.iter().flatten().flat_map(|text| text.bytes()).collect();
    let mut delta = Vec::new();
    measure("a delta written", &plain, || {
        delta = write(&entries)?;
        Ok(delta.len())
    })?;
    measure("a delta read", &plain, || {
        DeltaReader::open(&delta, DELTA_BYTES_MAX)?.visit(|_| Ok::<_, DeltaError>(()))?;
        Ok(delta.len())
    })?;
    for level in [1, 2, 3, 5] {
        measure(&format!("zstd, level {level}"), &plain, || {
            let mut encoder = zstd::Encoder::new(Vec::new(), level)?;
            plain.chunks(LOG_CHUNK_BYTES).try_for_each(|block| encoder.write_all(block))?;
            Ok(encoder.finish()?.len())
        })?;
    }
    Ok(())
}

fn write(entries: &[[String; 2]]) -> Result<Vec<u8>> {
    let from = Position { version: Version::ZERO, chain: Chain::START };
    let to = Position { version: Version::new(1), ..from };
    let header = DeltaHeader::new(StoreId::generate(), DeltaKind::Coalesced, from, to, None);
    let mut delta = DeltaWriter::begin(&header, DELTA_BYTES_MAX);
    let (before, after) = (Contents::EMPTY, Contents::EMPTY);
    delta.piece(&Piece::Namespace { namespace: NamespaceId::FIRST, before, after, is_whole: true })?;
    for [key, value] in entries {
        delta.piece(&Piece::Put { key: key.as_bytes(), value: value.as_bytes() })?;
    }
    Ok(delta.finish()?)
}

fn entries() -> impl Iterator<Item = [String; 2]> {
    const WORDS: [&str; 8] = ["amd64", "arm64", "extra", "libc6", "main", "optional", "python3", "universe"];
    let mut state = 1_u64;
    // SplitMix64: the same entries wherever this runs.
    let mut random = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut number = 0;
    (0..100_000).map(move |_| {
        number += random() >> 24;
        let mut value = String::new();
        while value.len() < 150 {
            value.extend([WORDS[(random() >> 61) as usize], "=", &format!("{:x};", random() >> 40)]);
        }
        value.truncate(150);
        [format!("key-{number:020}"), value]
    })
}

fn measure(what: &str, plain: &[u8], mut run: impl FnMut() -> Result<usize>) -> Result<()> {
    let mut best = f64::INFINITY;
    let mut bytes = 0;
    for _ in 0..5 {
        let start = Instant::now();
        bytes = run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "megabytes are shown with one decimal")]
    let [plain, compressed] = [plain.len(), bytes].map(|bytes| bytes as f64 / 1e6);
    let speed = plain / best;
    writeln!(io::stdout(), "{what:<16} {plain:>6.1} MB in {compressed:>5.1} MB {speed:>6.0} MB/s")?;
    Ok(())
}
