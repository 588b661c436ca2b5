//! Times whole search steps on one thread, the workloads of `scripts/compare`: `cargo bench --bench step`.

use mtnas::search::step_timing::{Workload, median, time};

fn main() -> mtnas::Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("first use of the pool");
    println!(
        "{:12} {:5} {:>10} {:>10} {:>10} {:>10}",
        "workload", "task", "alpha ms", "weight ms", "step ms", "spread"
    );
    for (mode, batch, size) in [("cifar", 16, [32, 32]), ("mtnas-peer", 2, [128, 192])] {
        let mut w = Workload::of_mode(mode)?;
        (w.batch, w.size, w.iters, w.warmup) = (batch, size, 6, 2);
        for t in time(&w, None)?.times {
            let of = |f: fn(f64, f64) -> f64, start| t.step.iter().copied().fold(start, f);
            println!(
                "{mode:12} {:5} {:10.2} {:10.2} {:10.2} {:10.2}",
                t.task,
                median(&t.alpha),
                median(&t.weight),
                median(&t.step),
                of(f64::max, 0.0) - of(f64::min, f64::INFINITY)
            );
        }
    }
    Ok(())
}
