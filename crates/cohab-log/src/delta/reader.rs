//! Reading a delta.

use std::io::Read;

use zstd::stream::read::Decoder;

use super::rules::Rules;
use super::{BLOCK_BYTES_MAX, DeltaError, DeltaHeader, FORMAT, MAGIC, Piece, damaged};

/// The largest window that a frame may ask for, as a power of two: the 8 MiB that RFC 8878 advises decoders to take and
/// encoders not to exceed. It bounds the memory that the frame alone decides on.
const WINDOW_LOG_MAX: u32 = 23;

/// A delta whose bytes were verified, and not decompressed yet.
#[derive(Clone, Debug)]
pub struct DeltaReader<'a> {
    header: DeltaHeader,
    plain_bytes: u64,
    pieces: u64,
    body: &'a [u8],
}

impl<'a> DeltaReader<'a> {
    /// Verifies all that can be without decompressing: that these bytes are a delta, all of it and nothing else, as it
    /// was written, and one that has up to `bytes_max` bytes uncompressed. Cost: one hash over them; constant memory.
    pub fn open(bytes: &'a [u8], bytes_max: u64) -> Result<Self, DeltaError> {
        if !MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
            return Err(DeltaError::NotADelta);
        }
        let mut rest = Fields(bytes);
        rest.take(MAGIC.len())?;
        // Before all else, for what follows may be something else in another format.
        let found = u16::from_le_bytes(rest.array()?);
        if found != FORMAT {
            return Err(DeltaError::Format { found });
        }
        let header_length = u32::from_le_bytes(rest.array()?);
        let header = rest.take(header_length)?;
        let [plain_bytes, pieces, body_length] = [rest.number()?, rest.number()?, rest.number()?];
        let body = rest.take(body_length)?;
        let hash: [u8; 32] = rest.array()?;
        if !rest.0.is_empty() {
            return Err(damaged("bytes follow its end"));
        }
        if blake3::hash(&bytes[..bytes.len() - hash.len()]) != hash {
            return Err(DeltaError::Checksum);
        }
        let header: DeltaHeader = match postcard::take_from_bytes(header) {
            Ok((header, [])) => header,
            _ => return Err(damaged("its header does not decode")),
        };
        if header.from.version > header.to.version {
            return Err(damaged("it leads to an earlier version"));
        }
        if plain_bytes > bytes_max {
            return Err(DeltaError::TooLarge { bytes: plain_bytes, max: bytes_max });
        }
        Ok(Self { header, plain_bytes, pieces, body })
    }

    /// Returns where it leads from and to.
    pub const fn header(&self) -> &DeltaHeader {
        &self.header
    }

    /// Returns how many pieces it has.
    pub const fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Returns how many bytes it has uncompressed: the memory of [`visit`](Self::visit) is less, one block of it.
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Decompresses it block by block and hands out each piece in turn.
    ///
    /// # Errors
    ///
    /// The visitor's, as soon as it returns one. [`DeltaError::Damaged`] if the pieces break a rule, be it only at the
    /// end: what was done with the pieces before has to be undone then.
    pub fn visit<E: From<DeltaError>>(
        &self,
        mut visitor: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut blocks = Blocks::of(self)?;
        let mut rules = Rules::of(&self.header);
        let mut pieces_left = self.pieces;
        while let Some(mut rest) = blocks.next()? {
            while !rest.is_empty() {
                let decoded = postcard::take_from_bytes(rest);
                let (piece, after) = decoded.map_err(|_| damaged("a piece does not decode"))?;
                pieces_left = pieces_left.checked_sub(1).ok_or(damaged("it has more pieces than it says"))?;
                rules.admit(&piece)?;
                visitor(piece)?;
                rest = after;
            }
        }
        rules.end()?;
        if pieces_left > 0 {
            return Err(damaged("it has fewer pieces than it says").into());
        }
        Ok(())
    }
}

/// The fields in front of the body and behind it.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: impl TryInto<usize>) -> Result<&'a [u8], DeltaError> {
        let split = bytes.try_into().ok().and_then(|bytes| self.0.split_at_checked(bytes));
        let (field, rest) = split.ok_or(DeltaError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DeltaError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(DeltaError::Truncated)?;
        self.0 = rest;
        Ok(*field)
    }

    fn number(&mut self) -> Result<u64, DeltaError> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The body, while it is decompressed: no further than it says it goes.
pub(super) struct Blocks<'a> {
    decoder: Decoder<'static, &'a [u8]>,
    plain_left: u64,
    pub(super) block: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub(super) fn of(delta: &DeltaReader<'a>) -> Result<Self, DeltaError> {
        let decoder = Decoder::with_buffer(delta.body).and_then(|mut decoder| {
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Ok(decoder.single_frame())
        });
        let decoder = decoder.map_err(|_| damaged("its body cannot be decompressed"))?;
        Ok(Self { decoder, plain_left: delta.plain_bytes, block: Vec::new() })
    }

    /// Returns the next block, or nothing at the end of the body if that is where it should be.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, DeltaError> {
        if self.plain_left == 0 {
            self.read(1)?;
            let is_end = self.block.is_empty() && self.decoder.get_ref().is_empty();
            return if is_end { Ok(None) } else { Err(damaged("its body is longer than it says")) };
        }
        self.read(4)?;
        let length = *self.block.first_chunk().ok_or(damaged("its body is shorter than it says"))?;
        let length = u32::from_le_bytes(length);
        if length == 0 || length as usize > BLOCK_BYTES_MAX {
            return Err(damaged("a block has a length that none has"));
        }
        let left = self.plain_left.checked_sub(4 + u64::from(length));
        self.plain_left = left.ok_or(damaged("a block goes beyond the body's end"))?;
        self.read(length)?;
        if self.block.len() < length as usize {
            return Err(damaged("its body is shorter than it says"));
        }
        Ok(Some(&self.block))
    }

    /// Decompresses up to this many bytes; fewer at the end. Memory grows with what there is, not with what is said.
    fn read(&mut self, bytes: u32) -> Result<(), DeltaError> {
        self.block.clear();
        let read = self.decoder.by_ref().take(bytes.into()).read_to_end(&mut self.block);
        read.map(drop).map_err(|_| damaged("its body cannot be decompressed"))
    }
}
