//! What was searched, what came out of it, how long it took, and how to repeat it.

use super::super::records::*;
use super::super::run::Run;
use super::networks::{map, miou, networks};
use super::stages::stages;
use super::{copyable, count, duration, missing, percent};
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
        @if let Some(d) = run.result().and_then(|e| e.delta.as_ref()) { (changes(d)) }
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

/// Relative changes against networks of one task each.
fn changes(d: &DeltaEval) -> Markup {
    let percent = |v: f64| format!("{v:+.2} %");
    html! {
        p {
            b { "Against networks of one task each: " } "\u{394}m " (d.mean.map_or("\u{2013}".to_string(), percent))
            @for (task, v) in &d.tasks { ", " (task) " " (percent(*v)) }
            "."
        }
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
                div.tile { b { (percent(map)) span.unit { " %" } } "mAP, " code { (d.main) } @if let Some(g) = gain(map, random.and_then(super::networks::map)) { br; small { (g) } } }
            }
            @if let Some(s) = &result.segmentation {
                div.tile { b { (percent(miou)) span.unit { " %" } } "mIoU, " code { (s.main) } @if let Some(g) = gain(miou, random.and_then(super::networks::miou)) { br; small { (g) } } }
            }
            @if let Some(c) = &result.classification {
                div.tile { b { (percent(Some(c.top1))) span.unit { " %" } } "top-1 accuracy" }
            }
            @for (task, v) in &result.values {
                @if let Some(f) = v.figures.first() { div.tile { b { (f.text()) } (task) ", " (f.name) } }
            }
            @if let Some(c) = &result.cost {
                div.tile { b { (count(c.params)) } "parameters" }
                div.tile { b { (format!("{:.3}", c.gflops)) } "GFLOPs at " (c.input[0]) " \u{d7} " (c.input[1]) br; small { "2 \u{d7} convolution MACs" } }
            }
            @if seconds > 0.0 { div.tile { b { (duration(seconds)) } "whole run, wall clock" } }
        }
    }
}
