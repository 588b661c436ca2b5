//! Sample predictions, embedded.

use super::super::run::Run;
use super::missing;
use maud::{Markup, PreEscaped, html};

/// The section: pictures of at most `budget` bytes in all; the rest stay in the run directory.
pub fn section(run: &Run, budget: usize) -> Markup {
    if run.samples.is_empty() {
        return missing("Sample predictions");
    }
    let mut left = budget;
    let mut skipped = 0;
    let mut list: Vec<Markup> = Vec::new();
    for (sample, path) in &run.samples {
        let size = std::fs::metadata(path).map_or(0, |m| m.len() as usize);
        if size > left {
            skipped += 1;
            continue;
        }
        let body = match std::fs::read(path) {
            Ok(bytes) if bytes.starts_with(b"\x89PNG") && bytes.len() <= left => {
                left -= bytes.len();
                let source = format!("data:image/png;base64,{}", base64(&bytes));
                let words = format!("{}: ground truth and prediction", sample.name);
                html! { img src=(PreEscaped(source)) alt=(words) loading="lazy"; }
            }
            Ok(_) => html! { p.missing { (sample.file) ": not a PNG picture." } },
            Err(e) => html! { p.missing { (sample.file) ": " (e) } },
        };
        let task = match sample.task.as_str() {
            "det" => "detection",
            "seg" => "segmentation",
            other => other,
        };
        list.push(html! {
            figure { figcaption { b { (sample.name) } span { (task) @if !sample.note.is_empty() { ": " (sample.note) } } } (body) }
        });
    }
    html! {
        div.samples { @for figure in &list { (figure) } }
        @if skipped > 0 { p.muted { (skipped) " further pictures are in " code { "final/samples" } " (left out to keep this page small)." } }
    }
}

/// RFC 4648.
pub(in crate::report) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .enumerate()
            .fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn test_vectors_of_rfc_4648() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in pairs {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
