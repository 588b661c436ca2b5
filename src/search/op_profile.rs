//! Where the time of search steps goes, operation by operation.

use std::collections::BTreeMap;

use crate::tape::{OpTime, Tape};

/// Where the time of the timed steps goes.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Phase (0 architecture, 1 weight) and operation.
    pub ops: BTreeMap<(usize, &'static str), OpTime>,
    /// Seconds of each phase, whole.
    pub seconds: [f64; 2],
}

impl Profile {
    /// Adds what a tape noted during a phase of `seconds`.
    pub fn add(&mut self, phase: usize, seconds: f64, tape: &Tape) {
        self.seconds[phase] += seconds;
        for (name, t) in tape.profile() {
            let sum = self.ops.entry((phase, name)).or_default();
            sum.calls += t.calls;
            sum.forward += t.forward;
            sum.backward += t.backward;
        }
    }

    /// A table: operations by falling share, then what no operation took.
    pub fn table(&self) -> String {
        let all: f64 = self.seconds.iter().sum();
        let mut rows: BTreeMap<&str, [f64; 5]> = BTreeMap::new();
        for (&(phase, name), t) in &self.ops {
            let row = rows.entry(name).or_default();
            row[0] += t.calls as f64;
            row[1 + 2 * phase] += t.forward;
            row[2 + 2 * phase] += t.backward;
        }
        let sum = |r: &[f64; 5]| r[1..].iter().sum::<f64>();
        let rest = all - rows.values().map(sum).sum::<f64>();
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)));
        let share = |s: f64| 100.0 * s / all;
        let mut text = format!(
            "{:20} {:>7} {:>9} {:>9} {:>9} {:>9} {:>7}\n",
            "% of the time", "calls", "arch fwd", "arch bwd", "wt fwd", "wt bwd", "sum"
        );
        for (name, r) in &rows {
            let cells: String = r[1..]
                .iter()
                .map(|&s| format!(" {:9.2}", share(s)))
                .collect();
            text += &format!("{name:20} {:7.0}{cells} {:7.2}\n", r[0], share(sum(r)));
        }
        text + &format!("{:20} {:>7} {:>39} {:7.2}\n", "(rest)", "", "", share(rest))
    }
}
