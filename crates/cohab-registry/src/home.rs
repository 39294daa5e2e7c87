//! Where an application keeps its files.

use std::path::{Path, PathBuf};
use std::{fs, io};

use etcetera::BaseStrategy;

use crate::{Description, Error, Registration, Registry, Result, component};

/// The channel of an application that does not name one.
const DEFAULT_CHANNEL: &str = "stable";

/// Who shares a home.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// All instances of the application, whatever their channel.
    Shared,
    /// The instances of one channel.
    #[default]
    PerChannel,
    /// The instances of one channel that go by this label.
    PerInstance(String),
}

/// Says whose home it is, and where.
#[derive(Clone, Debug)]
#[must_use = "a home is opened with `open` or `create`"]
pub struct HomeOptions {
    app: String,
    channel: String,
    isolation: Isolation,
    under: Option<PathBuf>,
}

/// The directories of an application, by the conventions of the platform.
///
/// On Linux, `shop` in its channel `nightly` has its data in `~/.local/share/shop/nightly`, its settings in
/// `~/.config/shop/nightly`, and so on, by the XDG base directory specification. Where a platform has one place for
/// several kinds of files (macOS, Windows), the data comes first and the others lie in it under the name of their
/// kind. On Windows the data does not roam, for a store is one machine's.
///
/// Our own directories, from the application's on, are private and no symbolic links; where the platform keeps them may
/// well be behind one.
#[derive(Clone, Debug)]
pub struct Home {
    options: HomeOptions,
    data: Place,
    config: Place,
    cache: Place,
    state: Option<Place>,
    runtime: Option<Place>,
}

/// A directory of ours below one of the platform's.
#[derive(Clone, Debug)]
struct Place {
    base: PathBuf,
    path: PathBuf,
}

impl HomeOptions {
    /// Names the channel, such as `nightly`. Otherwise it is `stable`.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// Says who shares the home. Otherwise the instances of one channel do.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Puts everything under one directory, for tests and portable installations.
    pub fn under(mut self, base: impl Into<PathBuf>) -> Self {
        self.under = Some(base.into());
        self
    }

    /// Finds the home, and checks as much of it as is there. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Name`], [`Error::NoHomeDirectory`], or what is not ours to use.
    pub fn open(self) -> Result<Home> {
        let home = Home::new(self)?;
        for place in home.places() {
            place.each_dir(|dir| match cohab_fs::check_dir(dir) {
                Err(error) if !matches!(error, cohab_fs::Error::NotFound(_)) => Err(error.into()),
                _ => Ok(()),
            })?;
        }
        Ok(home)
    }

    /// Finds the home and creates the directories that are missing, with mode 0700.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn create(self) -> Result<Home> {
        let home = Home::new(self)?;
        home.places().try_for_each(Place::create)?;
        cohab_fs::create_dir(&home.stores())?;
        Ok(home)
    }
}

impl Home {
    /// Begins with the application. Names are made of lower-case ASCII letters, digits, `-`, `_` and `.`, which are the
    /// same on every file system.
    pub fn for_app(app: impl Into<String>) -> HomeOptions {
        HomeOptions {
            app: app.into(),
            channel: DEFAULT_CHANNEL.to_owned(),
            isolation: Isolation::default(),
            under: None,
        }
    }

    fn new(options: HomeOptions) -> Result<Self> {
        component::check("app", &options.app)?;
        component::check_in_home("channel", &options.channel)?;
        let mut below = PathBuf::from(&options.app);
        match &options.isolation {
            Isolation::Shared => {}
            Isolation::PerChannel => below.push(&options.channel),
            Isolation::PerInstance(label) => {
                component::check_in_home("label", label)?;
                below.extend([&options.channel, label]);
            }
        }
        let [data, config, cache, state, runtime] = match &options.under {
            Some(base) => ["data", "config", "cache", "state", "runtime"]
                .map(|kind| Some(Place::new(base, kind, &below))),
            None => of_the_platform(&below)?,
        };
        let always = "every platform has a place for it";
        Ok(Self {
            options,
            data: data.expect(always),
            config: config.expect(always),
            cache: cache.expect(always),
            state,
            runtime,
        })
    }

    /// Returns the application.
    pub fn app(&self) -> &str {
        &self.options.app
    }

    /// Returns the application's channel.
    pub fn channel(&self) -> &str {
        &self.options.channel
    }

    /// Returns what tells the home's one instance from others, if it has a home of its own.
    pub fn label(&self) -> Option<&str> {
        match &self.options.isolation {
            Isolation::PerInstance(label) => Some(label),
            Isolation::Shared | Isolation::PerChannel => None,
        }
    }

    /// Returns where data is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data.path
    }

    /// Returns where settings are kept.
    pub fn config_dir(&self) -> &Path {
        &self.config.path
    }

    /// Returns where files are kept that can be made anew.
    pub fn cache_dir(&self) -> &Path {
        &self.cache.path
    }

    /// Returns where files are kept that are no data but should outlive a restart, such as logs, where the platform has
    /// a place for them.
    pub fn state_dir(&self) -> Option<&Path> {
        self.state.as_ref().map(|place| &*place.path)
    }

    /// Returns where sockets are kept and what else goes with the session, where the platform has a place for them.
    pub fn runtime_dir(&self) -> Option<&Path> {
        self.runtime.as_ref().map(|place| &*place.path)
    }

    /// Returns the path for a store of that name, in the data.
    ///
    /// # Errors
    ///
    /// [`Error::Name`].
    pub fn store_path(&self, name: &str) -> Result<PathBuf> {
        component::check("store", name)?;
        Ok(self.stores().join(name))
    }

    /// Returns who uses this home.
    ///
    /// It lies with the data, because the runtime directory is not the same for each process of a user: one started by
    /// the system has none.
    pub fn registry(&self) -> Registry {
        Registry::in_dir(self.data_dir())
    }

    /// Registers the present process as an instance of the application, with the role `app`.
    pub fn join(&self, app_version: &str) -> Result<Registration> {
        self.register(Description::new("app").app_version(app_version))
    }

    /// Registers the present process as described, and as one of this application and channel. Creates the data directory
    /// if need be.
    pub fn register(&self, description: Description) -> Result<Registration> {
        self.data.create()?;
        let mut description = description.app(&self.options.app).channel(&self.options.channel);
        if let Isolation::PerInstance(label) = &self.options.isolation {
            description = description.label(label);
        }
        self.registry().register(description)
    }

    fn stores(&self) -> PathBuf {
        self.data_dir().join("stores")
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        [&self.data, &self.config, &self.cache].into_iter().chain(&self.state).chain(&self.runtime)
    }
}

/// Returns the places for data, settings, caches, state and what goes with the session.
fn of_the_platform(below: &Path) -> Result<[Option<Place>; 5]> {
    let platform = etcetera::base_strategy::choose_native_strategy().map_err(|_| Error::NoHomeDirectory)?;
    let data = if cfg!(windows) { platform.cache_dir() } else { platform.data_dir() };
    let others = [
        ("config", Some(platform.config_dir())),
        ("cache", Some(platform.cache_dir())),
        ("state", platform.state_dir()),
        // `sudo` and the like hand on that of another user.
        ("runtime", platform.runtime_dir().filter(|dir| cohab_fs::check_dir(dir).is_ok())),
    ];
    let mut bases = vec![data.clone()];
    let [config, cache, state, runtime] = others.map(|(kind, base)| {
        let base = base?;
        let mut path = base.join(below);
        if bases.contains(&base) {
            path.push(kind);
        }
        bases.push(base.clone());
        Some(Place { base, path })
    });
    Ok([Some(Place { path: data.join(below), base: data }), config, cache, state, runtime])
}

impl Place {
    fn new(base: &Path, kind: &str, below: &Path) -> Self {
        Self { base: base.to_owned(), path: base.join(kind).join(below) }
    }

    fn create(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let created = builder.recursive(true).create(&self.base).or_else(|error| match error.kind() {
            // What cannot be examined is said to be in the way.
            io::ErrorKind::AlreadyExists if fs::metadata(&self.base)?.is_dir() => Ok(()),
            _ => Err(error),
        });
        created.map_err(|error| Error::io("creating", &self.base, error))?;
        self.each_dir(|dir| Ok(cohab_fs::create_dir(dir).map(drop)?))
    }

    /// Visits the directories of ours on the way to the place, from the outermost on.
    fn each_dir(&self, visit: impl FnMut(&Path) -> Result<()>) -> Result<()> {
        let mut ours: Vec<&Path> = self.path.ancestors().take_while(|dir| *dir != self.base).collect();
        ours.reverse();
        ours.into_iter().try_for_each(visit)
    }
}
