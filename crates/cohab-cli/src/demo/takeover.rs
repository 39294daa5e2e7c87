//! A stand-by that takes over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::instance::{Instance, put};
use super::stage::Stage;
use super::{Step, ensure, grouped, readable};
use crate::failure::Failure;
use crate::interrupt;
use crate::session::write;

pub(super) const STEPS: &[Step] =
    &[Step { name: "takeover", says: "kill -9 the writer under a stand-by, several times", run: takeover }];

/// Where they write.
const NAMESPACE: &str = "demo-relay";

/// How often the writer is killed.
const ROUNDS: u32 = 5;

/// How many commits each writer makes, and how many more are under way when it is killed.
const COMMITS: u64 = 40;
const UNDER_WAY: u64 = 5;

fn takeover(stage: &mut Stage) -> Result<String, Failure> {
    write(&stage.writer()?, "demo: takeover", |tx| Ok(tx.create_namespace(NAMESPACE).map(drop)?))?;
    let path = stage.store_path();
    let mut writer = Instance::start(&path, &["--role", "writer"])?;
    let (mut next, mut acknowledged, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        interrupt::check()?;
        let mut standby = Instance::start(&path, &["--role", "standby"])?;
        let first = next;
        let mut last = 0;
        for number in first..first + COMMITS {
            last = version(&writer.ask(&commit(number))?)?;
        }
        for number in first + COMMITS..first + COMMITS + UNDER_WAY {
            writer.request(&commit(number))?;
        }
        let mut answers = vec![writer.next_answer()?];
        let begin = Instant::now();
        answers.extend(writer.kill()?);
        standby.event("promoted")?;
        slowest = slowest.max(begin.elapsed());
        // What was answered must be there; what was not may be, as a whole, and in order.
        let answered = first + COMMITS + answers.len() as u64;
        for answer in &answers {
            last = last.max(version(answer)?);
        }
        let count = standby.ask(&json!({ "count": { "ns": NAMESPACE } }))?;
        next = count["count"].as_u64().unwrap_or(0);
        ensure((answered..=first + COMMITS + UNDER_WAY).contains(&next), || {
            format!("{answered} commits were acknowledged, and {next} are there")
        })?;
        let found = version(&count)?;
        ensure(found >= last, || format!("version {last} was acknowledged, and the store is at {found}"))?;
        ensure_all(&mut standby, next)?;
        acknowledged += answered - first;
        writer = standby;
    }
    drop(writer);
    Ok(format!(
        "{ROUNDS} writers killed, the stand-by writes after {} at most; all {} acknowledged commits are there",
        readable(slowest),
        grouped(acknowledged),
    ))
}

fn commit(number: u64) -> Value {
    json!({ "put": put(NAMESPACE, &key(number), number) })
}

fn key(number: u64) -> String {
    format!("{number:06}")
}

fn version(answer: &Value) -> Result<u64, Failure> {
    let version = answer["version"].as_u64().filter(|_| answer["ok"] == true);
    version.ok_or_else(|| Failure::unexpected(format!("a commit failed: {answer}")))
}

/// Checks that every commit is there.
fn ensure_all(instance: &mut Instance, count: u64) -> Result<(), Failure> {
    let keys: Vec<Value> = (0..count).map(|number| json!({ "ns": NAMESPACE, "key": key(number) })).collect();
    let found = instance.ask(&json!({ "get_many": keys }))?;
    let expected: Vec<Value> = (0..count).map(|number| number.to_string().into()).collect();
    ensure(found["values"] == Value::from(expected), || "a commit is lost, or is another".to_owned())
}
