//! Measured latencies of single operations: the file that `mtnas bench net --ops-table` writes, looked up by where an operation stands.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::model::Place;
use crate::nn::Map;
use crate::search::config::Files;
use crate::space::Primitive;

/// Tables beyond this size are refused.
const MAX_BYTES: u64 = 1 << 26;

/// What the file says besides its rows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct File {
    device: String,
    threads: usize,
    dtype: String,
    rows: Vec<serde_json::Value>,
}

/// A measured operation.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    primitive: String,
    channels: usize,
    height: usize,
    width: usize,
    stride: usize,
    batch: usize,
    us: f64,
}

/// A table in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyTable {
    /// Where the first file was measured, for people: device, threads, dtype.
    pub measured: String,
    /// SHA-256 of each file, in hexadecimal.
    pub sha256: String,
    rows: BTreeMap<(Place, usize), f64>,
}

impl LatencyTable {
    /// Reads a table of one or several files; of an operation that several have the first counts.
    ///
    /// # Errors
    /// `NotFound`, `Io`, `TooLarge`; `BadFormat` for another file, a row that is not one, or an operation that a file has twice.
    pub fn load_all(files: &Files) -> Result<LatencyTable> {
        let mut all: Option<LatencyTable> = None;
        for path in &files.0 {
            let one = LatencyTable::load(path)?;
            all = Some(match all {
                None => one,
                Some(mut all) => {
                    for (place, us) in one.rows {
                        all.rows.entry(place).or_insert(us);
                    }
                    all.sha256 += &one.sha256;
                    all
                }
            });
        }
        all.ok_or_else(|| Error::new(Code::ConfigValue, "no file of latencies is given"))
    }

    fn load(path: &Path) -> Result<LatencyTable> {
        let io = |e| Error::io(path, e);
        if std::fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
            let text = format!("more than {MAX_BYTES} bytes are too many for a table of latencies");
            return Err(Error::new(Code::TooLarge, text).at(path.display()));
        }
        let bytes = std::fs::read(path).map_err(io)?;
        LatencyTable::parse(&bytes).map_err(|e| e.within(path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<LatencyTable> {
        let bad = |what: String| {
            Error::new(Code::BadFormat, format!("not a table of latencies: {what}"))
                .help("measure it again: mtnas bench net NET --ops-table FILE")
        };
        let file: File = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let mut rows = BTreeMap::new();
        for (i, row) in file.rows.into_iter().enumerate() {
            let at = |what: String| bad(what).at(format!("row {}", i + 1));
            let row: Row = serde_json::from_value(row).map_err(|e| at(e.to_string()))?;
            let primitive = Primitive::from_name(&row.primitive)
                .ok_or_else(|| at(format!("there is no operation {:?}", row.primitive)))?;
            if !(row.us >= 0.0 && row.us.is_finite()) {
                return Err(at(format!("a latency of {} microseconds", row.us)));
            }
            let place = Place {
                primitive,
                x: Map::new(row.channels, row.height, row.width),
                stride: row.stride,
            };
            if rows.insert((place, row.batch), row.us).is_some() {
                return Err(at(format!("{place}, batch {}, is there twice", row.batch)));
            }
        }
        let (device, dtype) = (file.device, file.dtype);
        let sha256 = Sha256::digest(bytes);
        Ok(LatencyTable {
            measured: format!("{device}, {} threads, {dtype}", file.threads),
            sha256: sha256.iter().map(|b| format!("{b:02x}")).collect(),
            rows,
        })
    }

    /// Microseconds of an operation for a batch of so many images; what computes nothing takes no time.
    ///
    /// # Errors
    /// `MT0102` where it was not measured.
    pub fn of(&self, place: &Place, batch: usize) -> Result<f64> {
        match self.rows.get(&(*place, batch)) {
            Some(&us) => Ok(us),
            None if place.is_free() => Ok(0.0),
            None => Err(missing(&[*place], batch)),
        }
    }

    /// Whether all of these were measured.
    ///
    /// # Errors
    /// `MT0102` that lists all that were not.
    pub fn covers(&self, places: &[Place], batch: usize) -> Result<()> {
        let absent = |p: &&Place| !p.is_free() && !self.rows.contains_key(&(**p, batch));
        let absent: Vec<Place> = places.iter().filter(absent).copied().collect();
        match absent.is_empty() {
            true => Ok(()),
            false => Err(missing(&absent, batch)),
        }
    }
}

/// All that is missing, a line for each shape.
fn missing(places: &[Place], batch: usize) -> Error {
    let mut shapes: BTreeMap<(Map, usize), Vec<&str>> = BTreeMap::new();
    for p in places {
        let of = shapes.entry((p.x, p.stride)).or_default();
        of.push(p.primitive.name());
    }
    let text = format!(
        "{} operations of this search are not in the table of latencies at batch {batch}",
        places.len()
    );
    let e = Error::new(Code::ConfigValue, text).help(
        "measure them with the network and the input of each stage: mtnas bench net NET --ops-table FILE",
    );
    shapes.into_iter().fold(e, |e, ((x, stride), ops)| {
        e.note(format!("{x} stride {stride}: {}", ops.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &str) -> Result<LatencyTable> {
        let text =
            format!(r#"{{"device": "cpu", "threads": 2, "dtype": "f32", "rows": [{rows}]}}"#);
        LatencyTable::parse(text.as_bytes())
    }

    const ROW: &str = r#"{"primitive": "sep_conv_3x3", "channels": 4, "height": 80, "width": 128, "stride": 1, "batch": 1, "us": 12.5}"#;

    fn place(primitive: Primitive, stride: usize) -> Place {
        let x = Map::new(4, 80, 128);
        Place {
            primitive,
            x,
            stride,
        }
    }

    #[test]
    fn rows_are_found_where_they_were_measured() {
        let t = table(ROW).unwrap();
        assert_eq!(t.measured, "cpu, 2 threads, f32");
        assert_eq!(t.of(&place(Primitive::SepConv3, 1), 1).unwrap(), 12.5);
        assert_eq!(t.of(&place(Primitive::Skip, 1), 1).unwrap(), 0.0);
        assert!(t.of(&place(Primitive::SepConv3, 2), 1).is_err());
        assert!(t.of(&place(Primitive::SepConv3, 1), 8).is_err());
        assert!(t.covers(&[place(Primitive::SepConv3, 1)], 1).is_ok());
    }

    #[test]
    fn one_error_lists_all_that_is_missing() {
        let t = table(ROW).unwrap();
        let all = [1, 2].map(|stride| Primitive::ALL.iter().map(move |&p| place(p, stride)));
        let all: Vec<Place> = all.into_iter().flatten().collect();
        let e = t.covers(&all, 1).unwrap_err();
        assert_eq!(e.code(), Code::ConfigValue);
        let text = e.render();
        for part in [
            "12 operations",
            "4x80x128 stride 1: max_pool_3x3, avg_pool_3x3, sep_conv_5x5, dil_conv_3x3, dil_conv_5x5",
            "4x80x128 stride 2: max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3",
            "mtnas bench net",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        let twice = format!("{ROW}, {ROW}");
        let op = ROW.replace("sep_conv_3x3", "sep_conv_9x9");
        let negative = ROW.replace("12.5", "-1");
        let short = ROW.replace(r#", "us": 12.5"#, "");
        for (rows, what) in [
            (twice.as_str(), "row 2"),
            (&op, "sep_conv_9x9"),
            (&negative, "-1 microseconds"),
            (&short, "`us`"),
        ] {
            let e = table(rows).unwrap_err();
            assert_eq!(e.code(), Code::BadFormat);
            assert!(e.render().contains(what), "{what}: {}", e.render());
        }
        assert!(LatencyTable::parse(b"[1, 2]").is_err());
        let e = LatencyTable::load_all(&Files(vec!["/nowhere/table.json".into()])).unwrap_err();
        assert_eq!(e.code(), Code::NotFound);
    }

    #[test]
    fn of_several_files_the_first_that_has_it_counts() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: &str| {
            let path = home.path().join(name);
            let text =
                format!(r#"{{"device": "a", "threads": 1, "dtype": "f32", "rows": [{rows}]}}"#);
            std::fs::write(&path, text).unwrap();
            path
        };
        let first = write("1.json", ROW);
        let other = ROW.replace("12.5", "99");
        let second = write(
            "2.json",
            &format!(
                "{other}, {}",
                other.replace(r#""stride": 1"#, r#""stride": 2"#)
            ),
        );
        let t = LatencyTable::load_all(&Files(vec![first, second])).unwrap();
        assert_eq!(t.of(&place(Primitive::SepConv3, 1), 1).unwrap(), 12.5);
        assert_eq!(t.of(&place(Primitive::SepConv3, 2), 1).unwrap(), 99.0);
        assert_eq!(t.sha256.len(), 128);
    }
}
