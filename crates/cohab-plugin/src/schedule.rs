//! When a plugin is due.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cohab_core::Timestamp;
use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};

/// The shortest time between two runs.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// The longest.
const EVERY_MAX: Duration = Duration::from_hours(366 * 24);

/// The longest cron expression, in bytes.
const CRON_BYTES_MAX: usize = 256;

/// The end of time as far as calendars go: the year 9900.
const CALENDAR_END: u64 = 250_000_000_000 * MICROS;

/// For how long the next date of a cron expression is searched at a time. It does not look further itself.
const CALENDAR_STEP: u64 = 4 * 365 * 86_400 * MICROS;

/// How often: the calendar repeats after 28 years, or 40 around a year like 2100, which has no February 29.
const CALENDAR_STEPS: u32 = 12;

const MICROS: u64 = 1_000_000;

/// A schedule: a time between runs, or a cron expression. As text it is what was written in the manifest.
#[derive(Clone)]
pub struct Schedule {
    text: Arc<str>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Every(Duration),
    Cron(Arc<Crontab>),
}

/// A text that is not a [`Schedule`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

impl Schedule {
    /// A time between runs, such as `1m` or `1h 30m`: 100 ms to 366 days.
    pub fn every(text: &str) -> Result<Self, ScheduleError> {
        let period = parse_duration(text, EVERY_MIN, EVERY_MAX).map_err(ScheduleError)?;
        Ok(Self { text: text.into(), kind: Kind::Every(period) })
    }

    /// A cron expression: minute, hour, day of the month, month and day of the week, in UTC unless the name of a time zone
    /// follows, such as `Europe/Berlin`.
    pub fn cron(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |why: &str| {
            let start: String = text.chars().take(CRON_BYTES_MAX).collect();
            ScheduleError(format!(
                "`{start}` is not a cron expression: {why}; it has five fields (minute, hour, day of the month, month, \
                 day of the week) and may end with a time zone, as in `0 4 * * MON-FRI` or `30 2 1 * * Europe/Berlin`"
            ))
        };
        if text.len() > CRON_BYTES_MAX || !text.is_ascii() {
            return Err(refuse(&format!("it is not at most {CRON_BYTES_MAX} characters of ASCII")));
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let crontab = cronexpr::parse_crontab_with(text, options).map_err(|error| {
            // The first lines show the expression.
            let error = error.to_string();
            refuse(error.lines().last().unwrap_or_default().trim_start_matches([' ', '^']))
        })?;
        if next_of(&crontab, 0).is_none() {
            return Err(refuse("no date is ever like that"));
        }
        Ok(Self { text: text.into(), kind: Kind::Cron(Arc::new(crontab)) })
    }

    /// Returns when it is due next, if it was last due, or last ran, at `last`. What is not after `now` is due at once.
    ///
    /// Of several times that were missed this is the latest, so they become one. If the clock was put back to before `last`,
    /// it counts from `now`.
    pub fn next_after(&self, last: Timestamp, now: Timestamp) -> Timestamp {
        let (last, now) = (last.min(now).as_micros(), now.as_micros());
        let next = match &self.kind {
            Kind::Every(period) => {
                let period = u64::try_from(period.as_micros()).unwrap_or(u64::MAX).max(1);
                let missed = (now - last) / period;
                last.saturating_add(period.saturating_mul(missed.max(1)))
            }
            Kind::Cron(crontab) => match next_of(crontab, last) {
                Some(first) if first <= now => latest_of(crontab, first, now),
                Some(first) => first,
                None => u64::MAX,
            },
        };
        Timestamp::from_micros(next)
    }
}

/// The first time after `after` that an expression names.
fn next_of(crontab: &Crontab, after: u64) -> Option<u64> {
    (0..CALENDAR_STEPS).find_map(|step| {
        let from = after.checked_add(u64::from(step) * CALENDAR_STEP).filter(|from| *from < CALENDAR_END)?;
        let from = MakeTimestamp::from_microsecond(i64::try_from(from).ok()?).ok()?;
        u64::try_from(crontab.find_next(from).ok()?.timestamp().as_microsecond()).ok()
    })
}

/// The last time up to `now` that an expression names, given one that is not after it.
fn latest_of(crontab: &Crontab, first: u64, now: u64) -> u64 {
    // After `known` there may be others up to now, after `end` there are none.
    let (mut known, mut end) = (first, now);
    while end > known {
        let middle = known + (end - known) / 2;
        match next_of(crontab, middle) {
            Some(next) if next <= now => known = next,
            _ => end = middle,
        }
    }
    known
}

/// Reads a duration such as `50ms` or `1h 30m`, which has to be within bounds.
pub(crate) fn parse_duration(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let refuse = |why: &str| {
        let show = |bound| {
            jiff::SignedDuration::try_from(bound).map_or_else(|_| format!("{bound:?}"), |d| format!("{d:#}"))
        };
        let (min, max) = (show(min), show(max));
        format!("`{text}` {why}; allowed is {min} to {max}, written as in `50ms` or `1h 30m`")
    };
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_duration(text);
    let parsed = parsed.map_err(|_| refuse("is not a duration"))?;
    let duration = Duration::try_from(parsed).map_err(|_| refuse("is less than nothing"))?;
    match () {
        () if duration < min => Err(refuse("is too short")),
        () if duration > max => Err(refuse("is too long")),
        () => Ok(duration),
    }
}

/// Schedules are equal that were written alike.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        let kind = |schedule: &Self| std::mem::discriminant(&schedule.kind);
        self.text == other.text && kind(self) == kind(other)
    }
}

impl Eq for Schedule {}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Every(_) => "Every",
            Kind::Cron(_) => "Cron",
        };
        f.debug_tuple(kind).field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let micros = text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        Timestamp::from_micros(u64::try_from(micros).unwrap())
    }

    fn next(schedule: &Schedule, last: &str, now: &str) -> String {
        schedule.next_after(at(last), at(now)).to_string()
    }

    #[test]
    fn a_period_counts_from_the_last_time() {
        let schedule = Schedule::every("1m").unwrap();
        let check = |last, now, due| assert_eq!(next(&schedule, last, now), due);
        check("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        check("2026-01-01T00:00:07Z", "2026-01-01T00:01:06Z", "2026-01-01T00:01:07Z");
        check("2026-01-01T00:00:07Z", "2026-01-01T00:01:07Z", "2026-01-01T00:01:07Z");
        // Many were missed, or the clock was put forward: the latest of them is due.
        check("2026-01-01T00:00:07Z", "2026-03-01T12:00:00Z", "2026-03-01T11:59:07Z");
        // The clock was put back.
        check("2026-03-01T12:00:00Z", "2026-01-01T00:00:07Z", "2026-01-01T00:01:07Z");
        check("1970-01-01T00:00:00Z", "2026-01-01T00:00:30Z", "2026-01-01T00:00:00Z");
        let (zero, end) = (Timestamp::from_micros(0), Timestamp::from_micros(u64::MAX));
        assert!(schedule.next_after(zero, end) <= end);
        assert_eq!(schedule.next_after(end, end), end);
    }

    #[test]
    fn a_cron_expression_names_times() {
        let check = |text, last, now, due| {
            assert_eq!(next(&Schedule::cron(text).unwrap(), last, now), due, "{text}");
        };
        check("0 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T01:00:00Z");
        check("0 * * * *", "2026-01-01T00:00:01Z", "2026-01-01T01:00:00Z", "2026-01-01T01:00:00Z");
        check("0 * * * *", "2026-01-01T00:00:01Z", "2026-01-01T01:00:07Z", "2026-01-01T01:00:00Z");
        check(
            "*/15 9-17 * * MON-FRI",
            "2026-01-02T17:45:00Z",
            "2026-01-02T17:45:00Z",
            "2026-01-05T09:00:00Z",
        );
        // Missed.
        check("0 3 * * *", "2025-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "2025-12-31T03:00:00Z");
        check("* 3 * * *", "2025-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "2025-12-31T03:59:00Z");
        check("* * * * *", "1970-01-01T00:00:00Z", "2026-01-01T02:00:30Z", "2026-01-01T02:00:00Z");
        // The clock was put back.
        check("0 3 * * *", "2027-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "2026-01-01T03:00:00Z");
        check("0 0 29 2 *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 29 2 *", "2096-02-29T00:00:00Z", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z");
        check("0 0 29 2 *", "2021-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2024-02-29T00:00:00Z");
        check("0 0 1 1 * Etc/GMT-5", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "2026-12-31T19:00:00Z");
        let yearly = Schedule::cron("0 0 1 1 *").unwrap();
        let end = Timestamp::from_micros(u64::MAX);
        assert_eq!(yearly.next_after(end, end), end, "never");
        assert!(yearly.next_after(Timestamp::default(), end) <= end);
    }

    #[test]
    fn what_is_run_at_its_time_is_not_run_again() {
        for schedule in [Schedule::cron("*/5 * * * *").unwrap(), Schedule::every("5m").unwrap()] {
            let begin = at("2026-01-01T00:00:00Z");
            let (mut last, mut runs) = (begin, 0);
            for second in 0..3600 {
                let now = Timestamp::from_micros(begin.as_micros() + second * MICROS);
                let due = schedule.next_after(last, now);
                if due <= now {
                    (last, runs) = (due, runs + 1);
                }
            }
            assert_eq!(runs, 11, "{schedule}");
        }
    }

    #[test]
    fn a_schedule_is_shown_as_it_was_written() {
        assert_eq!(Schedule::every("90 s").unwrap().to_string(), "90 s");
        assert_eq!(Schedule::cron("0 * * * * UTC").unwrap().to_string(), "0 * * * * UTC");
        assert_eq!(Schedule::every("1m"), Schedule::every("1m"));
        assert_ne!(Schedule::every("1m"), Schedule::every("60s"));
        assert_eq!(format!("{:?}", Schedule::every("1m").unwrap()), r#"Every("1m")"#);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        let check = |result: Result<Schedule, ScheduleError>, why: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        };
        check(Schedule::every(""), "is not a duration");
        check(Schedule::every("often"), "`often` is not a duration; allowed is 100ms to 8784h");
        check(Schedule::every("1 month"), "is not a duration");
        check(Schedule::every("99ms"), "too short");
        check(Schedule::every("-1m"), "less than nothing");
        check(Schedule::every("8784h 1s"), "too long");
        check(Schedule::cron(""), "cannot be empty");
        check(Schedule::cron("* * *"), "missing months");
        check(Schedule::cron("60 * * * *"), "must be in range 0..=59; found 60");
        check(Schedule::cron("0 0 30 2 *"), "no date is ever like that");
        check(Schedule::cron("0 0 * * * Europe/Nowhere"), "failed to find timezone");
        check(Schedule::cron("ü * * * *"), "ASCII");
        check(Schedule::cron(&"*".repeat(300)), "256");
        check(Schedule::cron("H * * * *"), "is not a cron expression");
    }
}
