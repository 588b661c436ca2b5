//! Data sets with a target for every pixel, from the command line.

use super::{mtnas, out};

const SETS: &str = "tests/data/dense";

#[test]
fn published_forms_are_checked_counted_and_shown() {
    let o = mtnas(&["data", "check", SETS]);
    assert_eq!(o.status.code(), Some(0), "{}", out(&o));
    assert!(
        out(&o).contains("19 pictures in") && out(&o).contains(": 0 defects"),
        "{}",
        out(&o)
    );
    let o = mtnas(&["data", "stats", "tests/data/dense/nyuv2-json"]);
    assert!(
        out(&o).contains("depth            known in 95.8 % of pixels  0.5 to 4.5"),
        "{}",
        out(&o)
    );
    let dir = tempfile::tempdir().unwrap();
    let sheet = dir.path().join("sheet.png");
    let o = mtnas(&[
        "data",
        "preview",
        "tests/data/dense/taskonomy",
        "-o",
        sheet.to_str().unwrap(),
    ]);
    assert!(o.status.success() && sheet.is_file(), "{}", out(&o));
}
