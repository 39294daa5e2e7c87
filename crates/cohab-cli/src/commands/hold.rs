//! `cohab hold`

mod events;
mod held;
mod input;
mod request;
mod voice;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use clap::{Args, ValueEnum};
use cohab::{Cancel, Freshness, Options, Role, Store};

use self::events::Follower;
use self::held::Held;
use self::input::Input;
use self::request::{Command, Request};
use self::voice::Voice;
use super::bytes::input_must_be_open;
use super::{Exit, Outcome};
use crate::arguments::seconds;
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::report;
use crate::session::Session;
use crate::terminal::{Cell, Record};

/// Keep an instance open until the standard input closes, and do what is asked there
///
/// Prints one JSON object a line, whatever the form of output: {"event":"open","role","instance","version"} first, then
/// {"event":"version","version"} as the store moves on, {"event":"promoted","epoch"}, {"event":"stepped_down","role"},
/// {"event":"stalled",…}, and {"event":"closed"} at the end.
///
/// Takes one JSON object a line and answers each with one, in order, with the same "id" if it had one. Operations:
/// {"txn":[…]} with the operations of `cohab txn`, or one of those alone; next to it "label", and "create":true to create
/// namespaces. Reads: {"get":{"ns","key"}}, {"get_many":[{"ns","key"},…]}, {"scan":{"ns","prefix","from","to","limit",
/// "reverse"}}, {"count":{"ns"}}, next to each "snapshot":N to read from one that is held, and "at" to read what was there at a
/// version, a named snapshot ("@NAME") or a time. Snapshots: {"snapshot":{}},
/// {"release":N}, {"refresh":{}}, {"token":{}}, {"at_least":{"token","wait_ms"}}. Roles: {"promote":{"wait_ms"}},
/// {"step_down":{}}, {"reopen":{}}. Locks: {"lock":{"name","mode","wait_ms"}}, {"unlock":NAME}. Others: {"instances":{}},
/// {"close":{}}. An answer has "ok":true and the "version" that was read or made, or "ok":false and "error".
/// {"cached_get":{"ns","key"}} reads as it is now through the instance's cache, which does not tell the version.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// What the instance is for
    #[arg(long, value_enum, value_name = "ROLE", default_value_t)]
    role: Kind,
    /// How new reads are: `latest`, `pinned` until a refresh, or at most so many milliseconds old
    #[arg(long, value_name = "HOW", value_parser = freshness, default_value = "latest")]
    freshness: Freshness,
    /// The application that others see
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Its channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    app_version: Option<String>,
    /// What tells the instance from others
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// As the writer, do not step down for a stand-by that asks for it
    #[arg(long)]
    no_hand_over: bool,
    /// As the writer, refuse snapshots in all processes that are older than this
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    snapshot_age_max: Option<Duration>,
    /// After how long an operation that waits is told of
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2")]
    stall_after: Duration,
}

/// The roles, as arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Kind {
    /// Reads and writes; there is one at a time
    #[default]
    Writer,
    /// Reads, and becomes the writer when there is none
    Standby,
    /// Only reads
    Reader,
    /// A writer if there is none, otherwise a stand-by
    Auto,
}

impl Hold {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        input_must_be_open()?;
        let (sender, inputs) = sync_channel(input::LINES_AHEAD);
        let voice = Arc::new(Voice::new(sender.clone()));
        let cancel = Cancel::new();
        let (told, cancelling, opened) = (sender.clone(), cancel.clone(), voice.clone());
        interrupt::listen(&[Signal::Terminate], move |_| {
            cancelling.cancel();
            // If there is no room, the input that is there gets the loop to look at the token.
            _ = told.try_send(Input::End);
            if opened.is_open() { Then::End } else { Then::AsUsual }
        });
        let is_pinned = self.freshness == Freshness::Pinned;
        let store = self.options(session.options(), &voice).open(session.path()?)?;
        let version = store.snapshot()?.version();
        voice.open(&opening(&store).with("version", version))?;
        // The follower's looks would move what is to stay.
        let follower = (!is_pinned).then(|| Follower::start(&store, version, &voice));
        input::read(sender);
        let mut held = Held::new(store, cancel, session.wait());
        let served = serve(&inputs, &voice, &mut held);
        drop((follower, held));
        voice.say(&Record::new().with("event", "closed"))?;
        served?;
        interrupt::check()?;
        Ok(Exit::Done)
    }

    fn options(self, options: Options, voice: &Arc<Voice>) -> Options {
        let (on_role, on_stall) = (voice.clone(), voice.clone());
        let mut options = options
            .role(match self.role {
                Kind::Writer => Role::Writer,
                Kind::Standby => Role::Standby,
                Kind::Reader => Role::Reader,
                Kind::Auto => Role::Auto,
            })
            .freshness(self.freshness)
            .hand_over(!self.no_hand_over)
            .on_role_change(move |change| events::role(&on_role, change))
            .on_stall(self.stall_after, move |stall| events::stall(&on_stall, stall));
        if let Some(app) = self.app {
            options = options.app(app);
        }
        if let Some(channel) = self.channel {
            options = options.channel(channel);
        }
        if let Some(version) = self.app_version {
            options = options.app_version(version);
        }
        if let Some(label) = self.label {
            options = options.label(label);
        }
        match self.snapshot_age_max {
            Some(age) => options.snapshot_age_max(age),
            None => options,
        }
    }
}

fn opening(store: &Store) -> Record<'static> {
    Record::new()
        .with("event", "open")
        .with("role", store.role().as_str())
        .with("instance", store.instance().to_string())
        .with("store", store.id().to_string())
        .with("epoch", store.epoch().map(cohab::Epoch::get))
}

/// Answers requests in order, until there are no more or the hold is to end.
fn serve(inputs: &Receiver<Input>, voice: &Voice, held: &mut Held) -> Result<(), Failure> {
    for input in inputs {
        if held.is_cancelled() {
            break;
        }
        let request = match input {
            Input::Line(line) if line.trim_ascii().is_empty() => continue,
            Input::Line(line) => Request::parse(&line),
            Input::TooLong => Request::refused(input::too_long()),
            Input::Failed(error) => return Err(Failure::io("reading the standard input failed", &error)),
            Input::End => break,
        };
        let is_last = matches!(request.command, Ok(Command::Close));
        voice.say(&answer(request, held))?;
        if is_last {
            break;
        }
    }
    Ok(())
}

fn answer(request: Request, held: &mut Held) -> Record<'static> {
    let begin = |is_ok: bool| {
        let id = request.id.clone();
        let record = id.map_or_else(Record::new, |id| Record::new().with("id", Cell::Json(id)));
        record.with("ok", is_ok)
    };
    match request.command.and_then(|command| held.carry_out(command, begin(true))) {
        Ok(answer) => answer,
        Err(failure) => begin(false).with("error", report::brief(&failure)),
    }
}

fn freshness(text: &str) -> Result<Freshness, String> {
    match text {
        "latest" => Ok(Freshness::Latest),
        "pinned" => Ok(Freshness::Pinned),
        _ => text
            .parse()
            .map(|ms| Freshness::MaxAge(Duration::from_millis(ms)))
            .map_err(|_| "expected `latest`, `pinned`, or a number of milliseconds".to_owned()),
    }
}
