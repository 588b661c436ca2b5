//! What was searched, what came out of it, how long it took, and how to repeat it.

use super::super::records::*;
use super::super::run::Run;
use super::{copyable, count, download, duration, field, missing, percent};
use maud::{Markup, html};

/// Title, state, and what could not be read.
pub fn head(run: &Run, name: &str) -> Markup {
    let manifest = run.manifest.as_ref();
    html! {
        h1 { (name) }
        p.sub {
            "mtnas report"
            @if let Some(m) = manifest {
                " \u{b7} " (state(m.status)) " \u{b7} seed " (m.seed) " \u{b7} version " (m.version)
                @if !m.instruction_set.is_empty() { " \u{b7} arithmetic " (m.instruction_set) }
            }
        }
        @if !run.notes.is_empty() {
            div.notes role="note" {
                "Not everything of this run could be read:"
                ul { @for note in &run.notes { li { (note) } } }
            }
        }
    }
}

fn state(status: Status) -> Markup {
    let text = match status {
        Status::Done => return html! { "finished" },
        Status::Running => "not finished: still running, or killed",
        Status::Interrupted => "interrupted; it can be resumed",
        Status::Failed => "failed",
        Status::Diverged => "diverged",
    };
    html! { span.tag.warn { (text) } }
}

/// The first section.
pub fn section(run: &Run) -> Markup {
    html! {
        (tiles(run))
        @if let Some(m) = &run.manifest {
            @if !m.about.is_empty() { dl.facts { @for (name, text) in &m.about { dt { (name) } dd { (text) } } } }
        }
        h3 { "Networks" }
        (networks(run))
        h3 { "Stages" }
        (stages(run))
        h3 { "Repeat" }
        p { "The resolved configuration at the end of this page is enough to repeat the run; equal seeds give equal bits on the same instruction set." }
        (copyable("repeat", &repeat(run)))
    }
}

fn repeat(run: &Run) -> String {
    match &run.manifest {
        Some(m) if !m.command.is_empty() => m.command.clone(),
        _ => format!("mtnas search {}", run.dir.join("run.toml").display()),
    }
}

fn tiles(run: &Run) -> Markup {
    let Some(result) = run.result() else {
        return missing("Final results");
    };
    let random = run.eval(Which::Random);
    let gain = |now: Option<f64>, then: Option<f64>| match (now, then) {
        (Some(a), Some(b)) => Some(format!(
            "{:+.1} against the random network",
            100.0 * (a - b)
        )),
        _ => None,
    };
    let map = map(result);
    let miou = miou(result);
    let seconds: f64 = run
        .stage_names()
        .iter()
        .filter_map(|s| run.seconds(s))
        .sum();
    html! {
        div.tiles {
            @if let Some(d) = &result.detection {
                div.tile { b { (percent(map)) span.unit { " %" } } "mAP, " code { (d.main) } @if let Some(g) = gain(map, random.and_then(self::map)) { br; small { (g) } } }
            }
            @if let Some(s) = &result.segmentation {
                div.tile { b { (percent(miou)) span.unit { " %" } } "mIoU, " code { (s.main) } @if let Some(g) = gain(miou, random.and_then(self::miou)) { br; small { (g) } } }
            }
            @if let Some(c) = &result.classification {
                div.tile { b { (percent(Some(c.top1))) span.unit { " %" } } "top-1 accuracy" }
            }
            @if let Some(c) = &result.cost {
                div.tile { b { (count(c.params)) } "parameters" }
                div.tile { b { (format!("{:.3}", c.gflops)) } "GFLOPs at " (c.input[0]) " \u{d7} " (c.input[1]) br; small { "2 \u{d7} convolution MACs" } }
            }
            @if seconds > 0.0 { div.tile { b { (duration(seconds)) } "whole run, wall clock" } }
        }
    }
}

fn map(e: &EvalRecord) -> Option<f64> {
    e.detection
        .as_ref()
        .and_then(|d| d.protocols.get(&d.main))
        .and_then(|p| p.mean)
}

fn miou(e: &EvalRecord) -> Option<f64> {
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
fn networks(run: &Run) -> Markup {
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
    head.extend(protocols.iter().map(|p| format!("mAP {p} %")));
    head.extend(rules.iter().map(|r| format!("mIoU {r} %")));
    if segmented {
        head.push("pixels right %".into());
    }
    if top {
        head.extend(["top-1 %".to_string(), "top-5 %".to_string()]);
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
            table {
                thead { tr { th { (head[0]) } @for h in &head[2..] { th { (breakable(h)) } } } }
                tbody { @for (best, row) in &rows { tr class=[best.then_some("best")] { td { (row[0]) small { (row[1]) } } @for c in &row[2..] { td { (c) } } } } }
            }
        }
        (gap(run))
        p { (download("networks", &csv)) }
        @if run.eval(Which::Random).is_none() { (missing("The random network's results")) }
    }
}

/// A heading over two lines: what, then by which rule.
fn breakable(head: &str) -> Markup {
    match head.split_once(' ') {
        Some((first, rest)) => html! { (first) br; (rest) },
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

fn why(stopped: &str) -> &str {
    match stopped {
        "budget" => "all planned steps done",
        "stable" => "derived cell stayed the same",
        "skips" => "too many skip-connects",
        "done" => "done",
        other => other,
    }
}

fn stages(run: &Run) -> Markup {
    let names = run.stage_names();
    if names.is_empty() {
        return missing("Stages");
    }
    let seconds: Vec<Option<f64>> = names.iter().map(|n| run.seconds(n)).collect();
    let total: f64 = seconds.iter().flatten().sum();
    let longest = seconds.iter().flatten().copied().fold(1e-9, f64::max);
    let rate = |name: &str| {
        let rates: Vec<f64> = run
            .timing
            .iter()
            .filter(|t| t.stage == name)
            .filter_map(|t| t.images_per_s)
            .filter(|r| r.is_finite())
            .collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64)
    };
    let mut csv = String::from("stage,steps,planned,ended_because,seconds,images_per_second\n");
    let rows: Vec<Markup> = names
        .iter()
        .zip(&seconds)
        .map(|(name, time)| {
            let record = run.stages.iter().find(|s| &s.stage == name);
            let steps = record.map(|r| (r.steps, r.planned)).or_else(|| {
                let last = run.metrics.iter().filter(|m| &m.stage == name).map(|m| (m.step, m.steps)).max();
                last.filter(|l| l.1 > 0)
            });
            let stopped = record.map_or("\u{2013}", |r| why(&r.stopped));
            let (done, planned) = steps.map_or((String::new(), String::new()), |s| (s.0.to_string(), s.1.to_string()));
            csv += &format!("{name},{done},{planned},{},{},{}\n", field(stopped), time.map_or(String::new(), |t| format!("{t:.1}")), rate(name).map_or(String::new(), |r| format!("{r:.1}")));
            html! {
                tr {
                    td { (name) }
                    td { @match steps { Some((a, b)) => { (a) " of " (b) } None => "\u{2013}" } }
                    td.l { (stopped) }
                    td { (rate(name).map_or("\u{2013}".to_string(), |r| format!("{r:.1}"))) }
                    td { (time.map_or("not recorded".to_string(), duration)) }
                    td.l style="min-width:9rem" { @if let Some(t) = time { span.bar style=(format!("width:{:.1}%", 100.0 * t / longest)) {} } }
                }
            }
        })
        .collect();
    html! {
        div.scroll {
            table {
                thead { tr { th { "stage" } th { "steps" } th.l { "ended because" } th { "images / s" } th { "time" } th {} } }
                tbody {
                    @for row in &rows { (row) }
                    tr.total { td { "all" } td {} td {} td {} td { (if total > 0.0 { duration(total) } else { "not recorded".into() }) } td {} }
                }
            }
        }
        p { (download("stages", &csv)) }
    }
}
