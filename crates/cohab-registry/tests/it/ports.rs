use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use cohab_registry::{Description, Error, PortPreference, Registry, Result};
use cohab_testkit::{Child, child_store};

use crate::{Scratch, comes_true, hears, until_free};

/// Returns a base for ranges that differs between tests, so that they can run at the same time.
fn base(test: u16) -> u16 {
    21_000 + test * 100 + u16::try_from(std::process::id() % 8).expect("is small") * 1000
}

/// Registers under the label that its directory ends with, binds, reports its port, and waits.
#[test]
fn child_binds() -> Result<()> {
    let Some(path) = child_store() else { return Ok(()) };
    let (dir, label) = (path.parent().expect("has one"), path.file_name().expect("has one"));
    let label = label.to_str().expect("is text");
    let range: u16 = fs::read_to_string(dir.join("range")).expect("is there").parse().expect("is a number");
    let me = Registry::in_dir(dir).register(Description::new("server").label(label))?;
    let lease = me.bind("http", &PortPreference::new().range(range..=range + 19))?;
    // The record comes after `listen`: who reads it can connect.
    Child::report(lease.port()).expect("the parent listens");
    crate::until_the_end(dir);
    Ok(())
}

/// Checking first and binding later raced: two instances that started together were given one port.
#[test]
fn sixteen_that_start_at_once_get_different_ports_and_keep_them() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    fs::write(scratch.file("range"), base(0).to_string()).expect("can be written");
    let start = || {
        let labels = (0..16).map(|label| scratch.file(format!("w{label}")));
        let mut children: Vec<_> =
            labels.map(|path| Child::start("ports::child_binds", &path).expect("starts")).collect();
        let ports: Vec<u16> = children.iter_mut().map(hears).collect();
        (children, ports)
    };
    let (children, first) = start();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 16, "{first:?}");
    let published: BTreeSet<u16> =
        registry.list()?.iter().flat_map(|seen| &seen.record.ports).map(|port| port.port).collect();
    assert_eq!(published, first.iter().copied().collect());
    for port in published {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("what is published listens");
    }
    // Killed, so that neither an orderly end nor a free lock is needed to keep a port.
    drop(children);
    assert!(registry.list()?.is_empty());
    let (_children, second) = start();
    assert_eq!(first, second, "each has the port it had");
    Ok(())
}

#[test]
fn a_strangers_port_is_skipped_or_named() -> Result<()> {
    let scratch = Scratch::new();
    let me = scratch.registry().register(Description::new("server"))?;
    let port = base(1);
    let both = PortPreference::new().port(port).port(port + 1);
    let on_v6_only = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
    let _stranger =
        on_v6_only.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, port))).expect("can be bound");
    let lease = me.bind("http", &both)?;
    assert_eq!(lease.port(), port + 1, "a port that is taken on one address is taken");

    let strict = |ports: PortPreference| me.bind("other", &ports.strict()).expect_err("is taken").to_string();
    let error = strict(PortPreference::new().port(port));
    assert!(error.contains(&format!("port {port} for \"other\" is taken by another program")), "{error}");
    let error = strict(both);
    assert!(error.contains("and 1 more"), "{error}");
    let error = strict(PortPreference::new().port(port + 1));
    assert!(error.contains(&format!("taken by server (process {}", std::process::id())), "{error}");
    assert_ne!(me.bind("other", &PortPreference::new().port(port))?.port(), port);
    Ok(())
}

#[test]
fn a_lease_is_in_the_record_for_as_long_as_it_is_held() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let me = registry.register(Description::new("server"))?;
    let ports = || -> Result<Vec<u16>> {
        Ok(registry.list()?[0].record.ports.iter().map(|port| port.port).collect())
    };
    let any = PortPreference::new();
    let (one, two) = (me.bind("one", &any)?, me.bind("two", &any)?);
    assert_eq!(ports()?, [one.port(), two.port()]);
    let port = one.port();
    drop(one);
    assert_eq!(ports()?, [two.port()]);
    until_free(port);

    assert_eq!(two.v4().and_then(|v4| v4.local_addr().ok()).map(|at| at.port()), Some(two.port()));
    if let Some(v6) = two.v6() {
        assert_eq!(v6.local_addr().expect("is bound").port(), two.port());
    }
    let port = two.port();
    let listeners = two.into_listeners();
    assert_eq!(ports()?, [port], "whoever takes the listeners keeps the port");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("still listens");
    let three = me.bind("three", &any)?;
    drop(me);
    drop((listeners, three));
    assert!(registry.list()?.is_empty());
    Ok(())
}

#[test]
fn a_preference_that_changed_is_followed() -> Result<()> {
    let scratch = Scratch::new();
    let registry = scratch.registry();
    let port = base(2);
    let bind = |preference: &PortPreference| -> Result<u16> {
        let me = registry.register(Description::new("server"))?;
        let lease = me.bind("http", preference)?;
        // So that the port has to be available while an old connection times out.
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, lease.port())).expect("listens");
        drop(lease.v4().expect("is there").accept().expect("is asked"));
        drop(client);
        let port = lease.port();
        drop(lease);
        until_free(port);
        Ok(port)
    };
    let preferred = PortPreference::new().port(port);
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("can be bound");
    let other = bind(&preferred)?;
    drop(stranger);
    until_free(port);
    assert_eq!(bind(&preferred)?, other, "the port that clients know comes before the preferred one");
    assert_eq!(
        bind(&PortPreference::new().port(port + 1))?,
        port + 1,
        "unless something else is preferred now"
    );
    assert_eq!(bind(&PortPreference::new().port(port + 1))?, port + 1);

    // The second instance takes another port, but the first's stays remembered.
    let preference = PortPreference::new().range(port..=port + 9);
    let (first, second) =
        (registry.register(Description::new("a"))?, registry.register(Description::new("b"))?);
    let leases = (first.bind("http", &preference)?, second.bind("http", &preference)?);
    let ports = (leases.0.port(), leases.1.port());
    assert_ne!(ports.0, ports.1);
    drop((leases, first, second));
    until_free(ports.0);
    assert_eq!(bind(&preference)?, ports.0);
    let stranger = TcpListener::bind((Ipv4Addr::LOCALHOST, ports.0)).expect("can be bound");
    let second = bind(&preference)?;
    assert_ne!(second, ports.0);
    drop(stranger);
    until_free(ports.0);
    assert_eq!(bind(&preference)?, second, "what a stranger has taken is not what is remembered");
    for hint in [&b""[..], b"{\"port\":", b"{\"port\":99999}", b"[]"] {
        fs::write(scratch.file("ports/http.json"), hint).expect("can be written");
        assert_eq!(bind(&preference)?, port, "a hint that cannot be read is none");
    }
    Ok(())
}

#[test]
fn other_addresses_and_bad_names() -> Result<()> {
    let scratch = Scratch::new();
    let me = scratch.registry().register(Description::new("server"))?;
    let on = |address: IpAddr| me.bind("http", &PortPreference::new().address(address));
    let lease = on(Ipv4Addr::new(127, 0, 0, 2).into())?;
    assert!(lease.v6().is_none() && lease.v4().is_some());
    let error = on(Ipv4Addr::new(192, 0, 2, 1).into()).expect_err("is nobody's address here");
    assert!(matches!(error, Error::Bind { .. }) && error.to_string().contains("192.0.2.1"), "{error}");
    for name in ["", "../x", "a@b", "HTTP"] {
        assert!(matches!(me.bind(name, &PortPreference::new()), Err(Error::Name { .. })), "{name}");
    }
    assert!(comes_true(|| fs::read_dir(scratch.file("ports")).is_ok_and(|ports| ports.count() == 1)));
    Ok(())
}

/// What is remembered of a port is a file. One with another number in it, by a flipped bit or by hand, made an instance
/// listen on a port that its preference, which was strict, does not have.
#[test]
fn a_remembered_port_does_not_go_beyond_a_strict_preference() -> Result<()> {
    let scratch = Scratch::new();
    let me = scratch.registry().register(Description::new("server"))?;
    let range = base(7)..=base(7) + 19;
    let strict = PortPreference::new().range(range.clone()).strict();
    let port = me.bind("http", &strict)?.port();
    let file = scratch.file("ports/http.json");
    let remembered = fs::read_to_string(&file).expect("is remembered");
    let other = remembered.replace(&format!("\"port\":{port}"), &format!("\"port\":{}", base(7) + 50));
    assert_ne!(other, remembered);
    fs::write(&file, other).expect("can be written");
    assert!(range.contains(&me.bind("http", &strict)?.port()));
    Ok(())
}
