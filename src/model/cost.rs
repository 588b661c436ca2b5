//! What a network costs, counted from the layers it declared: parameters and multiply-adds of convolutions and linear layers.
//!
//! GFLOPs in the tables of MTNAS are twice the convolutions' multiply-adds (systems.md 3.4).

use std::collections::BTreeMap;

use crate::nn::{LayerCost, LayerKind};

/// Names of output layers: locations, class scores, class scores of pixels, of an image.
const HEADS: [&str; 6] = ["loc", "conf", "seg_out", "up", "classifier", "fc"];

/// Parameters and multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Count {
    /// Trainable values, normalisations included.
    pub params: u64,
    /// Multiply-adds for one sample.
    pub macs: u64,
}

impl Count {
    fn add(&mut self, layer: &LayerCost) {
        self.params += layer.params;
        self.macs += layer.macs;
    }

    /// 2 x multiply-adds / 10^9.
    pub fn gflops(self) -> f64 {
        2.0 * self.macs as f64 / 1e9
    }
}

/// The layers of a network and sums over them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cost {
    layers: Vec<LayerCost>,
}

impl Cost {
    /// The cost of these layers.
    pub fn new(layers: &[LayerCost]) -> Cost {
        Cost {
            layers: layers.to_vec(),
        }
    }

    /// Every layer in the order of declaration.
    pub fn layers(&self) -> &[LayerCost] {
        &self.layers
    }

    /// All layers.
    pub fn total(&self) -> Count {
        self.sum(|_| true)
    }

    /// The layers whose name starts with `prefix` followed by a dot, or is `prefix`.
    pub fn under(&self, prefix: &str) -> Count {
        self.sum(|l| match l.name.strip_prefix(prefix) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        })
    }

    /// All but the auxiliary head, which takes no part in inference: what papers state.
    pub fn without_auxiliary(&self) -> Count {
        self.sum(|l| !l.name.starts_with("auxiliary_head."))
    }

    /// The auxiliary head alone.
    pub fn auxiliary(&self) -> Count {
        self.under("auxiliary_head")
    }

    /// The output layers of its tasks, the auxiliary head apart.
    pub fn heads(&self) -> Count {
        self.sum(|l| {
            let first = l.name.split('.').next().unwrap_or_default();
            HEADS.contains(&first) || first.ends_with("_out") || first.starts_with("up_")
        })
    }

    /// Multiply-adds of the convolutions, without the auxiliary head.
    pub fn conv_macs(&self) -> u64 {
        let linear =
            |l: &&LayerCost| l.kind == LayerKind::Linear && !l.name.starts_with("auxiliary_head.");
        let linear: u64 = self.layers.iter().filter(linear).map(|l| l.macs).sum();
        self.without_auxiliary().macs - linear
    }

    /// Sums by part of the network, in the order of declaration: single cells, stems, heads.
    pub fn parts(&self) -> Vec<(String, Count)> {
        let mut parts: Vec<(String, Count)> = vec![];
        for layer in &self.layers {
            let name = part(&layer.name);
            match parts.iter_mut().find(|p| p.0 == name) {
                Some(found) => found.1.add(layer),
                None => {
                    let mut count = Count::default();
                    count.add(layer);
                    parts.push((name, count));
                }
            }
        }
        parts
    }

    /// Sums by kind of layer.
    pub fn kinds(&self) -> BTreeMap<LayerKind, Count> {
        let mut kinds: BTreeMap<LayerKind, Count> = BTreeMap::new();
        for layer in &self.layers {
            kinds.entry(layer.kind).or_default().add(layer);
        }
        kinds
    }

    fn sum(&self, wanted: impl Fn(&LayerCost) -> bool) -> Count {
        let mut count = Count::default();
        self.layers
            .iter()
            .filter(|l| wanted(l))
            .for_each(|l| count.add(l));
        count
    }
}

/// `cells.3`, `det.cells.0`, `stem0`, `loc`: the name up to the number of a cell, or its first word.
fn part(name: &str) -> String {
    let words: Vec<&str> = name.split('.').collect();
    match words.iter().position(|w| *w == "cells") {
        Some(i) if i + 1 < words.len() => words[..i + 2].join("."),
        _ => words[0].to_string(),
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
