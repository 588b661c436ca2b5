//! Records as lines of a log and as files, out and back.

use crate::{Code, Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// `record` as one line of a log, newline included.
pub fn to_line<T: Serialize>(record: &T) -> String {
    let mut line = serde_json::to_string(record)
        .expect("records hold only strings, numbers, lists and string-keyed maps");
    line.push('\n');
    line
}

/// `record` as a JSON file: indented, newline at the end.
pub fn to_file<T: Serialize>(record: &T) -> String {
    let mut text = serde_json::to_string_pretty(record)
        .expect("records hold only strings, numbers, lists and string-keyed maps");
    text.push('\n');
    text
}

/// Reads a whole JSON file. Errors: [`Code::NotFound`], [`Code::Io`], and [`Code::BadLine`] with `path:line:column`.
pub fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Error::new(Code::BadLine, format!("not a record of this kind: {e}"))
            .at(format!("{}:{}:{}", path.display(), e.line(), e.column()))
            .help("restore the file, or delete it: what it held is then shown as not recorded")
    })
}

/// The records of a log, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines<T> {
    /// One a line.
    pub records: Vec<T>,
    /// Number of a last line that was cut off in the middle of a write (no newline) and left out.
    pub cut: Option<usize>,
    /// Numbers of the other lines that were left out, and why.
    pub damaged: Vec<(usize, String)>,
}

/// Reads a log of JSON lines and leaves out what does not parse. Errors: [`Code::NotFound`], [`Code::Io`].
pub fn read_lines_that_parse<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let mut lines = Lines {
        records: Vec::new(),
        cut: None,
        damaged: Vec::new(),
    };
    let pieces: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    for (i, line) in pieces.iter().enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(record) => lines.records.push(record),
            Err(_) if i + 1 == pieces.len() => lines.cut = Some(i + 1),
            Err(e) => lines.damaged.push((i + 1, e.to_string())),
        }
    }
    Ok(lines)
}

/// Reads a log of JSON lines. Blank lines are passed over, and so is a last line without newline that does not parse: the
/// trace of a killed process. Errors: [`Code::NotFound`], [`Code::Io`], and [`Code::BadLine`] with `path:line`.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>> {
    let lines = read_lines_that_parse(path)?;
    match lines.damaged.first() {
        None => Ok(lines),
        Some((line, why)) => Err(Error::new(
            Code::BadLine,
            format!("not a record of this log: {why}"),
        )
        .at(format!("{}:{line}", path.display()))
        .help("remove the line, or restore the file from a copy")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::*;
    use super::*;
    use std::collections::BTreeMap;

    fn metric(loss: f64) -> MetricRecord {
        MetricRecord {
            stage: "1-branch-det".into(),
            step: 3,
            steps: 10,
            task: "det".into(),
            kind: Phase::Arch,
            loss,
            parts: [("loc".to_string(), 0.1 + 0.2), ("conf".to_string(), 1e-300)].into(),
            lr: Some(6e-4),
            grad_norm: None,
            cost: None,
            entropy: [("det.normal".to_string(), f64::INFINITY)].into(),
            skip_share: BTreeMap::new(),
            pool_share: BTreeMap::new(),
            scores: BTreeMap::new(),
        }
    }

    #[test]
    fn floats_come_back_with_the_same_bits() {
        for loss in [
            0.1 + 0.2,
            f64::MIN_POSITIVE,
            -0.0,
            1.0,
            f64::NAN,
            f64::NEG_INFINITY,
            f64::MAX,
            0.3f32 as f64,
        ] {
            let line = to_line(&metric(loss));
            assert_eq!(line.matches('\n').count(), 1);
            let back: MetricRecord = serde_json::from_str(&line).unwrap();
            assert_eq!(back.loss.to_bits(), loss.to_bits(), "{line}");
            assert_eq!(back.parts, metric(0.0).parts);
            assert_eq!(back.entropy, metric(0.0).entropy);
        }
    }

    #[test]
    fn empty_fields_are_left_out_and_unknown_ones_ignored() {
        let line = to_line(&metric(1.0));
        assert!(
            !line.contains("skip_share") && !line.contains("grad_norm"),
            "{line}"
        );
        let more = line.replacen('{', "{\"later\":[1],", 1);
        assert_eq!(
            serde_json::from_str::<MetricRecord>(&more).unwrap(),
            metric(1.0)
        );
    }

    #[test]
    fn nothing_measured_stays_nothing() {
        let r = ProtocolResult {
            ap: vec![Some(0.5), None, Some(f64::NAN)],
            mean: None,
            more: BTreeMap::new(),
        };
        let text = to_file(&r);
        let back: ProtocolResult = serde_json::from_str(&text).unwrap();
        assert_eq!((back.ap[0], back.ap[1], back.mean), (Some(0.5), None, None));
        assert!(back.ap[2].unwrap().is_nan());
    }

    #[test]
    fn damaged_lines_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let good = to_line(&metric(1.0));
        std::fs::write(&path, format!("{good}\n{good}{}", &good[..20])).unwrap();
        let lines = read_lines::<MetricRecord>(&path).unwrap();
        assert_eq!((lines.records.len(), lines.cut), (2, Some(4)));
        std::fs::write(&path, format!("{good}{}\n{good}", &good[..20])).unwrap();
        let e = read_lines::<MetricRecord>(&path).unwrap_err();
        assert_eq!(e.code(), Code::BadLine);
        assert!(e.place().unwrap().ends_with("metrics.jsonl:2"), "{e}");
        std::fs::write(
            &path,
            format!("{good}{}", good.replace("\"loss\":1.0", "\"loss\":\"one\"")),
        )
        .unwrap();
        let e = read_lines::<MetricRecord>(&path).unwrap_err();
        assert!(
            e.place().unwrap().ends_with(":2") && e.message().contains("\"one\""),
            "{e}"
        );
        assert_eq!(
            read_file::<EvalRecord>(&dir.path().join("none.json"))
                .unwrap_err()
                .code(),
            Code::NotFound
        );
        std::fs::write(&path, "{\n \"which\": \"best\"}").unwrap();
        let e = read_file::<EvalRecord>(&path).unwrap_err();
        assert!(e.place().unwrap().contains("metrics.jsonl:2:"), "{e}");
    }
}
