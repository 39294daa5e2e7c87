//! An application's own locks, by name.

use std::fs;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cohab_core::limits::{HOLDER_BYTES_MAX, LOCK_NAME_BYTES_MAX};
use cohab_fs::Access;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::file::Locked;
use crate::kernel::{List, Sight};
use crate::reentry::{Claim, Entered, Key};
use crate::wait::Patience;
use crate::{Cancel, Counter, Error, Held, Holder, LockFile, Mode, Wait};

/// How long the one who has just come to share a lock waits at least for the others' tokens to get on disk.
const TOKEN_WAIT: Duration = Duration::from_secs(2);

/// The locks in a directory, as many as there are names.
#[derive(Clone, Debug)]
pub struct Locks {
    dir: PathBuf,
}

/// Who asks for a lock, and how.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    holder: &'a Holder,
    wait: Wait,
    cancel: Cancel,
    floor: u64,
}

impl<'a> Request<'a> {
    /// Asks for `holder`, without waiting.
    pub fn new(holder: &'a Holder) -> Self {
        Self { holder, wait: Wait::Try, cancel: Cancel::new(), floor: 0 }
    }

    /// Sets how long to wait, for all the locks of the request together.
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Sets a token that ends the wait.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// States the highest token that the caller knows of from elsewhere; the lock's will be larger.
    #[must_use]
    pub fn floor(mut self, floor: u64) -> Self {
        self.floor = floor;
        self
    }
}

impl Locks {
    /// Names the locks in a directory. Only acquiring one creates it; what it lies in must exist.
    pub fn in_dir(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Acquires a lock and a token for it.
    ///
    /// A name is any text of 1 to 255 bytes. Cost: one wait for the disk, for the token.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] with the holder once the time is over, [`Error::Cancelled`], [`Error::Reentrant`] if the
    /// thread would wait for itself, [`Error::Damaged`] if the tokens of the past are lost; errors of the file system
    /// at once. The lock is not held then.
    pub fn acquire(&self, name: &str, mode: Mode, request: &Request<'_>) -> Result<Guard, Error> {
        let named = Named::new(&self.dir, name)?;
        self.create()?;
        named.acquire(&self.dir, mode, request, &Patience::new(request.wait, &request.cancel))
    }

    /// Acquires several locks, all or none, and returns them in the order they were asked for.
    ///
    /// They are taken in an order of their own that is the same for everybody, so that two requests never wait for
    /// each other; that holds for one request with all locks and not for one after another.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](Self::acquire), and [`Error::Duplicate`].
    pub fn acquire_many(&self, names: &[(&str, Mode)], request: &Request<'_>) -> Result<Vec<Guard>, Error> {
        let asked = names.iter().enumerate();
        let asked = asked.map(|(position, (name, mode))| Ok((Named::new(&self.dir, name)?, *mode, position)));
        let mut asked = asked.collect::<Result<Vec<_>, Error>>()?;
        asked.sort_by_key(|(named, ..)| named.hash);
        if let Some([(named, ..), _]) = asked.array_windows().find(|[(a, ..), (b, ..)]| a.hash == b.hash) {
            return Err(Error::Duplicate { name: named.name.to_owned() });
        }
        self.create()?;
        let patience = Patience::new(request.wait, &request.cancel);
        let guards = asked.into_iter().map(|(named, mode, position)| {
            Ok((position, named.acquire(&self.dir, mode, request, &patience)?))
        });
        let mut guards = guards.collect::<Result<Vec<_>, Error>>()?;
        guards.sort_by_key(|(position, _)| *position);
        Ok(guards.into_iter().map(|(_, guard)| guard).collect())
    }

    /// Returns every lock that was ever acquired here, by name. Creates nothing, and needs no right to write.
    ///
    /// The answer may be out of date when it arrives.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn list(&self) -> Result<Vec<LockState>, Error> {
        match cohab_fs::check_dir(&self.dir) {
            Err(cohab_fs::Error::NotFound(_)) => return Ok(Vec::new()),
            checked => checked?,
        }
        let failed = |error| Error::file("listing", &self.dir, error);
        let (list, mut states) = (List::read(), Vec::new());
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?.file_name();
            let Some(stem) = entry.to_str().and_then(|name| name.strip_suffix(".lock")) else { continue };
            match LockState::read(&self.dir, stem, &list) {
                // Removed by a person, just now.
                Err(Error::File(cohab_fs::Error::NotFound(_))) => {}
                state => states.push(state?),
            }
        }
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }

    fn create(&self) -> Result<(), Error> {
        if cohab_fs::create_dir(&self.dir)? {
            cohab_fs::sync_dir(cohab_fs::parent(&self.dir))?;
        }
        Ok(())
    }
}

/// A name and the files that stand for it, which go by a hash because a name can be longer than a file's, and
/// contain anything.
struct Named<'a> {
    name: &'a str,
    hash: u128,
    lock: LockFile,
    tokens: Counter,
}

impl<'a> Named<'a> {
    fn new(dir: &Path, name: &'a str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > LOCK_NAME_BYTES_MAX {
            return Err(Error::Name { bytes: name.len() });
        }
        let hash = xxh3_128(name.as_bytes());
        let stem = stem(hash);
        Ok(Self { name, hash, lock: LockFile::in_dir(dir, &stem), tokens: tokens(dir, &stem) })
    }

    fn acquire(
        &self,
        dir: &Path,
        mode: Mode,
        request: &Request<'_>,
        patience: &Patience<'_>,
    ) -> Result<Guard, Error> {
        let key = Key::of(dir, self.hash).map_err(|error| Error::file("examining", dir, error))?;
        let claim = Claim::new(key, mode).ok_or_else(|| Error::Reentrant { name: self.name.to_owned() })?;
        let mut held = self.lock.lock(mode, patience).map_err(|error| error.named(self.name))?;
        let token = self.take_token(request.floor, patience).map_err(|error| error.named(self.name))?;
        // Like the record it is for those who look, and not worth the lock.
        let _ = self.leave_name(&held);
        let holder = request.holder.since_now();
        let record = Record { name: self.name.to_owned(), mode, token, holder };
        held.write_record(serde_json::to_vec(&record).expect("plain fields always serialize"));
        Ok(Guard { _entered: claim.enter(), _held: held, name: self.name.to_owned(), mode, token })
    }

    /// Takes the next token. Those who share the lock do so at the same time, so the counter has a lock of its own.
    fn take_token(&self, floor: u64, patience: &Patience<'_>) -> Result<u64, Error> {
        self.tokens.create()?;
        let (path, patience) = (self.tokens.path(), patience.at_least(TOKEN_WAIT));
        let turn = Locked::acquire(path, Access::Write, Mode::Exclusive, &patience)?;
        let busy = || Error::Busy { lock: path.to_owned(), name: None, holder: None };
        let _turn = turn.ok_or_else(busy)?;
        self.tokens.advance(floor)
    }

    /// Puts the name into the lock's file, where it stays when the holder and its record are gone.
    fn leave_name(&self, held: &Held) -> std::io::Result<()> {
        let (mut file, mut found) = (held.file(), Vec::new());
        file.take(1 + LOCK_NAME_BYTES_MAX as u64).read_to_end(&mut found)?;
        if found != self.name.as_bytes() {
            file.rewind()?;
            file.write_all(self.name.as_bytes())?;
            file.set_len(self.name.len() as u64)?;
        }
        Ok(())
    }
}

/// Returns the name of a lock's files, without what comes after the dot.
fn stem(hash: u128) -> String {
    format!("{hash:032x}")
}

fn tokens(dir: &Path, stem: &str) -> Counter {
    Counter::at(dir.join(format!("{stem}.token")))
}

/// What lies beside a lock that is held, to be read as a [`Holder`] as well.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    mode: Mode,
    token: u64,
    #[serde(flatten)]
    holder: Holder,
}

impl Record {
    fn from_json(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Reads a record and encodes it again.
pub(crate) fn record_again(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(serde_json::to_vec(&Record::from_json(bytes)?).expect("plain fields always serialize"))
}

/// An application's lock that is held until this is dropped or the process ends. A forked child holds nothing.
///
/// It may be moved to another thread; the thread that acquired it is still the one that cannot acquire it again.
#[derive(Debug)]
#[must_use = "dropping it lets another process have the lock"]
pub struct Guard {
    _entered: Entered,
    _held: Held,
    name: String,
    mode: Mode,
    token: u64,
}

impl Guard {
    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it is held.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns the fencing token: larger than that of every acquisition of this name before, exclusive or shared.
    pub fn token(&self) -> u64 {
        self.token
    }
}

/// A lock as somebody sees it who does not want it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LockState {
    /// Its name, if it can be read: on Windows not while it is held, nor after its first holder found the disk full.
    pub name: Option<String>,
    /// How it is held, if it is.
    pub held: Option<Mode>,
    /// Who says to hold it, if it is held; of several who share it, the last that came.
    pub holder: Option<Holder>,
    /// The processes that hold it, each once, where the kernel tells (on Linux, those in the same container).
    pub pids: Vec<u32>,
    /// The last token, or `None` if it cannot be read.
    pub token: Option<u64>,
}

impl LockState {
    /// Returns whether anybody holds the lock.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    fn read(dir: &Path, stem: &str, list: &List) -> Result<Self, Error> {
        let lock = LockFile::in_dir(dir, stem);
        let sight = lock.look(list)?;
        let record = cohab_fs::read_small(lock.record_path(), HOLDER_BYTES_MAX).ok();
        let record = record.and_then(|record| Record::from_json(&record));
        let written = cohab_fs::read_small(lock.path(), LOCK_NAME_BYTES_MAX).ok();
        let written = written.and_then(|name| String::from_utf8(name).ok());
        let stated = record.as_ref().map(|record| record.name.clone());
        let is_right = |name: &String| self::stem(xxh3_128(name.as_bytes())) == stem;
        let name = written.filter(is_right).or(stated.filter(is_right));
        let holder = sight.as_ref().and(record.map(|record| record.holder));
        let token = tokens(dir, stem).current().ok();
        let (held, pids) = sight.map(|Sight { mode, pids }| (mode, pids)).unzip();
        Ok(Self { name, held, holder, pids: pids.unwrap_or_default(), token })
    }
}
