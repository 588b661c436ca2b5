//! How the architecture parameters moved: strips, heat maps with a slider, entropy, shares.

use super::super::chart::{Chart, Series};
use super::super::history::History;
use super::super::records::*;
use super::super::run::Run;
use super::{Figure, missing, raw};
use crate::space::Primitive;
use maud::{Markup, PreEscaped, html};

/// Marks of changes in a chart; of more every n-th is shown.
const MARKS: usize = 60;
/// Small heat maps shown of each cell kind.
const SMALL: usize = 5;

/// The section: one block for every stage that searched, and set.
pub fn section(run: &Run) -> Markup {
    let mut blocks: Vec<(&str, AlphaSet)> = Vec::new();
    for a in &run.alpha {
        if !blocks.contains(&(a.stage.as_str(), a.set)) {
            blocks.push((&a.stage, a.set));
        }
    }
    if blocks.is_empty() {
        return missing("Architecture parameters");
    }
    html! {
        p {
            "Softmax over the candidate operations of every edge. Framed cells are what the derived cell keeps at that step; the rule never keeps "
            code { "none" } " and takes two edges a node, by strength times edge weight. In the strips a tall bar is an edge that the derived cell keeps, a fuller "
            "colour is a surer choice, and a triangle marks a step at which the derived cell changed."
        }
        @for (stage, set) in blocks { (block(run, stage, set)) }
    }
}

fn block(run: &Run, stage: &str, set: AlphaSet) -> Markup {
    let of = |kind| {
        History::new(
            kind,
            run.alpha
                .iter()
                .filter(|a| a.stage == stage && a.set == set),
        )
    };
    let histories: Vec<History> = [CellKind::Normal, CellKind::Reduce]
        .into_iter()
        .filter_map(of)
        .collect();
    let title = format!("{stage}: {} cells", set.name());
    let Some(first) = histories.first() else {
        return html! { h3 { (title) } (missing("Parameters of a cell")) };
    };
    let last_step = first.all.last().map_or(0, |s| s.step);
    let longest = histories.iter().map(|h| h.shown().len()).max().unwrap_or(1);
    let json: Vec<String> = histories
        .iter()
        .map(|h| format!("\"{}\":{}", h.kind.name(), h.json()))
        .collect();
    html! {
        h3 { (title) }
        @for h in &histories {
            @if h.still() { p.muted { "The " (kind_title(h.kind)) " cell's parameters did not move: no cell of that kind is trained in this stage." } }
        }
        (legend())
        div.grid {
            @for h in &histories {
                @let name = format!("strongest-{stage}-{}-{}", set.name(), h.kind.name());
                (Figure {
                    title: &format!("Strongest operation, {} cell", kind_title(h.kind)),
                    note: "",
                    csv: Some((&name, h.strip_csv())),
                    body: raw(h.strip(&format!("strongest operation of every edge over the steps of {stage}, {} cell", kind_title(h.kind)))),
                }.markup())
            }
        }
        div data-history="" {
            (PreEscaped(format!("<script type=\"application/json\">{{{}}}</script>", json.join(","))))
            div.slider {
                button type="button" { "play" }
                input type="range" min="0" max=(longest - 1) value=(longest - 1) aria-label="step";
                output { "step " (last_step) }
            }
            div.flow {
                @for h in &histories {
                    @let name = format!("alpha-{stage}-{}-{}", set.name(), h.kind.name());
                    (Figure {
                        title: &format!("Probabilities, {} cell", kind_title(h.kind)),
                        note: "the table holds all steps of the slider",
                        csv: Some((&name, h.csv())),
                        body: html! { div.scroll { (raw(h.map(&format!("probability of every operation on every edge, {} cell", kind_title(h.kind))))) } },
                    }.markup())
                }
            }
        }
        div.flow { @for h in &histories { (minis(h)) } }
        div.grid { (curves(stage, set, &histories)) }
    }
}

fn kind_title(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Normal => "normal",
        CellKind::Reduce => "reduction",
    }
}

fn legend() -> Markup {
    html! { ul.primitives { @for p in Primitive::ALL.iter().filter(|p| **p != Primitive::Zero) { li class={ "p-" (p) } { (p) } } } }
}

fn minis(h: &History) -> Markup {
    let n = h.all.len();
    let mut picked: Vec<usize> = (0..SMALL).map(|i| i * (n - 1) / (SMALL - 1)).collect();
    picked.dedup();
    html! {
        figure {
            figcaption { b { "Over time, " (kind_title(h.kind)) " cell" } span { "rows and columns as above" } }
            div.minis { @for i in picked { div { (raw(h.small(i, &format!("step {}", h.all[i].step)))) "step " (h.all[i].step) } } }
        }
    }
}

fn curves(stage: &str, set: AlphaSet, histories: &[History]) -> Markup {
    let changes = || {
        let all = histories.iter().flat_map(|h| {
            h.changes.iter().map(|s| {
                (
                    *s as f64,
                    format!("step {s}: the derived {} cell changed", kind_title(h.kind)),
                )
            })
        });
        let all: Vec<(f64, String)> = all.collect();
        let every = all.len().div_ceil(MARKS).max(1);
        all.into_iter().step_by(every).collect::<Vec<_>>()
    };
    let line = |h: &History, name: String, dashed, points| Series {
        name,
        colour: h.kind.name().into(),
        dashed,
        smooth: false,
        points,
    };
    let even = (Primitive::ALL.len() as f64).ln();
    let entropy = Chart {
        label: format!("entropy of the operations over the steps of {stage}"),
        x: "step".into(),
        y: "mean entropy (nats)".into(),
        series: histories
            .iter()
            .map(|h| {
                line(
                    h,
                    format!("{} cell", kind_title(h.kind)),
                    false,
                    h.entropy(),
                )
            })
            .collect(),
        marks: changes(),
        y_range: Some((0.0, even * 1.08)),
        reference: Some((even, "all equal: ln 8".into())),
        ..Chart::default()
    };
    let mut series = Vec::new();
    for h in histories {
        series.push(line(
            h,
            format!("skip, {} cell", kind_title(h.kind)),
            false,
            h.share(&["skip_connect"]),
        ));
        series.push(line(
            h,
            format!("pooling, {} cell", kind_title(h.kind)),
            true,
            h.share(&["max_pool_3x3", "avg_pool_3x3"]),
        ));
    }
    let shares = Chart {
        label: format!("share of skip-connects and poolings over the steps of {stage}"),
        x: "step".into(),
        y: "share of the kept operations".into(),
        series,
        y_range: Some((0.0, 1.0)),
        ..Chart::default()
    };
    html! {
        (super::losses::figure("Entropy", "mean over the edges", &format!("entropy-{stage}-{}", set.name()), &entropy))
        (super::losses::figure("Collapse monitor", "skip-connects and poolings in the derived cell", &format!("shares-{stage}-{}", set.name()), &shares))
    }
}
