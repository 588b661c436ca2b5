//! `mtnas export`: a network, its weights or its cells in the form that another program reads.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::arch::target::Target;
use crate::error::{Code, Error, Result};
use crate::export::onnx::{Batch, Options, to_onnx};
use crate::export::safetensors::{self, TensorFile};
use crate::export::{fold_norms, torch, trace, verify};
use crate::files::write_atomic;
use crate::portable::Graph;
use crate::report::{dot, picture};
use crate::space::NetworkGenotype;
use source::Source;

mod python;
mod sheet;
pub(super) mod source;

const HELP: &str = "\
Examples:
  mtnas export runs/driving-small --to onnx --verify
  mtnas export runs/driving-small --to onnx --decode --batch dynamic -o car.onnx
  mtnas export runs/driving-small --to torch-py -o net/model.py
  mtnas export PC_DARTS_cifar --to onnx --network cifar --channels 16
  mtnas export runs/driving-small --to svg -o cells.svg

A genotype gets a network around it (--network and what follows) and first
values from --seed: enough to measure its latency elsewhere. Inputs, outputs
and preprocessing: docs/export.md.";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The network for inference, operators of version 17
    Onnx,
    /// The weights by their names, f32
    Safetensors,
    /// The cells as text
    Genotype,
    /// A model.py for PyTorch, its weights beside it
    TorchPy,
    /// The cells for graphviz
    Dot,
    /// The cells as a drawing
    Svg,
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Finished run, genotype file (FILE:NAME of several) or published name
    target: String,
    /// Form of the file
    #[arg(long, value_name = "FORM")]
    to: Form,
    /// The file; text forms go to the standard output without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// ONNX: images of a batch, or `dynamic`
    #[arg(long, value_name = "N", value_parser = batch)]
    batch: Option<Batch>,
    /// ONNX: add decoding of boxes and suppression
    #[arg(long)]
    decode: bool,
    /// Fold batch normalisation into the convolutions before it
    #[arg(long)]
    fold_bn: bool,
    /// Read the file back and compare what it computes with the network
    #[arg(long)]
    verify: bool,
    /// Python with PyTorch that checks a model.py
    #[arg(long, value_name = "PATH", requires = "verify")]
    python: Option<PathBuf>,
    #[command(flatten)]
    around: source::Around,
}

/// `4` or `dynamic`.
fn batch(text: &str) -> std::result::Result<Batch, String> {
    let number = |n: &usize| (1..=65_536).contains(n);
    match text {
        "dynamic" => Ok(Batch::Open),
        _ => (text.parse().ok().filter(number))
            .map(Batch::Fixed)
            .ok_or_else(|| "expected a number of images from 1 on, or `dynamic`".into()),
    }
}

fn usage(what: impl Into<String>, help: &str) -> Error {
    Error::new(Code::Usage, what).help(help)
}

pub(super) fn run(a: Arguments, context: &Context) -> Result<u8> {
    check(&a)?;
    let done = match a.to {
        Form::Genotype | Form::Dot | Form::Svg => return cells(&a, context).map(|()| 0),
        Form::Onnx => onnx(&a, &Source::open(&a.target, &a.around, context)?)?,
        Form::Safetensors => weights(&a, &Source::open(&a.target, &a.around, context)?)?,
        Form::TorchPy => torch_py(&a, &Source::open(&a.target, &a.around, context)?)?,
    };
    match context.json() {
        true => context.print_json(&done.json)?,
        false => context.print(&done.text)?,
    }
    Ok(0)
}

/// Flags of another form are a mistake that should be heard of.
fn check(a: &Arguments) -> Result<()> {
    let only = |given: bool, flag: &str, forms: &[Form]| match given && !forms.contains(&a.to) {
        true => Err(usage(
            format!("{flag} says nothing of this form"),
            "leave it out, or use --to onnx",
        )),
        false => Ok(()),
    };
    only(a.batch.is_some(), "--batch", &[Form::Onnx])?;
    only(a.decode, "--decode", &[Form::Onnx])?;
    only(a.fold_bn, "--fold-bn", &[Form::Onnx, Form::TorchPy])?;
    only(a.python.is_some(), "--python", &[Form::TorchPy])?;
    if a.verify && matches!(a.to, Form::Dot | Form::Svg) {
        return Err(usage(
            "a drawing has nothing to verify",
            "leave --verify out",
        ));
    }
    if a.verify && a.to == Form::TorchPy && a.python.is_none() {
        let help = "for example --python .venv/bin/python, or leave --verify out";
        return Err(usage(
            "--verify of a model.py needs a Python with PyTorch",
            help,
        ));
    }
    Ok(())
}

/// What is told of a file that was written.
struct Done {
    text: String,
    json: Value,
}

fn bytes_of(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)
        .map_err(|e| Error::io(path, e))?
        .len())
}

/// The network as a graph, its normalisations folded where asked for.
fn graph(a: &Arguments, s: &Source) -> Result<Graph> {
    let graph = trace(&s.net, &s.store)?;
    match a.fold_bn {
        true => fold_norms(&graph),
        false => Ok(graph),
    }
}

fn outputs(graph: &Graph) -> (String, Value) {
    let dims = |id| graph.shape(id).dims()[1..].to_vec();
    let all = || graph.outputs().iter().map(|(name, id)| (name, dims(*id)));
    let text: Vec<String> = all().map(|(n, d)| format!("{n} {d:?}")).collect();
    (
        text.join(", "),
        all().map(|(n, d)| (n.clone(), json!(d))).collect(),
    )
}

fn onnx(a: &Arguments, s: &Source) -> Result<Done> {
    let path = a.output.clone().unwrap_or_else(|| "model.onnx".into());
    let graph = graph(a, s)?;
    let batch = a.batch.unwrap_or(Batch::Fixed(1));
    let decoding = match a.decode {
        true => Some(s.decoding()?),
        false => None,
    };
    let options = Options {
        batch,
        metadata: sheet::metadata(s, a.fold_bn),
        input_doc: sheet::input_doc(s),
        decoding: decoding.clone(),
    };
    write_atomic(&path, &to_onnx(&graph, &options))?;
    let (text, json) = outputs(&graph);
    let bytes = bytes_of(&path)?;
    let mut done = Done {
        text: format!("{}  {} bytes, {text}\n", path.display(), bytes),
        json: json!({"file": path, "bytes": bytes, "outputs": json}),
    };
    if a.verify {
        let n = match batch {
            Batch::Fixed(n) => n,
            // Any number but the one that was traced.
            Batch::Open => 2,
        };
        let v = verify::onnx(&path, &s.net, &s.store, n, decoding.as_ref())?;
        let how = if v.reference { "reference" } else { "fast" };
        done.text += &format!(
            "verified: {} values on the {how} path, largest difference {:.2e}\n",
            v.values, v.largest
        );
        if let Some(n) = v.detections {
            done.text += &format!("verified: {n} detections after suppression\n");
        }
        done.json["verified"] = json!({"values": v.values, "largest": v.largest, "detections": v.detections, "path": how});
    }
    Ok(done)
}

fn weights(a: &Arguments, s: &Source) -> Result<Done> {
    let path = a
        .output
        .clone()
        .unwrap_or_else(|| "model.safetensors".into());
    let sets = [&s.store.weights, &s.store.buffers];
    let named = sets.into_iter().flat_map(|set| set.iter());
    let file = TensorFile {
        tensors: named.map(|(_, n, t)| (n.to_string(), t.clone())).collect(),
        metadata: sheet::metadata(s, false).into_iter().collect(),
    };
    safetensors::write(&path, &file)?;
    let (count, bytes) = (file.tensors.len(), bytes_of(&path)?);
    let mut done = Done {
        text: format!("{}  {bytes} bytes, {count} tensors\n", path.display()),
        json: json!({"file": path, "bytes": bytes, "tensors": count}),
    };
    if a.verify {
        let back = safetensors::read(&path)?;
        if back.tensors != file.tensors || back.metadata != file.metadata {
            let text = "the file does not hold the values of the network";
            return Err(Error::new(Code::CheckFailed, text).at(path.display()));
        }
        done.text += "verified: every value is there, bit for bit\n";
        done.json["verified"] = json!({"tensors": count});
    }
    Ok(done)
}

fn torch_py(a: &Arguments, s: &Source) -> Result<Done> {
    let path = a.output.clone().unwrap_or_else(|| "model.py".into());
    if path.extension().is_none_or(|e| e != "py") {
        let text = format!("{}: the code goes into a .py file", path.display());
        return Err(usage(text, "for example -o model.py"));
    }
    let beside = path.with_extension("safetensors");
    let graph = graph(a, s)?;
    let metadata = sheet::metadata(s, a.fold_bn).into_iter().collect();
    write_atomic(&path, torch::model_py(&graph, &sheet::about(s)).as_bytes())?;
    safetensors::write(&beside, &torch::weights(&graph, metadata))?;
    let (text, json) = outputs(&graph);
    let mut done = Done {
        text: format!("{}, {}  {text}\n", path.display(), beside.display()),
        json: json!({"file": path, "weights": beside, "outputs": json}),
    };
    if let Some(python) = &a.python {
        let said = python::check(python, &path, s)?;
        done.text += &format!("verified in PyTorch: {said}\n");
        done.json["verified"] = json!({"said": said});
    }
    Ok(done)
}

/// Forms that need no weights.
fn cells(a: &Arguments, context: &Context) -> Result<()> {
    if a.around.given() {
        let text = "the cells are the same in every network";
        return Err(usage(text, "leave --network and what belongs to it out"));
    }
    let g = Target::genotype(&a.target)?;
    let text = match a.to {
        Form::Dot => dot::network(&g),
        Form::Svg => picture::network(&g),
        _ => super::arch::text(&g),
    };
    if a.verify && text.parse::<NetworkGenotype>()? != g {
        let what = "the text does not read back as the genotype";
        return Err(Error::new(Code::CheckFailed, what).at(&a.target));
    }
    match &a.output {
        Some(path) => write_atomic(path, text.as_bytes()),
        None => context.print(&text),
    }
}
