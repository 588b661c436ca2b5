//! The page of data sets: every configuration on it is read and checked, each table of a data set in the whole file of its kind.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::*;
use crate::data::dataset::{Format, Kind};

const PAGE: &str = include_str!("../../../../docs/data.md");

/// The blocks of TOML with the lines that they begin in.
///
/// # Errors
/// A table of a data set that is not in such a block, a block that does not end.
fn blocks(page: &str) -> Result<Vec<(usize, String)>, String> {
    let mut found: Vec<(usize, String)> = vec![];
    let mut inside = None;
    for (number, line) in (1..).zip(page.lines()) {
        let fence = line.trim_start().starts_with("```");
        inside = match (inside, fence) {
            (None, true) => {
                let toml = line.trim() == "```toml";
                if toml {
                    found.push((number, String::new()));
                }
                Some(toml)
            }
            (Some(_), true) => None,
            (Some(true), false) => {
                let text = &mut found.last_mut().unwrap().1;
                *text += line;
                *text += "\n";
                inside
            }
            (_, false) if line.trim_start().starts_with("[data.") => {
                return Err(format!(
                    "line {number}: a table that is not in a block of toml"
                ));
            }
            (_, false) => inside,
        };
    }
    match inside {
        None => Ok(found),
        Some(_) => Err("a block that does not end".into()),
    }
}

/// Name of the task of a kind; values of pixels share a whole file.
fn task_of(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Detection => ("det", "det"),
        Kind::Segmentation => ("seg", "seg"),
        Kind::Classification => ("cls", "cls"),
        Kind::Depth => ("depth", "depth"),
        Kind::Normals => ("normals", "depth"),
        Kind::Keypoints => ("keypoints", "depth"),
        Kind::Edges => ("edges", "depth"),
        Kind::Joint => return None,
    })
}

/// The whole file `base` with the tables `data`, and with the data set `name` for its one task.
fn put_in(base: &Table, data: &Table, name: &str, task: &str) -> Table {
    let mut file = base.clone();
    let sets = file["data"].as_table_mut().unwrap();
    sets.extend(data.clone());
    let tasks = file["tasks"].as_table_mut().unwrap();
    let (_, mut only) = tasks.clone().into_iter().next().unwrap();
    let table = only.as_table_mut().unwrap();
    table.insert("data".into(), name.into());
    if task != "det" && task != "seg" && task != "cls" {
        table.insert("kind".into(), task.into());
    }
    *tasks = Table::from_iter([(task.to_string(), only)]);
    file
}

/// Reads and checks all blocks; the formats that the page has a table of.
fn checked(page: &str) -> Result<BTreeSet<String>, String> {
    let valid = |line: usize, text: &str| {
        read(text).map_err(|e| format!("block at line {line}: {}\n{text}", e.render()))
    };
    let mut formats = BTreeSet::new();
    let mut whole: Vec<(String, Table)> = vec![];
    let mut parts: Vec<(usize, String, Table)> = vec![];
    for (line, text) in blocks(page)? {
        let bad = |what: &str| format!("block at line {line}: {what}");
        let table: Table = text.parse().map_err(|e| bad(&format!("{e}")))?;
        let data = table.get("data").and_then(Value::as_table);
        let data = data.ok_or_else(|| bad("no data set"))?;
        let named = data.values().filter_map(|d| d.get("format")?.as_str());
        formats.extend(named.map(String::from));
        if !table.contains_key("version") {
            parts.push((line, text, table));
            continue;
        }
        let config = valid(line, &text)?;
        let mut tasks = config.tasks.keys();
        let (Some(task), None) = (tasks.next(), tasks.next()) else {
            return Err(bad("a whole file has one task"));
        };
        whole.push((task.to_string(), table));
    }
    for (line, text, table) in parts {
        let data = table["data"].as_table().unwrap();
        let alone: Config = toml::from_str(&text).map_err(|e| format!("line {line}: {e}"))?;
        for (name, set) in &alone.resolved().data {
            let bad = |what: &str| format!("block at line {line}: {name:?} {what}");
            let kind = task_of(set.kind());
            let (task, file) = kind.ok_or_else(|| bad("has several targets, so no task"))?;
            let base = whole.iter().find(|w| w.0 == file);
            let (_, base) = base.ok_or_else(|| bad("fits into no whole file"))?;
            let mut file = put_in(base, data, name, task);
            valid(line, &file.to_string())?;
            // The tasks of the block beside it.
            if let Some(Value::Table(tasks)) = table.get("tasks") {
                file["tasks"].as_table_mut().unwrap().extend(tasks.clone());
                valid(line, &file.to_string())?;
            }
        }
    }
    Ok(formats)
}

#[test]
fn every_configuration_on_the_page_is_valid_and_every_format_has_one() {
    let formats = checked(PAGE).unwrap_or_else(|e| panic!("docs/data.md: {e}"));
    let all = Format::choices().into_iter().map(|c| c.0.to_string());
    assert_eq!(formats, all.collect());
}

/// What the check of the page is there for.
#[test]
fn slips_on_the_page_are_found() {
    for (from, to, words) in [
        ("format = \"voc\"", "format = \"vok\"", "unknown variant"),
        ("centre = 0.875", "center = 0.875", "center"),
        (
            "targets = [\"segmentation\"]\nignore_uncertain",
            "targets = []\nignore_uncertain",
            "several targets",
        ),
        ("fraction = 0.125", "fraction = 1.25", "(0, 1]"),
        (
            "kind = \"detection\"",
            "kind = \"boxes\"",
            "`tasks.det.kind`",
        ),
        (
            "sources = [\"kitti\", ",
            "sources = [\"kity\", ",
            "no data set \"kity\"",
        ),
        ("```toml\n[data.voc]", "```\n[data.voc]", "not in a block"),
        ("```toml\n[data.voc]", "```toml\n[date.voc]", "`date`"),
        (
            "frame = \"mtl-resnet18\"",
            "frame = \"classification\"",
            "model.frame",
        ),
    ] {
        assert!(PAGE.contains(from), "{from}");
        let e = checked(&PAGE.replace(from, to)).expect_err(to);
        assert!(e.contains(words), "{to}: {e}");
    }
}
