//! What is done to stores while something fails.

mod changing;
mod places;
mod plugged;
mod reading;
mod replicas;
mod roles;

use std::path::Path;

use cohab::{Kind, Result, Role, Store};

use super::session::{Session, options};

/// Something that applications do, and what is known of it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The directories of the stores that it uses.
    pub(crate) stores: &'static [&'static str],
    /// Those of them to which plugins write on the side.
    pub(crate) shared: &'static [&'static str],
    /// Those that follow another one.
    pub(crate) replicas: &'static [&'static str],
    /// Those that are made of another one, and not by who opens them.
    pub(crate) copies: &'static [&'static str],
    /// Kinds of errors that it may end with besides those that any call may.
    pub(crate) kinds: &'static [Kind],
    /// Makes what it begins with.
    pub(crate) prepare: fn(&Path) -> Result<()>,
    pub(crate) run: fn(&mut Session) -> Result<()>,
    /// Looks at what only this one has, once nothing fails any more.
    pub(crate) check: fn(&mut Session) -> Result<()>,
}

impl Scenario {
    /// One that uses one store and knows nothing in particular.
    const fn new(
        name: &'static str,
        prepare: fn(&Path) -> Result<()>,
        run: fn(&mut Session) -> Result<()>,
    ) -> Self {
        Self {
            name,
            stores: &[MAIN],
            shared: &[],
            replicas: &[],
            copies: &[],
            kinds: &[],
            prepare,
            run,
            check: |_| Ok(()),
        }
    }
}

/// The directory of the store that most scenarios use.
pub(crate) const MAIN: &str = "main";

/// The directory of the store that is made of it, or follows it.
pub(crate) const COPY: &str = "copy";

/// Everything that is tried.
pub(crate) static ALL: [Scenario; 31] = [
    changing::CREATE,
    changing::OPEN,
    changing::WRITE,
    changing::BATCH,
    changing::NAMESPACES,
    changing::LOCKS,
    changing::HISTORY,
    changing::MAINTAIN,
    changing::COMPACT,
    changing::BACKUP,
    changing::RESTORE,
    changing::REOPEN,
    changing::RECOVER,
    reading::READ,
    reading::CACHED,
    reading::FOLLOWED,
    reading::RECOVER,
    reading::BACKUP,
    roles::CRASHED_WRITER,
    roles::CLOSED_WRITER,
    roles::PROMOTE,
    replicas::ATTACH,
    replicas::FOLLOW,
    replicas::TRIMMED,
    replicas::DELTA,
    places::REGISTRY,
    places::PORTS,
    places::HOME,
    plugged::ADD,
    plugged::RELOAD,
    plugged::RUN,
];

#[expect(clippy::unnecessary_wraps, reason = "the others can fail")]
fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

/// A store with two namespaces, and a hundred keys in three versions.
fn some(place: &Path) -> Result<()> {
    some_in(&place.join(MAIN)).map(drop)
}

fn some_in(path: &Path) -> Result<Store> {
    let store = options(Role::Writer).open(path)?;
    store.write(|tx| {
        tx.create_namespace("a")?;
        tx.create_namespace("b")
    })?;
    store.write(|tx| (0..60).try_for_each(|i| tx.put("a", format!("key {i:03}"), vec![i; 100])))?;
    store.write(|tx| (0..40).try_for_each(|i| tx.put("b", format!("key {i:03}"), vec![i; 300])))?;
    Ok(store)
}

/// The same, as a process leaves it that is killed.
fn crashed(place: &Path) -> Result<()> {
    let store = some_in(&place.join("alive"))?;
    super::case::copy(&place.join("alive"), &place.join(MAIN)).map_err(cohab::Error::abort)?;
    drop(store);
    std::fs::remove_dir_all(place.join("alive")).map_err(cohab::Error::abort)
}
