//! When a plugin is due.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cohab_core::Timestamp;
use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::{Offset, TimeZone};

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

/// For how long in all: the calendar repeats after 28 years, or 40 around a year like 2100, which has no February 29.
const CALENDAR_REPEATS: u64 = 12 * CALENDAR_STEP;

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
    Cron(Arc<Cron>),
}

/// A cron expression, which names times of a clock without offset, and the zone whose clock is meant.
struct Cron {
    fields: Crontab,
    zone: TimeZone,
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
        let parse = |text: &str| {
            cronexpr::parse_crontab_with(text, options).map_err(|error| {
                // The first lines show the expression.
                let error = error.to_string();
                refuse(error.lines().last().unwrap_or_default().trim_start_matches([' ', '^']))
            })
        };
        parse(text)?;
        let mut fields: Vec<_> = text.split_ascii_whitespace().collect();
        let zone = fields.get(5).map_or(Ok(TimeZone::UTC), |zone| {
            DateTimeParser::new().parse_time_zone(zone).map_err(|error| refuse(&error.to_string()))
        })?;
        fields.truncate(5);
        let cron = Cron { fields: parse(&fields.join(" "))?, zone };
        if cron.next_after(0).is_none() {
            return Err(refuse("no date is ever like that"));
        }
        Ok(Self { text: text.into(), kind: Kind::Cron(Arc::new(cron)) })
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
            Kind::Cron(cron) => match cron.next_after(last) {
                Some(first) if first <= now => cron.latest_until(first, now),
                Some(first) => first,
                None => u64::MAX,
            },
        };
        Timestamp::from_micros(next)
    }
}

impl Cron {
    /// The first time after `after` that it names, in microseconds since 1970.
    ///
    /// Between two changes of the zone's offset its clock goes evenly, so that the search is one in UTC. cronexpr itself searches
    /// by the zone's clock, and where that is put back from one day to the day before it goes round for ever.
    fn next_after(&self, after: u64) -> Option<u64> {
        let limit = after.saturating_add(CALENDAR_REPEATS).min(CALENDAR_END);
        let begin = timestamp(after)?;
        let mut changes = self.zone.following(begin);
        let (mut after, mut offset) = (after, self.zone.to_offset(begin));
        while after < limit {
            let change = changes.next();
            let changed_at = change.as_ref().and_then(|change| micros(change.timestamp()));
            let end = changed_at.unwrap_or(limit);
            let next = (after..end)
                .step_by(usize::try_from(CALENDAR_STEP).unwrap_or(usize::MAX))
                .find_map(|from| self.next_at(from, offset));
            if let Some(next) = next.filter(|next| *next < end) {
                return Some(next);
            }
            // Nothing is skipped that is named for the very moment.
            (after, offset) = (end.saturating_sub(1), change?.offset());
        }
        None
    }

    /// The first time after `after` that it names within four years, on a clock that goes evenly.
    fn next_at(&self, after: u64, offset: Offset) -> Option<u64> {
        let offset = jiff::SignedDuration::from_secs(offset.seconds().into());
        let local = timestamp(after)?.checked_add(offset).ok()?;
        let local = MakeTimestamp::from_microsecond(local.as_microsecond()).ok()?;
        let next = self.fields.find_next(local).ok()?.timestamp();
        micros(next.checked_sub(offset).ok()?)
    }

    /// The last time up to `now` that it names, given one that is not after it.
    fn latest_until(&self, first: u64, now: u64) -> u64 {
        // After `known` there may be others up to now, after `end` there are none.
        let (mut known, mut end) = (first, now);
        while end > known {
            let middle = known + (end - known) / 2;
            match self.next_after(middle) {
                Some(next) if next <= now => known = next,
                _ => end = middle,
            }
        }
        known
    }
}

fn timestamp(micros: u64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
}

fn micros(timestamp: jiff::Timestamp) -> Option<u64> {
    u64::try_from(timestamp.as_microsecond()).ok()
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
        // Once for each time that the clock shows it; not at all where it is put forward past it.
        let berlin = "30 2 * * * Europe/Berlin";
        check(berlin, "2026-10-24T12:00:00Z", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
        check(berlin, "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        check(berlin, "2026-10-25T01:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z");
        check(berlin, "2026-03-28T12:00:00Z", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z");
        let berlin = "0 * * * * Europe/Berlin";
        check(berlin, "2026-10-25T00:00:00Z", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z");
        check(berlin, "2026-03-29T00:59:59Z", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z");
        let yearly = Schedule::cron("0 0 1 1 *").unwrap();
        let end = Timestamp::from_micros(u64::MAX);
        assert_eq!(yearly.next_after(end, end), end, "never");
        assert!(yearly.next_after(Timestamp::default(), end) <= end);
    }

    /// The search never ended. In Newfoundland clocks were put back from 00:01 to 23:01 of the day before, until 2011.
    #[test]
    fn a_clock_that_is_put_back_to_the_day_before_delays_nothing() {
        let check =
            |text, last, due| assert_eq!(next(&Schedule::cron(text).unwrap(), last, last), due, "{text}");
        let newfoundland = "0 5 * * SUN America/St_Johns";
        check(newfoundland, "2010-11-01T00:00:00Z", "2010-11-07T08:30:00Z");
        check(newfoundland, "2010-11-07T02:31:00Z", "2010-11-07T08:30:00Z");
        // On January 8 from 02:00 to 20:00 of the day before, and from 02:00 to 08:00.
        let at_one = "20 1 8 * * opE-5slnoE1,7,7";
        check(at_one, "2026-01-01T00:00:00Z", "2026-01-07T20:20:00Z");
        check(at_one, "2026-01-07T20:20:00Z", "2026-01-08T02:20:00Z");
        check("20 2 8 * * opE-5slnoE1,7,7", "2026-01-01T00:00:00Z", "2026-02-07T21:20:00Z");
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
