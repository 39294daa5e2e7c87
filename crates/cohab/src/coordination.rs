//! The coordination page, as a hint that may come, go, and lie.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cohab_coord::{Page, Publication};
use cohab_core::limits::{PAGE_TRUST, PAGELESS_POLL};
use cohab_core::{Epoch, NamespaceId, StoreId, Version};

use crate::uptime::uptime_ms;

/// Stands for the names of all namespaces, where the page says which namespace has changed; none has this id.
pub(crate) const NAMES_CHANGED: NamespaceId = NamespaceId::new(0);

/// This process's view of the store's coordination page.
///
/// Nothing here fails: without a page everybody looks into the store itself, a little later.
#[derive(Debug)]
pub(crate) struct Coordination {
    path: PathBuf,
    store: StoreId,
    page: ArcSwapOption<Page>,
    /// When the page's file was last compared with the one that is mapped.
    examined: AtomicU64,
}

impl Coordination {
    pub(crate) fn new(path: PathBuf, store: StoreId) -> Self {
        Self { path, store, page: ArcSwapOption::empty(), examined: AtomicU64::new(0) }
    }

    /// Returns the page if there is one that makes sense, and looks for it now and then if there is not.
    pub(crate) fn page(&self) -> Option<Arc<Page>> {
        // Before the page, which is stored before it.
        let since = uptime_ms().saturating_sub(self.examined.load(Ordering::Acquire));
        let page = self.page.load_full().filter(|page| page.published().is_some());
        let trust = if page.is_some() { PAGE_TRUST } else { PAGELESS_POLL };
        if Duration::from_millis(since) < trust {
            return page;
        }
        let examined = uptime_ms();
        let page = page.filter(|page| page.is_current()).or_else(|| {
            let page = Page::open(&self.path, self.store).ok()?;
            page.published().is_some().then(|| Arc::new(page))
        });
        self.page.store(page.clone());
        // Last: whoever asks meanwhile is not to conclude from it that there is no page.
        self.examined.store(examined, Ordering::Release);
        page
    }

    /// As the writer that begins, makes sure that there is a page, and that it says just this.
    pub(crate) fn begin(&self, publication: Publication, snapshot_age_max: Option<Duration>) {
        let says_too_much = |page: &Page| page.published().is_some_and(|it| it.version > publication.version);
        let page = match Page::create(&self.path, self.store) {
            // The store was put back from a copy, perhaps: what the page says was true of another.
            Ok(page) if says_too_much(&page) => Page::replace(&self.path, self.store),
            created => created,
        };
        if let Ok(page) = &page {
            page.set_snapshot_age_max(snapshot_age_max);
            page.raise(publication);
            page.wake();
        }
        self.page.store(page.ok().map(Arc::new));
    }

    /// As the writer at work, makes a new page if somebody has removed or damaged it.
    pub(crate) fn mend(&self, publication: Publication, snapshot_age_max: Option<Duration>) {
        let is_well = |page: &Page| page.published().is_some() && page.is_current();
        match &*self.page.load() {
            // Should a commit have been published on a page that was being replaced, it is made up for here.
            Some(page) if is_well(page) => _ = page.raise(publication),
            _ => self.begin(publication, snapshot_age_max),
        }
    }

    /// Tells every process of a commit that is durable, and which namespaces' data it changed since the last.
    pub(crate) fn publish(&self, version: Version, epoch: Epoch, since: Version, changed: &[NamespaceId]) {
        if let Some(page) = &*self.page.load() {
            page.publish(Publication { version, epoch }, since, changed.iter().copied());
        }
    }

    /// Returns the age at which snapshots expire, if the writer has set one.
    pub(crate) fn snapshot_age_max(&self) -> Option<Duration> {
        self.page.load().as_ref()?.snapshot_age_max()
    }
}
