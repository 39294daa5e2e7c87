//! The snapshot that all threads of a handle share, and how it is kept up with the writer.
//!
//! A snapshot of the engine costs system calls, and readers that take one after the other can starve the writer. So
//! a handle takes one only when the coordination page says that there was a commit, and shares it. What the engine
//! shows may not be durable yet: redb lets other processes see a commit before its last sync. Nobody here acts on a
//! version that a power cut could take back; see [`Inner::await_durable`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use cohab_coord::{Mark, Page, Publication};
use cohab_core::limits::{DEFERRAL_MAX, LOOK_SPACING, PAGE_TRUST, PAGELESS_POLL, PUBLICATION_WAIT};
use cohab_core::{NamespaceId, Timestamp, Token, Version, planted};
use cohab_engine::Engine;

use crate::coordination::Coordination;
use crate::store::Inner;
use crate::uptime::uptime_ms;
use crate::writing::Writing;
use crate::{Error, Kind, Result, Snapshot};

/// How new a snapshot has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Freshness {
    /// As new as the last commit that was published when it was asked for.
    #[default]
    Latest,
    /// Older than the last commit by no more than this. Spares even the look at the coordination page.
    MaxAge(Duration),
    /// At or after a version that another process handed over; waits for it.
    AtLeast {
        /// What the other process handed over.
        token: Token,
        /// How long to wait, after which the read fails with [`Kind::TimedOut`].
        wait: Duration,
    },
    /// The snapshot that the handle has, whatever its age; [`Store::refresh`](crate::Store::refresh) takes a new one.
    Pinned,
}

/// The shared snapshot.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    shown: ArcSwapOption<Shown>,
    /// Held by the one thread that looks for a newer one.
    looking: Mutex<Looking>,
    /// Set when the snapshot is used, and cleared by who wonders whether it still is.
    is_used: AtomicBool,
    /// The last version that was shown, which no later one may fall behind.
    seen: AtomicU64,
    /// How often what snapshots are taken from has changed.
    source: AtomicU64,
}

/// What is known from earlier looks.
#[derive(Debug, Default)]
struct Looking {
    last: Option<Instant>,
    /// A version that was seen and not shown, because nobody had published it, and since when.
    deferred: Option<(Version, Instant)>,
}

impl Looking {
    /// Whether a version may still be left to its writer to publish.
    fn may_defer(&mut self, version: Version) -> bool {
        match self.deferred {
            Some((deferred, since)) if deferred == version => since.elapsed() < DEFERRAL_MAX,
            _ => {
                self.deferred = Some((version, Instant::now()));
                true
            }
        }
    }
}

impl Latest {
    /// Takes the shared snapshot away.
    pub(crate) fn take(&self) -> impl Sized {
        self.shown.swap(None)
    }
}

#[derive(Debug)]
struct Shown {
    snapshot: Snapshot,
    sight: Sight,
}

impl Shown {
    #[inline]
    fn suits(&self, inner: &Inner, freshness: Freshness) -> bool {
        if self.snapshot.is_expired() {
            return freshness == Freshness::Pinned;
        }
        self.sight.suits(inner, freshness)
    }
}

/// A version, and why it is believed to be the latest.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub(crate) version: Version,
    pub(crate) basis: Basis,
    /// When the store was last looked at, in milliseconds of uptime.
    looked: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Basis {
    /// The file never changes.
    Fixed,
    /// All commits come from this handle, as long as it has the role of this number.
    Own(u64),
    /// The page said nothing new since.
    Page(Arc<Page>, Mark),
    /// It was, a moment ago.
    Hope,
}

impl Sight {
    /// Returns whether it says nothing that the other does not.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same_basis = match (&self.basis, &other.basis) {
            (Basis::Page(a, mark), Basis::Page(b, other)) => Arc::ptr_eq(a, b) && mark == other,
            (Basis::Own(a), Basis::Own(b)) => a == b,
            (Basis::Fixed, Basis::Fixed) | (Basis::Hope, Basis::Hope) => true,
            _ => false,
        };
        is_same_basis && (self.version, self.looked) == (other.version, other.looked)
    }

    #[inline]
    fn is_younger(&self, bound: Duration) -> bool {
        u128::from(uptime_ms().saturating_sub(self.looked)) < bound.as_millis()
    }

    #[inline]
    fn is_latest(&self, inner: &Inner) -> bool {
        match &self.basis {
            Basis::Page(page, mark) => page.mark() == *mark && self.is_younger(PAGE_TRUST),
            Basis::Own(source) => {
                inner.durable() <= self.version && inner.latest.source.load(Ordering::Acquire) == *source
            }
            Basis::Fixed => true,
            Basis::Hope => self.is_younger(PAGELESS_POLL),
        }
    }

    /// Returns whether a read may rely on it.
    #[inline]
    pub(crate) fn suits(&self, inner: &Inner, freshness: Freshness) -> bool {
        match freshness {
            Freshness::Latest => self.is_latest(inner),
            Freshness::MaxAge(age) => {
                self.is_younger(age.saturating_add(Duration::from_millis(1))) || self.is_latest(inner)
            }
            Freshness::AtLeast { token, .. } => self.version >= token.version,
            Freshness::Pinned => true,
        }
    }

    /// Returns what the page says now, as long as it is to be believed: what was published, and whether none of these
    /// namespaces has changed since the versions beside them.
    pub(crate) fn followed(&self, unchanged: &[(NamespaceId, Version)]) -> Option<Self> {
        let Basis::Page(page, _) = &self.basis else { return None };
        if !self.is_younger(PAGE_TRUST) {
            return None;
        }
        // In this order: what is published after the mark moves it, and what had changed by then shows.
        let mark = page.mark();
        fence(Ordering::Acquire);
        let version = page.published()?.version;
        fence(Ordering::Acquire);
        let is_unchanged = |(id, since): &(NamespaceId, Version)| page.changed(*id) <= *since;
        (version >= self.version && unchanged.iter().all(is_unchanged)).then(|| Self {
            version,
            basis: Basis::Page(page.clone(), mark),
            looked: self.looked,
        })
    }
}

/// From where a new version can be seen.
pub(crate) enum Vantage {
    /// It may be there.
    There,
    /// The page's mark will move.
    Page(Arc<Page>, Mark),
    /// By looking, now and then.
    Nowhere,
}

impl Vantage {
    /// Waits for the version, or for something else to happen, for half a second at the most.
    pub(crate) fn wait(&self, wait: Duration) {
        match self {
            Self::There => {}
            Self::Page(page, mark) => page.wait(*mark, wait.min(PAGE_TRUST)),
            Self::Nowhere => std::thread::sleep(wait.min(PAGELESS_POLL)),
        }
    }
}

impl Inner {
    /// Returns a snapshot that is as new as asked for. Cost, if nothing was committed since the last: a load from
    /// shared memory, a look at the clock, a reference count.
    #[inline]
    pub(crate) fn snapshot(&self, freshness: Freshness) -> Result<Snapshot> {
        self.check_process()?;
        if let Freshness::AtLeast { token, .. } = freshness {
            self.check_token(token)?;
        }
        if let Some(shown) = &*self.latest.shown.load()
            && shown.suits(self, freshness)
        {
            if !self.latest.is_used.load(Ordering::Relaxed) {
                self.latest.is_used.store(true, Ordering::Relaxed);
            }
            return Ok(shown.snapshot.clone());
        }
        // With nothing borrowed any more: whoever waits for a version is not to pin an old one.
        self.newer(freshness)
    }

    #[cold]
    fn newer(&self, freshness: Freshness) -> Result<Snapshot> {
        let Freshness::AtLeast { token, wait } = freshness else { return self.look(freshness) };
        let deadline = Instant::now().checked_add(wait);
        // Into the store at first, whatever the page says: who has a token has heard more than the page may know.
        let mut snapshot = self.look(freshness)?;
        while snapshot.version() < token.version {
            let left = deadline.map_or(wait, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                let (found, asked) = (snapshot.version(), token.version);
                let message =
                    format!("version {asked} was not reached within {wait:?}; the store is at {found}");
                return Err(Error::new(Kind::TimedOut, message));
            }
            // Whoever waits is not to pin a snapshot that others let go of.
            drop(snapshot);
            self.wait_for_commit(token.version, left);
            snapshot = self.look(Freshness::Latest)?;
        }
        Ok(snapshot)
    }

    /// Waits until there may be a snapshot of a version or a later one, for a second at the most.
    pub(crate) fn wait_for_commit(&self, version: Version, wait: Duration) {
        // Nothing is borrowed while it waits: whoever does is not to pin a snapshot that others let go of.
        self.vantage(version).wait(wait);
    }

    /// Returns from where to wait for a version.
    pub(crate) fn vantage(&self, version: Version) -> Vantage {
        let shown = self.latest.shown.load();
        // Where there is no snapshot, somebody has committed and let go of it.
        let Some(shown) = shown.as_ref().filter(|shown| shown.snapshot.version() < version) else {
            return Vantage::There;
        };
        match &shown.sight.basis {
            Basis::Page(page, mark) => Vantage::Page(page.clone(), *mark),
            Basis::Own(_) => match self.coordination.as_ref().and_then(Coordination::page) {
                Some(page) => {
                    let mark = page.mark();
                    fence(Ordering::Acquire);
                    // After the mark was read: what is committed from here on moves it.
                    if shown.sight.is_latest(self) { Vantage::Page(page, mark) } else { Vantage::There }
                }
                None => Vantage::Nowhere,
            },
            Basis::Fixed | Basis::Hope => Vantage::Nowhere,
        }
    }

    /// Looks into the store for what is new.
    fn look(&self, freshness: Freshness) -> Result<Snapshot> {
        let mut looking = self.latest.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.latest.shown.load_full();
        // Another thread may have looked while this one waited.
        if let Some(shown) = before.as_ref().filter(|shown| shown.suits(self, freshness)) {
            return Ok(shown.snapshot.clone());
        }
        let before = before.as_ref().map(|shown| &shown.snapshot).filter(|snapshot| !snapshot.is_expired());
        let looked = uptime_ms();
        // Before the role: with another one, what is said of this one holds no more.
        let source = self.latest.source.load(Ordering::Acquire);
        let (snapshot, basis) = if let Some(writing) = self.writing.load_full() {
            (self.own(&writing)?, Basis::Own(source))
        } else {
            // A reader's look takes a lock that the writer needs for every commit.
            if let Some(pause) = looking.last.and_then(|last| LOOK_SPACING.checked_sub(last.elapsed())) {
                std::thread::sleep(pause);
            }
            looking.last = Some(Instant::now());
            let engine = self.reading.load_full().ok_or(cohab_engine::Error::Closed)?;
            self.others(&engine, before, freshness, &mut looking)?
        };
        self.note_seen(snapshot.version());
        self.latest.is_used.store(true, Ordering::Relaxed);
        let sight = Sight { version: snapshot.version(), basis, looked };
        self.latest.shown.store(Some(Arc::new(Shown { snapshot: snapshot.clone(), sight })));
        Ok(snapshot)
    }

    /// Returns a snapshot that is as new as asked for, with what makes it so.
    pub(crate) fn sighted(&self, freshness: Freshness) -> Result<(Snapshot, Sight)> {
        let snapshot = self.snapshot(freshness)?;
        let shown = self.latest.shown.load();
        Ok(match &*shown {
            Some(shown) if shown.snapshot.version() >= snapshot.version() => {
                (shown.snapshot.clone(), shown.sight.clone())
            }
            // Somebody has let go of it already. It is no worse for that, and looked at again the next time.
            _ => {
                let sight = Sight { version: snapshot.version(), basis: Basis::Hope, looked: 0 };
                (snapshot, sight)
            }
        })
    }

    /// Takes a snapshot as the writer.
    fn own(&self, writing: &Writing) -> Result<Snapshot> {
        // Before the snapshot: a commit that is made meanwhile may be seen, and not be in it.
        let seen = self.seen();
        let snapshot = Snapshot::open(writing.engine.snapshot()?, self)?;
        if snapshot.store() != self.id || snapshot.version() < seen {
            return Err(replaced(&self.path));
        }
        // What was never acknowledged: a power cut could still take it back, or nobody else will ever see it.
        if snapshot.version() > self.durable() {
            writing.check_known()?;
            if writing.engine.is_poisoned() {
                return Err(Error::from(cohab_engine::Error::Poisoned));
            }
        }
        Ok(snapshot)
    }

    /// Takes a snapshot beside a writer in another process.
    fn others(
        &self,
        engine: &Engine,
        before: Option<&Snapshot>,
        freshness: Freshness,
        looking: &mut Looking,
    ) -> Result<(Snapshot, Basis)> {
        let Some(coordination) = &self.coordination else {
            return Ok((Snapshot::open(engine.snapshot()?, self)?, Basis::Fixed));
        };
        if !engine.is_in_place()? {
            return Err(replaced(&self.path));
        }
        let page = coordination.page();
        // Before the look: what is published after it shows as a mark that has moved.
        let mark = page.as_ref().map(|page| page.mark());
        let published = page.as_ref().and_then(|page| page.published());
        let waiting = self.looks.wait();
        let reopened = engine.reopened();
        // Where a read has failed, the file is opened anew.
        let snapshot = Snapshot::open(self.recovering(|| engine.snapshot())?, self)?;
        drop(waiting);
        // What was read through a handle that is gone cannot be read on.
        let before = before.filter(|_| engine.reopened() == reopened);
        self.ages.set_max(coordination.snapshot_age_max());
        let version = snapshot.version();
        // Read before the look, so a true one is not larger than what was found. One that is says what was true of
        // another store, as after this one was put back from a copy; nothing is believed of such a page.
        let is_true = published.is_some_and(|published| published.version <= version);
        let (page, published) = if is_true { (page, published) } else { (None, None) };
        let basis = match (page.clone(), mark) {
            (Some(page), Some(mark)) => Basis::Page(page, mark),
            _ => Basis::Hope,
        };
        if let Some(published) = published {
            self.note_durable(published.version);
        }
        let seen = self.seen();
        if version < seen {
            let message = format!("the store was at version {seen} and is at {version} now");
            return Err(
                Error::new(Kind::StoreReplaced, message).hint("open it again, if this is what it should be")
            );
        }
        snapshot.check_lineage(self)?;
        if let Some(before) = before {
            // Of two that show the same, the one that is shared already pins no more.
            if snapshot.state().root.revision == before.state().root.revision {
                return Ok((before.clone(), basis));
            }
            // Nothing newer was published, so nobody has been told of what is on its way; unless somebody was, or its
            // publication was lost.
            let is_news = published.is_none_or(|published| published.version > before.version());
            let is_asked_for =
                matches!(freshness, Freshness::AtLeast { token, .. } if token.version <= version);
            let is_durable = version <= self.durable();
            if !is_news
                && !is_asked_for
                && !is_durable
                && self.is_writer_alive()
                && looking.may_defer(version)
            {
                return Ok((before.clone(), basis));
            }
        }
        self.await_durable(engine, &snapshot, page.as_deref())?;
        Ok((snapshot, basis))
    }

    /// Waits until a version that is visible is durable, too.
    ///
    /// Its writer publishes it as soon as it is. If the writer is gone, or takes long, or there is no page to publish
    /// on, the file is synced here: that makes it just as durable.
    fn await_durable(&self, engine: &Engine, snapshot: &Snapshot, page: Option<&Page>) -> Result<()> {
        if planted!(UndurableShown) {
            return Ok(());
        }
        let version = snapshot.version();
        let begin = Instant::now();
        while let Some(page) = page
            && self.durable() < version
            && begin.elapsed() < PUBLICATION_WAIT
        {
            let mark = page.mark();
            match page.published() {
                Some(published) if published.version >= version => self.note_durable(version),
                // A writer that is alive needs a few milliseconds for its sync, on a slow disk.
                Some(_) if begin.elapsed() < Duration::from_millis(5) || self.is_writer_alive() => {
                    page.wait(mark, Duration::from_millis(5));
                }
                _ => break,
            }
        }
        if self.durable() < version {
            engine.sync()?;
            self.note_durable(version);
            if let Some(page) = page {
                page.raise(Publication { version, epoch: snapshot.epoch() });
            }
        }
        Ok(())
    }

    fn check_token(&self, token: Token) -> Result<()> {
        if token.store == self.id {
            return Ok(());
        }
        let message = format!("the token {token} is of another store; this is store {}", self.id);
        Err(Error::invalid(message))
    }

    /// Notes a version that this process knows of, so that none of its reads falls behind it.
    pub(crate) fn note_seen(&self, version: Version) {
        self.latest.seen.fetch_max(version.get(), Ordering::Relaxed);
    }

    /// Lets go of the shared snapshot, and of whatever was concluded from its being the latest.
    pub(crate) fn distrust_latest(&self) {
        self.latest.source.fetch_add(1, Ordering::AcqRel);
        self.forget_latest();
    }

    /// Lets go of the shared snapshot.
    pub(crate) fn forget_latest(&self) {
        self.latest.shown.store(None);
    }

    /// Lets go of the shared snapshot if it shows a commit that was not acknowledged, and never will be.
    pub(crate) fn forget_unacknowledged(&self) {
        let shown = self.latest.shown.load_full();
        if shown.is_some_and(|shown| shown.snapshot.version() > self.durable()) {
            self.forget_latest();
        }
    }

    /// Lets go of the shared snapshot if it is old and nobody has used it since the last call: it pins pages.
    pub(crate) fn forget_idle_latest(&self) {
        let is_used = self.latest.is_used.swap(false, Ordering::Relaxed);
        if is_used || self.options.freshness == Freshness::Pinned {
            return;
        }
        let shown = self.latest.shown.load_full();
        if shown.is_some_and(|shown| shown.snapshot.is_expired() || !shown.sight.is_latest(self)) {
            self.forget_latest();
        }
    }

    /// Returns the version of the oldest snapshot that somebody uses, and when it was opened. One that is only kept for
    /// the next to ask does not count: it goes when there is a newer one.
    pub(crate) fn oldest_snapshot(&self) -> Option<(Version, Timestamp)> {
        let shown = self.latest.shown.load();
        self.ages.oldest_but(shown.as_ref().and_then(|shown| shown.snapshot.age_if_alone()))
    }

    /// Returns the last version that this handle has shown.
    pub(crate) fn seen(&self) -> Version {
        Version::new(self.latest.seen.load(Ordering::Relaxed))
    }

    /// Changes what snapshots are taken from, while nobody takes one, and lets go of the shared one.
    pub(crate) fn change_source<T>(&self, change: impl FnOnce() -> T) -> T {
        let _alone = self.latest.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // Before as well: while it changes, somebody else may become the writer and commit.
        self.distrust_latest();
        let changed = change();
        self.distrust_latest();
        changed
    }
}

pub(crate) fn replaced(path: &std::path::Path) -> Error {
    let message =
        format!("{}: store.redb is not the file that was opened; something replaced it", path.display());
    Error::new(Kind::StoreReplaced, message)
        .hint("close the store and open it again, if it should be the new one")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{Role, Store};

    /// A stand-by's reader had taken a snapshot when the writer made another commit and ended. The stand-by took over, and noted
    /// the newer version as shown. Then the reader went on: what it had was older, which only a store can be that was put
    /// back from a copy, so that its read failed as `StoreReplaced`. What is shown is now compared by one at a time.
    #[test]
    fn a_reader_that_is_overtaken_by_a_take_over_is_not_told_that_the_store_was_replaced() -> Result<()> {
        let dir = tempfile::tempdir().expect("can be made");
        let path = dir.path().join("store");
        let writer = Store::open(&path)?;
        writer.write(|tx| tx.create_namespace("n"))?;
        let standby = Store::options().role(Role::Standby).open(&path)?;
        assert_eq!(standby.refresh()?.version(), Version::new(1));

        // As `look` does, but that the world goes on between its steps.
        let inner = &*standby.inner;
        let looking = inner.latest.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = inner.reading.load_full().expect("a stand-by reads");
        let taken = Snapshot::open(engine.snapshot()?, inner)?;
        writer.write(|tx| tx.put("n", "key", "value"))?;
        drop(writer);
        thread::scope(|scope| {
            let promoted = scope.spawn(|| standby.promote(Duration::from_secs(10)));
            // It has come as far as it can.
            while !inner.is_writer_alive() {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(200));
            taken.check_lineage(inner)?;
            drop(looking);
            promoted.join().expect("does not panic")
        })?;
        assert_eq!(standby.refresh()?.version(), Version::new(2));
        Ok(())
    }
}
