//! A store's directory: which files it has, and the card that says what it is.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_core::StoreId;
use cohab_fs::FileSystem;
use cohab_lock::{Counter, Held, Holder, LockFile, Locks};
use cohab_registry::Registry;
use serde::{Deserialize, Serialize};

use crate::open::{RECOVERY, RECOVERY_WAIT};
use crate::{Error, Kind, Options, Result};

/// The format of a store's files that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 2;

/// The file with the card.
const CARD: &str = "store.json";

/// The longest card, in bytes: far more than any version will need, and little to read from a file that is none.
const CARD_BYTES_MAX: usize = 64 << 10;

/// What may be in the directory of a store whose creation was interrupted before it had its card.
const UNFINISHED: [&str; 6] =
    ["writer.lock", "writer.json", "writer.epoch", "store.redb", "coord.page", "instances"];

/// The card of a store: written once, replaced as a whole, readable by every version there will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) store: StoreId,
    /// The format in which the store is written.
    pub(crate) format: u32,
    /// The oldest format whose software may open the store.
    pub(crate) oldest_format: u32,
}

impl Card {
    pub(crate) fn new(store: StoreId) -> Self {
        Self { store, format: FORMAT, oldest_format: FORMAT }
    }

    /// Reads the card of the store in a directory.
    pub(crate) fn parse(bytes: &[u8], root: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Formats {
            format: u32,
            oldest_format: u32,
        }
        let damaged = |problem: &dyn fmt::Display| {
            let path = root.join(CARD);
            Error::new(Kind::Corrupt, format!("{} is damaged: {problem}", path.display()))
                .hint("run `cohab doctor --repair`, which writes it anew from store.redb")
        };
        if bytes.len() > CARD_BYTES_MAX {
            return Err(damaged(&format_args!("it has more than {CARD_BYTES_MAX} bytes")));
        }
        // The formats first: what else a newer card holds is not for this build to judge.
        let object: serde_json::Map<_, _> = serde_json::from_slice(bytes).map_err(|error| damaged(&error))?;
        let formats: Formats =
            serde_json::from_value(object.clone().into()).map_err(|error| damaged(&error))?;
        let (format, path) = (formats.format, root.display());
        let message = || format!("{path} is written in format {format}; this build reads format {FORMAT}");
        if formats.oldest_format > FORMAT {
            return Err(Error::new(Kind::Format, message()).hint("open it with a newer cohab"));
        }
        if formats.format < FORMAT {
            let hint = "dump it with the build that wrote it, and load the dump into a new store";
            return Err(Error::new(Kind::Format, message()).hint(hint));
        }
        serde_json::from_value(object.into()).map_err(|error| damaged(&error))
    }
}

/// Where the files of a store are.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Uses a directory that is there and ours.
    pub(crate) fn existing(root: &Path) -> Result<Self> {
        cohab_fs::check_dir(root).map_err(|error| match error {
            cohab_fs::Error::NotFound(_) => missing(root),
            other => other.into(),
        })?;
        Ok(Self { root: root.to_owned() })
    }

    /// Makes the directory, or uses one that is empty or holds a store.
    pub(crate) fn create(root: &Path) -> Result<Self> {
        let created = cohab_fs::create_dir(root).map_err(|error| match error {
            cohab_fs::Error::NotFound(_) => {
                let parent = cohab_fs::parent(root).display();
                let message = format!("cannot create {}: {parent} does not exist", root.display());
                Error::new(Kind::NotFound, message).hint("create that directory first")
            }
            other => Error::from(other),
        })?;
        let directory = Self { root: root.to_owned() };
        if created {
            cohab_fs::sync_dir(cohab_fs::parent(root))?;
        } else if !directory.is_store()? && !directory.is_blank()? {
            let message = format!("{} is neither empty nor a store", root.display());
            return Err(Error::invalid(message).hint("name a directory that does not exist yet"));
        }
        Ok(directory)
    }

    /// Whether the directory holds nothing but what an interrupted creation leaves.
    fn is_blank(&self) -> Result<bool> {
        let failed = |error: io::Error| {
            Error::new(Kind::Io, format!("reading the directory {} failed", self.root.display()))
                .source(error)
        };
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let ours = UNFINISHED.iter().any(|known| name == *known)
                || name.as_encoded_bytes().starts_with(b".cohab-");
            if !ours {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(crate) fn is_store(&self) -> Result<bool> {
        is_there(&self.card_path())
    }

    /// Whether there is a file of data, with a card or not.
    pub(crate) fn has_data(&self) -> Result<bool> {
        is_there(&self.data())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("store.redb")
    }

    fn card_path(&self) -> PathBuf {
        self.root.join(CARD)
    }

    /// Returns the path of the coordination page.
    pub(crate) fn page(&self) -> PathBuf {
        self.root.join("coord.page")
    }

    pub(crate) fn writer_lock(&self) -> LockFile {
        LockFile::in_dir(&self.root, "writer")
    }

    /// Returns the lock that a stand-by holds while it asks the writer to hand over.
    pub(crate) fn handover_lock(&self) -> LockFile {
        LockFile::in_dir(&self.root, "handover")
    }

    /// Returns the counter of the store's writers, which outside the store's file says which one is the last.
    pub(crate) fn fence(&self) -> Counter {
        Counter::at(self.root.join("writer.epoch"))
    }

    pub(crate) fn registry(&self) -> Registry {
        Registry::in_dir(&self.root)
    }

    /// Returns where followers leave word.
    pub(crate) fn followers(&self) -> PathBuf {
        self.root.join("followers")
    }

    /// Where plugins' logs and numbers are.
    #[cfg(feature = "scripts")]
    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    pub(crate) fn locks(&self) -> Locks {
        Locks::in_dir(&self.root.join("locks"))
    }

    /// Takes the writer's lock. A reader that recovers the store holds it for a moment, which is no reason to fail.
    pub(crate) fn lock_for_writing(&self, holder: &Holder, wait: Duration) -> Result<Held> {
        let deadline = Instant::now() + RECOVERY_WAIT;
        loop {
            match self.writer_lock().acquire(holder, wait) {
                Err(cohab_lock::Error::Busy { holder: Some(other), .. })
                    if other.role == RECOVERY && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return Ok(other?),
            }
        }
    }

    /// Reads the card, or `None` if there is none yet.
    pub(crate) fn card(&self) -> Result<Option<Card>> {
        match cohab_fs::read_small(&self.card_path(), CARD_BYTES_MAX + 1) {
            Ok(bytes) => Card::parse(&bytes, &self.root).map(Some),
            Err(cohab_fs::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn write_card(&self, card: Card) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&card).expect("plain fields always serialize");
        text.push(b'\n');
        Ok(cohab_fs::replace(&self.card_path(), &text)?)
    }
}

/// Whether there is something of that name. That the system does not say is no answer.
fn is_there(path: &Path) -> Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::new(Kind::Io, format!("examining {} failed", path.display())).source(error)),
    }
}

/// Refuses a file system whose locks and maps cannot be relied on, unless the store is opened exclusively. For a
/// directory that is not there yet, that is the one it is to be made in.
pub(crate) fn check_file_system(root: &Path, options: &Options) -> Result<()> {
    let place = if root.symlink_metadata().is_ok() { root } else { cohab_fs::parent(root) };
    match cohab_fs::file_system(place) {
        Ok(FileSystem::Remote(name)) if !options.is_exclusive => {
            let message =
                format!("{} is on {name}, where several processes cannot share a store", root.display());
            let hint = "move it to a local disk, or open it for one process alone (`--exclusive`, `Options::exclusive`)";
            Err(Error::new(Kind::Unsupported, message).hint(hint))
        }
        // A place that is not there is told by who opens or makes the directory.
        Ok(_) | Err(cohab_fs::Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn missing(root: &Path) -> Error {
    Error::new(Kind::NotFound, format!("there is no store at {}", root.display()))
        .hint("`cohab init` makes one, or name another place with --store")
}
