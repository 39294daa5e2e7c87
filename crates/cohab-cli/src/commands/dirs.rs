//! `cohab dirs`

use std::path::Path;

use clap::Args;
use cohab::{Home, Isolation};

use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::session::Session;
use crate::terminal::{Cell, Record};

/// Tell where an application keeps its files, and where a store keeps its own; creates nothing
///
/// With --app, the directories of that application by the conventions of the platform: each channel has its own, and
/// with --label each instance. With --store, the files and directories of the store.
#[derive(Debug, Args)]
pub(crate) struct Dirs {
    /// The application
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Its channel
    #[arg(long, value_name = "NAME", requires = "app", default_value = "stable")]
    channel: String,
    /// The instance, if each has directories of its own
    #[arg(long, value_name = "NAME", requires = "app")]
    label: Option<String>,
}

/// What is in a store's directory.
const STORE: [(&str, &str); 8] = [
    ("store_file", "store.redb"),
    ("store_card", "store.json"),
    ("writer_lock", "writer.lock"),
    ("coordination_page", "coord.page"),
    ("locks", "locks"),
    ("instances", "instances"),
    ("ports", "ports"),
    ("tmp", "tmp"),
];

impl Dirs {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let mut record = Record::new();
        let store = session.path().ok().map(Path::to_owned);
        if self.app.is_none() && store.is_none() {
            return Err(Failure::usage("whose directories?")
                .hint("name an application with --app, or a store with --store"));
        }
        if let Some(app) = self.app {
            record = record.with("app", app.clone()).with("channel", self.channel.clone());
            record = record.with("label", self.label.clone());
            let isolation = self.label.map_or_else(Isolation::default, Isolation::PerInstance);
            let home = Home::for_app(app).channel(self.channel).isolation(isolation).open();
            let home = home.map_err(cohab::Error::from)?;
            record = record
                .with("data", path(home.data_dir()))
                .with("config", path(home.config_dir()))
                .with("cache", path(home.cache_dir()))
                .with("state", home.state_dir().map(path))
                .with("runtime", home.runtime_dir().map(path))
                .with("stores", path(&home.data_dir().join("stores")));
        }
        if let Some(store) = store {
            let store = std::path::absolute(&store).unwrap_or(store);
            record = record.with("store", path(&store));
            for (what, name) in STORE {
                record = record.with(what, path(&store.join(name)));
            }
        }
        session.out.record(&record)?;
        Ok(Exit::Done)
    }
}

fn path(path: &Path) -> Cell<'static> {
    Cell::Bytes(path.as_os_str().as_encoded_bytes().to_vec().into())
}
