//! Events and spans for `tracing`, all with the target `cohab`.

use std::path::Path;
use std::time::{Duration, Instant};

use cohab_core::{NamespaceId, Version};
use tracing::span::EnteredSpan;
use tracing::{debug_span, info, info_span, warn};

use crate::RoleChange;
use crate::store::Inner;

/// How long it may take to learn what was written before that is an event.
const CATCH_UP_TIME_MAX: Duration = Duration::from_millis(10);

pub(crate) fn role_changed(inner: &Inner, change: &RoleChange) {
    let (store, instance) = (inner.path.display(), inner.instance);
    match change {
        RoleChange::Promoted { epoch } => {
            info!(target: "cohab", %store, %instance, epoch = epoch.get(), "became the writer");
        }
        RoleChange::SteppedDown { role } => {
            info!(target: "cohab", %store, %instance, role = role.as_str(), "stepped down");
        }
        RoleChange::TakeOverFailed(error) => {
            warn!(target: "cohab", %store, %instance, %error, "could not become the writer; tries again");
        }
    }
}

pub(crate) fn stalled(inner: &Inner, operation: &'static str, waited: Duration) {
    let (store, instance, waited_ms) = (inner.path.display(), inner.instance, millis(waited));
    warn!(target: "cohab", %store, %instance, operation, waited_ms, "waits for too long");
}

/// Lasts for as long as the writer's role is being asked for.
pub(crate) fn taking_over(inner: &Inner) -> EnteredSpan {
    let (store, instance) = (inner.path.display(), inner.instance);
    debug_span!(target: "cohab", "take_over", %store, %instance).entered()
}

/// Lasts from when the writer's lock is held until the file is open, recovered and synced.
pub(crate) fn beginning_to_write(store: &Path) -> EnteredSpan {
    debug_span!(target: "cohab", "begin_writing", store = %store.display()).entered()
}

/// Lasts for as long as a reader recovers what a writer that died has left.
pub(crate) fn recovery(store: &Path) -> EnteredSpan {
    let span = info_span!(target: "cohab", "recovery", store = %store.display()).entered();
    info!(target: "cohab", store = %store.display(), "recovers the store, whose last writer died");
    span
}

/// Named snapshots no longer keep the log from being trimmed.
pub(crate) fn lapsed(snapshots: &[crate::NamedSnapshot]) {
    for snapshot in snapshots {
        let (name, version) = (snapshot.name.as_str(), snapshot.kept.version.get());
        let why = snapshot.kept.lapsed.map_or("", cohab_namespace::Lapse::as_str);
        warn!(target: "cohab", name, version, why, "a named snapshot lapsed");
    }
}

/// The cache of a namespace learns what was written to it.
pub(crate) struct CatchUp {
    namespace: u32,
    since: Version,
    until: Version,
    begin: Instant,
}

pub(crate) fn catch_up(id: NamespaceId, since: Version, until: Version) -> CatchUp {
    CatchUp { namespace: id.get(), since, until, begin: Instant::now() }
}

impl CatchUp {
    /// Tells how it went, if that is worth telling.
    pub(crate) fn end(self, is_known: bool) {
        let Self { namespace, since, until, begin } = self;
        let took = begin.elapsed();
        let (since, until, took_us) = (since.get(), until.get(), micros(took));
        if !is_known {
            info!(
                target: "cohab",
                namespace,
                since,
                until,
                took_us,
                "cache floor raised: it is not known, or too much, what was written; all entries are dropped"
            );
        } else if took >= CATCH_UP_TIME_MAX {
            info!(target: "cohab", namespace, since, until, took_us, "cache catch-up took long");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
