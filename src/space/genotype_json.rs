//! Genotypes as JSON, for other programs:
//!
//! ```text
//! {"normal": [["sep_conv_3x3", 0], ...], "normal_concat": [2, 3, 4, 5], "reduce": [...], "reduce_concat": [...]}
//! ```
//!
//! A network is an object of them: `backbone`, and `det` and `seg` where they were searched. What is read has to pass the same checks
//! as text.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::genotype::{CellGenotype, Genotype, NetworkGenotype};
use super::primitive::Primitive;
use crate::error::{Code, Error, Result, nearest};

/// The JSON of a genotype before its checks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    normal: Vec<(String, usize)>,
    normal_concat: Vec<usize>,
    reduce: Vec<(String, usize)>,
    reduce_concat: Vec<usize>,
}

impl From<Genotype> for Raw {
    fn from(g: Genotype) -> Raw {
        let cell = |c: CellGenotype| c.into_iter().map(|(op, i)| (op.to_string(), i)).collect();
        Raw {
            normal: cell(g.normal),
            normal_concat: g.normal_concat,
            reduce: cell(g.reduce),
            reduce_concat: g.reduce_concat,
        }
    }
}

impl TryFrom<Raw> for Genotype {
    type Error = String;

    fn try_from(raw: Raw) -> std::result::Result<Genotype, String> {
        type Cell = std::result::Result<CellGenotype, String>;
        let cell = |c: Vec<(String, usize)>| c.into_iter().map(entry).collect::<Cell>();
        let g = Genotype {
            normal: cell(raw.normal)?,
            normal_concat: raw.normal_concat,
            reduce: cell(raw.reduce)?,
            reduce_concat: raw.reduce_concat,
        };
        // The parser of the text form holds the rules: how many operations, which inputs, which nodes.
        g.to_string()
            .parse()
            .map_err(|e: Error| e.message().to_string())
    }
}

fn entry((name, input): (String, usize)) -> std::result::Result<(Primitive, usize), String> {
    match Primitive::from_name(&name) {
        Some(op) => Ok((op, input)),
        None => {
            let near = nearest(&name, Primitive::ALL.iter().map(|p| p.name()));
            let hint = near.map_or(String::new(), |n| format!(", did you mean `{n}`?"));
            Err(format!("unknown operation `{}`{hint}", name.escape_debug()))
        }
    }
}

/// True if a text is JSON and not the genotype text of DARTS.
pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// One genotype; `source` names the text in errors.
///
/// # Errors
/// `MT0209` with line and column.
pub(super) fn genotype(text: &str, source: &str) -> Result<Genotype> {
    read(text, source)
}

/// A network, or one genotype as its backbone.
///
/// # Errors
/// `MT0209` with line and column.
pub(super) fn network(text: &str, source: &str) -> Result<NetworkGenotype> {
    let parts: serde_json::Map<String, serde_json::Value> = read(text, source)?;
    if parts.contains_key("backbone") {
        return read(text, source);
    }
    Ok(NetworkGenotype {
        backbone: read(text, source)?,
        det: None,
        seg: None,
    })
}

fn read<T: DeserializeOwned>(text: &str, source: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| {
        let whole = e.to_string();
        let tail = format!(" at line {} column {}", e.line(), e.column());
        let message = whole.strip_suffix(&tail).unwrap_or(&whole);
        Error::new(Code::BadGenotype, message)
            .at(format!("{source}:{}:{}", e.line(), e.column()))
            .help("`mtnas arch convert DARTS_V2 --to json` shows what it looks like")
    })
}

fn object(g: &Genotype, indent: &str) -> String {
    let raw = Raw::from(g.clone());
    let list = |v: &[(String, usize)]| {
        let items: Vec<String> = v.iter().map(|(n, i)| format!("[\"{n}\", {i}]")).collect();
        items.join(", ")
    };
    format!(
        "{{\n{indent}  \"normal\": [{}],\n{indent}  \"normal_concat\": {:?},\n{indent}  \"reduce\": [{}],\n{indent}  \"reduce_concat\": {:?}\n{indent}}}",
        list(&raw.normal),
        raw.normal_concat,
        list(&raw.reduce),
        raw.reduce_concat
    )
}

impl NetworkGenotype {
    /// JSON that reads back to this network; a backbone alone is written as one genotype.
    pub fn to_json(&self) -> String {
        if self.det.is_none() && self.seg.is_none() {
            return object(&self.backbone, "") + "\n";
        }
        let parts: Vec<String> = self
            .parts()
            .map(|(name, g)| format!("  \"{name}\": {}", object(g, "  ")))
            .collect();
        format!("{{\n{}\n}}\n", parts.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::space::published;
    use crate::space::random::{NoneDraws, random_genotype};

    #[test]
    fn a_thousand_networks_print_and_parse_to_themselves() {
        for seed in 0..1000 {
            let mut rng = Rng::new(seed, &[4]);
            let nodes = 1 + rng.below(6);
            let mut draw = || random_genotype(&mut rng, nodes, NoneDraws::Include);
            let n = NetworkGenotype {
                backbone: draw(),
                det: (seed % 2 == 0).then(&mut draw),
                seg: (seed % 3 == 0).then(&mut draw),
            };
            assert_eq!(n.to_json().parse::<NetworkGenotype>().unwrap(), n);
            let json = serde_json::to_string(&n.backbone).unwrap();
            assert_eq!(json.parse::<Genotype>().unwrap(), n.backbone);
            let all = serde_json::to_string(&n).unwrap();
            assert_eq!(serde_json::from_str::<NetworkGenotype>(&all).unwrap(), n);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        let good = published::mtnas().to_json();
        assert_eq!(good.parse::<NetworkGenotype>().unwrap(), published::mtnas());
        let bad = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            let e = NetworkGenotype::parse(&good.replacen(from, to, 1), "net.json").unwrap_err();
            assert_eq!(e.code(), Code::BadGenotype);
            format!("{}: {}", e.place().unwrap(), e.message())
        };
        let e = bad("sep_conv_3x3", "sep_conv_3x4");
        assert!(
            e.starts_with("net.json:7:3: unknown operation") && e.contains("did you mean"),
            "{e}"
        );
        let e = bad("[\"sep_conv_3x3\", 0]", "[\"sep_conv_3x3\", 2]");
        assert!(e.contains("node 0 reads inputs 0 to 1, got 2"), "{e}");
        let e = bad("[2, 3, 4, 5]", "[2, 3, 4, 6]");
        assert!(e.contains("expected nodes 2 to 5, got 6"), "{e}");
        let e = bad("normal_concat", "concat");
        assert!(e.starts_with("net.json:4:12: unknown field"), "{e}");
        let e = bad("\"det\":", "\"detection\":");
        assert!(e.contains("unknown field `detection`"), "{e}");
        let e = bad("[[", "[");
        assert!(e.starts_with("net.json:3:"), "{e}");
    }
}
