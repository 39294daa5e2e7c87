//! The prepared store, and every file there is beside it.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cohab::{
    AddPlugin, DeltaKind, DropMode, Follower, History, Holder, LockMode, PortPreference, Role, Store, Update,
    Version, Wait,
};
use cohab_exchange::dump::{NamespaceHeader, Writer};
use cohab_plugin::Bundle;

use super::truth::PROBE;
use crate::random::Random;

/// The name under which a port is bound.
pub(super) const PORT: &str = "http";

/// The name of a lock.
pub(super) const LOCK: &str = "nightly report";

/// The name of a plugin.
pub(super) const PLUGIN: &str = "counter";

const MANIFEST: &str = r#"name = "counter"
api = 1
entry = "main.rhai"
[[trigger]]
on = "commit"
namespaces = ["ns-00"]
start = "existing"
[[trigger]]
on = "request"
[grants]
write = ["counts"]
log = true
"#;

const SCRIPT: &str = r#"
fn on_commit(changes) {
    for change in changes { put("counts", change.key, "seen"); log("info", "counted " + change.key); }
}
fn on_request(input) { "echo " + input }
"#;

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Fixture {
    pub(super) dir: PathBuf,
}

impl Fixture {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The store as its writer left it, and as one left it that was killed.
    pub(super) fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub(super) fn crashed(&self) -> PathBuf {
        self.path("crashed")
    }

    /// Makes everything.
    pub(super) fn make(dir: &Path) -> Result<Self> {
        let fixture = Self::at(dir);
        fs::create_dir_all(dir)?;
        let plugin = fixture.path("plugin");
        fs::create_dir_all(&plugin)?;
        fs::write(plugin.join("plugin.toml"), MANIFEST)?;
        fs::write(plugin.join("main.rhai"), SCRIPT)?;
        fs::write(fixture.path("bundle"), Bundle::read(&plugin)?.encode())?;

        let path = fixture.store();
        let store = Store::options().app("flips").label("one").open(&path)?;
        Self::fill(&store)?;
        store.plugins().add(&plugin, AddPlugin::new())?;
        store.plugins().catch_up(Duration::from_secs(20))?;
        store.create_snapshot("before", None, "the state before the last changes")?;
        while store.maintain()?.more {}
        store.compact()?;
        drop(store);
        let older = |what: &str| -> Result<()> {
            fs::create_dir_all(fixture.path(what))?;
            copy_dir(&path, &fixture.path(what))
        };
        older("older")?;

        // What the last versions changed is what a lost write can take back.
        let store = Store::options().app("flips").label("one").open(&path)?;
        change(&store, 12, &mut Random::new(7))?;
        let delta_from = Version::new(store.snapshot()?.version().get() - 9);
        for _ in 0..3 {
            drop(store.lock(LOCK, LockMode::Exclusive, Wait::Try)?);
        }
        drop(store.registration()?.bind(PORT, &PortPreference::new())?);
        store.plugins().catch_up(Duration::from_secs(20))?;
        let snapshot = store.snapshot()?;
        snapshot.backup(fixture.path("backup"), |_| ())?;
        fs::write(fixture.path("delta"), snapshot.delta(delta_from, DeltaKind::Coalesced)?.as_bytes())?;
        fixture.dump(&snapshot)?;
        drop(snapshot);
        let mut follower = Follower::open(&path, fixture.path("replica"), |_| ())?;
        follower.catch_up()?;
        drop(follower);
        // What is there only while somebody lives, or died.
        let registration = store.registration()?;
        let record = path.join("instances").join(format!("{}.json", registration.id()));
        fs::copy(&record, fixture.path("instance.json"))?;
        fs::copy(path.join("writer.json"), fixture.path("writer.json"))?;
        let lock = store.lock(LOCK, LockMode::Exclusive, Wait::Try)?;
        let token = lock.token();
        let record = beside(&path.join("locks"), "json")?;
        fs::copy(&record, fixture.path("lock.json"))?;
        drop(lock);
        let holder = serde_json::to_vec(&Holder::this_process("standby"))?;
        fs::write(fixture.path("handover.json"), holder)?;
        ensure!(token > 3, "tokens grow");
        drop(store);

        fs::create_dir_all(fixture.crashed())?;
        copy_dir(&path, &fixture.crashed())?;
        let store = Store::options().run_plugins(false).open(fixture.crashed())?;
        change(&store, 2, &mut Random::new(8))?;
        let names = ["store.redb", "coord.page"];
        let left = names.map(|name| (name, fs::read(fixture.crashed().join(name))));
        drop(store);
        for (name, left) in left {
            fs::write(fixture.crashed().join(name), left?)?;
        }
        fs::write(fixture.crashed().join("writer.json"), fs::read(fixture.path("writer.json"))?)?;
        Ok(fixture)
    }

    fn fill(store: &Store) -> Result<()> {
        store.write(|tx| {
            for number in 0..20_u32 {
                let name = format!("ns-{number:02}");
                tx.create_namespace(&name)?;
                for key in 0..20 + number {
                    tx.put(&name, format!("k{key:03}"), format!("value {key} of namespace {number}"))?;
                }
            }
            for name in ["wide", "long", "large", "quiet", "dropped", "counts", PROBE] {
                tx.create_namespace(name)?;
            }
            tx.update_namespace("quiet", &Update::new().history(History::Off))?;
            for key in 0..1500 {
                tx.put("wide", format!("key-{:05}", 2 * key), format!("{key:>30}"))?;
            }
            for key in 0..400 {
                tx.put("long", format!("{key:0>150}"), format!("long {key}"))?;
            }
            for key in 0..4_usize {
                tx.put(
                    "large",
                    format!("large-{key}"),
                    vec![b'a' + u8::try_from(key).unwrap_or(0); 9000 * (key + 1)],
                )?;
            }
            for key in 0..30 {
                tx.put("quiet", format!("q{key}"), format!("quiet {key}"))?;
                tx.put("dropped", format!("d{key}"), format!("dropped {key}"))?;
            }
            Ok(())
        })?;
        change(store, 20, &mut Random::new(6))?;
        store.write(|tx| tx.drop_namespace("dropped", DropMode::WithContents))?;
        Ok(())
    }

    fn dump(&self, snapshot: &cohab::Snapshot) -> Result<()> {
        let mut dump = Writer::begin(Vec::new())?;
        for name in ["ns-03", "ns-11", "wide"] {
            dump.namespace(&NamespaceHeader::new(name.parse()?))?;
            for entry in snapshot.namespace(name)?.all()?.take(200) {
                let entry = entry?;
                dump.entry(entry.key(), entry.value())?;
            }
            dump.end_namespace()?;
        }
        fs::File::create(self.path("dump"))?.write_all(&dump.finish()?)?;
        Ok(())
    }
}

/// Makes versions: changes, new keys and removed ones, all over the store.
fn change(store: &Store, versions: u64, random: &mut Random) -> Result<()> {
    for version in 0..versions {
        store.write(|tx| {
            tx.label(format!("change {version}"))?;
            for _ in 0..6 {
                let name = format!("ns-{:02}", random.below(20));
                tx.put(&name, format!("k{:03}", random.below(20)), format!("changed {}", random.next()))?;
            }
            tx.delete(format!("ns-{:02}", random.below(20)), format!("k{:03}", random.below(20)))?;
            for _ in 0..3 {
                tx.put("wide", format!("key-{:05}", random.below(3000)), format!("{:>30}", random.next()))?;
            }
            tx.put("wide", "key-00004", format!("{version:>30}"))?;
            tx.put("long", format!("{:0>150}", random.below(400)), format!("long again {version}"))?;
            tx.put("quiet", format!("q{}", random.below(30)), format!("quiet again {version}"))?;
            Ok(())
        })?;
    }
    Ok(())
}

/// Opens a store to look at it, without leaving anything in its directory.
pub(super) fn reader(path: &Path) -> cohab::Result<Store> {
    Store::options().role(Role::Reader).register(false).on_recovery(|_| ControlFlow::Continue(())).open(path)
}

/// Returns the one file in a directory that ends so.
pub(super) fn beside(dir: &Path, extension: &str) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir).with_context(|| format!("{} is not there", dir.display()))?;
    let found = files.find_map(|file| {
        let path = file.ok()?.path();
        path.extension().is_some_and(|found| found == extension).then_some(path)
    });
    found.with_context(|| format!("there is no .{extension} in {}", dir.display()))
}

/// Copies a directory into another one.
pub(super) fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if !to.is_dir() {
        fs::DirBuilder::new().mode(0o700).create(to)?;
    }
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
