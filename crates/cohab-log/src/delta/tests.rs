use std::collections::BTreeMap;
use std::io::Write;

use cohab_core::limits::{DELTA_BYTES_MAX, TRANSACTION_LABEL_BYTES_MAX};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_bytes::Bytes;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder;

use super::reader::Blocks;
use super::*;

const EMPTY: Contents = Contents::EMPTY;

fn header(kind: DeltaKind, from: u64, to: u64) -> DeltaHeader {
    let at =
        |version, byte| Position { version: Version::new(version), chain: Chain::from_bytes([byte; 32]) };
    DeltaHeader::new(StoreId::generate(), kind, at(from, 1), at(to, 2), Some(NamespaceId::new(7)))
}

fn version(version: u64) -> Piece<'static> {
    let instance = "01890000-0000-7000-8000-000000000001".parse().expect("is a uuid");
    Piece::Version { version: Version::new(version), time: Timestamp::from_micros(1), instance, label: "l" }
}

fn namespace(id: u32, is_whole: bool) -> Piece<'static> {
    let mut after = EMPTY;
    after.add(b"k", b"v");
    Piece::Namespace { namespace: NamespaceId::new(id), before: EMPTY, after, is_whole }
}

fn put(key: &[u8]) -> Piece<'_> {
    Piece::Put { key, value: b"value" }
}

fn write<'a>(
    header: &DeltaHeader,
    pieces: impl IntoIterator<Item = Piece<'a>>,
) -> Result<Vec<u8>, DeltaError> {
    let mut delta = DeltaWriter::begin(header, DELTA_BYTES_MAX);
    pieces.into_iter().try_for_each(|piece| delta.piece(&piece))?;
    delta.finish()
}

fn visit(bytes: &[u8], visitor: impl FnMut(Piece<'_>)) -> Result<(), DeltaError> {
    let mut visitor = visitor;
    DeltaReader::open(bytes, DELTA_BYTES_MAX)?.visit(|piece| {
        visitor(piece);
        Ok(())
    })
}

fn read(bytes: &[u8]) -> Result<(), DeltaError> {
    visit(bytes, |_| ())
}

/// A delta that nobody would write, but with a hash that is right.
struct Forged<'a> {
    header: &'a [u8],
    plain_bytes: u64,
    pieces: u64,
    body: &'a [u8],
}

impl Forged<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"cohabdlt\x01\x00".to_vec();
        bytes.extend((u32::try_from(self.header.len()).expect("is short")).to_le_bytes());
        bytes.extend(self.header);
        for number in [self.plain_bytes, self.pieces, self.body.len() as u64] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(self.body);
        seal(bytes)
    }
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("fits into memory")
}

fn compress(plain: &[u8]) -> Vec<u8> {
    zstd::encode_all(plain, 1).expect("fits into memory")
}

fn block(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("is short").to_le_bytes(), bytes].concat()
}

/// The entries of a namespace, with what is said of it.
type Section = (u32, bool, BTreeMap<Vec<u8>, Option<Vec<u8>>>, Option<Vec<u8>>);

fn sections() -> impl Strategy<Value = Vec<Section>> {
    let bytes = |most| vec(any::<u8>(), 0..most);
    let entries = btree_map(bytes(20), prop::option::weighted(0.8, bytes(70_000)), 0..6);
    vec((any::<u32>(), any::<bool>(), entries, prop::option::of(bytes(100))), 0..4)
}

fn pieces(sections: &[Section]) -> impl Iterator<Item = Piece<'_>> {
    let records = sections.iter().map(|(id, _, _, record)| {
        let record = record.as_deref().map(Bytes::new);
        Piece::Record { namespace: NamespaceId::new(*id), record }
    });
    records.chain(sections.iter().flat_map(|(id, is_whole, entries, _)| {
        let entries = entries.iter().filter_map(move |(key, value)| match value {
            Some(value) => Some(Piece::Put { key, value }),
            None => (!is_whole).then_some(Piece::Delete { key }),
        });
        std::iter::once(namespace(*id, *is_whole)).chain(entries)
    }))
}

fn survives(header: &DeltaHeader, pieces: &[Piece<'_>]) -> Result<(), TestCaseError> {
    let bytes = write(header, pieces.iter().copied()).expect("the pieces make a delta");
    let delta = DeltaReader::open(&bytes, DELTA_BYTES_MAX).expect("was just written");
    prop_assert_eq!(delta.header(), header);
    prop_assert_eq!(delta.pieces(), pieces.len() as u64);
    let mut left = pieces.iter();
    let read = visit(&bytes, |piece| assert_eq!(left.next(), Some(&piece)));
    prop_assert_eq!(read, Ok(()));
    prop_assert_eq!(left.next(), None);
    let less = delta.plain_bytes().saturating_sub(1);
    if less < delta.plain_bytes() {
        let error = DeltaError::TooLarge { bytes: delta.plain_bytes(), max: less };
        prop_assert_eq!(DeltaReader::open(&bytes, less).map(drop), Err(error));
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_coalesced_delta_reads_back_as_it_was_written(sections in sections(), from: u64, span: u64) {
        let header = header(DeltaKind::Coalesced, from, from.saturating_add(span));
        survives(&header, &pieces(&sections).collect::<Vec<_>>())?;
    }

    #[test]
    fn a_complete_delta_reads_back_as_it_was_written(versions in vec(sections(), 0..4), from in 0..u64::MAX - 4) {
        let header = header(DeltaKind::Complete, from, from + versions.len() as u64);
        let versions = (from + 1..).zip(&versions);
        let pieces = versions.flat_map(|(number, sections)| [version(number)].into_iter().chain(pieces(sections)));
        survives(&header, &pieces.collect::<Vec<_>>())?;
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in vec(any::<u8>(), 0..300), plain_bytes in 0..300_u64, pieces in 0..9_u64) {
        let _ = read(&bytes);
        let _ = read(&[&MAGIC[..], &bytes].concat());
        let _ = read(&[&MAGIC[..], &FORMAT.to_le_bytes(), &bytes].concat());
        let header = encode(&header(DeltaKind::Coalesced, 3, 4));
        for body in [&bytes, &compress(&bytes), &compress(&block(&bytes))] {
            let plain_bytes = if body == &bytes { plain_bytes } else { bytes.len() as u64 + 4 };
            let _ = read(&Forged { header: &header, plain_bytes, pieces, body }.bytes());
        }
        let _ = read(&Forged { header: &bytes, plain_bytes, pieces, body: &compress(&[]) }.bytes());
    }
}

fn small() -> Vec<u8> {
    let pieces = [version(4), namespace(1, false), put(b"a"), Piece::Delete { key: b"b" }, version(5)];
    write(&header(DeltaKind::Complete, 3, 5), pieces).expect("the pieces make a delta")
}

#[test]
fn what_is_cut_off_continued_or_changed_anywhere_is_refused() {
    let whole = small();
    read(&whole).expect("was just written");
    for end in 0..whole.len() {
        assert_eq!(read(&whole[..end]), Err(DeltaError::Truncated), "cut off after {end} bytes");
    }
    assert_eq!(read(&[&whole[..], b"\0"].concat()), Err(damaged("bytes follow its end")));
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = read(&flipped).expect_err("a bit was flipped");
        match bit / 8 {
            0..8 => assert_eq!(error, DeltaError::NotADelta),
            8..10 => assert!(matches!(error, DeltaError::Format { found } if found != 1), "{error}"),
            byte if byte >= whole.len() - 32 => assert_eq!(error, DeltaError::Checksum),
            _ => {}
        }
    }
}

#[test]
fn another_format_is_named_whatever_follows() {
    let mut next = small();
    next[8] = 2;
    for bytes in [&next[..], &next[..10], b"cohabdlt\x02\x00and then as it likes"] {
        assert_eq!(read(bytes), Err(DeltaError::Format { found: 2 }));
    }
    let message = DeltaError::Format { found: 2 }.to_string();
    assert_eq!(message, "the delta has format 2, this build reads format 1; update cohab here");
}

/// Both sides hold pieces to the rules: the writer does not write them, and the reader does not believe them.
#[test]
fn pieces_that_break_a_rule_are_neither_written_nor_read() {
    fn check(kind: DeltaKind, pieces: &[Piece<'_>], what: &'static str) {
        let header = header(kind, 3, 5);
        assert_eq!(write(&header, pieces.iter().copied()), Err(damaged(what)));
        let encoded: Vec<_> = pieces.iter().flat_map(encode).collect();
        let plain = if encoded.is_empty() { encoded } else { block(&encoded) };
        let (plain_bytes, pieces) = (plain.len() as u64, pieces.len() as u64);
        let forged = Forged { header: &encode(&header), plain_bytes, pieces, body: &compress(&plain) };
        assert_eq!(read(&forged.bytes()), Err(damaged(what)));
    }
    use DeltaKind::{Coalesced, Complete};
    let (part, whole, delete) = (namespace(1, false), namespace(1, true), Piece::Delete { key: b"k" });
    check(Coalesced, &[version(4)], "it names a version, but is coalesced");
    check(Coalesced, &[put(b"k")], "an entry belongs to no namespace");
    check(Coalesced, &[delete], "an entry belongs to no namespace");
    check(Coalesced, &[part, put(b"k"), put(b"k")], "keys do not ascend");
    check(Coalesced, &[part, put(b""), put(b"")], "keys do not ascend");
    check(Coalesced, &[part, put(b"k"), delete], "keys do not ascend");
    check(Coalesced, &[part, put(b"kk"), put(b"k")], "keys do not ascend");
    let deleted = "a key is deleted from a namespace that is given as a whole";
    check(Coalesced, &[whole, delete], deleted);
    check(Complete, &[part], "a piece comes before the first version");
    check(Complete, &[version(4), part, version(5), put(b"k")], "an entry belongs to no namespace");
    check(Complete, &[version(4), part, put(b"k"), put(b"j")], "keys do not ascend");
    for wrong in [0, 3, 5, u64::MAX] {
        check(Complete, &[version(wrong)], "its versions do not follow each other");
    }
    check(Complete, &[version(4), version(4)], "its versions do not follow each other");
    check(Complete, &[version(4), version(5), version(6)], "its versions do not follow each other");
    check(Complete, &[version(4)], "its last versions are missing");
    check(Complete, &[], "its last versions are missing");

    let long = vec![b'a'; VALUE_BYTES_MAX + 1];
    let key = &long[..=KEY_BYTES_MAX];
    check(Coalesced, &[part, put(key)], "a key is too long");
    check(Coalesced, &[part, Piece::Delete { key }], "a key is too long");
    let label = str::from_utf8(&long[..=TRANSACTION_LABEL_BYTES_MAX]).expect("is ASCII");
    let Piece::Version { version, time, instance, .. } = version(4) else { unreachable!() };
    check(Complete, &[Piece::Version { version, time, instance, label }], "a label is too long");
    check(Coalesced, &[part, Piece::Put { key: b"k", value: &long }], "a value is too long");
    let (namespace, record) = (NamespaceId::FIRST, Some(Bytes::new(&long)));
    check(Coalesced, &[Piece::Record { namespace, record }], "a record is too long");
    let late = [part, Piece::Record { namespace, record: None }];
    check(Coalesced, &late, "a namespace's record comes after data of its version");
}

#[test]
fn the_same_keys_may_come_in_another_section() {
    let part = namespace(1, false);
    let pieces = [version(4), part, put(b"k"), part, put(b"k"), version(5), part, put(b"k")];
    survives(&header(DeltaKind::Complete, 3, 5), &pieces).expect("survives");
}

#[test]
fn the_largest_entry_fits_behind_a_block_that_is_almost_full() {
    let (key, value) = (vec![1; KEY_BYTES_MAX], vec![0; VALUE_BYTES_MAX]);
    let almost = &value[..LOG_CHUNK_BYTES - 5 - encode(&namespace(1, true)).len() - 1];
    let first = Piece::Put { key: b"", value: almost };
    assert_eq!(encode(&namespace(1, true)).len() + encode(&first).len(), LOG_CHUNK_BYTES - 1);
    let largest = Piece::Put { key: &key, value: &value };
    // The longest block that is ever written, and hardly a longer one is read.
    let longest = LOG_CHUNK_BYTES - 1 + encode(&largest).len();
    assert!((longest..longest + 64).contains(&BLOCK_BYTES_MAX), "{longest} and {BLOCK_BYTES_MAX}");
    let pieces = [namespace(1, true), first, largest, put(b"\x02")];
    survives(&header(DeltaKind::Coalesced, 3, 5), &pieces).expect("survives");
}

#[test]
fn a_body_other_than_its_numbers_say_is_refused() {
    let entry = [encode(&namespace(1, true)), encode(&put(b"k"))].concat();
    let plain = block(&entry);
    let header_bytes = encode(&header(DeltaKind::Coalesced, 3, 5));
    let check = |plain: &[u8], plain_bytes: usize, pieces, what: Option<&'static str>| {
        let forged =
            Forged { header: &header_bytes, plain_bytes: plain_bytes as u64, pieces, body: &compress(plain) };
        assert_eq!(read(&forged.bytes()), what.map_or(Ok(()), |what| Err(damaged(what))));
    };
    let (longer, shorter) = ("its body is longer than it says", "its body is shorter than it says");
    let beyond = "a block goes beyond the body's end";
    check(&plain, plain.len(), 2, None);
    check(&plain, plain.len(), 3, Some("it has fewer pieces than it says"));
    check(&plain, plain.len(), 1, Some("it has more pieces than it says"));
    check(&plain, plain.len() - 1, 2, Some(beyond));
    check(&plain, 0, 0, Some(longer));
    check(&[&plain[..], b"\0"].concat(), plain.len(), 2, Some(longer));
    check(&plain, plain.len() + 1, 2, Some(shorter));
    check(&plain, plain.len() + 4, 2, Some(shorter));
    check(&plain[..plain.len() - 1], plain.len(), 2, Some(shorter));
    check(&[0; 4], 4, 0, Some("a block has a length that none has"));
    check(&[0xFF; 4], 4, 0, Some("a block has a length that none has"));
    check(&block(&entry[..entry.len() - 1]), plain.len() - 1, 2, Some("a piece does not decode"));
    check(&block(b"\x09"), 5, 1, Some("a piece does not decode"));
    let apart = [block(&entry[..entry.len() - 3]), block(&entry[entry.len() - 3..])].concat();
    check(&apart, apart.len(), 2, Some("a piece does not decode"));
    check(&[], 0, 0, None);

    let frame = compress(&plain);
    let check_body = |body: &[u8], what| {
        let forged = Forged { header: &header_bytes, plain_bytes: plain.len() as u64, pieces: 2, body };
        assert_eq!(read(&forged.bytes()), Err(damaged(what)));
    };
    check_body(&[&frame[..], &compress(&[])].concat(), longer);
    check_body(&[&frame[..], b"\0"].concat(), longer);
    check_body(&frame[..frame.len() - 1], "its body cannot be decompressed");
    check_body(&plain, "its body cannot be decompressed");
    check_body(&[], "its body cannot be decompressed");
}

#[test]
fn a_header_that_is_not_one_or_leads_backwards_is_refused() {
    let check = |header: &[u8], what| {
        let forged = Forged { header, plain_bytes: 0, pieces: 0, body: &compress(&[]) };
        assert_eq!(DeltaReader::open(&forged.bytes(), DELTA_BYTES_MAX).map(drop), Err(damaged(what)));
    };
    let good = encode(&header(DeltaKind::Coalesced, 3, 5));
    check(&good[1..], "its header does not decode");
    check(&[&good[..], b"\0"].concat(), "its header does not decode");
    check(&encode(&header(DeltaKind::Complete, 6, 5)), "it leads to an earlier version");
}

#[test]
fn a_bomb_is_refused_before_it_takes_memory() {
    let zeros = vec![0; 1 << 20];
    let expanded = |window_log: Option<u32>, start: &[u8]| {
        let mut bomb = Encoder::new(Vec::new(), 1).expect("fits into memory");
        if let Some(log) = window_log {
            bomb.set_parameter(CParameter::WindowLog(log)).expect("is a window");
        }
        bomb.write_all(start).expect("fits into memory");
        (0..100).try_for_each(|_| bomb.write_all(&zeros)).expect("fits into memory");
        bomb.finish().expect("fits into memory")
    };
    let header = encode(&header(DeltaKind::Coalesced, 3, 5));
    let check = |plain_bytes, body: &[u8], what: &'static str| {
        assert!(body.len() < 20_000, "it is worth its name");
        let bytes = Forged { header: &header, plain_bytes, pieces: 1, body }.bytes();
        let delta = DeltaReader::open(&bytes, u64::MAX).expect("its bytes are in order");
        let mut blocks = Blocks::of(&delta).expect("decompression can begin");
        let error = loop {
            match blocks.next() {
                Ok(block) => assert!(block.is_some(), "it does not end well"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), damaged(what).to_string());
        assert!(blocks.block.capacity() < 1 << 20, "{} bytes", blocks.block.capacity());
    };
    let entry = block(&encode(&put(b"k")));
    check(entry.len() as u64, &expanded(None, &entry), "its body is longer than it says");
    check(u64::MAX, &expanded(None, &[0xFF; 4]), "a block has a length that none has");
    // A long block that is not there takes no memory. One that is there is at most as long as the largest entry.
    let longest = u32::try_from(BLOCK_BYTES_MAX).expect("fits").to_le_bytes();
    check(u64::MAX, &compress(&longest), "its body is shorter than it says");
    check(1 << 28, &expanded(Some(24), &entry), "its body cannot be decompressed");

    let bytes = Forged { header: &header, plain_bytes: u64::MAX, pieces: 1, body: &[] }.bytes();
    let error = DeltaError::TooLarge { bytes: u64::MAX, max: DELTA_BYTES_MAX };
    assert_eq!(read(&bytes), Err(error));
}

#[test]
fn a_delta_that_gets_too_large_is_given_up() {
    let (header, whole) = (header(DeltaKind::Coalesced, 3, 5), namespace(1, true));
    let bytes = (4 + encode(&whole).len() + encode(&put(b"k")).len()) as u64;
    let begin = |bytes_max| {
        let mut delta = DeltaWriter::begin(&header, bytes_max);
        delta.piece(&whole).expect("there is room");
        delta
    };
    let mut delta = begin(bytes);
    assert_eq!(delta.piece(&put(b"k")), Ok(()));
    let written = delta.finish().expect("there is room");
    let read = DeltaReader::open(&written, bytes).expect("there is room");
    assert_eq!(read.plain_bytes(), bytes);

    let mut delta = begin(bytes - 1);
    let error = DeltaError::TooLarge { bytes, max: bytes - 1 };
    assert_eq!(delta.piece(&put(b"k")), Err(error));
    assert_eq!(delta.finish(), Err(error), "what did not fit is not left out silently");
}

#[test]
fn a_visitors_error_ends_the_visit() {
    #[derive(PartialEq, Debug)]
    enum Mine {
        Enough,
        Delta(DeltaError),
    }
    impl From<DeltaError> for Mine {
        fn from(error: DeltaError) -> Self {
            Self::Delta(error)
        }
    }
    let bytes = small();
    let delta = DeltaReader::open(&bytes, DELTA_BYTES_MAX).expect("was just written");
    let mut seen = 0;
    let visited = delta.visit(|_| {
        seen += 1;
        if seen == 2 { Err(Mine::Enough) } else { Ok(()) }
    });
    assert_eq!((visited, seen), (Err(Mine::Enough), 2));
    let damaged = Forged { header: &encode(delta.header()), plain_bytes: 0, pieces: 0, body: &[] }.bytes();
    let delta = DeltaReader::open(&damaged, DELTA_BYTES_MAX).expect("its bytes are in order");
    assert!(matches!(delta.visit(|_| Ok(())), Err(Mine::Delta(DeltaError::Damaged { .. }))));
}

#[test]
fn rows_of_24_and_150_bytes_cost_little_more_than_their_bytes() {
    let rows: Vec<_> = (0..10_000).map(|row| (format!("key-{row:020}"), [7; 150])).collect();
    let puts = rows.iter().map(|(key, value)| Piece::Put { key: key.as_bytes(), value });
    let header = header(DeltaKind::Coalesced, 3, 5);
    let bytes = write(&header, [namespace(1, true)].into_iter().chain(puts)).expect("the rows make a delta");
    let delta = DeltaReader::open(&bytes, DELTA_BYTES_MAX).expect("was just written");
    let entries = rows.len() as u64 * (24 + 150);
    assert!(delta.plain_bytes() * 100 <= entries * 115, "{} for {entries}", delta.plain_bytes());
}
