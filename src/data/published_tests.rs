//! What tests of published formats share: copies of the committed label files, and pictures beside them.

use std::path::Path;

use super::image_file::encode_jpeg;
use crate::annotation::{Annotation, BBox, Image, Object};

/// Copies a folder of `tests/data`.
pub fn copy(name: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    copy_folder(&from.join(name), to);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Writes a JPEG; `seed` makes it differ from others.
pub fn jpeg(path: &Path, height: usize, width: usize, seed: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let value = |i: usize| (i / 3 * (seed + 3) + 40 * seed) as u8;
    let image = Image {
        height,
        width,
        data: (0..height * width * 3).map(value).collect(),
    };
    std::fs::write(path, encode_jpeg(&image, 85).unwrap()).unwrap();
}

/// Writes a file and its folders.
pub fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// The objects of a sample as (class, ignored, [x1, y1, x2, y2]).
pub fn objects(annotation: &Annotation) -> Vec<(usize, bool, [f32; 4])> {
    let Annotation::Objects(objects) = annotation else {
        panic!("boxes expected")
    };
    let plain = |o: &Object| {
        let BBox { x1, y1, x2, y2 } = o.bbox;
        (o.class, o.ignore, [x1, y1, x2, y2])
    };
    objects.iter().map(plain).collect()
}
