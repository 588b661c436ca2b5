//! A network's counts as `mtnas arch cost` prints them.

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::{Network, NetworkSpec, work};
use crate::nn::LayerCost;
use crate::search::kept::{Kept, kept};
use crate::tape::{Elementwise, Sketched};
use crate::tensor::DType;

/// A network, how it is called, and what is counted of it besides its layers.
pub(super) struct Named {
    name: String,
    note: Option<&'static str>,
    net: Network,
    work: Elementwise,
    operations: Vec<Sketched>,
    kept: Vec<Kept>,
}

impl Named {
    /// Counts `spec`; nothing of it is computed.
    ///
    /// # Errors
    /// `NetworkDoesNotFit`.
    pub fn new(name: &str, note: Option<&'static str>, spec: &NetworkSpec) -> Result<Named> {
        let (net, store) = Network::blank(spec, DType::F32)?;
        Ok(Named {
            name: name.into(),
            note,
            work: work::elementwise(&net, &store)?,
            operations: work::operations(&net, &store)?,
            kept: kept(&net, &store)?,
            net,
        })
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
            "params_heads": cost.heads().params,
            "params_aux": cost.auxiliary().params,
            "conv_macs": cost.conv_macs(),
            "macs": cost.without_auxiliary().macs,
            "gflops": self.gflops(),
            "bn_ops": self.work.norm,
            "elementwise_ops": self.work.without_norms(),
            "elementwise": {
                "relu": self.work.relu,
                "pool": self.work.pool,
                "add": self.work.add,
                "upsample": self.work.upsample,
            },
            "activation_bytes": self.activation_bytes(),
        });
        if let Some(note) = self.note {
            v["note"] = json!(note);
        }
        if layers {
            v["layers"] = json!(cost.layers());
            let of =
                |o: &Sketched| json!({"operation": o.name, "output": of_image(o), "work": o.work});
            v["elementwise_layers"] = self.operations.iter().map(of).collect();
        }
        v
    }

    /// By task, then by type.
    fn activation_bytes(&self) -> Value {
        let of = |k: &Kept| (k.task.to_string(), json!({"f32": k.f32, "bf16": k.bf16}));
        self.kept.iter().map(of).collect()
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
            "  parameters {:>15}  {} without heads\n",
            grouped(cost.without_auxiliary().params),
            grouped(cost.without_auxiliary().params - cost.heads().params)
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
        let w = &self.work;
        s += &format!(
            "  norm ops   {:>15}  2 a value\n  other ops  {:>15}  relu {}, pool {}, add {}, upsample {}\n",
            grouped(w.norm),
            grouped(w.without_norms()),
            grouped(w.relu),
            grouped(w.pool),
            grouped(w.add),
            grouped(w.upsample)
        );
        for k in &self.kept {
            s += &format!(
                "  activations{:>15}  bytes an image, {}; {} in bf16\n",
                grouped(k.f32),
                k.task,
                grouped(k.bf16)
            );
        }
        if let Some(note) = self.note {
            s += &format!("  note: {note}\n");
        }
        if layers {
            s += &table(&self.net);
            s += &works(&self.operations);
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

/// The shape of a result without its first dimension, that of images.
fn of_image(o: &Sketched) -> &[usize] {
    o.shape.dims().get(1..).unwrap_or_default()
}

/// Work on single values, a line for each operation in the order of their computation.
fn works(operations: &[Sketched]) -> String {
    let row = |o: &Sketched| {
        let w = o.work;
        let output: Vec<String> = of_image(o).iter().map(usize::to_string).collect();
        format!(
            "  {:34} {:>13} {:>11} {:>11} {:>11} {:>11} {:>11}\n",
            o.name,
            output.join("x"),
            w.norm,
            w.relu,
            w.pool,
            w.add,
            w.upsample
        )
    };
    let head = format!(
        "  {:34} {:>13} {:>11} {:>11} {:>11} {:>11} {:>11}\n",
        "operation", "output", "norm", "relu", "pool", "add", "upsample"
    );
    head + &operations.iter().map(row).collect::<String>()
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
