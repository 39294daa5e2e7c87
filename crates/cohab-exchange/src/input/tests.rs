use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

fn lz4(bytes: &[u8], block_size: BlockSize) -> Vec<u8> {
    let info = FrameInfo::new().block_size(block_size).content_checksum(true);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all bytes");
    encoder.finish().expect("memory takes all bytes")
}

/// A reader that gives one byte at a time and is interrupted before each.
struct Trickle(Cursor<Vec<u8>>, bool);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bytes = buffer.len().min(1);
        self.0.read(&mut buffer[..bytes])
    }
}

fn read(input: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    decompressed(Cursor::new(input.to_vec()))?.read_to_end(&mut content)?;
    let mut again = Vec::new();
    decompressed(Trickle(Cursor::new(input.to_vec()), false))?.read_to_end(&mut again)?;
    assert_eq!(content, again);
    Ok(content)
}

/// Some text that is compressed into several blocks.
fn text() -> Vec<u8> {
    (0..20_000).flat_map(|n: u32| format!("Package: p{n}\n\n").into_bytes()).collect()
}

#[test]
fn what_is_compressed_is_decompressed() {
    let check = |input: &[u8], content: &[u8]| assert_eq!(read(input).expect("is whole"), content);
    let text = text();
    for plain in [&b""[..], b"\n", b"ab", b"\x1f", b"\x04\x22\x4d", &text] {
        check(plain, plain);
    }
    for compressed in [lz4(&text, BlockSize::Max64KB), lz4(&text, BlockSize::Max4MB), gzip(&text)] {
        check(&compressed, &text);
    }
    check(&lz4(b"", BlockSize::Max64KB), b"");
    check(&gzip(b""), b"");
    let frames =
        [lz4(&text, BlockSize::Max4MB), lz4(b"", BlockSize::Max64KB), lz4(&text, BlockSize::Max64KB)];
    check(&frames.concat(), &[&text[..], &text].concat());
    check(&[gzip(&text), gzip(&text)].concat(), &[&text[..], &text].concat());
}

#[test]
fn what_is_cut_off_is_not_taken_for_an_end() {
    let text = text();
    for compressed in [lz4(&text, BlockSize::Max64KB), gzip(&text)] {
        // A whole frame before, so that the cut does not hit the magic number by which it is known.
        let both = [&compressed[..], &compressed].concat();
        for end in (compressed.len() + 1..both.len()).step_by(977).chain([both.len() - 1, both.len() - 8]) {
            let error = read(&both[..end]).expect_err("is cut off");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}: {error}");
        }
    }
}

#[test]
fn every_cut_between_blocks_is_noticed() {
    let compressed = lz4(&text(), BlockSize::Max64KB);
    let mut end = 7;
    let mut blocks = 0;
    while end < compressed.len() - 8 {
        let error = read(&compressed[..end]).expect_err("is cut off");
        assert_eq!(error.to_string(), "the lz4 frame is cut off");
        let size = compressed[end..end + 4].try_into().map(u32::from_le_bytes).expect("four bytes");
        end += 4 + (size & 0x7fff_ffff) as usize;
        blocks += 1;
    }
    assert!(blocks > 1, "the text has several blocks");
}

#[test]
fn the_start_that_is_shown_suffices_to_guess() {
    let check = |content: &[u8], format| {
        for input in [content.to_vec(), gzip(content), lz4(content, BlockSize::Max64KB)] {
            let mut input = decompressed(Trickle(Cursor::new(input), false)).expect("is whole");
            assert_eq!(
                detect(input.fill_buf().expect("is whole")),
                format,
                "{:?}",
                content.escape_ascii().to_string()
            );
        }
    };
    check(b"{\"cohab_dump\":1}\n", Some(Format::Dump));
    check(b"{ \"cohab_dump\" : 1}", Some(Format::Dump));
    check(b"{\"key\":\"cohab_dump\",\"value\":\"\"}\n", Some(Format::Jsonl));
    check(b"Package: a\n", Some(Format::Deb822));
    check(b"X-Field:\n a\n", Some(Format::Deb822));
    check(b"# comment", Some(Format::Deb822));
    assert_eq!(detect(b""), None);
    check(b"a b: c\n", None);
    check(b": c\n", None);
    check(b"\xff\xfe\0\0", None);
    assert_eq!(detect(b"\r\n \n{}"), Some(Format::Jsonl));
}

#[test]
fn files_are_opened_by_name_and_named_in_errors() {
    let dir = tempfile::tempdir().expect("can be made");
    let path = dir.path().join("Packages.txt");
    std::fs::write(&path, lz4(b"Package: a\n", BlockSize::Max64KB)).expect("can be written");
    let mut content = String::new();
    open(&path).expect("is there").read_to_string(&mut content).expect("is whole");
    assert_eq!(content, "Package: a\n");

    let refusal = |path: PathBuf| open(&path).err().expect("should be refused").to_string();
    assert!(refusal(dir.path().join("none")).ends_with("none failed"));
    #[cfg(unix)]
    assert!(refusal(dir.path().to_owned()).starts_with("reading /"));
}

proptest! {
    #[test]
    fn no_input_panics(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let read_all = |input| decompressed(Cursor::new(input)).map(|mut input| io::copy(&mut input, &mut io::sink()));
        _ = detect(&bytes);
        for magic in [&LZ4_MAGIC[..], &GZIP_MAGIC] {
            _ = read_all([magic, &bytes].concat());
        }
        for mut compressed in [lz4(&bytes, BlockSize::Max64KB), gzip(&bytes)] {
            let at = at.index(compressed.len());
            compressed[at] = byte;
            _ = read_all(compressed);
        }
    }
}
