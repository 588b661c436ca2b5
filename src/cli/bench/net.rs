//! `mtnas bench net`: latency and memory of a derived network, all heads in one pass.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::{net_ops, peak_mib};
use crate::backend::Device;
use crate::backend::driver::Stream;
use crate::backend::host::isa;
use crate::cli::Context;
use crate::cli::export::source::{Around, Source};
use crate::error::{Code, Error, Result};
use crate::export::trace::outputs;
use crate::export::verify::images;
use crate::files::write_atomic;
use crate::infer::{Program, Session, largest_cut};
use crate::nn::{Mode, Pass};
use crate::search::step_timing::median;
use crate::tape::{Cx, Path};
use crate::tensor::{Engine, Tensor};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas bench net runs/driving-small --threads 1
  mtnas bench net MTNAS --batch 1,32 --device cuda --json
  mtnas bench net MTNAS --threads 1 --ops-table latency.json --batch 1

Times are of one pass from the normalised images in memory to the raw outputs
of all heads, median and 10th to 90th percentile. On the processor it is the
program of the network: normalisations folded, memory laid out once; `arena` is
that memory, and the share is that of the largest live cut of its values. On a
device it is the network as it is, replayed as a graph where that can be.

--ops-table times every candidate operation where the cells of the network have
one, at the first batch: the table that `table` of [search.constraint] names.")]
pub(super) struct Net {
    /// Finished run, genotype file, published name or network by hand
    target: String,
    /// Images of a pass; several with commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,32", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Vec<u16>,
    /// Timed passes of each batch
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(3..))]
    pub(super) rounds: u16,
    /// No new pass, after three, when a batch has taken this long
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub(super) seconds: f64,
    /// Show which steps take the time, on the processor
    #[arg(long)]
    profile: bool,
    /// Write the times of single operations as JSON
    #[arg(long, value_name = "FILE")]
    ops_table: Option<PathBuf>,
    #[command(flatten)]
    around: Around,
}

/// What was measured of a batch.
struct Measured {
    batch: usize,
    ms: Vec<f64>,
    /// Arena, largest live cut, scratch: of a program, in bytes.
    program: Option<[usize; 3]>,
    /// Of the operations of the network one by one, in bytes.
    cut: usize,
    /// The most that a device had in use.
    device_peak: Option<u64>,
}

pub(super) fn run(a: Net, context: &Context, idle: f64) -> Result<u8> {
    let source = Source::open(&a.target, &a.around, context)?;
    let cx = context.cx(Device::Cpu)?;
    let cut = cut_of(&source)?;
    let program = match cx.path {
        Path::Device(_) => None,
        _ => Some(Program::new(&source.net, &source.store)?),
    };
    let mut all = vec![];
    for &batch in &a.batch {
        let x = images(&source.net, batch.into())?;
        all.push(match (&program, cx.path) {
            (None, Path::Device(e)) => on_device(&a, &source, e, cx, &x, cut)?,
            (Some(p), _) => on_processor(&a, p, &x, cut)?,
            (None, _) => return Err(Error::new(Code::Internal, "neither processor nor device")),
        });
    }
    if let Some(path) = &a.ops_table {
        let batch = a.batch.first().copied().unwrap_or(1).into();
        let table = net_ops::table(&a, source.net.spec(), batch, cx)?;
        let text = serde_json::to_string_pretty(&table);
        let text = text.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        write_atomic(path, (text + "\n").as_bytes())?;
    }
    match context.json() {
        true => context.print_json(&figures(&source, cx, &all, idle))?,
        false => context.print(&text(&a, &source, cx, &all))?,
    }
    Ok(0)
}

/// Bytes of the largest live cut of the operations that the network is, for one image.
fn cut_of(s: &Source) -> Result<usize> {
    let p = Pass::new(&s.store, Cx::default(), Mode::EVAL);
    let x = p.tape.leaf(images(&s.net, 1)?);
    let (heads, list) = p.tape.sketch(|| outputs(&s.net, &p, &x))?;
    let ids: Vec<usize> = heads.iter().map(|h| h.1.id()).collect();
    Ok(largest_cut(&list, &ids) * size_of::<f32>())
}

fn on_processor(a: &Net, p: &Program, x: &Tensor, cut: usize) -> Result<Measured> {
    let batch = x.dims()[0];
    let mut session = Session::new(p, batch);
    let ms = rounds(a, || session.run(x))?;
    if a.profile {
        eprint!("{}", profile(p, &mut session, x)?);
    }
    Ok(Measured {
        batch,
        ms,
        program: Some([
            session.arena_bytes(),
            p.cut_bytes() * batch,
            session.scratch_bytes(),
        ]),
        cut: cut * batch,
        device_peak: None,
    })
}

/// Milliseconds of passes, after two that are not timed.
pub(super) fn rounds(a: &Net, mut pass: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let first = Instant::now();
    pass()?;
    pass()?;
    let mut ms = vec![];
    while ms.len() < a.rounds.into() {
        if ms.len() >= 3 && first.elapsed().as_secs_f64() > a.seconds {
            break;
        }
        let start = Instant::now();
        pass()?;
        ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(ms)
}

/// Steps by falling share of the time.
fn profile(p: &Program, session: &mut Session, x: &Tensor) -> Result<String> {
    let names: Vec<String> = p.steps().collect();
    let mut all = vec![f64::INFINITY; names.len()];
    for _ in 0..5 {
        session.run_with(x, |t, s| all[t] = all[t].min(s))?;
    }
    let total: f64 = all.iter().sum();
    let mut rows: Vec<(f64, &String)> = all.iter().copied().zip(&names).collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let line = |(s, name): (f64, &String)| {
        format!("{:9.3} ms {:5.1} %  {name}\n", s * 1e3, 100.0 * s / total)
    };
    Ok(rows.into_iter().map(line).collect())
}

/// Milliseconds by the device's clock: a pass is recorded and replayed, or launched where it cannot be recorded.
fn on_device(a: &Net, s: &Source, e: Engine, cx: Cx, x: &Tensor, cut: usize) -> Result<Measured> {
    x.on(e)?;
    let mut pass = || {
        let p = Pass::new(&s.store, cx, Mode::EVAL);
        outputs(&s.net, &p, &p.tape.leaf(x.clone())).map(|_| ())
    };
    pass()?;
    let ms = device_rounds(a, e, &mut pass)?;
    Ok(Measured {
        batch: x.dims()[0],
        ms,
        program: None,
        cut: cut * x.dims()[0],
        device_peak: Some(e.counts().peak),
    })
}

/// Milliseconds of passes by the clock of a device.
pub(super) fn device_rounds(
    a: &Net,
    e: Engine,
    mut pass: impl FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let ((), ready) = e.rehearse(&mut pass)?;
    let recorded = match ready {
        Ok(ready) => Some(e.record(&ready, &mut pass)?),
        Err(_) => None,
    };
    let mut once = || match &recorded {
        Some(r) => e.replay(r),
        None => pass(),
    };
    once()?;
    once()?;
    e.synchronize()?;
    let (d, mut ms, first) = (e.driver(), vec![], Instant::now());
    while ms.len() < a.rounds.into() {
        if ms.len() >= 3 && first.elapsed().as_secs_f64() > a.seconds {
            break;
        }
        let from = d.event(Stream::MAIN)?;
        once()?;
        let to = d.event(Stream::MAIN)?;
        e.synchronize()?;
        ms.push(d.elapsed(from, to)?);
    }
    Ok(ms)
}

/// Value below which so large a share of the sorted times lies.
pub(super) fn percentile(ms: &[f64], share: f64) -> f64 {
    let mut v = ms.to_vec();
    v.sort_by(f64::total_cmp);
    let at = (share * (v.len() - 1) as f64) as usize;
    v[at]
}

/// Name of what computes.
pub(super) fn device_name(cx: Cx) -> String {
    match cx.path {
        Path::Device(e) => e.name().to_string(),
        _ => format!("cpu {}", isa().name()),
    }
}

pub(super) fn threads() -> usize {
    crate::backend::threads::count()
}

fn figures(s: &Source, cx: Cx, all: &[Measured], idle: f64) -> Value {
    let (spec, cost) = (s.net.spec(), s.net.cost());
    let one = |m: &Measured| {
        let mut v = json!({
            "batch": m.batch,
            "ms": {
                "median": median(&m.ms), "p10": percentile(&m.ms, 0.1), "p90": percentile(&m.ms, 0.9),
                "min": percentile(&m.ms, 0.0), "max": percentile(&m.ms, 1.0), "n": m.ms.len(), "samples": m.ms,
            },
            "images_per_s": 1e3 * m.batch as f64 / median(&m.ms),
            "network_cut_bytes": m.cut,
        });
        if let Some([arena, cut, scratch]) = m.program {
            v["arena_bytes"] = json!(arena);
            v["cut_bytes"] = json!(cut);
            v["arena_of_cut"] = json!(arena as f64 / cut as f64);
            v["scratch_bytes"] = json!(scratch);
        }
        if let Some(peak) = m.device_peak {
            v["device_peak_bytes"] = json!(peak);
        }
        v
    };
    json!({
        "frame": spec.frame.frame.to_string(),
        "input": [spec.height, spec.width],
        "params": cost.without_auxiliary().params,
        "conv_macs": cost.conv_macs(),
        "device": device_name(cx),
        "threads": threads(),
        "dtype": "f32",
        "batches": all.iter().map(one).collect::<Value>(),
        "memory": {"host_peak_rss_mib": peak_mib(), "host_idle_rss_mib": idle},
    })
}

fn text(a: &Net, s: &Source, cx: Cx, all: &[Measured]) -> String {
    let (spec, mib) = (s.net.spec(), |b: usize| b as f64 / (1 << 20) as f64);
    let mut t = format!(
        "{}: frame {}, input {}x{}, {:.3} GMACs, f32 on {}, threads {}\n",
        a.target,
        spec.frame.frame,
        spec.height,
        spec.width,
        s.net.cost().conv_macs() as f64 / 1e9,
        device_name(cx),
        threads()
    );
    t += &format!(
        "{:>5} {:>10} {:>19} {:>9} {:>10} {:>10} {:>10}\n",
        "batch", "median ms", "p10..p90", "images/s", "arena MiB", "of the cut", "op by op"
    );
    for m in all {
        let spread = format!(
            "{:.2}..{:.2}",
            percentile(&m.ms, 0.1),
            percentile(&m.ms, 0.9)
        );
        let (arena, share) = match m.program {
            Some([arena, cut, _]) => (
                format!("{:.2}", mib(arena)),
                format!("{:.3}", arena as f64 / cut as f64),
            ),
            None => {
                let peak = m.device_peak.unwrap_or(0) as usize;
                (format!("{:.2}", mib(peak)), "-".into())
            }
        };
        t += &format!(
            "{:5} {:10.2} {spread:>19} {:9.2} {arena:>10} {share:>10} {:10.2}\n",
            m.batch,
            median(&m.ms),
            1e3 * m.batch as f64 / median(&m.ms),
            mib(m.cut)
        );
    }
    t + &format!("process at most {:.0} MiB\n", peak_mib())
}
