//! What authors of WebAssembly plugins begin with does what it says. `cargo xtask plugins` builds the templates, and names their
//! directories in `COHAB_TEMPLATES`; without it there are none to test.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by it, and shows what it did")]
#![cfg(feature = "wasm")]

mod common;

use cohab_core::{Timestamp, Version};
use cohab_plugin::{Bundle, ChangeRef, Changes, Code, Manifest};

use self::common::Running;

/// The templates whose manifest has this name.
fn templates(name: &str) -> Vec<Running> {
    let dirs = std::env::var_os("COHAB_TEMPLATES").unwrap_or_default();
    let bundles: Vec<_> = std::env::split_paths(&dirs)
        .filter(|dir| !dir.as_os_str().is_empty())
        .map(|dir| Bundle::read(&dir).unwrap())
        .collect();
    let named: Vec<_> = bundles
        .iter()
        .map(|bundle| (Manifest::of(bundle).unwrap(), bundle))
        .filter(|(manifest, _)| manifest.name == name)
        .map(|(manifest, bundle)| Running::new(&Code::compile(manifest, bundle).unwrap()).unwrap())
        .collect();
    assert_eq!(named.is_empty(), bundles.is_empty(), "`{name}` is among the templates");
    named
}

/// Changes of a namespace: key, value before, value after.
fn changes(namespace: &str, all: &[(&str, Option<&str>, Option<&str>)]) -> Changes {
    let mut changes = Changes::new();
    for (key, before, after) in all {
        changes.push(ChangeRef {
            version: Version::new(1),
            time: Timestamp::from_micros(common::NOW),
            namespace,
            key: key.as_bytes(),
            before: before.map(str::as_bytes),
            after: after.map(str::as_bytes),
        });
    }
    changes
}

#[test]
fn keys_are_counted_by_their_prefix() {
    for mut plugin in templates("per-prefix") {
        let put =
            [("fruit/apple", None, Some("1")), ("fruit/pear", None, Some("1")), ("nut", None, Some(""))];
        plugin.commit(&changes("items", &put)).unwrap();
        assert_eq!(plugin.reply("fruit"), "2");
        assert_eq!(plugin.reply("stone"), "0");
        assert_eq!(plugin.reply(""), "fruit 2\nnut 1\n");
        let gone =
            [("fruit/apple", Some("1"), Some("2")), ("fruit/pear", Some("1"), None), ("nut", Some(""), None)];
        plugin.commit(&changes("items", &gone)).unwrap();
        assert_eq!(plugin.reply(""), "fruit 1\n");
    }
}

#[test]
fn words_are_counted() {
    for mut plugin in templates("word-count") {
        let put = [("a", None, Some("One, two – ONE!")), ("b", None, Some("two größere"))];
        plugin.commit(&changes("texts", &put)).unwrap();
        assert_eq!(plugin.reply("one"), "2");
        assert_eq!(plugin.reply("Größere"), "1");
        assert_eq!(plugin.host.value("texts/words", "two"), Some(&b"2"[..]));
        let changed = [("a", Some("One, two – ONE!"), Some("one")), ("b", Some("two größere"), None)];
        plugin.commit(&changes("texts", &changed)).unwrap();
        assert_eq!(plugin.reply("one"), "1");
        assert_eq!(plugin.reply("two"), "0");
        assert_eq!(plugin.host.value("texts/words", "two"), None);
    }
}
