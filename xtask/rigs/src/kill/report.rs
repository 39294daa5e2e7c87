//! What was covered.

use std::fmt;

use super::checker::Checked;
use super::cycles::Opinion;
use super::nemesis::Deeds;

/// What all rounds together came to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) rounds: u64,
    pub(crate) deeds: Deeds,
    pub(crate) checked: Checked,
    pub(crate) transactions: u64,
    pub(crate) seconds: f64,
}

impl Totals {
    pub(crate) fn add(&mut self, deeds: Deeds, checked: &Checked, opinion: &Opinion) {
        self.rounds += 1;
        self.deeds.add(deeds);
        self.transactions += opinion.transactions;
        self.checked.add(checked);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (deeds, checked) = (&self.deeds, &self.checked);
        let mut row = |what: &str, count: u64| writeln!(f, "{what:<44} {count:>12}");
        row("rounds, each with a store of its own", self.rounds)?;
        row("processes started", deeds.started)?;
        row("killed", deeds.kills())?;
        for (part, count) in &deeds.parts {
            row(&format!("  {}", format!("{part:?}").to_lowercase()), *count)?;
        }
        for (point, count) in &deeds.points {
            row(&format!("  {point}"), *count)?;
        }
        row("stopped", deeds.stops)?;
        row("everybody killed at once", deeds.massacres)?;
        row("take-overs", checked.take_overs)?;
        row("epochs that committed something", checked.epochs)?;
        row("versions", checked.versions)?;
        row("acknowledged commits found", checked.acknowledged)?;
        row("commits found that nobody was told of", checked.unacknowledged)?;
        row("writers overtaken and fenced", checked.overtaken)?;
        row("reads checked", checked.reads)?;
        row("  of whole snapshots", checked.snapshots)?;
        row("tokens honoured", checked.tokens_honoured)?;
        row("tokens timed out", checked.tokens_timed_out)?;
        row("fencing tokens given", checked.locks)?;
        row("commits behind a lock", checked.fenced_commits)?;
        row("stale tokens refused", checked.stale_refused)?;
        row("watch events", checked.watched)?;
        row("follower positions", checked.followed)?;
        row("plugin effects", checked.effects)?;
        row("waits given up for somebody stopped", checked.stalled)?;
        row("transactions checked by adya", self.transactions)?;
        row("violations", checked.violations.len() as u64)?;
        let per_second = f64::from(u32::try_from(deeds.kills()).unwrap_or(u32::MAX)) / self.seconds;
        writeln!(f, "{:.0} seconds, {per_second:.1} kills a second", self.seconds)
    }
}
