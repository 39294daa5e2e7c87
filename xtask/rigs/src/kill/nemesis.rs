//! Who starts the processes, kills and stops them.

use std::collections::BTreeMap;
use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::actor::Scene;
use super::history::Part;
use super::points::{Doom, Fate, Point};
use crate::random::Random;

/// Who takes part, by place.
const CAST: [Part; 14] = [
    Part::Writer,
    Part::Writer,
    Part::Reader,
    Part::Reader,
    Part::Reader,
    Part::Cached,
    Part::Cached,
    Part::Cached,
    Part::Watcher,
    Part::Watcher,
    Part::Follower,
    Part::Tenant,
    Part::Tenant,
    Part::Writer,
];

/// How often the nemesis looks.
const TICK: Duration = Duration::from_millis(2);

/// After which time without any commit something hangs.
const HANGS_AFTER: Duration = Duration::from_mins(1);

/// What was done to processes.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) started: u64,
    /// Kills by part.
    pub(crate) parts: BTreeMap<Part, u64>,
    /// Kills by point; without one, at any moment, or while stopped.
    pub(crate) points: BTreeMap<String, u64>,
    pub(crate) stops: u64,
    /// How often everybody was killed at once.
    pub(crate) massacres: u64,
}

impl Deeds {
    pub(crate) fn kills(&self) -> u64 {
        self.parts.values().sum()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.started += other.started;
        self.stops += other.stops;
        self.massacres += other.massacres;
        for (part, count) in other.parts {
            *self.parts.entry(part).or_default() += count;
        }
        for (point, count) in other.points {
            *self.points.entry(point).or_default() += count;
        }
    }
}

/// A process.
struct Actor {
    part: Part,
    child: Child,
    doom: Option<Doom>,
    /// Set while it is stopped: until when, and what happens then.
    stopped: Option<(Instant, Signal)>,
    /// Set once it was sent a signal that ends it, with how that is counted.
    killed: Option<&'static str>,
}

impl Actor {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // It is not reaped elsewhere, so the number is its own.
        kill_process(self.pid(), signal).context("cannot signal a process of this rig")
    }
}

/// Starts, kills and stops processes until there were enough kills.
pub(crate) struct Nemesis<'a> {
    scene: &'a Scene,
    seed: u64,
    random: Random,
    actors: Vec<Option<Actor>>,
    /// The number of the process that is started next.
    pub(crate) next: u32,
    pub(crate) deeds: Deeds,
    pub(crate) violations: Vec<String>,
    progress: (u64, Instant),
}

impl<'a> Nemesis<'a> {
    pub(crate) fn new(scene: &'a Scene, seed: u64) -> Self {
        let actors = CAST.iter().map(|_| None).collect();
        let (deeds, violations) = Default::default();
        let progress = (0, Instant::now());
        Self { scene, seed, random: Random::new(seed), actors, next: 1, deeds, violations, progress }
    }

    /// Goes on until so many were killed, or the time is over.
    pub(crate) fn run(&mut self, kills: u64, deadline: Option<Instant>) -> Result<()> {
        let mut next = Instant::now();
        while self.deeds.kills() < kills
            && deadline.is_none_or(|deadline| Instant::now() < deadline)
            && self.violations.is_empty()
        {
            for place in 0..CAST.len() {
                self.look_after(place)?;
            }
            if Instant::now() >= next {
                self.strike()?;
                next = Instant::now() + Duration::from_millis(self.random.below(60));
            }
            self.look_for_progress();
            thread::sleep(TICK);
        }
        self.end()
    }

    /// Does something to somebody.
    fn strike(&mut self) -> Result<()> {
        let place = self.random.index(CAST.len());
        match self.random.below(200) {
            // Writers mostly get as far as their doom.
            0..60 if CAST[place] == Part::Writer => Ok(()),
            0..80 => self.kill(place, "at any moment"),
            80..165 => match &self.actors[place] {
                Some(actor) if actor.stopped.is_none() && actor.killed.is_none() => {
                    actor.signal(Signal::STOP)
                }
                _ => Ok(()),
            },
            165 => {
                self.deeds.massacres += 1;
                (0..CAST.len()).try_for_each(|place| self.kill(place, "everybody at once"))
            }
            _ => Ok(()),
        }
    }

    fn kill(&mut self, place: usize, how: &'static str) -> Result<()> {
        match &mut self.actors[place] {
            Some(actor) if actor.killed.is_none() => {
                actor.killed = Some(how);
                actor.signal(Signal::KILL)
            }
            _ => Ok(()),
        }
    }

    /// Starts who is missing, buries who is dead, and lets those go on who were stopped long enough.
    fn look_after(&mut self, place: usize) -> Result<()> {
        let Some(actor) = &mut self.actors[place] else {
            let actor = self.start(place)?;
            self.actors[place] = Some(actor);
            return Ok(());
        };
        let options = WaitOptions::NOHANG | WaitOptions::UNTRACED;
        match waitpid(Some(actor.pid()), options).context("cannot wait for a process of this rig")? {
            Some((_, status)) if status.stopped() => {
                self.deeds.stops += 1;
                let millis = if self.random.one_in(20) { 1000 } else { 100 };
                let until = Instant::now() + Duration::from_millis(self.random.below(millis));
                let then = if self.random.one_in(3) { Signal::KILL } else { Signal::CONT };
                actor.stopped = Some((until, then));
            }
            Some((_, status)) => self.bury(place, status),
            None => {
                if let Some((until, then)) = actor.stopped
                    && Instant::now() >= until
                {
                    actor.stopped = None;
                    if then == Signal::KILL {
                        return self.kill(place, "while stopped");
                    }
                    actor.signal(then)?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, place: usize) -> Result<Actor> {
        let part = CAST[place];
        let (process, doom) = (self.next, self.doom(part));
        self.next += 1;
        let mut command = Command::new(env::current_exe()?);
        let name = clap::ValueEnum::to_possible_value(&part).expect("every part has a name");
        command.args(["kill", "--actor", name.get_name()]);
        command.args(["--process", &process.to_string(), "--place", &place.to_string()]);
        command.args(["--seed", &self.seed.to_string(), "--dir"]).arg(&self.scene.0);
        if let Some(doom) = doom {
            command.args(["--doom", &doom.to_string()]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        self.deeds.started += 1;
        Ok(Actor { part, child: child.context("cannot start a process")?, doom, stopped: None, killed: None })
    }

    /// What a process of a part comes to, if it is not killed before.
    fn doom(&mut self, part: Part) -> Option<Doom> {
        let points: &[(Point, u64)] = match part {
            Part::Writer => &[
                (Point::Opening, 1),
                (Point::Opened, 1),
                (Point::Write, 80),
                (Point::Header, 12),
                (Point::Resize, 3),
                (Point::Sync, 12),
                (Point::Synced, 12),
                (Point::Invoked, 8),
                (Point::Clock, 8),
                (Point::Closure, 8),
                (Point::Committed, 8),
                (Point::Acknowledged, 8),
                (Point::Promoted, 2),
                (Point::SteppedDown, 1),
                (Point::Promoting, 1),
                (Point::Locked, 3),
                (Point::Unlocking, 3),
                (Point::Snapshot, 20),
                (Point::Cached, 500),
            ],
            Part::Reader => &[(Point::Opening, 1), (Point::Opened, 1), (Point::Snapshot, 200)],
            Part::Cached => &[(Point::Opened, 1), (Point::Snapshot, 30), (Point::Cached, 20_000)],
            Part::Watcher => &[(Point::Opened, 1), (Point::Watched, 60)],
            Part::Follower => &[
                (Point::Opened, 1),
                (Point::Following, 8),
                (Point::Applied, 8),
                (Point::Write, 60),
                (Point::Header, 10),
                (Point::Sync, 10),
                (Point::Synced, 10),
                (Point::Clock, 20),
            ],
            Part::Tenant => &[(Point::Opened, 1), (Point::Locked, 40), (Point::Unlocking, 40)],
        };
        let is_doomed = if part == Part::Writer { !self.random.one_in(4) } else { self.random.one_in(2) };
        let (point, most) = points[self.random.index(points.len())];
        let fate = if self.random.one_in(3) { Fate::Stopped } else { Fate::Killed };
        let count = 1 + self.random.below(most);
        is_doomed.then_some(Doom { fate, point, count })
    }

    fn bury(&mut self, place: usize, status: WaitStatus) {
        let Some(actor) = self.actors[place].take() else { return };
        let status = std::process::ExitStatus::from_raw(status.as_raw());
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        if !is_killed {
            // A writer that was overtaken ends by itself.
            if !status.success() {
                self.violations.push(format!("a process ({:?}) ended with {status}", actor.part));
            }
            return;
        }
        *self.deeds.parts.entry(actor.part).or_default() += 1;
        let how = match (actor.killed, actor.doom) {
            (Some(how), _) => how.to_owned(),
            (None, Some(doom)) => doom.point.to_string(),
            (None, None) => "by somebody else".to_owned(),
        };
        *self.deeds.points.entry(how).or_default() += 1;
    }

    /// Whether anything is committed any more.
    fn look_for_progress(&mut self) {
        let last = self.scene.token().get().unwrap_or_default();
        if last != self.progress.0 {
            self.progress = (last, Instant::now());
        } else if self.progress.1.elapsed() > HANGS_AFTER {
            self.violations.push(format!("nothing was committed for {HANGS_AFTER:?}, after version {last}"));
        }
    }

    /// Kills everybody.
    fn end(&mut self) -> Result<()> {
        for place in 0..CAST.len() {
            self.kill(place, "at the end")?;
            while let Some(actor) = &self.actors[place] {
                let waited = waitpid(Some(actor.pid()), WaitOptions::empty());
                if let Some((_, status)) = waited.context("cannot wait for a process of this rig")? {
                    self.bury(place, status);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Nemesis<'_> {
    fn drop(&mut self) {
        // Only if it ends by an error; nobody is left to run.
        for actor in self.actors.iter_mut().flatten() {
            let _ = actor.child.kill();
            let _ = actor.child.wait();
        }
    }
}
