//! The cells of a network as one SVG file that stands alone: the drawings of the page, with their colours filled in.

use super::cell::Cell;
use super::svg::escape;
use crate::space::{NetworkGenotype, Primitive};

const PAGE: &str = include_str!("page/style.css");
/// Pixels around the drawings and between them.
const MARGIN: f64 = 16.0;
/// Pixels for the line above a drawing.
const TITLE: f64 = 26.0;

/// The normal and the reduction cell of every part, one below the other.
pub fn network(genotype: &NetworkGenotype) -> String {
    let (mut body, mut width, mut y) = (String::new(), 0.0f64, MARGIN);
    for (name, g) in genotype.parts() {
        for reduction in [false, true] {
            let kind = if reduction { "reduction" } else { "normal" };
            let title = format!("{name}, {kind} cell");
            let drawing = Cell {
                title: &title,
                ops: g.cell(reduction),
                concat: g.concat(reduction),
                hint: &|_| None,
            }
            .svg();
            let [w, h] = ["width", "height"].map(|key| number(&drawing, key));
            body += &format!(
                "<text x=\"{MARGIN}\" y=\"{}\" class=\"heading\">{}</text>\n",
                y + 15.0,
                escape(&title)
            );
            y += TITLE;
            body += &drawing.replacen("<svg ", &format!("<svg x=\"{MARGIN}\" y=\"{y}\" "), 1);
            body.push('\n');
            y += h + MARGIN;
            width = width.max(w + 2.0 * MARGIN);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\">\n\
         <style>\n{}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n{body}</svg>\n",
        style(),
        colour("bg")
    )
}

/// The first attribute `key` of a drawing.
fn number(svg: &str, key: &str) -> f64 {
    let from = format!(" {key}=\"");
    svg.split_once(&from)
        .and_then(|(_, rest)| rest.split('"').next()?.parse().ok())
        .unwrap_or(0.0)
}

/// The rules of the page that drawings of cells need. Not every viewer of SVG knows variables: they are filled in.
fn style() -> String {
    let [bg, fg, muted, soft] = ["bg", "fg", "muted", "soft"].map(colour);
    let mut css = format!(
        "text {{ font: 13px system-ui, \"DejaVu Sans\", sans-serif; fill: {fg}; }} .heading {{ font-weight: 700; }}\n\
         .middle {{ text-anchor: middle; }} .nodetext {{ font-weight: 600; }} .index {{ font-size: 10px; }}\n\
         .wire {{ fill: none; stroke-width: 2.6; }} .halo {{ fill: none; stroke: {bg}; stroke-width: 6.4; }}\n\
         .pilltext {{ font-size: 12px; font-weight: 600; }}\n\
         .node {{ fill: {bg}; stroke: {fg}; stroke-width: 1.6; }} .node.input {{ fill: {soft}; stroke: {muted}; }}\n\
         .concat {{ stroke: {muted}; stroke-width: 1.4; stroke-dasharray: 3 3; }} .bar {{ fill: {muted}; }}\n"
    );
    for &p in Primitive::ALL {
        let ink = property(rule_of(p), "--ink");
        let own = colour_of(p);
        css += &format!(
            ".p-{p} .wire {{ stroke: {own}; }} .p-{p} .pill {{ fill: {own}; }} .p-{p} .pilltext {{ fill: {ink}; }}\n"
        );
    }
    css
}

/// The page's rule of an operation.
fn rule_of(p: Primitive) -> &'static str {
    block(&format!(".p-{} {{", p.name()))
}

/// The colour of an operation on a light ground.
pub(super) fn colour_of(p: Primitive) -> &'static str {
    let own = property(rule_of(p), "--k");
    colour(own.trim_start_matches("var(--").trim_end_matches(')'))
}

/// What stands between the braces of a rule of the page.
fn block(head: &str) -> &'static str {
    PAGE.split_once(head)
        .and_then(|(_, rest)| rest.split('}').next())
        .unwrap_or("")
}

/// The value of a property in a block.
fn property<'a>(block: &'a str, name: &str) -> &'a str {
    let from = format!("{name}:");
    block
        .split_once(&from)
        .and_then(|(_, rest)| rest.split(';').next())
        .map_or("", str::trim)
}

/// A colour of the page's light theme.
fn colour(name: &str) -> &'static str {
    property(block(":root {"), &format!("--{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    #[test]
    fn every_cell_is_there_and_no_variable_is_left() {
        let svg = network(&published::mtnas());
        assert_eq!(svg.matches("<svg").count(), 1 + 6);
        assert_eq!(svg.matches("class=\"pill\"").count(), 6 * 8);
        assert_eq!(svg.matches("</svg>").count(), 7);
        assert!(
            svg.contains("seg, reduction cell") && !svg.contains("var("),
            "{svg}"
        );
    }

    #[test]
    fn every_colour_of_the_page_is_found() {
        let css = style();
        for line in css.lines().flat_map(|l| l.split(['{', ';', '}'])) {
            if let Some((key, value)) = line.split_once(':')
                && ["fill", "stroke"].contains(&key.trim())
            {
                let v = value.trim();
                let hex = v.starts_with('#') && [4, 7].contains(&v.len());
                assert!(v == "none" || hex, "{line}");
            }
        }
        assert_eq!(css.matches(".pill {").count(), Primitive::ALL.len());
        assert_eq!((colour("sep3"), colour("fg")), ("#6fb1f2", "#1b2430"));
    }
}
