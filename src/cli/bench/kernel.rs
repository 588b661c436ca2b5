//! `mtnas bench kernel`: the operations of a search on a device, one by one, against what the device can do.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::backend::Device;
use crate::cli::Context;
use crate::error::{Code, Error, Result};
use crate::files::write_atomic;
use crate::microbench::{Bound, Figures, Options, Row, Size, regressions, run as measure};
use crate::tape::Path;
use crate::tensor::DType;

/// Which shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shapes {
    /// Both frames at 320x512, batch 32, and CIFAR
    Full,
    /// A few pixels
    Small,
}

/// Storage of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    F32,
    Bf16,
    Both,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas bench kernel --device cuda
  mtnas bench kernel --device cuda --only depthwise --save now.json
  mtnas bench kernel --device cuda --against before.json --max-regress 5
  mtnas bench kernel --device emulated --shapes small

Every operation is checked against the reference before it is timed. GB/s and
TFLOP/s are of the fewest bytes and operations that will do; the share is that
of the ceiling, measured at the start, which bounds them: the copy bandwidth,
the rate of f32 multiply-adds, or that of bf16 matrix products (dense
convolutions in bf16). Times on the emulated device mean nothing.")]
pub(super) struct Kernel {
    /// Only operations with this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Shapes; full on a GPU, small elsewhere
    #[arg(long)]
    shapes: Option<Shapes>,
    /// Storage of maps
    #[arg(long, default_value = "both")]
    dtype: Storage,
    /// Measurements of each
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(3..))]
    repeats: u16,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Hold the figures against those of a file
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// With --against: fail when a row takes this many percent longer
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 10.0,
        requires = "against"
    )]
    max_regress: f64,
}

fn bound(b: Bound) -> &'static str {
    match b {
        Bound::Copy => "copy",
        Bound::Fma => "fma",
        Bound::Matrix => "matrix",
    }
}

fn line(r: &Row) -> String {
    let shape: Vec<String> = r.shape.iter().map(usize::to_string).collect();
    format!(
        "{:22} {:14} {:4} {:8} {:9.1} {:7.1} {:8.0} {:8.2} {:5.0} % of {:6}  {:.2}\n",
        r.name,
        shape.join("x"),
        r.dtype,
        r.pass,
        r.us,
        r.quartiles[1] - r.quartiles[0],
        r.bytes / r.us * 1e-3,
        r.flops / r.us * 1e-6,
        100.0 * r.of_ceiling,
        bound(r.bound),
        r.of_bound
    )
}

pub(super) fn run(a: Kernel, context: &Context) -> Result<u8> {
    let Path::Device(engine) = context.cx(Device::Auto)?.path else {
        return Err(Error::new(Code::Device, "there is no GPU on this machine")
            .help("--device emulated runs the kernels on the processor; its times mean nothing"));
    };
    let emulated = context.device(Device::Auto) == Device::Emulated;
    let size = match a.shapes {
        Some(Shapes::Full) => Size::Full,
        Some(Shapes::Small) => Size::Small,
        None if emulated => Size::Small,
        None => Size::Full,
    };
    let before = a.against.as_ref().map(read).transpose()?;
    let o = Options {
        size,
        only: a.only,
        dtypes: match a.dtype {
            Storage::F32 => vec![DType::F32],
            Storage::Bf16 => vec![DType::Bf16],
            Storage::Both => vec![DType::F32, DType::Bf16],
        },
        repeats: a.repeats.into(),
        // Twice the largest second-level cache there is.
        span: match size {
            Size::Full => 128 << 20,
            Size::Small => 1 << 14,
        },
        graph: !emulated,
    };
    if !context.json() {
        context.print(&format!(
            "{:22} {:14} {:4} {:8} {:>9} {:>7} {:>8} {:>8} {:>17}  of error bound\n",
            "operation",
            "shape",
            "type",
            "pass",
            "us",
            "spread",
            "GB/s",
            "TFLOP/s",
            "share of ceiling"
        ))?;
    }
    let f = measure(engine, &o, |r| {
        if !context.json() {
            // A reader that has gone away is noticed at the end.
            let _ = context.print(&line(r));
        }
    })?;
    if let Some(path) = &a.save {
        let text = serde_json::to_string_pretty(&f);
        let text = text.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        write_atomic(path, (text + "\n").as_bytes())?;
    }
    match context.json() {
        true => context.print_json(&f)?,
        false => context.print(&format!(
            "{}: copies at {:.0} GB/s, multiply-adds at {:.1} TFLOP/s, bf16 matrix products at {:.1} TFLOP/s\n",
            f.device,
            f.ceilings.copy * 1e-9,
            f.ceilings.fma * 1e-12,
            f.ceilings.matrix * 1e-12
        ))?,
    }
    let Some(before) = before else { return Ok(0) };
    let (slower, n) = regressions(&f, &before, a.max_regress / 100.0)?;
    for (r, q) in &slower {
        let place = format!("{} {:?} {} {}", r.name, r.shape, r.dtype, r.pass);
        eprintln!("slower: {place}: {q:.2} times the time before");
    }
    eprintln!(
        "{} of {n} rows are more than {} % slower",
        slower.len(),
        a.max_regress
    );
    Ok(match slower.is_empty() {
        true => 0,
        false => Code::CheckFailed.exit(),
    })
}

fn read(path: &PathBuf) -> Result<Figures> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_str(&text).map_err(|e| {
        Error::new(Code::BadFormat, format!("not figures of this command: {e}"))
            .at(format!("{}:{}", path.display(), e.line()))
            .help("a file that --save wrote")
    })
}
