//! Places where no store can be.

use std::fs;

use crate::support::Place;

#[test]
fn a_store_is_not_where_something_else_is() {
    let place = Place::bare();
    place.file("file", "content");
    fs::create_dir(place.path("full")).unwrap();
    fs::write(place.path("full/other"), "content").unwrap();
    let check = |path: &str, create: (i32, &str), read: (i32, &str)| {
        place.run(["init", "--store", path]).fails(create.0, create.1);
        place.run(["info", "--store", path]).fails(read.0, read.1);
        place.run(["put", "a", "k", "v", "--create", "--store", path]).ends(read.0);
    };
    check("file", (2, "is a file"), (2, "is a file, neither a store's directory nor a backup"));
    check("full", (2, "neither empty nor a store"), (1, "there is no store at full"));
    check("missing/parent", (1, "missing does not exist"), (1, "there is no store"));
    // How the system calls it is not for the command to judge.
    let below = place.run(["init", "--store", "file/below"]);
    assert!(matches!(below.code, Some(2 | 74)) && below.err.contains("file"), "{below:?}");
    assert_eq!(fs::read(place.path("file")).unwrap(), b"content");
    assert_eq!(fs::read_dir(place.path("full")).unwrap().count(), 1, "nothing was left there");
    let long = "d".repeat(300);
    let too_long = place.run(["init", "--store", &long]);
    assert!(matches!(too_long.code, Some(2 | 74)) && too_long.err.starts_with("cohab: "), "{too_long:?}");
}

#[test]
#[cfg(unix)]
fn a_store_behind_a_link_or_of_somebody_else_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    let place = Place::with_fruit();
    symlink(place.store(), place.path("link")).unwrap();
    place.run(["info", "--store", "link"]).fails(2, "symbolic link");
    place.run(["put", "fruit", "k", "v", "--store", "link"]).fails(2, "symbolic link");
    symlink(place.path("nowhere"), place.path("dangling")).unwrap();
    place.run(["init", "--store", "dangling"]).fails(2, "symbolic link");

    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o755)).unwrap();
    let checks = place.run(["doctor"]).ends(1).lines();
    assert!(checks[0]["check"] == "permissions" && checks[0]["ok"] == false, "{checks:?}");
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o700)).unwrap();
    place.run(["doctor"]).done();

    if !rustix::process::geteuid().is_root() {
        // Only root can give a directory away; a place that cannot be written is the other half of this.
        fs::set_permissions(place.store(), fs::Permissions::from_mode(0o500)).unwrap();
        place.run(["get", "fruit", "apple"]).done();
        let refused = place.run(["ns", "create", "x"]);
        fs::set_permissions(place.store(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_ne!(refused.code, Some(0));
        return;
    }
    chown(place.store(), Some(12345), None).unwrap();
    place.run(["info"]).fails(2, "belongs to user 12345");
    place.run(["put", "fruit", "k", "v"]).fails(2, "belongs to user 12345");
    place.run(["init"]).fails(2, "belongs to user 12345");
    chown(place.store(), Some(0), None).unwrap();
    chown(place.store().join("store.redb"), Some(12345), None).unwrap();
    place.run(["get", "fruit", "apple"]).fails(2, "belongs to user 12345");
}

#[test]
#[cfg(unix)]
fn pipes_and_directories_in_the_place_of_files_are_refused() {
    let place = Place::with_fruit();
    let card = place.store().join("store.json");
    fs::remove_file(&card).unwrap();
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &card, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    place.run(["info"]).fails(2, "not a regular file");
    fs::remove_file(&card).unwrap();
    fs::create_dir(&card).unwrap();
    place.run(["info"]).fails(2, "store.json");
    fs::remove_dir(&card).unwrap();
    place.run(["info"]).fails(1, "there is no store");
}
