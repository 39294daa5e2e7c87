//! Writing a delta, piece by piece.

use std::fmt;
use std::io::Write;

use cohab_core::limits::LOG_CHUNK_BYTES;
use zstd::stream::write::Encoder;

use super::rules::Rules;
use super::{DeltaError, DeltaHeader, FORMAT, MAGIC, Piece};

/// Rows of 24 and 150 bytes come out smaller than at level 3, and 1.7 times as fast (`examples/delta.rs`).
const LEVEL: i32 = 1;

/// Writing into memory and compressing it have no other way to fail than that memory runs out.
const IN_MEMORY: &str = "writing into memory does not fail";

/// Writes one delta. Memory: what it has come to so far, compressed, and one block of pieces.
#[must_use = "a delta is written once it is finished"]
pub struct DeltaWriter {
    rules: Rules,
    /// Compresses behind the bytes that come before the body.
    encoder: Encoder<'static, Vec<u8>>,
    /// Where in them the plain length, the number of pieces and the body's length go, and then the body.
    lengths_at: usize,
    block: Vec<u8>,
    /// The bytes of the blocks that were closed.
    plain_bytes: u64,
    pieces: u64,
    bytes_max: u64,
}

impl DeltaWriter {
    /// Begins a delta whose body may have up to `bytes_max` bytes before it is compressed: keys, values and some 2 %.
    ///
    /// # Panics
    ///
    /// If the header leads to an earlier version.
    pub fn begin(header: &DeltaHeader, bytes_max: u64) -> Self {
        assert!(header.from.version <= header.to.version, "a delta leads forwards");
        let encoded = postcard::to_stdvec(header).expect(IN_MEMORY);
        let length = u32::try_from(encoded.len()).expect("a header has some hundred bytes");
        let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes(), &length.to_le_bytes(), &encoded].concat();
        let lengths_at = bytes.len();
        bytes.extend_from_slice(&[0; 24]);
        Self {
            rules: Rules::of(header),
            encoder: Encoder::new(bytes, LEVEL).expect(IN_MEMORY),
            lengths_at,
            block: Vec::new(),
            plain_bytes: 0,
            pieces: 0,
            bytes_max,
        }
    }

    /// Adds a piece.
    ///
    /// # Errors
    ///
    /// [`DeltaError::TooLarge`] if the delta gets larger than it may: make one that spans fewer versions.
    /// [`DeltaError::Damaged`] if the piece may not be there, such as a key that does not come after the one before.
    /// In either case give the delta up.
    pub fn piece(&mut self, piece: &Piece<'_>) -> Result<(), DeltaError> {
        self.rules.admit(piece)?;
        let block = std::mem::take(&mut self.block);
        self.block = postcard::to_extend(piece, block).expect(IN_MEMORY);
        self.pieces += 1;
        self.check_size()?;
        if self.block.len() >= LOG_CHUNK_BYTES {
            self.close_block();
        }
        Ok(())
    }

    /// Ends the delta and returns its bytes.
    ///
    /// # Errors
    ///
    /// [`DeltaError::Damaged`] if versions are missing at the end; [`DeltaError::TooLarge`] if that was so before.
    pub fn finish(mut self) -> Result<Vec<u8>, DeltaError> {
        self.rules.end()?;
        self.check_size()?;
        if !self.block.is_empty() {
            self.close_block();
        }
        let mut bytes = self.encoder.finish().expect(IN_MEMORY);
        let (_, lengths) = bytes.split_at_mut(self.lengths_at);
        let (lengths, body) = lengths.split_at_mut(24);
        let numbers = [self.plain_bytes, self.pieces, body.len() as u64];
        lengths.copy_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    fn check_size(&self) -> Result<(), DeltaError> {
        let block = if self.block.is_empty() { 0 } else { 4 + self.block.len() as u64 };
        let (bytes, max) = (self.plain_bytes + block, self.bytes_max);
        if bytes <= max { Ok(()) } else { Err(DeltaError::TooLarge { bytes, max }) }
    }

    fn close_block(&mut self) {
        let length = u32::try_from(self.block.len()).expect("the rules bound the largest piece");
        self.encoder.write_all(&length.to_le_bytes()).expect(IN_MEMORY);
        self.encoder.write_all(&self.block).expect(IN_MEMORY);
        self.plain_bytes += 4 + self.block.len() as u64;
        self.block.clear();
    }
}

impl fmt::Debug for DeltaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rules, plain_bytes, pieces, .. } = self;
        let mut shown = f.debug_struct("DeltaWriter");
        shown.field("rules", rules).field("plain_bytes", plain_bytes).field("pieces", pieces);
        shown.finish_non_exhaustive()
    }
}
