//! A number that only grows, across crashes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use cohab_core::planted;
use cohab_fs::Access;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Error;

/// Where the two copies are: in different sectors, so that a power cut can tear one at the most. They share a page,
/// so that one sync takes along what a process wrote that was killed before its own.
const SLOTS: [usize; 2] = [0, 512];

/// The length of a copy: the number, and a check of it, both little-endian.
const SLOT_BYTES: usize = 16;

/// The length of the file, given to it when it is made, so that no advance needs space.
pub(crate) const FILE_BYTES: usize = 1024;

/// Tells a counter's check from any other of eight bytes.
const SEED: u64 = u64::from_le_bytes(*b"cohabcnt");

/// A strictly increasing number in a file: a fencing token, or an epoch.
///
/// The file holds the last two numbers, written by turns, so that a write that is torn leaves the number before. If one
/// of the two is damaged it may have been the last, so the number behind the other one is not given out.
/// Whoever advances it must hold a lock that keeps others from advancing it at the same time; reading needs none.
#[derive(Clone, Debug)]
pub struct Counter {
    path: PathBuf,
}

impl Counter {
    /// Names the counter in a file, which [`advance`](Self::advance) makes if need be.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the last number, or zero if there is no file. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], and those of the file system.
    pub fn current(&self) -> Result<u64, Error> {
        let file = match cohab_fs::open(&self.path, Access::Read) {
            Err(cohab_fs::Error::NotFound(_)) => return Ok(0),
            opened => opened?,
        };
        let image = (&file).load().map_err(|error| Error::file("reading", &self.path, error))?;
        Ok(latest(&image).ok_or_else(|| self.damaged())?.number)
    }

    /// Returns the next number, larger than the last one and than `floor`, once it is on disk.
    ///
    /// Cost: one wait for the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Exhausted`], and those of the file system. No number is used up by them that was
    /// ever returned, and none is returned twice.
    pub fn advance(&self, floor: u64) -> Result<u64, Error> {
        self.create()?;
        let file = cohab_fs::open(&self.path, Access::Write)?;
        let image = (&file).load().map_err(|error| Error::file("reading", &self.path, error))?;
        let latest = latest(&image).ok_or_else(|| self.damaged())?;
        let next = latest.next(floor).ok_or_else(|| Error::Exhausted { path: self.path.clone() })?;
        put(&mut &file, &image, latest.older, next)
            .inspect_err(|_| {
                if planted!(DescriptorLeaked) {
                    std::mem::forget(file.try_clone());
                }
            })
            .map_err(|error| Error::file("writing", &self.path, error))?;
        if latest.number == 0 {
            // Whoever made the file may have been killed before its name was durable.
            cohab_fs::sync_dir(cohab_fs::parent(&self.path))?;
        }
        Ok(next)
    }

    /// Opens the counter to be looked at again and again. It must exist.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn open(&self) -> Result<OpenCounter, Error> {
        let file = cohab_fs::open(&self.path, Access::Read)?;
        Ok(OpenCounter { file, path: self.path.clone() })
    }

    /// Makes the file if there is none. It is never replaced, so that it can be locked.
    pub(crate) fn create(&self) -> Result<(), Error> {
        if self.path.symlink_metadata().is_err() {
            cohab_fs::create_whole(&self.path, &fresh())?;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn damaged(&self) -> Error {
        Error::Damaged { path: self.path.clone() }
    }
}

/// A counter whose file is open, so that a look costs two system calls.
#[derive(Debug)]
pub struct OpenCounter {
    file: File,
    path: PathBuf,
}

impl OpenCounter {
    /// Returns the last number.
    ///
    /// # Errors
    ///
    /// As for [`Counter::current`].
    pub fn current(&self) -> Result<u64, Error> {
        let image = (&self.file).load().map_err(|error| Error::file("reading", &self.path, error))?;
        Ok(latest(&image).ok_or_else(|| Error::Damaged { path: self.path.clone() })?.number)
    }
}

/// What a counter needs of a file.
trait Medium {
    /// Reads the file, with zeros for what is missing.
    fn load(&mut self) -> io::Result<[u8; FILE_BYTES]>;
    fn store(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

impl Medium for &File {
    fn load(&mut self) -> io::Result<[u8; FILE_BYTES]> {
        let (mut image, mut filled) = ([0; FILE_BYTES], 0);
        self.seek(SeekFrom::Start(0))?;
        while filled < FILE_BYTES {
            match self.read(&mut image[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted && !planted!(InterruptionFails) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(image)
    }

    fn store(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(offset as u64))?;
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        if planted!(CounterNotSynced) {
            return Ok(());
        }
        self.sync_data()
    }
}

/// Writes a number over the older copy, in `slot`, and only returns `Ok` once it is durable.
fn put(medium: &mut impl Medium, image: &[u8; FILE_BYTES], slot: usize, number: u64) -> io::Result<()> {
    let offset = SLOTS[slot];
    let written = medium.store(offset, &encode(slot, number)).and_then(|()| medium.sync());
    if written.is_err() {
        // After a failed sync the system takes what was written for durable, although it may not be. Left like this
        // it would count as the newer copy, and the next advance would overwrite the one that is on disk.
        let _ = medium.store(offset, &image[offset..offset + SLOT_BYTES]);
    }
    written
}

fn encode(slot: usize, number: u64) -> [u8; SLOT_BYTES] {
    let mut copy = [0; SLOT_BYTES];
    copy[..8].copy_from_slice(&number.to_le_bytes());
    copy[8..].copy_from_slice(&check(slot, number).to_le_bytes());
    copy
}

fn check(slot: usize, number: u64) -> u64 {
    xxh3_64_with_seed(&number.to_le_bytes(), SEED ^ slot as u64)
}

/// Does to a file in memory what [`Counter::advance`] does.
pub(crate) fn advance_image(image: &mut [u8; FILE_BYTES], floor: u64) -> Option<u64> {
    let latest = latest(image)?;
    let next = latest.next(floor)?;
    image[SLOTS[latest.older]..][..SLOT_BYTES].copy_from_slice(&encode(latest.older, next));
    Some(next)
}

/// What the copies say together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latest {
    /// The larger valid number.
    pub(crate) number: u64,
    /// The slot that it is not in.
    older: usize,
    /// Whether the other copy is damaged, by a write that was torn or by the disk.
    is_alone: bool,
}

impl Latest {
    /// Returns the next number to give out. Of a copy that is damaged it cannot be told whether its number was returned,
    /// but only that it was no more than one behind the other copy and the floor.
    fn next(self, floor: u64) -> Option<u64> {
        self.number.max(floor).checked_add(1 + u64::from(self.is_alone))
    }
}

pub(crate) fn latest(image: &[u8; FILE_BYTES]) -> Option<Latest> {
    let read = |at: usize| image[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let valid = |slot: usize| {
        let (number, found) = (read(SLOTS[slot])?, read(SLOTS[slot] + 8)?);
        (found == check(slot, number)).then_some(number)
    };
    Some(match (valid(0), valid(1)) {
        (None, None) => return None,
        (Some(number), None) => Latest { number, older: 1, is_alone: true },
        (None, Some(number)) => Latest { number, older: 0, is_alone: true },
        (Some(one), Some(other)) if other > one => Latest { number: other, older: 0, is_alone: false },
        (Some(one), Some(_)) => Latest { number: one, older: 1, is_alone: false },
    })
}

/// The content of a counter that no number was taken from.
pub(crate) fn fresh() -> [u8; FILE_BYTES] {
    let mut image = [0; FILE_BYTES];
    for (slot, offset) in SLOTS.into_iter().enumerate() {
        image[offset..offset + SLOT_BYTES].copy_from_slice(&encode(slot, 0));
    }
    image
}

#[cfg(test)]
#[path = "counter/tests.rs"]
mod tests;
