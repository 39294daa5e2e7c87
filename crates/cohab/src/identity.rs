//! What a handle says about the application that opened it.

use cohab_core::InstanceId;
use cohab_lock::Holder;
use cohab_registry::Description;

use crate::Role;

/// What other processes are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    pub(crate) app: Option<String>,
    pub(crate) channel: Option<String>,
    pub(crate) app_version: Option<String>,
    pub(crate) label: Option<String>,
}

impl Identity {
    /// Describes the holder of a lock.
    pub(crate) fn holder(&self, role: &str, instance: InstanceId) -> Holder {
        let mut holder = Holder::this_process(role).instance(instance);
        holder.app.clone_from(&self.app);
        holder.channel.clone_from(&self.channel);
        holder.app_version.clone_from(&self.app_version);
        holder.label.clone_from(&self.label);
        holder
    }

    /// Describes an instance.
    pub(crate) fn description(&self, instance: InstanceId, role: Role) -> Description {
        let mut description = Description::new(role.as_str()).id(instance);
        if let Some(app) = &self.app {
            description = description.app(app);
        }
        if let Some(channel) = &self.channel {
            description = description.channel(channel);
        }
        if let Some(version) = &self.app_version {
            description = description.app_version(version);
        }
        match &self.label {
            Some(label) => description.label(label),
            None => description,
        }
    }
}
