//! Values of files made here that are wrong in one way each; the values of whole sets are in `dense_tests.rs`.

use super::*;
use crate::data::image_file::{encode_labels, encode_png};

/// A version 1 array of f32.
fn npy(dir: &Path, shape: &str, values: &[f32]) -> std::path::PathBuf {
    let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut f = b"\x93NUMPY\x01\x00".to_vec();
    f.extend((head.len() as u16).to_le_bytes());
    f.extend(head.as_bytes());
    values.iter().for_each(|v| f.extend(v.to_le_bytes()));
    let path = dir.join("a.npy");
    std::fs::write(&path, f).unwrap();
    path
}

#[test]
fn arrays_of_the_wrong_shape_or_values() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let shape =
        |s: &str, n: usize| depth_npy(&npy(d, s, &vec![1.0; n])).map(|m| (m.height, m.width));
    assert_eq!(shape("(2, 3)", 6).unwrap(), (2, 3));
    assert_eq!(shape("(2, 3, 1)", 6).unwrap(), (2, 3));
    for (s, n) in [
        ("(6,)", 6),
        ("(1, 2, 3)", 6),
        ("(2, 3, 1, 1)", 6),
        ("()", 1),
    ] {
        assert_eq!(shape(s, n).unwrap_err().code(), Code::BadFormat, "{s}");
    }
    assert_eq!(shape("(0, 3)", 0).unwrap_err().code(), Code::BadImage);
    let e = depth_npy(&npy(d, "(2, 2)", &[1.0, 2.0, 3.0, f32::NAN])).unwrap_err();
    assert!(
        e.code() == Code::BadFormat && e.to_string().contains("a.npy, pixel (1, 1)"),
        "{e}"
    );
    // Nothing, less than nothing and the least depth are unknown.
    let map = depth_npy(&npy(d, "(1, 4)", &[0.0, -1.0, 3e-5, 4e-5])).unwrap();
    assert_eq!(map.valid, [false, false, false, true]);
    assert_eq!(map.data, [0.0, 0.0, 0.0, 4e-5]);
    let mut values = vec![0.5; 12];
    values[7] = 200.0;
    let e = picture_npy(&npy(d, "(2, 2, 3)", &values)).unwrap_err();
    assert!(
        e.code() == Code::BadImage && e.to_string().contains("pixel (0, 1)"),
        "{e}"
    );
    let e = normals_npy(&npy(d, "(2, 2, 3)", &values), NormalSpace::True).unwrap_err();
    assert!(
        e.code() == Code::BadFormat && e.to_string().contains("pixel (0, 1)"),
        "{e}"
    );
}

#[test]
fn ids_outside_the_classes() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let map = labels_npy(&npy(d, "(1, 4)", &[-1.0, 0.0, 12.0, 255.0]), 13).unwrap();
    assert_eq!(map.data, [IGNORE, 0, 12, IGNORE]);
    for bad in [13.0, -2.0, 0.5, 254.0, 1e9] {
        let e = labels_npy(&npy(d, "(2, 2)", &[0.0, 1.0, bad, 0.0]), 13).unwrap_err();
        assert!(
            e.code() == Code::BadLabelId && e.to_string().contains("pixel (0, 1)"),
            "{e}"
        );
    }
    let png = |data: Vec<u8>| {
        let (height, width) = (1, data.len());
        let path = d.join("l.png");
        let map = LabelMap {
            height,
            width,
            data,
        };
        std::fs::write(&path, encode_labels(&map).unwrap()).unwrap();
        path
    };
    assert_eq!(
        labels_png(&png(vec![39, 255, 0]), 40).unwrap().data,
        [39, 255, 0]
    );
    assert_eq!(
        labels_png(&png(vec![0, 40]), 40).unwrap_err().code(),
        Code::BadLabelId
    );
    let taskonomy = |mask| {
        labels_taskonomy(&png(vec![0, 1, 2, 17]), 17, mask)
            .unwrap()
            .data
    };
    assert_eq!(taskonomy(false), [0, 0, 1, 16]);
    assert_eq!(taskonomy(true), [IGNORE, 0, 1, 16]);
    let e = labels_taskonomy(&png(vec![0, 18]), 17, false).unwrap_err();
    assert!(
        e.code() == Code::BadLabelId && e.to_string().contains("pixel (1, 0)"),
        "{e}"
    );
}

#[test]
fn pictures_of_the_wrong_kind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.png");
    let image = Image {
        height: 1,
        width: 2,
        data: vec![9; 6],
    };
    std::fs::write(&path, encode_png(&image).unwrap()).unwrap();
    assert!(normals_png(&path, NormalSpace::True).is_ok());
    for e in [
        disparity_png(&path).unwrap_err(),
        depth_taskonomy(&path).unwrap_err(),
        strength_png(&path, Quantity::Edges, 0.08).unwrap_err(),
    ] {
        assert!(
            e.code() == Code::BadFormat && e.to_string().contains("16 bits"),
            "{e}"
        );
    }
}
