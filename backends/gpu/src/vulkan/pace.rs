//! How much is handed to a device at a time: ticks of one dispatch, or dispatches.

/// Seconds that a submission should take: drivers reset a device that does not answer for some seconds, and each
/// submission costs some ten microseconds.
const AIM: f64 = 0.2;
/// Seconds up to which a submission is short, and from which on it is long.
const SHORT: f64 = 0.1;
const LONG: f64 = 0.3;
/// The most of a submission: a list of dispatches is held in memory.
const MOST: u64 = 1 << 16;
/// How many times as much comes next at most.
const GROWTH: f64 = 8.0;

/// The amount of a submission, from one to the next. Results do not depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    amount: u64,
    samples: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { amount: 1, samples: 1 }
    }
}

impl Pace {
    /// A launch of so many samples begins.
    pub fn begin(&mut self, samples: u64) {
        let samples = samples.max(1);
        if samples > self.samples {
            let fewer = u128::from(self.amount) * u128::from(self.samples) / u128::from(samples);
            self.amount = fewer.max(1) as u64;
        }
        self.samples = samples;
    }

    /// The most of the next submission, at least 1.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// A submission of so much took so many seconds.
    pub fn took(&mut self, amount: u64, seconds: f64) {
        let right = amount as f64 * (AIM / seconds.max(1e-9)).min(GROWTH);
        if seconds > LONG || (seconds < SHORT && right > self.amount as f64) {
            // From float to integer saturates.
            self.amount = (right as u64).clamp(1, MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submissions of a launch of so many ticks, each of which takes so many seconds.
    fn launch(pace: &mut Pace, samples: u64, mut left: u64, tick: impl Fn(u64) -> f64) -> Vec<u64> {
        let (mut all, total) = (Vec::new(), left);
        pace.begin(samples);
        while left > 0 {
            let n = pace.amount().min(left);
            pace.took(n, n as f64 * tick(total - left));
            left -= n;
            all.push(n);
        }
        all
    }

    #[test]
    fn submissions_come_to_take_a_fifth_of_a_second() {
        let mut pace = Pace::default();
        assert_eq!(launch(&mut pace, 1, 2000, |_| 1e-3), [1, 8, 64, 200, 200, 200, 200, 200, 200, 200, 200, 200, 127]);
        // The last piece of a launch is short without being a reason for shorter ones.
        assert_eq!(launch(&mut pace, 1, 450, |_| 1e-3), [200, 200, 50]);
        // More samples may take longer; fewer begin with what is known.
        assert_eq!(launch(&mut pace, 4, 100, |_| 4e-3), [50, 50]);
        assert_eq!(launch(&mut pace, 1, 100, |_| 1e-3), [50, 50]);
        // Ticks that become slow.
        let mut pace = Pace { amount: 1000, samples: 1 };
        assert_eq!(launch(&mut pace, 1, 4000, |_| 1e-2)[..4], [1000, 20, 20, 20]);
        // A tick of seconds is one submission.
        assert_eq!(launch(&mut pace, 1, 3, |_| 5.0), [3]);
        assert_eq!(launch(&mut pace, 1, 3, |_| 5.0), [1, 1, 1]);
    }
}
