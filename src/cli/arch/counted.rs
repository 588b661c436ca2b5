//! A network's counts as `mtnas arch cost` prints them.

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::{Network, NetworkSpec};
use crate::nn::LayerCost;

/// A network and how it is called.
pub(super) struct Named {
    name: String,
    note: Option<&'static str>,
    net: Network,
}

impl Named {
    /// Counts `spec`; nothing is built.
    ///
    /// # Errors
    /// `NetworkDoesNotFit`.
    pub fn new(name: &str, note: Option<&'static str>, spec: &NetworkSpec) -> Result<Named> {
        let net = Network::plan(spec)?;
        let name = name.into();
        Ok(Named { name, note, net })
    }

    /// As `--json` prints it.
    pub fn json(&self, layers: bool) -> Value {
        let (spec, cost) = (self.net.spec(), self.net.cost());
        let by_cells = |n: usize| (!spec.frame.is_hand_crafted()).then_some(n);
        let mut v = json!({
            "network": self.name,
            "frame": spec.frame.frame.to_string(),
            "channels": by_cells(spec.frame.channels),
            "cells": by_cells(spec.frame.cells),
            "input": [spec.height, spec.width],
            "params": cost.without_auxiliary().params,
            "params_aux": cost.auxiliary().params,
            "conv_macs": cost.conv_macs(),
            "macs": cost.without_auxiliary().macs,
            "gflops": self.gflops(),
        });
        if let Some(note) = self.note {
            v["note"] = json!(note);
        }
        if layers {
            v["layers"] = json!(cost.layers());
        }
        v
    }

    fn gflops(&self) -> f64 {
        2.0 * self.net.cost().conv_macs() as f64 / 1e9
    }

    /// As a terminal shows it.
    pub fn text(&self, layers: bool) -> String {
        let (spec, cost) = (self.net.spec(), self.net.cost());
        let f = &spec.frame;
        let cells = match f.is_hand_crafted() {
            true => "no cells".into(),
            false => format!("{} channels, {} cells", f.channels, f.cells),
        };
        let mut s = format!(
            "{}: frame {}, {cells}, input {}x{}\n",
            self.name, f.frame, spec.height, spec.width
        );
        s += &format!(
            "  parameters {:>15}\n",
            grouped(cost.without_auxiliary().params)
        );
        if cost.auxiliary().params > 0 {
            s += &format!(
                "  auxiliary  {:>15}  head, in training only\n",
                grouped(cost.auxiliary().params)
            );
        }
        s += &format!(
            "  conv MACs  {:>15}  {:.3} GFLOPs\n",
            grouped(cost.conv_macs()),
            self.gflops()
        );
        s += &format!(
            "  MACs       {:>15}  with linear layers\n",
            grouped(cost.without_auxiliary().macs)
        );
        if let Some(note) = self.note {
            s += &format!("  note: {note}\n");
        }
        if layers {
            s += &table(&self.net);
        }
        s
    }
}

fn table(net: &Network) -> String {
    let row = |l: &LayerCost| {
        let (i, o) = (l.input, l.output);
        format!(
            "  {:52} {:10} {:>13} {:>13} {:>2}/{} {:>5} {:>9} {:>13}\n",
            l.name,
            l.kind.name(),
            format!("{}x{}x{}", i.c, i.h, i.w),
            format!("{}x{}x{}", o.c, o.h, o.w),
            l.k,
            l.stride,
            l.groups,
            l.params,
            l.macs
        )
    };
    let head = format!(
        "  {:52} {:10} {:>13} {:>13} {:>4} {:>5} {:>9} {:>13}\n",
        "layer", "kind", "input", "output", "k/s", "group", "params", "MACs"
    );
    head + &net.cost().layers().iter().map(row).collect::<String>()
}

/// Digits in groups of three.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_in_threes() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
