//! Somebody has put links where our files belong. They lead to `target`, which must not be touched.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use cohab_core::InstanceId;
use cohab_registry::{Description, PortPreference, Result};

use crate::life::start;
use crate::{Scratch, entries, ids};

fn with_target() -> Scratch {
    let scratch = Scratch::new();
    fs::create_dir(scratch.file("target")).expect("can be made");
    fs::write(scratch.file("target/file"), "precious").expect("can be written");
    scratch
}

impl Scratch {
    /// Puts a link to the target in the place of whatever is there.
    fn link(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
        let _ = fs::remove_dir_all(self.file(name));
        symlink(self.file("target"), self.file(name)).expect("can be made");
    }

    fn is_untouched(&self) -> bool {
        entries(self.file("target")) == 1
            && fs::read(self.file("target/file")).is_ok_and(|content| content == b"precious")
    }
}

#[test]
fn links_in_place_of_directories_are_refused() -> Result<()> {
    let scratch = with_target();
    let registry = scratch.registry();
    let is_refused = |result: Result<()>, name: &str| {
        let error = result.expect_err(name).to_string();
        assert!(error.contains(&format!("{name} is a symbolic link")), "{error}");
    };
    scratch.link("instances");
    is_refused(registry.register(Description::new("x")).map(drop), "instances");
    is_refused(registry.list().map(drop), "instances");
    is_refused(registry.reap().map(drop), "instances");
    fs::remove_file(scratch.file("instances")).expect("is there");

    let me = registry.register(Description::new("x"))?;
    scratch.link("tmp");
    is_refused(me.temp_dir().map(drop), "tmp");
    scratch.link("ports");
    is_refused(me.bind("http", &PortPreference::new()).map(drop), "ports");
    assert!(me.record()?.ports.is_empty(), "a port that was not remembered is not kept");
    fs::remove_file(scratch.file("tmp")).expect("is there");
    fs::create_dir(scratch.file("tmp")).expect("can be made");
    let own = format!("tmp/{}", me.id());
    scratch.link(&own);
    is_refused(me.temp_dir().map(drop), &own);
    drop(me);
    assert_eq!(entries(scratch.file("tmp")) + entries(scratch.file("instances")), 0, "the link itself goes");
    assert!(scratch.is_untouched());
    Ok(())
}

#[test]
fn what_a_dead_instance_left_is_removed_link_or_not() -> Result<()> {
    let scratch = with_target();
    let registry = scratch.registry();
    let (child, _, id) = start(scratch.path());
    scratch.link(&format!("instances/{id}.json"));
    scratch.link(&format!("tmp/{id}"));
    assert_eq!(ids(&registry.list()?), [id], "a record that is a link is not read");
    assert_eq!(registry.list()?[0].record.pid, 0);
    child.kill().expect("can be killed");
    assert_eq!(ids(&registry.reap()?.instances), [id]);
    assert_eq!(entries(scratch.file("tmp")) + entries(scratch.file("instances")), 0);

    let (child, _, id) = start(scratch.path());
    child.kill().expect("can be killed");
    fs::rename(scratch.file("tmp"), scratch.file("elsewhere")).expect("can be moved");
    fs::create_dir(scratch.file(format!("target/{id}"))).expect("can be made");
    scratch.link("tmp");
    let reaped = registry.reap()?;
    assert!(reaped.failures[0].to_string().contains("tmp is a symbolic link"), "{:?}", reaped.failures);
    assert_eq!(entries(scratch.file("instances")), 0, "the rest is removed");
    fs::remove_dir(scratch.file(format!("target/{id}"))).expect("is still there");
    assert!(scratch.is_untouched());
    Ok(())
}

#[test]
fn a_link_in_place_of_a_lock_is_no_instance() -> Result<()> {
    let scratch = with_target();
    let registry = scratch.registry();
    let me = registry.register(Description::new("x"))?;
    let id = InstanceId::generate();
    scratch.link(&format!("instances/{id}.lock"));
    assert_eq!(ids(&registry.list()?), [me.id()]);
    let reaped = registry.reap()?;
    assert!(reaped.failures[0].to_string().contains("symbolic link"), "{:?}", reaped.failures);
    assert!(registry.register(Description::new("x").id(id)).is_err());
    Ok(())
}

/// What is left without a lock belongs to nobody: the lock goes last, but a person may have removed it.
#[test]
fn leftovers_without_a_lock_are_removed_and_nothing_else() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    for dir in ["instances", "tmp"] {
        fs::create_dir(scratch.file(dir)).expect("can be made");
    }
    let made = |name: String| fs::write(scratch.file(name), "x").expect("can be written");
    let (one, two, three) = (InstanceId::generate(), InstanceId::generate(), InstanceId::generate());
    made(format!("instances/{one}.json"));
    made(format!("instances/{two}.new"));
    fs::create_dir(scratch.file(format!("tmp/{three}"))).expect("can be made");
    for foreign in ["notes.lock", "notes", ".new"] {
        made(format!("instances/{foreign}"));
        made(format!("tmp/{foreign}"));
    }
    let spelled_otherwise = one.to_string().to_uppercase();
    made(format!("instances/{spelled_otherwise}.lock"));
    made(format!("tmp/{three}.bak"));

    assert!(registry.list()?.is_empty());
    assert_eq!(registry.dead()?.len(), 3);
    assert_eq!(
        ids(&registry.reap()?.instances),
        [one, three],
        "unfinished work alone is not worth a mention"
    );
    assert!(registry.dead()?.is_empty());
    assert_eq!((entries(scratch.file("instances")), entries(scratch.file("tmp"))), (4, 4));
    Ok(())
}

#[test]
fn what_is_made_is_private() -> Result<()> {
    let scratch = Scratch::new();
    let me = scratch.registry().register(Description::new("x"))?;
    me.temp_dir()?;
    let _lease = me.bind("http", &PortPreference::new())?;
    let mode = |name: &str| fs::metadata(scratch.file(name)).map(|m| m.permissions().mode() & 0o777).ok();
    let id = me.id();
    for dir in ["instances", "tmp", "ports", &format!("tmp/{id}")] {
        assert_eq!(mode(dir), Some(0o700), "{dir}");
    }
    for file in [format!("instances/{id}.lock"), format!("instances/{id}.json"), "ports/http.json".to_owned()]
    {
        assert_eq!(mode(&file), Some(0o600), "{file}");
    }
    Ok(())
}
