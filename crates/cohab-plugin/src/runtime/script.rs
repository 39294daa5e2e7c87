//! Scripts, in Rhai.

use crate::runtime::{Answer, Call, Deadline};
use crate::{CallError, LoadError, Manifest};

pub(crate) struct Script;

pub(crate) struct Instance;

impl Script {
    pub(crate) fn compile(_manifest: &Manifest, _source: &[u8]) -> Result<Self, LoadError> {
        todo!()
    }

    pub(crate) fn instantiate(&self) -> Instance {
        Instance
    }
}

impl Instance {
    pub(crate) fn call(&mut self, _: &Manifest, _: &Call<'_>, _: &Deadline) -> Result<Answer, CallError> {
        todo!()
    }
}
