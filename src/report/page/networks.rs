//! All evaluated networks beside each other, and the gap between supernet and derived network.

use super::super::records::*;
use super::super::run::Run;
use super::{count, download, field, missing, percent};
use maud::{Markup, html};

/// mAP of the main protocol.
pub fn map(e: &EvalRecord) -> Option<f64> {
    e.detection
        .as_ref()
        .and_then(|d| d.protocols.get(&d.main))
        .and_then(|p| p.mean)
}

/// mIoU of the main rule.
pub fn miou(e: &EvalRecord) -> Option<f64> {
    e.segmentation
        .as_ref()
        .and_then(|s| s.miou.get(&s.main))
        .copied()
}

/// The names of an ordered union.
fn union<'a>(lists: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = lists.cloned().collect();
    all.sort();
    all.dedup();
    all
}

fn meaning(which: Which) -> &'static str {
    match which {
        Which::Searched => "derived from the search, finetuned",
        Which::Random => "random genotype, same finetune",
        Which::Supernet => "all operations mixed, end of the search",
        Which::Derived => "derived, before any finetune",
        Which::Given => "given network",
    }
}

/// All evaluated networks beside each other: results by protocol, then cost.
pub fn networks(run: &Run) -> Markup {
    if run.evals.is_empty() {
        return missing("Results");
    }
    let order = [
        Which::Searched,
        Which::Given,
        Which::Random,
        Which::Supernet,
        Which::Derived,
    ];
    let list: Vec<&EvalRecord> = order
        .iter()
        .flat_map(|w| run.evals.iter().filter(move |e| e.which == *w))
        .collect();
    let mains = |names: Vec<String>, main: &str| -> Vec<String> {
        let (first, rest): (Vec<String>, Vec<String>) = names.into_iter().partition(|n| n == main);
        first.into_iter().chain(rest).collect()
    };
    let main = list
        .iter()
        .find_map(|e| e.detection.as_ref())
        .map_or("", |d| &d.main);
    let protocols = mains(
        union(
            list.iter()
                .filter_map(|e| e.detection.as_ref())
                .flat_map(|d| d.protocols.keys()),
        ),
        main,
    );
    let main = list
        .iter()
        .find_map(|e| e.segmentation.as_ref())
        .map_or("", |s| &s.main);
    let rules = mains(
        union(
            list.iter()
                .filter_map(|e| e.segmentation.as_ref())
                .flat_map(|s| s.miou.keys()),
        ),
        main,
    );
    let top = list.iter().any(|e| e.classification.is_some());
    let segmented = list.iter().any(|e| e.segmentation.is_some());
    let mut head = vec!["network".to_string(), "what it is".to_string()];
    head.extend(protocols.iter().map(|p| format!("mAP {p}")));
    head.extend(rules.iter().map(|r| format!("mIoU {r}")));
    if segmented {
        head.push("pixels right".into());
    }
    if top {
        head.extend(["top-1".to_string(), "top-5".to_string()]);
    }
    head.extend(["parameters", "conv MACs", "GFLOPs"].map(String::from));
    let rows: Vec<(bool, Vec<String>)> =
        list.iter()
            .map(|e| {
                let mut row = vec![e.which.name().to_string(), meaning(e.which).to_string()];
                let ap = |p| {
                    e.detection
                        .as_ref()
                        .and_then(|d| d.protocols.get(p))
                        .and_then(|r| r.mean)
                };
                row.extend(protocols.iter().map(|p| percent(ap(p))));
                row.extend(rules.iter().map(|r| {
                    percent(e.segmentation.as_ref().and_then(|s| s.miou.get(r)).copied())
                }));
                if segmented {
                    row.push(percent(e.segmentation.as_ref().map(|s| s.pixel_accuracy)));
                }
                if top {
                    row.push(percent(e.classification.as_ref().map(|c| c.top1)));
                    row.push(percent(e.classification.as_ref().map(|c| c.top5)));
                }
                let cost =
                    |f: &dyn Fn(&Cost) -> String| e.cost.as_ref().map_or("\u{2013}".to_string(), f);
                row.extend([
                    cost(&|c| count(c.params)),
                    cost(&|c| count(c.conv_macs)),
                    cost(&|c| format!("{:.3}", c.gflops)),
                ]);
                (matches!(e.which, Which::Searched | Which::Given), row)
            })
            .collect();
    let csv: String = std::iter::once(&head)
        .chain(rows.iter().map(|r| &r.1))
        .map(|r| {
            r.iter()
                .map(|c| field(&c.replace('\u{a0}', " ")))
                .collect::<Vec<_>>()
                .join(",")
                + "\n"
        })
        .collect();
    html! {
        div.scroll {
            table.tight {
                thead { tr { th { (head[0]) } @for h in &head[2..] { th { (breakable(h)) } } } }
                tbody { @for (best, row) in &rows { tr class=[best.then_some("best")] { td { (row[0]) small { (row[1]) } } @for c in &row[2..] { td { (c) } } } } }
            }
        }
        p.muted { "Results in %; the main protocol and rule come first." }
        (gap(run))
        p { (download("networks", &csv)) }
        @if run.eval(Which::Random).is_none() { (missing("The random network's results")) }
    }
}

/// A heading over two lines: what, then by which rule.
fn breakable(head: &str) -> Markup {
    match head.split_once(' ') {
        Some((first, rest)) => html! { (first) br; (rest.replace('-', "\u{2011}\u{200b}")) },
        None => html! { (head) },
    }
}

/// What is lost between supernet and derived network, and what the finetune brings back.
fn gap(run: &Run) -> Markup {
    let (Some(supernet), Some(derived)) = (run.eval(Which::Supernet), run.eval(Which::Derived))
    else {
        return missing("Supernet-to-derived gap");
    };
    let mut parts = Vec::new();
    for (name, of) in [
        ("mAP", map as fn(&EvalRecord) -> Option<f64>),
        ("mIoU", miou),
    ] {
        if let (Some(a), Some(b)) = (of(supernet), of(derived)) {
            let after = run
                .eval(Which::Searched)
                .and_then(of)
                .map_or(String::new(), |c| {
                    format!(", {:.1} after the finetune", 100.0 * c)
                });
            parts.push(format!(
                "{name} {:.1} in the supernet, {:.1} derived (gap {:.1}){after}",
                100.0 * a,
                100.0 * b,
                100.0 * (a - b)
            ));
        }
    }
    if parts.is_empty() {
        return missing("Supernet-to-derived gap");
    }
    html! { p { b { "Supernet-to-derived gap: " } (parts.join("; ")) "." } }
}
