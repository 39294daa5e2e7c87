//! Files whose making was cut short.

use std::fs::File;
use std::io::{self, Read, Seek};

/// The bytes that say whose file it is.
const MAGIC_BYTES: usize = 9;

/// The bytes of the engine's header, the magic ones included.
pub(crate) const HEADER_BYTES: usize = 320;

/// Returns whether a file is one whose maker was killed, or had no room left, before it was a database.
///
/// redb writes its magic number last, so that a file that has it is whole; one that has not it takes for damaged. Such a
/// file holds zeros and nothing else but the rest of a header, so making it anew loses nothing.
pub(crate) fn is_unfinished(mut file: &File) -> io::Result<bool> {
    let mut piece = vec![0; 64 << 10];
    let mut offset = 0;
    file.rewind()?;
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => return Ok(offset > 0),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let within = |bytes: usize| bytes.saturating_sub(offset).min(read);
        if piece[..within(MAGIC_BYTES)]
            .iter()
            .chain(&piece[within(HEADER_BYTES)..read])
            .any(|byte| *byte != 0)
        {
            return Ok(false);
        }
        offset += read;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_a_file_of_zeros_but_for_its_header_is_unfinished() -> io::Result<()> {
        let check = |content: &[u8], unfinished: bool| -> io::Result<()> {
            let mut file = tempfile::tempfile()?;
            file.write_all(content)?;
            assert_eq!(is_unfinished(&file)?, unfinished);
            Ok(())
        };
        let zeros = vec![0; 200 << 10];
        let with = |at: usize| {
            let mut content = zeros.clone();
            content[at] = 1;
            content
        };
        check(&[], false)?;
        check(&zeros, true)?;
        check(&zeros[..5], true)?;
        check(&with(9), true)?;
        check(&with(319), true)?;
        for at in [0, 8, 320, 64 << 10, zeros.len() - 1] {
            check(&with(at), false)?;
        }
        Ok(())
    }
}
