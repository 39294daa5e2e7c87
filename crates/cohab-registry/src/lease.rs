//! Ports that an instance holds.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Weak};

use crate::record::Port;
use crate::registration::Registered;
use crate::sticky::Sticky;
use crate::{Error, PortPreference, Registration, Result, component, sockets};

/// Listeners on a port, bound and kept.
///
/// Dropping it closes them and takes the port out of the instance's record.
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Lease {
    published: Published,
    listeners: Vec<TcpListener>,
}

/// The entry in the record of an instance, which may have ended already.
#[derive(Debug)]
struct Published {
    by: Weak<Registered>,
    entry: Port,
}

impl Registration {
    /// Listens on a port and says so in the record, once it does.
    ///
    /// The port is the one that was bound last under this name, in this registry, with this label and this
    /// preference; or else the first of the preferred that is free; or else, unless the preference is strict, any. It is
    /// bound, not looked for: between a search and its use somebody else could take it. Without an
    /// address in the preference, the port listens on `127.0.0.1` and, where there is IPv6, on `::1`.
    ///
    /// # Errors
    ///
    /// [`Error::PortTaken`] with the instance that has it, as far as it is in this registry; [`Error::Bind`];
    /// [`Error::Name`]; [`Error::Forked`].
    pub fn bind(&self, name: &str, preference: &PortPreference) -> Result<Lease> {
        component::check("port", name)?;
        let last = Sticky::read(&self.registered, name, preference);
        // What was remembered is a file that anything may have happened to.
        let last = last.filter(|last| preference.allows(*last));
        let listeners = self.listen(name, last, preference)?;
        let port =
            listeners[0].local_addr().map_err(|source| bind_error(name, preference, 0, source))?.port();
        let entry = Port { name: name.to_owned(), port };
        self.update(|record| record.ports.push(entry.clone()))?;
        let published = Published { by: Arc::downgrade(&self.registered), entry };
        let lease = Lease { published, listeners };
        // A port that another instance has taken under this name is that one's to remember.
        let is_anothers = |last| last != port && self.registry().holder_of(last).is_some();
        if last != Some(port) && !last.is_some_and(is_anothers) {
            Sticky::write(&self.registered, name, port, preference)?;
        }
        Ok(lease)
    }

    fn listen(&self, name: &str, last: Option<u16>, preference: &PortPreference) -> Result<Vec<TcpListener>> {
        let any = (!preference.is_strict()).then_some(0);
        let mut refused = None;
        for port in last.into_iter().chain(preference.preferred()).chain(any) {
            match sockets::listen(preference.listening_address(), port) {
                Ok(listeners) => return Ok(listeners),
                // Not allowed is a port below 1024, or one that the system has set aside: others may do.
                Err(error) if matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
                    refused.get_or_insert((port, error));
                }
                Err(error) => return Err(bind_error(name, preference, port, error)),
            }
        }
        match refused {
            Some((port, error)) if port == 0 || error.kind() != ErrorKind::AddrInUse => {
                Err(bind_error(name, preference, port, error))
            }
            refused => {
                let port = refused.map_or(0, |(port, _)| port);
                let others = preference.preferred().filter(|other| *other != port).count();
                let holder = self.registry().holder_of(port).map(Box::new);
                Err(Error::PortTaken { name: name.to_owned(), port, others, holder })
            }
        }
    }
}

fn bind_error(name: &str, preference: &PortPreference, port: u16, source: std::io::Error) -> Error {
    let address = preference.listening_address().unwrap_or(Ipv4Addr::LOCALHOST.into());
    Error::Bind { name: name.to_owned(), address: SocketAddr::new(address, port), source }
}

impl Lease {
    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.published.entry.port
    }

    /// Returns the listener on IPv4, unless the preference asked for an address of IPv6.
    pub fn v4(&self) -> Option<&TcpListener> {
        self.on(SocketAddr::is_ipv4)
    }

    /// Returns the listener on IPv6, where there is IPv6.
    pub fn v6(&self) -> Option<&TcpListener> {
        self.on(SocketAddr::is_ipv6)
    }

    /// Returns the listeners, IPv4 first, for a server that wants to own them.
    ///
    /// The port stays in the record until the registration ends. To have it taken out earlier, keep the lease and
    /// give the server clones.
    pub fn into_listeners(self) -> Vec<TcpListener> {
        let Self { mut published, listeners } = self;
        published.by = Weak::new();
        listeners
    }

    fn on(&self, family: impl Fn(&SocketAddr) -> bool) -> Option<&TcpListener> {
        self.listeners.iter().find(|listener| listener.local_addr().is_ok_and(|address| family(&address)))
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        let Some(registered) = self.by.upgrade() else { return };
        // In a forked child this is refused, as it should be: the port is the parent's.
        let _ = registered.update(|record| {
            if let Some(at) = record.ports.iter().position(|port| *port == self.entry) {
                record.ports.remove(at);
            }
        });
    }
}
