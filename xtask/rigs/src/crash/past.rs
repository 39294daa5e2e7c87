//! What a store promises of its past, whatever the power has done to it: what is kept can be read, a watch passes nothing over
//! without a word, and a replica notices that its source has another past.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use cohab::{DeltaKind, Filter, Follower, Kind, Role, Snapshot, Store, Version};

/// Reads what every named snapshot keeps.
pub(super) fn check_kept(snapshot: &Snapshot) -> Result<()> {
    for known in snapshot.named_snapshots()?.iter().filter(|known| known.kept.lapsed.is_none()) {
        let (name, version) = (&known.name, known.kept.version);
        snapshot.at(version).with_context(|| format!("snapshot `{name}` does not keep version {version}"))?;
    }
    Ok(())
}

/// Watches from the first version on.
pub(super) fn check_watch(store: &Store) -> Result<()> {
    let last = store.snapshot()?.version().get();
    let (mut next, mut watch) = (1, store.watch(Filter::new().from(Version::new(1)))?);
    while next <= last {
        let event =
            watch.next_within(std::time::Duration::ZERO).context("a watch ends before the last version")?;
        match event {
            Ok(event) => {
                let version = event.version().get();
                ensure!(
                    version == next,
                    "a watch shows version {version} after {}, without a word",
                    next - 1
                );
                next += 1;
            }
            Err(error) if error.kind() == Kind::Lagged => next = watch.position().get(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Has a replica follow a store, puts the store back as it was before, writes to it again, and leads the replica on from there.
pub(super) fn check_rewritten(source: &Path, replica: &Path) -> Result<()> {
    let plain = || Store::options().register(false);
    let write = |name: &str| {
        let store = plain().role(Role::Writer).open(source)?;
        store.write(|tx| {
            tx.ensure_namespace(name)?;
            tx.put(name, "key", name)
        })
    };
    let data = source.join("store.redb");
    let before = fs::read(&data)?;
    let version = write("first")?.version;
    Follower::open_with(source, plain(), replica, plain(), |_| ())?
        .catch_up()
        .context("before the store is put back")?;
    fs::write(&data, before)?;
    write("second")?;
    // What this one changes is the same on both sides, so that the history alone tells.
    write("third")?;
    let delta = plain().role(Role::Reader).open(source)?.snapshot()?.delta(version, DeltaKind::Coalesced)?;
    match plain().role(Role::Writer).open(replica)?.apply(&delta) {
        Err(error) if error.kind() == Kind::Diverged => Ok(()),
        Err(error) => Err(error).context("a replica of a store that was put back"),
        Ok(applied) => bail!("a replica goes on with a store that was put back: {applied:?}"),
    }
}
