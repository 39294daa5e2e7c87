//! Two channels of an application side by side, on ports of their own, and what the instances of one channel share.
//!
//! `cargo run -p cohab --example instances`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use cohab::{Home, Kind, LockMode, Options, PortPreference, Role, Wait};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // An application would leave `under` out, and live where the platform keeps such things.
    let base = tempfile::tempdir()?;
    let home = |channel: &str| Home::for_app("shop").channel(channel).under(base.path()).create();
    let (stable, nightly) = (home("stable")?, home("nightly")?);
    let open = |home: &Home| Options::default().role(Role::Auto).of_home(home).open(home.store_path("main")?);

    // Two channels share nothing: both write.
    let shop = open(&stable)?;
    let tried_out = open(&nightly)?;
    assert_eq!((shop.role(), tried_out.role()), (Role::Writer, Role::Writer));

    // Each has its port, and will have the same one tomorrow if nobody has taken it by then.
    let (one, two) = (stable.join("1.4.0")?, nightly.join("1.5.0-nightly")?);
    let port = PortPreference::new().range(28_500..=28_599).any();
    let (http, also_http) = (one.bind("http", &port)?, two.bind("http", &port)?);
    assert_ne!(http.port(), also_http.port());

    // A second instance of the same channel stands by.
    let second = open(&stable)?;
    assert_eq!(second.role(), Role::Standby);
    let refused = second.write(|tx| tx.create_namespace("orders")).expect_err("somebody else writes");
    assert_eq!(refused.kind(), Kind::Busy);
    println!("{refused}");

    // Only one of them does the nightly job.
    let job = shop.lock("nightly report", LockMode::Exclusive, Wait::Try)?;
    assert_eq!(
        second.lock("nightly report", LockMode::Shared, Wait::Try).map(drop).map_err(|e| e.kind()),
        Err(Kind::Reentrant)
    );
    shop.write(|tx| {
        tx.fence(&job.fence())?;
        tx.create_namespace("reports")
    })?;

    for instance in shop.instances()? {
        println!("{instance}");
    }

    // When the writer ends, the stand-by takes over.
    drop((job, shop));
    while second.role() != Role::Writer {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let reports = second.write(|tx| tx.put("reports", "today", "all is well"))?;
    println!("version {} is by the second instance", reports.version);
    Ok(())
}
