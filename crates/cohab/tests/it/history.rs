//! One history, many processes: whatever is killed, stopped or handed over, every reader sees the same versions, each
//! whole, in order, and never one that goes away again.
//!
//! `COHAB_HISTORY_SECONDS` says for how long; the default is five.

use std::time::{Duration, Instant};

use cohab::{Result, Role, Store, Version};

use crate::actor::Actor;
use crate::{Random, Scratch, v};

const READERS: usize = 8;

/// What happened, to be shown.
#[derive(Debug, Default)]
struct Counts {
    acknowledged: u64,
    writers_killed: u64,
    everybody_killed: u64,
    handed_over: u64,
    readers_killed: u64,
    stopped: u64,
    tokens: u64,
    looks: u64,
}

impl Counts {
    fn every_kind_of_event(&self) -> bool {
        let Self { acknowledged, writers_killed, readers_killed, tokens, .. } = *self;
        acknowledged > 20 && writers_killed > 0 && readers_killed > 0 && tokens > 0
    }
}

struct History {
    scratch: Scratch,
    writer: Actor,
    standby: Actor,
    readers: Vec<Actor>,
    /// The last version that was acknowledged.
    last: u64,
    /// How many versions more may be there: a writer that is killed may not have come to acknowledge its last.
    uncertain: u64,
    token: String,
    counts: Counts,
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
impl History {
    fn begin() -> Self {
        let scratch = Scratch::with_ledger();
        let mut writer = Actor::open(&scratch.path(), "auto");
        writer.does("keep-committing");
        let standby = stand_by(&scratch);
        let readers = (0..READERS).map(|_| reader(&scratch)).collect();
        let token = writer.does("token");
        let (store, _) = token.split_once('@').expect("is a token");
        let token = store.to_owned();
        Self { scratch, writer, standby, readers, last: 1, uncertain: 0, token, counts: Counts::default() }
    }

    fn acknowledge(&mut self, event: &str) {
        let version =
            event.strip_prefix("acknowledged ").unwrap_or_else(|| panic!("a writer says {event:?}"));
        let version: u64 = version.parse().expect("a number");
        let next = self.last + 1..=self.last + 1 + self.uncertain;
        assert!(
            next.contains(&version),
            "invariant 2: {version} after {}, and {} killed",
            self.last,
            self.uncertain
        );
        self.uncertain = 0;
        self.last = version;
        self.counts.acknowledged += 1;
    }

    fn listen(&mut self) {
        while let Some(event) = self.writer.hears_within("", Duration::ZERO) {
            self.acknowledge(&event);
        }
    }

    /// What was acknowledged is what others are told.
    fn hand_a_token_over(&mut self, reader: usize) {
        self.listen();
        let (last, token) = (self.last, format!("{}@{}", self.token, self.last));
        let reader = &mut self.readers[reader];
        for how in ["look", &format!("look at-least {token} 10000")] {
            let seen = reader.number(how);
            assert!(seen >= last, "`{how}`: {seen} is shown, {last} was acknowledged");
        }
        self.counts.tokens += 1;
    }

    /// Kills the writer, and the stand-by as well if told to, and checks that nobody has seen what is not there.
    fn kill_the_writer(&mut self, and_the_standby: bool) {
        println!("{}: kill writer {} (also the stand-by: {and_the_standby})", self.last, self.writer.pid);
        let next = Actor::start(&self.scratch.path());
        let standby = std::mem::replace(&mut self.standby, next);
        let writer = std::mem::replace(&mut self.writer, standby);
        self.bury(writer);
        let seen: Vec<u64> = self.readers.iter_mut().map(|reader| reader.number("seen")).collect();
        self.counts.writers_killed += 1;
        if and_the_standby {
            // It may have taken over already, and even committed.
            let next = Actor::start(&self.scratch.path());
            let standby = std::mem::replace(&mut self.writer, next);
            self.bury(standby);
            self.writer.does("open auto");
            self.writer.does("keep-committing");
            self.counts.everybody_killed += 1;
        } else {
            self.writer.hears("promoted ");
        }
        let found = self.writer.number("look");
        assert!(found >= self.last, "invariant 1: {found} is there, {} was acknowledged", self.last);
        let most = seen.into_iter().max().expect("there are readers");
        assert!(most <= found, "invariant 3: {most} was seen, {found} is there");
        self.standby.does("open standby");
        self.standby.does("keep-committing");
    }

    fn bury(&mut self, writer: Actor) {
        let events = writer.kill();
        println!("{}: its last words: {events:?}", self.last);
        for event in events {
            if !event.starts_with("promoted ") {
                self.acknowledge(&event);
            }
        }
        self.uncertain += 1;
    }

    fn hand_over(&mut self) {
        println!("{}: {} hands over to {}", self.last, self.writer.pid, self.standby.pid);
        self.standby.does("promote 20000");
        self.standby.hears("promoted ");
        // Its last version may have been acknowledged a moment after.
        self.writer.hears("stepped-down ");
        self.writer.does("rest");
        self.listen();
        self.writer.does("keep-committing");
        std::mem::swap(&mut self.writer, &mut self.standby);
        self.counts.handed_over += 1;
    }

    fn kill_a_reader(&mut self, which: usize) {
        let seen = self.readers[which].number("seen");
        let next = reader(&self.scratch);
        let mut killed = std::mem::replace(&mut self.readers[which], next);
        self.counts.looks += killed.number("looks");
        assert_eq!(killed.kill(), Vec::<String>::new());
        let fresh = self.readers[which].number("look");
        assert!(fresh >= seen, "invariant 3: {seen} was seen, a fresh reader shows {fresh}");
        self.counts.readers_killed += 1;
    }

    fn stop_somebody(&mut self, random: &mut Random) {
        let who = match random.below(4) {
            0 => &self.writer,
            1 => &self.standby,
            _ => &self.readers[below(random, READERS)],
        };
        println!("{}: stop {}", self.last, who.pid);
        who.stop();
        std::thread::sleep(Duration::from_millis(random.below(40)));
        who.go_on();
        self.counts.stopped += 1;
    }

    fn end(mut self) -> Result<Counts> {
        self.writer.does("rest");
        self.listen();
        let last = self.writer.number("look");
        assert!(
            (self.last..=self.last + self.uncertain).contains(&last),
            "{last} is there, not {}",
            self.last
        );
        for mut reader in self.readers {
            assert!(reader.number(&format!("look at-least {}@{last} 10000", self.token)) >= last);
            reader.does("rest");
            self.counts.looks += reader.number("looks");
            assert_eq!(reader.kill(), Vec::<String>::new());
        }
        assert_eq!(self.writer.number("verify"), last);
        let store = Store::options().role(Role::Reader).open(self.scratch.path())?;
        let snapshot = store.snapshot()?;
        let versions: Vec<Version> =
            snapshot.log(..).map(|record| Ok(record?.version())).collect::<Result<_>>()?;
        assert_eq!(versions, (1..=last).map(v).collect::<Vec<_>>(), "invariant 2");
        Ok(self.counts)
    }
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).expect("is small")
}

fn stand_by(scratch: &Scratch) -> Actor {
    let mut standby = Actor::open(&scratch.path(), "standby");
    standby.does("keep-committing");
    standby
}

fn reader(scratch: &Scratch) -> Actor {
    let mut reader = Actor::open(&scratch.path(), "reader");
    reader.does("keep-looking");
    reader
}

#[test]
fn invariants_1_to_4_hold_for_every_process_whatever_is_killed_stopped_or_handed_over() -> Result<()> {
    let seconds =
        std::env::var("COHAB_HISTORY_SECONDS").map_or(5, |it| it.parse().expect("a number of seconds"));
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    let mut history = History::begin();
    let begin = Instant::now();
    println!("seed {seed}");
    // A machine that is busy with something else gets as far, only later.
    while begin.elapsed() < Duration::from_secs(seconds)
        || (!history.counts.every_kind_of_event() && begin.elapsed() < Duration::from_secs(seconds + 120))
    {
        std::thread::sleep(Duration::from_micros(random.below(5000)));
        match random.below(100) {
            0..60 => history.hand_a_token_over(below(&mut random, READERS)),
            60..75 => history.kill_the_writer(false),
            75..78 => history.kill_the_writer(true),
            78..84 => history.hand_over(),
            84..93 => history.kill_a_reader(below(&mut random, READERS)),
            _ => history.stop_somebody(&mut random),
        }
        history.listen();
    }
    let counts = history.end()?;
    println!("{counts:?}");
    assert!(counts.looks > 100, "too little happened: {counts:?}");
    assert!(counts.every_kind_of_event(), "too little happened: {counts:?}");
    Ok(())
}
