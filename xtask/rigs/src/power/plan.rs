//! How one power cut goes: who is there, what they are in the middle of, and what is lost.

use std::time::Duration;

use super::disk::Stray;
use super::fuse::Point;
use super::shutdown::Journal;
use crate::random::Random;

/// What one cut is like.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a coin of its own")]
pub(super) struct Plan {
    /// Whether the store is a new one, so that its making is cut short.
    pub(super) is_new: bool,
    pub(super) has_standby: bool,
    pub(super) has_follower: bool,
    /// The operation that is cut short, where it is not a moment.
    pub(super) point: Option<(Point, u32, bool)>,
    /// Whether it is an operation on the replica's file.
    pub(super) is_of_replica: bool,
    pub(super) moment: Duration,
    /// What befalls the writer so long before.
    pub(super) takeover: Option<(Takeover, Duration)>,
    pub(super) stray: Stray,
    pub(super) journal: Journal,
    /// How long the processes go on without power.
    pub(super) lingers: Duration,
    /// Whether the store is looked at, or written to at once.
    pub(super) is_checked: bool,
    /// Whether writers sync nothing, which has to be found.
    pub(super) skips_syncs: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Takeover {
    Promote,
    Kill,
}

impl Plan {
    pub(super) fn draw(random: &mut Random) -> Self {
        let has_standby = random.one_in(5);
        let has_follower = random.one_in(3);
        let takeover = has_standby.then(|| {
            let how = if random.one_in(2) { Takeover::Promote } else { Takeover::Kill };
            (how, spread(random, 60_000))
        });
        let point = random.one_in(2).then(|| {
            let points = [Point::Half, Point::Written, Point::Sized, Point::Unsynced, Point::Synced];
            let point = points[random.index(points.len())];
            let most = match point {
                Point::Half | Point::Written => 600,
                Point::Sized => 5,
                Point::Unsynced | Point::Synced => 80,
            };
            let most = 1 + random.below(most);
            let after = u32::try_from(random.below(most)).expect("is small");
            (point, after, random.one_in(3))
        });
        Self {
            is_new: random.one_in(12),
            has_standby,
            has_follower,
            point,
            is_of_replica: has_follower && random.one_in(3),
            moment: spread(random, 150_000),
            takeover,
            stray: [Stray::Nothing, Stray::Pages, Stray::Pages, Stray::Journal][random.index(4)],
            journal: if random.one_in(6) { Journal::Flushed } else { Journal::Lost },
            lingers: if random.one_in(3) { spread(random, 40_000) } else { Duration::ZERO },
            is_checked: !random.one_in(6),
            skips_syncs: false,
        }
    }
}

/// Returns a time that is as likely to be short as long.
fn spread(random: &mut Random, most: u64) -> Duration {
    let most = 1 + random.below(most);
    Duration::from_micros(random.below(1 + most))
}
