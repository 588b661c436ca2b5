//! A contact sheet of a data set as one HTML file that needs nothing else.

use maud::{DOCTYPE, PreEscaped, html};

use super::draw;
use super::page::pictures::base64;
use crate::annotation::Image;
use crate::error::Result;

/// One sample as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its id.
    pub name: String,
    /// Its file.
    pub place: String,
    /// What is labelled in it, in words.
    pub note: String,
    /// The picture with boxes drawn, label maps beside it.
    pub picture: Image,
}

const STYLE: &str = "\
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color-scheme: light dark; }
.samples { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; } figure img { max-width: 100%; display: block; }
figcaption { font-size: .85em; } .legend span { display: inline-block; margin-right: 1em; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; border: 1px solid #8888; }";

/// The page of `samples`, out of `all` of the data set `name`; `legend` are class names with their colours, empty where classes
/// have none.
///
/// # Errors
/// A picture that cannot be encoded.
pub fn page(
    name: &str,
    all: usize,
    legend: &[(String, [u8; 3])],
    samples: &[Shown],
) -> Result<String> {
    let mut figures = vec![];
    for s in samples {
        let source = format!("data:image/png;base64,{}", base64(&draw::png(&s.picture)?));
        figures.push(html! {
            figure {
                img src=(PreEscaped(source)) alt=(s.name) loading="lazy" title=(s.place);
                figcaption { b { (s.name) } @if !s.note.is_empty() { ": " (s.note) } }
            }
        });
    }
    let colour = |[r, g, b]: [u8; 3]| format!("background: #{r:02x}{g:02x}{b:02x}");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (name) " \u{2013} mtnas data preview" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (name) }
                p { (samples.len()) " of " (all) " samples" }
                @if !legend.is_empty() {
                    p.legend { @for (class, c) in legend { span { i style=(colour(*c)) {} (class) } } }
                }
                div.samples { @for f in &figures { (f) } }
            }
        }
    };
    Ok(page.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_names_are_text() {
        let shown = Shown {
            name: "a<b".into(),
            place: "dir/a.png".into(),
            note: "2 car".into(),
            picture: draw::plain(3, 4, [9, 8, 7]),
        };
        let legend = [("car & van".to_string(), [255, 0, 16])];
        let text = page("kitti/train", 40, &legend, &[shown.clone(), shown]).unwrap();
        for part in [
            "2 of 40 samples",
            "a&lt;b",
            "car &amp; van",
            "background: #ff0010",
            "2 car",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert_eq!(text.matches("data:image/png;base64,iVBOR").count(), 2);
        assert!(!text.contains("a<b") && !text.contains("http"));
        assert!(!page("x", 1, &[], &[]).unwrap().contains("class=\"legend\""));
    }
}
