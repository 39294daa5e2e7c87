//! Two channels of one application, side by side.

use std::net::TcpStream;

use cohab::{Home, Lease, PortPreference, Registration, Store};
use serde_json::json;

use super::instance::{Instance, put};
use super::stage::Stage;
use super::{Step, ensure};
use crate::failure::Failure;
use crate::session::write;

pub(super) const STEPS: &[Step] = &[Step {
    name: "channels",
    says: "run a stable and a nightly build side by side, which want the same files and the same port",
    run: channels,
}];

const NAMESPACE: &str = "settings";

/// A build that runs: its files, its entry among the instances, its port, and a process that writes.
struct Build {
    home: Home,
    _registration: Registration,
    port: Lease,
    instance: Instance,
}

fn channels(stage: &mut Stage) -> Result<String, Failure> {
    let (mut stable, mut nightly) = (build(stage, "stable")?, build(stage, "nightly")?);
    let apart = stable.home.data_dir() != nightly.home.data_dir()
        && stable.home.config_dir() != nightly.home.config_dir()
        && stable.home.cache_dir() != nightly.home.cache_dir();
    ensure(apart, || "the channels share a directory".to_owned())?;
    let ports = [stable.port.port(), nightly.port.port()];
    ensure(ports[0] != ports[1], || format!("both listen on port {}", ports[0]))?;
    for port in ports {
        let connected = TcpStream::connect(("127.0.0.1", port));
        connected.map_err(|error| Failure::io(format!("connecting to port {port} failed"), &error))?;
    }
    // Both write, and neither notices the other.
    for number in 0..10 {
        nightly.instance.ask(&json!({ "put": put(NAMESPACE, "theme", 100 + number) }))?;
    }
    stable.instance.ask(&json!({ "put": put(NAMESPACE, "theme", 1) }))?;
    for (build, value, version) in [(&mut stable, "1", 2), (&mut nightly, "109", 11)] {
        let found = build.instance.ask(&json!({ "get": { "ns": NAMESPACE, "key": "theme" } }))?;
        let is_own = found["value"] == value && found["version"] == version;
        ensure(is_own, || format!("a channel reads {found}, not {value} at version {version}"))?;
        let listed = build.home.registry().list().map_err(cohab::Error::from)?;
        ensure(listed.len() == 1, || format!("{} instances are in one channel", listed.len()))?;
    }
    let data = nightly.home.data_dir();
    let data = data.strip_prefix(stage.path("")).unwrap_or(data).display();
    Ok(format!(
        "stable has port {}, nightly {}; different directories, such as …/{data}; what one writes the other does not see",
        ports[0], ports[1],
    ))
}

fn build(stage: &Stage, channel: &str) -> Result<Build, Failure> {
    let home = Home::for_app("demo").channel(channel).under(stage.path("home")).create();
    let home = home.map_err(cohab::Error::from)?;
    let registration = home.join(env!("CARGO_PKG_VERSION")).map_err(cohab::Error::from)?;
    let preference = PortPreference::new().range(18_080..=18_099);
    let port = registration.bind("http", &preference).map_err(cohab::Error::from)?;
    let path = home.store_path("settings").map_err(cohab::Error::from)?;
    write(&Store::open(&path)?, "demo: channels", |tx| Ok(tx.create_namespace(NAMESPACE).map(drop)?))?;
    let instance = Instance::start(&path, &["--app", "demo", "--channel", channel])?;
    Ok(Build { home, _registration: registration, port, instance })
}
