//! The chains of multiply-adds of the benchmark: bits must be those of the host.

use super::*;

fn chains(x: f32, rounds: i32) -> f32 {
    let mut acc = [0, 1, 2, 3, 4, 5, 6, 7].map(|k| x + k as f32);
    for _ in 0..rounds {
        acc = acc.map(|a| a.mul_add(x, 1.0));
    }
    acc.iter().sum()
}

/// A tail in a block, and more values than threads.
pub fn mutation_cases(d: Box<dyn Driver>) -> Result<()> {
    let (n, rounds) = (70, 3);
    let (x, _) = random::<f32>(&mut Rng::new(1, &[]), n);
    let want: Vec<f32> = x.iter().map(|&x| chains(x, rounds)).collect();
    let (xp, y) = (put(d.as_ref(), &x)?, d.alloc(4 * n)?);
    let (input, output) = (Arg::In(xp, Scalar::F32), Arg::Out(y, Scalar::F32));
    let args = [input, output, Arg::I32(rounds), Arg::I64(n as i64)];
    for launch in [Launch::over(n, 64), Launch::new([1, 1, 1], [32, 1, 1])] {
        d.launch(&k::CEILING_FMA_F32, launch, &args)?;
        let got = get::<f32>(d.as_ref(), y, n)?;
        if got != want {
            return Err(disagree(format!("chains: {got:?} instead of {want:?}")));
        }
    }
    Ok(())
}

#[test]
fn mutation_cases_pass() {
    mutation_cases(Box::new(Emulated::new(Limits::SM_80, 2))).unwrap();
}
