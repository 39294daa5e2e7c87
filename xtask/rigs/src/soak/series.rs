//! Whether something that was measured again and again grows.

/// What may differ without being growth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// A part of what there was.
    pub(crate) part: f64,
    /// And so much besides.
    pub(crate) besides: f64,
    /// Up to here it grows because caches and the log fill up, as they are meant to.
    pub(crate) bound: f64,
}

/// A measurement, repeated.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) tolerance: Tolerance,
    /// Seconds since the beginning, and what was measured.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Its last third is where its first was.
    Flat,
    /// It has grown, and in its second half it does no more.
    Settled,
    /// It grows, and is within what caches and the log may have; for a run that is too short to fill them.
    Filling,
    /// It has grown, and goes on.
    Grows,
    /// There is too little to tell.
    Unknown,
}

/// The numbers behind a verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// Per hour, by least squares, over the second half.
    pub(crate) slope: f64,
    pub(crate) allowed: f64,
    pub(crate) verdict: Verdict,
}

impl Series {
    /// Looks at what lies behind the warm-up, where there is time for one, or else lets it fill up to its bound.
    pub(crate) fn course(&self, warm_up: Option<f64>) -> Course {
        let begin = self.points.partition_point(|point| Some(point.0) < warm_up);
        let points = &self.points[begin..];
        let third = points.len() / 3;
        if third < 2 {
            let verdict = Verdict::Unknown;
            return Course { first: 0.0, last: 0.0, slope: 0.0, allowed: 0.0, verdict };
        }
        let values = |points: &[(f64, f64)]| median(points.iter().map(|point| point.1).collect());
        let (first, last) = (values(&points[..third]), values(&points[points.len() - third..]));
        let half = &points[points.len() / 2..];
        let slope = slope(half);
        let time = half.last().map_or(0.0, |last| last.0) - half[0].0;
        let allowed = self.tolerance.besides + self.tolerance.part * first;
        let verdict = match (last - first > allowed, slope * time > allowed / 2.0) {
            (false, _) => Verdict::Flat,
            (true, false) => Verdict::Settled,
            (true, true) if warm_up.is_none() && last <= self.tolerance.bound => Verdict::Filling,
            (true, true) => Verdict::Grows,
        };
        Course { first, last, slope: slope * 3600.0, allowed, verdict }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The slope of the line with the least squares, a second.
#[expect(clippy::cast_precision_loss, reason = "there are few points")]
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if square == 0.0 { 0.0 } else { along / square }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(value: impl Fn(f64) -> f64) -> Verdict {
        let points = (0..300).map(|n| (f64::from(n), value(f64::from(n)))).collect();
        let tolerance = Tolerance { part: 0.1, besides: 2.0, bound: 0.0 };
        Series { name: "it".into(), unit: "", tolerance, points }.course(Some(20.0)).verdict
    }

    #[test]
    fn what_grows_is_told_from_what_settles_and_what_swings() {
        assert_eq!(verdict(|_| 40.0), Verdict::Flat);
        assert_eq!(verdict(|n| 40.0 + (n % 20.0)), Verdict::Flat);
        assert_eq!(verdict(|n| 100.0 - n / 10.0), Verdict::Flat);
        assert_eq!(verdict(|n| if n < 120.0 { 40.0 } else { 80.0 }), Verdict::Settled);
        assert_eq!(verdict(|n| 40.0 + n / 10.0), Verdict::Grows);
        // A leak under a swing that is larger.
        assert_eq!(verdict(|n| 40.0 + n / 5.0 + (n % 20.0)), Verdict::Grows);
    }
}
