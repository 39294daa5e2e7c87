//! Where damage is done, and who looks at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cohab::{
    AddPlugin, Delta, Description, Follower, Integrity, Kind, LockMode, PortPreference, Registration,
    Registry, ReloadPlugin, Store, Wait,
};
use cohab_exchange::dump::{Event, Reader};
use cohab_plugin::Bundle;

use super::fixture::{Fixture, LOCK, PLUGIN, PORT, copy_dir, reader};
use super::outcome::Outcome;
use super::truth::{PROBE, Reading, Truth};

/// What is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The store's file, as a writer left it that closed it.
    Data,
    /// The same, after a writer that was killed.
    Crashed,
    Backup,
    Card,
    WriterRecord,
    Handover,
    Epoch,
    Page,
    Instance,
    Port,
    LockFile,
    LockRecord,
    LockToken,
    Follower,
    PluginLog,
    PluginNumbers,
    Manifest,
    Script,
    Bundle,
    Delta,
    Dump,
}

/// How long to wait for what must happen by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store of one's own for each kind of look, so that none changes what another one sees.
pub(super) struct Bench {
    fixture: Fixture,
    work: PathBuf,
    truth: Truth,
    crashed: Truth,
    backup: Truth,
    /// A writer and a reader that stay.
    pair: Option<(Store, Store)>,
    registration: Option<Registration>,
    plugins: Option<Store>,
    epoch: u64,
    token: u64,
    dump: u64,
    /// The number of the case.
    pub(super) turn: u64,
}

impl Bench {
    pub(super) fn new(fixture: &Fixture, work: &Path) -> Result<Self> {
        fs::create_dir_all(work)?;
        let truth_of = |path: &Path| -> Result<Truth> {
            let store = reader(path).with_context(|| format!("opening {}", path.display()))?;
            Ok(Truth::of(&store.snapshot()?)?)
        };
        // Looking at a store that was not closed recovers it.
        let recovered = work.join("recovered");
        copy_dir(&fixture.crashed(), &recovered)?;
        let copies = [
            "data",
            "written",
            "crashed",
            "crashed-written",
            "beside",
            "page",
            "registry",
            "plugged",
            "follow",
        ];
        for name in copies {
            let from = if name.starts_with("crashed") { fixture.crashed() } else { fixture.store() };
            copy_dir(&from, &work.join(name))?;
        }
        let mut bench = Self {
            truth: truth_of(&fixture.store())?,
            crashed: truth_of(&recovered)?,
            backup: truth_of(&fixture.path("backup"))?,
            fixture: fixture.clone(),
            work: work.to_owned(),
            pair: None,
            registration: None,
            plugins: None,
            epoch: 0,
            token: 0,
            dump: 0,
            turn: 0,
        };
        // Numbers that were given out, and that nothing else tells of.
        for _ in 0..3 {
            let store = Self::writer(&bench.path("beside"))?;
            bench.epoch = store.epoch().context("is the writer")?.get();
            bench.token = store.lock(LOCK, LockMode::Exclusive, Wait::Try)?.token();
        }
        bench.dump = parse(&fs::read(fixture.path("dump"))?).map_err(anyhow::Error::msg)?;
        Ok(bench)
    }

    /// Says what the store has that is damaged.
    pub(super) fn about(&self) -> String {
        let (truth, len) =
            (&self.truth, fs::metadata(self.fixture.store().join("store.redb")).map_or(0, |m| m.len()));
        format!(
            "a store of {} KiB at version {}: {} entries in {} namespaces, {} things to read besides",
            len / 1024,
            truth.version,
            truth.entries(),
            truth.namespaces(),
            truth.parts()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    fn writer(path: &Path) -> cohab::Result<Store> {
        Store::options().create(false).register(false).run_plugins(false).open(path)
    }

    /// Returns the path at which a file is damaged, and its content.
    pub(super) fn content(&self, subject: Subject) -> Result<Vec<u8>> {
        let path = match subject {
            Subject::Epoch | Subject::LockToken => self.place(subject)?,
            Subject::Data => self.fixture.store().join("store.redb"),
            Subject::Crashed => self.fixture.crashed().join("store.redb"),
            Subject::Instance => self.fixture.path("instance.json"),
            Subject::WriterRecord => self.fixture.path("writer.json"),
            Subject::Handover => self.fixture.path("handover.json"),
            Subject::LockRecord => self.fixture.path("lock.json"),
            Subject::Backup => self.fixture.path("backup"),
            Subject::Bundle => self.fixture.path("bundle"),
            Subject::Delta => self.fixture.path("delta"),
            Subject::Dump => self.fixture.path("dump"),
            Subject::Manifest => self.fixture.path("plugin/plugin.toml"),
            Subject::Script => self.fixture.path("plugin/main.rhai"),
            Subject::Page => self.fixture.crashed().join("coord.page"),
            _ => self.place(subject)?,
        };
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Where a file lies that is damaged on the bench.
    fn place(&self, subject: Subject) -> Result<PathBuf> {
        let beside = self.path("beside");
        let lock = |extension: &str| super::fixture::beside(&beside.join("locks"), extension);
        Ok(match subject {
            Subject::Card => beside.join("store.json"),
            Subject::WriterRecord => beside.join("writer.json"),
            Subject::Handover => beside.join("handover.json"),
            Subject::Epoch => beside.join("writer.epoch"),
            Subject::Port => super::fixture::beside(&beside.join("ports"), "json")?,
            Subject::LockFile => lock("lock")?,
            Subject::LockToken => lock("token")?,
            Subject::LockRecord => lock("token")?.with_extension("json"),
            Subject::Follower => super::fixture::beside(&self.path("follow/followers"), "json")?,
            Subject::PluginLog => super::fixture::beside(&beside.join("plugins"), "log")?,
            Subject::PluginNumbers => super::fixture::beside(&beside.join("plugins"), "json")?,
            Subject::Manifest => self.path("plugin/plugin.toml"),
            Subject::Script => self.path("plugin/main.rhai"),
            Subject::Page => self.path("page/coord.page"),
            Subject::Instance => {
                let id = self.registration.as_ref().context("somebody is registered")?.id();
                self.path("registry/instances").join(format!("{id}.json"))
            }
            Subject::Data => self.path("data/store.redb"),
            Subject::Crashed => self.path("crashed/store.redb"),
            Subject::Backup | Subject::Bundle | Subject::Delta | Subject::Dump => self.path("file"),
        })
    }

    /// Looks at damage in every way that concerns it.
    pub(super) fn look(
        &mut self,
        subject: Subject,
        whole: &[u8],
        damaged: &[u8],
        as_writer: bool,
    ) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        match subject {
            Subject::Data => self.look_at_data("data", "written", damaged, as_writer, &mut outcome)?,
            Subject::Crashed => {
                self.look_at_data("crashed", "crashed-written", damaged, as_writer, &mut outcome)?
            }
            Subject::Backup => {
                put(&self.path("file"), damaged)?;
                read_all(&self.path("file"), &self.backup, self.turn, &mut outcome);
            }
            Subject::Delta => match Delta::from_bytes(damaged.to_vec()) {
                Ok(_) => outcome.wrong.push("a delta".to_owned()),
                Err(error) => refused(error.kind(), &mut outcome),
            },
            Subject::Bundle => match Bundle::decode(damaged) {
                Ok(_) => outcome.wrong.push("a bundle".to_owned()),
                Err(_) => refused(Kind::Corrupt, &mut outcome),
            },
            Subject::Dump => match parse(damaged) {
                Ok(hash) if hash == self.dump => {}
                Ok(_) => outcome.wrong.push("a dump".to_owned()),
                Err(_) => refused(Kind::Corrupt, &mut outcome),
            },
            Subject::Page => self.look_at_page(damaged, &mut outcome)?,
            Subject::Instance => self.look_at_instance(damaged, &mut outcome)?,
            Subject::Manifest | Subject::Script => {
                self.look_at_plugin(subject, whole, damaged, &mut outcome)?
            }
            Subject::Follower => self.look_at_follower(whole, damaged, &mut outcome)?,
            _ => self.look_beside(subject, whole, damaged, &mut outcome)?,
        }
        Ok(outcome)
    }

    fn look_at_data(
        &self,
        read: &str,
        written: &str,
        damaged: &[u8],
        as_writer: bool,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let truth = if read == "data" { &self.truth } else { &self.crashed };
        put(&self.path(read).join("store.redb"), damaged)?;
        read_all(&self.path(read), truth, self.turn, outcome);
        if as_writer {
            let path = self.path(written);
            put(&path.join("store.redb"), damaged)?;
            // It would tell of the versions that were written the last time.
            let _ = fs::remove_file(path.join("coord.page"));
            write_and_read(&path, truth, self.turn, outcome);
        }
        Ok(())
    }

    /// Opens the store and reads a part of it, when something beside it is damaged.
    fn glance(&self, store: cohab::Result<Store>, outcome: &mut Outcome) -> Option<Store> {
        let store = match store {
            Ok(store) => store,
            Err(error) => {
                outcome.note("opening", &error);
                return None;
            }
        };
        match store.snapshot() {
            Ok(snapshot) => {
                let is_same = snapshot.version() == self.truth.version
                    && snapshot.get("ns-03", "k001").is_ok_and(|value| value.is_some());
                if !is_same {
                    outcome.wrong.push("the store".to_owned());
                }
            }
            Err(error) => outcome.note("a snapshot", &error),
        }
        Some(store)
    }

    fn look_beside(
        &self,
        subject: Subject,
        whole: &[u8],
        damaged: &[u8],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let (path, place) = (self.path("beside"), self.place(subject)?);
        put(&place, damaged)?;
        if let Some(store) = self.glance(reader(&path), outcome) {
            let _ = store.writer();
        }
        let store = Store::options().create(false).run_plugins(false).label("one").open(&path);
        if let Some(store) = self.glance(store, outcome) {
            let epoch = store.epoch().map_or(0, cohab::Epoch::get);
            outcome.expect(epoch > self.epoch, || format!("epoch {epoch} after {}", self.epoch));
            if let Err(error) = store.locks() {
                outcome.note("the list of locks", &error);
            }
            match subject {
                Subject::LockFile | Subject::LockRecord | Subject::LockToken => {
                    match store.lock(LOCK, LockMode::Exclusive, Wait::Try) {
                        Ok(lock) => {
                            let token = lock.token();
                            outcome
                                .expect(token > self.token, || format!("token {token} after {}", self.token));
                        }
                        Err(error) => outcome.note("the lock", &error),
                    }
                }
                Subject::Port => {
                    let bound = store.registration()?.bind(PORT, &PortPreference::new());
                    if let Err(error) = bound {
                        outcome.broken.push(format!("a port cannot be had: {error}"));
                    }
                }
                Subject::PluginLog | Subject::PluginNumbers => {
                    let plugins = store.plugins();
                    if let Err(error) = plugins.show(PLUGIN) {
                        outcome.note("the plugin", &error);
                    }
                    let _ = plugins.log(PLUGIN);
                }
                _ => {}
            }
        }
        // Numbers that grow go back to what was given out when the rig began.
        put(&place, whole)
    }

    fn look_at_page(&mut self, damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
        let path = self.path("page");
        let (writer, reading) = match self.pair.take() {
            Some(pair) => pair,
            None => (Self::writer(&path)?, reader(&path)?),
        };
        // What stays of the page in use, with the damage in it: the page of this store has its own id, so the damage
        // is done to what is there.
        let place = path.join("coord.page");
        let mut page = fs::read(&place)?;
        let original = fs::read(self.fixture.crashed().join("coord.page"))?;
        for ((now, then), byte) in damaged.iter().zip(&original).zip(&mut page) {
            *byte ^= now ^ then;
        }
        page.truncate(damaged.len());
        put(&place, &page)?;
        let before = writer.snapshot()?.version();
        let late = reader(&path);
        match &late {
            Ok(store) => match store.snapshot() {
                Ok(snapshot) => outcome.expect(snapshot.version() == before, || {
                    format!("version {} was read where {before} is", snapshot.version())
                }),
                Err(error) => outcome.note("a snapshot", &error),
            },
            Err(error) => outcome.note("opening", error),
        }
        match reading.snapshot() {
            Ok(snapshot) => {
                outcome.expect(snapshot.version() == before, || "an open handle is behind".to_owned())
            }
            Err(error) => outcome.note("a snapshot", &error),
        }
        match writer.write(|tx| tx.put(PROBE, "k", before.to_string())) {
            Ok(committed) => {
                let begin = Instant::now();
                loop {
                    match reading.snapshot() {
                        Ok(snapshot) if snapshot.version() >= committed.version => {
                            let value = snapshot.get(PROBE, "k")?.map(|value| value.to_vec());
                            outcome.expect(value == Some(before.to_string().into_bytes()), || {
                                "another value".into()
                            });
                            break;
                        }
                        Ok(_) => {}
                        Err(error) => {
                            outcome.note("a snapshot", &error);
                            break;
                        }
                    }
                    if begin.elapsed() > PATIENCE {
                        outcome.broken.push("a commit does not come to be seen".to_owned());
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Err(error) => outcome.note("a commit", &error),
        }
        if outcome.error.is_none() && outcome.broken.is_empty() {
            self.pair = Some((writer, reading));
        }
        Ok(())
    }

    fn look_at_instance(&mut self, damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
        let path = self.path("registry");
        let registry = Registry::in_dir(&path);
        if self.registration.is_none() {
            self.registration = Some(registry.register(Description::new("flips"))?);
        }
        put(&self.place(Subject::Instance)?, damaged)?;
        let id = self.registration.as_ref().context("is registered")?.id();
        let listed = registry.list().is_ok_and(|list| list.iter().any(|instance| instance.id == id));
        outcome.expect(listed, || "a live instance is not listed".to_owned());
        let reaped =
            registry.reap().is_ok_and(|reaped| reaped.instances.iter().any(|instance| instance.id == id));
        outcome.expect(!reaped, || "a live instance was reaped".to_owned());
        self.glance(reader(&path), outcome);
        Ok(())
    }

    fn look_at_plugin(
        &mut self,
        subject: Subject,
        whole: &[u8],
        damaged: &[u8],
        outcome: &mut Outcome,
    ) -> Result<()> {
        if self.plugins.is_none() {
            let source = self.path("plugin");
            copy_dir(&self.fixture.path("plugin"), &source)?;
            let store = Self::writer(&self.path("plugged"))?;
            store.plugins().remove(PLUGIN, false)?;
            store.plugins().add(&source, AddPlugin::new())?;
            self.plugins = Some(store);
        }
        let store = self.plugins.as_ref().context("was made")?;
        let plugins = store.plugins();
        put(&self.place(subject)?, damaged)?;
        let reloaded = plugins.reload(PLUGIN, ReloadPlugin::new());
        if let Err(error) = &reloaded {
            outcome.met(error.kind().as_str());
            let answer = plugins.call(PLUGIN, b"x");
            outcome.expect(answer.as_ref().is_ok_and(|answer| *answer == b"echo x"[..]), || {
                format!("the last good generation does not serve: {answer:?}")
            });
        }
        put(&self.place(subject)?, whole)?;
        // What is another plugin, but a good one, was taken into service.
        if let Err(error) = plugins.reload(PLUGIN, ReloadPlugin::new()) {
            outcome.broken.push(format!("the mended plugin is not taken: {error}"));
        }
        Ok(())
    }

    fn look_at_follower(&self, whole: &[u8], damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
        let (path, place, replica) =
            (self.path("follow"), self.place(Subject::Follower)?, self.path("replica"));
        if !replica.is_dir() {
            copy_dir(&self.fixture.path("replica"), &replica)?;
        }
        put(&place, damaged)?;
        if let Some(store) = self.glance(Self::writer(&path), outcome) {
            let _ = store.followers();
            store.maintain()?;
        }
        let digests = |store: &Store| -> cohab::Result<Vec<String>> {
            let snapshot = store.snapshot()?;
            let infos =
                snapshot.namespaces()?.map(|info| info.map(|info| format!("{} {}", info.name, info.digest)));
            infos.collect()
        };
        let followed = Follower::open(&path, &replica, |_| ()).and_then(|mut follower| {
            follower.catch_up()?;
            Ok((digests(follower.source())?, digests(follower.replica())?))
        });
        match followed {
            Ok((source, copy)) if source == copy => {}
            Ok(_) => outcome.wrong.push("a replica".to_owned()),
            Err(error) => outcome.note("following", &error),
        }
        put(&place, whole)
    }
}

/// Reads everything as a reader, and verifies.
fn read_all(path: &Path, truth: &Truth, turn: u64, outcome: &mut Outcome) {
    let mut reading = Reading::default();
    match reader(path).and_then(|store| store.snapshot()) {
        Ok(snapshot) => {
            if snapshot.version() != truth.version {
                reading.wrong.push(format!("version {} instead of {}", snapshot.version(), truth.version));
            }
            truth.compare(&snapshot, turn, &mut reading);
            let is_sound = snapshot.verify(|_| ()).is_ok_and(|report| report.is_sound());
            outcome.is_found |= !is_sound;
            if is_sound && !reading.is_as_it_was() {
                outcome.broken.push(missed(&reading));
            }
        }
        Err(error) => {
            outcome.is_found = true;
            // For one who opens a file it is either a backup or something else.
            if error.kind() == Kind::InvalidInput && path.is_file() {
                outcome.met("invalid_input");
            } else {
                reading.note("opening", &error);
            }
        }
    }
    outcome.add(reading);
}

fn missed(reading: &Reading) -> String {
    let (said, wrong) = (reading.said.join("; "), reading.wrong.join(", "));
    format!("verified as sound, although reading it fails ({said}) or is wrong ({wrong})")
}

/// Reads everything as the writer, writes to it, and reads everything again.
fn write_and_read(path: &Path, truth: &Truth, turn: u64, outcome: &mut Outcome) {
    let (mut before, mut after) = (Reading::default(), Reading::default());
    let store = match Bench::writer(path) {
        Ok(store) => store,
        Err(error) => {
            outcome.is_found = true;
            return outcome.note("opening as the writer", &error);
        }
    };
    let look = |reading: &mut Reading| match store.snapshot() {
        Ok(snapshot) => {
            truth.compare(&snapshot, turn, reading);
            snapshot.verify(|_| ()).is_ok_and(|report| report.is_sound())
        }
        Err(error) => {
            reading.note("a snapshot", &error);
            false
        }
    };
    let was_sound = look(&mut before);
    let written = (0..4_u32).try_for_each(|round| {
        store.write(|tx| {
            (0..20_u32).try_for_each(|key| tx.put(PROBE, format!("{round}-{key}"), [b'p'; 300]))
        })?;
        Ok(())
    });
    if let Err(error) = &written {
        after.note("a commit", error);
    }
    let is_sound = look(&mut after);
    outcome.is_found |= !was_sound || !is_sound;
    if was_sound && !before.is_as_it_was() {
        outcome.broken.push(missed(&before));
    }
    if is_sound && written.is_ok() && !after.is_as_it_was() {
        outcome.broken.push(missed(&after));
    }
    outcome.has_spread = before.is_as_it_was() && was_sound && !(after.is_as_it_was() && is_sound);
    let checked = store.check();
    outcome.is_found_by_pages_alone = !outcome.is_found && !matches!(checked, Ok(Integrity::Sound));
    outcome.add(before);
    outcome.add(after);
}

fn refused(kind: Kind, outcome: &mut Outcome) {
    outcome.is_found = true;
    outcome.met(kind.as_str());
    let says_so = matches!(kind, Kind::Corrupt | Kind::Format | Kind::InvalidInput);
    outcome.expect(says_so, || format!("damage is called {kind:?}"));
}

fn parse(dump: &[u8]) -> Result<u64, String> {
    let mut reader = Reader::new(dump);
    let mut said = String::new();
    while let Some(event) = reader.next().map_err(|error| error.to_string())? {
        said.push_str(&format!("{event:?}"));
        if matches!(event, Event::End(_)) {
            break;
        }
    }
    Ok(rapidhash::v3::rapidhash_v3(said.as_bytes()))
}

/// Gives a file its content in place, so that who has it open sees it.
fn put(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create(true).truncate(false).open(path)?;
    file.write_all_at(content, 0)?;
    Ok(file.set_len(content.len() as u64)?)
}
