//! The coordination page: whatever was done to the file under an open page, it says no more than was published.

#![no_main]

use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arbitrary::Arbitrary;
use cohab_coord::{PAGE_BYTES, Page, Publication};
use cohab_core::{Epoch, NamespaceId, StoreId, Version};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

#[derive(Arbitrary, Debug)]
enum Step {
    Publish {
        version: u8,
        epoch: u8,
        since: u8,
        changed: Vec<u16>,
    },
    Raise {
        version: u8,
        epoch: u8,
    },
    Age(Option<u16>),
    /// These bytes come to lie somewhere in the page.
    Bytes(u16, Vec<u8>),
    /// One of the words at the beginning, where all is that matters, becomes another word of the page.
    Word {
        from: u16,
        to: u8,
    },
}

/// One file for all runs: mapping a new one each time would be all that is measured.
struct Place {
    page: Page,
    file: File,
    fresh: Vec<u8>,
    _dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = cohab_fuzz::memory_dir();
        let path = dir.path().join("coord.page");
        let store: StoreId = "c0aab000-0000-4000-8000-000000000001".parse().expect("is a uuid");
        let page = Page::replace(&path, store).expect("a page can be made");
        let file = File::options().read(true).write(true).open(&path).expect("the page is there");
        let fresh = std::fs::read(&path).expect("the page is there");
        Self { page, file, fresh, _dir: dir }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.file.write_all_at(bytes, at as u64).expect("the page can be written");
    }
}

thread_local! {
    static PLACE: OnceCell<Place> = const { OnceCell::new() };
}

fuzz_target!(|steps: Vec<Step>| PLACE.with(|place| run(place.get_or_init(Place::new), &steps)));

fn run(place: &Place, steps: &[Step]) {
    let Place { page, .. } = place;
    place.write(0, &place.fresh);
    assert_eq!(page.published(), None, "nothing was published on a new page");
    let (mut is_whole, mut top) = (true, None::<Publication>);
    for step in steps.iter().take(48) {
        let of = |version: &u8, epoch: &u8| Publication {
            version: Version::new((*version).into()),
            epoch: Epoch::new((*epoch).into()),
        };
        match step {
            Step::Publish { version, epoch, since, changed } => {
                let ids: Vec<_> = changed.iter().map(|id| NamespaceId::new((*id).into())).collect();
                let publication = of(version, epoch);
                if page.publish(publication, Version::new((*since).into()), ids.iter().copied()) {
                    top = Some(later(top, publication));
                    if is_whole {
                        // Other than with damage, what changed is known to have.
                        assert!(ids.iter().all(|id| page.changed(*id) >= publication.version));
                    }
                }
            }
            Step::Raise { version, epoch } => {
                if page.raise(of(version, epoch)) {
                    top = Some(later(top, of(version, epoch)));
                }
            }
            Step::Age(ms) => {
                let age = ms.map(|ms| Duration::from_millis(ms.into()));
                page.set_snapshot_age_max(age);
                if is_whole {
                    let kept = age.map(|age| age.max(Duration::from_millis(1)));
                    assert_eq!(page.snapshot_age_max(), kept);
                }
            }
            Step::Bytes(at, bytes) => {
                let at = usize::from(*at) % place.fresh.len();
                place.write(at, &bytes[..bytes.len().min(place.fresh.len() - at)]);
                is_whole = false;
            }
            Step::Word { from, to } => {
                let mut word = [0; 8];
                let from = u64::from(*from) % (PAGE_BYTES / 8);
                place.file.read_exact_at(&mut word, from * 8).expect("the page can be read");
                place.write(usize::from(*to % 64) * 8, &word);
                is_whole = false;
            }
        }
        check(page, is_whole, top);
    }
}

/// What is later of two publications; versions and epochs are raised each for itself.
fn later(one: Option<Publication>, other: Publication) -> Publication {
    one.map_or(other, |one| Publication {
        version: one.version.max(other.version),
        epoch: one.epoch.max(other.epoch),
    })
}

fn check(page: &Page, is_whole: bool, top: Option<Publication>) {
    let published = page.published();
    if is_whole {
        assert_eq!(published, top);
        assert!(page.is_current());
    }
    // Garbage may fit a seal of 16 bits by accident, and then one copy of four says less; none makes all of them say more.
    if let Some(published) = published {
        let top = top.expect("nothing was published");
        assert!(published.version <= top.version && published.epoch <= top.epoch, "{published:?} of {top:?}");
    }
    let _ = (page.changed(NamespaceId::new(1)), page.snapshot_age_max(), page.mark(), page.is_writable());
}
