//! What one forward pass costs, by part of the network; what a search expects it to cost.

use super::super::chart::Series;
use super::super::records::*;
use super::super::run::Run;
use super::{count, download, field, missing};
use maud::{Markup, html};

/// The section.
pub fn section(run: &Run) -> Markup {
    let list: Vec<(Which, &Cost)> = [Which::Searched, Which::Given, Which::Random]
        .into_iter()
        .filter_map(|w| run.eval(w).and_then(|e| e.cost.as_ref()).map(|c| (w, c)))
        .collect();
    let Some((_, first)) = list.first() else {
        return missing("Cost");
    };
    let mut parts: Vec<&str> = first.parts.iter().map(|p| p.part.as_str()).collect();
    for (_, c) in &list {
        for p in &c.parts {
            if !parts.contains(&p.part.as_str()) {
                parts.push(&p.part);
            }
        }
    }
    let of = |c: &Cost, part: &str| c.parts.iter().find(|p| p.part == part).cloned();
    let mut csv = String::from("network,part,params,conv_macs\n");
    for (w, c) in &list {
        for p in &c.parts {
            csv += &format!(
                "{},{},{},{}\n",
                w.name(),
                field(&p.part),
                p.params,
                p.conv_macs
            );
        }
        csv += &format!("{},all,{},{}\n", w.name(), c.params, c.conv_macs);
    }
    let most = list
        .iter()
        .flat_map(|(_, c)| c.parts.iter().map(|p| p.conv_macs))
        .max()
        .unwrap_or(1)
        .max(1);
    html! {
        p { "One image of " (first.input[0]) " \u{d7} " (first.input[1]) " pixels. MACs count the multiply-adds of convolution and linear layers; GFLOPs = 2 \u{d7} those MACs." }
        div.scroll {
            table {
                thead {
                    tr { th { "part" } @for (w, _) in &list { th { (w.name()) br; "parameters" } th { (w.name()) br; "MACs" } th.l {} } }
                }
                tbody {
                    @for part in &parts {
                        tr {
                            td { (part) }
                            @for (w, c) in &list {
                                @match of(c, part) {
                                    Some(p) => { td { (count(p.params)) } td { (count(p.conv_macs)) } td.l style="min-width:7rem" { span.bar style=(format!("width:{:.1}%;{}", 100.0 * p.conv_macs as f64 / most as f64, if *w == Which::Random { "background:var(--random)" } else { "" })) {} } }
                                    None => { td { "\u{2013}" } td { "\u{2013}" } td {} }
                                }
                            }
                        }
                    }
                    tr.total { td { "all" } @for (_, c) in &list { td { (count(c.params)) } td { (count(c.conv_macs)) } td.l { (format!("{:.3} GFLOPs", c.gflops)) } } }
                }
            }
        }
        p { (download("cost", &csv)) }
    }
}

/// What the searched operations are expected to cost over the steps: one for all tasks.
pub(super) fn expected(records: &[&MetricRecord]) -> Vec<Series> {
    let costs = records.iter();
    let points: Vec<(f64, f64)> = costs
        .filter_map(|m| m.cost.map(|v| (m.step as f64, v)))
        .collect();
    if points.is_empty() {
        return vec![];
    }
    vec![Series {
        name: "expected cost".into(),
        colour: "q7".into(),
        dashed: false,
        smooth: false,
        points,
    }]
}
