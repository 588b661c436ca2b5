//! `mtnas export`: every form, checked as a user checks it, and what is refused.

use super::{err, mtnas, out};

/// A small network of the release around a published genotype.
const SMALL: [&str; 8] = [
    "--channels",
    "8",
    "--cells",
    "5",
    "--input",
    "64x64",
    "--levels",
    "4",
];

fn json(o: &std::process::Output) -> serde_json::Value {
    serde_json::from_slice(&o.stdout).unwrap_or_else(|_| panic!("{}", err(o)))
}

fn export(target: &str, more: &[&str]) -> std::process::Output {
    mtnas(&[&["export", target], more].concat())
}

#[test]
fn onnx_is_written_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.onnx");
    let file = file.to_str().unwrap();
    let common = [
        "--to",
        "onnx",
        "--verify",
        "--json",
        "-o",
        file,
        "--threads",
        "1",
    ];
    let lines: [&[&str]; 3] = [
        &[],
        &["--batch", "dynamic", "--fold-bn", "--seed", "3"],
        &["--batch", "2", "--decode"],
    ];
    for more in lines {
        let o = export("MTNAS", &[&common[..], &SMALL, more].concat());
        let v = json(&o);
        let outputs = &v["outputs"];
        // Levels of 16, 8, 4 and 2 pixels a side, six priors each: 340 positions.
        assert_eq!(outputs["loc"], serde_json::json!([2040, 6]), "{v}");
        assert_eq!(outputs["seg"], serde_json::json!([16, 64, 64]), "{v}");
        assert!(v["verified"]["largest"].as_f64().unwrap() < 1e-4, "{v}");
        assert_eq!(v["verified"]["path"], "reference");
        let decoded = v["verified"]["detections"].as_u64();
        assert_eq!(decoded.is_some(), more.contains(&"--decode"), "{v}");
    }
    // A classifier.
    let line = ["--network", "cifar", "--channels", "4", "--cells", "3"];
    let v = json(&export("PC_DARTS_cifar", &[&common[..], &line].concat()));
    assert_eq!(v["outputs"], serde_json::json!({"logits": [10]}));
    let o = export(
        "PC_DARTS_cifar",
        &[&common[..], &line, &["--decode"]].concat(),
    );
    assert_eq!(o.status.code(), Some(2), "{}", err(&o));
}

#[test]
fn weights_code_and_cells_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let weights = path("w.safetensors");
    let line = ["--to", "safetensors", "--verify", "-o", &weights];
    let o = export("MTNAS", &[&line[..], &SMALL].concat());
    assert!(
        o.status.success() && out(&o).contains("bit for bit"),
        "{}",
        err(&o)
    );
    let code = path("net.py");
    let o = export(
        "MTNAS",
        &[&["--to", "torch-py", "-o", &code][..], &SMALL].concat(),
    );
    assert!(o.status.success(), "{}", err(&o));
    let text = std::fs::read_to_string(&code).unwrap();
    assert!(
        text.contains("class Net(Group):") && text.contains("return {\"loc\": loc"),
        "{text}"
    );
    assert!(dir.path().join("net.safetensors").is_file());

    let text = out(&export("PC_DARTS_cifar", &["--to", "genotype", "--verify"]));
    assert_eq!(text, out(&mtnas(&["arch", "convert", "PC_DARTS_cifar"])));
    let dot = out(&export("MTNAS", &["--to", "dot"]));
    assert!(dot.starts_with("digraph genotype {") && dot.contains("cluster seg normal"));
    let svg = path("cells.svg");
    assert!(
        export("MTNAS", &["--to", "svg", "-o", &svg])
            .status
            .success()
    );
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg "));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (target, line) in [
        ("MTNAS", &["--to", "svg", "--verify"][..]),
        ("MTNAS", &["--to", "dot", "--channels", "8"]),
        ("MTNAS", &["--to", "safetensors", "--batch", "2"]),
        ("MTNAS", &["--to", "safetensors", "--fold-bn"]),
        ("MTNAS", &["--to", "torch-py", "--verify"]),
        ("MTNAS", &["--to", "torch-py", "-o", "model.txt"]),
        ("MTNAS", &["--to", "onnx", "--batch", "0"]),
        ("MTNAS", &["--to", "onnx", "--python", "python3"]),
        ("MTNAS", &["--to", "tflite"]),
        ("configs/demo.toml", &["--to", "onnx"]),
        ("supernet", &["--to", "onnx"]),
    ] {
        let o = export(target, line);
        assert_eq!(o.status.code(), Some(2), "{target} {line:?}: {}", err(&o));
        assert!(out(&o).is_empty());
    }
    // Nothing is left behind by a network that cannot be built.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.onnx");
    let line = [
        "--to",
        "onnx",
        "--input",
        "30x30",
        "-o",
        file.to_str().unwrap(),
    ];
    assert_eq!(export("MTNAS", &line).status.code(), Some(78));
    assert!(!file.exists());
}
