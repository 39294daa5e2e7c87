//! Calling a plugin by name.

use bytes::Bytes;
use cohab_plugin::{Call, CallError, CallErrorKind};

use super::desk::{Desk, Effects};
use super::generation::Generation;
use super::journal;
use super::roster::Service;
use super::runner::{batch, expecting};
use crate::store::Inner;
use crate::transaction::PLUGIN_LABEL;
use crate::{Error, Kind, Result, Transaction};

/// How often a call is made beside other writers before it has the store to itself.
const ATTEMPTS: usize = 2;

/// Calls a plugin's `on_request`, and commits what it writes.
pub(crate) fn call(inner: &Inner, name: &str, input: &[u8]) -> Result<Bytes> {
    for _ in 0..ATTEMPTS {
        let (snapshot, roster) = inner.plugins.together(inner)?;
        let service = roster.find(name)?;
        let generation = service.generation()?;
        inner.plugins.look_before_call(service);
        let mut base = &snapshot;
        let mut desk = Desk::new(&mut base, &generation.state, &*inner.options.clock);
        let outcome = generation.call(Call::Request(input), &mut desk);
        let (effects, read) = (desk.effects, desk.read);
        let reply = match outcome.result {
            // The calls that are under way when a generation has long been replaced are made again on the next.
            Err(error) if error.kind == CallErrorKind::Stopped && is_replaced(inner, generation) => continue,
            other => other,
        };
        if reply.is_err() || effects.is_empty() {
            journal::note_logs(inner, name, generation.number, &outcome.logs);
            return reply.map(Bytes::from).map_err(|error| failed(inner, service, error));
        }
        inner.writing()?;
        // Nobody may have written where it reads or writes, and its code is to be in service still.
        let written: Vec<String> = effects.namespaces().map(str::to_owned).collect();
        let only_read = read.iter().filter(|read| !written.contains(read));
        let namespaces = written.iter().chain(only_read).map(String::as_str);
        let Some(batch) = expecting(batch(service, &[])?, &snapshot, namespaces)? else { break };
        match inner.submit(effects.batch(batch)?) {
            Ok(_) => {
                journal::note_logs(inner, name, generation.number, &outcome.logs);
                return Ok(reply.map(Bytes::from).unwrap_or_default());
            }
            Err(error) if error.kind() == Kind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    let done = inner.write(|tx| {
        tx.label_any(format!("{PLUGIN_LABEL}{name}"))?;
        tx.call_plugin(name, input)
    });
    Ok(done?.value)
}

fn is_replaced(inner: &Inner, generation: &Generation) -> bool {
    let roster = inner.plugins.present();
    let present = roster.services.get(&generation.code.manifest().name);
    present.is_none_or(|service| service.record.generation != generation.number)
}

fn failed(inner: &Inner, service: &Service, error: CallError) -> Error {
    let name = &service.record.name;
    if error.kind != CallErrorKind::Failed {
        inner.plugins.failed(inner, name, &format!("on_request: {}", error.message));
    }
    match (error.kind, error.source) {
        (CallErrorKind::Host, Some(source)) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => {
                Error::new(Kind::Plugin, format!("plugin `{name}`: {}", error.message)).source(source)
            }
        },
        (CallErrorKind::NoHandler, _) => {
            let message = format!("plugin `{name}` takes no requests");
            Error::new(Kind::Plugin, message).hint("its manifest has no trigger `on = \"request\"`")
        }
        _ => Error::new(Kind::Plugin, format!("plugin `{name}`: {}", error.message)),
    }
}

impl Transaction<'_, '_> {
    /// Calls a plugin's `on_request` within the transaction: it reads what the transaction has written, and what it writes
    /// becomes part of it.
    ///
    /// Cost: nobody else commits meanwhile; the plugin's limit on time bounds that.
    ///
    /// # Errors
    ///
    /// [`Kind::NotFound`] if there is no such plugin; [`Kind::Plugin`] if it is disabled or fails: then it has written
    /// nothing, and the transaction may go on.
    pub fn call_plugin(&mut self, name: &str, input: &[u8]) -> Result<Bytes> {
        let inner = self.commit.inner;
        let roster = inner.plugins.present();
        let service = roster.find(name)?;
        let generation = service.generation()?;
        inner.plugins.look_before_call(service);
        let mut desk = Desk::new(self, &generation.state, &*inner.options.clock);
        let outcome = generation.call(Call::Request(input), &mut desk);
        let effects: Effects = desk.effects;
        journal::note_logs(inner, name, generation.number, &outcome.logs);
        let reply = outcome.result.map_err(|error| failed(inner, service, error))?;
        effects.apply(self)?;
        Ok(reply.into())
    }
}
