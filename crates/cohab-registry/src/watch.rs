//! Following the coming and going of instances.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use cohab_core::InstanceId;

use crate::{Instance, Registry, Result};

/// How long it may take until a change is seen. The kernel tells nobody that a lock has come free, so: look.
const POLL: Duration = Duration::from_millis(100);

/// A change in who is there.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An instance lives that did not, or that was there when the watch began.
    Came(Instance),
    /// An instance that had come has ended; as it was when it came.
    Went(Instance),
}

/// An endless iterator over the coming and going of instances.
///
/// Looks ten times a second while it is asked for the next event, and not otherwise. An instance that comes and goes
/// between two looks is not seen. After an error, the next call tries again.
#[derive(Debug)]
#[must_use = "it looks only when it is asked for the next event"]
pub struct Watch {
    registry: Registry,
    present: BTreeMap<InstanceId, Instance>,
    events: VecDeque<Event>,
}

impl Watch {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, present: BTreeMap::new(), events: VecDeque::new() }
    }

    /// Waits for the next event, for `timeout` at the most.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if self.events.is_empty() {
                self.look()?;
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let left = deadline.map_or(POLL, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(POLL.min(left));
        }
    }

    fn look(&mut self) -> Result<()> {
        let live = self.registry.live()?;
        let went = self.present.extract_if(.., |id, _| live.binary_search(id).is_err());
        self.events.extend(went.map(|(_, instance)| Event::Went(instance)));
        for id in live {
            if self.present.contains_key(&id) {
                continue;
            }
            if let Some(instance) = self.registry.instance(id)? {
                self.present.insert(id, instance.clone());
                self.events.push_back(Event::Came(instance));
            }
        }
        Ok(())
    }
}

impl Iterator for Watch {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_timeout(Duration::MAX).transpose()
    }
}
