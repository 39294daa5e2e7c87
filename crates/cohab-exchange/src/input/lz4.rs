//! Decompressing lz4 frames, and noticing where they are cut off.

use std::io::{self, BufRead, Read};

use lz4_flex::frame::FrameDecoder;

/// Decompresses one lz4 frame after the other.
///
/// The decoder it stands on takes an end between two blocks of a frame for the end of the frame. A frame that
/// has really ended does so by its end mark, without trying to read beyond it; so a frame that ended by finding
/// nothing more to read was cut off.
pub(super) struct Lz4Decoder<R: BufRead> {
    /// `None` after the last frame.
    frame: Option<FrameDecoder<Source<R>>>,
}

/// A reader that remembers whether somebody found its end.
struct Source<R> {
    reader: R,
    is_end_found: bool,
}

impl<R: BufRead> Lz4Decoder<R> {
    /// Begins to read. There is at least one frame.
    pub(super) fn new(reader: R) -> Self {
        Self { frame: Some(FrameDecoder::new(Source { reader, is_end_found: false })) }
    }
}

impl<R: BufRead> Source<R> {
    fn is_at_end(&mut self) -> io::Result<bool> {
        retried(|| self.reader.fill_buf().map(<[u8]>::is_empty))
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = retried(|| self.reader.read(buffer))?;
        self.is_end_found |= bytes == 0 && !buffer.is_empty();
        Ok(bytes)
    }
}

/// Tries again what was interrupted, since a decoder interrupted within a frame's header forgets what it has of
/// it.
fn retried<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<R: BufRead> Read for Lz4Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(frame) = &mut self.frame {
            let bytes = frame.read(buffer)?;
            if bytes > 0 {
                return Ok(bytes);
            }
            let source = frame.get_mut();
            if source.is_end_found {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the lz4 frame is cut off"));
            }
            let is_followed = !source.is_at_end()?;
            // A decoder's buffers are made for one frame, so the next frame gets a decoder of its own.
            let source = self.frame.take().map(FrameDecoder::into_inner).filter(|_| is_followed);
            self.frame = source.map(FrameDecoder::new);
        }
        Ok(0)
    }
}
