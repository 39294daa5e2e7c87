//! Plugins beside the data: called for what is committed, replaced while everything goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab::{AddPlugin, Error, Kind, PluginMode, PluginSource, ReloadPlugin, Result, Role, Store};

use crate::Scratch;

const PATIENCE: Duration = Duration::from_secs(20);

/// A plugin's directory.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(scratch: &Scratch, name: &str, manifest: &str, script: &str) -> Self {
        let path = scratch.path().with_file_name(format!("plugin-{name}"));
        fs::create_dir_all(&path).expect("can be made");
        let folder = Self { path };
        folder
            .write("plugin.toml", &format!("name = \"{name}\"\napi = 1\nentry = \"main.rhai\"\n{manifest}"));
        folder.write("main.rhai", script);
        folder
    }

    /// One that is there.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).expect("can be written");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

pub(crate) const INDEX: &str = r#"
[[trigger]]
on = "commit"
namespaces = ["orders"]
start = "existing"
[[trigger]]
on = "request"
[grants]
write = ["index"]
log = true
"#;

/// Keeps which orders a customer has.
pub(crate) const INDEX_V1: &str = r#"
fn on_commit(changes) {
    for change in changes {
        if change.before != () { delete("index", change.before + "/" + change.key); }
        if change.after != () { put("index", change.after + "/" + change.key, "v1"); }
    }
}
fn on_request(input) { "v1 " + input }
"#;

pub(crate) fn open(scratch: &Scratch) -> Store {
    let store = Store::open(scratch.path()).expect("can be opened");
    store.write(|tx| tx.ensure_namespace("orders")).expect("can be made");
    store
}

pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn has_caught_up(store: &Store, plugin: &str) -> bool {
    store.plugins().show(plugin).expect("is there").lag == Some(0)
}

pub(crate) fn value(store: &Store, namespace: &str, key: &str) -> Option<String> {
    let snapshot = store.refresh().expect("can be read");
    match snapshot.get(namespace, key) {
        Ok(value) => value.map(|value| String::from_utf8_lossy(&value).into_owned()),
        Err(error) if error.kind() == Kind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_commit_hook_keeps_an_index_of_what_is_there_and_of_what_is_committed() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    store.write(|tx| tx.put("orders", "1", "ada"))?;
    let folder = Folder::new(&scratch, "index", INDEX, INDEX_V1);
    let added = store.plugins().add(folder.path(), AddPlugin::new())?;
    assert_eq!(added.value, "index");
    store.write(|tx| {
        tx.put("orders", "2", "bob")?;
        tx.put("orders", "3", "ada")
    })?;
    store.write(|tx| tx.put("orders", "1", "bob"))?;
    store.write(|tx| tx.delete("orders", "3").map(drop))?;
    wait_for("the index", || has_caught_up(&store, "index"));
    let snapshot = store.refresh()?;
    let keys: Vec<_> = snapshot
        .namespace("index")?
        .all()?
        .map(|entry| Ok(String::from_utf8_lossy(entry?.key()).into_owned()))
        .collect::<Result<_>>()?;
    assert_eq!(keys, ["bob/1", "bob/2"]);
    assert_eq!(store.plugins().call("index", b"there?")?, "v1 there?");
    Ok(())
}

#[test]
fn an_edit_takes_effect_and_a_broken_one_leaves_the_last_good_one_in_service() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let folder = Folder::new(&scratch, "index", INDEX, INDEX_V1);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    folder.write("main.rhai", &INDEX_V1.replace("v1", "v2"));
    wait_for("the second generation", || store.plugins().call("index", b"").expect("answers") == "v2 ");
    folder.write("main.rhai", "fn on_commit(changes) {\n  put(\"index\", \"a\",\n}\n");
    wait_for("the failure", || store.plugins().show("index").expect("is there").record.failure.is_some());
    let status = store.plugins().show("index")?;
    let failure = status.record.failure.expect("was just there");
    assert_eq!(failure.error.file.as_deref(), Some("main.rhai"));
    assert!(failure.error.line.is_some(), "{failure:?}");
    assert_eq!((status.record.generation, status.source_state), (2, PluginSource::Refused));
    assert_eq!(store.plugins().call("index", b"")?, "v2 ");
    folder.write("main.rhai", &INDEX_V1.replace("v1", "v3"));
    wait_for("the third generation", || store.plugins().call("index", b"").expect("answers") == "v3 ");
    let status = store.plugins().show("index")?;
    assert_eq!((status.record.generation, status.record.failure), (3, None));
    Ok(())
}

#[test]
fn a_plugin_in_production_changes_when_it_is_told_to() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let folder = Folder::new(&scratch, "index", INDEX, INDEX_V1);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    folder.write("main.rhai", &INDEX_V1.replace("v1", "v2"));
    wait_for("word of the change", || {
        store.plugins().show("index").expect("is there").source_state == PluginSource::Changed
    });
    assert_eq!(store.plugins().call("index", b"")?, "v1 ");
    assert_eq!(store.plugins().reload("index", ReloadPlugin::new())?.value, (2, true));
    assert_eq!(store.plugins().call("index", b"")?, "v2 ");
    assert_eq!(store.plugins().reload("index", ReloadPlugin::new())?.value, (2, false));
    Ok(())
}

#[test]
fn what_is_in_service_serves_on_when_its_files_are_gone_also_after_a_restart() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let folder = Folder::new(&scratch, "index", INDEX, INDEX_V1);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    fs::remove_dir_all(folder.path()).expect("can be removed");
    drop(store);
    let store = Store::open(scratch.path())?;
    assert_eq!(store.plugins().call("index", b"")?, "v1 ");
    wait_for("word of the loss", || {
        store.plugins().show("index").expect("is there").source_state == PluginSource::Missing
    });
    assert!(store.plugins().log("index").iter().any(|line| line.text.contains("is not there")));
    let reader = Store::options().role(Role::Reader).open(scratch.path())?;
    assert_eq!(reader.plugins().call("index", b"from afar")?, "v1 from afar");
    Ok(())
}

const VETO: &str = r#"
[[trigger]]
on = "before-commit"
namespaces = ["orders"]
"#;

#[test]
fn a_validator_refuses_transactions_and_batches_whole() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let script = r#"fn before_commit(changes) { for change in changes { if change.after == "bad" { throw change.key + " is bad"; } } }"#;
    let folder = Folder::new(&scratch, "valid", VETO, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let before = store.refresh()?.version();
    let refused = store
        .write(|tx| {
            tx.put("orders", "1", "good")?;
            tx.put("orders", "2", "bad")
        })
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert_eq!(refused.to_string(), "plugin `valid` refuses: 2 is bad");
    let name: cohab::Name = "orders".parse()?;
    let refused = store.submit(cohab::Batch::new().put(&name, "3", "bad")).unwrap_err();
    assert_eq!((refused.kind(), store.refresh()?.version()), (Kind::Refused, before));
    store.submit(cohab::Batch::new().put(&name, "3", "good"))?;
    assert_eq!(value(&store, "orders", "3").as_deref(), Some("good"));
    Ok(())
}

#[test]
fn counting_calls_from_many_threads_counts_every_call_once() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let manifest = "[[trigger]]\non = \"request\"\n";
    let script = r#"fn on_request(input) { let n = get("n"); let n = if n == () { 0 } else { n.parse_int() }; put("n", (n + 1).to_string()); (n + 1).to_string() }"#;
    let folder = Folder::new(&scratch, "count", manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..50).try_for_each(|_| store.plugins().call("count", b"").map(drop)).expect("is counted");
            });
        }
    });
    assert_eq!(store.plugins().call("count", b"")?, "201");
    Ok(())
}

#[test]
fn a_plugin_touches_what_it_was_granted_and_nothing_else() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let script = r#"fn on_request(input) { put("orders", "1", input); "done" }"#;
    let folder = Folder::new(&scratch, "writer", "[[trigger]]\non = \"request\"\n", script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let refused: Error = store.plugins().call("writer", b"x").unwrap_err();
    assert_eq!(refused.kind(), Kind::Plugin);
    assert!(refused.to_string().contains("`orders`"), "{refused}");
    let manifest = "name = \"writer\"\napi = 1\nentry = \"main.rhai\"\n[[trigger]]\non = \"request\"\n[grants]\nwrite = [\"orders\"]\n";
    folder.write("plugin.toml", manifest);
    let refused = store.plugins().reload("writer", ReloadPlugin::new()).unwrap_err();
    assert!(refused.to_string().contains("write `orders`"), "{refused}");
    store.plugins().reload("writer", ReloadPlugin::new().grant())?;
    store.plugins().call("writer", b"x")?;
    assert_eq!(value(&store, "orders", "1").as_deref(), Some("x"));
    Ok(())
}

#[test]
fn state_is_migrated_with_the_swap_or_not_at_all() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let manifest = "[[trigger]]\non = \"request\"\n";
    let folder = Folder::new(&scratch, "state", manifest, r#"fn on_request(input) { put("a", input); "" }"#);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.plugins().call("state", b"one")?;
    folder.write(
        "plugin.toml",
        "name = \"state\"\napi = 1\nentry = \"main.rhai\"\nschema = 2\n[[trigger]]\non = \"request\"\n",
    );
    folder.write("main.rhai", r#"fn on_request(input) { get("b") } fn migrate(from) { put("b", get("a") + " moved"); delete("a"); throw "no" }"#);
    let refused = store.plugins().reload("state", ReloadPlugin::new()).unwrap_err();
    assert!(refused.to_string().contains("from schema 1 to 2"), "{refused}");
    assert_eq!(value(&store, "_plugins/state", "a").as_deref(), Some("one"));
    assert_eq!(value(&store, "_plugins/state", "b"), None);
    folder.write("main.rhai", r#"fn on_request(input) { get("b") } fn migrate(from) { put("b", get("a") + " moved"); delete("a"); }"#);
    store.plugins().reload("state", ReloadPlugin::new())?;
    assert_eq!(store.plugins().call("state", b"")?, "one moved");
    assert_eq!(value(&store, "_plugins/state", "a"), None);
    let kept = store.refresh()?.named_snapshots()?;
    assert!(kept.iter().any(|kept| kept.purpose() == "before migrating `_plugins/state`"), "{kept:?}");
    Ok(())
}

#[test]
fn the_state_of_a_plugin_that_was_removed_comes_back_with_undo() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let script = r#"fn on_request(input) { if input != "" { put("a", input); } get("a") }"#;
    let folder = Folder::new(&scratch, "state", "[[trigger]]\non = \"request\"\n", script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    store.plugins().call("state", b"kept")?;
    store.plugins().remove("state", false)?;
    assert_eq!(store.plugins().call("state", b"").unwrap_err().kind(), Kind::NotFound);
    store.write(|tx| tx.undo().map(drop))?;
    store.plugins().add(folder.path(), AddPlugin::new())?;
    assert_eq!(store.plugins().call("state", b"")?, "kept");
    Ok(())
}

#[test]
fn code_does_not_run_on_state_whose_migration_was_undone() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    let request = "[[trigger]]\non = \"request\"\n";
    let folder = Folder::new(&scratch, "state", request, r#"fn on_request(input) { put("a", input); "" }"#);
    store.plugins().add(folder.path(), AddPlugin::new().mode(PluginMode::Production))?;
    store.plugins().call("state", b"one")?;
    folder.write(
        "plugin.toml",
        &format!("name = \"state\"\napi = 1\nentry = \"main.rhai\"\nschema = 2\n{request}"),
    );
    folder.write(
        "main.rhai",
        r#"fn on_request(input) { get("b") } fn migrate(from) { put("b", get("a")); delete("a"); }"#,
    );
    store.plugins().reload("state", ReloadPlugin::new())?;
    assert_eq!(store.plugins().call("state", b"")?, "one");
    store.write(|tx| tx.undo().map(drop))?;
    let refused = store.plugins().call("state", b"").unwrap_err();
    assert!(refused.to_string().contains("its state is of schema 1"), "{refused}");
    assert_eq!(store.plugins().reload("state", ReloadPlugin::new())?.value, (3, true));
    assert_eq!(store.plugins().call("state", b"")?, "one");
    // Once it has written to its state, the migration is not what there is to undo.
    store.write(|tx| tx.create_namespace("mine"))?;
    store.write(|tx| tx.drop_namespace("mine", cohab::DropMode::IfEmpty))?;
    Ok(())
}

#[test]
fn a_validator_reads_what_a_batch_would_leave_also_where_it_guards_nothing() -> Result<()> {
    let scratch = Scratch::new();
    let store = open(&scratch);
    store.write(|tx| tx.create_namespace("customers"))?;
    let manifest =
        "[[trigger]]\non = \"before-commit\"\nnamespaces = [\"orders\"]\n[grants]\nread = [\"customers\"]\n";
    let script = r#"fn before_commit(changes) {
        for change in changes {
            if change.after != () && get("customers", change.after) == () { throw change.after + " is nobody"; }
        }
    }"#;
    let folder = Folder::new(&scratch, "valid", manifest, script);
    store.plugins().add(folder.path(), AddPlugin::new())?;
    let (orders, customers): (cohab::Name, cohab::Name) = ("orders".parse()?, "customers".parse()?);
    let both = cohab::Batch::new().put(&customers, "ada", "").put(&orders, "1", "ada");
    store.submit(both)?;
    let gone = cohab::Batch::new().delete(&customers, "ada").put(&orders, "2", "ada");
    assert_eq!(store.submit(gone).unwrap_err().to_string(), "plugin `valid` refuses: ada is nobody");
    // Under another name for a moment, rows are no less guarded.
    let renamed = store.write(|tx| {
        tx.create_namespace("other")?;
        tx.put("other", "3", "nobody at first")?;
        tx.rename_namespace("orders", "away")?;
        tx.rename_namespace("other", "orders")?;
        tx.put("orders", "4", "bob")
    });
    assert_eq!(renamed.unwrap_err().kind(), Kind::Refused);
    Ok(())
}
