//! What the processes that have the store open cache of its namespaces, by their own account.

use cohab::{Instance, NamespaceCacheRecord, NamespaceInfo, Registry};
use serde_json::{Value, json};

use super::rate;
use crate::commands::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::{Record, percent, size};

/// The instances, the oldest first.
pub(super) struct Caches(Vec<Instance>);

impl Caches {
    /// Tells of no process.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(session: &Session) -> Result<Self, Failure> {
        // A backup is a file, which no processes share.
        if session.path()?.is_file() {
            return Ok(Self::none());
        }
        Ok(Self(Registry::in_dir(session.directory()?).list().map_err(cohab::Error::from)?))
    }

    /// Those that cache a namespace, which they know by its number whatever it is called by now.
    fn of_namespace(&self, info: &NamespaceInfo) -> impl Iterator<Item = (&Instance, &NamespaceCacheRecord)> {
        let id = info.id.get();
        self.0.iter().filter_map(move |instance| {
            let cached = instance.record.cache.as_ref()?.namespaces.iter().find(|cached| cached.id == id)?;
            Some((instance, cached))
        })
    }

    pub(super) fn count(&self, info: &NamespaceInfo) -> u64 {
        self.of_namespace(info).count() as u64
    }

    pub(super) fn json(&self, info: &NamespaceInfo) -> Value {
        let processes = self.of_namespace(info).map(|(instance, cached)| {
            json!({
                "instance": instance.id.to_string(),
                "pid": instance.record.pid,
                "hits": cached.hits,
                "misses": cached.misses,
                "hit_rate": rate(cached.hit_rate()),
                "refusals": cached.refusals,
                "evictions": cached.evictions,
                "invalidations": cached.invalidations,
                "floors": cached.floors,
                "entries": cached.entries,
                "bytes": cached.bytes,
                "horizon": cached.horizon,
                "lag": cached.lag,
            })
        });
        processes.collect()
    }

    /// Prints a table below that of the namespaces, if there is anything to tell.
    pub(super) fn print(&self, session: &mut Session, infos: &[NamespaceInfo]) -> Outcome {
        const COLUMNS: &[&str] = &[
            "cached", "pid", "hits", "misses", "rate", "refused", "evicted", "written", "floors", "entries",
            "bytes", "horizon", "lag",
        ];
        let rows = infos.iter().flat_map(|info| {
            self.of_namespace(info).map(|(instance, cached)| {
                Record::new()
                    .with("cached", info.name.as_str().to_owned())
                    .with("pid", u64::from(instance.record.pid))
                    .with("hits", cached.hits)
                    .with("misses", cached.misses)
                    .with("rate", cached.hit_rate().map(percent))
                    .with("refused", cached.refusals)
                    .with("evicted", cached.evictions)
                    .with("written", cached.invalidations)
                    .with("floors", cached.floors)
                    .with("entries", cached.entries)
                    .with("bytes", size(cached.bytes))
                    .with("horizon", cached.horizon)
                    .with("lag", cached.lag)
            })
        });
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(Exit::Done);
        }
        session.out.bytes(b"\n")?;
        let mut list = session.out.list(COLUMNS, COLUMNS)?;
        for row in rows {
            list.push(&row)?;
        }
        list.finish()?;
        Ok(Exit::Done)
    }
}
