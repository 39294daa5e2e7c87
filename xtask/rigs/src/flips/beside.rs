//! Files beside the data: whatever becomes of one, the store reads as it did, and what must happen happens.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cohab::{
    AddPlugin, Description, Follower, LockMode, PortPreference, Registry, ReloadPlugin, Store, Wait,
};

use super::bench::{Bench, Subject, put};
use super::fixture::{LOCK, PLUGIN, PORT, copy_dir, reader};
use super::outcome::Outcome;
use super::truth::PROBE;

/// How long to wait for what must happen by itself.
const PATIENCE: Duration = Duration::from_secs(5);

impl Bench {
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

    pub(super) fn look_beside(
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

    pub(super) fn look_at_page(&mut self, damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
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
                outcome.expect(snapshot.version() == before, || "an open handle is behind".to_owned());
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

    pub(super) fn look_at_instance(&mut self, damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
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

    pub(super) fn look_at_plugin(
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

    pub(super) fn look_at_follower(&self, whole: &[u8], damaged: &[u8], outcome: &mut Outcome) -> Result<()> {
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
