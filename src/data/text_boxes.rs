//! Boxes as plain text, one a line: `CLASS x1 y1 x2 y2`, edges in pixels. A class may have spaces in its name.

use std::path::Path;

use super::box_set::{Fault, RawBox};
use super::class_rules::ClassTable;
use super::kitti_label::box_defect;
use super::text_file::{at_line, read_text};
use crate::annotation::BBox;
use crate::error::{Code, Error, Result};

/// Reads a file. `image`: every line begins with the name of the picture, with or without extension, which must be this one.
///
/// # Errors
/// As [`read_text`]; whatever `fault` gives back for defects of lines: `BadLine` (fields, numbers, another picture, unknown type),
/// `BadBox` (not finite).
pub fn read(
    path: &Path,
    image: Option<&str>,
    table: &ClassTable,
    fault: &mut Fault,
) -> Result<Vec<RawBox>> {
    let text = read_text(path)?;
    let mut boxes = vec![];
    let lines = text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty());
    for (line, number) in lines {
        match parse(line, image, table) {
            Ok(raw) => boxes.push(RawBox {
                line: number,
                ..raw
            }),
            Err(e) => fault(e.at(at_line(path, number as usize)))?,
        }
    }
    Ok(boxes)
}

/// One line; the caller knows its number.
fn parse(line: &str, image: Option<&str>, table: &ClassTable) -> Result<RawBox> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let first = usize::from(image.is_some());
    if fields.len() < first + 5 {
        let form = match image {
            Some(_) => "image class x1 y1 x2 y2",
            None => "class x1 y1 x2 y2",
        };
        let text = format!("expected {} fields, found {}", first + 5, fields.len());
        return Err(Error::new(Code::BadLine, text).help(format!("a line is: {form}")));
    }
    if let Some(image) = image
        && super::bdd_json::stem(fields[0]) != image
    {
        let shown: String = fields[0].chars().take(80).collect();
        let text = format!("the line is for the picture {shown:?}, not for {image:?}");
        return Err(Error::new(Code::BadLine, text).help("move it to the file of that picture"));
    }
    let (name, numbers) = fields[first..].split_at(fields.len() - first - 4);
    let kind = table.kind(&name.join(" "))?;
    let mut edges = [0f32; 4];
    for ((edge, text), name) in edges.iter_mut().zip(numbers).zip(["x1", "y1", "x2", "y2"]) {
        *edge = text.parse().map_err(|_| {
            let shown: String = text.chars().take(80).collect();
            Error::new(
                Code::BadLine,
                format!("`{name}` is not a number: {shown:?}"),
            )
            .help("write a plain number, for example 12.50")
        })?;
    }
    let bbox = BBox {
        x1: edges[0],
        y1: edges[1],
        x2: edges[2],
        y2: edges[3],
    };
    // Boxes without area or inverted are dropped by the reader and reported by the check, as in the released system.
    match box_defect(&bbox).filter(|d| d.ends_with("not finite")) {
        Some(defect) => Err(Error::new(Code::BadBox, defect).help("write plain numbers of pixels")),
        None => Ok(RawBox {
            bbox,
            line: 0,
            label: 0,
            kind,
            ignore: false,
        }),
    }
}
