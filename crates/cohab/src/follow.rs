//! Following another store: a replica that is kept in step, from a process of its own.
//!
//! The follower reads its source as any reader does and writes what changed into the replica, one transaction at a time;
//! where it stands goes into that same transaction, so that whichever side dies, nothing is applied twice or left out.
//! It leaves word beside the source up to where it has come, so that the log is kept for it, within bounds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cohab_core::limits::{FOLLOWER_AUDIT, FOLLOWER_NOTE};
use cohab_core::{StoreId, Token, Version};
use cohab_log::{Chain, DeltaHeader, DeltaKind, Piece, Position};

use crate::directory::Directory;
use crate::followers::{self, FollowerRecord};
use crate::replica::{Whole, position, rewritten};
use crate::verify::Progress;
use crate::{Applied, Error, Kind, Options, Result, Role, Snapshot, Store};

/// Keeps a replica in step with its source, whenever it is told to [catch up](Self::catch_up).
///
/// A replica that it makes is a copy, with the source's named snapshots; those that are made later stay where they are.
#[must_use = "it follows only when it is told to catch up"]
pub struct Follower {
    source: Store,
    source_path: PathBuf,
    replica: Store,
    /// When word was left last, and of which version.
    noted: Option<(Instant, Version)>,
    /// When the namespaces of both sides were compared.
    audited: Option<Instant>,
    /// Set once they turned out not to be the same.
    has_diverged: bool,
}

/// What a look at the source has led to.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Followed {
    /// The replica has what the source has.
    Current(Token),
    /// What has changed was applied.
    Delta {
        /// The version of the source that the replica had before.
        from: Version,
        /// What was applied.
        applied: Applied,
    },
    /// The whole store was gone through, and what was different applied.
    Whole {
        /// Why that had to be.
        because: String,
        /// What was applied.
        applied: Applied,
    },
}

impl Follower {
    /// Opens both stores, the source for reading and the replica for writing. A replica that is not there yet is made as
    /// a copy of the source, log included, which `progress` is told of.
    ///
    /// # Errors
    ///
    /// [`Kind::Busy`] if somebody else writes the replica, such as another follower; [`Kind::Foreign`] if it is a store of its
    /// own or follows another one, and where a store would follow itself, or its own replica; [`Kind::Diverged`] if somebody
    /// has written to it; [`Kind::NotFound`] if there is no source.
    pub fn open(
        source: impl AsRef<Path>,
        replica: impl AsRef<Path>,
        progress: impl FnMut(Progress),
    ) -> Result<Self> {
        Self::open_with(source, Options::default(), replica, Options::default(), progress)
    }

    /// As [`open`](Self::open), with settings for both sides, whose roles and creation are the follower's business.
    pub fn open_with(
        source: impl AsRef<Path>,
        source_options: Options,
        replica: impl AsRef<Path>,
        replica_options: Options,
        progress: impl FnMut(Progress),
    ) -> Result<Self> {
        let (source_path, replica) = (source.as_ref().to_owned(), replica.as_ref());
        let source = source_options.role(Role::Reader).open(&source_path)?;
        let canonical = |path: &Path| path.canonicalize().ok();
        let place = canonical(replica).or_else(|| canonical(cohab_fs::parent(replica)));
        if place.zip(canonical(&source_path)).is_some_and(|(place, source)| place.starts_with(source)) {
            let message = format!("{} is the store to be followed, or within it", replica.display());
            return Err(Error::new(Kind::Foreign, message).hint("name another directory for the replica"));
        }
        let is_there = match Directory::existing(replica) {
            Ok(directory) => directory.is_store()? || directory.has_data()?,
            Err(error) if error.kind() == Kind::Io => return Err(error),
            // Whoever makes it says what is in the way.
            Err(_) => false,
        };
        if !is_there {
            source.snapshot()?.replicate(replica, progress)?;
        }
        // One whose creation was interrupted is finished by this.
        let replica = replica_options.role(Role::Writer).create(true).open(replica)?;
        let mut follower =
            Self { source, source_path, replica, noted: None, audited: None, has_diverged: false };
        follower.check_circle()?;
        let at = follower.position()?;
        follower.note(at.map_or(Version::ZERO, |at| at.version), true);
        Ok(follower)
    }

    /// Returns the store that is followed.
    pub fn source(&self) -> &Store {
        &self.source
    }

    /// Returns the replica.
    pub fn replica(&self) -> &Store {
        &self.replica
    }

    /// Brings the replica up to what the source is now. Cost: what has changed since.
    ///
    /// Where the log does not reach back to where the replica is, or what changed is too much to be taken together, the whole
    /// source is compared with it, and what is different applied: [`Followed::Whole`] says so, and why.
    ///
    /// # Errors
    ///
    /// [`Kind::Diverged`] and [`Kind::Foreign`]: nothing more is applied. What both sides hold is compared now and then, so that it
    /// may turn out after the fact. Others, such as a full disk, may pass:
    /// call it again.
    pub fn catch_up(&mut self) -> Result<Followed> {
        if self.has_diverged {
            let message = "the replica did not hold what its source does";
            return Err(Error::new(Kind::Diverged, message).hint("make a new replica in another place"));
        }
        if self.replica.is_poisoned() {
            // A commit failed, and by now there may be room for it.
            self.replica.reopen()?;
        }
        let snapshot = match self.source.refresh() {
            Err(error) if error.kind() == Kind::StoreReplaced => {
                // Put back from a copy, or another store: which one, its row tells.
                self.source = self.source.inner.options.clone().open(&self.source_path)?;
                self.source.refresh()?
            }
            other => other?,
        };
        let at = self.position()?;
        let from = at.map_or(Version::ZERO, |at| at.version);
        let to =
            Position { version: snapshot.version(), chain: Chain::from_bytes(snapshot.state().root.chain) };
        if let Some(at) = at
            && (at.version > to.version || (at.version == to.version && at.chain != to.chain))
        {
            return Err(rewritten(snapshot.store(), at.version));
        }
        if at == Some(to) {
            self.audit(&snapshot)?;
            self.note(from, false);
            self.reclaim()?;
            return Ok(Followed::Current(snapshot.token()));
        }
        let followed =
            self.apply(&snapshot, at, from).map_err(|error| self.explain(error, &snapshot, from))?;
        self.audit(&snapshot)?;
        self.note(to.version, false);
        self.reclaim()?;
        Ok(followed)
    }

    /// Waits until the source has something that the replica has not, and returns whether it does.
    pub fn wait(&self, wait: Duration) -> Result<bool> {
        let from = self.position()?.map_or(Version::ZERO, |at| at.version);
        match self.source.wait_past(from, wait) {
            Ok(snapshot) => Ok(snapshot.is_some()),
            // What that means, the next look tells.
            Err(error) if error.kind() == Kind::StoreReplaced => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn apply(&self, snapshot: &Snapshot, at: Option<Position>, from: Version) -> Result<Followed> {
        let because = match snapshot.delta_header(from, DeltaKind::Coalesced) {
            _ if at.is_none() => "the replica is empty".to_owned(),
            Ok(header) => {
                let pieces = |visit: &mut dyn FnMut(Piece<'_>) -> Result<()>| snapshot.pieces(&header, visit);
                match self.replica.apply_pieces(&header, Whole::Always, pieces) {
                    Ok(applied) => return Ok(Followed::Delta { from, applied }),
                    Err(error) if error.kind() == Kind::InvalidInput => error.to_string(),
                    Err(error) => return Err(error),
                }
            }
            Err(error) if error.kind() == Kind::TooOld => error.to_string(),
            Err(error) => return Err(error),
        };
        let header: DeltaHeader = snapshot.delta_header(Version::ZERO, DeltaKind::Coalesced)?;
        let pieces = |visit: &mut dyn FnMut(Piece<'_>) -> Result<()>| snapshot.pieces(&header, visit);
        Ok(Followed::Whole { because, applied: self.replica.apply_pieces(&header, Whole::Always, pieces)? })
    }

    /// Says of a replica that has diverged where it has.
    fn explain(&self, error: Error, source: &Snapshot, from: Version) -> Error {
        if error.kind() != Kind::Diverged {
            return error;
        }
        let compared = source.at(from).and_then(|source| self.replica.snapshot()?.compare(&source));
        match compared.ok().and_then(|differences| differences.into_iter().next()) {
            Some(first) => {
                let message =
                    format!("the replica does not hold what its source did at version {from}: {first}");
                error.because(message)
            }
            None => error,
        }
    }

    /// Returns where the replica is.
    fn position(&self) -> Result<Option<Position>> {
        position(&self.replica.snapshot()?.state().root, self.source.id())
    }

    /// Removes what namespaces held that were purged.
    fn reclaim(&self) -> Result<()> {
        if self.replica.snapshot()?.purged_namespaces()? > 0 {
            while self.replica.maintain()?.more {}
        }
        Ok(())
    }

    fn check_circle(&self) -> Result<()> {
        let (source, replica) = (self.source.id(), self.replica.id());
        let snapshot = self.source.snapshot()?;
        match snapshot.upstream().filter(|upstream| upstream.store == replica && !upstream.promoted) {
            Some(_) => {
                let message =
                    format!("store {source} is a replica of store {replica}, which cannot follow it in turn");
                Err(Error::new(Kind::Foreign, message))
            }
            None => Ok(()),
        }
    }

    /// Compares what both sides say their namespaces hold, now and then.
    fn audit(&mut self, source: &Snapshot) -> Result<()> {
        if self.audited.is_some_and(|audited| audited.elapsed() < FOLLOWER_AUDIT) {
            return Ok(());
        }
        if let Some(first) = self.replica.snapshot()?.compare(source)?.first() {
            self.has_diverged = true;
            let message = format!("the replica does not hold what its source does: {first}");
            return Err(Error::new(Kind::Diverged, message).hint("make a new replica in another place"));
        }
        self.audited = Some(Instant::now());
        Ok(())
    }

    /// Leaves word beside the source, so that the log is kept. Where that cannot be done, it is not.
    fn note(&mut self, version: Version, is_first: bool) {
        let is_due = self.noted.is_none_or(|(when, noted)| {
            when.elapsed() >= FOLLOWER_NOTE && (noted != version || when.elapsed() >= FOLLOWER_AUDIT)
        });
        if !is_first && !is_due {
            return;
        }
        let Some(directory) = &self.source.inner.directory else { return };
        let path = self.replica.path();
        let record = FollowerRecord {
            replica: self.replica.id(),
            version,
            at: self.source.inner.options.clock.now(),
            path: path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        };
        if followers::note(&directory.followers(), &record).is_ok() {
            self.noted = Some((Instant::now(), version));
        }
    }
}

impl Store {
    /// Takes back what a follower has said, that will not come back: the log is kept for it no more.
    pub fn forget_follower(&self, replica: StoreId) {
        if let Some(directory) = &self.inner.directory {
            followers::forget(&directory.followers(), replica);
        }
    }

    /// Returns who has followed the store lately, and how far each has come.
    pub fn followers(&self) -> Vec<FollowerRecord> {
        self.inner.directory.iter().flat_map(|directory| followers::list(&directory.followers())).collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Where it has come to, so that the log is kept for no more than it needs.
        if let Ok(Some(at)) = self.position() {
            self.note(at.version, true);
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower")
            .field("source", &self.source.path())
            .field("replica", &self.replica.path())
            .finish_non_exhaustive()
    }
}
