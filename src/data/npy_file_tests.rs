//! Arrays of every kind, written by `tests/data/make_dense.py`; headers that lie.

use super::*;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dense/npy"))
        .join(format!("{name}.npy"))
}

#[test]
fn every_type_order_and_version() {
    let signed: Vec<f32> = (-4..8).map(|v| v as f32).collect();
    for name in [
        "f2",
        "f4",
        "f4_big",
        "f8",
        "f8_big",
        "i1",
        "i2",
        "i2_big",
        "i4",
        "i8",
        "i8_big",
        "version2",
        "version3",
        "fortran",
        "fortran_i8_big",
    ] {
        let a = read_npy(&file(name)).unwrap();
        assert_eq!((a.shape, a.data), (vec![2, 3, 2], signed.clone()), "{name}");
    }
    let counted: Vec<f32> = (0..12).map(|v| v as f32).collect();
    for name in ["u1", "u2", "u2_big", "u4", "u8"] {
        assert_eq!(read_npy(&file(name)).unwrap().data, counted, "{name}");
    }
    let bits: Vec<f32> = (0..12).map(|v| (v % 3 == 0) as u8 as f32).collect();
    assert_eq!(read_npy(&file("bool")).unwrap().data, bits);
    let one = read_npy(&file("one")).unwrap();
    assert_eq!((one.shape, one.data), (vec![3], vec![1.5, -2.0, 3.0]));
}

/// A file of version 1 with this header and so many bytes of numbers.
fn with(header: &str, bytes: usize) -> Vec<u8> {
    let mut f = b"\x93NUMPY\x01\x00".to_vec();
    f.extend((header.len() as u16).to_le_bytes());
    f.extend(header.as_bytes());
    f.extend(vec![0; bytes]);
    f
}

#[test]
fn headers_of_other_writers() {
    let read = |header: &str, bytes| parse(&with(header, bytes)).map(|a| a.shape);
    let shape = read(
        "{\"shape\":(2L, 3L),'descr':'float32','fortran_order':True}",
        24,
    );
    assert_eq!(
        shape.unwrap_err().code(),
        Code::BadFormat,
        "a name is no type"
    );
    let shape = read(
        "{\"shape\":(2L, 3L),'descr':'=f4','fortran_order':True}\n",
        24,
    );
    assert_eq!(shape.unwrap(), [2, 3]);
    let shape = read("{'descr': 'f8', 'fortran_order': False, 'shape': ()}", 8);
    assert_eq!(shape.unwrap(), [0; 0], "a single number");
    let huge =
        "{'descr': '<f4', 'fortran_order': True, 'shape': (0, 9999999999, 9999999999, 9999999999)}";
    assert!(
        read(huge, 0).unwrap()[0] == 0,
        "nothing, in many dimensions"
    );
}

#[test]
fn what_is_not_read_is_named() {
    let ok = "'fortran_order': False, 'shape': (2,)";
    let cases: &[(&str, usize, Code, &str)] = &[
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            7,
            Code::BadFormat,
            "cut off",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
            9,
            Code::BadFormat,
            "behind it",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,)}",
            8,
            Code::TooLarge,
            "limit",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
            8,
            Code::TooLarge,
            "limit",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            8,
            Code::BadFormat,
            "whole numbers",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}",
            8,
            Code::BadFormat,
            "whole numbers",
        ),
        (
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (2,)}",
            8,
            Code::BadFormat,
            "True or False",
        ),
        (
            "{'descr': '<f4', 'shape': (2,)}",
            8,
            Code::BadFormat,
            "needs",
        ),
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
            8,
            Code::BadFormat,
            "\"x\"",
        ),
        ("", 8, Code::BadFormat, "expected"),
    ];
    for (header, bytes, code, word) in cases {
        let e = parse(&with(header, *bytes)).unwrap_err();
        assert!(
            e.code() == *code && e.to_string().contains(word),
            "{header}: {e}"
        );
    }
    for descr in [
        "'<c8'",
        "'<U4'",
        "'|O'",
        "'|f4'",
        "'<f3'",
        "'<M8[ns]'",
        "[('a', '<f4')]",
    ] {
        let e = parse(&with(&format!("{{'descr': {descr}, {ok}}}"), 8)).unwrap_err();
        assert_eq!(e.code(), Code::BadFormat, "{descr}: {e}");
    }
    for name in ["records", "objects"] {
        let e = read_npy(&file(name)).unwrap_err();
        assert!(e.place().unwrap().ends_with(&format!("{name}.npy")), "{e}");
        assert!(e.remedy().is_some());
    }
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    assert_eq!(parse(&long).unwrap_err().code(), Code::TooLarge);
    for start in [
        &b""[..],
        b"PK\x03\x04",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00\x00\x00",
    ] {
        assert_eq!(parse(start).unwrap_err().code(), Code::BadFormat);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let all = std::fs::read(file("fortran_i8_big")).unwrap();
    for n in 0..all.len() {
        assert!(parse(&all[..n]).is_err(), "{n}");
    }
}
