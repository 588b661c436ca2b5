//! How `mtnas bench ops` takes times.

use std::time::Instant;

use super::ops::Ops;
use crate::backend::driver::Stream;
use crate::error::{Code, Error, Result};
use crate::search::step_timing::{cpu_ms, median};
use crate::tape::{Cx, Path};
use crate::tensor::Engine;

/// Long enough for the clock of the processor, which ticks every few milliseconds.
const LEAST_SECONDS: f64 = 0.25;

/// Milliseconds a call takes: the median over passes by the clock, and, on the processor, the mean in processor time.
pub(super) fn time(
    a: &Ops,
    cx: Cx,
    sets: usize,
    mut call: impl FnMut(usize) -> Result<()>,
) -> Result<[f64; 2]> {
    let mut all = || (0..sets).try_for_each(&mut call);
    all()?;
    match cx.path {
        Path::Device(e) => Ok([on_device(a, e, all)? / sets as f64, f64::NAN]),
        _ => on_processor(a, sets, all),
    }
}

fn on_processor(a: &Ops, sets: usize, mut all: impl FnMut() -> Result<()>) -> Result<[f64; 2]> {
    let mut wall = vec![];
    let (before, first) = (cpu_ms(), Instant::now());
    loop {
        let (n, spent) = (wall.len(), first.elapsed().as_secs_f64());
        let enough = n >= a.iters.into() && spent > LEAST_SECONDS;
        if enough || (n > 2 && spent > a.row_seconds) {
            let cpu = (cpu_ms() - before) / (n * sets) as f64;
            return Ok([median(&wall), cpu]);
        }
        let start = Instant::now();
        all()?;
        wall.push(start.elapsed().as_secs_f64() * 1e3 / sets as f64);
    }
}

/// Milliseconds of a pass by the device's clock: its launches are recorded and replayed.
fn on_device(a: &Ops, e: Engine, mut all: impl FnMut() -> Result<()>) -> Result<f64> {
    let ((), ready) = e.rehearse(&mut all)?;
    let cannot = |why| Error::new(Code::Device, format!("cannot be recorded: {why}"));
    let recorded = e.record(&ready.map_err(cannot)?, &mut all)?;
    e.replay(&recorded)?;
    e.synchronize()?;
    let (d, mut ms) = (e.driver(), vec![]);
    for _ in 0..a.iters {
        let from = d.event(Stream::MAIN)?;
        e.replay(&recorded)?;
        let to = d.event(Stream::MAIN)?;
        e.synchronize()?;
        ms.push(d.elapsed(from, to)?);
    }
    Ok(median(&ms))
}
