//! Everything about a configuration that its types cannot say: ranges, and keys that must fit each other.

use super::Config;
use crate::error::Code;

mod constraint;
mod data;
mod network;
mod search;

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key to change.
    pub key: String,
    /// `ConfigValue`, or `NetworkDoesNotFit`.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// Collects problems.
#[derive(Default)]
struct Checks(Vec<Problem>);

impl Checks {
    /// A problem with `key` unless `good`.
    fn that(
        &mut self,
        good: bool,
        key: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if !good {
            let (key, message, help) = (key.into(), message.into(), help.into());
            self.0.push(Problem {
                key,
                code: Code::ConfigValue,
                message,
                help,
            });
        }
    }

    /// A number inside a range; `range` in words, `[0, 1)` style. Not-a-number is never inside.
    fn within(
        &mut self,
        good: bool,
        key: impl Into<String>,
        value: impl std::fmt::Display,
        range: &str,
    ) {
        self.that(
            good,
            key,
            format!("{value} is outside {range}"),
            format!("choose a value in {range}"),
        );
    }

    fn positive(&mut self, key: impl Into<String>, v: f64) {
        self.within(v > 0.0 && v.is_finite(), key, v, "(0, inf)");
    }

    fn not_negative(&mut self, key: impl Into<String>, v: f64) {
        self.within(v >= 0.0 && v.is_finite(), key, v, "[0, inf)");
    }

    /// In [0, 1).
    fn share(&mut self, key: impl Into<String>, v: f64) {
        self.within((0.0..1.0).contains(&v), key, v, "[0, 1)");
    }

    /// An integer in `lo..=hi`.
    fn count(&mut self, key: impl Into<String>, v: usize, lo: usize, hi: usize) {
        self.within((lo..=hi).contains(&v), key, v, &format!("{lo} to {hi}"));
    }
}

impl Config {
    /// All that is wrong with the values of this configuration, in the order of its tables; empty if it can run.
    pub fn problems(&self) -> Vec<Problem> {
        let mut c = Checks::default();
        c.within(
            self.version == 1,
            "version",
            self.version,
            "the versions that this program reads (1)",
        );
        c.within(
            self.run.seed <= i64::MAX as u64,
            "run.seed",
            self.run.seed,
            "0 to 2^63 - 1",
        );
        c.count("run.threads", self.run.threads, 0, 1024);
        network::check(self, &mut c);
        data::check(self, &mut c);
        search::check(self, &mut c);
        constraint::check(self, &mut c);
        c.count("checkpoint.every", self.checkpoint.every, 1, LONG);
        c.count("checkpoint.keep", self.checkpoint.keep, 2, 1000);
        c.count("log.every", self.log.every, 1, LONG);
        c.count("log.images", self.log.images, 0, 1000);
        c.0
    }
}

/// No stage is longer: a slip of the keyboard, not a plan.
const LONG: usize = 1_000_000_000;
