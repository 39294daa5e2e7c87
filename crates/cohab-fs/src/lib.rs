//! Files and directories that belong to one user and to nobody else.
//!
//! A store trusts its directory, so what it opens there must be what it made: a regular file or directory, owned
//! by the user it runs as, reached without following a symbolic link, closed to everybody else whatever the
//! umask. Small files are replaced as a whole, so that a reader finds the old content or the new one.
//!
//! What the kernel does with a file is its business too: [`fork`] keeps a forked child from holding on to its
//! parent's locks, and [`file_system`] tells places whose locks and maps can be trusted from those shared over a
//! network.
//!
//! # Limitations
//!
//! Owner and mode are a Unix idea; elsewhere only the kind of file is checked.
//!
//! ```
//! use cohab_fs::Access;
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("settings.json");
//! cohab_fs::replace(&path, b"{}")?;
//! assert_eq!(std::fs::read(&path)?, b"{}");
//! assert!(cohab_fs::open(&path, Access::CreateNew).is_err(), "it exists already");
//!
//! # #[cfg(unix)] {
//! std::os::unix::fs::symlink(&path, dir.path().join("link"))?;
//! let refusal = cohab_fs::open(&dir.path().join("link"), Access::Read).unwrap_err();
//! assert!(refusal.to_string().contains("symbolic link"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "planted")]
#[macro_use(planted)]
extern crate cohab_core;

/// No defect is planted.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($defect:ident) => {
        false
    };
}

mod file_system;
pub mod fork;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub use file_system::{FileSystem, file_system};

/// Why a file or directory was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing of that name.
    #[error("{} does not exist", .0.display())]
    NotFound(PathBuf),
    /// What is there is not ours to use.
    #[error("{} {problem}", path.display())]
    Untrusted {
        /// What was refused.
        path: PathBuf,
        /// Why, as the end of a sentence.
        problem: String,
    },
    /// The system refused the operation.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was attempted, such as `opening`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound(path.to_owned()),
            io::ErrorKind::NotADirectory => {
                Self::untrusted(path, "lies below something that is not a directory")
            }
            io::ErrorKind::InvalidFilename => {
                Self::untrusted(path, "has a name that the file system does not take")
            }
            io::ErrorKind::InvalidInput => Self::untrusted(path, "has a name that no file can have"),
            _ => Self::Io { action, path: path.to_owned(), source },
        }
    }

    fn untrusted(path: &Path, problem: impl Into<String>) -> Self {
        Self::Untrusted { path: path.to_owned(), problem: problem.into() }
    }
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To read it.
    Read,
    /// To read and write it; it must exist.
    Write,
    /// To read and write it, creating it if need be.
    Create,
    /// To read and write it; it must not exist yet.
    CreateNew,
    /// To read it and to write at its end, creating it if need be.
    Append,
}

/// Opens a regular file of the user's own without following a symbolic link. A file it creates has mode 0600.
pub fn open(path: &Path, access: Access) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    match access {
        Access::Read => {}
        Access::Write => _ = options.write(true),
        Access::Create => _ = options.write(true).create(true).truncate(false),
        Access::CreateNew => _ = options.write(true).create_new(true),
        Access::Append => _ = options.append(true).create(true),
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // NONBLOCK, so as not to wait for the other end of a pipe that somebody has put there.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path).map_err(|error| refused(path, error))?;
    check(path, &file, access)?;
    Ok(file)
}

fn refused(path: &Path, error: io::Error) -> Error {
    let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    match error.kind() {
        _ if is_link => Error::untrusted(path, "is a symbolic link, which is not followed"),
        io::ErrorKind::IsADirectory => Error::untrusted(path, "is a directory, not a file"),
        _ => Error::io("opening", path, error),
    }
}

fn check(path: &Path, file: &File, access: Access) -> Result<()> {
    let metadata = file.metadata().map_err(|error| Error::io("examining", path, error))?;
    if !metadata.is_file() {
        return Err(Error::untrusted(path, "is not a regular file"));
    }
    check_owner(path, &metadata)?;
    // A umask takes permissions away that the owner needs. Only a file just made is put right: what a person has
    // changed since was changed on purpose.
    #[cfg(unix)]
    if matches!(access, Access::Create | Access::CreateNew | Access::Append) {
        use std::os::unix::fs::PermissionsExt;
        if metadata.len() == 0 && metadata.permissions().mode() & 0o777 != 0o600 {
            let mode = file.set_permissions(PermissionsExt::from_mode(0o600));
            mode.map_err(|error| Error::io("changing the mode of", path, error))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn check_owner(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    Err(Error::untrusted(path, format!("belongs to user {owner}, but this process runs as user {own}")))
}

#[cfg(not(unix))]
fn check_owner(_path: &Path, _metadata: &fs::Metadata) -> Result<()> {
    Ok(())
}

/// Checks that a path is a directory of the user's own and not a symbolic link to one.
pub fn check_dir(path: &Path) -> Result<()> {
    let metadata = path.symlink_metadata().map_err(|error| Error::io("examining", path, error))?;
    if metadata.is_symlink() {
        return Err(Error::untrusted(path, "is a symbolic link, which is not followed"));
    }
    if !metadata.is_dir() {
        return Err(Error::untrusted(path, "is not a directory"));
    }
    check_owner(path, &metadata)
}

/// Creates a directory with mode 0700, or checks the one that is there. Its parent must exist.
///
/// Returns whether it was created.
pub fn create_dir(path: &Path) -> Result<bool> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => {
            #[cfg(unix)]
            {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
                fs::set_permissions(path, mode)
                    .map_err(|error| Error::io("changing the mode of", path, error))?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_dir(path).map(|()| false),
        Err(error) => Err(Error::io("creating", path, error)),
    }
}

/// Gives a file new content, durably and as a whole: a reader, or a crash, finds the old content or the new.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    replace_with(path, |file| file.write_all(content))
}

/// Like [`replace`], with a content that is written piece by piece.
pub fn replace_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let sync = |file: &mut File| if planted!(ReplacementNotSynced) { Ok(()) } else { file.sync_all() };
    let file = unfinished(path, |file| write(file).and_then(|()| sync(file)))?;
    file.persist(path).map_err(|failed| Error::io("writing", path, failed.error))?;
    sync_dir(parent(path))
}

/// Gives a file new content as a whole, but not durably: a reader finds the old content or the new, a power cut
/// may leave either or an empty file.
///
/// For records that only inform people: nothing waits for the disk.
pub fn replace_hint(path: &Path, content: &[u8]) -> Result<()> {
    let (file, unfinished) = unfinished(path, |file| file.write_all(content))?.into_parts();
    drop(file);
    put_in_place(&unfinished, path)?;
    // It has taken the place of the other one, or the other one that of it and is gone.
    let _ = unfinished.keep();
    Ok(())
}

/// Renames a file to a name that may be taken, atomically and without waiting for the disk.
pub fn put_in_place(unfinished: &Path, path: &Path) -> Result<()> {
    let failed = |error| Error::io("writing", path, error);
    // ext4 takes a rename over a file for a wish to have the new one durable. It begins to write it, and the next who
    // replaces or removes it waits for that: 4 ms instead of 10 µs. An exchange is as atomic and not taken for one.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, unfinished, CWD, path, RenameFlags::EXCHANGE).is_ok() {
            return fs::remove_file(unfinished).map_err(failed);
        }
    }
    // There is nothing to exchange it with, or the file system cannot.
    fs::rename(unfinished, path).map_err(failed)
}

/// Creates a file with its content, durably and as a whole, unless there is one of that name already.
///
/// Returns whether it was created. Of several that try at the same time one does, and the file stays the same one.
pub fn create_whole(path: &Path, content: &[u8]) -> Result<bool> {
    let failed = |error| Error::io("creating", path, error);
    let mut file = tempfile::Builder::new().prefix(".cohab-").tempfile_in(parent(path)).map_err(failed)?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_dir(parent(path)).map(|()| true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(failed(refused.error)),
    }
}

/// Reads a small file of the user's own without following a symbolic link, and no more than `bytes_max` of it.
pub fn read_small(path: &Path, bytes_max: usize) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = open(path, Access::Read)?.take(bytes_max as u64);
    file.read_to_end(&mut content).map_err(|error| Error::io("reading", path, error))?;
    Ok(content)
}

/// Writes a file that is to take the place of another. It is 0600 from the start, and removed should anything fail.
fn unfinished(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<NamedTempFile> {
    let failed = |error| Error::io("writing", path, error);
    let mut file = tempfile::Builder::new().prefix(".cohab-").tempfile_in(parent(path)).map_err(failed)?;
    write(file.as_file_mut())
        .inspect_err(|_| {
            if planted!(UnfinishedFileLeft) {
                file.disable_cleanup(true);
            }
        })
        .map_err(failed)?;
    Ok(file)
}

/// Makes a directory for unfinished work within another; it is removed with everything in it when dropped.
pub fn temp_dir(dir: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix(".cohab-").tempdir_in(dir);
    made.map(TempDir).map_err(|error| Error::io("creating a directory in", dir, error))
}

/// A private directory that goes when it is dropped.
#[derive(Debug)]
#[must_use = "the directory is removed when this is dropped"]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Returns the same error once more, for somebody else to be told. One cannot be cloned, but its number and text can.
pub fn copy_of(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

/// Tries a lock, again for as long as a signal comes in between: on FUSE and network file systems even a lock that is
/// only tried waits for an answer, and to be interrupted in that says nothing about the lock.
pub fn uninterrupted(mut attempt: impl FnMut() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    loop {
        match attempt() {
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Makes the names in a directory durable: a file that was created or renamed is there after a power cut.
pub fn sync_dir(path: &Path) -> Result<()> {
    if cfg!(unix) && !planted!(NamesNotSynced) {
        let synced = File::open(path).and_then(|dir| dir.sync_all());
        return synced.map_err(|error| Error::io("syncing", path, error));
    }
    Ok(())
}

/// Returns the directory that a path is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refusal<T>(result: Result<T>) -> String {
        result.err().expect("should be refused").to_string()
    }

    /// Opening a store for writing failed with "interrupted system call" where a signal came in between, and a name's lock was
    /// reported as broken. Nothing is wrong then: the call only has to be made again.
    #[test]
    fn a_signal_is_no_answer_about_a_lock() {
        let mut answers = vec![
            Err(TryLockError::WouldBlock),
            Err(TryLockError::Error(io::ErrorKind::Interrupted.into())),
            Err(TryLockError::Error(io::ErrorKind::Interrupted.into())),
        ];
        let answer = uninterrupted(|| answers.pop().expect("asked no further"));
        assert!(matches!(answer, Err(TryLockError::WouldBlock)));
        assert!(answers.is_empty());
    }

    #[test]
    fn what_is_not_a_file_of_ours_is_refused_by_name() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("file");
        fs::write(&file, "x")?;
        let link = dir.path().join("link");
        symlink(&file, &link)?;
        let dangling = dir.path().join("dangling");
        symlink(dir.path().join("nowhere"), &dangling)?;
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;

        assert!(refusal(open(&link, Access::Read)).contains("link is a symbolic link"));
        assert!(refusal(open(&dangling, Access::Create)).contains("dangling is a symbolic link"));
        assert!(refusal(open(&link, Access::Append)).contains("link is a symbolic link"));
        assert!(refusal(open(&pipe, Access::Append)).contains("not a regular file"));
        assert!(refusal(open(dir.path(), Access::Write)).contains("is a directory"));
        assert!(refusal(open(&pipe, Access::Read)).contains("not a regular file"));
        assert!(refusal(open(&dir.path().join("none"), Access::Write)).contains("does not exist"));
        assert!(refusal(check_dir(&file)).contains("not a directory"));
        assert!(refusal(create_dir(&link)).contains("symbolic link"));
        assert!(refusal(create_dir(&dir.path().join("a/b"))).contains("does not exist"));
        Ok(())
    }

    #[test]
    fn what_it_makes_is_private() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mode = |path: &Path| fs::metadata(path).map(|m| m.permissions().mode() & 0o777);
        let (inner, file, replaced) = (dir.path().join("d"), dir.path().join("d/f"), dir.path().join("d/r"));
        assert!(create_dir(&inner).expect("can be made"));
        assert!(!create_dir(&inner).expect("is there"));
        open(&file, Access::Create).expect("can be made");
        open(&dir.path().join("log"), Access::Append).expect("can be made");
        assert_eq!(mode(&dir.path().join("log"))?, 0o600);
        replace(&replaced, b"1").expect("can be written");
        replace_hint(&replaced, b"22").expect("can be written again");
        assert_eq!((mode(&inner)?, mode(&file)?, mode(&replaced)?), (0o700, 0o600, 0o600));
        assert_eq!(fs::read(&replaced)?, b"22");
        assert_eq!(read_small(&replaced, 1).expect("can be read"), b"2");
        assert!(!create_whole(&replaced, b"333").expect("is there"));
        assert!(create_whole(&dir.path().join("whole"), b"333").expect("can be made"));
        assert_eq!(mode(&dir.path().join("whole"))?, 0o600);
        assert_eq!(fs::read_dir(&inner)?.count(), 2, "no temporary file is left");
        Ok(())
    }
}
