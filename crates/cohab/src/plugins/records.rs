//! What a store keeps of its plugins, in namespaces of its own, so that it moves in the transactions of the data.
//!
//! ```text
//! _plugins           name              → the plugin's record, as JSON
//! _plugins.code      content hash      → the files of a generation that is in service
//! _plugins.cursors   name              → how far the plugin has come, as JSON
//! _plugins/NAME      the plugin's keys → its state; the layout's version under "\0schema"
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use cohab_core::{Name, StoreId, Timestamp, Version};
use cohab_plugin::{Bundle, ContentHash, Grants, LoadError, Manifest, Tier};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, Result, Snapshot, Transaction};

/// Where records are.
pub(crate) const RECORDS: &str = "_plugins";
/// Where code is.
pub(crate) const CODE: &str = "_plugins.code";
/// Where cursors are.
pub(crate) const CURSORS: &str = "_plugins.cursors";
/// The key of the state's own version, which no plugin reaches.
pub(crate) const SCHEMA_KEY: &[u8] = b"\0schema";

/// Whether changes of a plugin's files are taken up by themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginMode {
    /// As soon as they are saved.
    #[default]
    Development,
    /// Only when somebody says so: [`Plugins::reload`](crate::Plugins::reload). Until then they are reported.
    Production,
}

/// What the store knows of a plugin.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginRecord {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The directory with its files.
    pub source: PathBuf,
    /// Whether changes there are taken up by themselves.
    pub mode: PluginMode,
    /// Whether it is called.
    pub enabled: bool,
    /// Why it is not, if it was disabled by its policy on errors.
    pub disabled_because: Option<String>,
    /// Counts what was taken into service, from 1.
    pub generation: u64,
    /// The content that is in service.
    pub hash: ContentHash,
    /// What it is written in.
    pub tier: Tier,
    /// The version of the interface that it is written for.
    pub api: u32,
    /// The version of the layout of its state.
    pub schema: u32,
    /// The handlers that it is called by.
    pub triggers: Vec<String>,
    /// What it was granted.
    pub grants: Grants,
    /// When the generation was taken into service.
    pub loaded_at: Timestamp,
    /// Why the files' present content is not in service.
    pub failure: Option<PluginFailure>,
}

impl PluginRecord {
    /// Returns whether it is called for what was committed.
    pub(crate) fn follows(&self) -> bool {
        self.triggers.iter().any(|trigger| trigger == "on_commit")
    }

    /// Returns whether it is called by a thread of its own.
    pub(crate) fn runs(&self) -> bool {
        self.follows() || self.triggers.iter().any(|trigger| trigger == "on_schedule")
    }
}

/// Why a plugin's newer content is not in service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginFailure {
    /// What is wrong with it.
    #[serde(flatten)]
    pub error: LoadError,
    /// Which content it was, if it could be read.
    pub hash: Option<ContentHash>,
    /// When it was tried.
    pub at: Timestamp,
    /// Since when what is in service is not what the files say.
    pub stale_since: Timestamp,
}

/// How far a plugin has come. Moves in the transaction of its effects.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The store whose versions these are.
    pub(crate) store: StoreId,
    /// The last version that it is through with.
    pub(crate) version: Version,
    /// How many changes of the next one it is through with.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) offset: u64,
    /// While it is shown what was there at `version`, how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) existing: Option<Existing>,
    /// When its schedule was last due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
}

/// How far a plugin is that is shown what is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Existing {
    /// The namespace it is at.
    pub(crate) namespace: String,
    /// The last key there that it was shown.
    pub(crate) after: Option<serde_bytes::ByteBuf>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cursor {
    pub(crate) fn at(store: StoreId, version: Version) -> Self {
        Self { store, version, offset: 0, existing: None, due: None }
    }
}

/// Returns the name of a plugin's own namespace.
pub(crate) fn state_name(plugin: &str) -> String {
    format!("{RECORDS}/{plugin}")
}

pub(crate) fn own(name: &str) -> Result<Name> {
    Ok(Name::any(name)?)
}

pub(crate) fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| Error::invalid(format!("a plugin's record cannot be kept: {error}")))
}

fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt(format!("the {what} is not as cohab writes it: {error}")))
}

/// Decodes the record of the plugin that a key names.
///
/// In a replica it is what the source made of it. What a plugin is called becomes part of paths and the name of a thread, so
/// a name that no manifest could have given goes no further.
fn decode_record(key: &[u8], value: &[u8]) -> Result<PluginRecord> {
    let record: PluginRecord = decode("record of a plugin", value)?;
    if record.name.as_bytes() == key && Manifest::is_name(&record.name) {
        return Ok(record);
    }
    let (key, name) = (key.escape_ascii(), record.name.escape_debug());
    Err(Error::corrupt(format!("the record of plugin `{key}` says that it is called `{name}`")))
}

/// Decodes a cursor and encodes it again.
pub(crate) fn cursor_again(bytes: &[u8]) -> Result<Vec<u8>> {
    encode(&decode::<Cursor>("cursor of a plugin", bytes)?)
}

/// A plugin's record, and the version that last wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) record: PluginRecord,
    pub(crate) version: Version,
}

/// Returns the version that last changed any record; zero where there never was one.
pub(crate) fn records_version(snapshot: &Snapshot) -> Result<Version> {
    Ok(find(snapshot, RECORDS)?.map_or(Version::ZERO, |view| view.last_version()))
}

/// Returns a namespace, or `None` if there is none of that name.
pub(crate) fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Result<Option<crate::NamespaceView<'s>>> {
    match snapshot.namespace(name) {
        Ok(view) => Ok(Some(view)),
        Err(error) if error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn all(snapshot: &Snapshot) -> Result<BTreeMap<String, Known>> {
    let Some(view) = find(snapshot, RECORDS)? else { return Ok(BTreeMap::new()) };
    let entries = view.all()?.map(|entry| {
        let entry = entry?;
        let record = decode_record(entry.key(), entry.value())?;
        Ok((record.name.clone(), Known { record, version: entry.version() }))
    });
    entries.collect()
}

/// Returns a plugin's cursor, and the version that wrote it.
pub(crate) fn cursor(snapshot: &Snapshot, plugin: &str) -> Result<Option<(Cursor, Version)>> {
    let Some(view) = find(snapshot, CURSORS)? else { return Ok(None) };
    let Some(value) = view.get(plugin)? else { return Ok(None) };
    Ok(Some((decode("cursor of a plugin", &value)?, value.version())))
}

pub(crate) fn bundle(snapshot: &Snapshot, hash: ContentHash) -> Result<Bundle> {
    let lost = |why: &str| Error::corrupt(format!("the code {hash} of a plugin {why}"));
    let view = find(snapshot, CODE)?.ok_or_else(|| lost("is not there"))?;
    let bytes = view.get(hash.to_string())?.ok_or_else(|| lost("is not there"))?;
    let bundle = Bundle::decode(&bytes).map_err(|error| lost(&format!("cannot be read: {error}")))?;
    if bundle.hash() == hash { Ok(bundle) } else { Err(lost("is not what it is called")) }
}

pub(crate) fn state_schema(snapshot: &Snapshot, plugin: &str) -> Result<Option<u32>> {
    let Some(view) = find(snapshot, &state_name(plugin))? else { return Ok(None) };
    view.get(SCHEMA_KEY)?.map(|value| parse_schema(plugin, &value)).transpose()
}

fn parse_schema(plugin: &str, value: &[u8]) -> Result<u32> {
    let parsed = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Error::corrupt(format!("the schema of the state of plugin `{plugin}` is no number")))
}

/// The same, in a transaction.
impl Transaction<'_, '_> {
    pub(crate) fn plugin_record(&mut self, plugin: &str) -> Result<Option<Known>> {
        let Some(id) = self.commit.find_any(&own(RECORDS)?)? else { return Ok(None) };
        let Some(value) = self.get_in(id, plugin.as_bytes())? else { return Ok(None) };
        Ok(Some(Known { record: decode_record(plugin.as_bytes(), &value)?, version: value.version() }))
    }

    /// Writes the record of the plugin whose state that is once more, so that everybody looks at it anew.
    pub(crate) fn touch_plugin_of(&mut self, state: &str) -> Result<()> {
        let plugin = state.strip_prefix(RECORDS).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        match self.plugin_record(plugin)? {
            Some(known) => self.put_plugin_record(&known.record),
            None => Ok(()),
        }
    }

    pub(crate) fn put_plugin_record(&mut self, record: &PluginRecord) -> Result<()> {
        self.put_own(RECORDS, record.name.as_bytes(), &encode(record)?)
    }

    pub(crate) fn plugin_cursor(&mut self, plugin: &str) -> Result<Option<(Cursor, Version)>> {
        let Some(id) = self.commit.find_any(&own(CURSORS)?)? else { return Ok(None) };
        let Some(value) = self.get_in(id, plugin.as_bytes())? else { return Ok(None) };
        Ok(Some((decode("cursor of a plugin", &value)?, value.version())))
    }

    pub(crate) fn put_plugin_cursor(&mut self, plugin: &str, cursor: &Cursor) -> Result<()> {
        self.put_own(CURSORS, plugin.as_bytes(), &encode(cursor)?)
    }

    pub(crate) fn plugin_schema(&mut self, plugin: &str) -> Result<Option<u32>> {
        let Some(id) = self.commit.find_any(&own(&state_name(plugin))?)? else { return Ok(None) };
        let Some(value) = self.get_in(id, SCHEMA_KEY)? else { return Ok(None) };
        parse_schema(plugin, &value).map(Some)
    }

    /// Puts code where it is found by its hash, and gives up what no plugin needs any more.
    pub(crate) fn replace_plugin_code(
        &mut self,
        before: Option<ContentHash>,
        bundle: Option<&Bundle>,
    ) -> Result<()> {
        let after = bundle.map(Bundle::hash);
        if let Some(bundle) = bundle {
            let key = bundle.hash().to_string();
            let code = self.ensure_any_namespace(&own(CODE)?)?;
            if self.get_in(code, key.as_bytes())?.is_none() {
                self.put_in(code, key.as_bytes(), &bundle.encode())?;
            }
        }
        let Some(before) = before.filter(|before| Some(*before) != after) else { return Ok(()) };
        let records = self.ensure_any_namespace(&own(RECORDS)?)?;
        let mut is_needed = false;
        for entry in self.range_in(records, (Unbounded, Unbounded), crate::Direction::Forward)? {
            let record: PluginRecord = decode("record of a plugin", entry?.value())?;
            is_needed |= record.hash == before;
        }
        if !is_needed {
            self.delete_own(CODE, before.to_string().as_bytes())?;
        }
        Ok(())
    }

    pub(crate) fn put_own(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let id = self.ensure_any_namespace(&own(namespace)?)?;
        self.put_in(id, key, value)
    }

    pub(crate) fn delete_own(&mut self, namespace: &str, key: &[u8]) -> Result<bool> {
        match self.commit.find_any(&own(namespace)?)? {
            Some(id) => self.delete_in(id, key),
            None => Ok(false),
        }
    }
}

use std::ops::Bound::Unbounded;
