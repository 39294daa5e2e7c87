//! Writes the seeds that each fuzz target begins with: a few small inputs of its format, of which most are good.
//!
//! ```text
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```
//!
//! They are committed, so this runs again only when a format changes. What a failure was found with is committed
//! beside them by hand.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::path::Path;

use cohab::typed::Key;
use cohab_core::{Contents, Epoch, InstanceId, Name, NamespaceId, StoreId, Timestamp, Token, Version};
use cohab_exchange::dump::{NamespaceHeader, Writer};
use cohab_log::{
    Chain, Change, DeltaHeader, DeltaKind, DeltaWriter, Header, Piece, Position, RecordWriter, Summary,
};
use cohab_namespace::catalog::{Root, Stored, Upstream, kept_key, reclaim_key, trash_key};
use cohab_namespace::{Kept, Metadata, Operation, Record, Update};
use cohab_plugin::Bundle;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How many plans there are for a store; each takes some ten milliseconds.
const PLANS: usize = 24;

fn main() -> Result<()> {
    for (target, seeds) in [
        ("bundle", bundle()),
        ("catalog", catalog()?),
        ("checkpoint", texts(CHECKPOINTS)),
        ("counters", plans(12, 40)),
        ("deb822", texts(DEB822)),
        ("delta", delta()?),
        ("dump", dump()?),
        ("hostile_files", plans(PLANS, 60)),
        ("hostile_plugins", plans(PLANS, 80)),
        ("hostile_store", plans(PLANS, 30)),
        ("jsonl", texts(JSONL)),
        ("keys", keys()),
        ("log_record", log_record()?),
        ("manifest", texts(MANIFESTS)),
        ("operations", texts(OPERATIONS)),
        ("page", plans(12, 60)),
        ("records", texts(RECORDS)),
        ("schedule", schedule()),
        ("script", texts(SCRIPTS)),
        ("store_ops", plans(PLANS, 200)),
    ] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&dir)?;
        seeds.iter().try_for_each(|(name, bytes)| fs::write(dir.join(name), bytes))?;
    }
    Ok(())
}

type Seeds = BTreeMap<String, Vec<u8>>;

fn texts(texts: &[(&str, &str)]) -> Seeds {
    texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect()
}

const DEB822: &[(&str, &str)] = &[
    ("one", "Package: hello\nVersion: 2.10-3\nArchitecture: amd64\nSection: devel\n"),
    (
        "continued",
        "Package: hello\nDescription: says hello\n to whoever\n .\n\tlistens\n\n# a comment\nPackage: bye\n# within\nVersion: 1\n",
    ),
    (
        "repeated",
        "Package: a\nVersion: 1\nArchitecture: all\n\nPackage: a\nVersion: 1\nArchitecture: all\n\nPackage: a\nVersion: 1\n\
         Architecture: all\n\nPackage: a\nVersion: 1\nArchitecture: all\n",
    ),
    ("dos", "\r\n \r\nPackage: a\r\nX-Field: 1\r\n\r\n\r\nPackage: b\r\n"),
    ("no-package", "Version: 1\n"),
    ("stray-continuation", " a\nPackage: b\n"),
];

const JSONL: &[(&str, &str)] = &[
    ("plain", "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"\"}\n"),
    ("base64", "{\"key\":{\"base64\":\"AA==\"},\"value\":{\"base64\":\"/w==\"}}"),
    ("scanned", "{\"ns\":\"n\",\"key\":\"k\",\"value\":\"v\",\"version\":7}\r\n\n \t\n"),
    ("escaped", "{\"key\":\"\\u0000\\\"\\\\\\n\\ud83e\\udd80\",\"value\":\"Gr\u{fc}\u{df}e\"}\n"),
    ("no-value", "{\"key\":\"a\"}\n"),
    ("twice", "{\"key\":\"a\",\"value\":\"1\",\"key\":\"b\"}\n"),
];

const OPERATIONS: &[(&str, &str)] = &[
    (
        "changes",
        "{\"put\":{\"ns\":\"a\",\"key\":\"k\",\"value\":\"v\"}}\n{\"put\":{\"ns\":\"a/b\",\"key\":\"\",\"value\":\"\",\"create\":true}}\n\
         {\"del\":{\"ns\":\"a\",\"key\":{\"base64\":\"/w==\"}}}\n",
    ),
    (
        "key-expectations",
        "{\"expect\":{\"ns\":\"a\",\"key\":\"k\",\"value\":\"v\"}}\n{\"expect\":{\"ns\":\"a\",\"key\":\"k\",\"version\":7}}\n\
         {\"expect\":{\"ns\":\"a\",\"key\":\"k\",\"absent\":true}}\n{\"expect\":{\"ns\":\"a\",\"key\":\"k\",\"absent\":false}}\n",
    ),
    (
        "version-expectations",
        "{\"expect\":{\"ns\":\"a\",\"data_version\":7}}\n\n{\"expect\":{\"ns\":\"a\",\"meta_version\":18446744073709551615}}\n\
         {\"expect\":{\"version\":0}}",
    ),
    (
        "two-at-once",
        "{\"put\":{\"ns\":\"a\",\"key\":\"k\",\"value\":\"v\"},\"del\":{\"ns\":\"a\",\"key\":\"k\"}}",
    ),
    ("bad-name", "{\"del\":{\"ns\":\"a/../b\",\"key\":\"k\"}}"),
];

const CHECKPOINT_BEGUN: &str = "{}";
const CHECKPOINT_WITHIN: &str = "{}";

const CHECKPOINTS: &[(&str, &str)] = &[
    ("begun", CHECKPOINT_BEGUN),
    ("within-rows", CHECKPOINT_WITHIN),
    ("other-form", "{\"cohab_checkpoint\":2,\"course\":{}}"),
];

const MANIFESTS: &[(&str, &str)] = &[
    ("by-customer", include_str!("../../examples/plugins/by-customer/plugin.toml")),
    ("daily-summary", include_str!("../../examples/plugins/daily-summary/plugin.toml")),
    ("valid-order", include_str!("../../examples/plugins/valid-order/plugin.toml")),
    (
        "everything",
        "name = \"a\"\ndescription = \"d\"\napi = 1\nentry = \"a.rhai\"\nschema = 2\n[[trigger]]\non = \"commit\"\n\
         namespaces = [\"a\", \"b/*\", \"*\"]\nprefixes = [\"p\"]\nstart = \"existing\"\n[[trigger]]\non = \"before-commit\"\n\
         namespaces = [\"a\"]\non-failure = \"allow\"\n[[trigger]]\non = \"schedule\"\ncron = \"0 4 * * MON-FRI\"\n[grants]\n\
         read = [\"a/*\"]\nwrite = [\"b\"]\nlog = true\nclock = true\n[limits]\nmemory = \"16MiB\"\nfuel = 1000\n\
         time = \"1s\"\nbefore-commit-time = \"50ms\"\nmigrate-time = \"10s\"\nwrites = \"1MiB\"\ncache = 0\n[on-error]\n\
         policy = \"retry\"\nattempts = 3\nbackoff = \"100ms\"\nbackoff-max = \"1m\"\n",
    ),
    (
        "every",
        "name = \"a\"\napi = 1\nentry = \"a.wasm\"\n[[trigger]]\non = \"schedule\"\nevery = \"1h 30m\"\n",
    ),
];

const RECORDS: &[(&str, &str)] = &[
    (
        "holder",
        "{\"instance\":\"01890000-0000-7000-8000-000000000001\",\"role\":\"writer\",\"pid\":4711,\"since\":1}",
    ),
    (
        "lock",
        "{\"name\":\"job\",\"mode\":\"exclusive\",\"token\":7,\"instance\":null,\"role\":\"lock\",\"pid\":1,\"since\":1,\
         \"app\":\"a\",\"channel\":\"c\",\"app_version\":\"1\",\"label\":\"l\"}",
    ),
    (
        "instance",
        "{\"schema\":1,\"id\":\"01890000-0000-7000-8000-000000000001\",\"role\":\"reader\",\"pid\":7,\"started\":1,\"host\":\"h\",\
         \"boot\":null,\"app\":\"\",\"channel\":\"\",\"app_version\":\"\",\"label\":null,\"ports\":[{\"name\":\"http\",\"port\":80}],\
         \"version\":3,\"snapshot_since\":null,\"snapshot_version\":null,\"cache\":{\"budget\":1,\"namespaces\":[]}}",
    ),
    ("port", "{\"port\":80,\"preference\":{\"ranges\":[],\"is_strict\":false,\"address\":null}}"),
    ("card", "{\"store\":\"c0aab000-0000-4000-8000-000000000001\",\"format\":2,\"oldest_format\":2}"),
    (
        "follower",
        "{\"replica\":\"c0aab000-0000-4000-8000-000000000001\",\"version\":41,\"at\":1,\"path\":\"/replica\"}",
    ),
    (
        "plugin",
        "{\"name\":\"p\",\"description\":\"\",\"source\":\"/p\",\"mode\":\"production\",\"enabled\":true,\
         \"disabled_because\":null,\"generation\":1,\
         \"hash\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"tier\":\"script\",\"api\":1,\
         \"schema\":1,\"triggers\":[\"on_commit\"],\"grants\":{\"read\":[\"a\"],\"write\":[],\"log\":true,\"clock\":false},\
         \"loaded_at\":1,\"failure\":null}",
    ),
    (
        "cursor",
        "{\"store\":\"c0aab000-0000-4000-8000-000000000001\",\"version\":7,\"offset\":2,\
         \"existing\":{\"namespace\":\"a\",\"after\":[1,2]},\"due\":9}",
    ),
    ("log-line", "{\"at\":1,\"level\":\"info\",\"generation\":3,\"text\":\"t\"}"),
];

const SCRIPTS: &[(&str, &str)] = &[
    ("by-customer", include_str!("../../examples/plugins/by-customer/plugin.rhai")),
    ("daily-summary", include_str!("../../examples/plugins/daily-summary/plugin.rhai")),
    ("valid-order", include_str!("../../examples/plugins/valid-order/plugin.rhai")),
    ("contract", include_str!("../../crates/cohab-plugin/tests/guests/script/plugin.rhai")),
    ("echo", "fn on_request(input) { put(\"\", input, \"1\"); input }\0request"),
    (
        "loops",
        "const N = 3;\nfn on_request(i) { let a = []; loop { a.push(i); } }\nfn on_commit(c) { c.map(|x| x.key) }",
    ),
    (
        "grows",
        "fn on_request(i) { let t = i; while t.len < 1000000 { t += t; } t }\nfn check() { throw `${1 + 1}`; }",
    ),
];

fn name(text: &str) -> Result<Name> {
    Ok(Name::new(text)?)
}

fn store_id() -> Result<StoreId> {
    Ok("c0aab000-0000-4000-8000-000000000001".parse()?)
}

fn contents() -> Contents {
    let mut contents = Contents::EMPTY;
    contents.data_version = Version::new(300);
    contents.add(b"key", b"value");
    contents
}

fn record() -> Result<Record> {
    let made = Timestamp::from_micros(1_767_268_800_000_000);
    let record = Record::create(NamespaceId::new(7), Metadata::new(name("a/b")?), Version::new(3), made)?;
    let update = Update::new().title("T").description("D").label("k", "v").protected(true);
    Ok(record.update(&update, Version::new(400))?)
}

fn catalog() -> Result<Seeds> {
    let mut root = Root::new(store_id()?, Timestamp::from_micros(1));
    let new = root.encode();
    root.origin = Some(Token { store: store_id()?, version: Version::new(5) });
    (root.version, root.next_namespace, root.log_bytes) = (Version::new(1 << 40), None, 1 << 33);
    let upstream = Upstream {
        store: store_id()?,
        version: Version::new(7),
        chain: [7; 32],
        local: Version::new(5),
        promoted: false,
    };
    (root.kept, root.upstream) = (Some(Version::new(6)), Some(upstream));
    let record = record()?;
    let unprotected = record.update(&Update::new().protected(false), Version::new(401))?;
    let dropped = unprotected.dropped(&contents(), true, Version::new(402), Timestamp::from_micros(9))?;
    let id = NamespaceId::new(7);
    Ok(Seeds::from([
        ("root-new".into(), new),
        ("root-old".into(), root.encode()),
        ("record".into(), record.encode()),
        ("record-dropped".into(), dropped.encode()),
        ("contents".into(), contents().encode()),
        ("kept".into(), Kept::named(Version::new(6), Timestamp::from_micros(1), "note".into()).encode()),
        (
            "kept-safety".into(),
            Kept::safety(Version::new(6), Timestamp::from_micros(1), Operation::Drop, Some((id, "a/b")))
                .encode(),
        ),
        ("kept-key".into(), kept_key(&name("a/b")?)),
        ("id".into(), NamespaceId::new(u32::MAX).encode()),
        ("trash-key".into(), trash_key(&name("a/b")?, Version::new(402), id)),
        ("reclaim-key".into(), reclaim_key(id).to_vec()),
    ]))
}

fn log_record() -> Result<Seeds> {
    let instance: InstanceId = "01890000-0000-7000-8000-000000000001".parse()?;
    let header = Header {
        version: Version::new(400),
        epoch: Epoch::new(2),
        instance,
        time: Timestamp::from_micros(1_767_268_800_000_000),
        label: "a label".into(),
        previous: Chain::from_bytes([7; 32]),
    };
    let id = NamespaceId::new(7);
    let record = |fill: &dyn Fn(&mut RecordWriter)| {
        let mut record = RecordWriter::begin(&header);
        fill(&mut record);
        let mut chunks = Vec::new();
        let Ok(_) = record.finish(|_, chunk| {
            chunks.extend_from_slice(chunk);
            Ok::<_, Infallible>(())
        });
        chunks
    };
    let before_version = Version::new(300);
    let changes = record(&|record| {
        record.change(id, Change::Insert { key: b"k1", value: b"v1" });
        record.change(id, Change::Update { key: b"k2", before: b"", before_version, value: b"v2" });
        record.change(NamespaceId::new(8), Change::Delete { key: b"", before: &[9; 200], before_version });
        let mut after = Contents::EMPTY;
        after.add(b"k1", b"v1");
        record.summary(Summary { namespace: id, before: Contents::EMPTY, after });
    });
    let encoded = self::record()?.encode();
    let metadata = record(&|record| {
        record.metadata(id, None, Some(&encoded));
        record.metadata(id, Some(&encoded), None);
        record.unrecorded(id, 1000);
    });
    let torn = changes[..changes.len() / 2].to_vec();
    Ok(Seeds::from([("changes".into(), changes), ("metadata".into(), metadata), ("torn".into(), torn)]))
}

fn delta() -> Result<Seeds> {
    let position = |version, chain| Position { version: Version::new(version), chain };
    let (from, to) = (position(399, Chain::START), position(401, Chain::from_bytes([7; 32])));
    let (namespace, purged) = (NamespaceId::new(7), NamespaceId::new(8));
    let written = |kind, pieces: &[Piece<'_>]| -> Result<Vec<u8>> {
        let header = DeltaHeader::new(store_id()?, kind, from, to, Some(NamespaceId::new(9)));
        let mut delta = DeltaWriter::begin(&header, 1 << 20);
        pieces.iter().try_for_each(|piece| delta.piece(piece))?;
        Ok(delta.finish()?)
    };
    let encoded = record()?.encode();
    let (before, after) = (Contents::EMPTY, contents());
    let changes = [
        Piece::Record { namespace: purged, record: None },
        Piece::Record { namespace, record: Some(serde_bytes::Bytes::new(&encoded)) },
        Piece::Namespace { namespace, before, after, is_whole: false },
        Piece::Put { key: b"", value: &[9; 200] },
        Piece::Delete { key: b"k1" },
        Piece::Put { key: b"k2", value: b"" },
    ];
    let whole = [
        Piece::Namespace { namespace, before, after, is_whole: true },
        Piece::Put { key: b"key", value: b"value" },
    ];
    let instance: InstanceId = "01890000-0000-7000-8000-000000000001".parse()?;
    let version = |version, label| {
        let time = Timestamp::from_micros(1_767_268_800_000_000);
        Piece::Version { version: Version::new(version), time, instance, label }
    };
    let versions = [&[version(400, "a label")], &changes[..], &[version(401, "")], &whole].concat();
    // The target also takes pieces as they are, behind a byte that says of which kind the delta is.
    let bare = |kind: u8, pieces: &[Piece<'_>]| -> Result<Vec<u8>> {
        Ok(pieces.iter().try_fold(vec![kind], |bytes, piece| postcard::to_extend(piece, bytes))?)
    };
    let coalesced = written(DeltaKind::Coalesced, &changes)?;
    let cut_off = coalesced[..coalesced.len() - 40].to_vec();
    let mut next_format = coalesced.clone();
    next_format[8] += 1;
    Ok(Seeds::from([
        ("empty".into(), written(DeltaKind::Coalesced, &[])?),
        ("coalesced".into(), coalesced),
        ("whole".into(), written(DeltaKind::Coalesced, &whole)?),
        ("complete".into(), written(DeltaKind::Complete, &versions)?),
        ("bare-coalesced".into(), bare(0, &changes)?),
        ("bare-complete".into(), bare(1, &versions)?),
        ("cut-off".into(), cut_off),
        ("next-format".into(), next_format),
    ]))
}

fn dump() -> Result<Seeds> {
    type Entries<'a> = &'a [(&'a [u8], &'a [u8])];
    let written = |namespaces: &[(&str, Entries<'_>)]| -> Result<Vec<u8>> {
        let mut dump = Writer::begin(Vec::new())?;
        for (name_text, entries) in namespaces {
            let mut header = NamespaceHeader::new(name(name_text)?);
            header.title = format!("Title of {name_text}");
            header.labels.insert("k".into(), "v".into());
            dump.namespace(&header)?;
            entries.iter().try_for_each(|(key, value)| dump.entry(key, value))?;
            dump.end_namespace()?;
        }
        Ok(dump.finish()?)
    };
    let two =
        written(&[("a", &[(b"", b""), (b"k", b"v"), (b"\xff", b"\0\xff")]), ("a/b", &[(b"k", b"\"\\\n")])])?;
    let cut_off = two[..two.len() - 10].to_vec();
    let next_format = b"{\"cohab_dump\":2}\n".to_vec();
    Ok(Seeds::from([
        ("empty".into(), written(&[])?),
        ("one-empty-namespace".into(), written(&[("n", &[])])?),
        ("two-namespaces".into(), two),
        ("cut-off".into(), cut_off),
        ("next-format".into(), next_format),
    ]))
}

fn keys() -> Seeds {
    // The first byte says which type it is, as the target has them.
    fn encoded(choice: u8, key: &impl Key) -> Vec<u8> {
        let mut bytes = vec![choice];
        key.encode(&mut bytes);
        bytes
    }
    Seeds::from([
        ("bool".into(), encoded(2, &true)),
        ("char".into(), encoded(3, &'\u{1f980}')),
        ("integers".into(), encoded(6, &(7_u16, -7_i32))),
        ("text-and-number".into(), encoded(7, &("a\0b".to_owned(), 1_u64 << 63))),
        ("nested".into(), encoded(9, &("a".to_owned(), (vec![0, 0xFF, 0], true), 'z'))),
        ("unfinished-text".into(), b"\x08a\0".to_vec()),
    ])
}

fn bundle() -> Seeds {
    let of = |files: &[(&str, &'static str)]| {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), (*content).into()));
        Bundle::of(files).encode()
    };
    Seeds::from([
        ("empty".into(), of(&[])),
        ("one".into(), of(&[("plugin.toml", "name = \"a\"")])),
        ("two".into(), of(&[("lib/a.rhai", "fn f() {}"), ("plugin.toml", "")])),
        ("elsewhere".into(), of(&[("../a", "x")])),
    ])
}

/// When it was last due, what time it is, and the text.
fn schedule() -> Seeds {
    let noon: u64 = 1_767_268_800_000_000;
    let texts = [
        ("every", "1h 30m"),
        ("short", "100ms"),
        ("cron", "0 4 * * MON-FRI"),
        ("zone", "30 2 1 * * Europe/Berlin"),
        ("never", "0 0 30 2 *"),
        ("leap", "59 23 29 2 *"),
        ("last", "0 0 L * *"),
    ];
    let seed =
        |text: &str| [&(noon - 86_400_000_000).to_le_bytes(), &noon.to_le_bytes(), text.as_bytes()].concat();
    texts.iter().map(|(name, text)| ((*name).to_owned(), seed(text))).collect()
}

/// Any bytes are a plan, so these are bytes that look random.
fn plans(count: usize, len: usize) -> Seeds {
    let plan = |number: usize| random(number as u64).take(len + len / 8 * number).collect();
    (1..=count).map(|number| (format!("plan-{number:02}"), plan(number))).collect()
}

/// SplitMix64: the same bytes wherever this runs.
fn random(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 56) as u8
    })
}
