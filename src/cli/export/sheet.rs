//! What a file says of its network: cells, classes, preprocessing.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::arch;
use super::source::Source;
use crate::data::normalise::Normalise;

/// Text by name, in a fixed order.
pub(super) fn metadata(s: &Source, folded: bool) -> Vec<(String, String)> {
    let mut all = vec![
        ("format", "mtnas".to_string()),
        ("input", input(s).to_string()),
    ];
    if let Some(g) = &s.genotype {
        all.push(("genotype", arch::text(g)));
    }
    if !s.heads.is_empty() {
        let names = s.heads.iter().map(|h| (h.kind.to_string(), &h.classes));
        all.push((
            "classes",
            json!(names.collect::<BTreeMap<_, _>>()).to_string(),
        ));
    }
    if let Ok(d) = s.decoding() {
        let c = &d.config;
        let detection = json!({
            "priors": d.priors.len(), "variances": c.variances, "score": c.score, "iou": c.iou,
            "per_class": c.per_class, "per_image": c.per_image, "clip": c.clip,
        });
        all.push(("detection", detection.to_string()));
    }
    if folded {
        all.push(("folded", "batch normalisation".into()));
    }
    all.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
}

/// The normalisation of every task, ImageNet's for a genotype.
fn normalise(s: &Source) -> Vec<(String, Normalise)> {
    match s.heads.is_empty() {
        true => vec![("all".into(), Normalise::default())],
        false => s
            .heads
            .iter()
            .map(|h| (h.kind.to_string(), h.normalise))
            .collect(),
    }
}

fn input(s: &Source) -> serde_json::Value {
    let spec = s.net.spec();
    let of = |n: &Normalise| json!({"mean": n.mean, "std": n.std});
    let all: BTreeMap<String, _> = normalise(s)
        .iter()
        .map(|(k, n)| (k.clone(), of(n)))
        .collect();
    let mut v = json!({
        "name": "image", "layout": "NCHW", "channels": "RGB", "height": spec.height, "width": spec.width,
        "values": "(rgb / 255 - mean) / std", "normalise": all,
    });
    if let Some(share) = centre(s) {
        v["centre"] = json!(share);
    }
    v
}

/// The share of the shorter side of which the middle square is seen, of a network that looks at a part.
fn centre(s: &Source) -> Option<f64> {
    s.heads.iter().find_map(|h| h.centre)
}

/// The input in a sentence.
pub(super) fn input_doc(s: &Source) -> String {
    let spec = s.net.spec();
    let each: Vec<String> = normalise(s)
        .iter()
        .map(|(name, n)| format!("{name}: mean {:?}, std {:?}", n.mean, n.std))
        .collect();
    let part = match centre(s) {
        Some(share) => format!("the middle square of {share} of the shorter side"),
        None => "the whole picture".into(),
    };
    format!(
        "`image` is (N, 3, {}, {}), RGB, {part} resized, normalised already: (rgb / 255 - mean) / std; {}.",
        spec.height,
        spec.width,
        each.join("; ")
    )
}

/// First comment of a `model.py`.
pub(super) fn about(s: &Source) -> String {
    let spec = s.net.spec();
    let frame = spec.frame.frame;
    let cells = s.genotype.as_ref().map(arch::text);
    let cells = cells.map_or(String::new(), |text| format!("\nCells:\n\n{text}"));
    format!(
        "Network `{frame}` written by mtnas {}.\n\n{}\n{cells}",
        env!("CARGO_PKG_VERSION"),
        input_doc(s),
    )
}
