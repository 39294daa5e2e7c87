//! Where damage is done, and who looks at it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cohab::{Delta, Kind, LockMode, Registration, Store, Wait};
use cohab_exchange::dump::{Event, Reader};
use cohab_plugin::Bundle;

use super::data::{read_all, write_and_read};
use super::fixture::{Fixture, LOCK, copy_dir, reader};
use super::outcome::Outcome;
use super::truth::Truth;

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

/// A store of one's own for each kind of look, so that none changes what another one sees.
pub(super) struct Bench {
    pub(super) fixture: Fixture,
    pub(super) work: PathBuf,
    pub(super) truth: Truth,
    crashed: Truth,
    backup: Truth,
    /// A writer and a reader that stay.
    pub(super) pair: Option<(Store, Store)>,
    pub(super) registration: Option<Registration>,
    pub(super) plugins: Option<Store>,
    pub(super) epoch: u64,
    pub(super) token: u64,
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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    pub(super) fn writer(path: &Path) -> cohab::Result<Store> {
        Store::options().create(false).register(false).run_plugins(false).open(path)
    }

    /// Returns the path at which a file is damaged, and its content.
    pub(super) fn content(&self, subject: Subject) -> Result<Vec<u8>> {
        let path = match subject {
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
    pub(super) fn place(&self, subject: Subject) -> Result<PathBuf> {
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
                self.look_at_data("crashed", "crashed-written", damaged, as_writer, &mut outcome)?;
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
                self.look_at_plugin(subject, whole, damaged, &mut outcome)?;
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
        let _ = write!(said, "{event:?}");
        if matches!(event, Event::End(_)) {
            break;
        }
    }
    Ok(rapidhash::v3::rapidhash_v3(said.as_bytes()))
}

/// Gives a file its content in place, so that who has it open sees it.
pub(super) fn put(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.write(true).create(true).truncate(false).open(path)?;
    file.write_all_at(content, 0)?;
    Ok(file.set_len(content.len() as u64)?)
}
