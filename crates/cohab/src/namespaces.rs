//! What a transaction does to namespaces as such.
//!
//! All of it rewrites rows of the catalogue and, but for copying, costs the same whatever a namespace holds.

use cohab_core::{NameError, NamespaceId};
use cohab_namespace::catalog::{
    NAMES, Stored, contents_key, name_key, parse_trash_key, reclaim_key, record_key, trash_key, trash_prefix,
};
use cohab_namespace::{Contents, Metadata, Operation, Record, Update};

use crate::commit::{Open, no_namespace};
use crate::layout::CATALOG;
use crate::snapshot::catalog_range;
use crate::view::Direction;
use crate::{Error, Kind, Name, NamespaceInfo, Result, Transaction};

/// Whether a namespace that holds keys may be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DropMode {
    /// Only one without keys.
    #[default]
    IfEmpty,
    /// With all its keys.
    WithContents,
}

/// How many entries, and bytes of them, a copy holds in memory at a time.
const COPY_STEP: (usize, usize) = (4096, 4 << 20);

impl Transaction<'_, '_> {
    /// Creates a namespace. Of two that create the same at the same time one succeeds.
    ///
    /// # Errors
    ///
    /// [`Kind::Exists`] if there is one of that name, [`Kind::InvalidInput`] if it is no name.
    pub fn create_namespace(&mut self, name: impl AsRef<str>) -> Result<NamespaceId> {
        self.create_namespace_with(Metadata::new(Name::new(name)?))
    }

    /// Creates a namespace with all its metadata.
    ///
    /// # Errors
    ///
    /// As for [`create_namespace`](Self::create_namespace), and [`Kind::InvalidInput`] for metadata over a limit.
    pub fn create_namespace_with(&mut self, metadata: Metadata) -> Result<NamespaceId> {
        if metadata.name.is_reserved() {
            return Err(NameError::Reserved(metadata.name.to_string()).into());
        }
        self.create_any_namespace(metadata)
    }

    /// Returns the namespace of that name, which may be cohab's own, creating it if there is none.
    pub(crate) fn ensure_any_namespace(&mut self, name: &Name) -> Result<NamespaceId> {
        match self.commit.find_any(name)? {
            Some(id) => Ok(id),
            None => self.create_any_namespace(Metadata::new(name.clone())),
        }
    }

    fn create_any_namespace(&mut self, metadata: Metadata) -> Result<NamespaceId> {
        self.refuse_taken(&metadata.name)?;
        let used_up = || Error::invalid("the store has handed out all 4,294,967,295 namespace identities");
        let id = self.commit.root.next_namespace.ok_or_else(used_up)?;
        let record = Record::create(id, metadata, self.version(), self.commit.now)?;
        self.commit.root.next_namespace = id.checked_next();
        self.replace_records([(id, Some(record))])?;
        Ok(id)
    }

    /// Returns the namespace of that name, creating it if there is none.
    pub fn ensure_namespace(&mut self, name: impl AsRef<str>) -> Result<NamespaceId> {
        match self.commit.find(name.as_ref())? {
            Some(id) => Ok(id),
            None => self.create_namespace(name),
        }
    }

    /// Returns what is known of a namespace, with the changes made so far.
    pub fn namespace_info(&mut self, name: impl AsRef<str>) -> Result<NamespaceInfo> {
        let id = self.commit.require(name.as_ref())?;
        let open = self.commit.open(id);
        Ok(NamespaceInfo::new(open.record.clone(), open.contents))
    }

    /// Changes a namespace's metadata; its data cannot be touched by this.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Conflict`] if the update expects another `meta_version`, [`Kind::InvalidInput`]
    /// for metadata over a limit.
    pub fn update_namespace(&mut self, name: impl AsRef<str>, update: &Update) -> Result<()> {
        let id = self.commit.require(name.as_ref())?;
        let version = self.version();
        let record = self.commit.open(id).record.update(update, version)?;
        self.replace_records([(id, Some(record))])
    }

    /// Gives a namespace another name. Its identity, data and past stay.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Exists`] if the new name is taken, [`Kind::InvalidInput`] if it is no name.
    pub fn rename_namespace(&mut self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<()> {
        let (from, to) = (Name::new(from)?, Name::new(to)?);
        let id = self.commit.require(from.as_str())?;
        if from == to {
            return Ok(());
        }
        self.refuse_taken(&to)?;
        let version = self.version();
        let record = self.commit.open(id).record.renamed(to, version);
        self.replace_records([(id, Some(record))])
    }

    /// Copies a namespace's metadata and data into a new one, atomically. Protection is not copied.
    ///
    /// Cost: that of writing every key again.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`], [`Kind::Exists`] if the new name is taken, [`Kind::InvalidInput`] if it is no name.
    pub fn copy_namespace(&mut self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<NamespaceId> {
        let source = self.commit.require(from.as_ref())?;
        let mut metadata = self.commit.open(source).record.metadata.clone();
        metadata.name = Name::new(to)?;
        metadata.protected = false;
        let copy = self.create_namespace_with(metadata)?;
        self.whole(|transaction| {
            let mut after: Option<Vec<u8>> = None;
            loop {
                let step = transaction.read_step(source, after.as_deref())?;
                let Some((last, _)) = step.last() else { return Ok(copy) };
                after = Some(last.clone());
                for (key, value) in &step {
                    transaction.put_in(copy, key, value)?;
                }
            }
        })
    }

    /// Reads the next entries behind a key, as many as fit into one step.
    pub(crate) fn read_step(
        &mut self,
        id: NamespaceId,
        after: Option<&[u8]>,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut step, mut bytes) = (Vec::new(), 0);
        for entry in self.range_in(id, (start, Bound::Unbounded), Direction::Forward)? {
            let entry = entry?;
            bytes += entry.key().len() + entry.value().len();
            step.push((entry.key().to_vec(), entry.value().to_vec()));
            if step.len() >= COPY_STEP.0 || bytes >= COPY_STEP.1 {
                break;
            }
        }
        Ok(step)
    }

    /// Drops a namespace into the trash, from where [`undrop_namespace`](Self::undrop_namespace) brings it back.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`]; [`Kind::Conflict`] if it is protected, or holds keys and `mode` does not allow that.
    pub fn drop_namespace(&mut self, name: impl AsRef<str>, mode: DropMode) -> Result<()> {
        let name = Name::new(name)?;
        let id = self.commit.require(name.as_str())?;
        self.drop_by_id(id, mode)
    }

    pub(crate) fn drop_by_id(&mut self, id: NamespaceId, mode: DropMode) -> Result<()> {
        let (version, now) = (self.version(), self.commit.now);
        let open = self.commit.open(id);
        let record = open.record.dropped(&open.contents, mode == DropMode::WithContents, version, now)?;
        self.keep_before(Operation::Drop, Some(id))?;
        self.replace_records([(id, Some(record))])
    }

    /// Brings back the namespace of that name that was dropped last, as it was.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if the trash has none, [`Kind::Exists`] if the name was taken meanwhile.
    pub fn undrop_namespace(&mut self, name: impl AsRef<str>) -> Result<NamespaceId> {
        let name = Name::new(name)?;
        let id = self.trashed(&name)?;
        self.refuse_taken(&name)?;
        let version = self.version();
        let record = self.commit.load(id)?.record.undropped(version);
        self.replace_records([(id, Some(record))])?;
        Ok(id)
    }

    /// Gives up the namespace of that name that was dropped last, for good.
    ///
    /// It is gone when the transaction commits. Its keys are removed afterwards, in bounded steps, by
    /// [`Store::maintain`](crate::Store::maintain); [`Store::purge`](crate::Store::purge) does both.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if the trash has none of that name.
    pub fn purge_namespace(&mut self, name: impl AsRef<str>) -> Result<NamespaceId> {
        let name = Name::new(name)?;
        let id = self.trashed(&name)?;
        self.replace_records([(id, None)])?;
        Ok(id)
    }

    fn trashed(&mut self, name: &Name) -> Result<NamespaceId> {
        let range = catalog_range(&trash_prefix(name));
        let latest =
            self.commit.tx.range(CATALOG, range.as_bounds(), Direction::Reverse)?.next().transpose()?;
        let id = latest.and_then(|row| parse_trash_key(row.key()).map(|(_, id)| id));
        id.ok_or_else(|| Error::new(Kind::NotFound, format!("no namespace `{name}` lies in the trash")))
    }

    fn refuse_taken(&mut self, name: &Name) -> Result<()> {
        match self.commit.find_any(name)? {
            Some(_) => Err(taken(name)),
            None => Ok(()),
        }
    }

    /// Gives namespaces the records given: makes those that are not there, and gives up, for good, those that get none.
    ///
    /// Every change of the catalogue comes through here. Names may change hands among the namespaces.
    pub(crate) fn replace_records(
        &mut self,
        records: impl IntoIterator<Item = (NamespaceId, Option<Record>)>,
    ) -> Result<()> {
        self.whole(|transaction| {
            let mut steps = Vec::new();
            for (id, after) in records {
                let before = transaction.commit.find_record(id)?.cloned();
                let (from, to) = (before.as_ref().map(index_key), after.as_ref().map(index_key));
                // What a name stood for goes before anything gets it.
                if let Some(from) = from.as_ref().filter(|_| from != to) {
                    transaction.commit.tx.remove(CATALOG, from)?;
                }
                let row = if from == to { None } else { to };
                steps.push((id, before, after, row));
            }
            for (id, before, after, index) in steps {
                if let (Some(row), Some(after)) = (index, &after) {
                    transaction.insert_index(&row, after)?;
                }
                transaction.replace_record(id, before.as_ref(), after)?;
            }
            transaction.commit.forget_names();
            transaction.pending.forget_names();
            Ok(())
        })
    }

    /// Makes a namespace findable.
    fn insert_index(&mut self, row: &[u8], record: &Record) -> Result<()> {
        let value = if record.dropped.is_some() { Vec::new() } else { record.id.encode() };
        match self.commit.tx.insert(CATALOG, row, &[&value])? {
            None => Ok(()),
            Some(_) => Err(taken(&record.metadata.name)),
        }
    }

    fn replace_record(
        &mut self,
        id: NamespaceId,
        before: Option<&Record>,
        after: Option<Record>,
    ) -> Result<()> {
        let Self { commit, ledger, .. } = self;
        let (was, is) = (before.map(Stored::encode), after.as_ref().map(Stored::encode));
        if let (Some(is), Some(after)) = (&is, after) {
            commit.tx.insert(CATALOG, &record_key(id), &[is])?;
            if before.is_some() {
                commit.open(id).record = after;
            } else {
                commit.tx.insert(CATALOG, &contents_key(id), &[&Contents::EMPTY.encode()])?;
                commit.keep(Open::new(after, Contents::EMPTY, &commit.inner.caches));
            }
        } else {
            // Its data is given up as well, which the record is to say.
            ledger.sum_up(commit.load(id)?, Contents::EMPTY);
            commit.tx.remove(CATALOG, &record_key(id))?;
            commit.tx.remove(CATALOG, &contents_key(id))?;
            commit.tx.insert(CATALOG, &reclaim_key(id), &[])?;
            commit.forget(id);
        }
        ledger.record().metadata(id, was.as_deref(), is.as_deref());
        ledger.send_full_chunk(commit.tx)
    }

    /// Lists the names of all namespaces, with the changes made so far.
    pub fn namespace_names(&mut self) -> Result<Vec<Name>> {
        let range = catalog_range(&[NAMES]);
        let rows = self.commit.tx.range(CATALOG, range.as_bounds(), Direction::Forward)?;
        rows.map(|row| Ok(Name::from_bytes(&row?.key()[1..])?)).collect()
    }
}

/// The key of the row by which a namespace is found: by its name, or among what was dropped.
pub(crate) fn index_key(record: &Record) -> Vec<u8> {
    match record.dropped {
        Some(dropped) => trash_key(&record.metadata.name, dropped.version, record.id),
        None => name_key(&record.metadata.name),
    }
}

fn taken(name: &Name) -> Error {
    Error::new(Kind::Exists, format!("there is a namespace `{name}` already"))
}

/// Refuses a name that no namespace has.
pub(crate) fn must_exist(transaction: &mut Transaction<'_, '_>, name: &Name) -> Result<NamespaceId> {
    transaction.commit.find_any(name)?.ok_or_else(|| no_namespace(name.as_str()))
}
