//! `mtnas gradcheck`: the gradient of every operation against dual numbers and differences, the fast path against the
//! reference, planted errors, refusals.

use clap::Args;

use super::Context;
use crate::backend::Device;
use crate::error::{Code, Error, Result};
use crate::gradcheck::{self, DeviceOptions, Options};
use crate::tape::Path;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas gradcheck
  mtnas gradcheck --cases 2000 --seed 7 --op 'conv.*|batch_norm'
  mtnas gradcheck --op conv2d --seed 7 --case 41
  mtnas gradcheck --device emulated --cases 16

`by dual` and `by diff.` are the largest errors of a gradient (allowed 1e-12 and
1e-8), `of bound` the largest share of its rounding bound that an element of
the fast path used, `planted caught` the wrong gradients that were noticed.
With --device the kernels are held against the reference instead, in f32 and in
bf16, each element within the bound of its own sums.")]
pub(super) struct Arguments {
    /// Random cases of each operation
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    cases: u32,
    /// Only operations whose whole name matches
    #[arg(long, value_name = "REGEX")]
    op: Option<String>,
    /// Only the case of this number: replays a failure
    #[arg(long, value_name = "I", conflicts_with = "cases")]
    case: Option<u32>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let options = Options {
        cases: arguments.case.map_or(arguments.cases as usize, |_| 1),
        first: arguments.case.unwrap_or(0) as usize,
        seed: context.seed().unwrap_or(0),
        op: arguments.op,
    };
    if context.device(Device::Cpu) != Device::Cpu {
        return on_device(options, context);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads().unwrap_or(0))
        .build()
        .map_err(|e| Error::new(Code::Internal, format!("cannot start threads: {e}")))?;
    let report = pool.install(|| gradcheck::run(&options))?;
    if context.json() {
        context.print_json(&report)?;
    } else {
        context.print(&report.table())?;
    }
    Ok(if report.passed {
        0
    } else {
        Code::CheckFailed.exit()
    })
}

/// The kernels of a device against the reference.
fn on_device(o: Options, context: &Context) -> Result<u8> {
    let options = DeviceOptions {
        cases: o.cases,
        first: o.first,
        seed: o.seed,
        op: o.op,
    };
    let Path::Device(engine) = context.cx(Device::Cpu)?.path else {
        return Err(Error::new(Code::Device, "there is no GPU on this machine")
            .help("--device emulated runs the kernels on the processor"));
    };
    let report = gradcheck::run_on(engine, &options)?;
    if context.json() {
        context.print_json(&report)?;
    } else {
        context.print(&report.table())?;
    }
    Ok(if report.passed {
        0
    } else {
        Code::CheckFailed.exit()
    })
}
