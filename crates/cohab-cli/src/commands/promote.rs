//! `cohab promote`

use clap::Args;

use super::apply::upstream;
use super::{Exit, Outcome};
use crate::session::Session;
use crate::terminal::Record;

/// Make a replica a store of its own, which takes writes and follows nobody
///
/// It keeps what it has, and goes on from there. No delta of the store that it followed can be applied to it any more.
#[derive(Debug, Args)]
pub(crate) struct Promote {}

impl Promote {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        let Self {} = self;
        let store = session.writer()?;
        let token = store.promote_replica()?;
        let version = store.snapshot()?.version();
        let upstream = upstream(token, session.out.format());
        session.out.record(&Record::new().with("version", version).with("upstream", upstream))?;
        Ok(Exit::Done)
    }
}
