//! Following what is committed, in any process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cohab_core::{InstanceId, NamespaceId, Timestamp, Version, planted};

use crate::{Change, Error, LogItem, LogRecord, Result, Snapshot, Store};

/// What to watch; see [`Store::watch`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    namespace: Option<String>,
    prefix: Bytes,
    from: Option<Version>,
}

impl Filter {
    /// Everything, from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only versions that change this namespace: its data, or what is said of it. It is followed through renames.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Only keys that begin so.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Bytes>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Begins with this version, which may be long past. Default: the one after the present.
    #[must_use]
    pub fn from(mut self, version: Version) -> Self {
        self.from = Some(version);
        self
    }
}

/// Versions as they are committed, in order, each exactly once: an iterator that waits for the next one.
///
/// Ends after [`WatchStop::stop`]. An error does not end it: the next item is tried anew. [`Kind::Lagged`](crate::Kind::Lagged) says that
/// versions were trimmed from the log before they were seen, and which one is the oldest that is left; it goes on
/// with that one.
pub struct Watch {
    store: Store,
    namespace: Option<NamespaceId>,
    prefix: Bytes,
    next: Version,
    /// Kept while there is a backlog, so that it is one look at the store however long it is.
    snapshot: Option<Snapshot>,
    is_stopped: Arc<AtomicBool>,
}

/// Stops a [`Watch`], from any thread.
#[derive(Clone, Debug)]
pub struct WatchStop(Arc<AtomicBool>);

impl WatchStop {
    /// Makes the watch end, within a second.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A version that a [`Watch`] has come to.
///
/// It keeps the store as it was when the watch looked, and thereby pins it: look at it and let it go.
pub struct WatchEvent {
    snapshot: Snapshot,
    namespace: Option<NamespaceId>,
    prefix: Bytes,
    version: Version,
    time: Timestamp,
    instance: InstanceId,
    label: String,
}

/// A change of one key, to keep.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KeyChange {
    /// Whose key.
    pub namespace: NamespaceId,
    /// The key.
    pub key: Bytes,
    /// The value before; nothing if the key was absent, or where the namespace keeps no images.
    pub before: Option<Bytes>,
    /// The value after; nothing if the key was removed.
    pub after: Option<Bytes>,
}

impl Store {
    /// Follows the store's versions from its log, in any process, beside any writer.
    ///
    /// Waiting costs nothing: the kernel wakes the watcher when a commit is published.
    ///
    /// ```
    /// use cohab::{Filter, Store, Version};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("store"))?;
    /// store.write(|tx| tx.create_namespace("jobs"))?;
    /// store.write(|tx| tx.put("jobs", "1", "paint"))?;
    ///
    /// let mut watch = store.watch(Filter::new().namespace("jobs").from(Version::new(2)))?;
    /// let event = watch.next().expect("does not end")?;
    /// assert_eq!(event.version(), Version::new(2));
    /// assert_eq!(event.changes()?[0].after.as_deref(), Some(&b"paint"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is no such namespace.
    pub fn watch(&self, filter: Filter) -> Result<Watch> {
        let snapshot = self.refresh()?;
        let namespace = match &filter.namespace {
            Some(name) => Some(snapshot.namespace(name)?.id()),
            None => None,
        };
        // Version zero is the empty store, which nobody committed.
        let next = filter.from.map_or_else(|| snapshot.version().next(), |from| from.max(Version::new(1)));
        let is_stopped = Arc::default();
        Ok(Watch {
            store: self.clone(),
            namespace,
            prefix: filter.prefix,
            next,
            snapshot: Some(snapshot),
            is_stopped,
        })
    }
}

impl Watch {
    /// Returns what stops the watch from another thread.
    pub fn stopper(&self) -> WatchStop {
        WatchStop(self.is_stopped.clone())
    }

    /// Returns the version that it looks at next. A watch that begins there continues this one.
    pub fn position(&self) -> Version {
        self.next
    }

    /// Returns the next version, or `None` if none came in time. Zero looks without waiting.
    pub fn next_within(&mut self, wait: Duration) -> Option<Result<WatchEvent>> {
        let deadline = Instant::now().checked_add(wait);
        loop {
            match self.seek() {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            let left = deadline.map_or(wait, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() || self.is_stopped.load(Ordering::Relaxed) {
                return None;
            }
            self.store.inner.wait_for_commit(self.next, left);
        }
    }

    /// Looks for the next version that is there and matches.
    fn seek(&mut self) -> Result<Option<WatchEvent>> {
        loop {
            let snapshot = match self.snapshot.take() {
                Some(snapshot) if snapshot.version() >= self.next => snapshot,
                _ => self.store.refresh()?,
            };
            if snapshot.version() < self.next {
                return Ok(None);
            }
            let oldest = snapshot.oldest_version();
            if self.next < oldest {
                let missed = self.next;
                self.next = oldest;
                self.snapshot = Some(snapshot);
                if planted!(LagUnsaid) {
                    continue;
                }
                return Err(Error::lagged(missed, oldest));
            }
            for record in snapshot.log(self.next..=snapshot.version()) {
                let record = record?;
                let version = record.version();
                let is_match = self.matches(&record)?;
                self.next = version.next();
                if is_match {
                    let event = WatchEvent {
                        snapshot: snapshot.clone(),
                        namespace: self.namespace,
                        prefix: self.prefix.clone(),
                        version,
                        time: record.time(),
                        instance: record.instance(),
                        label: record.label().to_owned(),
                    };
                    self.snapshot = Some(snapshot);
                    return Ok(Some(event));
                }
                if self.is_stopped.load(Ordering::Relaxed) {
                    return Ok(None);
                }
            }
        }
    }

    fn matches(&self, record: &LogRecord<'_>) -> Result<bool> {
        if self.namespace.is_none() && self.prefix.is_empty() {
            return Ok(true);
        }
        let mut is_match = false;
        record.visit(|item| {
            is_match |= concerns(&item, self.namespace, &self.prefix);
            Ok(())
        })?;
        Ok(is_match)
    }
}

/// Whether a piece of a record is about the namespace and keys that are watched.
fn concerns(item: &LogItem<'_>, watched: Option<NamespaceId>, prefix: &[u8]) -> bool {
    let ours = |namespace: &NamespaceId| watched.is_none_or(|watched| watched == *namespace);
    match item {
        LogItem::Change { namespace, change } => ours(namespace) && change.key().starts_with(prefix),
        // Which keys changed is not recorded, so any may have.
        LogItem::Unrecorded { namespace, .. } => ours(namespace),
        LogItem::Metadata { namespace, .. } => prefix.is_empty() && ours(namespace),
        LogItem::Summary(_) => false,
    }
}

impl Iterator for Watch {
    type Item = Result<WatchEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_stopped.load(Ordering::Relaxed) {
            if let Some(event) = self.next_within(Duration::from_secs(1)) {
                return Some(event);
            }
        }
        None
    }
}

#[cfg(feature = "stream")]
mod stream {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::{fmt, io, thread};

    use async_channel::Receiver;
    use futures_core::Stream;

    use super::{Watch, WatchEvent, WatchStop};
    use crate::{Error, Kind, Result};

    /// A [`Watch`] for asynchronous code. Dropping it ends the watch.
    pub struct WatchStream {
        events: Pin<Box<Receiver<Result<WatchEvent>>>>,
        stop: WatchStop,
    }

    impl Watch {
        /// Goes on as a stream, from any runtime. A thread of its own waits, one version ahead of who polls.
        ///
        /// # Errors
        ///
        /// [`Kind::Io`] if there is no thread to be had.
        pub fn into_stream(self) -> Result<WatchStream> {
            let (sender, receiver) = async_channel::bounded(1);
            let stop = self.stopper();
            let follow = move || {
                for event in self {
                    // Nobody listens any more.
                    if sender.send_blocking(event).is_err() {
                        break;
                    }
                }
            };
            let failed = |error: io::Error| Error::new(Kind::Io, "starting a thread failed").source(error);
            thread::Builder::new().name("cohab-watch".into()).spawn(follow).map_err(failed)?;
            Ok(WatchStream { events: Box::pin(receiver), stop })
        }
    }

    impl Stream for WatchStream {
        type Item = Result<WatchEvent>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.events.as_mut().poll_next(context)
        }
    }

    impl Drop for WatchStream {
        fn drop(&mut self) {
            self.stop.stop();
        }
    }

    impl fmt::Debug for WatchStream {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("WatchStream").finish_non_exhaustive()
        }
    }
}

#[cfg(feature = "stream")]
pub use stream::WatchStream;

impl WatchEvent {
    /// Returns the version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns when it was committed, by the wall clock.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns who committed it.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Returns what the application called it; may be empty.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Shows what the version did to what is watched, in order. Memory: one chunk of the record, however large it is.
    pub fn visit(&self, mut visit: impl FnMut(LogItem<'_>) -> Result<()>) -> Result<()> {
        let record = self.snapshot.log(self.version..=self.version).next();
        let lost = || Error::corrupt(format!("the log has no record of version {}", self.version));
        record
            .ok_or_else(lost)??
            .visit(|item| if concerns(&item, self.namespace, &self.prefix) { visit(item) } else { Ok(()) })?;
        Ok(())
    }

    /// Collects the keys that the version changed among those watched.
    pub fn changes(&self) -> Result<Vec<KeyChange>> {
        let mut changes = Vec::new();
        self.visit(|item| {
            if let LogItem::Change { namespace, change } = item {
                let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
                let (before, after) = match &change {
                    Change::Insert { value, .. } => (None, Some(copy(value))),
                    Change::Update { before, value, .. } => (Some(copy(before)), Some(copy(value))),
                    Change::Delete { before, .. } => (Some(copy(before)), None),
                };
                changes.push(KeyChange { namespace, key: copy(change.key()), before, after });
            }
            Ok(())
        })?;
        Ok(changes)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("namespace", &self.namespace)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchEvent").field("version", &self.version).finish_non_exhaustive()
    }
}
