//! Which files of a directory are a plugin's, and what tells that one of them is another than before.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::{Bundle, LoadError, Manifest, Stage};

/// The most files that a plugin may have.
pub(crate) const FILES_MAX: usize = 256;

/// The most bytes that they may have together.
pub(crate) const BYTES_MAX: u64 = 32 << 20;

/// How many levels of names a file may lie below the plugin's directory, its own included.
pub(crate) const DEPTH_MAX: usize = 4;

/// The files of a plugin, and the directories that they are in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listing {
    /// The plugin's own directory is the first.
    pub(crate) dirs: Vec<Found>,
    /// In the order of their names.
    pub(crate) files: Vec<Found>,
}

/// A file or directory as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Relative to the plugin's directory, with `/` between the parts.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What is different, as a rule, after a file was written or another took its place. Only ever compared for equality: a file
/// from an archive is older than the one that it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    /// When the content changed, in seconds and nanoseconds.
    modified: (i64, i64),
    /// When anything changed, which nobody can set.
    changed: (i64, i64),
}

/// Why a plugin's files are not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ListError {
    /// The directory is not there.
    Missing(LoadError),
    /// A file that was there a moment ago is not there any more: somebody is at work.
    Vanished(LoadError),
    /// What is there cannot be read, or is not a plugin's.
    Unreadable(LoadError),
}

/// What is found under a name, links followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Dir,
    Other,
}

impl Stamp {
    /// Returns whether it is one file or directory, whatever has become of it meanwhile.
    fn is_same_file(self, other: Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    /// Returns whether the file system counts nothing below a second, as far as one can tell.
    fn is_coarse(self) -> bool {
        self.modified.1 == 0 && self.changed.1 == 0
    }
}

/// Looks at what is under a name. Not through the standard library: it asks for more, which takes a fifth longer.
#[cfg(unix)]
#[inline]
#[allow(
    clippy::unnecessary_cast,
    clippy::cast_sign_loss,
    clippy::cast_lossless,
    clippy::cast_possible_wrap,
    reason = "the types differ by system, and nothing but equality counts"
)]
fn examine(path: &Path) -> io::Result<(Kind, Stamp)> {
    use rustix::fs::FileType;
    let stat = rustix::fs::stat(path)?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        _ => Kind::Other,
    };
    let stamp = Stamp {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        size: stat.st_size as u64,
        modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    };
    Ok((kind, stamp))
}

#[cfg(not(unix))]
fn examine(path: &Path) -> io::Result<(Kind, Stamp)> {
    let metadata = fs::metadata(path)?;
    let kind = match () {
        () if metadata.is_file() => Kind::File,
        () if metadata.is_dir() => Kind::Dir,
        () => Kind::Other,
    };
    let modified = metadata.modified().ok();
    let modified = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let modified = modified.unwrap_or_default();
    let modified = (modified.as_secs().cast_signed(), i64::from(modified.subsec_nanos()));
    Ok((kind, Stamp { dev: 0, ino: 0, size: metadata.len(), modified, changed: modified }))
}

impl ListError {
    pub(crate) fn into_inner(self) -> LoadError {
        let (Self::Missing(error) | Self::Vanished(error) | Self::Unreadable(error)) = self;
        error
    }

    /// An error about one file.
    fn file(name: &str, message: impl Into<String>) -> Self {
        Self::Unreadable(LoadError::new(Stage::Read, message).file(name))
    }

    /// What the system says about one file, or about a directory within the plugin's.
    fn io(name: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => {
                let message = "is not there any more: the plugin is being written";
                Self::Vanished(LoadError::new(Stage::Read, message).file(name))
            }
            _ => Self::file(name, format!("cannot be read: {error}")),
        }
    }

    /// What the system says about the plugin's directory.
    fn root(root: &Path, error: &io::Error) -> Self {
        let at = root.display();
        let new = |message| LoadError::new(Stage::Read, message);
        match error.kind() {
            io::ErrorKind::NotFound if root.is_symlink() => {
                Self::Missing(new(format!("`{at}` is a link to a directory that is not there")))
            }
            io::ErrorKind::NotFound => Self::Missing(new(format!("there is no directory `{at}`"))),
            io::ErrorKind::NotADirectory => {
                Self::Unreadable(new(format!("`{at}` lies below something that is not a directory")))
            }
            _ => Self::Unreadable(new(format!("directory `{at}` cannot be read: {error}"))),
        }
    }
}

/// Returns whether a file, or a directory with all in it, is none of the plugin's: hidden, or what editors leave.
fn is_ignored(name: &str) -> bool {
    let is_backup = |end| name.ends_with(end);
    name.starts_with('.')
        || [".swp", ".tmp", "~"].into_iter().any(is_backup)
        || (name.len() > 1 && name.starts_with('#') && name.ends_with('#'))
}

impl Listing {
    /// Finds the files of a plugin.
    pub(crate) fn of(root: &Path) -> Result<Self, ListError> {
        // A stamp is taken before what it is of is looked at: whatever is done meanwhile makes it another.
        let (kind, stamp) = examine(root).map_err(|error| ListError::root(root, &error))?;
        if kind != Kind::Dir {
            let message = format!(
                "`{}` is not a directory; a plugin is a directory with `{}` and its code",
                root.display(),
                Manifest::FILE
            );
            return Err(ListError::Unreadable(LoadError::new(Stage::Read, message)));
        }
        let mut listing = Self {
            dirs: vec![Found { name: String::new(), path: root.to_owned(), stamp }],
            files: Vec::new(),
        };
        let (mut next, mut bytes) = (0, 0);
        while next < listing.dirs.len() {
            listing.enter(next, &mut bytes)?;
            next += 1;
        }
        listing.files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        listing.dirs[1..].sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn enter(&mut self, at: usize, bytes: &mut u64) -> Result<(), ListError> {
        let Found { name: dir, path, .. } = self.dirs[at].clone();
        let failed = |error: io::Error| match at {
            0 => ListError::root(&path, &error),
            _ => ListError::io(&dir, &error),
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                return Err(ListError::file(
                    &name.to_string_lossy(),
                    "has a name that is not UTF-8; rename it",
                ));
            };
            if is_ignored(name) {
                continue;
            }
            let name = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
            self.add(name, &entry, bytes)?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, entry: &fs::DirEntry, bytes: &mut u64) -> Result<(), ListError> {
        let path = entry.path();
        let is_link = entry.file_type().map_err(|error| ListError::io(&name, &error))?.is_symlink();
        let (kind, stamp) = examine(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if is_link => {
                ListError::file(&name, "is a link to a file that is not there")
            }
            _ => ListError::io(&name, &error),
        })?;
        if kind == Kind::Dir {
            // Only the root may be one: below, a link could lead anywhere, and back.
            if is_link {
                let message = "is a link to a directory, which is not followed; put the files there";
                return Err(ListError::file(&name, message));
            }
            if name.split('/').count() >= DEPTH_MAX {
                let message =
                    format!("is a directory too deep: a plugin's files lie at most {DEPTH_MAX} levels deep");
                return Err(ListError::file(&name, message));
            }
            if self.dirs.len() > FILES_MAX {
                let message = format!("is a directory too many: a plugin has at most {FILES_MAX}");
                return Err(ListError::file(&name, message));
            }
            self.dirs.push(Found { name, path, stamp });
        } else if kind == Kind::File {
            if self.files.len() >= FILES_MAX {
                let message = format!("is a file too many: a plugin has at most {FILES_MAX}");
                return Err(ListError::file(&name, message));
            }
            *bytes = bytes.saturating_add(stamp.size);
            if *bytes > BYTES_MAX {
                return Err(too_large(&name));
            }
            self.files.push(Found { name, path, stamp });
        }
        Ok(())
    }

    /// Reads the files.
    pub(crate) fn read(&self) -> Result<Bundle, ListError> {
        let mut left = BYTES_MAX;
        let mut files = Vec::with_capacity(self.files.len());
        for Found { name, path, .. } in &self.files {
            let mut content = Vec::new();
            let file = open(path).map_err(|error| ListError::io(name, &error))?;
            let read = file.take(left + 1).read_to_end(&mut content);
            read.map_err(|error| ListError::io(name, &error))?;
            left = left.checked_sub(content.len() as u64).ok_or_else(|| too_large(name))?;
            files.push((name.clone(), Bytes::from(content)));
        }
        Ok(Bundle::of(files))
    }

    /// Returns whether nothing has been written, added, removed or replaced since. It costs a look at each directory and each
    /// file, and no more.
    pub(crate) fn is_current(&self) -> bool {
        let is_as_found = |found: &Found| examine(&found.path).is_ok_and(|(_, stamp)| stamp == found.stamp);
        self.dirs.iter().all(is_as_found) && self.files.iter().all(is_as_found)
    }

    /// Returns whether it has the same files in the same directories. A directory's times do not count: they tell of files
    /// that are none of the plugin's as well.
    pub(crate) fn has_same_files(&self, other: &Self) -> bool {
        let is_same = |(a, b): (&Found, &Found)| a.name == b.name && a.stamp.is_same_file(b.stamp);
        self.files == other.files
            && self.dirs.len() == other.dirs.len()
            && self.dirs.iter().zip(&other.dirs).all(is_same)
    }

    /// Returns whether the file system counts nothing below a second, as far as one can tell.
    pub(crate) fn is_coarse(&self) -> bool {
        self.dirs.iter().chain(&self.files).all(|found| found.stamp.is_coarse())
    }
}

fn too_large(name: &str) -> ListError {
    ListError::file(
        name,
        format!("is too large: a plugin's files have at most {} MiB together", BYTES_MAX >> 20),
    )
}

/// Opens a regular file.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    // So as not to wait for the other end of a pipe that has taken the file's place.
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}
