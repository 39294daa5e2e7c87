//! Asking plugins before a commit.
//!
//! What a transaction changes in namespaces that some plugin guards is collected as it happens, and shown to the plugin before
//! the transaction is finished. Where no plugin guards anything, this is a look at an empty list; without the feature, nothing.

#[cfg(not(feature = "scripts"))]
pub(crate) use self::without::{Pending, begin_writing, check_build};
#[cfg(feature = "scripts")]
pub(crate) use crate::plugins::guard::{Pending, begin_writing, check_build};

#[cfg(not(feature = "scripts"))]
mod without {
    use crate::commit::Open;
    use crate::store::Inner;
    use crate::{Batch, Error, Freshness, Kind, Result, Transaction};

    pub(crate) struct Pending;

    /// Refuses to write where a plugin is to be asked, which this build cannot. On a replica nobody is.
    pub(crate) fn begin_writing(inner: &Inner) -> Result<()> {
        let snapshot = inner.snapshot(Freshness::Latest)?;
        let is_replica = snapshot.upstream().is_some_and(|upstream| !upstream.promoted);
        if is_replica { Ok(()) } else { check_build(inner) }
    }

    /// Refuses what this build cannot ask the plugins about.
    pub(crate) fn check_build(inner: &Inner) -> Result<()> {
        let snapshot = inner.snapshot(Freshness::Latest)?;
        let records = match snapshot.namespace("_plugins") {
            Ok(view) => view,
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in records.all()? {
            let entry = entry?;
            // What it cannot read, it cannot rule out.
            let record: serde_json::Value = serde_json::from_slice(entry.value())
                .map_err(|error| Error::corrupt("the record of a plugin is not JSON").source(error))?;
            let asks =
                record["triggers"].as_array().is_some_and(|all| all.iter().any(|it| it == "before_commit"));
            if asks && record["enabled"] != false {
                let name = entry.key().escape_ascii();
                let message = format!(
                    "plugin `{name}` has to be asked before every commit, and this build has no plugins"
                );
                return Err(Error::new(Kind::Unsupported, message)
                    .hint("build cohab with the feature `plugins`, or read only"));
            }
        }
        Ok(())
    }

    impl Pending {
        pub(crate) fn begin(_inner: &Inner) -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "it has something to do where there are plugins")]
        pub(crate) fn forget_names(&mut self) {}

        #[inline]
        #[expect(clippy::unused_self, reason = "it has something to do where there are plugins")]
        pub(crate) fn note(
            &mut self,
            _open: &Open,
            _key: &[u8],
            _before: Option<&[u8]>,
            _after: Option<&[u8]>,
        ) {
        }
    }

    impl Transaction<'_, '_> {
        #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as above")]
        pub(crate) fn ask_plugins(&mut self) -> Result<()> {
            Ok(())
        }
    }

    impl Batch {
        #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as above")]
        pub(crate) fn ask_plugins(&self, _transaction: &mut Transaction<'_, '_>) -> Result<()> {
            Ok(())
        }
    }
}
