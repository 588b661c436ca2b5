//! Clocks and memory, as `mtnas bench` reads them.

use std::time::Instant;

/// Milliseconds that the threads of the process ran.
pub fn cpu_ms() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let of = |path: std::path::PathBuf| -> Option<f64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(|t| of(t.path())).sum::<f64>() / 1e6
}

/// The most memory the process has had.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(0.0, |kib: f64| kib / 1024.0)
}

pub fn median(ms: &[f64]) -> f64 {
    let mut v = ms.to_vec();
    v.sort_by(f64::total_cmp);
    let n = v.len();
    (v[(n - 1) / 2] + v[n / 2]) / 2.0
}

/// Milliseconds of a call, `sets` calls a pass: the median over passes, and the mean in processor time.
pub fn time(iters: usize, row_seconds: f64, sets: usize, mut call: impl FnMut(usize)) -> [f64; 2] {
    (0..sets).for_each(&mut call);
    let (mut wall, before, first) = (vec![], cpu_ms(), Instant::now());
    loop {
        let (n, spent) = (wall.len(), first.elapsed().as_secs_f64());
        if (n >= iters && spent > 0.25) || (n > 2 && spent > row_seconds) {
            return [median(&wall), (cpu_ms() - before) / (n * sets) as f64];
        }
        let start = Instant::now();
        (0..sets).for_each(&mut call);
        wall.push(start.elapsed().as_secs_f64() * 1e3 / sets as f64);
    }
}
