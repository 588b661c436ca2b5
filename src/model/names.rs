//! Names of weights from elsewhere: what a tensor of torchvision, timm or DARTS is called here, and whether a file of them fits a network.
//!
//! | network | from | here |
//! | --- | --- | --- |
//! | cells | DARTS, PC-DARTS, P-DARTS: `cells.0._ops.3.op.1.weight` | `cells.0.ops.3.op.1.weight`; all else is called the same |
//! | ResNet | torchvision and timm: `layer1.0.conv1.weight`, `fc.bias` | the same |
//! | VGG-16 | torchvision: `features.0.weight`, `classifier.6.bias` | the same |
//! | | timm: `pre_logits.fc1`, `pre_logits.fc2`, `head.fc` | `classifier.0`, `classifier.3`, `classifier.6` |
//! | MobileNetV2 | torchvision: `features.2.conv.0.0.weight`, `classifier.1.bias` | the same |
//! | | timm: `conv_stem`, `blocks.1.0.conv_pw`, `conv_head`, `classifier` | `features.0.0`, `features.2.conv.0.0`, `features.18.0`, `classifier.1` |
//! | `mtl-resnet18` | ResNet as above | `trunk.` before each |

use std::collections::BTreeMap;

use super::config::{Frame, TrunkKind};
use super::hand::TRUNK;
use super::network::Network;
use super::spec::NetworkSpec;
use crate::error::{Code, Error, Result};
use crate::nn::Store;
use crate::tensor::{Shape, Tensor};

/// What a file of weights gives a network.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Weights and running statistics by our names.
    pub store: Store,
    /// What was left out of the file, and what of the network starts at random, in sentences.
    pub notes: Vec<String>,
}

/// Counts batches; nothing here reads it.
pub const COUNTER: &str = "num_batches_tracked";

/// Prefixes that PyTorch's wrappers put before every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Parts of a network that a file may lack: they start at random then.
const OPTIONAL: [&str; 3] = ["fc.", "classifier.", "auxiliary_head."];

/// The tensors of a file for the network of `spec`, by our names. Counters of batches are passed over. A file without any tensor of the
/// classifier, or for `mtl-resnet18` of the trunk's surroundings, leaves these to chance; a classifier or an auxiliary head that the
/// network does not have is left out. Both are noted.
///
/// # Errors
/// `BadCheckpoint` with every tensor that is missing, left over or of another shape; `MT0105` for a network that does not fit.
pub fn take(spec: &NetworkSpec, tensors: BTreeMap<String, Tensor>) -> Result<Taken> {
    let wanted: BTreeMap<String, Shape> = Network::tensors(spec)?.into_iter().collect();
    let wrapper = WRAPPERS
        .into_iter()
        .find(|w| !tensors.is_empty() && tensors.keys().all(|n| n.starts_with(w)))
        .unwrap_or("");
    let mut found: BTreeMap<String, (String, Tensor)> = BTreeMap::new();
    for (name, t) in tensors {
        if name.ends_with(COUNTER) {
            continue;
        }
        let own = ours(spec, &name[wrapper.len()..], t.shape());
        found.insert(own, (name, t));
    }
    let mut notes = vec![];
    let optional = optional(spec, &wanted, &found, &mut notes);
    let missing = wanted
        .iter()
        .filter(|(n, _)| !found.contains_key(*n) && !is_under(n, &optional));
    let mut faults: Vec<String> = missing
        .map(|(name, shape)| format!("missing: {name} {shape}"))
        .collect();
    let (mut store, mut left_out) = (Store::default(), 0);
    for (own, (name, t)) in found {
        let Some(shape) = wanted.get(&own) else {
            match is_under(&own, &OPTIONAL.map(String::from)) && !has_any(&wanted, &own) {
                true => left_out += 1,
                false => faults.push(format!("left over: {name} {}", t.shape())),
            }
            continue;
        };
        let Some(t) = fitted(&t, shape) else {
            let (got, dtype) = (t.shape(), t.dtype().name());
            faults.push(format!("shape: {name} is {got} {dtype}, expected {shape}"));
            continue;
        };
        let statistics = own.ends_with("running_mean") || own.ends_with("running_var");
        match statistics {
            true => store.buffers.add(own, t),
            false => store.weights.add(own, t),
        };
    }
    if left_out > 0 {
        notes.push(format!(
            "{left_out} tensors of a classifier or an auxiliary head are left out: the network has none"
        ));
    }
    match faults.is_empty() {
        true => Ok(Taken { store, notes }),
        false => Err(refusal(&faults)),
    }
}

/// One error with a line for each tensor.
fn refusal(faults: &[String]) -> Error {
    let lines: String = faults.iter().map(|f| format!("   | {f}\n")).collect();
    let count = match faults.len() {
        1 => "a tensor does".into(),
        n => format!("{n} tensors do"),
    };
    let mut help = String::from("give weights of this very network");
    if faults.iter().any(|f| is_classifier(f)) {
        help += "; a file without any tensor of the classifier leaves that to chance";
    }
    Error::new(Code::BadCheckpoint, format!("{count} not fit the network"))
        .snippet(lines)
        .help(help)
}

fn is_classifier(fault: &str) -> bool {
    let name = fault.split(": ").nth(1).unwrap_or_default();
    name.starts_with("fc.") || name.starts_with("classifier.")
}

/// The tensor in the shape that is wanted: as it is, or a convolution over a whole map where we have a linear layer (timm's VGG).
fn fitted(t: &Tensor, shape: &Shape) -> Option<Tensor> {
    if !t.dtype().is_float() {
        return None;
    }
    if t.shape() == shape {
        return Some(t.clone());
    }
    let whole = t.shape().rank() == 4 && shape.rank() == 2;
    let same = t.dims().first() == shape.dims().first() && t.numel() == shape.numel();
    (whole && same).then(|| t.reshape(*shape).ok()).flatten()
}

/// What the network may do without, because the file has nothing of it; noted.
fn optional(
    spec: &NetworkSpec,
    wanted: &BTreeMap<String, Shape>,
    found: &BTreeMap<String, (String, Tensor)>,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let mut parts = vec![];
    let absent = |part: &str| {
        wanted.keys().any(|n| n.starts_with(part)) && !found.keys().any(|n| n.starts_with(part))
    };
    for part in OPTIONAL.into_iter().filter(|p| absent(p)) {
        let name = part.trim_end_matches('.');
        notes.push(format!("the file has no `{name}`: it starts at random"));
        parts.push(part.to_string());
    }
    let trunk = |name: &str| name.starts_with(TRUNK) && name[TRUNK.len()..].starts_with('.');
    let alone = spec.frame.frame == Frame::MtlResnet18
        && !found.keys().any(|n| wanted.contains_key(n) && !trunk(n));
    if alone {
        let around = wanted.keys().filter(|n| !trunk(n));
        // First words: `top`, `extra`, `loc`, `conf`, `seg_out`.
        let mut words: Vec<String> = around
            .map(|n| format!("{}.", n.split('.').next().unwrap_or_default()))
            .collect();
        words.dedup();
        if !words.is_empty() {
            notes.push("the file has the trunk alone: branches and heads start at random".into());
        }
        parts.extend(words);
    }
    parts
}

fn is_under(name: &str, parts: &[String]) -> bool {
    parts.iter().any(|p| name.starts_with(p.as_str()))
}

/// Whether the network has anything of the part that `name` belongs to.
fn has_any(wanted: &BTreeMap<String, Shape>, name: &str) -> bool {
    let part = OPTIONAL.into_iter().find(|p| name.starts_with(p));
    part.is_some_and(|p| wanted.keys().any(|n| n.starts_with(p)))
}

/// What a tensor of this shape, `name` in its file, is called here.
fn ours(spec: &NetworkSpec, name: &str, shape: &Shape) -> String {
    match spec.frame.frame {
        Frame::Trunk => of_trunk(spec.frame.trunk, name, shape),
        Frame::MtlResnet18 => {
            let first = name.split('.').next().unwrap_or_default();
            let stage = first.strip_prefix("layer").is_some_and(|n| n.len() == 1);
            match stage || ["conv1", "bn1"].contains(&first) {
                true => format!("{TRUNK}.{name}"),
                false => name.into(),
            }
        }
        _ => name.replace("._ops.", ".ops."),
    }
}

fn of_trunk(kind: TrunkKind, name: &str, shape: &Shape) -> String {
    let renamed = match kind {
        TrunkKind::Vgg16 => timm_vgg(name),
        // The linear layers of the other form do not fit its convolutions, though they share names.
        TrunkKind::Vgg16Deeplab => {
            let linear = timm_vgg(name).is_some() || is_linear_vgg(name, shape);
            linear.then(|| format!("fc.{name}"))
        }
        TrunkKind::MobileNetV2 => timm_mobilenet(name),
        TrunkKind::Resnet18 | TrunkKind::Resnet34 | TrunkKind::Resnet50 => None,
    };
    renamed.unwrap_or_else(|| name.into())
}

fn timm_vgg(name: &str) -> Option<String> {
    let layers = [
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ];
    let of = |(theirs, own): (&str, &str)| Some(format!("{own}{}", name.strip_prefix(theirs)?));
    layers.into_iter().find_map(of)
}

/// Whether this is one of the six tensors of torchvision's VGG classifier.
fn is_linear_vgg(name: &str, shape: &Shape) -> bool {
    let Some((layer, tensor)) = (name.strip_prefix("classifier.")).and_then(|n| n.split_once('.'))
    else {
        return false;
    };
    match (layer, tensor) {
        ("0", "weight") => shape.rank() == 2,
        // DeepLab's form has neither.
        ("0", "bias") | ("3" | "6", _) => true,
        _ => false,
    }
}

/// Index in `features` of the first block of each of timm's stages.
const MOBILENET_STAGES: [usize; 7] = [1, 2, 4, 7, 11, 14, 17];

fn timm_mobilenet(name: &str) -> Option<String> {
    let (layer, tensor) = name.rsplit_once('.')?;
    let own = match layer {
        "conv_stem" => "features.0.0".into(),
        "bn1" => "features.0.1".into(),
        "conv_head" => "features.18.0".into(),
        "bn2" => "features.18.1".into(),
        "classifier" => "classifier.1".into(),
        _ => {
            let mut words = layer.strip_prefix("blocks.")?.split('.');
            let stage: usize = words.next()?.parse().ok()?;
            let block: usize = words.next()?.parse().ok()?;
            // The first stage has no expansion, so its layers come one earlier.
            let part = match (stage, words.next()?) {
                (0, "conv_dw") => "0.0",
                (0, "bn1") => "0.1",
                (0, "conv_pw") => "1",
                (0, "bn2") => "2",
                (_, "conv_pw") => "0.0",
                (_, "bn1") => "0.1",
                (_, "conv_dw") => "1.0",
                (_, "bn2") => "1.1",
                (_, "conv_pwl") => "2",
                (_, "bn3") => "3",
                _ => return None,
            };
            let index = MOBILENET_STAGES.get(stage)?.checked_add(block)?;
            format!("features.{index}.conv.{part}")
        }
    };
    Some(format!("{own}.{tensor}"))
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
