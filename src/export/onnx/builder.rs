//! An ONNX graph as it grows: nodes, and stored values, each once.

use std::collections::BTreeMap;

use super::proto::{
    AttributeProto, DimensionProto, F32, FLOAT, GraphProto, I64, INT, INTS, NodeProto, STRING,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::tensor::Tensor;

/// The size of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// Known.
    Is(usize),
    /// Open, under a name.
    Open(&'static str),
}

/// A parameter of an operation.
pub enum Attribute<'a> {
    /// A number.
    Float(f32),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Whole numbers.
    Ints(Vec<i64>),
}

/// The graph so far.
#[derive(Default)]
pub struct Builder {
    graph: GraphProto,
    /// Names of lists of integers that are stored, by their values.
    lists: BTreeMap<Vec<i64>, String>,
}

impl Builder {
    /// Stores an f32 tensor.
    pub fn tensor(&mut self, name: &str, value: &Tensor) {
        let dims = value.dims().iter().map(|&d| d as i64).collect();
        let bytes = value
            .to_f32()
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        self.store(name.into(), dims, F32, bytes);
    }

    /// A single number; its name.
    pub fn scalar(&mut self, name: &str, value: f32) -> String {
        self.store(name.into(), vec![], F32, value.to_le_bytes().to_vec());
        name.into()
    }

    /// Numbers `(n)` of any name; the name.
    pub fn floats(&mut self, name: &str, values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.store(name.into(), vec![values.len() as i64], F32, bytes);
        name.into()
    }

    /// A list of integers; its name.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let key = values.to_vec();
        if let Some(name) = self.lists.get(&key) {
            return name.clone();
        }
        let text: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("ints.{}", text.join("_"));
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.store(name.clone(), vec![values.len() as i64], I64, bytes);
        self.lists.insert(key, name.clone());
        name
    }

    fn store(&mut self, name: String, dims: Vec<i64>, data_type: i32, bytes: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims,
            data_type: Some(data_type),
            name: Some(name),
            raw_data: Some(bytes),
        });
    }

    /// Appends an operation with one result, which is also its name; returns the name.
    pub fn node(
        &mut self,
        op: &str,
        x: &[&str],
        y: &str,
        attributes: &[(&str, Attribute)],
    ) -> String {
        self.node_of(op, x, &[y], attributes);
        y.into()
    }

    /// Appends an operation with several results.
    pub fn node_of(&mut self, op: &str, x: &[&str], y: &[&str], attributes: &[(&str, Attribute)]) {
        let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
        self.graph.node.push(NodeProto {
            input: own(x),
            output: own(y),
            name: Some(y[0].into()),
            op_type: Some(op.into()),
            attribute: attributes.iter().map(|(n, a)| attribute(n, a)).collect(),
        });
    }

    /// Declares an f32 input.
    pub fn input(&mut self, name: &str, dims: &[Dim], doc: &str) {
        self.graph.input.push(value_info(name, F32, dims, doc));
    }

    /// Declares an f32 output.
    pub fn output(&mut self, name: &str, dims: &[Dim], doc: &str) {
        self.graph.output.push(value_info(name, F32, dims, doc));
    }

    /// Declares an output of i64.
    pub fn output_of_ints(&mut self, name: &str, dims: &[Dim], doc: &str) {
        self.graph.output.push(value_info(name, I64, dims, doc));
    }

    /// The graph under a name.
    pub fn finish(mut self, name: &str, doc: &str) -> GraphProto {
        self.graph.name = Some(name.into());
        self.graph.doc_string = Some(doc.into());
        self.graph
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut a = AttributeProto {
        name: Some(name.into()),
        ..AttributeProto::default()
    };
    a.r#type = Some(match value {
        Attribute::Float(v) => {
            a.f = Some(*v);
            FLOAT
        }
        Attribute::Int(v) => {
            a.i = Some(*v);
            INT
        }
        Attribute::Text(v) => {
            a.s = Some(v.as_bytes().to_vec());
            STRING
        }
        Attribute::Ints(v) => {
            a.ints.clone_from(v);
            INTS
        }
    });
    a
}

fn value_info(name: &str, elem_type: i32, dims: &[Dim], doc: &str) -> ValueInfoProto {
    let dim = |d: &Dim| match *d {
        Dim::Is(n) => DimensionProto {
            dim_value: Some(n as i64),
            dim_param: None,
        },
        Dim::Open(name) => DimensionProto {
            dim_value: None,
            dim_param: Some(name.into()),
        },
    };
    let shape = TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(elem_type),
                shape: Some(shape),
            }),
        }),
        doc_string: Some(doc.into()),
    }
}
