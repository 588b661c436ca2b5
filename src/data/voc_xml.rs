//! The annotation file of Pascal VOC (systems.md 8.7): `annotation/object` with `name`, `difficult` and `bndbox`.

use std::path::Path;

use roxmltree::{Document, Node};

use super::box_set::{Fault, RawBox};
use super::class_rules::ClassTable;
use super::kitti_label::box_defect;
use super::text_file::{at_line, read_limited};
use crate::annotation::BBox;
use crate::error::{Code, Error, Result};

/// Largest annotation file.
const MAX_XML: u64 = 16 << 20;
/// Most elements and texts of a file.
const MAX_NODES: u32 = 1_000_000;

/// Reads a file: its boxes with edges in pixels (the format counts pixels from 1, the last one included). Parts of objects are not
/// objects; unknown elements are skipped, and of elements that come twice the first counts.
///
/// # Errors
/// `NotFound`, `Io`, `TooLarge`; `BadFormat` with line and column for what is not XML; whatever `fault` gives back for defects of
/// objects: `BadLine` (no name or box, no number, unknown type), `BadBox`.
pub fn read(path: &Path, table: &ClassTable, fault: &mut Fault) -> Result<Vec<RawBox>> {
    let bytes = read_limited(path, MAX_XML)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count() + 1;
        Error::new(Code::BadLine, "not UTF-8 text")
            .at(at_line(path, line))
            .help("save it as UTF-8")
    })?;
    let options = roxmltree::ParsingOptions {
        nodes_limit: MAX_NODES,
        ..Default::default()
    };
    let doc = Document::parse_with_options(text.trim_start_matches('\u{feff}'), options);
    let doc = doc.map_err(|e| not_xml(path, &e))?;
    let root = doc.root_element();
    if root.tag_name().name() != "annotation" {
        let found: String = root.tag_name().name().chars().take(80).collect();
        let text = format!("expected an element `annotation`, found {found:?}");
        return Err(Error::new(Code::BadFormat, text)
            .at(at_line(path, line_of(&root)))
            .help("is it an annotation file of Pascal VOC?"));
    }
    let mut boxes = vec![];
    for (i, object) in children(&root, "object").enumerate() {
        match read_object(&object, table) {
            Ok(raw) => boxes.push(RawBox {
                label: i as u64,
                ..raw
            }),
            Err((line, e)) => fault(e.at(at_line(path, line)))?,
        }
    }
    Ok(boxes)
}

fn not_xml(path: &Path, e: &roxmltree::Error) -> Error {
    let text: String = e.to_string().lines().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(200).collect();
    let code = match e {
        roxmltree::Error::NodesLimitReached => Code::TooLarge,
        _ => Code::BadFormat,
    };
    let pos = e.pos();
    Error::new(code, format!("not the expected XML: {text}"))
        .at(format!("{}:{}:{}", path.display(), pos.row, pos.col))
        .help("fetch the file again, or correct it there")
}

fn children<'a, 'i>(node: &Node<'a, 'i>, name: &'static str) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |n| n.has_tag_name(name))
}

fn child<'a, 'i>(node: &Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    children(node, name).next()
}

fn line_of(node: &Node) -> usize {
    let doc = node.document();
    doc.text_pos_at(node.range().start).row as usize
}

fn text_of<'a>(node: &Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

/// One object, or the line of its defect.
fn read_object(object: &Node, table: &ClassTable) -> std::result::Result<RawBox, (usize, Error)> {
    let bad = |node: &Node, text: String, help: &str| {
        (line_of(node), Error::new(Code::BadLine, text).help(help))
    };
    let Some(name) = child(object, "name") else {
        return Err(bad(
            object,
            "an object without `name`".into(),
            "add its name",
        ));
    };
    let kind = table
        .kind(text_of(&name))
        .map_err(|e| (line_of(&name), e))?;
    let Some(bndbox) = child(object, "bndbox") else {
        return Err(bad(
            object,
            "an object without `bndbox`".into(),
            "add its box",
        ));
    };
    let mut edges = [0f32; 4];
    for (edge, name) in edges.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        let Some(node) = child(&bndbox, name) else {
            let text = format!("a `bndbox` without `{name}`");
            return Err(bad(&bndbox, text, "add the edge"));
        };
        *edge = text_of(&node).parse().map_err(|_| {
            let shown: String = text_of(&node).chars().take(80).collect();
            let text = format!("`{name}` is not a number: {shown:?}");
            bad(&node, text, "write a plain number, for example 12")
        })?;
    }
    // The first pixel is 1, and the box covers its last one.
    let bbox = BBox {
        x1: edges[0] - 1.0,
        y1: edges[1] - 1.0,
        x2: edges[2],
        y2: edges[3],
    };
    if let Some(defect) = box_defect(&bbox).filter(|d| !d.ends_with("empty")) {
        let e = Error::new(Code::BadBox, defect)
            .help("`bndbox` is xmin, ymin, xmax, ymax in pixels, counted from 1");
        return Err((line_of(&bndbox), e));
    }
    let difficult = child(object, "difficult").is_some_and(|n| !matches!(text_of(&n), "0" | ""));
    Ok(RawBox {
        bbox,
        line: line_of(&bndbox) as u32,
        label: 0,
        kind,
        ignore: difficult,
    })
}
