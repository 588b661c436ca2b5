//! The searched cells, drawn.

use super::super::cell::{Cell, label};
use super::super::history::{History, primitive_name};
use super::super::records::*;
use super::super::run::Run;
use super::{Figure, copyable, field, missing, raw};
use crate::space::genotype::{INPUTS, edge_range};
use crate::space::{Genotype, Primitive};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Genotype texts of the run's result: of the evaluated network, else of the latest stage that knows each set, else of the
/// last architecture parameters.
fn texts(run: &Run) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for a in &run.alpha {
        all.insert(a.set.name().to_string(), a.genotype.clone());
    }
    for s in &run.stages {
        all.extend(s.genotypes.clone());
    }
    if let Some(e) = run.result() {
        all.extend(e.genotypes.clone());
    }
    all
}

fn set_title(set: &str) -> &str {
    match set {
        "backbone" => "Backbone",
        "det" => "Detection branch",
        "seg" => "Segmentation branch",
        other => other,
    }
}

/// The section.
pub fn section(run: &Run) -> Markup {
    let texts = texts(run);
    if texts.is_empty() {
        return missing("Genotypes");
    }
    let random = run
        .eval(Which::Random)
        .map(|e| e.genotypes.clone())
        .unwrap_or_default();
    html! {
        p {
            "A node adds the results of its two operations; the cell's output is the concatenation of its nodes. c\u{2096}\u{208b}\u{2082} and c\u{2096}\u{208b}\u{2081} are the "
            "outputs of the two cells before. Rest on an operation to see how sure the search was of it."
        }
        ul.primitives { @for p in Primitive::ALL.iter().filter(|p| p.name() != "none") { li class={ "p-" (p) } { (p.name()) } } }
        @for (set, text) in &texts { (searched(run, set, text)) }
        @if !random.is_empty() {
            details {
                summary { "The cells of the random network" }
                @for (set, text) in &random {
                    @if let Ok(g) = text.parse::<Genotype>() {
                        h3 { (set_title(set)) ", random" }
                        div.flow { @for kind in [CellKind::Normal, CellKind::Reduce] { (drawing(set, "random network", &g, kind, &|_| None)) } }
                    }
                }
            }
        }
    }
}

fn searched(run: &Run, set: &str, text: &str) -> Markup {
    let genotype = match text.parse::<Genotype>() {
        Ok(g) => g,
        Err(e) => {
            return html! { h3 { (set_title(set)) } p.missing { "The genotype cannot be read: " (e.message()) } pre { (text) } };
        }
    };
    // The last stage that moved this set's parameters.
    let stage = run
        .alpha
        .iter()
        .rfind(|a| a.set.name() == set)
        .map(|a| a.stage.clone());
    let history = |kind| {
        History::new(
            kind,
            run.alpha
                .iter()
                .filter(|a| Some(&a.stage) == stage.as_ref() && a.set.name() == set),
        )
    };
    html! {
        h3 { (set_title(set)) }
        div.flow {
            @for kind in [CellKind::Normal, CellKind::Reduce] {
                @let h = history(kind);
                (drawing(set, "", &genotype, kind, &|slot| h.as_ref().and_then(|h| hint(h, &genotype, kind, slot))))
            }
        }
        details { summary { "Genotype text" } (copyable(&format!("genotype-{set}"), text)) }
    }
}

/// What the last architecture parameters say about one kept operation.
fn hint(history: &History, genotype: &Genotype, kind: CellKind, slot: usize) -> Option<String> {
    let last = history.all.last()?;
    let (op, from) = genotype.cell(kind == CellKind::Reduce)[slot];
    if from >= slot / 2 + INPUTS {
        return None;
    }
    let edge = edge_range(slot / 2).start + from;
    let row = last.p.get(edge)?;
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let of = |c: usize| format!("{:.2} {}", row[c], primitive_name(c));
    let this = op.index();
    let mut text = format!("softmax of alpha: {}", of(this));
    let others: Vec<String> = order
        .iter()
        .filter(|c| **c != this)
        .take(3)
        .map(|c| of(*c))
        .collect();
    text += &format!("\nnext: {}", others.join(", "));
    if let Some(b) = last.beta.get(edge) {
        text += &format!("\nedge weight (softmax of beta): {b:.2}");
    }
    Some(text)
}

fn drawing(
    set: &str,
    whose: &str,
    genotype: &Genotype,
    kind: CellKind,
    hint: &dyn Fn(usize) -> Option<String>,
) -> Markup {
    let reduction = kind == CellKind::Reduce;
    let ops = genotype.cell(reduction);
    let title = if reduction {
        "Reduction cell"
    } else {
        "Normal cell"
    };
    let mut csv = String::from("node,operation,from,how_sure\n");
    for (i, (op, from)) in ops.iter().enumerate() {
        csv += &format!(
            "{},{op},{from},{}\n",
            i / 2,
            field(&hint(i).unwrap_or_default().replace('\n', "; "))
        );
    }
    let note = match reduction {
        true => "stride 2 on what reads c\u{2096}\u{208b}\u{2082} or c\u{2096}\u{208b}\u{2081}",
        false => "",
    };
    let full = format!("{} {} {}", set_title(set), whose, title.to_lowercase());
    let svg = Cell {
        title: &full,
        ops,
        concat: genotype.concat(reduction),
        hint,
    }
    .svg();
    let name = format!(
        "cell-{set}-{}{}",
        kind.name(),
        if whose.is_empty() { "" } else { "-random" }
    );
    debug_assert!(ops.iter().all(|o| svg.contains(label(o.0))));
    Figure {
        title,
        note,
        csv: Some((&name, csv)),
        body: html! { div.scroll { (raw(svg)) } },
    }
    .markup()
}
