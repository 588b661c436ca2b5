//! Damaged packed caches.

use std::path::Path;

use super::coding::encode;
use super::file::PackFile;
use super::layout::{HEAD, HEADER, Head, Header, u64_at};
use crate::annotation::{Annotation, BBox, LabelMap, Object};
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, run_all};

const FILE: &str = "a.pack";

fn read(root: &Path) -> Result<()> {
    let file = PackFile::open(&root.join(FILE))?.with_classes(3);
    for index in 0..file.len() {
        file.sample(index)?;
        file.own_size(index);
    }
    Ok(())
}

/// Corrects the checksums, so that damage gets past them.
fn mend(b: &mut [u8]) {
    if b.len() < HEADER {
        return;
    }
    let count = u64_at(b, 40).min(8) as usize;
    let places = (u64_at(b, 48) as usize).min(b.len());
    let mut stamp = [0; 32];
    stamp.copy_from_slice(&b[8..40]);
    for i in 0..count {
        let Some(at) = b
            .get(places.saturating_add(8 * i)..)
            .filter(|r| r.len() >= 8)
        else {
            break;
        };
        let at = u64_at(at, 0) as usize;
        let Some(record) = b.get_mut(at..).filter(|r| r.len() >= HEAD) else {
            continue;
        };
        let used = Head::of(record).and_then(|h| h.payload());
        let used = used
            .map_or(0, |n| n as usize)
            .saturating_add(HEAD)
            .min(record.len());
        let crc = crc32c::crc32c(&record[8..used]);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
    }
    let header = Header {
        stamp,
        count: u64_at(b, 40),
        places: u64_at(b, 48),
        length: b.len() as u64,
        crc: crc32c::crc32c(&b[places..]),
    };
    b[..HEADER].copy_from_slice(&header.bytes());
}

const TARGETS: [Target; 1] = [Target {
    name: "packed cache",
    file: FILE,
    mend: Some(|b| mend(b)),
    read,
}];

fn valid(root: &Path) {
    let labels = |value: u8| LabelMap {
        height: 3,
        width: 5,
        data: vec![value; 15],
    };
    let object = Object {
        class: 1,
        bbox: BBox::default(),
        ignore: true,
    };
    let annotations = [
        Annotation::Objects(vec![object; 3]),
        Annotation::Labels(labels(2)),
        Annotation::Joint(vec![Annotation::Class(2), Annotation::Labels(labels(1))]),
    ];
    let mut bytes = vec![0; HEADER];
    let mut places: Vec<u8> = vec![];
    for (index, annotation) in (0..).zip(&annotations) {
        let annotation = encode(annotation);
        let head = Head {
            crc: 0,
            index,
            own: (6, 10),
            size: (3, 5),
            annotation: annotation.len() as u64,
        };
        places.extend((bytes.len() as u64).to_le_bytes());
        bytes.extend(head.record(&[7; 45], &annotation));
    }
    let header = Header {
        stamp: [1; 32],
        count: 3,
        places: bytes.len() as u64,
        length: (bytes.len() + places.len()) as u64,
        crc: crc32c::crc32c(&places),
    };
    bytes[..HEADER].copy_from_slice(&header.bytes());
    bytes.extend(places);
    std::fs::write(root.join(FILE), bytes).unwrap();
}

#[test]
fn damaged_packs_are_refused_by_name() {
    run_all(&TARGETS, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files"]
fn ten_thousand_damaged_packs() {
    run_all(&TARGETS, MANY, valid);
}
