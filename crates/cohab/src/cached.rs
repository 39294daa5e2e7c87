//! A namespace as it is now, read through the cache.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cohab_cache::{At, Guard, Lookup, Published, Space, Stats};
use cohab_core::{NamespaceId, Version};

use crate::coordination::NAMES_CHANGED;
use crate::latest::Sight;
use crate::{Freshness, Name, NamespaceView, Result, Snapshot, Store};

/// A namespace as it is now, read through the versioned cache.
///
/// Every read is as fresh as one from a new [`Store::snapshot`] would be: it sees every commit that was published when it
/// began, in whatever process. Reads do not go back, neither among themselves nor behind a snapshot that the handle has
/// shown. What several reads find may be of different versions; those who need one version take a snapshot, and
/// read through the same cache with [`NamespaceView::get_bytes`](crate::NamespaceView::get_bytes).
///
/// The name is looked up again after it was given to another namespace. Clones share what they know.
#[derive(Clone)]
pub struct Cached {
    /// With all that goes on beside its calls, so that the store is as alive as it is open.
    store: Store,
    name: Arc<Name>,
    view: Arc<Published<View>>,
}

/// What the reads between two commits have in common.
struct View {
    id: NamespaceId,
    space: Arc<Space>,
    at: At,
    /// The version at which the name was looked up.
    named: Version,
    sight: Sight,
}

impl Store {
    /// Returns a namespace to read from as it is now, through the cache.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let store = cohab::Store::open(dir.path().join("store"))?;
    /// store.write(|tx| {
    ///     tx.create_namespace("flags")?;
    ///     tx.put("flags", "dark-mode", "on")
    /// })?;
    /// let flags = store.cached("flags")?;
    /// assert_eq!(flags.get("dark-mode")?.as_deref(), Some(&b"on"[..]));
    /// assert_eq!(flags.get_with("dark-mode", |value| value.map(<[u8]>::len))?, Some(2));
    ///
    /// store.write(|tx| tx.put("flags", "dark-mode", "off"))?;
    /// assert_eq!(flags.get("dark-mode")?.as_deref(), Some(&b"off"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Snapshot::namespace`](crate::Snapshot::namespace).
    pub fn cached(&self, namespace: impl AsRef<str>) -> Result<Cached> {
        let name = Arc::new(Name::new(namespace.as_ref())?);
        let cached = Cached { store: self.clone(), name, view: Arc::default() };
        cached.look()?;
        Ok(cached)
    }
}

impl Cached {
    /// Returns the name that it was asked for by.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Reads a key's value, as a reference count of what is kept.
    ///
    /// Cost, if the cache knows the value or that there is none: a load from memory that is shared with the writer, a
    /// look at the clock and a probe; no system call, no allocation and no lock. Otherwise that of a read from a new
    /// snapshot, and a copy.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`](crate::Kind::NotFound) if there is no such namespace any more; otherwise as for
    /// [`Store::snapshot`] and [`NamespaceView::get`](crate::NamespaceView::get).
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        let key = key.as_ref();
        let is_asked = {
            let guard = cohab_cache::pin();
            match self.probe(&guard, |space, at| space.lend(key, at, &guard)) {
                Some(Lookup::Value(value)) => return Ok(Some(value.clone())),
                Some(Lookup::Absent) => return Ok(None),
                asked => asked.is_some(),
            }
        };
        // No longer pinned: whoever reads from the file may have to wait.
        self.read(
            is_asked,
            |namespace| {
                if is_asked { namespace.fill_bytes(key) } else { namespace.get_bytes(key) }
            },
        )
    }

    /// Reads a key's value and lends it to a function, without copying it or counting references.
    ///
    /// No lock is held meanwhile: the function may read and write what it likes. What goes out of the cache until it
    /// returns is freed only then, so it is not to take long.
    ///
    /// # Errors
    ///
    /// As for [`get`](Self::get).
    #[inline]
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        let key = key.as_ref();
        let is_asked = {
            let guard = cohab_cache::pin();
            match self.probe(&guard, |space, at| space.lend(key, at, &guard)) {
                Some(Lookup::Value(value)) => return Ok(f(Some(value))),
                Some(Lookup::Absent) => return Ok(f(None)),
                asked => asked.is_some(),
            }
        };
        self.read(is_asked, |namespace| {
            let (space, at) = namespace.cached()?;
            namespace.fill(space, at, key, |value| f(value.map(|value| &**value)))
        })
    }

    /// Returns what happened in the namespace's cache so far, and what it holds.
    pub fn stats(&self) -> Stats {
        self.view.load(&cohab_cache::pin()).map(|view| view.space.stats()).unwrap_or_default()
    }

    /// Asks the cache, if what is known of the store's state still holds; otherwise returns `None`.
    #[inline]
    pub(crate) fn probe<T>(&self, guard: &Guard, ask: impl FnOnce(&Space, At) -> T) -> Option<T> {
        let inner = &*self.store.inner;
        let view = self.view.load(guard).filter(|_| inner.process.is_current())?;
        if view.sight.suits(inner, inner.options.freshness) && view.reached() >= inner.seen() {
            return Some(ask(&view.space, view.at));
        }
        self.follow(view).map(|at| ask(&view.space, at))
    }

    /// Reads from the snapshot that is as new as it has to be. If the cache was asked, what the handle knows of the store's
    /// state holds, and is not concluded again.
    #[cold]
    pub(crate) fn read<R>(
        &self,
        is_asked: bool,
        read: impl FnOnce(&NamespaceView<'_>) -> Result<R>,
    ) -> Result<R> {
        let inner = &*self.store.inner;
        let snapshot = if is_asked { inner.snapshot(inner.options.freshness)? } else { self.look()? };
        read(&snapshot.namespace(&*self.name)?)
    }

    /// Goes with what the page says, if neither the namespace nor its name has changed: a commit elsewhere costs a few
    /// loads.
    #[cold]
    fn follow(&self, view: &View) -> Option<At> {
        let inner = &*self.store.inner;
        if inner.options.freshness != Freshness::Latest {
            return None;
        }
        let horizon = view.space.horizon();
        let sight = view.sight.followed(&[(view.id, horizon), (NAMES_CHANGED, view.named)])?;
        // Whatever the namespace's last change was, it is not after the horizon, nor after what is published.
        let at = At { version: sight.version, changed: horizon.min(sight.version) };
        let view = View { id: view.id, space: view.space.clone(), at, named: view.named, sight };
        let is_new_enough = view.reached() >= inner.seen();
        is_new_enough.then(|| {
            self.view.store(view);
            at
        })
    }

    /// Looks into the store.
    fn look(&self) -> Result<Snapshot> {
        let inner = &*self.store.inner;
        let (snapshot, sight) = inner.sighted(inner.options.freshness)?;
        let version = snapshot.version();
        let namespace = snapshot.namespace(&*self.name)?;
        let (space, at) = namespace.cached()?;
        let is_known = |view: &View| {
            view.at.version == version && view.sight.is_same(&sight) && Arc::ptr_eq(&view.space, space)
        };
        if !self.view.load(&cohab_cache::pin()).is_some_and(is_known) {
            let (id, space) = (namespace.id(), space.clone());
            self.view.store(View { id, space, at, named: version, sight });
        }
        Ok(snapshot)
    }
}

impl View {
    /// The version through which this is more than what the page has said. Nothing that this process has shown is to be
    /// after it: a page can say that nothing has changed, and be wrong.
    #[inline]
    fn reached(&self) -> Version {
        self.at.version.min(self.space.horizon())
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = cohab_cache::pin();
        f.debug_struct("Cached")
            .field("name", &self.name)
            .field("version", &self.view.load(&guard).map(|view| view.at.version))
            .finish_non_exhaustive()
    }
}
