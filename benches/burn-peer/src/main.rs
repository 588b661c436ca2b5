//! Rows of `benches/peers` in burn, on the processor, on one thread: the same names, the same JSON.

mod clock;
mod layers;
mod network;
mod rows;
mod step;

use burn_autodiff::Autodiff;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

/// Times rows of benches/peers in burn.
#[derive(Parser)]
struct Cli {
    /// Which of burn's backends
    #[arg(long, global = true, default_value = "flex")]
    backend: Kind,
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Flex,
    Ndarray,
}

#[derive(Subcommand)]
enum What {
    /// Single operations
    Ops(Ops),
    /// A search step
    Step(Step),
}

#[derive(Args)]
struct Ops {
    /// Only these rows
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// NxCxHxW of the channels that are mixed
    #[arg(long, value_delimiter = ',', value_parser = shape, default_value = "8x4x80x128,8x16x20x32,8x32x40x64")]
    shapes: Vec<[usize; 4]>,
    #[arg(long, default_value_t = 10)]
    iters: usize,
    #[arg(long, default_value_t = 3.0)]
    row_seconds: f64,
}

#[derive(Args)]
struct Step {
    #[arg(long, default_value = "cifar", value_parser = ["cifar"])]
    mode: String,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value_t = 32)]
    height: usize,
    #[arg(long, default_value_t = 32)]
    width: usize,
    #[arg(long, default_value_t = 16)]
    channels: usize,
    #[arg(long, default_value_t = 8)]
    cells: usize,
    #[arg(long, default_value_t = 10)]
    iters: usize,
    #[arg(long, default_value_t = 2)]
    warmup: usize,
}

fn shape(text: &str) -> Result<[usize; 4], String> {
    let sides: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let sides = sides.map_err(|e| e.to_string())?;
    sides.try_into().map_err(|_| "four numbers are wanted".into())
}

fn main() {
    let cli = Cli::parse();
    let idle = clock::peak_mib();
    let mut found = match (&cli.what, cli.backend) {
        (What::Ops(a), Kind::Flex) => rows::run::<Autodiff<Flex>>(a),
        (What::Ops(a), Kind::Ndarray) => rows::run::<Autodiff<NdArray>>(a),
        (What::Step(a), Kind::Flex) => step::run::<Autodiff<Flex>>(a),
        (What::Step(a), Kind::Ndarray) => step::run::<Autodiff<NdArray>>(a),
    };
    found["memory"] = json!({"host_peak_rss_mib": clock::peak_mib(), "host_idle_rss_mib": idle});
    println!("{found}");
}
