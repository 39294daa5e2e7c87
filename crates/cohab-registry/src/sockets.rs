//! Sockets that listen, on a given port or on any.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted; the system cuts it down to what it allows.
const BACKLOG: i32 = 1024;

/// How often to try a port that could be bound but not listened on, or a port of the system's choice.
const ATTEMPTS: (u32, u32) = (3, 64);

/// How long to leave a rival alone who is about to listen, or to give way.
const PAUSE: Duration = Duration::from_millis(1);

/// Listens on a port of an address, or of the loopback addresses; port 0 is one of the system's choice.
///
/// Returns the listeners, IPv4 first. [`ErrorKind::AddrInUse`] says that the port is taken.
pub(crate) fn listen(address: Option<IpAddr>, port: u16) -> io::Result<Vec<TcpListener>> {
    let (attempts, pause) = if port == 0 { (ATTEMPTS.1, Duration::ZERO) } else { (ATTEMPTS.0, PAUSE) };
    let mut attempt = 1;
    loop {
        let sockets = bind(address, port)?;
        match sockets {
            Some(sockets) => match sockets.iter().try_for_each(|socket| socket.listen(BACKLOG)) {
                Ok(()) => return Ok(sockets.into_iter().map(TcpListener::from).collect()),
                // Two sockets can be bound to one port as long as neither listens, and two that then do so at the same
                // moment can both be refused.
                Err(error) if error.kind() != ErrorKind::AddrInUse || attempt == attempts => {
                    return Err(error);
                }
                Err(_) => {}
            },
            None if port != 0 || attempt == attempts => return Err(ErrorKind::AddrInUse.into()),
            None => {}
        }
        attempt += 1;
        thread::sleep(pause);
    }
}

/// Binds without listening, so that nobody connects before all addresses are ours. `None` if one is taken.
fn bind(address: Option<IpAddr>, port: u16) -> io::Result<Option<Vec<Socket>>> {
    let first = address.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let socket = match bind_one(SocketAddr::new(first, port)) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(None),
        bound => bound?,
    };
    if address.is_some() {
        return Ok(Some(vec![socket]));
    }
    let port = socket.local_addr()?.as_socket().map_or(port, |address| address.port());
    match bind_one(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port)) {
        Ok(second) => Ok(Some(vec![socket, second])),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
        // There is no IPv6 here, or none that may be used.
        Err(_) => Ok(Some(vec![socket])),
    }
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix it lets a port be used again while old connections time out, and not two sockets listen on it. On
    // Windows it would do just that.
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}
