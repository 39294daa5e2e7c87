//! What a store says of its plugins, made up: what the target `hostile_plugins` does with its input.
//!
//! Records, code, cursors and state of plugins are rows of the store, written by cohab alone. A replica takes them from
//! wherever its delta comes from, though, and once it is promoted they are put to use. Whatever they say, the store can be
//! written – or says why not –, and what was there is there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use arbitrary::Arbitrary;
use cohab::{Delta, Kind, Role, Store};
use cohab_core::{Name, NamespaceId, Timestamp, Version};
use cohab_log::{Chain, DeltaHeader, DeltaKind, DeltaWriter, Piece, Position};
use cohab_namespace::catalog::Stored;
use cohab_namespace::{Contents, Metadata, Record};
use cohab_plugin::{Bundle, Manifest};

use crate::memory_dir;

/// The input of one run.
#[derive(Clone, Debug, Arbitrary)]
pub struct Plugins {
    rows: Vec<(Place, Bytes)>,
    /// Parts of the good record of a good plugin to be replaced, as text.
    record: Vec<(Field, Bytes)>,
    /// What the good plugin's script is, if not the good one.
    script: Option<String>,
    request: Vec<u8>,
}

/// Where a row is.
#[derive(Clone, Debug, Arbitrary)]
enum Place {
    Record(Plugin),
    Code,
    Cursor(Plugin),
    State(Plugin),
    Schema(Plugin),
    Data(u8),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Plugin {
    Good,
    Other,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Field {
    Triggers,
    Grants,
    Mode,
    Enabled,
    Generation,
    Hash,
    Tier,
    Schema,
    Failure,
    Name,
}

#[derive(Clone, Debug, Arbitrary)]
enum Bytes {
    These(Vec<u8>),
    Text(String),
    Number(u64),
    /// Of the right form, for the replica itself or the store that it comes from.
    Cursor {
        is_own: bool,
        version: Count,
        offset: Count,
    },
    Null,
}

/// A number that is small, or hits a limit.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Count {
    Small(u8),
    Any(u64),
    Max,
}

impl Count {
    fn get(self) -> u64 {
        match self {
            Self::Small(number) => number.into(),
            Self::Any(number) => number,
            Self::Max => u64::MAX,
        }
    }
}

const GOOD: &str = r#"
fn on_commit(changes) { for change in changes { put("", change.key, "seen"); } }
fn before_commit(changes) { for change in changes { if change.after == "bad" { throw "bad"; } } }
fn on_request(input) { input }
fn on_schedule(due) { put("", "due", due.to_string()); }
"#;

const MANIFEST: &str = r#"
name = "good"
api = 1
entry = "p.rhai"
[[trigger]]
on = "commit"
namespaces = ["a"]
[[trigger]]
on = "before-commit"
namespaces = ["a"]
[[trigger]]
on = "request"
[limits]
fuel = 5000
time = "50ms"
before-commit-time = "50ms"
"#;

/// The namespaces, by the order of their ids.
const NAMESPACES: [&str; 6] =
    ["a", "_plugins", "_plugins.code", "_plugins.cursors", "_plugins/good", "_plugins/other"];

/// The store that it all is said to come from.
const SOURCE: &str = "c0aab000-0000-4000-8000-000000000001";

/// The most rows that are made up.
const ROWS_MAX: usize = 12;

type Rows = [BTreeMap<Vec<u8>, Vec<u8>>; NAMESPACES.len()];

/// Makes a replica of what the input says, promotes it, and puts its plugins to use.
///
/// # Panics
///
/// If that loses what the store held.
pub fn run_hostile_plugins(input: &Plugins) {
    let dir = memory_dir();
    let path = dir.path().join("store");
    let store = open(&path, true).expect("a store can be made");
    let rows = rows(input, &store.id().to_string());
    let delta = Delta::from_bytes(delta(&rows)).expect("is written as deltas are");
    store.apply(&delta).expect("the delta is sound");
    let promoted = store.promote_replica();
    see(&store, &rows[0], input);
    drop(store);
    match open(&path, false) {
        Ok(store) => see(&store, &rows[0], input),
        // Where it cannot be known whom to ask before a commit, nobody commits; but everybody may read.
        Err(error) => {
            assert!(matches!(error.kind(), Kind::Corrupt | Kind::Unsupported | Kind::Plugin), "{error}");
            let reader = Store::options().role(Role::Reader).register(false).open(&path);
            compare(&reader.expect("the store can be read"), &rows[0]);
        }
    }
    drop(promoted);
}

fn open(path: &Path, create: bool) -> cohab::Result<Store> {
    Store::options().create(create).cache_bytes(1 << 20).register(false).open(path)
}

fn see(store: &Store, data: &BTreeMap<Vec<u8>, Vec<u8>>, input: &Plugins) {
    compare(store, data);
    let plugins = store.plugins();
    let _ = plugins.list();
    for name in ["good", "other", ""] {
        let _ = (plugins.show(name), plugins.log(name));
        let _ = plugins.call(name, &input.request);
    }
    compare(store, data);
    let put = store.write(|tx| tx.put("a", "put", "1"));
    if let Ok(committed) = put {
        let snapshot = store.snapshot().expect("the store is sound");
        assert!(snapshot.version() >= committed.version);
        assert_eq!(snapshot.get("a", "put").expect("the store is sound").as_deref(), Some(&b"1"[..]));
    }
    let _ = plugins.catch_up(Duration::from_millis(20));
    let _ = plugins.disable("good");
    let _ = plugins.remove("other", false);
    let _ = store.write(|tx| tx.delete("a", "put").map(drop));
    let report = store.snapshot().expect("the store is sound").verify(|_| ()).expect("the store is sound");
    assert!(report.is_sound(), "{:?}", report.differences);
}

/// Compares what the application's own namespace holds, other than what was put there since.
fn compare(store: &Store, data: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let snapshot = store.snapshot().expect("the store is sound");
    let view = snapshot.namespace("a").expect("the store is sound");
    let entries = view.all().expect("the store is sound").map(|entry| {
        let entry = entry.expect("the store is sound");
        (entry.key().to_vec(), entry.value().to_vec())
    });
    let entries: BTreeMap<_, _> = entries.filter(|(key, _)| key != b"put").collect();
    assert_eq!(entries, *data);
}

fn rows(input: &Plugins, own: &str) -> Rows {
    let script = input.script.as_deref().unwrap_or(GOOD);
    let files = [(Manifest::FILE, MANIFEST), ("p.rhai", script)];
    let files = files.map(|(name, content)| (name.to_owned(), content.to_owned().into()));
    let bundle = Bundle::of(files);
    let mut rows = Rows::default();
    let hash = bundle.hash().to_string();
    rows[2].insert(hash.clone().into_bytes(), bundle.encode());
    rows[1].insert(b"good".to_vec(), record(&hash, &input.record, own));
    for (place, bytes) in input.rows.iter().take(ROWS_MAX) {
        let name = |plugin: &Plugin| match plugin {
            Plugin::Good => "good",
            Plugin::Other => "other",
        };
        let state = |plugin: &Plugin| 4 + usize::from(matches!(plugin, Plugin::Other));
        let (namespace, key) = match place {
            Place::Record(plugin) => (1, name(plugin).into()),
            Place::Code => (2, hash.clone().into_bytes()),
            Place::Cursor(plugin) => (3, name(plugin).into()),
            Place::State(plugin) => (state(plugin), b"k".to_vec()),
            Place::Schema(plugin) => (state(plugin), b"\0schema".to_vec()),
            Place::Data(key) => (0, vec![*key]),
        };
        rows[namespace].insert(key, bytes.to_vec(own));
    }
    rows
}

/// The record of a plugin that is in service, with fields replaced.
fn record(hash: &str, edits: &[(Field, Bytes)], own: &str) -> Vec<u8> {
    let mut record = serde_json::json!({
        "name": "good", "description": "", "source": "/nowhere", "mode": "production", "enabled": true,
        "disabled_because": null, "generation": 1, "hash": hash, "tier": "script", "api": 1, "schema": 1,
        "triggers": ["on_commit", "before_commit", "on_request"],
        "grants": {"read": ["a"], "write": [], "log": true, "clock": true},
        "loaded_at": 1, "failure": null,
    });
    for (field, bytes) in edits.iter().take(ROWS_MAX) {
        let field = match field {
            Field::Triggers => "triggers",
            Field::Grants => "grants",
            Field::Mode => "mode",
            Field::Enabled => "enabled",
            Field::Generation => "generation",
            Field::Hash => "hash",
            Field::Tier => "tier",
            Field::Schema => "schema",
            Field::Failure => "failure",
            Field::Name => "name",
        };
        let value = String::from_utf8_lossy(&bytes.to_vec(own)).into_owned();
        record[field] = serde_json::from_str(&value).unwrap_or(value.into());
    }
    record.to_string().into_bytes()
}

impl Bytes {
    fn to_vec(&self, own: &str) -> Vec<u8> {
        match self {
            Self::These(bytes) => bytes.clone(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Cursor { is_own, version, offset } => {
                let store = if *is_own { own } else { SOURCE };
                let (version, offset) = (version.get(), offset.get());
                format!(r#"{{"store":"{store}","version":{version},"offset":{offset}}}"#).into_bytes()
            }
            Self::Null => b"null".to_vec(),
        }
    }
}

/// Makes the delta of a whole store that holds these rows.
fn delta(rows: &Rows) -> Vec<u8> {
    let version = Version::new(7);
    let position = |version, chain| Position { version, chain };
    let (from, to) = (position(Version::ZERO, Chain::START), position(version, Chain::from_bytes([7; 32])));
    let ids = || (1..).map(NamespaceId::new).zip(rows);
    let next = NamespaceId::new(100);
    let store = SOURCE.parse().expect("is a uuid");
    let header = DeltaHeader::new(store, DeltaKind::Coalesced, from, to, Some(next));
    let mut delta = DeltaWriter::begin(&header, 64 << 20);
    let written = "is within the bounds of a delta";
    for ((id, _), name) in ids().zip(NAMESPACES) {
        let name = Name::any(name).expect("is a name");
        let record = Record::create(id, Metadata::new(name), version, Timestamp::from_micros(1));
        let record = record.expect("is within the bounds of a record").encode();
        let record = Some(serde_bytes::Bytes::new(&record));
        delta.piece(&Piece::Record { namespace: id, record }).expect(written);
    }
    for (id, entries) in ids() {
        let mut after = Contents::EMPTY;
        after.data_version = version;
        for (key, value) in entries {
            after.add(key, value);
        }
        let before = Contents::EMPTY;
        delta.piece(&Piece::Namespace { namespace: id, before, after, is_whole: true }).expect(written);
        for (key, value) in entries {
            delta.piece(&Piece::Put { key, value }).expect(written);
        }
    }
    delta.finish().expect(written)
}
