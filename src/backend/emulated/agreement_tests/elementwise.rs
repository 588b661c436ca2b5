//! Kernels of one value a thread: bits must be those of the same operation on the host.

use proptest::prelude::*;

use super::*;
use crate::rng::Rng;

/// Every length class: fewer than a block, whole blocks, a tail; with more and with fewer threads than values.
fn check<T: Stored>(d: &dyn Driver, n: usize, seed: u64, kernels: [k::Kernel; 3]) -> Result<()> {
    let mut r = Rng::new(seed, &[3]);
    let (mut x, _) = random::<T>(&mut r, n);
    // Zeros of both signs: where the branch is taken shows in their sign, and in the gradient.
    for i in (0..n).step_by(3) {
        x[i] = T::store(if i % 2 == 0 { -0.0 } else { 0.0 });
    }
    let (other, _) = random::<T>(&mut r, n);
    let launches = [Launch::over(n, 64), Launch::new([2, 1, 1], [32, 1, 1])];
    let (xp, op) = (put(d, &x)?, put(d, &other)?);
    let [relu, bwd, add] = kernels;
    let (input, output) = (|p| Arg::In(p, T::SCALAR), |p| Arg::Out(p, T::SCALAR));
    let bits = |v: &[T]| bytemuck::cast_slice::<T, u8>(v).to_vec();
    for l in launches {
        for (kernel, two, want) in [
            (relu, false, relu_of(&x)),
            (bwd, true, relu_gradient(&x, &other)),
            (add, true, sum(&x, &other)),
        ] {
            let y = d.alloc(std::mem::size_of_val(x.as_slice()))?;
            let mut args = vec![input(xp)];
            args.extend(two.then(|| input(op)));
            args.extend([output(y), Arg::I64(n as i64)]);
            d.launch(&kernel, l, &args)?;
            let got = get::<T>(d, y, n)?;
            d.free(y)?;
            if bits(&got) != bits(&want) {
                return Err(disagree(format!("{} of {n} values differs", kernel.name)));
            }
        }
    }
    [xp, op].into_iter().try_for_each(|p| d.free(p))
}

fn relu_of<T: Stored>(x: &[T]) -> Vec<T> {
    let one = |v: &T| if v.load() <= 0.0 { T::store(0.0) } else { *v };
    x.iter().map(one).collect()
}

fn relu_gradient<T: Stored>(y: &[T], dy: &[T]) -> Vec<T> {
    let one = |(y, dy): (&T, &T)| if y.load() > 0.0 { *dy } else { T::store(0.0) };
    y.iter().zip(dy).map(one).collect()
}

fn sum<T: Stored>(a: &[T], b: &[T]) -> Vec<T> {
    let one = |(a, b): (&T, &T)| T::store(f64::from(a.load() as f32 + b.load() as f32));
    a.iter().zip(b).map(one).collect()
}

const F32: [k::Kernel; 3] = [k::RELU_F32, k::RELU_BWD_F32, k::ADD_F32];
const BF16: [k::Kernel; 3] = [k::RELU_BF16, k::RELU_BWD_BF16, k::ADD_BF16];

/// Casts of random values from one type to another.
fn check_cast<A: Stored, B: Stored>(
    d: &dyn Driver,
    n: usize,
    seed: u64,
    kernel: k::Kernel,
) -> Result<()> {
    let (x, wide) = random::<A>(&mut Rng::new(seed, &[4]), n);
    let want: Vec<B> = wide.iter().map(|v| B::store(*v)).collect();
    let xp = put(d, &x)?;
    for launch in [Launch::over(n, 64), Launch::new([2, 1, 1], [32, 1, 1])] {
        let p = d.alloc(std::mem::size_of::<B>() * n)?;
        let args = [
            Arg::In(xp, A::SCALAR),
            Arg::Out(p, B::SCALAR),
            Arg::I64(n as i64),
        ];
        d.launch(&kernel, launch, &args)?;
        let got = get::<B>(d, p, n)?;
        d.free(p)?;
        if bytemuck::cast_slice::<B, u8>(&got) != bytemuck::cast_slice::<B, u8>(&want) {
            return Err(disagree(format!("{} of {n} values differs", kernel.name)));
        }
    }
    d.free(xp)
}

fn check_casts(d: &dyn Driver, n: usize, seed: u64) -> Result<()> {
    check_cast::<f32, bf16>(d, n, seed, k::CAST_F32_BF16)?;
    check_cast::<bf16, f32>(d, n, seed, k::CAST_BF16_F32)
}

/// Few cases that between them reach every line.
pub fn mutation_cases(d: Box<dyn Driver>) -> Result<()> {
    for n in [31, 64, 200] {
        check::<f32>(d.as_ref(), n, n as u64, F32)?;
        check::<bf16>(d.as_ref(), n, n as u64, BF16)?;
    }
    check_casts(d.as_ref(), 30, 1)?;
    check_casts(d.as_ref(), 100, 2)
}

#[test]
fn mutation_cases_pass() {
    mutation_cases(Box::new(Emulated::new(Limits::SM_80, 2))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn elementwise_kernels_agree(n in 1usize..700, seed in any::<u64>()) {
        let d = Emulated::new(Limits::SM_80, 2);
        check::<f32>(&d, n, seed, F32).unwrap();
        check::<bf16>(&d, n, seed, BF16).unwrap();
    }

    #[test]
    fn casts_agree(n in 1usize..300, seed in any::<u64>()) {
        check_casts(&Emulated::new(Limits::SM_80, 2), n, seed).unwrap();
    }
}
