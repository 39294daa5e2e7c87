//! Views that follow: a value of the application's own that is folded from what namespaces hold, and kept up with it.
//!
//! There are two copies of the value. One is shown, and nobody changes it; the other is the spare. To bring the view
//! forward, the spare is given the changes that it has missed and those that are new, and takes the place of the one
//! that is shown, which becomes the spare. So readers take no lock and wait for nobody, a refresh costs what was changed
//! and not what there is, and what a fold leaves half-done is never seen (left-right: Ramalhete and Correia, "Left-Right: A
//! Concurrency Control Technique with Wait-Free Population Oblivious Reads", 2015).
//!
//! Theirs has the writer wait for the readers to leave the copy that it is to change. Here a reader may keep what it has
//! for as long as it likes: where somebody still has the spare when it is needed, it is left to them, and what is shown
//! is cloned instead.
//!
//! The spare is brought forward by the changes that were folded into the other copy the last time, kept in memory until
//! then, rather than by reading the log again: so it never falls behind the log, and each record is read once.

mod changes;

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use cohab_core::{NamespaceId, Version};
use cohab_log::Net;

use self::changes::{Position, changes, changes_of};
use crate::{Error, Freshness, Kind, Name, Result, Snapshot, Store};

/// A value of the application's own – an index, a decoded configuration, a sum – folded from what namespaces hold, and
/// brought forward by what was changed. [`Store::materialize`] makes one; clones share it.
///
/// Takes the memory of two values, and of what the last refresh changed.
#[must_use = "it is kept up only while it is there"]
pub struct Materialized<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    store: Store,
    names: Vec<Name>,
    start: T,
    fold: Box<Fold<T>>,
    shown: ArcSwap<Shown<T>>,
    /// Held by the one thread that brings the view forward.
    spare: Mutex<Option<Spare<T>>>,
}

type Fold<T> = dyn Fn(&mut T, &FoldChange<'_>) -> Result<()> + Send + Sync;

struct Shown<T> {
    value: Arc<T>,
    position: Position,
}

/// The copy that is not shown.
struct Spare<T> {
    value: Arc<T>,
    /// What leads from it to the one that is.
    behind: Net,
}

/// A key that is there, or has changed, and is to be folded in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FoldChange<'a> {
    /// Whose key.
    pub namespace: NamespaceId,
    /// What that is called, as it was asked for.
    pub name: &'a Name,
    /// The key.
    pub key: &'a [u8],
    /// The value that was folded in before; nothing if the key was absent.
    pub before: Option<&'a [u8]>,
    /// The value now; nothing if the key was removed.
    pub after: Option<&'a [u8]>,
}

/// What a [`Materialized`] showed when it was asked: a reference count of the value, to be kept as long as needed.
pub struct View<T> {
    value: Arc<T>,
    version: Version,
}

/// What a refresh did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refreshed {
    /// Nothing: no other key or value is there than was before.
    Current,
    /// The changes were folded in.
    Folded {
        /// How many keys had changed.
        changes: u64,
    },
    /// The value was folded from scratch.
    Rebuilt {
        /// Why.
        because: Rebuild,
    },
}

/// Why a view could not be brought forward by what was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Rebuild {
    /// Some of the changes were trimmed from the log. A longer [`Retention`](crate::Retention) keeps more.
    Trimmed,
    /// Some were made while a namespace's history was off.
    Unrecorded,
    /// One of the names stands for another namespace than before.
    Replaced,
    /// What was shown was of another history, as when the store was put back from a copy.
    AnotherHistory,
    /// So much was changed that to begin anew costs less.
    TooMuch,
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trimmed => "changes were trimmed from the log",
            Self::Unrecorded => "changes were made with a namespace's history off",
            Self::Replaced => "a name stands for another namespace",
            Self::AnotherHistory => "the store has another history",
            Self::TooMuch => "too much was changed",
        })
    }
}

impl Store {
    /// Folds what namespaces hold into a value, and keeps that up with them, in any process, beside any writer.
    ///
    /// It begins with `start` and one call of `fold` for each entry, which says that the key was absent before. From then
    /// on [`refresh`](Materialized::refresh) and [`latest`](Materialized::latest) fold in the net effect of what was
    /// committed: each key at most once, in the order of the namespaces given here and of the keys, and none that
    /// has its old value again.
    ///
    /// **What a fold has to obey**: the value may depend on the entries that are there, and on nothing else – not on how
    /// they came about, nor on when or how often the fold was called. Whatever it puts into the value for a key's value
    /// `after`, it takes out again when that comes as `before`. [`check`](Materialized::check) tells whether it does.
    ///
    /// ```
    /// use std::collections::{BTreeMap, BTreeSet};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = cohab::Store::open(dir.path().join("store"))?;
    /// store.write(|tx| {
    ///     tx.create_namespace("cities")?;
    ///     tx.put("cities", "Lyon", "France")?;
    ///     tx.put("cities", "Paris", "France")
    /// })?;
    ///
    /// // Which cities a country has.
    /// type Index = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;
    /// let index = store.materialize(["cities"], Index::new(), |index, change| {
    ///     if let Some(country) = change.before && let Some(cities) = index.get_mut(country) {
    ///         cities.remove(change.key);
    ///         if cities.is_empty() {
    ///             index.remove(country);
    ///         }
    ///     }
    ///     if let Some(country) = change.after {
    ///         index.entry(country.to_vec()).or_default().insert(change.key.to_vec());
    ///     }
    ///     Ok(())
    /// })?;
    /// let view = index.load();
    /// assert_eq!(view[&b"France"[..]].len(), 2);
    ///
    /// store.write(|tx| tx.put("cities", "Turin", "Italy"))?;
    /// assert!(index.latest()?[&b"Italy"[..]].contains(&b"Turin"[..]));
    /// assert!(!view.contains_key(&b"Italy"[..]), "whoever has a view keeps it");
    /// assert!(index.check()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Cost: every entry of the namespaces is read and folded, and the value cloned.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such namespace; what the fold returned, [`Error::abort`] for reasons of its own;
    /// otherwise as for [`snapshot`](Self::snapshot) and [`NamespaceView::all`](crate::NamespaceView::all).
    pub fn materialize<T: Clone + Send + Sync + 'static>(
        &self,
        namespaces: impl IntoIterator<Item = impl AsRef<str>>,
        start: T,
        fold: impl Fn(&mut T, &FoldChange<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Materialized<T>> {
        let mut names = Vec::new();
        for name in namespaces {
            let name = Name::new(name.as_ref())?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let snapshot = self.snapshot()?;
        let position = Position::of(&snapshot, &names)?;
        let value = Arc::new(build(&snapshot, &names, &start, &fold)?);
        let spare = Mutex::new(Some(Spare::of(&*value)));
        let shown = ArcSwap::from_pointee(Shown { value, position });
        let (store, fold) = (self.clone(), Box::new(fold));
        Ok(Materialized { shared: Arc::new(Shared { store, names, start, fold, shown, spare }) })
    }
}

impl<T: Clone + Send + Sync + 'static> Materialized<T> {
    /// Returns what it shows. Cost: two reference counts, whatever goes on beside; no lock, no look at the store.
    pub fn load(&self) -> View<T> {
        let shown = self.shared.shown.load();
        View { value: shown.value.clone(), version: shown.position.version }
    }

    /// Returns the value for the store as it is now, or as fresh as [`Options::freshness`](crate::Options::freshness)
    /// asks for, having brought it forward if there is something new.
    ///
    /// Cost: if nothing was committed, that of [`load`](Self::load) and of [`Store::snapshot`], which makes no system call
    /// then; otherwise that of [`refresh`](Self::refresh).
    ///
    /// # Errors
    ///
    /// As for [`refresh`](Self::refresh).
    pub fn latest(&self) -> Result<View<T>> {
        self.shared.follow(self.shared.store.inner.options.freshness)?;
        Ok(self.load())
    }

    /// Brings the value up to the store's latest version, and returns what that took.
    ///
    /// One thread does it; others that ask meanwhile wait, and find it done. Readers are not held up, and versions never go
    /// back.
    ///
    /// Cost: reading the log's records since the last time, if one of the namespaces has changed, and two calls of the fold
    /// for each key that has, one now and one the next time. If somebody still has the view before the present one, the
    /// value is cloned. A rebuild costs what [`Store::materialize`] does.
    ///
    /// # Errors
    ///
    /// As for [`Store::materialize`], and [`Kind::Reentrant`] if the fold itself asks. What is shown stays then, and the
    /// next call tries anew; so it does if the fold panics, which goes on to whoever asked.
    pub fn refresh(&self) -> Result<Refreshed> {
        self.shared.follow(Freshness::Latest)
    }

    /// Refreshes, folds everything from scratch beside that, and returns whether the values are equal: a test of the
    /// fold. Cost: as for [`Store::materialize`].
    ///
    /// # Errors
    ///
    /// As for [`refresh`](Self::refresh).
    pub fn check(&self) -> Result<bool>
    where
        T: PartialEq,
    {
        let shared = &*self.shared;
        let mut turn = shared.turn()?;
        let snapshot = shared.store.refresh()?;
        shared.bring(&mut turn, &snapshot)?;
        let scratch = build(&snapshot, &shared.names, &shared.start, &*shared.fold)?;
        Ok(*shared.shown.load().value == scratch)
    }
}

impl<T: Clone> Shared<T> {
    fn follow(&self, freshness: Freshness) -> Result<Refreshed> {
        if self.shows(&self.store.snapshot_at(freshness)?) {
            return Ok(Refreshed::Current);
        }
        let mut turn = self.turn()?;
        // Another one: whoever waits is not to pin an old one, and may find it done.
        let snapshot = self.store.snapshot_at(freshness)?;
        self.bring(&mut turn, &snapshot)
    }

    /// Returns whether what is shown is as new as a snapshot.
    fn shows(&self, snapshot: &Snapshot) -> bool {
        let shown = self.shown.load();
        let shown = &shown.position;
        snapshot.version() < shown.version
            || (snapshot.version() == shown.version && snapshot.state().root.chain == shown.chain)
    }

    fn turn(&self) -> Result<Turn<'_, T>> {
        if IS_FOLDING.get() {
            let message = "a fold asks for a view to be brought forward";
            return Err(Error::new(Kind::Reentrant, message).hint("`load` shows what there is so far"));
        }
        // What a fold that panics leaves behind is not in here.
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        IS_FOLDING.set(true);
        Ok(Turn { spare })
    }

    fn bring(&self, turn: &mut Turn<'_, T>, snapshot: &Snapshot) -> Result<Refreshed> {
        if self.shows(snapshot) {
            return Ok(Refreshed::Current);
        }
        let shown = self.shown.load_full();
        let position = Position::of(snapshot, &self.names)?;
        let net = match changes(snapshot, &shown.position, &position)? {
            Ok(net) => net,
            Err(because) => {
                let value = Arc::new(build(snapshot, &self.names, &self.start, &*self.fold)?);
                let spare = Spare::of(&*value);
                self.shown.store(Arc::new(Shown { value, position }));
                *turn.spare = Some(spare);
                return Ok(Refreshed::Rebuilt { because });
            }
        };
        if position.ids().all(|id| changes_of(&net, id).next().is_none()) {
            self.shown.store(Arc::new(Shown { value: shown.value.clone(), position }));
            return Ok(Refreshed::Current);
        }
        let mut value = self.copy(turn, &shown)?;
        let changes = self.apply(unshared(&mut value), &net, &position)?;
        self.shown.store(Arc::new(Shown { value, position }));
        *turn.spare = Some(Spare { value: shown.value.clone(), behind: net });
        Ok(Refreshed::Folded { changes })
    }

    /// Returns a copy of what is shown. The spare is taken out: whatever happens to it now, nobody sees it again.
    fn copy(&self, turn: &mut Turn<'_, T>, shown: &Shown<T>) -> Result<Arc<T>> {
        if let Some(Spare { value: mut spare, behind }) = turn.spare.take()
            && let Some(value) = Arc::get_mut(&mut spare)
        {
            self.apply(value, &behind, &shown.position)?;
            return Ok(spare);
        }
        Ok(Arc::new(T::clone(&shown.value)))
    }

    /// Folds changes in, and returns how many there were.
    fn apply(&self, value: &mut T, net: &Net, position: &Position) -> Result<u64> {
        let mut count = 0;
        for (name, namespace) in self.names.iter().zip(position.ids()) {
            for (key, change) in changes_of(net, namespace) {
                let before = change.before.as_ref().map(|image| &*image.value);
                let after = change.after.as_ref().map(|image| &*image.value);
                (self.fold)(value, &FoldChange { namespace, name, key, before, after })?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Folds everything that there is.
fn build<T: Clone>(snapshot: &Snapshot, names: &[Name], start: &T, fold: &Fold<T>) -> Result<T> {
    let mut value = start.clone();
    for name in names {
        let view = snapshot.namespace(name)?;
        let (namespace, mut entries) = (view.id(), view.all()?);
        while let Some(entry) = entries.step()? {
            let (key, before, after) = (entry.key(), None, Some(entry.value()));
            fold(&mut value, &FoldChange { namespace, name, key, before, after })?;
        }
    }
    Ok(value)
}

fn unshared<T>(value: &mut Arc<T>) -> &mut T {
    Arc::get_mut(value).expect("nobody else has been given the copy")
}

impl<T: Clone> Spare<T> {
    /// Copies what will be shown, so that the first refresh does not have to.
    fn of(value: &T) -> Self {
        Self { value: Arc::new(value.clone()), behind: changes::nothing() }
    }
}

thread_local! {
    /// Whether this thread brings some view forward: a fold that asked for another one might wait for itself in the end.
    static IS_FOLDING: Cell<bool> = const { Cell::new(false) };
}

/// The right to bring a view forward.
struct Turn<'s, T> {
    spare: MutexGuard<'s, Option<Spare<T>>>,
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        IS_FOLDING.set(false);
    }
}

impl<T> View<T> {
    /// Returns the version of the store that the value is for.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl<T> Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), version: self.version }
    }
}

impl<T: fmt::Debug> fmt::Debug for View<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("version", &self.version).field("value", &self.value).finish()
    }
}

impl<T> Clone for Materialized<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> fmt::Debug for Materialized<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Materialized")
            .field("namespaces", &self.shared.names)
            .field("version", &self.shared.shown.load().position.version)
            .finish_non_exhaustive()
    }
}
