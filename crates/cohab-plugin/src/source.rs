//! Where a plugin's files are, and whether they have changed.
//!
//! A look compares stamps: one `stat` for each directory and each file of the plugin. What no stamp shows is an edit within the
//! same tick of the kernel's clock as the one before; so once, when a tick is surely over, all of it is listed and read again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::listing::{ListError, Listing};
use crate::{Bundle, ContentHash, LoadError, Stage};

/// How often callers look at the most, unless told otherwise.
const INTERVAL: Duration = Duration::from_millis(10);

/// After this time a file that is written has another time of change than before.
const TICK_MAX: Duration = Duration::from_millis(100);

/// The same where the file system counts in seconds, or in two of them.
const COARSE_TICK_MAX: Duration = Duration::from_millis(2100);

/// For how long it is tried to read files that are being written.
const WRITTEN_MAX: Duration = Duration::from_secs(2);

/// How long to wait before files are read again that changed while they were read.
const PAUSE: Duration = Duration::from_millis(2);

/// A plugin's files on disk. One is shared by all threads that want to know whether they have changed.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    interval: u64,
    /// When the next look is due, in nanoseconds of [`ticks`].
    due: AtomicU64,
    seen: Mutex<Option<Seen>>,
}

/// What a look at the files found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Look {
    /// They are as they were.
    Same,
    /// They are not as they were, or were never adopted.
    Changed,
    /// The directory is not there.
    Missing,
    /// They cannot be read, and this is why.
    Unreadable(String),
}

/// What tells the files that were read from others: which there are, when each was last changed, and what is in them.
#[derive(Clone)]
pub struct Signature {
    listing: Listing,
    hash: ContentHash,
    /// When the files were listed.
    at: Instant,
}

/// What was adopted, or tried without success.
#[derive(Debug)]
struct Seen {
    found: Result<Listing, ListError>,
    /// What was in the files, or why they could not be read.
    content: Result<ContentHash, String>,
    /// When it is time to read the files once more, unless that was done.
    verify_at: Option<Instant>,
}

impl Source {
    /// Names the directory. It is not looked at yet, and need not be there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let source = Self { path: dir.into(), interval: 0, due: AtomicU64::new(0), seen: Mutex::new(None) };
        source.with_interval(INTERVAL)
    }

    /// Says how often [`look_if_due`](Self::look_if_due) looks at the most, instead of every 10 ms.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self
    }

    /// Returns where the files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the files are others than those adopted or last tried. Looks only if nobody has for the interval; for
    /// all others it costs some nanoseconds, and the answer is no.
    #[inline]
    pub fn look_if_due(&self) -> bool {
        let now = ticks();
        let due = self.due.load(Ordering::Relaxed);
        if now < due {
            return false;
        }
        let next = now.saturating_add(self.interval);
        let is_mine = self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        // Whoever looks now, or notes what was read, is waited for by nobody.
        is_mine
            && match self.seen.try_lock() {
                Ok(mut seen) => self.compare(&mut seen).1,
                Err(TryLockError::Poisoned(seen)) => self.compare(&mut seen.into_inner()).1,
                Err(TryLockError::WouldBlock) => false,
            }
    }

    /// Looks at once, and says what is there.
    pub fn look(&self) -> Look {
        self.compare(&mut self.lock()).0
    }

    /// Reads the files when nobody is writing them: they were the same before, after, and after `settle` once more.
    ///
    /// Blocks for at least that time, and for about two seconds more where they change all the time. What cannot be read counts
    /// as tried: [`look_if_due`](Self::look_if_due) says no until it changes.
    ///
    /// # Errors
    ///
    /// As for [`Bundle::read`], and if the files do not stay the same for long enough.
    pub fn read_settled(&self, settle: Duration) -> Result<(Bundle, Signature), LoadError> {
        let begin = Instant::now();
        loop {
            match self.try_read(settle) {
                Ok(Some((bundle, signature))) => return Ok((bundle, signature)),
                Ok(None) | Err(ListError::Vanished(_))
                    if begin.elapsed() < WRITTEN_MAX.saturating_add(settle) =>
                {
                    thread::sleep(PAUSE);
                }
                Err(error @ (ListError::Missing(_) | ListError::Unreadable(_))) => {
                    return Err(error.into_inner());
                }
                Ok(None) | Err(ListError::Vanished(_)) => {
                    let message = format!(
                        "`{}` is being written: for {WRITTEN_MAX:?} its files did not stay the same for {settle:?}",
                        self.path.display()
                    );
                    return Err(LoadError::new(Stage::Read, message));
                }
            }
        }
    }

    /// Reads once, and returns nothing if the files changed meanwhile.
    fn try_read(&self, settle: Duration) -> Result<Option<(Bundle, Signature)>, ListError> {
        let at = Instant::now();
        let listing =
            Listing::of(&self.path).inspect_err(|error| self.note_failure(Err(error.clone()), error))?;
        let read = || listing.read().inspect_err(|error| self.note_failure(Ok(listing.clone()), error));
        let bundle = read()?;
        if Listing::of(&self.path)? != listing {
            return Ok(None);
        }
        if !settle.is_zero() {
            thread::sleep(settle);
            if Listing::of(&self.path)? != listing || read()?.hash() != bundle.hash() {
                return Ok(None);
            }
        }
        let signature = Signature { listing, hash: bundle.hash(), at };
        Ok(Some((bundle, signature)))
    }

    fn note_failure(&self, found: Result<Listing, ListError>, error: &ListError) {
        if !matches!(error, ListError::Vanished(_)) {
            let content = Err(error.clone().into_inner().to_string());
            *self.lock() = Some(Seen { found, content, verify_at: None });
        }
    }

    /// Takes note of what was read, whatever became of it: as long as that is there, nothing has changed.
    pub fn adopt(&self, signature: &Signature) {
        let Signature { listing, hash, at } = signature.clone();
        let verify_at = Some(at + tick_max(&listing));
        *self.lock() = Some(Seen { found: Ok(listing), content: Ok(hash), verify_at });
    }

    /// What is there, and whether that is something else than was seen.
    fn compare(&self, seen: &mut Option<Seen>) -> (Look, bool) {
        let now = Instant::now();
        if let Some(Seen { found: Ok(listing), content, verify_at }) = seen
            && verify_at.is_none_or(|at| now < at)
            && listing.is_current()
        {
            let look = content.as_ref().err().map_or(Look::Same, |why| Look::Unreadable(why.clone()));
            return (look, false);
        }
        let listing = match Listing::of(&self.path) {
            Ok(listing) => listing,
            Err(error) => {
                let is_known = seen.as_ref().is_some_and(|seen| seen.found.as_ref() == Err(&error));
                let look = match error {
                    ListError::Missing(_) => Look::Missing,
                    ListError::Vanished(_) => Look::Changed,
                    ListError::Unreadable(error) => Look::Unreadable(error.to_string()),
                };
                return (look, !is_known);
            }
        };
        let Some(seen) = seen else {
            return (Look::Changed, true);
        };
        let is_same = seen.found.as_ref().is_ok_and(|known| known.has_same_files(&listing));
        if !is_same {
            return (Look::Changed, true);
        }
        if seen.verify_at.is_some_and(|at| now >= at) {
            match (&seen.content, listing.read()) {
                (Ok(known), Ok(bundle)) if bundle.hash() == *known => {}
                _ => return (Look::Changed, true),
            }
            seen.verify_at = None;
        }
        // Something came or went that is none of the plugin's. In the same tick, something else may follow.
        if seen.found.as_ref() != Ok(&listing) {
            seen.verify_at = seen.content.is_ok().then(|| now + tick_max(&listing));
            seen.found = Ok(listing);
        }
        let look = seen.content.as_ref().err().map_or(Look::Same, |why| Look::Unreadable(why.clone()));
        (look, false)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signature {
    /// Returns the hash of what was read.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }
}

/// When they were read does not count.
impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.listing == other.listing && self.hash == other.hash
    }
}

impl Eq for Signature {}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.listing.files.len();
        f.debug_struct("Signature").field("files", &files).field("hash", &self.hash).finish_non_exhaustive()
    }
}

fn tick_max(listing: &Listing) -> Duration {
    if listing.is_coarse() { COARSE_TICK_MAX } else { TICK_MAX }
}

/// Nanoseconds of a clock that is never put back, good to some milliseconds and cheap to read.
#[cfg(target_os = "linux")]
fn ticks() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // It counts from the start of the machine, so neither is negative.
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos)
}

#[cfg(not(target_os = "linux"))]
fn ticks() -> u64 {
    static BEGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(BEGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(20);

    struct Plugin {
        outer: TempDir,
        source: Source,
    }

    impl Plugin {
        fn new() -> Self {
            let outer = tempfile::tempdir().unwrap();
            let dir = outer.path().join("plugin");
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("plugin.toml"), "name").unwrap();
            fs::write(dir.join("plugin.rhai"), "0").unwrap();
            let plugin = Self { outer, source: Source::new(dir).with_interval(Duration::ZERO) };
            assert_eq!(plugin.source.look(), Look::Changed);
            plugin.adopt();
            assert_eq!(plugin.source.look(), Look::Same);
            plugin
        }

        fn at(&self, name: &str) -> PathBuf {
            self.source.path().join(name)
        }

        fn adopt(&self) -> Bundle {
            let (bundle, signature) = self.source.read_settled(Duration::ZERO).unwrap();
            self.source.adopt(&signature);
            bundle
        }

        /// Sees to it that a look says no more than it did, and the other kind of look agrees.
        fn expect(&self, look: &Look) {
            assert_eq!(self.source.look(), *look);
            assert_eq!(self.source.look_if_due(), *look == Look::Changed);
        }
    }

    #[test]
    fn an_edit_is_noticed_whatever_its_size_and_time() {
        let plugin = Plugin::new();
        let path = plugin.at("plugin.rhai");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for content in ["1", "2"] {
            let mut file = File::options().write(true).open(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.set_times(fs::FileTimes::new().set_modified(long_ago)).unwrap();
            plugin.expect(&Look::Changed);
            plugin.expect(&Look::Changed);
            assert_eq!(plugin.adopt().file("plugin.rhai").unwrap(), content);
            plugin.expect(&Look::Same);
        }
        thread::sleep(TICK_MAX);
        plugin.expect(&Look::Same);
        plugin.expect(&Look::Same);
    }

    #[test]
    fn files_that_come_go_and_take_the_place_of_others_are_noticed() {
        let plugin = Plugin::new();
        let check = |look| {
            plugin.expect(&look);
            plugin.adopt();
            plugin.expect(&Look::Same);
        };
        fs::write(plugin.outer.path().join("new"), "1").unwrap();
        fs::rename(plugin.outer.path().join("new"), plugin.at("plugin.rhai")).unwrap();
        check(Look::Changed);
        fs::write(plugin.at("added"), "").unwrap();
        check(Look::Changed);
        fs::rename(plugin.at("added"), plugin.at("renamed")).unwrap();
        check(Look::Changed);
        fs::remove_file(plugin.at("renamed")).unwrap();
        check(Look::Changed);
        fs::create_dir(plugin.at("lib")).unwrap();
        check(Look::Changed);
        fs::write(plugin.at("lib/a"), "").unwrap();
        check(Look::Changed);
        fs::write(plugin.at("lib/a"), "1").unwrap();
        check(Look::Changed);
        // What an editor does on the side is none of the plugin's.
        fs::write(plugin.at(".plugin.rhai.swp"), "").unwrap();
        fs::write(plugin.at("lib/a~"), "").unwrap();
        check(Look::Same);
    }

    #[cfg(unix)]
    #[test]
    fn another_directory_behind_a_link_is_noticed() {
        use std::os::unix::fs::symlink;
        let plugin = Plugin::new();
        let (one, other) = (plugin.at(""), plugin.outer.path().join("other"));
        fs::create_dir(&other).unwrap();
        for name in ["plugin.toml", "plugin.rhai"] {
            fs::hard_link(plugin.at(name), other.join(name)).unwrap();
        }
        let link = plugin.outer.path().join("link");
        let swap = |target: &Path| {
            symlink(target, plugin.outer.path().join("new")).unwrap();
            fs::rename(plugin.outer.path().join("new"), &link).unwrap();
        };
        swap(&one);
        let source = Source::new(&link);
        let adopt = || source.adopt(&source.read_settled(Duration::ZERO).unwrap().1);
        adopt();
        assert_eq!(source.look(), Look::Same);
        swap(&other);
        assert_eq!(source.look(), Look::Changed);
        adopt();
        assert_eq!(source.look(), Look::Same);
        fs::remove_dir_all(&other).unwrap();
        assert_eq!(source.look(), Look::Missing);
    }

    #[test]
    fn of_edits_within_a_tick_the_last_wins() {
        let plugin = Plugin::new();
        let path = plugin.at("plugin.rhai");
        let mut file = File::options().write(true).open(&path).unwrap();
        let mut write = |content: &str| {
            std::io::Seek::rewind(&mut file).unwrap();
            file.write_all(content.as_bytes()).unwrap();
        };
        for round in 0..5 {
            let (one, two) = (format!("{round}1"), format!("{round}2"));
            write(&one);
            let (_, signature) = plugin.source.read_settled(Duration::ZERO).unwrap();
            write(&two);
            plugin.source.adopt(&signature);
            let begin = Instant::now();
            while !plugin.source.look_if_due() {
                assert!(begin.elapsed() < Duration::from_secs(3), "the second edit was not noticed");
                thread::sleep(Duration::from_millis(1));
            }
            // It goes on saying so until somebody has read it.
            assert!(plugin.source.look_if_due());
            assert_eq!(*plugin.adopt().file("plugin.rhai").unwrap(), two);
        }
    }

    #[test]
    fn what_the_stamps_do_not_show_is_read_once_more() {
        let plugin = Plugin::new();
        // As if it had been read before a second edit with the same stamps.
        let (_, mut signature) = plugin.source.read_settled(SETTLE).unwrap();
        signature.hash = ContentHash::from([0; 32]);
        plugin.source.adopt(&signature);
        plugin.expect(&Look::Same);
        thread::sleep(TICK_MAX);
        plugin.expect(&Look::Changed);
        plugin.expect(&Look::Changed);
        plugin.adopt();
        thread::sleep(TICK_MAX);
        plugin.expect(&Look::Same);
        assert!(plugin.source.lock().as_ref().unwrap().verify_at.is_none());
    }

    #[test]
    fn a_directory_that_goes_and_comes_back_is_noticed() {
        let plugin = Plugin::new();
        let away = plugin.outer.path().join("away");
        fs::rename(plugin.at(""), &away).unwrap();
        assert_eq!(plugin.source.look(), Look::Missing);
        assert!(plugin.source.look_if_due());
        let error = plugin.source.read_settled(SETTLE).unwrap_err();
        assert!(error.message.contains("there is no directory"), "{error}");
        // It was tried, and nothing has changed since.
        assert!(!plugin.source.look_if_due());
        assert_eq!(plugin.source.look(), Look::Missing);
        fs::create_dir(plugin.at("")).unwrap();
        fs::write(plugin.at("plugin.toml"), "new").unwrap();
        plugin.expect(&Look::Changed);
        assert_eq!(plugin.adopt().files().len(), 1);
        plugin.expect(&Look::Same);
    }

    #[test]
    fn what_cannot_be_read_is_tried_once() {
        let plugin = Plugin::new();
        let below = Source::new(plugin.at("plugin.rhai/below")).with_interval(Duration::ZERO);
        let is_unreadable = |source: &Source| matches!(source.look(), Look::Unreadable(_));
        for source in [&below, &plugin.source] {
            fs::create_dir_all(plugin.at("a/b/c/d")).unwrap();
            assert!(is_unreadable(source) && source.look_if_due());
            source.read_settled(SETTLE).unwrap_err();
            assert!(is_unreadable(source) && !source.look_if_due());
        }
        let Look::Unreadable(why) = below.look() else { panic!("it is unreadable") };
        assert!(why.contains("lies below something that is not a directory"), "{why}");
        fs::remove_dir(plugin.at("a/b/c/d")).unwrap();
        plugin.expect(&Look::Changed);
        plugin.adopt();
        plugin.expect(&Look::Same);
    }

    #[test]
    fn half_a_file_is_not_adopted() {
        let plugin = Plugin::new();
        let path = plugin.at("plugin.rhai");
        let whole = "0123456789".repeat(10);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut file = File::create(&path).unwrap();
                for byte in whole.as_bytes() {
                    file.write_all(&[*byte]).unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
            while !plugin.source.look_if_due() {
                thread::yield_now();
            }
            // Several times what the writer pauses for, however busy the machine is.
            let (bundle, signature) = plugin.source.read_settled(Duration::from_millis(100)).unwrap();
            assert_eq!(*bundle.file("plugin.rhai").unwrap(), whole);
            plugin.source.adopt(&signature);
        });
        plugin.expect(&Look::Same);
    }

    #[test]
    fn files_that_change_all_the_time_are_not_adopted() {
        let plugin = Plugin::new();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0_u64.. {
                    fs::write(plugin.at("plugin.rhai"), number.to_string()).unwrap();
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let error = plugin.source.read_settled(Duration::from_millis(200));
            is_over.store(true, Ordering::Relaxed);
            error.unwrap_err()
        });
        assert!(error.message.contains("is being written"), "{error}");
        plugin.expect(&Look::Changed);
    }

    #[test]
    fn looks_are_as_rare_as_they_should_be() {
        let plugin = Plugin::new();
        let source = Source::new(plugin.source.path()).with_interval(Duration::from_hours(1));
        assert!(source.look_if_due(), "the first is due at once");
        assert!(!source.look_if_due(), "the next is not");
    }
}
