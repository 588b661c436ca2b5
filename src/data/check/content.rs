//! The same picture twice: by a digest of its pixels, so that another encoding does not hide it.

use std::collections::BTreeMap;

use sha2::Digest as _;

use super::{Item, Kind, Report};
use crate::annotation::Image;

/// Digest of size and pixels.
pub type Digest = [u8; 32];

/// Digest of a picture.
pub fn digest(image: &Image) -> Digest {
    let mut h = sha2::Sha256::new();
    h.update((image.height as u64).to_le_bytes());
    h.update((image.width as u64).to_le_bytes());
    h.update(&image.data);
    h.finalize().into()
}

/// Reports pictures in both splits, and twice in one.
pub fn compare(items: &[Item], report: &mut Report) {
    let mut first: BTreeMap<&Digest, &Item> = BTreeMap::new();
    for item in items {
        if item.train && item.val {
            report.add(
                Kind::Leakage,
                &item.place,
                "the picture is in the training and in the held-out split",
            );
        }
        let Some(digest) = &item.digest else { continue };
        let Some(other) = first.get(digest) else {
            first.insert(digest, item);
            continue;
        };
        let crossing = (item.train && other.val) || (item.val && other.train);
        let (kind, text) = match crossing {
            true => (Kind::Leakage, "is in the other split too"),
            false => (Kind::DuplicateImage, "is in the set twice"),
        };
        report.add(
            kind,
            &item.place,
            format!("the same picture {text}: {}", other.place),
        );
    }
}
