//! Which version of the store is meant, as the user says it.

use std::str::FromStr;

use clap::Args;
use cohab::{Name, Snapshot, Timestamp, Version};

use crate::failure::Failure;

/// A version, by its number, by the name of a snapshot, or by a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    Version(Version),
    /// A named snapshot.
    Named(Name),
    /// The last version that was committed by then.
    Time(Timestamp),
}

/// The version that a command reads.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct At {
    /// Read the store as it was: at a version, at a snapshot `@NAME`, or at a time such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "VERSION", allow_negative_numbers = true)]
    at: Option<Moment>,
}

impl At {
    /// Returns the store as it was then, or as the snapshot shows it if nothing was said.
    pub(crate) fn of(&self, present: Snapshot) -> Result<Snapshot, Failure> {
        match &self.at {
            Some(moment) => Ok(moment.of(&present)?),
            None => Ok(present),
        }
    }

    /// Whether the present is meant.
    pub(crate) fn is_present(&self) -> bool {
        self.at.is_none()
    }
}

impl Moment {
    /// Returns the store as it was then.
    pub(crate) fn of(&self, present: &Snapshot) -> cohab::Result<Snapshot> {
        match self {
            Self::Version(version) => present.at(*version),
            Self::Named(name) => present.at_named(name),
            Self::Time(time) => present.at_time(*time),
        }
    }

    /// Returns which version that is. One that was given as a number need not be there.
    pub(crate) fn version(&self, present: &Snapshot) -> Result<Version, Failure> {
        match self {
            Self::Version(version) => Ok(*version),
            Self::Time(time) => Ok(present.version_at(*time)?),
            Self::Named(name) => {
                let known = present.named_snapshots()?.into_iter().find(|known| known.name == *name);
                // Whether it can be read is for who reads it; that there is none is told as elsewhere.
                known.map_or_else(|| Ok(self.of(present)?.version()), |known| Ok(known.kept.version))
            }
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('@') {
            return Name::new(name).map(Self::Named).map_err(|error| error.to_string());
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            let version = text.parse().map_err(|_| "no store has that many versions")?;
            return Ok(Self::Version(Version::new(version)));
        }
        time(text).map(Self::Time)
    }
}

/// Reads a time. Times are shown to the second, so one without a fraction means all of that second.
fn time(text: &str) -> Result<Timestamp, String> {
    let forms = "expected a version's number, the name of a snapshot such as @before-import, or a time such as \
                 2026-11-21T10:00:00Z";
    let time: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| {
        // What does not even begin as a time is more likely to be something else.
        let is_date = text.get(..5).is_some_and(|start| start.ends_with('-') && start.len() == 5)
            && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
        if is_date { format!("{error}; {forms}, with its offset from UTC") } else { forms.to_owned() }
    })?;
    let rest = if text.contains(['.', ',']) { 0 } else { 999_999 };
    let micros = u64::try_from(time.as_microsecond().saturating_add(rest)).unwrap_or(0);
    Ok(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_number_a_name_or_a_time() {
        let check = |text: &str, expected: Moment| assert_eq!(text.parse(), Ok(expected), "{text}");
        let time = |micros| Moment::Time(Timestamp::from_micros(micros));
        check("0", Moment::Version(Version::ZERO));
        check("007", Moment::Version(Version::new(7)));
        check("18446744073709551615", Moment::Version(Version::new(u64::MAX)));
        check("@before/import", Moment::Named(Name::new("before/import").expect("a name")));
        check("@5", Moment::Named(Name::new("5").expect("a name")));
        // All of the second, which is as much as is shown of a time.
        check("1970-01-01T00:00:01Z", time(1_999_999));
        check("1970-01-01T00:00:01.000002Z", time(1_000_002));
        check("1970-01-01T01:00:01.5+01:00", time(1_500_000));
        check("1970-01-01 00:00:01z", time(1_999_999));
        check("1960-01-01T00:00:00Z", time(0));
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<Moment>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        for text in ["", "-1", "+5", "1.5", "5x", "yesterday", "ü-ü", "0x10", " 5", "12:00:00Z"] {
            check(text, "expected a version's number");
        }
        check("18446744073709551616", "no store has that many");
        check("@", "empty");
        check("@a//b", "segment");
        check("2026-11-21T10:00:00", "offset");
        check("2026-11-21", "offset");
        check("2026-13-21T10:00:00Z", "month");
        check("2026-02-30T10:00:00Z", "day");
    }
}
