//! Runs everything that there is at once, for a long time, and watches what grows.
//!
//! Two processes write by turns, others read, watch, follow and apply deltas; some come, and are killed with a lock, a port
//! or the writer's role in their hands. Every few seconds is measured what each of them and the store take up. In the
//! end every measurement is flat, has settled, or is reported.

mod cast;
mod sample;
mod series;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cohab::{Follower, Role};

use self::cast::{Part, Script, Told, options};
use self::series::{Series, Tolerance, Verdict};

/// How to run it.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// For how many seconds
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Twenty seconds
    #[arg(long)]
    smoke: bool,
    /// Have readers lose memory and descriptors, and succeed if that is found
    #[arg(long)]
    planted: bool,
    /// Print every measurement as well
    #[arg(long)]
    points: bool,
    #[command(flatten)]
    script: Script,
}

/// Those that are there from the beginning to the end.
const LASTING: [(&str, Part); 7] = [
    ("writer a", Part::Writer),
    ("writer b", Part::Writer),
    ("reader a", Part::Reader),
    ("reader b", Part::Reader),
    ("watcher", Part::Watcher),
    ("follower", Part::Follower),
    ("applier", Part::Applier),
];

/// How often the writers change places, a writer is killed, and a visitor is.
const HAND_OVER: Duration = Duration::from_secs(13);
const TAKE_OVER: Duration = Duration::from_secs(31);
const VISIT: Duration = Duration::from_secs(3);

/// A mebibyte in kibibytes.
const MIB: f64 = 1024.0;

/// A run of that many seconds, or more, has time to warm up before it is looked at.
const LONG: f64 = 600.0;

/// By when a process is ready, unless it hangs.
const PROMPT: Duration = Duration::from_mins(1);

/// The plugin that writers run: an index of its own, and a count.
const MANIFEST: &str = "name = \"index\"\napi = 1\nentry = \"main.rhai\"\n[[trigger]]\non = \"commit\"\n\
    namespaces = [\"orders\"]\nstart = \"existing\"\n[[trigger]]\non = \"schedule\"\nevery = \"5s\"\n\
    [on-error]\npolicy = \"retry\"\n[limits]\ntime = \"30s\"\n";

const SCRIPT: &str = r#"
fn on_commit(changes) {
    for change in changes {
        if change.after == () { delete("of/" + change.key); } else { put("of/" + change.key, change.version.to_string()); }
    }
}
fn on_schedule(due) { let n = get("n"); put("n", if n == () { "1" } else { (n.parse_int() + 1).to_string() }); }
"#;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(part) = arguments.script.part {
        cast::play(part, &arguments.script, arguments.seed);
        return Ok(());
    }
    let seconds = if arguments.smoke { 20 } else { arguments.seconds };
    let dir = tempfile::tempdir()?;
    let mut stage = Stage::set(dir.path(), arguments.seed, arguments.planted)?;
    let outcome = stage.run(Duration::from_secs(seconds)).and_then(|()| stage.end());
    let grown = stage.print(arguments.points);
    if arguments.planted {
        let is_found =
            ["reader a: memory", "reader a: descriptors"].map(|name| grown.iter().any(|it| it == name));
        ensure!(
            outcome.is_ok() && is_found == [true; 2],
            "what readers lose is not found, but {grown:?}: {outcome:?}"
        );
        return Ok(());
    }
    let failure = match outcome {
        Err(error) => format!("{error:#}"),
        Ok(()) if grown.is_empty() => return Ok(()),
        Ok(()) => format!("it grows: {}", grown.join(", ")),
    };
    let kept = dir.keep();
    let again = format!("cargo xtask soak --for {seconds} --seed {}", arguments.seed);
    bail!("{failure}\n  what is left: {}\n  again: {again}", kept.display())
}

struct Stage<'p> {
    place: &'p Path,
    seed: u64,
    leaks: bool,
    begin: Instant,
    lasting: Vec<Member>,
    sender: Sender<Told>,
    told: Receiver<Told>,
    series: BTreeMap<String, Series>,
    counts: BTreeMap<String, u64>,
    /// Processor time of those that are gone.
    ticks: u64,
}

struct Member {
    name: &'static str,
    process: Child,
    input: ChildStdin,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'p> Stage<'p> {
    fn set(place: &'p Path, seed: u64, leaks: bool) -> anyhow::Result<Self> {
        for dir in ["plugin", "tmp", "run"] {
            fs::create_dir(place.join(dir))?;
        }
        fs::write(place.join("plugin/plugin.toml"), MANIFEST)?;
        fs::write(place.join("plugin/main.rhai"), SCRIPT)?;
        let (sender, told) = channel();
        let (series, counts) = Default::default();
        let begin = Instant::now();
        let mut stage =
            Self { place, seed, leaks, begin, lasting: Vec::new(), sender, told, series, counts, ticks: 0 };
        for (name, part) in LASTING {
            let member = stage.start(name, part)?;
            stage.lasting.push(member);
        }
        Ok(stage)
    }

    /// Starts a process, and waits until it is ready.
    fn start(&mut self, name: &'static str, part: Part) -> anyhow::Result<Member> {
        self.seed += 1;
        let mut command = Command::new(env::current_exe()?);
        command.args([
            "soak",
            "--part",
            &format!("{part:?}").to_lowercase(),
            "--seed",
            &self.seed.to_string(),
        ]);
        command.arg("--place").arg(self.place);
        if self.leaks {
            command.arg("--leak");
        }
        // Where temporary directories of instances are.
        command.env("TMPDIR", self.place.join("tmp")).env("XDG_RUNTIME_DIR", self.place.join("run"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("it has no input")?;
        let output = process.stdout.take().context("it has no output")?;
        let member = Member { name, process, input };
        let (sender, (ready, is_ready)) = (self.sender.clone(), channel());
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Ok(told) = serde_json::from_str(&line) else { continue };
                let _ = if told == Told::Ready {
                    ready.send(()).map_err(drop)
                } else {
                    sender.send(told).map_err(drop)
                };
            }
        });
        if is_ready.recv_timeout(PROMPT).is_err() {
            self.listen()?;
            bail!("{name} is not ready after {PROMPT:?}, or has ended");
        }
        Ok(member)
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        for told in self.told.try_iter() {
            match told {
                Told::Ready => {}
                Told::Counts(counts) => {
                    for (what, count) in counts {
                        *self.counts.entry(what).or_default() += count;
                    }
                }
                Told::Failed(message) => bail!("a process failed: {message}"),
            }
        }
        for member in &mut self.lasting {
            if let Some(status) = member.process.try_wait()? {
                bail!("{} has ended by itself: {status}", member.name);
            }
        }
        Ok(())
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn run(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = self.begin + time;
        // A few hundred measurements, whatever the time.
        let rest = (time / 300).max(Duration::from_millis(500));
        let (mut sampled, mut handed, mut taken, mut visited) =
            (self.begin, self.begin, self.begin, self.begin);
        let mut next_writer = 1;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
            self.listen()?;
            if sampled.elapsed() >= rest {
                sampled = Instant::now();
                self.sample();
            }
            if handed.elapsed() >= HAND_OVER {
                handed = Instant::now();
                self.lasting[next_writer].input.write_all(b"promote\n")?;
                next_writer = 1 - next_writer;
                self.count("hand-overs asked for");
            }
            if visited.elapsed() >= VISIT {
                let visitor = self.start("visitor", Part::Visitor)?;
                self.dismiss(visitor);
                self.count("visitors killed");
                visited = Instant::now();
            }
            if taken.elapsed() >= TAKE_OVER || (taken == self.begin && self.begin.elapsed() > time / 3) {
                let usurper = self.start("usurper", Part::Usurper)?;
                thread::sleep(Duration::from_millis(500));
                self.dismiss(usurper);
                self.count("writers killed");
                taken = Instant::now();
            }
        }
        self.listen()
    }

    fn dismiss(&mut self, member: Member) {
        self.ticks += sample::process(member.process.id()).map_or(0, |it| it.ticks);
        drop(member);
    }

    /// Measures everything there is.
    #[expect(clippy::cast_precision_loss, reason = "are far smaller")]
    fn sample(&mut self) {
        let seconds = self.begin.elapsed().as_secs_f64();
        let mut all: Vec<(String, &'static str, u64, Tolerance)> = Vec::new();
        for member in &self.lasting {
            let Some(process) = sample::process(member.process.id()) else { continue };
            let name = member.name;
            // The allocator keeps what it had to have once; the engine's cache and ours have 12 MiB together.
            all.push((
                format!("{name}: memory"),
                "KiB",
                process.memory_kib,
                upto(24.0 * MIB, within(0.15, 3072.0)),
            ));
            all.push((
                format!("{name}: mapped"),
                "KiB",
                process.mapped_kib,
                upto(80.0 * MIB, within(0.15, 3072.0)),
            ));
            all.push((format!("{name}: descriptors"), "", process.descriptors, upto(24.0, within(0.0, 6.0))));
            all.push((format!("{name}: mappings"), "", process.mappings, upto(80.0, within(0.05, 8.0))));
            all.push((format!("{name}: threads"), "", process.threads, upto(8.0, within(0.0, 2.0))));
        }
        for store in ["store", "replica", "copy"] {
            let path = self.place.join(store);
            all.push((
                format!("{store}.redb"),
                "KiB",
                sample::kib(&path.join("store.redb")),
                upto(64.0 * MIB, within(0.15, 4096.0)),
            ));
            all.push((format!("{store}: files"), "", sample::files(&path), upto(48.0, within(0.0, 8.0))));
        }
        let temporary = sample::files(&self.place.join("tmp")) + sample::files(&self.place.join("run"));
        all.push(("temporary files".into(), "", temporary, within(0.0, 8.0)));
        if let Ok(snapshot) = options()
            .role(Role::Reader)
            .register(false)
            .open(self.place.join("store"))
            .and_then(|store| store.snapshot())
        {
            all.push((
                "log".into(),
                "KiB",
                snapshot.log_bytes() / 1024,
                upto(10.0 * MIB, within(0.15, 2048.0)),
            ));
            let trash = snapshot.dropped_namespaces().map_or(0, Iterator::count) as u64;
            all.push(("dropped namespaces".into(), "", trash, within(0.0, 4.0)));
            let kept = snapshot.named_snapshots().map_or(0, |kept| kept.len()) as u64;
            all.push(("named snapshots".into(), "", kept, upto(40.0, within(0.0, 6.0))));
        }
        for (name, unit, value, tolerance) in all {
            let new = || Series { name: name.clone(), unit, tolerance, points: Vec::new() };
            self.series.entry(name.clone()).or_insert_with(new).points.push((seconds, value as f64));
        }
    }

    /// Ends everybody, and looks at what is there then.
    fn end(&mut self) -> anyhow::Result<()> {
        self.listen()?;
        while let Some(member) = self.lasting.pop() {
            self.dismiss(member);
        }
        let store = options().open(self.place.join("store"))?;
        let snapshot = store.snapshot()?;
        let report = snapshot.verify(|_| ())?;
        ensure!(report.is_sound(), "the store is not sound: {:?}", report.differences);
        drop(snapshot);
        for replica in ["replica", "copy"] {
            let (source, path) = (self.place.join("store"), self.place.join(replica));
            let mut follower = Follower::open_with(source, options(), path, options(), |_| ())?;
            follower.catch_up()?;
            let differences = follower.replica().snapshot()?.compare(&follower.source().snapshot()?)?;
            ensure!(differences.is_empty(), "the {replica} differs: {differences:?}");
        }
        Ok(())
    }

    /// Prints what was done and what became of what was measured. Returns what grows.
    #[expect(clippy::cast_precision_loss, reason = "are far smaller")]
    fn print(&self, points: bool) -> Vec<String> {
        let seconds = self.begin.elapsed().as_secs_f64();
        println!("{:44}{:>12}", "done", "times");
        for (what, count) in &self.counts {
            println!("{what:44}{count:>12}");
        }
        println!();
        println!(
            "{:28}{:>12}{:>12}{:>14}{:>10}  verdict",
            "measured", "first third", "last third", "slope an hour", "allowed"
        );
        let mut grown = Vec::new();
        for series in self.series.values() {
            let course = series.course((seconds >= LONG).then_some(seconds / 4.0));
            let name =
                format!("{}{}{}", series.name, if series.unit.is_empty() { "" } else { ", " }, series.unit);
            println!(
                "{name:28}{:>12.0}{:>12.0}{:>14.1}{:>10.0}  {}",
                course.first,
                course.last,
                course.slope,
                course.allowed,
                format!("{:?}", course.verdict).to_lowercase()
            );
            let is_growth = course.verdict == Verdict::Grows;
            if is_growth || points {
                let list: Vec<String> =
                    series.points.iter().map(|(at, value)| format!("{at:.0}:{value:.0}")).collect();
                println!("  {}", list.join(" "));
            }
            if is_growth {
                grown.push(series.name.clone());
            }
        }
        println!();
        let part = self.ticks as f64 / 100.0 / seconds;
        println!("{seconds:.0} s, {:.2} of a processor, {} series", part, self.series.len());
        grown
    }
}

fn within(part: f64, besides: f64) -> Tolerance {
    Tolerance { part, besides, bound: 0.0 }
}

fn upto(bound: f64, tolerance: Tolerance) -> Tolerance {
    Tolerance { bound, ..tolerance }
}
