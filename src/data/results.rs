//! Detections in the files that benchmarks read: COCO results, KITTI label lines with a score, lists of VOC.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::kitti_label::{KittiObject, TYPES};
use crate::annotation::{BBox, Detection};

/// What was found in one picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// File name of the picture without its ending.
    pub stem: String,
    /// File name of the picture.
    pub file: String,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Boxes in pixels of the picture.
    pub detections: Vec<Detection>,
}

/// COCO results, `[{"image_id", "category_id", "bbox": [x, y, w, h], "score"}]`, and what the ids stand for: a file of COCO annotations
/// without annotations (`images`, `categories`). The id of a picture is its name as a number where all names are different numbers,
/// else its place, 1 the first; that of a class its place in `classes`, 1 the first.
pub fn coco(pictures: &[Found], classes: &[String]) -> [Value; 2] {
    let ids = ids(pictures);
    let mut rows = vec![];
    for (p, id) in pictures.iter().zip(&ids) {
        for d in &p.detections {
            let BBox { x1, y1, x2, y2 } = d.bbox;
            let bbox = [x1, y1, x2 - x1, y2 - y1].map(|v| rounded(v, 1e3));
            rows.push(json!({
                "image_id": id,
                "category_id": d.class + 1,
                "bbox": bbox,
                "score": rounded(d.score, 1e6),
            }));
        }
    }
    let image = |(p, id): (&Found, &u64)| json!({"id": id, "file_name": p.file, "height": p.height, "width": p.width});
    let class = |(i, name): (usize, &String)| json!({"id": i + 1, "name": name});
    let meaning = json!({
        "images": pictures.iter().zip(&ids).map(image).collect::<Value>(),
        "annotations": [],
        "categories": classes.iter().enumerate().map(class).collect::<Value>(),
    });
    [rows.into(), meaning]
}

fn ids(pictures: &[Found]) -> Vec<u64> {
    let numbers = pictures.iter().map(|p| p.stem.parse::<u64>().ok());
    match numbers.collect::<Option<Vec<u64>>>() {
        Some(n) if n.iter().collect::<BTreeSet<_>>().len() == n.len() => n,
        _ => (1..=pictures.len() as u64).collect(),
    }
}

/// To a few decimals, as the number of that many decimals is written.
fn rounded(v: f32, unit: f64) -> f64 {
    (f64::from(v) * unit).round() / unit
}

/// Lines of a KITTI result file: type, box and score; what a box in a picture does not say is -1, -10 and -1000.
pub fn kitti(found: &Found, classes: &[String]) -> String {
    let line = |d: &Detection| {
        let object = KittiObject {
            kind: kitti_type(&classes[d.class]),
            truncated: -1.0,
            occluded: -1,
            alpha: -10.0,
            bbox: d.bbox,
            size: [-1.0; 3],
            location: [-1000.0; 3],
            rotation: -10.0,
            score: Some(d.score),
        };
        format!("{object}\n")
    };
    found.detections.iter().map(line).collect()
}

/// The KITTI type of a class: of the same name whatever its case, `Pedestrian` for a person, `Car` for a vehicle (Waymo), else `Misc`.
pub fn kitti_type(class: &str) -> &'static str {
    let name = class.replace([' ', '-'], "_");
    if name.eq_ignore_ascii_case("person") {
        return "Pedestrian";
    }
    if name.eq_ignore_ascii_case("vehicle") {
        return "Car";
    }
    let same = TYPES.into_iter().find(|t| t.eq_ignore_ascii_case(&name));
    same.unwrap_or("Misc")
}

/// The lines of a class in a VOC result file (`comp4_det_test_CLASS.txt`): picture, score, first and last column and row of the box,
/// counted from 1.
pub fn voc(pictures: &[Found], class: usize) -> String {
    let mut text = String::new();
    for p in pictures {
        for d in p.detections.iter().filter(|d| d.class == class) {
            let b = &d.bbox;
            let [x, y] = [b.x1, b.y1].map(|v| v + 1.0);
            text += &format!(
                "{} {:.6} {x:.2} {y:.2} {:.2} {:.2}\n",
                p.stem, d.score, b.x2, b.y2
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(stem: &str, detections: Vec<Detection>) -> Found {
        Found {
            stem: stem.into(),
            file: format!("{stem}.png"),
            height: 370,
            width: 1224,
            detections,
        }
    }

    fn detection(class: usize, score: f32, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
        Detection {
            class,
            score,
            bbox: BBox { x1, y1, x2, y2 },
        }
    }

    fn classes() -> Vec<String> {
        ["car", "person", "sign"].map(String::from).to_vec()
    }

    #[test]
    fn results_of_coco() {
        let a = found(
            "000012",
            vec![
                detection(0, 0.5, [10.0, 20.5, 110.25, 60.5]),
                detection(2, 0.1, [0.0, 0.0, 5.0, 7.0]),
            ],
        );
        let [rows, meaning] = coco(&[a.clone(), found("7", vec![])], &classes());
        let expected = json!([
            {"image_id": 12, "category_id": 1, "bbox": [10.0, 20.5, 100.25, 40.0], "score": 0.5},
            {"image_id": 12, "category_id": 3, "bbox": [0.0, 0.0, 5.0, 7.0], "score": 0.1},
        ]);
        assert_eq!(rows, expected);
        let image = json!({"id": 12, "file_name": "000012.png", "height": 370, "width": 1224});
        assert_eq!(
            (&meaning["images"][0], &meaning["images"][1]["id"]),
            (&image, &json!(7))
        );
        assert_eq!(meaning["categories"][2], json!({"id": 3, "name": "sign"}));
        // One name that is no number, or two that are the same: places.
        for stem in ["street", "12"] {
            let [rows, meaning] = coco(&[found(stem, vec![]), a.clone()], &classes());
            assert_eq!(
                (&meaning["images"][0]["id"], &rows[0]["image_id"]),
                (&json!(1), &json!(2))
            );
        }
    }

    #[test]
    fn lines_of_kitti_read_back() {
        let f = found("1", vec![detection(1, 0.875, [10.0, 20.5, 110.25, 60.5])]);
        let text = kitti(&f, &classes());
        let line = "Pedestrian -1.00 -1 -10.00 10.00 20.50 110.25 60.50 -1.00 -1.00 -1.00 -1000.00 -1000.00 -1000.00 -10.00 0.8750\n";
        assert_eq!(text, line);
        let back = KittiObject::parse(text.trim()).unwrap();
        assert_eq!((back.score, back.bbox), (Some(0.875), f.detections[0].bbox));
        let types = ["CAR", "cyclist", "person sitting", "truck", "dog"].map(kitti_type);
        assert_eq!(types, ["Car", "Cyclist", "Person_sitting", "Truck", "Misc"]);
    }

    #[test]
    fn lines_of_voc_count_pixels_from_one() {
        let all = [found("a", vec![detection(1, 0.5, [0.0, 4.0, 10.0, 20.0])])];
        assert_eq!(voc(&all, 1), "a 0.500000 1.00 5.00 10.00 20.00\n");
        assert_eq!(voc(&all, 0), "");
    }
}
