//! When a search stage ends before its budget (Algorithm 1 of MTNAS; DARTS+).
//!
//! All rules look at the derived genotype after an architecture step, and count architecture steps after the alpha warm-up
//! only: on random alphas they would trip at once (systems.md 12, row 5).

use serde::{Deserialize, Serialize};

use super::config::{SkipCells, StopConfig};
use crate::space::{Genotype, SkipRule};

/// Which rule a stage follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Stop once the genotype has not changed for K checks.
    Stable,
    /// Go on while the number of skip-connects is at most T.
    SkipLimit,
    /// Stop once the normal cell has this many skip-connects or more (DARTS+, criterion 1).
    SkipCount(usize),
    /// Stop once the order of the learnable operations has not changed for this many checks (DARTS+, criterion 2).
    StableRanking(usize),
    /// Never.
    Budget,
}

/// Where a rule stands; part of every checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Stopper {
    /// Architecture steps so far.
    pub arch_steps: u64,
    /// What must not change (genotype or ranking), at the last check.
    pub last: Option<String>,
    /// Consecutive checks without a change.
    pub unchanged: usize,
    /// Why the stage ends.
    pub stopped: Option<String>,
}

fn skips(g: &Genotype, cells: SkipCells) -> usize {
    g.skips(match cells {
        SkipCells::Normal => SkipRule::NormalCell,
        SkipCells::Both => SkipRule::BothCells,
    })
}

impl Stopper {
    /// Looks at the genotype after an architecture step; `planned` is the number of architecture steps of the whole stage.
    /// Returns true when the genotype is within the skip limit (its alphas are worth keeping).
    pub fn check(&mut self, rule: Rule, c: &StopConfig, g: &Genotype, planned: u64) -> bool {
        self.check_watched(rule, c, g, g.to_string(), planned)
    }

    /// As [`Stopper::check`], for rules that watch something else than the genotype; `text` is what must not change.
    pub fn check_watched(
        &mut self,
        rule: Rule,
        c: &StopConfig,
        g: &Genotype,
        text: String,
        planned: u64,
    ) -> bool {
        self.arch_steps += 1;
        if !self.arch_steps.is_multiple_of(c.check_every.max(1) as u64) {
            return false;
        }
        self.unchanged = if self.last.as_deref() == Some(&text) {
            self.unchanged + 1
        } else {
            0
        };
        self.last = Some(text);
        let late = self.arch_steps as f64 >= c.minimum_fraction * planned as f64;
        let count = skips(g, c.skip_cells);
        let reason = match rule {
            Rule::Stable if c.unchanged > 0 && self.unchanged >= c.unchanged => {
                Some(format!("unchanged for {} checks", self.unchanged))
            }
            Rule::SkipLimit if count > c.max_skip => {
                Some(format!("{count} skip-connects, more than {}", c.max_skip))
            }
            Rule::StableRanking(checks) if self.unchanged >= checks => {
                Some(format!("ranking unchanged for {} checks", self.unchanged))
            }
            Rule::SkipCount(limit) if skips(g, SkipCells::Normal) >= limit => {
                Some(format!("{count} skip-connects in the normal cell"))
            }
            _ => None,
        };
        if late && self.stopped.is_none() {
            self.stopped = reason;
        }
        rule == Rule::SkipLimit && count <= c.max_skip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published::by_name as published;

    fn config() -> StopConfig {
        StopConfig {
            unchanged: 3,
            max_skip: 2,
            check_every: 1,
            minimum_fraction: 0.2,
            ..StopConfig::default()
        }
    }

    #[test]
    fn stable_after_k_unchanged_checks_and_not_before_the_minimum() {
        let (a, b) = (
            published("DARTS_V1").unwrap(),
            published("DARTS_V2").unwrap(),
        );
        let mut s = Stopper::default();
        for g in [&a, &a, &b, &b, &b] {
            s.check(Rule::Stable, &config(), g, 10);
            assert_eq!(s.stopped, None);
        }
        s.check(Rule::Stable, &config(), &b, 10);
        assert_eq!(s.stopped.as_deref(), Some("unchanged for 3 checks"));
        let mut early = Stopper::default();
        for _ in 0..19 {
            early.check(Rule::Stable, &config(), &a, 100);
            assert_eq!(early.stopped, None);
        }
        early.check(Rule::Stable, &config(), &a, 100);
        assert!(early.stopped.is_some());
    }

    #[test]
    fn zero_switches_the_genotype_rule_off_and_rankings_are_watched_apart() {
        let g = published("DARTS_V1").unwrap();
        let (mut off, mut ranks) = (Stopper::default(), Stopper::default());
        let never = StopConfig {
            unchanged: 0,
            ..config()
        };
        for (i, ranking) in ["a", "b", "b", "b"].into_iter().enumerate() {
            off.check(Rule::Stable, &never, &g, 4);
            ranks.check_watched(Rule::StableRanking(2), &never, &g, ranking.into(), 4);
            assert_eq!(
                (off.stopped.is_some(), ranks.stopped.is_some()),
                (false, i == 3)
            );
        }
    }

    #[test]
    fn skip_limit_trips_above_t() {
        // DARTS_V1 has 4 skips in its normal cell, DARTS_V2 has 2.
        let (v1, v2) = (
            published("DARTS_V1").unwrap(),
            published("DARTS_V2").unwrap(),
        );
        let mut s = Stopper::default();
        assert!(s.check(Rule::SkipLimit, &config(), &v2, 4));
        assert_eq!(s.stopped, None);
        assert!(!s.check(Rule::SkipLimit, &config(), &v1, 4));
        assert!(s.stopped.is_some());
    }
}
