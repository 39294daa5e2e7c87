//! Wall time, as something that can be handed in.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in wall time: microseconds since 1970-01-01 00:00 UTC.
///
/// Wall clocks jump, so a timestamp informs people and bounds retention; it never decides an order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Wraps microseconds since the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to here, or zero if the clock went backwards in between.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// The instant as RFC 3339 in UTC, to the second: `2026-01-31T08:15:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let of_day = seconds % 86_400;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Days since 1970-01-01 to a civil date, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

/// A source of wall time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the present.
    fn now(&self) -> Timestamp;
}

/// The machine's own wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
        let now = SystemTime::now();
        // A clock set before 1970 reads as 1970: a timestamp decides nothing that this could harm.
        let micros = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Timestamp(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_went_backwards_is_no_time() {
        let at = Timestamp::from_micros;
        assert_eq!(at(7).since(at(2)), Duration::from_micros(5));
        assert_eq!(at(2).since(at(7)), Duration::ZERO);
        assert_eq!(at(7).as_micros(), 7);
    }

    #[test]
    fn the_machines_clock_is_past_the_year_2020() {
        assert!(SystemClock.now().to_string().as_str() > "2020");
        assert!(SystemClock.now().to_string().as_str() < "9999");
    }

    #[test]
    fn timestamps_read_as_rfc_3339() {
        let check = |seconds: u64, text: &str| {
            assert_eq!(Timestamp::from_micros(seconds * 1_000_000).to_string(), text);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_767_225_599, "2025-12-31T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(13_574_563_200, "2400-02-29T00:00:00Z");
        check(13_574_649_600, "2400-03-01T00:00:00Z");
        check(1_704_067_199, "2023-12-31T23:59:59Z");
        check(1_704_067_200, "2024-01-01T00:00:00Z");
        check(1_713_186_245, "2024-04-15T13:04:05Z");
        check(1_730_419_200, "2024-11-01T00:00:00Z");
    }
}
