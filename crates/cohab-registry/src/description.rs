//! What a registrant says about itself.

use cohab_core::InstanceId;

/// What an instance wants to be known as. Only the role is needed.
#[derive(Clone, Debug, Default)]
#[must_use = "a description does nothing until it is registered"]
pub struct Description {
    pub(crate) id: Option<InstanceId>,
    pub(crate) role: String,
    pub(crate) app: String,
    pub(crate) channel: String,
    pub(crate) app_version: String,
    pub(crate) label: Option<String>,
}

impl Description {
    /// Begins with what the instance does, such as `writer`.
    pub fn new(role: impl Into<String>) -> Self {
        Self { role: role.into(), ..Self::default() }
    }

    /// Uses this id rather than a fresh one. It must not belong to a live instance.
    pub fn id(mut self, id: InstanceId) -> Self {
        self.id = Some(id);
        self
    }

    /// Names the application.
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = app.into();
        self
    }

    /// Names the application's channel, such as `nightly`.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// Names the application's version.
    pub fn app_version(mut self, app_version: impl Into<String>) -> Self {
        self.app_version = app_version.into();
        self
    }

    /// Tells this instance from others of its kind, also over restarts: its ports are remembered by it.
    ///
    /// Lower-case ASCII letters, digits, `-`, `_` and `.`; checked when it is registered.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}
