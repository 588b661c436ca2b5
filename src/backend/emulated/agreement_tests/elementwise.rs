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

/// Sums into `acc`: the whole of it, and a part of each image; casts of the same values.
fn check_sums<A: Stored, B: Stored>(
    d: &dyn Driver,
    [images, part, whole, start]: [usize; 4],
    seed: u64,
    [sum, sum_part]: [k::Kernel; 2],
    cast: Option<k::Kernel>,
) -> Result<()> {
    let mut r = Rng::new(seed, &[4]);
    let (acc, acc64) = random::<A>(&mut r, images * whole);
    let (x, x64) = random::<B>(&mut r, images * part);
    let add = |a: f64, b: f64| A::store(f64::from(a as f32 + b as f32));
    let xp = put(d, &x)?;
    let input = Arg::In(xp, B::SCALAR);
    let hold = |name: &str, p: DevicePtr, want: &[A]| {
        let got = get::<A>(d, p, want.len())?;
        d.free(p)?;
        let mut pairs = got.iter().zip(want);
        match pairs.position(|(g, w)| bytemuck::bytes_of(g) != bytemuck::bytes_of(w)) {
            None => Ok(()),
            Some(i) => Err(disagree(format!(
                "{name}[{i}]: {} instead of {}",
                got[i].load(),
                want[i].load()
            ))),
        }
    };
    for launch in [
        Launch::over(x.len(), 64),
        Launch::new([2, 1, 1], [32, 1, 1]),
    ] {
        let n = Arg::I64(x.len() as i64);
        let p = put(d, &acc[..x.len()])?;
        d.launch(&sum, launch, &[Arg::Out(p, A::SCALAR), input, n])?;
        let want: Vec<A> = acc64.iter().zip(&x64).map(|(a, b)| add(*a, *b)).collect();
        hold(sum.name, p, &want)?;

        let p = put(d, &acc)?;
        let mut args = vec![Arg::Out(p, A::SCALAR), input];
        args.extend([part, whole, start].map(|v| Arg::I64(v as i64)));
        args.push(n);
        d.launch(&sum_part, launch, &args)?;
        let mut want = acc.clone();
        for (i, v) in x64.iter().enumerate() {
            let at = i / part * whole + start + i % part;
            want[at] = add(acc64[at], *v);
        }
        hold(sum_part.name, p, &want)?;

        if let Some(kernel) = cast {
            let p = d.alloc(std::mem::size_of::<A>() * x.len())?;
            d.launch(&kernel, launch, &[input, Arg::Out(p, A::SCALAR), n])?;
            let want: Vec<A> = x64.iter().map(|v| A::store(*v)).collect();
            hold(kernel.name, p, &want)?;
        }
    }
    d.free(xp)
}

/// All sums and casts at one shape: images, values of a part, values of the whole, where the part starts.
fn check_all_sums(d: &dyn Driver, shape: [usize; 4], seed: u64) -> Result<()> {
    let same = [k::ACCUMULATE_F32, k::ACCUMULATE_PART_F32];
    check_sums::<f32, f32>(d, shape, seed, same, None)?;
    let same = [k::ACCUMULATE_BF16, k::ACCUMULATE_PART_BF16];
    check_sums::<bf16, bf16>(d, shape, seed, same, None)?;
    let wide = [k::ACCUMULATE_F32_BF16, k::ACCUMULATE_PART_F32_BF16];
    check_sums::<f32, bf16>(d, shape, seed, wide, Some(k::CAST_BF16_F32))?;
    let narrow = [k::ACCUMULATE_BF16_F32, k::ACCUMULATE_PART_BF16_F32];
    check_sums::<bf16, f32>(d, shape, seed, narrow, Some(k::CAST_F32_BF16))
}

/// Few cases that between them reach every line.
pub fn mutation_cases(d: Box<dyn Driver>) -> Result<()> {
    for n in [31, 64, 200] {
        check::<f32>(d.as_ref(), n, n as u64, F32)?;
        check::<bf16>(d.as_ref(), n, n as u64, BF16)?;
    }
    check_all_sums(d.as_ref(), [3, 10, 17, 5], 1)?;
    check_all_sums(d.as_ref(), [2, 50, 50, 0], 2)
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
    fn sums_and_casts_agree(images in 1usize..4, part in 1usize..70, more in 0usize..9, start in 0usize..9, seed in any::<u64>()) {
        let d = Emulated::new(Limits::SM_80, 2);
        let shape = [images, part, part + more, start.min(more)];
        check_all_sums(&d, shape, seed).unwrap();
    }
}
