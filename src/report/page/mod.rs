//! The report: one HTML file that needs nothing else, with every figure's table inside.

mod architecture;
mod cells;
mod cost;
mod detection;
mod log;
mod losses;
mod networks;
pub(super) mod pictures;
mod segmentation;
mod stages;
mod summary;
mod values;

use super::run::Run;
use super::svg::escape;
use crate::Result;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::path::{Path, PathBuf};

/// Bytes that a page should not exceed by much.
const LIMIT: usize = 9 << 20;
/// Name of the section with the pictures.
const PICTURES: &str = "samples";

/// The report of a run as HTML. Whatever the run lacks is named in the page.
pub fn render(run: &Run) -> String {
    let name = run.dir.file_name().map_or_else(
        || run.dir.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    );
    let mut sections = vec![
        ("summary", "Summary", summary::section(run)),
        ("cells", "Searched cells", cells::section(run)),
        (
            "alpha",
            "Architecture over time",
            architecture::section(run),
        ),
        ("losses", "Losses", losses::section(run)),
        ("detection", "Detection", detection::section(run)),
        ("segmentation", "Segmentation", segmentation::section(run)),
        (PICTURES, "Predictions", html! {}),
        ("cost", "Cost", cost::section(run)),
        ("events", "Events", log::events(run)),
        ("config", "Configuration", log::config(run)),
    ];
    let at = sections.iter().position(|s| s.0 == PICTURES);
    let at = at.expect("listed above");
    if let Some(body) = values::section(run) {
        sections.insert(at, ("values", "Values of pixels", body));
    }
    let taken: usize = sections.iter().map(|s| s.2.0.len()).sum();
    // Pictures take what is left, as four letters for three bytes.
    for section in sections.iter_mut().filter(|s| s.0 == PICTURES) {
        section.2 = pictures::section(run, LIMIT.saturating_sub(taken) / 4 * 3);
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (name) " \u{2013} mtnas report" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                nav aria-label="sections" {
                    div {
                        @for (id, title, _) in &sections { a href={ "#" (id) } { (title) } }
                        button #theme type="button" { "light / dark" }
                    }
                }
                div.head { (summary::head(run, &name)) }
                main {
                    @for (id, title, body) in &sections { section id=(id) { h2 { (title) } (body) } }
                    footer { "Written by mtnas " (env!("CARGO_PKG_VERSION")) ". This file needs no network; the table behind each figure is inside it." }
                }
                div #tip role="status" {}
                script { (PreEscaped(include_str!("script.js"))) }
            }
        }
    };
    page.into_string()
}

/// Renders the run in `dir` into the file `out`, which is replaced whole or not at all. Gives back what the run lacks, in
/// words. With `baselines`, finished runs of single tasks, the changes against them are shown, see [`super::delta::against`].
/// Errors: [`crate::Code::NotFound`] for a directory that is no run; those of the baselines; those of writing.
pub fn write(dir: &Path, out: &Path, baselines: &[PathBuf]) -> Result<Vec<String>> {
    let mut run = Run::open(dir)?;
    if !baselines.is_empty() {
        run.compare(&super::delta::read(baselines)?)?;
    }
    crate::files::write_atomic(out, render(&run).as_bytes())?;
    Ok(run.notes)
}

/// A drawing with its title, a remark and its table.
struct Figure<'a> {
    title: &'a str,
    note: &'a str,
    /// File name and content.
    csv: Option<(&'a str, String)>,
    body: Markup,
}

impl Figure<'_> {
    fn markup(self) -> Markup {
        html! {
            figure {
                figcaption {
                    b { (self.title) }
                    @if !self.note.is_empty() { span { (self.note) } }
                    @if let Some((name, text)) = &self.csv { (download(name, text)) }
                }
                (self.body)
            }
        }
    }
}

/// A link that holds a table.
fn download(name: &str, csv: &str) -> Markup {
    let mut href = String::from("data:text/csv;charset=utf-8,");
    for c in csv.chars() {
        match c {
            '\n' => href.push_str("%0A"),
            '\r' => href.push_str("%0D"),
            ' ' | '%' | '#' | '"' | '\'' | '<' | '>' | '&' | '\\' | '^' | '`' | '{' | '|' | '}' => {
                href.push_str(&format!("%{:02X}", c as u32))
            }
            c => href.push(c),
        }
    }
    html! { a.csv href=(PreEscaped(href)) download=(format!("{name}.csv")) { "CSV" } }
}

/// A field of a table: quoted if it has to be.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// A visible gap.
fn missing(what: &str) -> Markup {
    html! { p.missing { (what) ": not recorded." } }
}

/// SVG or other markup that is already escaped.
fn raw(text: String) -> Markup {
    PreEscaped(text)
}

/// A fraction in per cent with one decimal.
fn percent(v: Option<f64>) -> String {
    v.map_or("\u{2013}".into(), |v| format!("{:.1}", 100.0 * v))
}

/// 12345678 as `12.3 M`.
fn count(v: u64) -> String {
    let (v, unit) = match v {
        0..10_000 => return v.to_string(),
        10_000..1_000_000 => (v as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => (v as f64 / 1e6, "M"),
        _ => (v as f64 / 1e9, "G"),
    };
    let digits = if v >= 100.0 {
        0
    } else if v >= 10.0 {
        1
    } else {
        2
    };
    format!("{v:.digits$}\u{a0}{unit}")
}

/// 134 seconds as `2 min 14 s`.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "\u{2013}".into();
    }
    let s = seconds.round() as u64;
    match s {
        _ if seconds < 9.95 => format!("{seconds:.1}\u{a0}s"),
        0..60 => format!("{s}\u{a0}s"),
        60..3600 => format!("{}\u{a0}min {:02}\u{a0}s", s / 60, s % 60),
        3600..172_800 => format!("{}\u{a0}h {:02}\u{a0}min", s / 3600, s % 3600 / 60),
        _ => format!("{:.1}\u{a0}days", seconds / 86_400.0),
    }
}

/// Text with a button that copies it.
fn copyable(id: &str, text: &str) -> Markup {
    html! { pre { code id=(id) { (text) } " " button type="button" data-copy=(id) { "copy" } } }
}

/// Two bars for each name: the main value and, thinner, the other network's.
struct Bars<'a> {
    names: Vec<String>,
    /// Colour classes by name, or one for all.
    colour: &'a str,
    main: Vec<Option<f64>>,
    other: Option<Vec<Option<f64>>>,
    /// Names of the main and the other bars.
    labels: (&'a str, &'a str),
}

impl Bars<'_> {
    fn markup(&self) -> Markup {
        let bar = |v: Option<f64>, class: &str, k: &str| {
            let width = v.filter(|v| v.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0) * 100.0;
            // 3rem stay free for the number behind a full bar.
            html! { div class={ "track " (class) } { div class={ "fill " (k) } style=(format!("width:calc((100% - 3rem)*{:.4})", width / 100.0)) {} (percent(v)) } }
        };
        html! {
            @if self.other.is_some() {
                ul.legend {
                    li { (raw(swatch(self.colour))) (self.labels.0) }
                    li { (raw(swatch("k-random"))) (self.labels.1) }
                }
            }
            div.bars role="img" aria-label=(self.words()) {
                @for (i, name) in self.names.iter().enumerate() {
                    div.name { (name) }
                    div.pair {
                        (bar(self.main.get(i).copied().flatten(), "", self.colour))
                        @if let Some(other) = &self.other { (bar(other.get(i).copied().flatten(), "other", "k-random")) }
                    }
                }
            }
        }
    }

    fn words(&self) -> String {
        let one = |(i, n): (usize, &String)| {
            format!("{n} {}", percent(self.main.get(i).copied().flatten()))
        };
        self.names
            .iter()
            .enumerate()
            .map(one)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn swatch(class: &str) -> String {
    format!(
        "<svg class=\"swatch\" viewBox=\"0 0 26 8\" aria-hidden=\"true\"><path d=\"M1 4h24\" class=\"line {}\" style=\"stroke-width:6\"/></svg>",
        escape(class)
    )
}

#[cfg(test)]
mod tests;
