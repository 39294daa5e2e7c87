//! Instances, ports and homes.

use std::fs;
use std::path::Path;

use cohab::{Description, Error, Home, PortPreference, Registry, Result};

use super::Scenario;

/// An application's directory.
const PLACE: &str = "place";

/// One in which an instance died.
fn haunted(place: &Path) -> Result<()> {
    let (alive, dir) = (place.join("alive"), place.join(PLACE));
    fs::create_dir(&alive).map_err(Error::abort)?;
    let registration = Registry::in_dir(&alive).register(Description::new("tester"))?;
    let temp = registration.temp_dir()?;
    fs::write(temp.join("scratch"), "x").map_err(Error::abort)?;
    crate::faults::case::copy(&alive, &dir).map_err(Error::abort)?;
    drop(registration);
    fs::remove_dir_all(&alive).map_err(Error::abort)
}

pub(super) const REGISTRY: Scenario = Scenario {
    stores: &[],
    check: |session| {
        let registry = Registry::in_dir(session.path(PLACE));
        if !registry.list()?.is_empty() {
            session.find("an instance that ended is listed");
        }
        let reaped = registry.reap()?;
        for failure in reaped.failures {
            session.find(format!("cannot be reaped: {failure}"));
        }
        if !registry.dead()?.is_empty() {
            session.find("what was reaped is still there");
        }
        for below in ["instances", "tmp"] {
            let left = fs::read_dir(session.path(PLACE).join(below)).map_or(0, Iterator::count);
            if left > 0 {
                session.find(format!("{left} files are left in {below}"));
            }
        }
        Ok(())
    },
    ..Scenario::new("registry", haunted, |session| {
        let registry = Registry::in_dir(session.path(PLACE));
        session.at("register");
        let me = registry.register(Description::new("writer").app("rig").label("me"))?;
        session.at("list");
        let listed = registry.list()?;
        if listed.len() != 1 || listed[0].id != me.id() {
            session.find(format!("{} instances are listed", listed.len()));
        }
        session.at("update");
        me.update(|record| record.role = "reader".into())?;
        session.at("temporary directory");
        let temp = me.temp_dir()?;
        crate::seam::aside(|| fs::write(temp.join("scratch"), "x")).map_err(Error::abort)?;
        session.at("dead");
        let _ = registry.dead()?;
        session.at("reap");
        let reaped = registry.reap()?;
        session.at("what was reaped");
        if let Some(failure) = reaped.failures.into_iter().next() {
            return Err(failure.into());
        }
        if reaped.instances.len() != 1 {
            session.find(format!("{} dead instances were reaped", reaped.instances.len()));
        }
        Ok(())
    })
};

pub(super) const PORTS: Scenario = Scenario {
    stores: &[],
    check: |session| {
        let me = Registry::in_dir(session.path(PLACE)).register(Description::new("writer"))?;
        me.bind("http", &PortPreference::new()).map(drop)?;
        Ok(())
    },
    ..Scenario::new("ports", haunted, |session| {
        let registry = Registry::in_dir(session.path(PLACE));
        session.at("register");
        let me = registry.register(Description::new("writer").app("rig"))?;
        session.at("bind");
        let lease = me.bind("http", &PortPreference::new())?;
        let port = lease.port();
        if !registry.list()?.iter().any(|one| one.record.ports.iter().any(|held| held.port == port)) {
            session.find("a port that is bound is not listed");
        }
        session.at("let go");
        drop(lease);
        session.at("bind again");
        let again = me.bind("http", &PortPreference::new())?;
        let _ = again.port();
        Ok(())
    })
};

pub(super) const HOME: Scenario = Scenario {
    stores: &[],
    check: |session| {
        let home = Home::for_app("rig").under(session.path(PLACE)).create()?;
        let store = cohab::Store::open(home.store_path("main")?)?;
        drop(home.join("1.0")?);
        store.write(|tx| tx.ensure_namespace("n")).map(drop)
    },
    ..Scenario::new(
        "home",
        |_| Ok(()),
        |session| {
            session.at("create the home");
            let home = Home::for_app("rig").channel("nightly").under(session.path(PLACE)).create()?;
            session.at("join");
            let instance = home.join("1.0")?;
            session.at("bind");
            let _lease = instance.bind("http", &PortPreference::new())?;
            session.at("where stores are");
            let _ = home.store_path("main")?;
            Ok(())
        },
    )
};
