use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use cohab_registry::{Description, Home, Isolation, PortPreference, Result};

use crate::{Scratch, until_free};

fn dirs(home: &Home) -> Vec<PathBuf> {
    let dirs = [Some(home.data_dir()), Some(home.config_dir()), Some(home.cache_dir())];
    let dirs = dirs.into_iter().chain([home.state_dir(), home.runtime_dir()]);
    dirs.flatten().map(Path::to_owned).collect()
}

/// A stable and a nightly build side by side: one overwrote the other's files, and both wanted one port.
#[test]
fn two_channels_share_nothing() -> Result<()> {
    let scratch = Scratch::new();
    let home = |channel: &str| Home::for_app("shop").channel(channel).under(scratch.path()).create();
    let (stable, nightly) = (home("stable")?, home("nightly")?);
    for one in dirs(&stable) {
        for other in dirs(&nightly) {
            assert!(!one.starts_with(&other) && !other.starts_with(&one), "{one:?} {other:?}");
        }
    }
    assert_ne!(stable.store_path("main")?, nightly.store_path("main")?);

    let (a, b) = (stable.join("1.0")?, nightly.join("1.1-dev")?);
    let seen = |home: &Home| home.registry().list().map(|seen| seen[0].record.clone());
    assert_eq!((stable.registry().list()?.len(), seen(&stable)?.channel), (1, "stable".to_owned()));
    assert_eq!((nightly.registry().list()?.len(), seen(&nightly)?.channel), (1, "nightly".to_owned()));

    let preference = PortPreference::new();
    let bind = || -> Result<(u16, u16)> {
        let leases = (a.bind("http", &preference)?, b.bind("http", &preference)?);
        let ports = (leases.0.port(), leases.1.port());
        drop(leases);
        until_free(ports.0);
        until_free(ports.1);
        Ok(ports)
    };
    let ports = bind()?;
    assert_ne!(ports.0, ports.1);
    assert_eq!(bind()?, ports, "each remembers its own");
    Ok(())
}

#[test]
fn isolation_says_who_shares_a_home() -> Result<()> {
    let scratch = Scratch::new();
    let home = |channel: &str, isolation| {
        Home::for_app("shop").channel(channel).isolation(isolation).under(scratch.path()).open()
    };
    let data = |channel, isolation| home(channel, isolation).map(|home| home.data_dir().to_owned());
    assert_eq!(data("stable", Isolation::Shared)?, scratch.file("data/shop"));
    assert_eq!(data("nightly", Isolation::Shared)?, scratch.file("data/shop"));
    assert_eq!(data("nightly", Isolation::PerChannel)?, scratch.file("data/shop/nightly"));
    let left = Isolation::PerInstance("left".into());
    assert_eq!(data("nightly", left.clone())?, scratch.file("data/shop/nightly/left"));
    let default = Home::for_app("shop").under(scratch.path()).open()?;
    assert_eq!(default.config_dir(), scratch.file("config/shop/stable"));
    assert_eq!(default.store_path("main")?, scratch.file("data/shop/stable/stores/main"));
    assert_eq!(fs::read_dir(scratch.path()).expect("is there").count(), 0, "opening creates nothing");

    let labelled = home("nightly", left)?;
    let me = labelled.register(Description::new("worker").app_version("3"))?;
    let record = me.record()?;
    assert_eq!((&*record.app, &*record.role, record.label.as_deref()), ("shop", "worker", Some("left")));
    Ok(())
}

#[test]
fn names_that_would_leave_the_home_are_refused() {
    let refused = |options: cohab_registry::HomeOptions, what: &str| {
        let error = options.under("/nowhere").create().expect_err(what).to_string();
        assert!(error.starts_with(what) && error.contains("lower-case"), "{error}");
    };
    refused(Home::for_app("../shop"), "app");
    refused(Home::for_app("shop").channel("Nightly"), "channel");
    refused(Home::for_app("shop").channel("instances"), "channel");
    refused(Home::for_app("shop").isolation(Isolation::PerInstance(String::new())), "label");
    let home = Home::for_app("shop").under("/nowhere").open().expect("nothing is created");
    assert!(home.store_path("a/b").is_err());
}

#[test]
fn directories_are_private_and_links_only_the_platforms() -> Result<()> {
    let scratch = Scratch::new();
    fs::create_dir(scratch.file("disk")).expect("can be made");
    symlink(scratch.file("disk"), scratch.file("base")).expect("can be made");
    let options = || Home::for_app("shop").under(scratch.file("base"));
    let home = options().create()?;
    for dir in dirs(&home) {
        let mode = fs::metadata(&dir).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
    }
    assert!(home.store_path("main")?.parent().is_some_and(Path::is_dir), "a store can be made there");

    fs::rename(scratch.file("disk/config/shop"), scratch.file("moved")).expect("can be moved");
    symlink(scratch.file("moved"), scratch.file("disk/config/shop")).expect("can be made");
    for home in [options().open(), options().create()] {
        let error = home.expect_err("is a link").to_string();
        assert!(error.contains("config/shop is a symbolic link"), "{error}");
    }
    Ok(())
}

/// It said that the base exists, which nobody doubted.
#[test]
fn a_base_that_cannot_be_examined_is_reported_with_the_reason() {
    let scratch = Scratch::new();
    symlink(scratch.file("base"), scratch.file("base")).expect("can be made");
    let error = Home::for_app("shop").under(scratch.file("base")).create().expect_err("leads nowhere");
    let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error}: {reason}").contains("symbolic links"), "{error}: {reason}");
}

/// Creates a home by the conventions of the platform, in the environment that the parent made.
#[test]
fn child_creates_a_home() -> Result<()> {
    if std::env::var_os("COHAB_REGISTRY_HOME").is_none() {
        return Ok(());
    }
    let home = Home::for_app("shop").channel("nightly").create()?;
    println!("\n@{:?}", dirs(&home));
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn the_platform_says_where_files_go() {
    let scratch = Scratch::new();
    let run = |set: &[(&str, PathBuf)]| {
        let mut command = Command::new(std::env::current_exe().expect("is known"));
        command.args(["home::child_creates_a_home", "--exact", "--nocapture"]);
        for name in ["DATA_HOME", "CONFIG_HOME", "CACHE_HOME", "STATE_HOME", "RUNTIME_DIR"] {
            command.env_remove(format!("XDG_{name}"));
        }
        command.env("COHAB_REGISTRY_HOME", "1").env("HOME", scratch.path()).envs(set.iter().cloned());
        let output = command.output().expect("runs");
        let output = String::from_utf8(output.stdout).expect("is text");
        output.lines().find_map(|line| line.strip_prefix('@')).expect("reports").to_owned()
    };
    let at = |dirs: &[&str]| format!("{:?}", dirs.iter().map(|dir| scratch.file(dir)).collect::<Vec<_>>());
    let below_home = [
        ".local/share/shop/nightly",
        ".config/shop/nightly",
        ".cache/shop/nightly",
        ".local/state/shop/nightly",
    ];
    assert_eq!(run(&[]), at(&below_home));
    let one = scratch.file("one");
    let all_in_one =
        ["DATA_HOME", "CONFIG_HOME", "CACHE_HOME", "STATE_HOME"].map(|name| format!("XDG_{name}"));
    let all_in_one: Vec<_> = all_in_one.iter().map(|name| (name.as_str(), one.clone())).collect();
    let apart = ["", "/config", "/cache", "/state"].map(|kind| format!("one/shop/nightly{kind}"));
    assert_eq!(run(&all_in_one), at(&apart.each_ref().map(String::as_str)), "one place, but no collision");
}
