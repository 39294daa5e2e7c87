//! Which port somebody would like to have.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Which ports to try, in which order, and where to listen.
///
/// Before all others comes the port that was bound last under the same name and with the same preference. If nothing
/// is preferred, or all that is preferred is taken, any port is taken, unless the preference is strict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[must_use = "a preference does nothing until something is bound"]
pub struct PortPreference {
    ranges: Vec<RangeInclusive<u16>>,
    is_strict: bool,
    address: Option<IpAddr>,
}

impl PortPreference {
    /// Prefers nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Prefers a port, after those that were named before.
    pub fn port(self, port: u16) -> Self {
        self.range(port..=port)
    }

    /// Prefers a range of ports, the lowest first, after those that were named before.
    pub fn range(mut self, ports: RangeInclusive<u16>) -> Self {
        self.ranges.push(ports);
        self
    }

    /// Takes any port if those that are preferred are taken. The default.
    pub fn any(mut self) -> Self {
        self.is_strict = false;
        self
    }

    /// Takes none but the preferred ports. Strict without a preferred port has no effect.
    pub fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Listens on this address alone, rather than on the loopback addresses of IPv4 and IPv6.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    pub(crate) fn listening_address(&self) -> Option<IpAddr> {
        self.address
    }

    pub(crate) fn preferred(&self) -> impl Iterator<Item = u16> {
        self.ranges.iter().cloned().flatten()
    }

    /// Returns whether a port may be taken at all.
    pub(crate) fn allows(&self, port: u16) -> bool {
        !self.is_strict() || self.preferred().any(|preferred| preferred == port)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.is_strict && self.preferred().next().is_some()
    }
}
