//! A graph as an ONNX model.

use prost::Message;

use super::builder::{Attribute, Builder, Dim};
use super::decode::{self, Decoding};
use super::lower::lower;
use super::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::export::names::names;
use crate::portable::{Graph, Source};

/// Version of the operators.
pub const OPSET: i64 = 17;
/// Version of the format: the one that came with these operators.
pub const IR_VERSION: i64 = 8;

/// Images of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// So many.
    Fixed(usize),
    /// As many as are given; the dimension is named `N`.
    Open,
}

impl Batch {
    fn dim(self) -> Dim {
        match self {
            Batch::Fixed(n) => Dim::Is(n),
            Batch::Open => Dim::Open("N"),
        }
    }
}

/// What a file says and does beside the graph.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Images of a batch.
    pub batch: Batch,
    /// Text by name: genotype, classes, preprocessing.
    pub metadata: Vec<(String, String)>,
    /// What the input is.
    pub input_doc: String,
    /// Appends decoding and suppression of boxes.
    pub decoding: Option<Decoding<'a>>,
}

/// The bytes of an ONNX file.
pub fn to_onnx(graph: &Graph, options: &Options) -> Vec<u8> {
    model(graph, options).encode_to_vec()
}

/// The message that an ONNX file holds.
pub fn model(graph: &Graph, options: &Options) -> ModelProto {
    let names = names(graph);
    let mut b = Builder::default();
    let dims = |sizes: &[usize]| -> Vec<Dim> {
        let rest = sizes[1..].iter().map(|&n| Dim::Is(n));
        std::iter::once(options.batch.dim()).chain(rest).collect()
    };
    for id in graph.values() {
        match graph.source(id) {
            Source::Input(name) => {
                b.input(name, &dims(graph.shape(id).dims()), &options.input_doc);
            }
            Source::Constant(_, value) => b.tensor(&names[id.index()], value),
            Source::Node(_) => {}
        }
    }
    for n in graph.nodes() {
        let x: Vec<&str> = n.x.iter().map(|x| names[x.index()].as_str()).collect();
        lower(&mut b, graph, n, &x, &names[n.y.index()], options.batch);
    }
    for (name, id) in graph.outputs() {
        // A value that goes by another name: it is an input, or an output twice.
        let own = &names[id.index()];
        if own != name {
            b.node("Identity", &[own], name, &[] as &[(&str, Attribute)]);
        }
        b.output(name, &dims(graph.shape(*id).dims()), meaning(name));
    }
    if let Some(decoding) = &options.decoding {
        decode::append(&mut b, decoding, options.batch.dim());
    }
    let entry = |(key, value): &(String, String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("mtnas".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        doc_string: Some(format!("Network exported by mtnas. {}", options.input_doc)),
        graph: Some(b.finish("mtnas", &options.input_doc)),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        metadata_props: options.metadata.iter().map(entry).collect(),
    }
}

/// What an output is, by its name.
fn meaning(name: &str) -> &'static str {
    match name {
        "loc" => "offsets of boxes, a row for each prior: centre x, y, width, height first",
        "conf" => "scores before softmax, a row for each prior, background first",
        "seg" => "scores of every pixel before softmax, a plane for each class",
        "depth" => "distance of every pixel, in the unit of the data set",
        "normals" => "surface normal of every pixel: planes x, y, z, of any length",
        "keypoints" | "edges" => "strength of every pixel",
        "logits" => "scores before softmax, one for each class",
        _ => "",
    }
}
