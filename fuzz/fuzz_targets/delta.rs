//! Deltas: no bytes panic the reader, and what it reads is written again and read as the same.

#![no_main]

use cohab_core::limits::DELTA_BYTES_MAX;
use cohab_core::{StoreId, Version};
use cohab_log::{Chain, DeltaError, DeltaHeader, DeltaKind, DeltaReader, DeltaWriter, Piece, Position};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    survives(bytes);
    // The hash keeps a mutated delta from being read any further, so the same bytes also come with one that is right,
    if let Some((sealed, _)) = bytes.split_last_chunk::<32>() {
        survives(&seal(sealed.to_vec()));
    }
    // and as the pieces of a delta, behind a byte that says of which kind.
    if let Some((kind, pieces)) = bytes.split_first() {
        let kind = if kind % 2 == 0 { DeltaKind::Coalesced } else { DeltaKind::Complete };
        let all = wrap(kind, pieces, u64::MAX);
        let mut count = 0;
        let _ = visit(&all, |_| count += 1);
        survives(&wrap(kind, pieces, count));
    }
});

fn survives(bytes: &[u8]) {
    let Some((header, pieces)) = read(bytes) else { return };
    let mut delta = DeltaWriter::begin(&header, DELTA_BYTES_MAX);
    visit(bytes, |piece| delta.piece(&piece).expect("what may be read may be written"))
        .expect("was read before");
    let delta = delta.finish().expect("what may be read may be written");
    assert_eq!(read(&delta), Some((header, pieces)));
}

/// Reads a delta, with its pieces encoded again, unless it is refused.
fn read(bytes: &[u8]) -> Option<(DeltaHeader, Vec<u8>)> {
    let header = DeltaReader::open(bytes, DELTA_BYTES_MAX).ok()?.header().clone();
    let mut pieces = Vec::new();
    let visited = visit(bytes, |piece| {
        pieces = postcard::to_extend(&piece, std::mem::take(&mut pieces))
            .expect("writing into memory does not fail");
    });
    visited.ok().map(|()| (header, pieces))
}

fn visit(bytes: &[u8], mut visitor: impl FnMut(Piece<'_>)) -> Result<(), DeltaError> {
    DeltaReader::open(bytes, DELTA_BYTES_MAX)?.visit(|piece| {
        visitor(piece);
        Ok(())
    })
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// Makes a delta of two versions with one block of pieces. Its frame is as RFC 8878 has it, but nothing is compressed.
fn wrap(kind: DeltaKind, block: &[u8], pieces: u64) -> Vec<u8> {
    let position = |version| Position { version: Version::new(version), chain: Chain::START };
    let store: StoreId = "c0aab000-0000-4000-8000-000000000001".parse().expect("is a uuid");
    let header = DeltaHeader::new(store, kind, position(399), position(401), None);
    let header = postcard::to_stdvec(&header).expect("writing into memory does not fail");

    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("an input is short").to_le_bytes();
    let plain = if block.is_empty() { Vec::new() } else { [&length(block), block].concat() };
    // The magic, no flags, and a window of 128 KiB.
    let mut body = vec![0x28, 0xB5, 0x2F, 0xFD, 0, 7 << 3];
    for part in plain.chunks(1 << 16) {
        body.extend(&(part.len() << 3).to_le_bytes()[..3]);
        body.extend(part);
    }
    // The last block is an empty one.
    body.extend([1, 0, 0]);

    let mut bytes = b"cohabdlt\x01\0".to_vec();
    bytes.extend(length(&header));
    bytes.extend(header);
    for number in [plain.len() as u64, pieces, body.len() as u64] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(body);
    seal(bytes)
}
