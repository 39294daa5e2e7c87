//! A second opinion on the same histories, by the crate `adya`: cycles that snapshot isolation forbids, between transactions
//! that append to lists and those that read them.
//!
//! It knows neither the log nor a version: what preceded what it concludes from the lists that were read. What each
//! process did one after the other, and what was over before something else began, are orders as well, so that it is
//! strong session and strong snapshot isolation that it looks for.

use std::collections::HashMap;
use std::time::Duration;

use adya::history::{Interner, Mop, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};

use super::history::{Event, History, Time};
use super::keys::{List, Op};

/// What is looked for. The last is the strongest and has the others in it; they are named to be told in a report.
const MODELS: [&str; 3] =
    ["snapshot-isolation", "strong-session-snapshot-isolation", "strong-snapshot-isolation"];

/// How long to look for a cycle in what hangs together.
const SEARCH: Duration = Duration::from_secs(30);

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Opinion {
    pub(crate) transactions: u64,
    pub(crate) violations: Vec<String>,
}

/// Looks for cycles in all that was appended and read.
pub(crate) fn check(histories: &[History]) -> Opinion {
    let mut script = Script::default();
    for history in histories {
        script.add(history);
    }
    let history = script.finish();
    let completed = |op: &&adya::history::Op| op.kind == OpType::Ok;
    let mut opinion =
        Opinion { transactions: history.ops.iter().filter(completed).count() as u64, ..Opinion::default() };
    if history.ops.is_empty() {
        return opinion;
    }
    let models = MODELS.map(str::to_owned).to_vec();
    let options = Opts { models, timeout: SEARCH, ..Opts::default() };
    let report = adya::check(&history, Workload::ListAppend, &options);
    for (kind, anomalies) in &report.anomalies {
        // A history in which nothing depends on anything proves nothing, and is not wrong.
        if kind == "empty-transaction-graph" || (report.valid == Valid::True && !kind.ends_with("timeout")) {
            continue;
        }
        opinion.violations.extend(anomalies.iter().take(3).map(|it| format!("{kind}: {}", it.explanation)));
    }
    opinion
}

/// An operation on its way into the history.
struct Line {
    time: Time,
    /// Beginnings go before ends of the same moment, which claims less of an order.
    is_end: bool,
    op: adya::history::Op,
}

/// Appends that are not over: when each began, in which session, and what it would make of its lists.
type Open = HashMap<u64, (Time, i64, Vec<(u8, List)>)>;

#[derive(Default)]
struct Script {
    lines: Vec<Line>,
    interner: Interner,
    sessions: i64,
}

impl Script {
    fn id(&mut self, number: u64) -> adya::history::Id {
        self.interner.intern(Scalar::Int(number.cast_signed()))
    }

    /// A list that is full goes on as another key.
    fn key(&mut self, number: usize, nth: u32) -> adya::history::Id {
        self.id((number as u64) << 40 | u64::from(nth))
    }

    fn read(&mut self, number: usize, list: &List) -> Mop {
        let elements: Vec<_> = list.1.iter().map(|op| self.id(op.0)).collect();
        Mop::Read { key: self.key(number, list.0), value: ReadValue::List(elements) }
    }

    fn push(&mut self, time: Time, kind: OpType, session: i64, value: Vec<Mop>) {
        let op = adya::history::Op {
            index: 0,
            kind,
            process: Some(session),
            value,
            time: Some(time.cast_signed()),
        };
        self.lines.push(Line { time, is_end: kind != OpType::Invoke, op });
    }

    /// Adds what a process did. Each of its threads is a session.
    fn add(&mut self, history: &History) {
        let mut sessions: HashMap<u8, i64> = HashMap::new();
        let mut begun: HashMap<u64, Time> = HashMap::new();
        let mut open = Open::new();
        for record in &history.records {
            let session = *sessions.entry(record.thread).or_insert_with(|| {
                self.sessions += 1;
                self.sessions
            });
            match &record.event {
                Event::Invoked { op, .. } => _ = begun.insert(*op, record.time),
                Event::Appending { op, lists } => {
                    if let Some(time) = begun.get(op) {
                        open.insert(*op, (*time, session, lists.clone()));
                    }
                }
                Event::Acknowledged { op, .. } => self.end(&mut open, *op, record.time, OpType::Ok),
                Event::Refused { op } => self.end(&mut open, *op, record.time, OpType::Fail),
                Event::Unknown { op } => self.end(&mut open, *op, record.time, OpType::Info),
                Event::Lists { invoked, lists } => {
                    let mops: Vec<_> = lists.iter().enumerate().map(|(i, list)| self.read(i, list)).collect();
                    self.push(*invoked, OpType::Invoke, session, mops.clone());
                    self.push(record.time, OpType::Ok, session, mops);
                }
                Event::List { invoked, number, list } => {
                    let mop = self.read(usize::from(*number), list);
                    self.push(*invoked, OpType::Invoke, session, vec![mop.clone()]);
                    self.push(record.time, OpType::Ok, session, vec![mop]);
                }
                _ => {}
            }
        }
        // Killed on the way: it may have been committed, or not.
        for op in open.keys().copied().collect::<Vec<_>>() {
            self.end(&mut open, op, Time::MAX >> 1, OpType::Info);
        }
    }

    fn end(&mut self, open: &mut Open, op: u64, time: Time, kind: OpType) {
        let Some((invoked, session, lists)) = open.remove(&op) else { return };
        let mut mops = Vec::new();
        for (number, (nth, after)) in &lists {
            let number = usize::from(*number);
            let before = &after[..after.len().saturating_sub(1)];
            if kind == OpType::Ok {
                mops.push(self.read(number, &(*nth, before.to_vec())));
            }
            mops.push(Mop::Append { key: self.key(number, *nth), value: self.id(Op(op).0) });
        }
        self.push(invoked, OpType::Invoke, session, mops.clone());
        self.push(time, kind, session, mops);
    }

    fn finish(mut self) -> adya::History {
        self.lines.sort_by_key(|line| (line.time, line.is_end));
        let mut ops: Vec<_> = self.lines.into_iter().map(|line| line.op).collect();
        for (index, op) in (0..).zip(&mut ops) {
            op.index = index;
        }
        adya::History::from_ops(ops, self.interner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kill::history::Record;
    use crate::kill::keys::append;

    /// What happened, by time: `(process, begin, end, event)`.
    fn histories(lines: Vec<(u32, Time, Time, Event)>) -> Vec<History> {
        let mut histories: Vec<History> = Vec::new();
        for (process, begin, end, event) in lines {
            if !histories.iter().any(|history| history.process == process) {
                histories.push(History { process, records: Vec::new() });
            }
            let history = histories.iter_mut().find(|history| history.process == process).expect("is there");
            let mut note = |time, event| history.records.push(Record { thread: 0, time, event });
            match event {
                Event::Appending { op, .. } => {
                    note(begin, Event::Invoked { op, puts: 0, deletes: 0, fence: None, appends: 1 });
                    note(begin, event);
                    note(end, Event::Acknowledged { op, version: 0 });
                }
                Event::Lists { lists, .. } => note(end, Event::Lists { invoked: begin, lists }),
                event => note(end, event),
            }
        }
        histories
    }

    fn list(ops: &[u64]) -> List {
        ops.iter().fold((0, Vec::new()), |list, op| append(list, Op(*op)))
    }

    fn appends(op: u64, lists: &[(u8, &[u64])]) -> Event {
        Event::Appending { op, lists: lists.iter().map(|(i, ops)| (*i, list(ops))).collect() }
    }

    fn reads(lists: &[&[u64]]) -> Event {
        Event::Lists { invoked: 0, lists: lists.iter().map(|ops| list(ops)).collect() }
    }

    fn flags(lines: Vec<(u32, Time, Time, Event)>) -> Vec<String> {
        check(&histories(lines)).violations
    }

    #[test]
    fn what_may_be_is_not_flagged() {
        let good = vec![
            (1, 0, 10, appends(1, &[(0, &[1]), (1, &[1])])),
            (1, 20, 30, appends(2, &[(0, &[1, 2])])),
            // At the same time as the append: before it or after it.
            (2, 20, 28, reads(&[&[1], &[1]])),
            (3, 21, 29, reads(&[&[1, 2], &[1]])),
            (2, 40, 50, reads(&[&[1, 2], &[1]])),
        ];
        let opinion = check(&histories(good));
        assert_eq!((opinion.transactions, opinion.violations), (5, vec![]));
    }

    #[test]
    fn a_lost_update_is_flagged() {
        let found = flags(vec![
            (1, 0, 10, appends(1, &[(0, &[1])])),
            (1, 20, 30, appends(2, &[(0, &[1, 2])])),
            // It has read what the second one has replaced, and writes over it.
            (2, 22, 32, appends(3, &[(0, &[1, 3])])),
            (3, 40, 50, reads(&[&[1, 3]])),
        ]);
        assert!(!found.is_empty());
    }

    #[test]
    fn a_stale_read_is_flagged() {
        let found = flags(vec![
            (1, 0, 10, appends(1, &[(0, &[1])])),
            (1, 20, 30, appends(2, &[(0, &[1, 2])])),
            (2, 40, 50, reads(&[&[1]])),
            (2, 60, 70, reads(&[&[1, 2]])),
        ]);
        assert!(found.iter().any(|it| it.contains("realtime")), "{found:?}");
    }

    #[test]
    fn a_read_that_goes_back_is_flagged_even_while_the_append_is_on_its_way() {
        let found = flags(vec![
            (1, 0, 10, appends(1, &[(0, &[1])])),
            (1, 20, 90, appends(2, &[(0, &[1, 2])])),
            (2, 40, 50, reads(&[&[1, 2]])),
            (2, 60, 70, reads(&[&[1]])),
        ]);
        assert!(!found.is_empty());
    }

    #[test]
    fn a_fractured_read_is_flagged() {
        let found = flags(vec![
            (1, 0, 10, appends(1, &[(0, &[1]), (1, &[1])])),
            (1, 20, 90, appends(2, &[(0, &[1, 2]), (1, &[1, 2])])),
            (2, 40, 50, reads(&[&[1, 2], &[1]])),
            (3, 95, 99, reads(&[&[1, 2], &[1, 2]])),
        ]);
        assert!(!found.is_empty());
    }

    #[test]
    fn a_read_of_what_was_refused_is_flagged() {
        let mut histories = histories(vec![
            (1, 0, 10, appends(1, &[(0, &[1])])),
            (2, 20, 30, appends(2, &[(0, &[1, 2])])),
            (3, 40, 50, reads(&[&[1, 2]])),
        ]);
        histories[1].records[2].event = Event::Refused { op: 2 };
        assert!(!check(&histories).violations.is_empty());
    }
}
