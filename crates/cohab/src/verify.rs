//! Finding damage: everything a snapshot says, recomputed from what it holds.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use cohab_core::{Name, NamespaceId};
use cohab_log::Chain;
use cohab_namespace::catalog::{NAMES, Stored, TRASH, parse_trash_key};
use cohab_namespace::{Contents, Record};

use crate::layout::{CATALOG, DATA, DataRange, split_value, user_key};
use crate::maintain::reclaiming;
use crate::snapshot::catalog_range;
use crate::view::{Direction, NamespaceView};
use crate::{Error, Kind, Result, Snapshot};

/// How far a walk over the store has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// Entries seen so far.
    pub entries: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How many bytes there are to see, where that is known.
    pub total: Option<u64>,
}

/// What a verification looked at and found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Namespaces, dropped ones included.
    pub namespaces: u64,
    /// Keys read and verified.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Log records read and verified.
    pub records: u64,
    /// What is not as it should be; empty for a sound store.
    pub differences: Vec<Difference>,
}

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Difference {
    /// Where: a namespace, a record of the log, the catalogue.
    pub place: String,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Report {
    /// Returns whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.differences.is_empty()
    }

    fn note(&mut self, place: impl fmt::Display, problem: impl fmt::Display) {
        self.differences.push(Difference { place: place.to_string(), problem: problem.to_string() });
    }

    /// Notes damage and passes every other error on.
    fn absorb<T>(&mut self, place: impl fmt::Display, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Format) => {
                self.note(place, error);
                Ok(None)
            }
            // Once a read of the file has failed the engine refuses all that follow.
            Err(error) if error.kind() == Kind::Poisoned && !self.is_sound() => {
                self.note(place, "cannot be read behind the damage that was met before");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// How many entries go by between two calls of a progress callback.
const PROGRESS_STEP: u64 = 4096;

impl Snapshot {
    /// Reads everything and compares it with what is kept of it: every checksum, every namespace's count, bytes and
    /// digest, the catalogue against itself, the log's records and their chain.
    ///
    /// Cost: reads the whole store. The writer goes on meanwhile. Damage does not end the walk; it is in the report.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidInput`] for one of an [earlier version](Self::at), of which only the log is there.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Report> {
        if self.state().past.is_some() {
            let message =
                format!("version {} is not the present one, and only that can be verified", self.version());
            return Err(Error::invalid(message).hint("verify the present, and the log with it"));
        }
        let mut report = Report::default();
        let records = self.verify_catalog(&mut report)?;
        report.namespaces = records.len() as u64;
        let total = records.values().map(|(_, contents)| contents.bytes).sum();
        for (id, (record, contents)) in &records {
            self.verify_data(*id, record, contents, total, &mut report, &mut progress)?;
        }
        self.verify_strays(&records, &mut report)?;
        self.follow_log(&mut report)?;
        Ok(report)
    }

    /// Reads every record of the log and follows the chain, as [`verify`](Self::verify) does among other things.
    pub fn verify_log(&self) -> Result<Report> {
        let mut report = Report::default();
        self.follow_log(&mut report)?;
        Ok(report)
    }

    /// Decodes every row of the catalogue and checks that names and records agree.
    fn verify_catalog(&self, report: &mut Report) -> Result<BTreeMap<NamespaceId, (Record, Contents)>> {
        let mut records = BTreeMap::new();
        let mut found = BTreeMap::new();
        for (kind, live) in [(NAMES, true), (TRASH, false)] {
            let rows = self.state().engine()?.range(
                CATALOG,
                catalog_range(&[kind]).as_bounds(),
                Direction::Forward,
            )?;
            for row in rows {
                let Some(row) = report.absorb("catalogue", row.map_err(Error::from))? else { break };
                let parsed = if live {
                    NamespaceId::decode(row.value()).ok().zip(row.key().get(1..))
                } else {
                    parse_trash_key(row.key()).map(|(name, id)| (id, name))
                };
                match parsed.and_then(|(id, name)| Some((id, Name::from_bytes(name).ok()?))) {
                    Some((id, name)) => {
                        if found.insert(id, (name.clone(), live)).is_some() {
                            report
                                .note("catalogue", format!("namespace #{id} has two names, one is `{name}`"));
                        }
                    }
                    _ => report
                        .note("catalogue", format!("row \"{}\" does not decode", row.key().escape_ascii())),
                }
            }
        }
        for (id, (name, live)) in found {
            let view = self.namespace_by_id(id).map(NamespaceView::into_parts);
            let Some((record, contents)) = report.absorb(format!("namespace `{name}`"), view)? else {
                continue;
            };
            if record.metadata.name != name || record.dropped.is_none() != live || record.id != id {
                report.note(format!("namespace `{name}`"), "its record says something else");
            }
            records.insert(id, (record, contents));
        }
        Ok(records)
    }

    fn verify_data(
        &self,
        id: NamespaceId,
        record: &Record,
        kept: &Contents,
        total: u64,
        report: &mut Report,
        progress: &mut impl FnMut(Progress),
    ) -> Result<()> {
        let place = format!("namespace `{}`", record.metadata.name);
        let rows = self.state().engine()?.range(DATA, DataRange::all(id).bounds(), Direction::Forward);
        let Some(mut rows) = report.absorb(&place, rows.map_err(Error::from))? else { return Ok(()) };
        let mut contents = Contents::EMPTY;
        loop {
            // A range cannot go on behind damage, and the count could only be wrong.
            let Some(row) = report.absorb(&place, rows.step().map_err(Error::from))? else { return Ok(()) };
            let Some(row) = row else { break };
            let (version, value) = split_value(row.value());
            let key = user_key(row.key());
            if version > kept.data_version {
                let key = key.escape_ascii();
                report.note(
                    &place,
                    format!("key \"{key}\" is of version {version}, later than the namespace's last"),
                );
            }
            contents.add(key, value);
            report.keys += 1;
            report.bytes += (key.len() + value.len()) as u64;
            if report.keys.is_multiple_of(PROGRESS_STEP) {
                progress(Progress { entries: report.keys, bytes: report.bytes, total: Some(total) });
            }
        }
        let mut compare = |what: &str, kept: String, found: String| {
            if kept != found {
                report.note(&place, format!("{what} should be {kept}, found {found}"));
            }
        };
        compare("the number of keys", kept.keys.to_string(), contents.keys.to_string());
        compare("the number of bytes", kept.bytes.to_string(), contents.bytes.to_string());
        compare("the digest", kept.digest.to_string(), contents.digest.to_string());
        Ok(())
    }

    /// Looks for data that belongs to no namespace: one look into each gap between those there are.
    fn verify_strays(
        &self,
        records: &BTreeMap<NamespaceId, (Record, Contents)>,
        report: &mut Report,
    ) -> Result<()> {
        let mut known: Vec<NamespaceId> = records.keys().copied().collect();
        known.extend(reclaiming(self.state().engine()?)?);
        known.sort_unstable();
        let mut from: Bound<Vec<u8>> = Bound::Unbounded;
        for until in known.iter().map(|id| Some(*id)).chain([None]) {
            let end = until.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_be_bytes()));
            let bounds = (from.as_ref().map(Vec::as_slice), end.as_ref().map(|end| &end[..]));
            let rows = self.state().engine()?.range(DATA, bounds, Direction::Forward).map_err(Error::from);
            if let Some(mut rows) = report.absorb("data", rows)?
                && let Some(row) = rows.next()
                && let Some(row) = report.absorb("data", row.map_err(Error::from))?
            {
                report.note("data", format!("row \"{}\" belongs to no namespace", row.key().escape_ascii()));
            }
            match until.and_then(NamespaceId::checked_next) {
                Some(next) => from = Bound::Included(next.to_be_bytes().to_vec()),
                None => break,
            }
        }
        Ok(())
    }

    /// Reads every record and follows the chain from the oldest to the store's own row.
    fn follow_log(&self, report: &mut Report) -> Result<()> {
        let mut chain: Option<Chain> = None;
        for record in self.log(..) {
            let place = "log";
            let Some(record) = report.absorb(place, record)? else {
                chain = None;
                continue;
            };
            if chain.is_some_and(|chain| chain != record.previous()) {
                report.note(place, format!("the chain breaks before version {}", record.version()));
            }
            chain = report.absorb(place, record.visit(|_| Ok(())))?;
            report.records += 1;
        }
        let kept = Chain::from_bytes(self.state().root.chain);
        if chain.is_some_and(|chain| chain != kept) {
            report.note("log", "the chain does not end in the store's own row");
        }
        Ok(())
    }
}
