//! Reads through a memory map, copying out.
//!
//! A page that the B-tree does not have cached costs a system call from a file and a copy from a map. The map is
//! made once, far longer than the file, so that the file can grow into it without being mapped again; only bytes
//! below the file's known length are ever touched.
#![cfg_attr(unix, expect(unsafe_code, reason = "copies bytes out of a memory map"))]

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use memmap2::{MmapOptions, MmapRaw};

use crate::storage::{FileStorage, Storage};

/// How much address space the map reserves beyond twice the file: it costs no memory, only page-table entries
/// for what is touched. A file that outgrows its map is read by system call beyond it.
const RESERVE_BYTES: u64 = 16 << 30;

/// Reads through a map of the file, everything else through the file itself.
#[derive(Debug)]
pub struct MappedStorage {
    file: FileStorage,
    map: MmapRaw,
    /// The length of the file. Held shared while bytes are copied out of the map and exclusively while the
    /// length changes, so that the file is never cut off under a copy, which would be a SIGBUS.
    len: RwLock<u64>,
}

impl MappedStorage {
    /// Maps an open file, read-only.
    ///
    /// # Errors
    ///
    /// When the system has no maps like this (anything but 64-bit Unix), or refuses the address space. Use
    /// [`FileStorage`] then.
    pub fn new(file: Arc<File>) -> io::Result<Self> {
        if !cfg!(all(unix, target_pointer_width = "64")) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let len = file.metadata()?.len();
        let reserve = len.saturating_mul(2).saturating_add(RESERVE_BYTES);
        let reserve = usize::try_from(reserve).map_err(|_| io::ErrorKind::Unsupported)?;
        let map = MmapOptions::new().len(reserve).map_raw_read_only(&*file)?;
        // The tree is walked from page to page; reading ahead would fetch neighbours that nobody asked for.
        #[cfg(unix)]
        map.advise(memmap2::Advice::Random)?;
        Ok(Self { file: FileStorage::new(file), map, len: RwLock::new(len) })
    }

    /// Copies `out.len()` bytes from the map, which the caller knows to be there.
    #[cfg(unix)]
    fn copy_out(&self, offset: usize, out: &mut [u8], _len_is_held: &u64) {
        debug_assert!(offset + out.len() <= self.map.len());
        // SAFETY: the caller checked `offset + out.len()` against the map's length, so the sum stays inside the
        // mapping.
        let source = unsafe { self.map.as_ptr().add(offset) };
        // SAFETY: the source range lies inside the mapping and below the file's length, which cannot shrink while
        // `len` is held shared, so every page of it can be loaded; no other process shortens the file, because
        // the writer holds its locks. `out` is exclusively ours and cannot overlap a read-only map. The bytes may
        // be changed by `write` at the same time, which goes through the file: it is the kernel that races, with
        // plain bytes that are copied and never borrowed.
        unsafe { std::ptr::copy_nonoverlapping(source, out.as_mut_ptr(), out.len()) };
    }

    #[cfg(not(unix))]
    fn copy_out(&self, _offset: usize, _out: &mut [u8], _len_is_held: &u64) {
        unreachable!("a map is only made on Unix");
    }
}

impl Storage for MappedStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(*self.len.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = self.len.read().unwrap_or_else(PoisonError::into_inner);
        let end = offset.checked_add(out.len() as u64).filter(|end| end <= &*len);
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        match usize::try_from(offset) {
            Ok(start) if end <= self.map.len() as u64 => {
                self.copy_out(start, out, &len);
                Ok(())
            }
            _ => self.file.read(offset, out),
        }
    }

    fn set_len(&self, new: u64) -> io::Result<()> {
        let mut len = self.len.write().unwrap_or_else(PoisonError::into_inner);
        // Should the system fail half-way, the smaller of the two lengths is certainly there.
        *len = new.min(*len);
        self.file.set_len(new)?;
        *len = new;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)?;
        let end = offset + data.len() as u64;
        if end > self.len()? {
            let mut len = self.len.write().unwrap_or_else(PoisonError::into_inner);
            *len = end.max(*len);
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_file_holds_through_growth_and_shrinking() -> io::Result<()> {
        let file = Arc::new(tempfile::tempfile()?);
        let mapped = MappedStorage::new(file.clone())?;
        let plain = FileStorage::new(file);
        for len in [0, 1, 4096, 10_000, 5000, 1 << 20, 3] {
            mapped.set_len(len)?;
            assert_eq!((mapped.len()?, plain.len()?), (len, len));
            if len > 2 {
                mapped.write(len - 3, b"end")?;
                let mut by_map = [0; 3];
                mapped.read(len - 3, &mut by_map)?;
                assert_eq!(&by_map, b"end");
            }
            let mut all = vec![0xAA; usize::try_from(len).expect("is small")];
            let mut same = all.clone();
            mapped.read(0, &mut all)?;
            plain.read(0, &mut same)?;
            assert_eq!(all, same);
            assert_eq!(mapped.read(len, &mut [0]).map_err(|e| e.kind()), Err(io::ErrorKind::UnexpectedEof));
            assert_eq!(
                mapped.read(u64::MAX, &mut [0]).map_err(|e| e.kind()),
                Err(io::ErrorKind::UnexpectedEof)
            );
        }
        Ok(())
    }

    #[test]
    fn reads_race_with_a_file_that_shrinks_and_grows() -> io::Result<()> {
        let mapped = MappedStorage::new(Arc::new(tempfile::tempfile()?))?;
        mapped.set_len(1 << 20)?;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut page = [0; 4096];
                // Either answer is right; a SIGBUS would end the test run.
                (0..20_000u64).filter(|i| mapped.read(i % 256 * 4096, &mut page).is_ok()).count()
            });
            for round in 0..2000 {
                mapped.set_len(if round % 2 == 0 { 4096 } else { 1 << 20 }).expect("the disk is not full");
            }
            assert!(reader.join().expect("the reader does not panic") > 0);
        });
        Ok(())
    }
}
