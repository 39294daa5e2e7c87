//! `cohab port`

use std::io;
use std::ops::RangeInclusive;
use std::sync::mpsc;

use clap::Args;
use cohab::{Description, Lease, PortPreference, Registry};

use super::bytes::input_must_be_open;
use super::{Exit, Outcome};
use crate::failure::Failure;
use crate::interrupt::{self, Signal, Then};
use crate::session::Session;
use crate::terminal::Record;

/// Hold a port of this machine until the standard input closes
///
/// The port is bound, on the loopback addresses of IPv4 and IPv6, and not just looked for. It is the one that was bound
/// last under this name if that is free, or else the first of the preferred ones, or else any. `cohab ps` shows it.
#[derive(Debug, Args)]
pub(crate) struct Port {
    /// What the port is for, such as `http`
    name: String,
    /// Prefer these ports, the lowest first
    #[arg(long, value_name = "A-B", value_parser = range)]
    range: Vec<RangeInclusive<u16>>,
    /// Prefer this port to all others
    #[arg(long = "port", value_name = "N")]
    first: Option<u16>,
    /// Take none but the preferred ports; exit code 3 if they are taken
    #[arg(long)]
    strict: bool,
    /// Tells this instance from others, which remember other ports
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
}

impl Port {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        input_must_be_open()?;
        if self.strict && self.first.is_none() && self.range.is_empty() {
            return Err(Failure::usage("--strict needs ports to choose from")
                .hint("name them with --port or --range"));
        }
        let mut preference = PortPreference::new();
        if let Some(port) = self.first {
            preference = preference.port(port);
        }
        for range in self.range {
            preference = preference.range(range);
        }
        if self.strict {
            preference = preference.strict();
        }
        let mut description = Description::new("port").app("cohab").app_version(env!("CARGO_PKG_VERSION"));
        if let Some(label) = self.label {
            description = description.label(label);
        }
        let (end, ended) = mpsc::channel();
        let interrupted = end.clone();
        interrupt::listen(&[Signal::Terminate], move |_| {
            _ = interrupted.send(());
            Then::End
        });
        let registration =
            Registry::in_dir(session.directory()?).register(description).map_err(cohab::Error::from)?;
        let lease = registration.bind(&self.name, &preference).map_err(cohab::Error::from)?;
        let record = Record::new().with("name", &*self.name).with("port", u64::from(lease.port()));
        session.out.record(&record.with("addresses", addresses(&lease)))?;
        session.out.flush()?;
        std::thread::spawn(move || {
            // What comes in does not matter, nor does it why nothing more comes.
            _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            _ = end.send(());
        });
        _ = ended.recv();
        interrupt::check()?;
        Ok(Exit::Done)
    }
}

fn addresses(lease: &Lease) -> serde_json::Value {
    let listeners = [lease.v4(), lease.v6()].into_iter().flatten();
    listeners.filter_map(|listener| Some(listener.local_addr().ok()?.to_string())).collect()
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parse = || {
        let (first, last) = text.split_once('-')?;
        let range: RangeInclusive<u16> = first.parse().ok()?..=last.parse().ok()?;
        (!range.is_empty()).then_some(range)
    };
    parse().ok_or_else(|| "expected the lowest port and the highest, such as 8000-8099".to_owned())
}
