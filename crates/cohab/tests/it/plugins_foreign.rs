//! What a replica says of its plugins is what its source made of it.

use std::time::{Duration, Instant};

use cohab::{Delta, DeltaKind, Kind, Name, NamespaceId, Result, Role, Store, Timestamp, Version};
use cohab_log::{Chain, DeltaHeader, DeltaWriter, Piece, Position};
use cohab_namespace::catalog::Stored;
use cohab_namespace::{Contents, Metadata, Record};
use cohab_plugin::Bundle;

use crate::Scratch;

/// A source can be anybody's. The name in a plugin's record became part of the paths of its log, and the name of a thread: one
/// with `../` in it had cohab write files outside of the store, and one with a zero byte ended the process with a panic as
/// soon as the replica was promoted. What no manifest could have named is damage, wherever it comes from.
#[test]
fn a_plugin_is_not_called_what_leads_out_of_the_store() -> Result<()> {
    for name in ["../../escaped", "p\0", "", "P", "other"] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let record = record(name, &"0".repeat(64)).to_string();
        store.apply(&Delta::from_bytes(of_rows(&[("_plugins", b"p", record.as_bytes())]))?)?;
        let promoted = store.promote_replica().expect_err(name);
        assert_eq!(promoted.kind(), Kind::Corrupt, "{promoted}");
        assert!(promoted.to_string().contains("says that it is called"), "{promoted}");
        let snapshot = store.snapshot()?;
        assert!(!snapshot.upstream().expect("is a replica").promoted, "it still is a replica");
        drop((snapshot, store));
        for entry in scratch.dir.path().read_dir().expect("is there") {
            let found = entry.expect("is there").file_name();
            assert_eq!(Some(&*found), scratch.path().file_name(), "this lies outside of the store");
        }
        // Everybody can read it, and it is known what is wrong with it.
        assert!(
            Store::options().role(Role::Reader).open(scratch.path())?.snapshot()?.verify(|_| ())?.is_sound()
        );
    }
    Ok(())
}

/// A cursor that comes from elsewhere may be at any version. One at the last there can be ended the plugin's thread with a panic,
/// and nobody was told why the plugin was not called any more.
#[test]
fn a_cursor_that_is_ahead_of_the_store_is_told_of() -> Result<()> {
    let scratch = Scratch::new();
    let store = scratch.store();
    let manifest =
        "name = \"p\"\napi = 1\nentry = \"p.rhai\"\n[[trigger]]\non = \"commit\"\nnamespaces = [\"a\"]\n";
    let files = [("plugin.toml", manifest), ("p.rhai", "fn on_commit(changes) {}")];
    let bundle = Bundle::of(files.map(|(name, content)| (name.to_owned(), content.into())));
    let hash = bundle.hash().to_string();
    let record = record("p", &hash).to_string();
    let cursor = format!("{{\"store\":\"{}\",\"version\":{}}}", store.id(), u64::MAX);
    store.apply(&Delta::from_bytes(of_rows(&[
        ("a", b"k", b"v"),
        ("_plugins", b"p", record.as_bytes()),
        ("_plugins.code", hash.as_bytes(), &bundle.encode()),
        ("_plugins.cursors", b"p", cursor.as_bytes()),
    ]))?)?;
    store.promote_replica()?;
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        store.write(|tx| tx.put("a", "k", "v2"))?;
        let _ = store.plugins().catch_up(Duration::from_millis(20));
        let stalled = store.plugins().show("p")?.stalled;
        if stalled.is_some_and(|why| why.contains("its cursor is at version 18446744073709551615")) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "nobody tells that the plugin is stalled");
    }
}

fn record(name: &str, hash: &str) -> serde_json::Value {
    serde_json::json!({
        "name": name, "description": "", "source": "/nowhere", "mode": "production", "enabled": true,
        "disabled_because": null, "generation": 1, "hash": hash, "tier": "script", "api": 1, "schema": 1,
        "triggers": ["on_commit"], "grants": {"read": ["a"]}, "loaded_at": 1, "failure": null,
    })
}

/// Makes the delta of a whole store that holds these rows, each in a namespace of its own.
fn of_rows(rows: &[(&str, &[u8], &[u8])]) -> Vec<u8> {
    let version = Version::new(1);
    let position = |version, chain| Position { version, chain };
    let (from, to) = (position(Version::ZERO, Chain::START), position(version, Chain::from_bytes([7; 32])));
    let store = "c0aab000-0000-4000-8000-000000000001".parse().expect("is a uuid");
    let next = Some(NamespaceId::new(100));
    let header = DeltaHeader::new(store, DeltaKind::Coalesced, from, to, next);
    let mut delta = DeltaWriter::begin(&header, 1 << 20);
    let ids = || (1..).map(NamespaceId::new).zip(rows);
    for (id, (namespace, ..)) in ids() {
        let metadata = Metadata::new(Name::any(*namespace).expect("is a name"));
        let record = Record::create(id, metadata, version, Timestamp::from_micros(1)).expect("is in bounds");
        let record = record.encode();
        let record = Some(serde_bytes::Bytes::new(&record));
        delta.piece(&Piece::Record { namespace: id, record }).expect("is in bounds");
    }
    for (id, (_, key, value)) in ids() {
        let (before, mut after) = (Contents::EMPTY, Contents::EMPTY);
        after.data_version = version;
        after.add(key, value);
        delta
            .piece(&Piece::Namespace { namespace: id, before, after, is_whole: true })
            .expect("is in bounds");
        delta.piece(&Piece::Put { key, value }).expect("is in bounds");
    }
    delta.finish().expect("is in bounds")
}
