//! Takes and releases named locks all the time, and leaves their tokens for the writer to write behind.

use std::time::Duration;

use anyhow::Result;
use cohab::{Kind, LockMode, Role, Wait};

use super::{Stage, unless_stalled};
use crate::kill::history::{Event, now};
use crate::kill::keys::LOCKS;
use crate::kill::points::Point;

pub(super) fn play(stage: &mut Stage) -> Result<()> {
    let options = stage.options().role(Role::Reader);
    let store = stage.open(&options)?;
    loop {
        let number = stage.random.index(LOCKS.len());
        let lock = u8::try_from(number).expect("there are few");
        let wait = if stage.random.one_in(2) { Wait::Try } else { Wait::For(Duration::from_millis(100)) };
        let invoked = now();
        match store.lock(LOCKS[number], LockMode::Exclusive, wait) {
            Ok(held) => {
                let token = held.token();
                stage.journal.note(Event::Locked { invoked, lock, token });
                stage.points.pass(Point::Locked);
                stage.scene.fence(number).put(token)?;
                stage.rest(3000);
                stage.journal.note(Event::Unlocking { lock, token });
                stage.points.pass(Point::Unlocking);
                drop(held);
            }
            Err(error) if error.kind() == Kind::Busy => {}
            other => drop(unless_stalled(stage, other)?),
        }
        stage.rest(3000);
    }
}
