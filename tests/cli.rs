//! The command line as a user meets it: output, messages and exit statuses of the binary.

use std::path::Path;
use std::process::{Command, Output};

#[path = "cli/arch.rs"]
mod arch;
#[path = "cli/constraint.rs"]
mod constraint;
#[path = "cli/data.rs"]
mod data;
#[path = "cli/dense.rs"]
mod dense;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/genotypes.rs"]
mod genotypes;
#[path = "cli/hand.rs"]
mod hand;
#[path = "cli/loader.rs"]
mod loader;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/net.rs"]
mod net;
#[path = "cli/published.rs"]
mod published;

fn mtnas(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mtnas"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn out(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}

fn err(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}

#[test]
fn help_and_version_are_quick_and_quiet() {
    for line in [
        &["--help"][..],
        &["help", "config"],
        &["config", "show", "--help"],
        &["--version"],
    ] {
        let o = mtnas(line);
        assert!(
            o.status.success() && err(&o).is_empty() && !out(&o).is_empty(),
            "{line:?}: {}",
            err(&o)
        );
    }
    assert!(out(&mtnas(&["--version"])).starts_with("mtnas "));
}

#[test]
fn a_wrong_command_line_is_status_2_with_a_code() {
    for line in [
        &["confg"][..],
        &[],
        &["config"],
        &["config", "show"],
        &["explain", "--seed", "x"],
        &["config", "show", "configs/demo.toml", "-s", "x"],
    ] {
        let o = mtnas(line);
        assert_eq!(o.status.code(), Some(2), "{line:?}");
        assert!(out(&o).is_empty(), "{line:?}");
    }
    let e = err(&mtnas(&["confg", "show"]));
    assert!(
        e.starts_with("error[MT0001]:") && e.contains("config"),
        "{e}"
    );
}

#[test]
fn a_configuration_is_shown_checked_and_compared() {
    let o = mtnas(&[
        "config",
        "show",
        "configs/demo.toml",
        "-s",
        "search.batch=3",
        "--seed",
        "11",
    ]);
    let text = out(&o);
    assert!(
        text.contains("batch = 3\n") && text.contains("seed = 11\n"),
        "{text}{}",
        err(&o)
    );
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.toml");
    std::fs::write(&copy, &text).unwrap();
    let copy = copy.to_str().unwrap();
    assert_eq!(out(&mtnas(&["config", "show", copy])), text);
    let o = mtnas(&["config", "check", "configs/demo.toml", copy]);
    assert!(
        o.status.success() && out(&o).lines().count() == 2,
        "{}",
        err(&o)
    );
    let o = mtnas(&["config", "diff", "configs/demo.toml", copy]);
    assert_eq!(o.status.code(), Some(1));
    assert_eq!(out(&o), "run.seed: 0 -> 11\nsearch.batch: 8 -> 3\n");
    assert_eq!(
        mtnas(&["config", "diff", copy, copy]).status.code(),
        Some(0)
    );
    let o = mtnas(&["config", "show", copy, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(json["search"]["batch"], 3);
}

#[test]
fn a_bad_configuration_is_status_78_with_place_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/demo.toml");
    let text = std::fs::read_to_string(demo).unwrap();
    std::fs::write(&file, text.replace("channels =", "chanels =")).unwrap();
    let o = mtnas(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(78));
    let e = err(&o);
    assert!(
        e.starts_with("error[MT0103]: unknown key `model.chanels`\n"),
        "{e}"
    );
    assert!(
        e.contains("bad.toml:") && e.contains("^^^^^^^") && e.contains("`channels`"),
        "{e}"
    );
    let o = mtnas(&["config", "check", "no/such.toml"]);
    assert!(
        o.status.code() == Some(66) && err(&o).contains("no/such.toml"),
        "{}",
        err(&o)
    );
    std::fs::write(&file, [0xff, 0xfe, 0]).unwrap();
    assert_eq!(
        mtnas(&["config", "check", file.to_str().unwrap()])
            .status
            .code(),
        Some(78)
    );
}

#[test]
fn keys_and_codes_are_explained() {
    let text = out(&mtnas(&["config", "explain", "search.stop.unchanged"]));
    assert!(
        text.starts_with("search.stop.unchanged = 10\n") && text.contains("paper: 10"),
        "{text}"
    );
    let o = mtnas(&["config", "explain", "search.stop.unchangd"]);
    assert!(
        o.status.code() == Some(78) && err(&o).contains("search.stop.unchanged"),
        "{}",
        err(&o)
    );
    assert!(out(&mtnas(&["explain", "mt0503"])).contains("status 73"));
    assert_eq!(mtnas(&["explain", "MT9999"]).status.code(), Some(2));
    let codes: serde_json::Value =
        serde_json::from_slice(&mtnas(&["explain", "--json"]).stdout).unwrap();
    assert_eq!(codes.as_array().unwrap().len(), mtnas::Code::ALL.len());
}

#[test]
fn colours_come_only_when_asked_for() {
    let red = "\x1b[1;31merror[MT0301]";
    assert!(!err(&mtnas(&["config", "show", "no.toml"])).contains('\x1b'));
    assert!(err(&mtnas(&["config", "show", "no.toml", "--color", "always"])).starts_with(red));
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bin = env!("CARGO_BIN_EXE_mtnas");
    let o = Command::new("sh")
        .args(["-c", &format!("{bin} config explain | head -n 1")])
        .output()
        .unwrap();
    assert!(o.status.success() && err(&o).is_empty(), "{}", err(&o));
}
