//! The commit path: one engine transaction, and the logical transactions that share it.
//!
//! Every change of a store goes through here. A [`Commit`] opens one transaction of the engine; one or more
//! [`Transaction`]s follow each other in it, each with its own version and log record; [`Commit::finish`] writes
//! what they have in common – the namespaces' contents, the store's own row – and trims the log on the side. Then
//! the engine makes all of it durable at once.

use std::collections::HashMap;

use cohab_core::{Epoch, NamespaceId, Timestamp, Version, planted};
use cohab_log::LogExtent;
use cohab_namespace::catalog::{ROOT_KEY, Root, Stored, contents_key, fence_key, name_key, record_key};
use cohab_namespace::{Contents, Record};

use crate::caches::{Caches, Written};
use crate::coordination::NAMES_CHANGED;
use crate::layout::CATALOG;
use crate::locks::Fence;
use crate::replica::check_writable;
use crate::store::Inner;
use crate::{Batch, Error, Kind, Name, Result, Transaction, maintain};

/// How often a commit looks, while the log is kept for somebody's sake, whether it still has to be.
const PINS_LOOK_VERSIONS: u64 = 64;

/// An engine transaction under way.
pub(crate) struct Commit<'c, 'tx> {
    pub(crate) tx: &'c mut cohab_engine::Transaction<'tx>,
    pub(crate) inner: &'c Inner,
    pub(crate) epoch: Epoch,
    /// The version that the store was at.
    since: Version,
    pub(crate) root: Root,
    pub(crate) now: Timestamp,
    names: HashMap<String, NamespaceId>,
    namespaces: HashMap<NamespaceId, Open>,
    /// The highest fencing tokens shown, by the lock's name.
    fences: HashMap<String, u64>,
    /// Set once there is something to commit.
    pub(crate) changed: bool,
    /// Set once some name may stand for another namespace than before.
    pub(crate) renamed: bool,
    /// Set when an operation failed half-way: nothing of this may be committed.
    pub(crate) broken: bool,
}

/// A namespace that the transaction has met.
pub(crate) struct Open {
    pub(crate) record: Record,
    pub(crate) contents: Contents,
    /// What it held before the last version here that changed its data.
    pub(crate) before: Contents,
    /// The last version here that changed its data.
    pub(crate) changed_in: Option<Version>,
    /// How many of that version's changes went without a record.
    pub(crate) unrecorded: u64,
    /// The keys that were written, if somebody in this process reads the namespace through the cache.
    pub(crate) written: Option<Written>,
}

impl Open {
    pub(crate) fn new(record: Record, contents: Contents, caches: &Caches) -> Self {
        let written = caches.knows(record.id).then(|| Written::since(contents.data_version));
        Self { record, contents, before: contents, changed_in: None, unrecorded: 0, written }
    }
}

/// Runs `f` in one engine transaction, commits what it did, and tells every process.
pub(crate) fn run<T>(
    inner: &Inner,
    f: impl for<'c, 'tx> FnOnce(Commit<'c, 'tx>) -> Result<(Commit<'c, 'tx>, T)>,
) -> Result<T> {
    let writing = inner.writing()?;
    writing.check_known()?;
    let watch = inner.commits.wait();
    let committed = writing.engine.write(|tx| {
        let (commit, value) = watch.pause(|| f(Commit::begin(tx, inner, writing.epoch)?))?;
        let news = commit.finish()?;
        // As late as possible: from here to the commit the application runs no more.
        writing.check()?;
        if planted!(AnnouncedEarly)
            && let (Some(news), Some(coordination)) = (&news, &inner.coordination)
        {
            coordination.publish(news.version, writing.epoch, news.since, &news.changed);
        }
        Ok::<_, Error>((news, value))
    });
    drop(watch);
    let (news, value) = committed.inspect_err(|_| {
        if writing.engine.is_poisoned() {
            inner.distrust_latest();
        }
    })?;
    if let Some(News { since, version, changed, written }) = news {
        // Only now is it certain that the commit went to where the next reader looks for it.
        if let Err(error) = writing.check() {
            inner.forget_unacknowledged();
            // Where even that cannot be told, the commit may well be there.
            return Err(writing.check_known().err().unwrap_or_else(|| writing.unknown(error)));
        }
        // Not before: what is dropped is read again, and the cache is not to know what a reader of the file cannot.
        for (id, written) in written {
            inner.caches.committed(id, version, &written);
        }
        inner.note_durable(version);
        inner.note_seen(version);
        if since == version {
            // It shows in the catalogue alone; a thread that is just looking is not to keep what it saw before.
            inner.distrust_latest();
        } else {
            inner.forget_latest();
        }
        if let Some(coordination) = &inner.coordination {
            coordination.publish(version, writing.epoch, since, &changed);
        }
        #[cfg(feature = "scripts")]
        inner.plugins.committed(inner, &changed);
    }
    Ok(value)
}

/// What other processes are told of a commit.
pub(crate) struct News {
    /// The version before.
    since: Version,
    version: Version,
    /// The namespaces whose data changed, and [`NAMES_CHANGED`] if names did.
    changed: Vec<NamespaceId>,
    /// What this process's cache has to forget.
    written: Vec<(NamespaceId, Written)>,
}

/// Commits batches together, each at a version of its own or not at all.
pub(crate) fn run_group(inner: &Inner, batches: &[Batch]) -> Vec<Result<Version>> {
    let mut results: Vec<Option<Result<Version>>> = batches.iter().map(|_| None).collect();
    // One round, unless a batch meets damage after it was admitted.
    loop {
        let mut broken = None;
        let outcome = run(inner, |mut commit| {
            check_writable(&commit.root)?;
            for (index, batch) in batches.iter().enumerate() {
                if matches!(results[index], Some(Err(_))) {
                    continue;
                }
                let mut transaction = Transaction::begin(commit);
                let admitted =
                    batch.admit(&mut transaction).and_then(|()| batch.ask_plugins(&mut transaction));
                let done = admitted.and_then(|()| batch.apply(&mut transaction));
                if transaction.is_broken() {
                    let error = done.err().unwrap_or_else(|| Error::corrupt("a batch could not be applied"));
                    let told = error.duplicate();
                    broken = Some((index, error));
                    return Err(told);
                }
                match done {
                    Ok(()) => {
                        let (next, version) = transaction.finish()?;
                        results[index] = Some(Ok(version));
                        commit = next;
                    }
                    Err(refused) => {
                        results[index] = Some(Err(refused));
                        commit = transaction.abandon();
                        if planted!(VersionRepeated) {
                            commit.root.version = commit.since;
                        }
                    }
                }
            }
            Ok((commit, ()))
        });
        match (outcome, broken) {
            (Ok(()), _) => break,
            // One batch met damage: the others go again without it.
            (Err(_), Some((index, error))) => results[index] = Some(Err(error)),
            (Err(error), None) => {
                for result in &mut results {
                    if !matches!(result, Some(Err(_))) {
                        *result = Some(Err(error.duplicate()));
                    }
                }
                break;
            }
        }
    }
    results.into_iter().map(|result| result.expect("every batch was either committed or refused")).collect()
}

impl<'c, 'tx> Commit<'c, 'tx> {
    fn begin(tx: &'c mut cohab_engine::Transaction<'tx>, inner: &'c Inner, epoch: Epoch) -> Result<Self> {
        let row =
            tx.get(CATALOG, ROOT_KEY)?.ok_or_else(|| Error::corrupt("the store's own row is missing"))?;
        let root = Root::decode(&row)?;
        drop(row);
        let now = inner.options.clock.now();
        let (names, namespaces, fences) = (HashMap::new(), HashMap::new(), HashMap::new());
        let since = root.version;
        Ok(Self {
            tx,
            inner,
            epoch,
            since,
            root,
            now,
            names,
            namespaces,
            fences,
            changed: false,
            renamed: false,
            broken: false,
        })
    }

    /// Finds a live namespace, or `None` if no namespace has this name.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<NamespaceId>> {
        // What is cohab's own is not among those that an application finds, also if it was met before.
        if let Some(&id) = self.names.get(name).filter(|_| !name.starts_with('_')) {
            return Ok(Some(id));
        }
        self.find_any(&Name::new(name)?)
    }

    /// Finds a live namespace, also one that is cohab's own.
    pub(crate) fn find_any(&mut self, name: &Name) -> Result<Option<NamespaceId>> {
        if let Some(&id) = self.names.get(name.as_str()) {
            return Ok(Some(id));
        }
        let Some(row) = self.tx.get(CATALOG, &name_key(name))? else { return Ok(None) };
        let id = NamespaceId::decode(&row)?;
        drop(row);
        self.load(id)?;
        self.names.insert(name.as_str().into(), id);
        Ok(Some(id))
    }

    /// Finds a live namespace that has to be there.
    pub(crate) fn require(&mut self, name: &str) -> Result<NamespaceId> {
        self.find(name)?.ok_or_else(|| no_namespace(name))
    }

    /// Returns a namespace's record, live or dropped, or `None` if it was never there or is gone for good.
    pub(crate) fn find_record(&mut self, id: NamespaceId) -> Result<Option<&Record>> {
        if !self.namespaces.contains_key(&id) && self.tx.get(CATALOG, &record_key(id))?.is_none() {
            return Ok(None);
        }
        Ok(Some(&self.load(id)?.record))
    }

    /// Loads a namespace's records, live or dropped.
    pub(crate) fn load(&mut self, id: NamespaceId) -> Result<&mut Open> {
        if !self.namespaces.contains_key(&id) {
            let lost = || Error::corrupt(format!("the catalogue has no record of namespace #{id}"));
            let record = Record::decode(&self.tx.get(CATALOG, &record_key(id))?.ok_or_else(lost)?)?;
            let contents = Contents::decode(&self.tx.get(CATALOG, &contents_key(id))?.ok_or_else(lost)?)?;
            self.keep(Open::new(record, contents, &self.inner.caches));
        }
        Ok(self.open(id))
    }

    /// Keeps a namespace that was just created.
    pub(crate) fn keep(&mut self, open: Open) {
        self.namespaces.insert(open.record.id, open);
    }

    /// Forgets which name is whose, after names have changed.
    pub(crate) fn forget_names(&mut self) {
        self.renamed = true;
        self.names.clear();
    }

    /// Forgets a namespace that is gone for good.
    pub(crate) fn forget(&mut self, id: NamespaceId) {
        self.namespaces.remove(&id);
        self.forget_names();
    }

    /// Returns a namespace that was met before.
    pub(crate) fn open(&mut self, id: NamespaceId) -> &mut Open {
        self.namespaces.get_mut(&id).expect("ids are handed out by `find`, which keeps what they stand for")
    }

    /// Returns a namespace if it was met and is still there.
    pub(crate) fn opened(&mut self, id: NamespaceId) -> Option<&mut Open> {
        self.namespaces.get_mut(&id)
    }

    /// The engine's transaction and a namespace met before, at the same time.
    pub(crate) fn split(&mut self, id: NamespaceId) -> (&mut cohab_engine::Transaction<'tx>, &mut Open) {
        let open = self.namespaces.get_mut(&id);
        (&mut *self.tx, open.expect("ids are handed out by `find`, which keeps what they stand for"))
    }

    /// Refuses a fencing token if a later one of the same lock was shown to the store before.
    pub(crate) fn fence(&mut self, fence: &Fence) -> Result<()> {
        let highest = match self.fences.get(&fence.lock) {
            Some(highest) => *highest,
            None => match self.tx.get(CATALOG, &fence_key(&fence.lock))? {
                Some(row) => u64::decode(&row)?,
                None => 0,
            },
        };
        if fence.token < highest && !planted!(StaleTokenAdmitted) {
            let Fence { lock, token, .. } = fence;
            let message = format!("lock `{lock}`: token {token} is stale, token {highest} was used since");
            return Err(Error::new(Kind::Fenced, message)
                .hint("acquire the lock again, and read again what it guards"));
        }
        // Those who share a lock do not exclude each other, so their tokens say nothing about one another.
        if !fence.is_shared && fence.token > highest {
            self.fences.insert(fence.lock.clone(), fence.token);
        }
        Ok(())
    }

    /// Writes what the transactions have in common, and returns what to tell others. The engine commits when this has
    /// returned.
    fn finish(mut self) -> Result<Option<News>> {
        if self.broken {
            return Err(Error::new(
                Kind::Aborted,
                "an operation of the transaction failed, so it was not committed",
            ));
        }
        if !self.changed {
            self.tx.discard();
            return Ok(None);
        }
        let mut changed = Vec::new();
        let mut written = Vec::new();
        for (id, open) in &mut self.namespaces {
            if open.changed_in.is_some() {
                changed.push(*id);
                let until = open.contents.data_version;
                written.extend(open.written.take().map(|written| (*id, written.until(until))));
                self.tx.insert(CATALOG, &contents_key(*id), &[&open.contents.encode()])?;
            }
        }
        if self.renamed {
            changed.push(NAMES_CHANGED);
        }
        for (lock, token) in &self.fences {
            self.tx.insert(CATALOG, &fence_key(lock), &[&token.encode()])?;
        }
        let retention = &self.inner.options.retention;
        if extent(&self.root).is_trim_due(retention, self.now) {
            let look = |version: Version| version.get() / PINS_LOOK_VERSIONS;
            let is_look = look(self.since) != look(self.root.version);
            let pins = maintain::Pins { followers: maintain::pinned(self.inner), may_lapse: is_look };
            maintain::trim_step(self.tx, &mut self.root, retention, self.now, pins)?;
        }
        self.root.revision += 1;
        self.tx.insert(CATALOG, ROOT_KEY, &[&self.root.encode()])?;
        Ok(Some(News { since: self.since, version: self.root.version, changed, written }))
    }
}

pub(crate) fn extent(root: &Root) -> LogExtent {
    LogExtent {
        oldest: root.log_oldest,
        oldest_time: root.log_oldest_time,
        newest: root.version,
        bytes: root.log_bytes,
    }
}

pub(crate) fn no_namespace(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no namespace `{name}`"))
        .hint("`cohab ns list` shows which there are, `cohab ns create` makes one")
}
