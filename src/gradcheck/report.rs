//! What the registry run found: a table for people, JSON for programs.

use serde::Serialize;

/// One op.
#[derive(Debug, Clone, Serialize)]
pub struct OpReport {
    /// Name in the table.
    pub op: String,
    /// Cases tried.
    pub cases: usize,
    /// Largest error against dual numbers.
    pub worst_dual: Option<f64>,
    /// Largest error against differences of fourth order.
    pub worst_difference: f64,
    /// Largest share of its bound that the fast path used, f64 and f32.
    pub worst_bound: Option<f64>,
    /// Wrong gradients tried, over all cases that show them.
    pub planted: usize,
    /// How many of them were caught.
    pub caught: usize,
    /// Calls refused with the message expected.
    pub refusals: usize,
    /// What went wrong, each with the line that replays it.
    pub failures: Vec<Failure>,
}

/// Something that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// What.
    pub what: String,
    /// The command that shows it again.
    pub replay: String,
}

/// All ops that were asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Seed of the cases.
    pub seed: u64,
    /// Nothing went wrong.
    pub passed: bool,
    /// One for each op, in the order of the table.
    pub ops: Vec<OpReport>,
}

fn cell(v: Option<f64>) -> String {
    v.map_or("-".into(), |v| format!("{v:.1e}"))
}

impl Report {
    /// The table, one line an op, and below it the failures with their replay lines.
    pub fn table(&self) -> String {
        let wide = self
            .ops
            .iter()
            .map(|o| o.op.len())
            .max()
            .unwrap_or(0)
            .max(2);
        let mut s = format!(
            "{:wide$}  cases   by dual  by diff.  of bound   planted caught  refusals\n",
            "op"
        );
        for o in &self.ops {
            let caught = format!("{}/{}", o.caught, o.planted);
            s.push_str(&format!(
                "{:wide$}  {:>5}  {:>8}  {:>8}  {:>8}  {:>15}  {:>8}  {}\n",
                o.op,
                o.cases,
                cell(o.worst_dual),
                cell(Some(o.worst_difference)),
                cell(o.worst_bound),
                caught,
                o.refusals,
                if o.failures.is_empty() {
                    "ok"
                } else {
                    "FAILED"
                },
            ));
        }
        for o in &self.ops {
            for f in &o.failures {
                s.push_str(&format!("{}: {}\n  replay: {}\n", o.op, f.what, f.replay));
            }
        }
        s
    }
}
