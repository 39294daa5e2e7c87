//! Applying deltas: the pieces of one, carried out in a transaction like any other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cohab_core::{NamespaceId, Token, Version, planted};
use cohab_log::{DeltaHeader, DeltaKind, Piece, Position};
use cohab_namespace::catalog::{RECORDS, Stored, Upstream, parse_record_key};
use cohab_namespace::{Contents, Dropped, Record};

use crate::commit::{self, Commit};
use crate::layout::CATALOG;
use crate::replica::{Lead, Whole, admit, is_whole_store, rewritten};
use crate::snapshot::catalog_range;
use crate::view::Direction;
use crate::{Delta, Error, Kind, Result, Store, Transaction};

/// What a delta did to a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// The replica's own version from here on.
    pub version: Version,
    /// The version of its source that it holds.
    pub upstream: Token,
    /// How many keys were put or removed.
    pub changes: u64,
}

impl Store {
    /// Applies a delta: leads this replica, atomically and durably, to a later version of its source.
    ///
    /// A replica is a store that a delta of a whole store was applied to while it was empty, one that was restored from a
    /// backup and not written to since, or one that a [`Follower`](crate::Follower) made. From then on it takes no other
    /// writes until it is [promoted](Self::promote_replica).
    ///
    /// Blocks for its turn as a writer; memory is that of a transaction and one block of the delta.
    ///
    /// # Errors
    ///
    /// Nothing has changed then. [`Kind::AlreadyApplied`] for a version that it has reached; [`Kind::Gap`] for a delta that
    /// begins elsewhere; [`Kind::Foreign`] for one of another store; [`Kind::Diverged`] if somebody wrote to the replica,
    /// the source's history was rewritten, or a namespace is not what it was or should become; [`Kind::Corrupt`] if the
    /// delta breaks its own rules; and those of [`write`](Self::write).
    pub fn apply(&self, delta: &Delta) -> Result<Applied> {
        self.apply_pieces(delta.header(), Whole::IfEmpty, |visit| delta.visit(visit))
    }

    /// Makes this replica what a delta of the whole store says, whatever it held. Only what is different is written.
    ///
    /// For a replica to which the log does not reach back any more. Whether its source still has the history that it knows
    /// cannot be told from such a delta: what the replica held and the source does not is gone.
    ///
    /// # Errors
    ///
    /// [`Kind::Gap`] if the delta does not hold the whole store; otherwise as for [`apply`](Self::apply).
    pub fn reset(&self, delta: &Delta) -> Result<Applied> {
        if !is_whole_store(delta.header()) {
            let message =
                format!("the delta begins at version {} and does not hold the whole store", delta.from());
            return Err(Error::new(Kind::Gap, message).hint("make one from version 0"));
        }
        self.apply_pieces(delta.header(), Whole::Always, |visit| delta.visit(visit))
    }

    pub(crate) fn apply_pieces(
        &self,
        header: &DeltaHeader,
        whole: Whole,
        pieces: impl FnOnce(&mut dyn FnMut(Piece<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<Applied> {
        self.inner.check_process()?;
        let _turn = self.inner.queue.turn()?;
        let applied = commit::run(&self.inner, |commit| {
            if admit(header, whole, &commit.root)? == Lead::Nowhere {
                let upstream = Token { store: header.store, version: header.to.version };
                let applied = Applied { version: commit.root.version, upstream, changes: 0 };
                return Ok((commit, applied));
            }
            let mut applier = Applier::begin(header, commit)?;
            pieces(&mut |piece| applier.take(&piece))?;
            applier.finish()
        })?;
        if planted!(FollowerPositionApart) && applied.changes > 0 {
            commit::run(&self.inner, |mut commit| {
                commit.root.upstream = Some(upstream(header, applied.version));
                commit.changed = true;
                Ok((commit, ()))
            })?;
        }
        Ok(applied)
    }
}

/// Carries the pieces of a delta out.
struct Applier<'h, 'c, 'tx> {
    header: &'h DeltaHeader,
    transaction: Option<Transaction<'c, 'tx>>,
    /// What is to be said of namespaces, until all of it is known: names may change hands.
    records: BTreeMap<NamespaceId, Option<Record>>,
    section: Option<Section>,
    /// Set until it is known which namespaces a whole store has: all others go.
    must_list: bool,
    /// The identities that the replica has yet to meet; one from before that is not there was given up.
    unused: Option<NamespaceId>,
    /// Those that it has met in this delta.
    created: BTreeSet<NamespaceId>,
    changes: u64,
}

/// The namespace that entries are for.
struct Section {
    id: NamespaceId,
    after: Contents,
    /// Where the entries are all that the namespace holds: what it held that is yet to be looked at.
    held: Option<Held>,
}

#[derive(Default)]
struct Held {
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// The last key of those that were read.
    last: Option<Vec<u8>>,
    is_all: bool,
}

impl<'h, 'c, 'tx> Applier<'h, 'c, 'tx> {
    fn begin(header: &'h DeltaHeader, commit: Commit<'c, 'tx>) -> Result<Self> {
        let mut transaction = Transaction::begin(commit);
        if header.kind == DeltaKind::Coalesced {
            let (from, to) = (header.from.version, header.to.version);
            transaction.label(format!("versions {from} to {to} of store {}", header.store))?;
        }
        let must_list = is_whole_store(header);
        let unused = transaction.commit.root.next_namespace;
        Ok(Self {
            header,
            transaction: Some(transaction),
            records: BTreeMap::new(),
            section: None,
            must_list,
            unused,
            created: BTreeSet::new(),
            changes: 0,
        })
    }

    fn transaction(&mut self) -> &mut Transaction<'c, 'tx> {
        self.transaction.as_mut().expect("is taken out for a moment only")
    }

    fn take(&mut self, piece: &Piece<'_>) -> Result<()> {
        match *piece {
            Piece::Version { time, instance, label, .. } => {
                self.settle()?;
                let transaction = self.transaction.take().expect("is taken out for a moment only");
                let (commit, _) = transaction.finish()?;
                let transaction = self.transaction.insert(Transaction::begin(commit));
                transaction.label_any(label.into())?;
                transaction.ledger.stamp(time, instance);
                // Also one that left everything as it was.
                transaction.ledger.record();
                Ok(())
            }
            Piece::Record { namespace, record } => {
                self.record(namespace, record.map(|record| Record::decode(record)).transpose()?)
            }
            Piece::Namespace { namespace, before, after, is_whole } => {
                self.settle()?;
                let transaction = self.transaction();
                let missing = || diverged(namespace, "is not there");
                transaction.commit.find_record(namespace)?.ok_or_else(missing)?;
                let found = transaction.commit.open(namespace).contents;
                if !is_whole {
                    compare(namespace, &before, &found)?;
                }
                let held = is_whole.then(Held::default);
                self.section = Some(Section { id: namespace, after, held });
                Ok(())
            }
            Piece::Put { key, value } => self.entry(key, Some(value)),
            Piece::Delete { key } => self.entry(key, None),
        }
    }

    fn entry(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let Self { transaction, section, changes, .. } = self;
        let transaction = transaction.as_mut().expect("is taken out for a moment only");
        let Some(section) = section else {
            return Err(Error::corrupt("the delta has an entry of no namespace"));
        };
        if let Some(held) = &mut section.held {
            *changes += held.remove_before(transaction, section.id, Some(key))?;
            // What it holds already need not be written.
            let same = held.entries.front().filter(|(known, _)| known == key);
            let is_same = same.is_some_and(|(_, known)| Some(&**known) == value);
            if same.is_some() {
                held.entries.pop_front();
            }
            if is_same {
                return Ok(());
            }
        }
        *changes += 1;
        match value {
            Some(value) => transaction.put_in(section.id, key, value),
            None => transaction.delete_in(section.id, key).map(drop),
        }
    }

    /// Notes what is to be said of a namespace, if it may be.
    fn record(&mut self, id: NamespaceId, record: Option<Record>) -> Result<()> {
        let nonsense =
            |what: &str| Error::new(Kind::Corrupt, format!("the delta says of namespace #{id} {what}"));
        if id < NamespaceId::FIRST || self.records.contains_key(&id) {
            return Err(nonsense("what it cannot"));
        }
        if let Some(record) = &record {
            if record.id != id {
                return Err(nonsense(&format!("that it is namespace #{}", record.id)));
            }
            record.metadata.check()?;
        }
        self.records.insert(id, record);
        Ok(())
    }

    /// Does what the pieces so far still leave to do.
    fn settle(&mut self) -> Result<()> {
        if let Some(mut section) = self.section.take() {
            let transaction = self.transaction.as_mut().expect("is taken out for a moment only");
            if let Some(held) = &mut section.held {
                self.changes += held.remove_before(transaction, section.id, None)?;
            }
            compare(section.id, &section.after, &transaction.commit.open(section.id).contents)?;
        }
        let mut records = std::mem::take(&mut self.records);
        // All records of a whole store come before any of its data.
        let must_list = std::mem::take(&mut self.must_list);
        let transaction = self.transaction.as_mut().expect("is taken out for a moment only");
        if must_list {
            for id in namespace_ids(transaction)? {
                records.entry(id).or_insert(None);
            }
        }
        let mut steps = Vec::new();
        for (id, record) in records {
            let before = transaction.commit.find_record(id)?.cloned();
            if before.is_none() && record.is_some() {
                // What lies under an identity that was given up may still be there, and is nobody's.
                if self.unused.is_none_or(|unused| id < unused) || !self.created.insert(id) {
                    return Err(rewritten(self.header.store, self.header.from.version));
                }
            }
            if let Some(record) = record {
                let local = localize(transaction.version(), before.as_ref(), record);
                steps.extend(local.map(|record| (id, Some(record))));
            } else if before.is_some() {
                steps.push((id, None));
            }
        }
        if steps.is_empty() { Ok(()) } else { transaction.replace_records(steps) }
    }

    fn finish(mut self) -> Result<(Commit<'c, 'tx>, Applied)> {
        self.settle()?;
        let transaction = self.transaction.take().expect("is taken out for a moment only");
        let (mut commit, version) = transaction.finish()?;
        let next = self.header.next_namespace;
        // None says that there are no more.
        let is_behind = match (self.unused, next) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(unused), Some(next)) => next < unused,
        };
        if is_behind || self.created.iter().any(|id| next.is_some_and(|next| next <= *id)) {
            return Err(rewritten(self.header.store, self.header.from.version));
        }
        commit.root.next_namespace = next;
        if !planted!(FollowerPositionApart) || self.changes == 0 {
            commit.root.upstream = Some(upstream(self.header, version));
        }
        commit.changed = true;
        let upstream = Token { store: self.header.store, version: self.header.to.version };
        Ok((commit, Applied { version, upstream, changes: self.changes }))
    }
}

/// Says where a replica stands that is at version `local` of its own once a delta was applied to it.
fn upstream(header: &DeltaHeader, local: Version) -> Upstream {
    let (store, Position { version, chain }) = (header.store, header.to);
    Upstream { store, version, chain: chain.to_bytes(), local, promoted: false }
}

/// Makes a record of the source one of the replica, whose versions are its own; `None` if nothing changes.
fn localize(version: Version, before: Option<&Record>, mut record: Record) -> Option<Record> {
    // The source's time tells whether it was dropped since, its version is not one of the replica's.
    let at = |dropped: &Option<Dropped>| dropped.map(|it| it.at);
    if let Some(before) = before
        && before.metadata == record.metadata
        && at(&before.dropped) == at(&record.dropped)
    {
        return None;
    }
    record.created = before.map_or(version, |before| before.created);
    record.meta_version = version;
    let known = before.and_then(|before| before.dropped);
    record.dropped = record.dropped.map(|it| match known {
        Some(known) if known.at == it.at => known,
        _ => Dropped { version, at: it.at },
    });
    Some(record)
}

fn namespace_ids(transaction: &mut Transaction<'_, '_>) -> Result<Vec<NamespaceId>> {
    let range = catalog_range(&[RECORDS]);
    let rows = transaction.commit.tx.range(CATALOG, range.as_bounds(), Direction::Forward)?;
    let damaged = || Error::corrupt("a row of the catalogue has no id");
    rows.map(|row| parse_record_key(row?.key()).ok_or_else(damaged)).collect()
}

fn compare(id: NamespaceId, expected: &Contents, found: &Contents) -> Result<()> {
    if expected.is_same_as(found) {
        return Ok(());
    }
    let told = |it: &Contents| format!("{} keys with digest {}", it.keys, it.digest);
    Err(diverged(id, &format!("holds {} where the source has {}", told(found), told(expected))))
}

fn diverged(id: NamespaceId, how: &str) -> Error {
    Error::new(Kind::Diverged, format!("namespace #{id} of the replica {how}"))
        .hint("make a new replica in another place; `cohab verify` tells whether this one is damaged")
}

impl Held {
    /// Removes what the namespace held before a key, or all of it, and returns how much that was.
    fn remove_before(
        &mut self,
        transaction: &mut Transaction<'_, '_>,
        id: NamespaceId,
        key: Option<&[u8]>,
    ) -> Result<u64> {
        let mut removed = 0;
        loop {
            if self.entries.is_empty() && !self.is_all {
                // What was put meanwhile lies before the last key that was read.
                self.entries = transaction.read_step(id, self.last.as_deref())?.into();
                match self.entries.back() {
                    Some((last, _)) => self.last = Some(last.clone()),
                    None => self.is_all = true,
                }
            }
            match self.entries.front() {
                Some((held, _)) if key.is_none_or(|key| held.as_slice() < key) => {
                    transaction.delete_in(id, held)?;
                    self.entries.pop_front();
                    removed += 1;
                }
                _ => return Ok(removed),
            }
        }
    }
}
