use super::super::{fabricate, records::*};
use super::*;
use crate::Code;

fn page_of(change: impl Fn(&Path)) -> (String, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    fabricate::run(dir.path());
    change(dir.path());
    let run = Run::open(dir.path()).unwrap();
    (render(&run), run.notes)
}

/// All attribute values and text of the page must come through an XML-like reading: equally many opened and closed tags.
fn balanced(page: &str) {
    let body = &page[page.find("<body").unwrap()..];
    let script = body.rfind("<script>").unwrap();
    let body = &body[..script];
    for tag in [
        "div", "section", "figure", "table", "tr", "td", "th", "svg", "g", "ul", "li", "p", "pre",
        "code", "details", "span",
    ] {
        let opened =
            body.matches(&format!("<{tag}>")).count() + body.matches(&format!("<{tag} ")).count();
        let closed = body.matches(&format!("</{tag}>")).count();
        let selfclosed = if tag == "svg" || tag == "g" {
            0
        } else {
            body.matches(&format!("<{tag}/>")).count()
        };
        assert_eq!(opened - selfclosed, closed, "{tag}");
    }
}

#[test]
fn a_whole_run_has_every_figure_and_needs_no_network() {
    let (page, notes) = page_of(|_| {});
    assert_eq!(notes, Vec::<String>::new());
    balanced(&page);
    assert!(
        !page.contains("not recorded"),
        "{}",
        &page[page.find("not recorded").unwrap() - 300..][..600]
    );
    assert!(page.len() < 10 << 20, "{} bytes", page.len());
    for there in [
        "81.0",
        "voc10",
        "mtnas-2020",
        "coco",
        "Supernet-to-derived gap",
        "expected cost of the searched operations",
        "data:image/png;base64,",
        "rollback",
        "MT0602",
        "sep_conv_3x3",
        "channels = 4",
        "7-random",
        "mtnas search configs",
    ] {
        assert!(page.contains(there), "{there}");
    }
    // Six cells of the searched network, six of the random one.
    assert_eq!(page.matches("class=\"cell\"").count(), 12);
    let outside = ["src=\"http", "href=\"http", "url(http", "@import", "<link"];
    assert!(outside.iter().all(|o| !page.contains(o)));
    assert_eq!(
        page.matches("download=\"").count(),
        page.matches("data:text/csv").count()
    );
    assert!(page.matches("download=\"").count() >= 40);
}

#[test]
fn the_same_run_gives_the_same_page() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("first");
    fabricate::run(&place);
    let out = dir.path().join("report.html");
    assert!(write(&place, &out, &[]).unwrap().is_empty());
    let first = std::fs::read(&out).unwrap();
    write(&place, &out, &[]).unwrap();
    assert_eq!(first, std::fs::read(&out).unwrap());
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no temporary file stays"
    );
}

#[test]
fn what_is_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fabricate::tiny(dir.path());
    let run = Run::open(dir.path()).unwrap();
    let page = render(&run);
    balanced(&page);
    for (what, at_least) in [
        ("not recorded", 10),
        ("metrics.jsonl: not recorded", 1),
        ("Detection results: not recorded", 1),
    ] {
        assert!(page.matches(what).count() >= at_least, "{what}");
    }
    let e = Run::open(&dir.path().join("none")).unwrap_err();
    assert_eq!(e.code(), Code::NotFound);
    std::fs::remove_file(dir.path().join("run.toml")).unwrap();
    assert!(
        Run::open(dir.path())
            .unwrap_err()
            .message()
            .contains("nothing of a run")
    );
}

#[test]
fn damage_is_named_with_file_and_line() {
    let (page, notes) = page_of(|dir| {
        let path = dir.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines[6] = "{\"stage\": 3}";
        std::fs::write(&path, lines.join("\n") + "\n{\"sta").unwrap();
        std::fs::write(dir.join("final/metrics.json"), "{}").unwrap();
        std::fs::write(dir.join("final/samples/det-000.png"), "no picture").unwrap();
    });
    balanced(&page);
    assert!(
        notes
            .iter()
            .any(|n| n.starts_with("metrics.jsonl:7: damaged")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|n| n.contains("cut off in the middle")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|n| n.starts_with("final/metrics.json:1:")),
        "{notes:?}"
    );
    assert!(page.contains("metrics.jsonl:7: damaged") && page.contains("det-000.png: not a PNG"));
}

#[test]
fn names_from_files_cannot_become_markup() {
    let bad = "<img src=x onerror=alert(1)>\"'&</script>";
    let (page, _) = page_of(|dir| {
        let path = dir.join("final/metrics.json");
        let mut e: EvalRecord = read_file(&path).unwrap();
        let d = e.detection.as_mut().unwrap();
        d.classes[0] = bad.into();
        d.protocols.insert(
            bad.into(),
            ProtocolResult {
                ap: vec![None; 3],
                ..ProtocolResult::default()
            },
        );
        e.segmentation.as_mut().unwrap().classes[0] = bad.into();
        e.cost.as_mut().unwrap().parts[0].part = bad.into();
        e.genotypes.insert(bad.into(), bad.into());
        std::fs::write(&path, to_file(&e)).unwrap();
        std::fs::write(dir.join("run.toml"), bad).unwrap();
        let mut alpha = read_lines::<AlphaRecord>(&dir.join("alpha.jsonl"))
            .unwrap()
            .records;
        alpha
            .iter_mut()
            .for_each(|a| (a.stage, a.genotype) = (bad.into(), bad.into()));
        std::fs::write(
            dir.join("alpha.jsonl"),
            alpha.iter().map(to_line).collect::<String>(),
        )
        .unwrap();
    });
    assert!(
        !page.contains("<img src=x"),
        "{}",
        &page[page.find("<img src=x").unwrap() - 200..][..400]
    );
    balanced(&page);
}

#[test]
fn lists_of_different_lengths_are_left_out_with_a_note() {
    let (page, notes) = page_of(|dir| {
        let path = dir.join("final/metrics.json");
        let mut e: EvalRecord = read_file(&path).unwrap();
        e.detection.as_mut().unwrap().objects.pop();
        e.segmentation.as_mut().unwrap().confusion[2].push(1);
        std::fs::write(&path, to_file(&e)).unwrap();
        let mut alpha = read_lines::<AlphaRecord>(&dir.join("alpha.jsonl"))
            .unwrap()
            .records;
        alpha[4].alpha[3].pop();
        std::fs::write(
            dir.join("alpha.jsonl"),
            alpha.iter().map(to_line).collect::<String>(),
        )
        .unwrap();
    });
    balanced(&page);
    assert_eq!(notes.len(), 3, "{notes:?}");
}

#[test]
fn mutated_files_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    fabricate::run(dir.path());
    // A little of everything is enough, and quicker.
    std::fs::write(
        dir.path().join("final/samples/samples.json"),
        r#"[{"file":"det-000.png","task":"det","name":"x"}]"#,
    )
    .unwrap();
    for log in ["metrics", "alpha", "events", "timing"] {
        let path = dir.path().join(format!("{log}.jsonl"));
        let lines: Vec<String> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .step_by(40)
            .map(String::from)
            .collect();
        std::fs::write(path, lines.join("\n")).unwrap();
    }
    let files = [
        "run.json",
        "metrics.jsonl",
        "alpha.jsonl",
        "events.jsonl",
        "timing.jsonl",
        "final/metrics.json",
        "stages/4-backbone/stage.json",
        "final/samples/samples.json",
    ];
    let mut rng = crate::rng::Rng::new(11, &[crate::rng::word("mutations")]);
    for round in 0..40 {
        let path = dir.path().join(files[round % files.len()]);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        for _ in 0..1 + rng.below(8) {
            let at = rng.below(bad.len());
            match rng.below(4) {
                0 => bad[at] = rng.u32() as u8,
                1 => drop(bad.remove(at)),
                2 => bad.truncate(at.max(1)),
                _ => bad[at] = b"0123456789-.eE[]{}\",:"[rng.below(21)],
            }
        }
        std::fs::write(&path, &bad).unwrap();
        if let Ok(run) = Run::open(dir.path()) {
            balanced(&render(&run));
        }
        std::fs::write(&path, good).unwrap();
    }
}

#[test]
fn a_long_run_still_fits() {
    let (page, _) = page_of(|dir| {
        let path = dir.join("metrics.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.repeat(12)).unwrap();
        let list = super::super::samples::read(&dir.join("final/samples")).unwrap();
        let many: Vec<_> = (0..60).map(|i| list[i % list.len()].0.clone()).collect();
        std::fs::write(dir.join("final/samples/samples.json"), to_file(&many)).unwrap();
    });
    assert!(page.len() < 10 << 20, "{} bytes", page.len());
    assert!(page.contains("further pictures are in") && page.contains("table: one record in"));
}

#[test]
fn numbers_for_people() {
    assert_eq!(
        [1234, 45_678, 9_387_552, 5_271_080_960].map(count),
        ["1234", "45.7\u{a0}k", "9.39\u{a0}M", "5.27\u{a0}G"]
    );
    assert_eq!(
        [0.5, 59.0, 134.0, 4000.0, 864_000.0].map(duration),
        [
            "0.5\u{a0}s",
            "59\u{a0}s",
            "2\u{a0}min 14\u{a0}s",
            "1\u{a0}h 06\u{a0}min",
            "10.0\u{a0}days"
        ]
    );
    assert_eq!(
        (percent(Some(0.4321)), percent(None)),
        ("43.2".into(), "\u{2013}".into())
    );
    assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
}
