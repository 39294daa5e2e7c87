//! The map of a page's file.
#![expect(unsafe_code, reason = "looks at a memory map as a struct of atomics")]

use std::fs::File;
use std::io;

use memmap2::{MmapOptions, MmapRaw};

#[cfg(unix)]
use crate::fault::Guard;
use crate::shared::Shared;

/// How many namespaces have a slot of their own; beyond that they share.
pub const SLOTS: usize = 1024;

/// How many pages a process can have open at a time.
pub const PAGES_MAX: usize = 256;

/// The words of a page.
pub(crate) type Words = Shared<4, SLOTS>;

/// The length of a page's file.
pub(crate) const LEN: usize = size_of::<Words>();

// What is in files does not change by accident.
const _: () = assert!(LEN == 512 + 8 * SLOTS && align_of::<Words>() == 128);

/// A page's file in memory.
#[derive(Debug)]
pub(crate) struct Map {
    /// Before the map, so that it is dropped first: it must not guard an address that belongs to somebody else.
    #[cfg(unix)]
    _guard: Guard,
    memory: MmapRaw,
    is_writable: bool,
}

impl Map {
    /// Maps a file that has the length of a page, or `None` if there is no room for another guard.
    pub(crate) fn new(file: &File, is_writable: bool) -> io::Result<Option<Self>> {
        // A 64-bit load is only sure to work on a read-only map where it is a single instruction.
        if !cfg!(target_pointer_width = "64") && !is_writable {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut options = MmapOptions::new();
        options.len(LEN);
        let memory = if is_writable { options.map_raw(file)? } else { options.map_raw_read_only(file)? };
        #[cfg(unix)]
        let Some(guard) = Guard::new(memory.as_ptr().expose_provenance())? else { return Ok(None) };
        Ok(Some(Self {
            #[cfg(unix)]
            _guard: guard,
            memory,
            is_writable,
        }))
    }

    /// The words, to be read only.
    #[inline]
    #[expect(clippy::cast_ptr_alignment, reason = "a map is aligned to a page of memory")]
    pub(crate) fn words(&self) -> &Words {
        // SAFETY: the map begins on a page boundary, which is more than `Words` asks for, is exactly as long, and stays
        // there as long as `self` does: if the file is cut off, the guard puts empty memory in the place of it.
        // `Words` consists of atomics alone: every pattern of bits is a value, and others, in this process
        // or not, may change them while the reference lives, since they do so atomically. With a read-only map
        // nobody stores through it, because whatever does asks for `words_mut`; and the loads are relaxed ones of
        // eight bytes at most, which the standard library allows on read-only memory on the targets that `new` lets
        // through.
        unsafe { &*self.memory.as_ptr().cast::<Words>() }
    }

    /// The words, to be changed as well, if that is permitted.
    pub(crate) fn words_mut(&self) -> Option<&Words> {
        self.is_writable.then(|| self.words())
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.is_writable
    }
}
