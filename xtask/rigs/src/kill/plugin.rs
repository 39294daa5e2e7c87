//! The plugin whose effects are counted.

use std::fs;
use std::path::Path;

use anyhow::Result;
use cohab::{AddPlugin, PluginMode, Store};

/// Follows the hot keys, retries for ever, and is not cut off on a machine that is busy with something else.
const MANIFEST: &str = r#"
name = "count"
api = 1
entry = "main.rhai"
[[trigger]]
on = "commit"
namespaces = ["hot"]
start = "now"
[grants]
write = ["effects"]
[limits]
time = "30s"
[on-error]
policy = "retry"
"#;

/// Counts how often it is shown each change, and all of them.
const SCRIPT: &str = r#"
fn on_commit(changes) {
    let n = get("n");
    let n = if n == () { 0 } else { n.parse_int() };
    for change in changes {
        let key = change.key + "@" + change.version;
        let before = get("effects", key);
        let before = if before == () { 0 } else { before.parse_int() };
        put("effects", key, (before + 1).to_string());
        n += 1;
    }
    put("n", n.to_string());
}
"#;

/// Adds the plugin to a store.
pub(crate) fn add(store: &Store, dir: &Path) -> Result<()> {
    fs::create_dir(dir)?;
    fs::write(dir.join("plugin.toml"), MANIFEST)?;
    fs::write(dir.join("main.rhai"), SCRIPT)?;
    store.plugins().add(dir, AddPlugin::new().mode(PluginMode::Production))?;
    Ok(())
}
