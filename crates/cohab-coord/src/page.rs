//! A page, as a process sees it.

use std::fs::Metadata;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_core::{Epoch, NamespaceId, StoreId, Version, planted};
use cohab_fs::Access;

use crate::error::{Error, Result};
use crate::header::{Header, Mismatch};
use crate::map::{LEN, Map, Words};
use crate::seal::Seal;
use crate::wake;

/// The length of a page's file, in bytes.
pub const PAGE_BYTES: u64 = LEN as u64;

/// The longest that [`Page::wait`] waits: a publisher that was killed wakes nobody.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

/// A state of the page. Two that are equal mean that nothing was published in between.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark(u64);

/// What is durable: a version, and the epoch of the writer at that time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Publication {
    /// The last version that a power cut cannot take back.
    pub version: Version,
    /// The latest writer that published.
    pub epoch: Epoch,
}

impl Publication {
    fn numbers(self) -> (u64, u64) {
        (self.version.get(), self.epoch.get())
    }
}

/// The coordination page of a store, mapped. Can be shared by all threads of a process.
///
/// Nothing here fails once the page is open. If it is damaged it has nothing to say, and what is said to it is lost;
/// [`is_current`](Self::is_current) tells.
#[derive(Debug)]
pub struct Page {
    map: Map,
    path: PathBuf,
    identity: Identity,
    header: Header,
    seal: Seal,
}

impl Page {
    /// Opens the page as the store's writer does: to be written, and anew if there is none that can be used.
    ///
    /// A page that is no good is replaced and not repaired: another process may have it mapped and is to notice.
    /// What the page says survives from one writer to the next, so a writer compares it with what it finds in the
    /// store; should the page say more than is true, as after a store was put back from a copy, it calls
    /// [`replace`](Self::replace).
    ///
    /// # Errors
    ///
    /// When the file can be neither used nor replaced, the disk being full for example. The writer can do without.
    pub fn create(path: &Path, store: StoreId) -> Result<Self> {
        match Self::open_for(path, store, Access::Write) {
            // Not the file's fault.
            Err(error @ (Error::TooMany(_) | Error::Io { .. })) => Err(error),
            Err(_) => Self::replace(path, store),
            page => page,
        }
    }

    /// Puts a new, empty page in the place of whatever is there, and opens it.
    ///
    /// Those who have the old one mapped keep it until they ask whether it [is current](Self::is_current).
    pub fn replace(path: &Path, store: StoreId) -> Result<Self> {
        let mut content: Vec<u8> = Header::of(store).bytes().collect();
        content.resize(LEN, 0);
        // Written and synced, so that the file has all of its blocks: on a full disk it fails here, and not with
        // a signal when the map is first touched.
        cohab_fs::replace_with(path, |file| file.write_all(&content))?;
        Self::open_for(path, store, Access::Write)
    }

    /// Opens the page that is there, to be written if that is permitted and otherwise to be read only.
    ///
    /// # Errors
    ///
    /// When there is no page, or none of this store. Do without, and try again later.
    pub fn open(path: &Path, store: StoreId) -> Result<Self> {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        match Self::open_for(path, store, Access::Write) {
            Err(Error::File(cohab_fs::Error::Io { source, .. }))
                if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                Self::open_for(path, store, Access::Read)
            }
            page => page,
        }
    }

    /// Opens the page that is there, to be read only.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_read_only(path: &Path, store: StoreId) -> Result<Self> {
        Self::open_for(path, store, Access::Read)
    }

    fn open_for(path: &Path, store: StoreId, access: Access) -> Result<Self> {
        let failed = |action| move |source| Error::Io { action, path: path.to_owned(), source };
        let file = cohab_fs::open(path, access)?;
        let metadata = file.metadata().map_err(failed("examining"))?;
        if metadata.len() != PAGE_BYTES {
            return Err(Error::Length { path: path.to_owned(), len: metadata.len() });
        }
        let map = Map::new(&file, access == Access::Write).map_err(failed("mapping"))?;
        let map = map.ok_or_else(|| Error::TooMany(path.to_owned()))?;
        let header = Header::of(store);
        header.matches(map.words().header()).map_err(|mismatch| match mismatch {
            Mismatch::Nonsense => Error::Nonsense(path.to_owned()),
            Mismatch::Layout(layout) => Error::Layout { path: path.to_owned(), layout },
            Mismatch::OtherStore => Error::OtherStore(path.to_owned()),
        })?;
        Ok(Self {
            map,
            path: path.to_owned(),
            identity: Identity::of(&metadata),
            header,
            seal: header.seal(),
        })
    }

    /// Returns whether this process may change the page. If not, what it publishes is ignored.
    pub fn is_writable(&self) -> bool {
        self.map.is_writable()
    }

    /// Returns a mark that changes whenever something is published.
    ///
    /// Take it *before* looking at what is published: as long as the mark stays, so does that. Cost: one atomic
    /// load, a nanosecond.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.map.words().mark())
    }

    /// Returns what was last published, or `None` if nothing was or the page is damaged.
    ///
    /// Never goes back while the page is sound. Cost: two cache lines, some ten nanoseconds.
    pub fn published(&self) -> Option<Publication> {
        let (version, epoch) = self.sound(self.map.words())?.published(self.seal)?;
        Some(Publication { version: Version::new(version), epoch: Epoch::new(epoch) })
    }

    /// Publishes a commit that is durable, and wakes everybody who waits.
    ///
    /// `changed` names every namespace that changed after `since`, the version before the commit. If the page
    /// does not know of `since` (it is new, or a commit was never published), every namespace counts as changed.
    /// Versions and epochs only go up: publishing less than there is wakes people up and does nothing else.
    ///
    /// Returns whether the page took it. Cost: a system call, half a microsecond if nobody waits.
    pub fn publish(
        &self,
        publication: Publication,
        since: Version,
        changed: impl IntoIterator<Item = NamespaceId>,
    ) -> bool {
        let Some(words) = self.sound_mut() else { return false };
        let slots = changed.into_iter().filter(|_| !planted!(ChangeUnmarked)).map(slot);
        words.publish(self.seal, since.get(), publication.numbers(), slots);
        wake::wake_all(words.wake_word());
        true
    }

    /// Publishes what this process found to be durable by other means. If it is news, every namespace counts as
    /// changed and everybody who waits is woken; if not, nothing happens.
    ///
    /// Returns whether it was news that the page took.
    pub fn raise(&self, publication: Publication) -> bool {
        let Some(words) = self.sound_mut() else { return false };
        let news = words.raise(self.seal, publication.numbers());
        if news {
            wake::wake_all(words.wake_word());
        }
        news
    }

    /// Returns the last version that may have changed a namespace: the true one, or a later one.
    ///
    /// Holds for every version up to what was [`published`](Self::published) when that was read before this.
    /// Namespaces whose ids are equal modulo [`SLOTS`](crate::SLOTS) share the answer. If the page does not know,
    /// the answer is the largest version there could be.
    pub fn changed(&self, namespace: NamespaceId) -> Version {
        let changed = self.map.words().changed(self.seal, slot(namespace));
        changed.map_or(Version::new(u64::MAX), Version::new)
    }

    /// Returns the age at which the writer wants snapshots to end, if it said so.
    pub fn snapshot_age_max(&self) -> Option<Duration> {
        let age = self.sound(self.map.words())?.snapshot_age_max_ms(self.seal);
        (age > 0).then(|| Duration::from_millis(age))
    }

    /// Says at which age snapshots are to end, in whole milliseconds and one at least, or that they may live on.
    pub fn set_snapshot_age_max(&self, age: Option<Duration>) {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX).max(1);
        if let Some(words) = self.sound_mut() {
            words.set_snapshot_age_max_ms(self.seal, age.map_or(0, ms));
        }
    }

    /// Waits until the mark is not the one that was seen or the time is over, one second ([`WAIT_MAX`]) at most.
    ///
    /// Blocks the thread. Elsewhere than on Linux it polls every millisecond.
    pub fn wait(&self, seen: Mark, timeout: Duration) {
        let deadline = Instant::now() + timeout.min(WAIT_MAX);
        let words = self.map.words();
        while let Some(word) = words.sleep_on(seen.0) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            wake::sleep(words.wake_word(), word, left);
        }
    }

    /// Changes the mark though nothing was published, so that everybody who waits returns.
    pub fn wake(&self) {
        if let Some(words) = self.sound_mut() {
            words.announce();
            wake::wake_all(words.wake_word());
        }
    }

    /// Returns whether this is still the page that everybody else opens: the path names the file that is mapped,
    /// which has its length and begins as it should.
    ///
    /// If not, drop it, and [`open`](Self::open) or [`create`](Self::create) another. Cost: one system call.
    pub fn is_current(&self) -> bool {
        let is_same = |metadata: Metadata| {
            metadata.is_file() && metadata.len() == PAGE_BYTES && Identity::of(&metadata) == self.identity
        };
        self.path.symlink_metadata().is_ok_and(is_same) && self.sound(self.map.words()).is_some()
    }

    /// The words, if they are still those of this store's page.
    fn sound<'a>(&self, words: &'a Words) -> Option<&'a Words> {
        self.header.matches(words.header()).is_ok().then_some(words)
    }

    fn sound_mut(&self) -> Option<&Words> {
        self.sound(self.map.words_mut()?)
    }
}

fn slot(namespace: NamespaceId) -> usize {
    namespace.get() as usize
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Elsewhere a file that is mapped can be neither removed nor cut off, so the path always names it.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}
