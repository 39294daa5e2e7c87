//! What a replica says of its plugins is what its source made of it.

use cohab::{Delta, DeltaKind, Kind, Name, NamespaceId, Result, Role, Store, Timestamp, Version};
use cohab_log::{Chain, DeltaHeader, DeltaWriter, Piece, Position};
use cohab_namespace::catalog::Stored;
use cohab_namespace::{Contents, Metadata, Record};

use crate::Scratch;

/// A source can be anybody's. The name in a plugin's record became part of the paths of its log, and the name of a thread: one
/// with `../` in it had cohab write files outside of the store, and one with a zero byte ended the process with a panic as
/// soon as the replica was promoted. What no manifest could have named is damage, wherever it comes from.
#[test]
fn a_plugin_is_not_called_what_leads_out_of_the_store() -> Result<()> {
    for name in ["../../escaped", "p\0", "", "P", "other"] {
        let scratch = Scratch::new();
        let store = scratch.store();
        let record = serde_json::json!({
            "name": name, "description": "", "source": "/nowhere", "mode": "production", "enabled": true,
            "disabled_because": null, "generation": 1, "hash": "0".repeat(64), "tier": "script", "api": 1,
            "schema": 1, "triggers": ["on_commit"], "grants": {}, "loaded_at": 1, "failure": null,
        });
        store.apply(&Delta::from_bytes(of_one_row("_plugins", b"p", record.to_string().as_bytes()))?)?;
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

/// Makes the delta of a whole store that holds one row.
fn of_one_row(namespace: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let (id, version) = (NamespaceId::FIRST, Version::new(1));
    let position = |version, chain| Position { version, chain };
    let (from, to) = (position(Version::ZERO, Chain::START), position(version, Chain::from_bytes([7; 32])));
    let store = "c0aab000-0000-4000-8000-000000000001".parse().expect("is a uuid");
    let header = DeltaHeader::new(store, DeltaKind::Coalesced, from, to, id.checked_next());
    let mut delta = DeltaWriter::begin(&header, 1 << 20);
    let metadata = Metadata::new(Name::any(namespace).expect("is a name"));
    let record =
        Record::create(id, metadata, version, Timestamp::from_micros(1)).expect("is in bounds").encode();
    let (before, mut after) = (Contents::EMPTY, Contents::EMPTY);
    after.data_version = version;
    after.add(key, value);
    for piece in [
        Piece::Record { namespace: id, record: Some(serde_bytes::Bytes::new(&record)) },
        Piece::Namespace { namespace: id, before, after, is_whole: true },
        Piece::Put { key, value },
    ] {
        delta.piece(&piece).expect("is in bounds");
    }
    delta.finish().expect("is in bounds")
}
