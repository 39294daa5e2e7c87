//! What is told of the caches: `cohab ps`, `cohab ns stat`, and the records that both read.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cohab::limits::RECORD_NAMESPACES_MAX;
use cohab::{CacheRecord, Role, Store};
use serde_json::{Value, json};

use crate::held::Held;
use crate::support::{Place, Ran};

/// How long a record may lag behind on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn reader(place: &Place) -> Store {
    Store::options().role(Role::Reader).app("shop").open(place.store()).unwrap()
}

/// What a handle's record says of its cache, once that is as it should be.
#[track_caller]
fn told(store: &Store, is_so: impl Fn(&CacheRecord) -> bool) -> CacheRecord {
    let begin = Instant::now();
    loop {
        let mut instances = store.instances().unwrap();
        instances.retain(|instance| instance.id == store.instance());
        let cache = instances.remove(0).record.cache;
        match cache {
            Some(cache) if is_so(&cache) => return cache,
            cache => assert!(begin.elapsed() < PATIENCE, "{cache:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stat(place: &Place, arguments: &[&str]) -> Ran {
    place.run(["ns", "stat"].iter().chain(arguments)).done()
}

#[test]
fn each_process_tells_what_it_caches() {
    let place = Place::with_fruit();
    let mut writer = Held::start(&place, &["--app", "till", "--channel", "nightly", "--label", "till-1"]);
    let store = reader(&place);
    let fruit = store.cached("fruit").unwrap();
    for _ in 0..3 {
        assert_eq!(fruit.get("apple").unwrap().as_deref(), Some(&b"red"[..]));
        assert_eq!(fruit.get("durian").unwrap(), None);
    }
    let version = writer.done(&json!({"put": {"ns": "fruit", "key": "apple", "value": "green"}}));
    assert_eq!(fruit.get("apple").unwrap().as_deref(), Some(&b"green"[..]));
    let cache = told(&store, |cache| cache.invalidations == 1 && cache.misses == 3);
    assert_eq!((cache.hits, cache.entries, cache.floors), (4, 2, 0));

    let files = place.files();
    let listed = place.run(["ps", "-o", "json"]).done().json();
    let [of_writer, of_reader] = [&listed[0]["cache"], &listed[1]["cache"]];
    let fields = of_reader.as_object().unwrap();
    let names: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    let expected = ["budget", "bytes", "hits", "misses", "refusals", "evictions", "invalidations", "entries"];
    assert_eq!(names, BTreeSet::from(expected));
    assert!(fields.values().all(Value::is_u64), "{of_reader}");
    assert_eq!((&of_reader["hits"], &of_reader["misses"]), (&json!(4), &json!(3)));
    assert_eq!((&of_writer["hits"], &of_writer["misses"]), (&json!(0), &json!(0)));
    assert!(of_reader["budget"].as_u64() >= of_reader["bytes"].as_u64(), "{of_reader}");

    let told = stat(&place, &["fruit"]).json();
    for (field, value) in [
        ("name", json!("fruit")),
        ("keys", json!(3)),
        ("bytes", json!(32)),
        ("entry_bytes_avg", json!(10)),
        ("data_version", version["version"].clone()),
        ("meta_version", json!(1)),
    ] {
        assert_eq!(told[field], value, "{field} in {told}");
    }
    let processes = told["processes"].as_array().unwrap();
    let [process] = &processes[..] else { panic!("the writer does not read through its cache: {told}") };
    for (field, value) in [
        ("instance", json!(store.instance().to_string())),
        ("pid", json!(std::process::id())),
        ("hits", json!(4)),
        ("misses", json!(3)),
        ("hit_rate", json!(0.5714)),
        ("refusals", json!(0)),
        ("evictions", json!(0)),
        ("invalidations", json!(1)),
        ("floors", json!(0)),
        ("entries", json!(2)),
        ("horizon", version["version"].clone()),
        ("lag", json!(0)),
    ] {
        assert_eq!(process[field], value, "{field} in {process}");
    }
    assert!(process["bytes"].as_u64() > Some(0), "{process}");
    assert_eq!(process.as_object().unwrap().len(), 13);
    assert_eq!(stat(&place, &["-o", "json"]).json(), json!([told]));
    assert_eq!(place.files(), files, "looking makes nothing");
    writer.close();
}

#[test]
fn the_tables_are_readable_in_a_hundred_columns() {
    let place = Place::with_fruit();
    let about = ["--app", "storefront", "--channel", "nightly", "--label", "left-till"];
    let mut holds = [Held::start(&place, &about), Held::start(&place, &["--role", "standby"])];
    for hold in &mut holds {
        for _ in 0..8 {
            let read = hold.done(&json!({"cached_get": {"ns": "fruit", "key": "banana"}}));
            assert_eq!(read["value"], "yellow");
        }
        hold.fails("not_found", &json!({"cached_get": {"ns": "no", "key": "banana"}}));
    }
    let begin = Instant::now();
    let is_told = || {
        let listed = place.run(["ps"]).done().lines();
        listed.iter().all(|one| one["cache"]["hits"] == 7)
    };
    while !is_told() {
        assert!(begin.elapsed() < PATIENCE);
    }
    let table = |arguments: &[&str]| {
        let mut command = place.command();
        Ran::of(command.env("COLUMNS", "100").args(arguments).args(["-o", "table"])).done().text()
    };
    let ps = table(&["ps"]);
    let headings: Vec<&str> = ps.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        headings,
        ["ROLE", "PID", "APP", "LABEL", "PORTS", "UP", "VERSION", "SNAPSHOT", "HITS", "CACHE", "ID"]
    );
    assert!(ps.lines().count() == 3 && ps.lines().all(|line| line.chars().count() <= 100), "{ps}");
    assert!(ps.contains("87.5%") && ps.contains("left-till") && ps.contains("standby"), "{ps}");

    let all = table(&["ns", "stat"]);
    assert!(all.starts_with("NAME ") && all.contains("\n\nCACHED "), "{all}");
    assert_eq!(all.lines().filter(|line| line.contains("87.5%")).count(), 2, "{all}");
    let one = table(&["ns", "stat", "fruit"]);
    assert!(one.starts_with("name ") && one.contains("\n\nCACHED "), "{one}");
    assert_eq!(one.lines().filter(|line| line.contains("87.5%")).count(), 2, "{one}");
    for hold in holds {
        hold.close();
    }
    let alone = table(&["ns", "stat", "fruit"]);
    assert!(!alone.contains("CACHED"), "{alone}");
}

#[test]
fn the_statistics_of_what_is_not_there_are_refused() {
    let place = Place::new();
    assert!(stat(&place, &[]).lines().is_empty());
    assert!(stat(&place, &["-o", "table"]).text().is_empty());
    place.run(["ns", "stat", "fruit"]).fails(1, "there is no namespace `fruit`");
    place.run(["ns", "stat", "--spread"]).fails(2, "<NAME>");
    place.run(["ns", "create", "empty"]).done();
    let told = stat(&place, &["empty"]).json();
    assert_eq!((&told["entry_bytes_avg"], &told["processes"]), (&json!(null), &json!([])));
    place.run(["backup", "copy"]).done();
    let told = place.run(["--store", "copy", "ns", "stat", "empty"]).done().json();
    assert_eq!((&told["keys"], &told["processes"]), (&json!(0), &json!([])));
}

#[test]
fn a_record_names_the_namespaces_with_the_most_bytes_and_counts_all() {
    let place = Place::new();
    let store = Store::open(place.store()).unwrap();
    let count = u64::try_from(RECORD_NAMESPACES_MAX).unwrap() + 4;
    let name = |number: u64| format!("n{number:02}");
    store
        .write(|tx| {
            for number in 0..count {
                tx.create_namespace(name(number))?;
                tx.put(name(number), "key", "x".repeat(100 * (usize::try_from(number).unwrap() + 1)))?;
            }
            Ok(())
        })
        .unwrap();
    for number in 0..count {
        let cached = store.cached(name(number)).unwrap();
        assert!(cached.get("key").unwrap() == cached.get("key").unwrap());
    }
    let cache = told(&store, |cache| cache.hits == count);
    assert_eq!((cache.misses, cache.entries), (count, count));
    let names: Vec<String> = cache.namespaces.iter().map(|cached| cached.name.clone()).collect();
    let largest: Vec<String> = (4..count).rev().map(name).collect();
    assert_eq!(names, largest);
    let listed = stat(&place, &[]).lines();
    let told = listed.iter().filter(|line| !line["processes"].as_array().unwrap().is_empty());
    assert_eq!((listed.len(), told.count()), (largest.len() + 4, largest.len()));
}

/// Each record is a new file, so numbers that change with every read must not make one for each.
#[test]
#[cfg(unix)]
fn a_record_is_replaced_once_a_second_at_the_most_and_never_for_nothing() {
    use std::os::unix::fs::MetadataExt;

    let place = Place::with_fruit();
    let store = reader(&place);
    let fruit = store.cached("fruit").unwrap();
    fruit.get("apple").unwrap();
    told(&store, |cache| cache.misses == 1);
    let path = place.store().join("instances").join(format!("{}.json", store.instance()));
    let written = || {
        let metadata = std::fs::metadata(&path).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    };
    let changes = |time: Duration, read: bool| {
        let (begin, mut last, mut changes) = (Instant::now(), written(), 0);
        while begin.elapsed() < time {
            if read {
                fruit.get("apple").unwrap();
            }
            let now = written();
            changes += u32::from(now != last);
            last = now;
            std::thread::sleep(Duration::from_millis(10));
        }
        changes
    };
    let busy = changes(Duration::from_millis(2500), true);
    assert!((1..=3).contains(&busy), "{busy} in two and a half seconds");
    let hits = fruit.stats().hits;
    told(&store, |cache| cache.hits == hits);
    assert_eq!(changes(Duration::from_millis(1500), false), 0);
}
