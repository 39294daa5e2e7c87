//! Keeps a replica in step.

use std::time::Duration;

use anyhow::{Context as _, Result};
use cohab::{Follower, Kind};

use super::{Stage, unless_stalled};
use crate::kill::history::Event;
use crate::kill::keys::read_all;
use crate::kill::points::Point;
use crate::kill::truth::bytes;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let source_options = stage.options();
    let replica_options = stage.options();
    let replica_options = stage.points.install(replica_options, || {});
    let (source, replica) = (stage.scene.store(), stage.scene.replica());
    let mut follower = loop {
        let (from, to) = (source_options.clone(), replica_options.clone());
        match Follower::open_with(&source, from, &replica, to, |_| ()) {
            Err(error) if error.kind() == Kind::Stalled => stage.journal.note(Event::Stalled),
            opened => break opened.context("cannot open source and replica")?,
        }
    };
    stage.points.pass(Point::Opened);
    loop {
        stage.points.pass(Point::Following);
        let caught_up = follower.catch_up();
        if unless_stalled(stage, caught_up)?.is_some() {
            stage.points.pass(Point::Applied);
            note(stage, &follower)?;
        }
        let waited = follower.wait(Duration::from_millis(200));
        unless_stalled(stage, waited)?;
        stage.rest(8000);
    }
}

fn note(stage: &Stage, follower: &Follower) -> Result<()> {
    let snapshot = follower.replica().snapshot()?;
    let version = snapshot.upstream().context("the replica does not say whose it is")?.version.get();
    let mut digests = Vec::new();
    for namespace in snapshot.namespaces()? {
        let namespace = namespace?;
        digests.push((namespace.id.get(), bytes(namespace.digest)));
    }
    match read_all(&snapshot, false)? {
        Ok(values) => stage.journal.note(Event::Followed { version, digests, values }),
        Err(broken) => stage.journal.broken(broken.0),
    }
    Ok(())
}
