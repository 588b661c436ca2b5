//! Sums of parts of maps: bits must be those of the same sums on the host.

use proptest::prelude::*;

use super::*;
use crate::backend::engine::{DeviceBuffer, Engine, Slab};
use crate::backend::{Buffer, DType};
use crate::rng::Rng;

/// A term as drawn: values, and [`Slab`]'s numbers in the order held, from, channels, to.
struct Drawn {
    x: Vec<f32>,
    at: [usize; 4],
}

/// Terms of a sum of this size: whole ones, first and last channels, some in between, none of many channels.
fn draw(r: &mut Rng, [images, channels, plane]: [usize; 3], terms: usize) -> Vec<Drawn> {
    let one = |r: &mut Rng| {
        let count = 1 + r.below(channels);
        let to = r.below(channels - count + 1);
        let (before, after) = (r.below(3), r.below(3));
        let (count, to) = if r.coin(0.3) {
            (channels, 0)
        } else {
            (count, to)
        };
        let held = before + count + after;
        let value = |r: &mut Rng| bf16::from_f64(r.normal()).to_f32();
        Drawn {
            x: (0..images * held * plane).map(|_| value(r)).collect(),
            at: [held, before, count, to],
        }
    };
    (0..terms).map(|_| one(r)).collect()
}

/// The sum by its definition, in f32 and term by term.
fn definition([images, channels, plane]: [usize; 3], terms: &[Drawn]) -> Vec<f32> {
    let mut y = vec![None; images * channels * plane];
    for t in terms {
        let [held, first, count, to] = t.at;
        for i in 0..images * count * plane {
            let (image, c, p) = (i / (count * plane), i / plane % count, i % plane);
            let at = (image * channels + to + c) * plane + p;
            let v = t.x[(image * held + first + c) * plane + p];
            y[at] = Some(y[at].map_or(v, |y: f32| y + v));
        }
    }
    y.into_iter().map(|y| y.unwrap_or(0.0)).collect()
}

fn hold(what: &str, got: &[f32], want: &[f32]) -> Result<()> {
    let same = |(g, w): (&f32, &f32)| g.to_bits() == w.to_bits();
    match got.iter().zip(want).position(|p| !same(p)) {
        None if got.len() == want.len() => Ok(()),
        at => Err(disagree(format!("{what} differs at {at:?}"))),
    }
}

fn check(e: Engine, size: [usize; 3], terms: usize, seed: u64) -> Result<()> {
    let drawn = draw(&mut Rng::new(seed, &[8]), size, terms);
    let want = definition(size, &drawn);
    for dtype in [DType::F32, DType::Bf16] {
        let up = |d: &Drawn| {
            let host = Buffer::from_slice(&d.x);
            let on = DeviceBuffer::upload(e, &host)?;
            e.cast(&on, dtype)
        };
        let on = drawn.iter().map(up).collect::<Result<Vec<_>>>()?;
        let slab = |(x, d)| {
            let d: &Drawn = d;
            let [held, from, channels, to] = d.at;
            Slab {
                x,
                held,
                from,
                channels,
                to,
            }
        };
        let slabs: Vec<Slab> = on.iter().zip(&drawn).map(slab).collect();
        let stored = |v: &[f32]| match dtype {
            DType::F32 => v.to_vec(),
            _ => v.iter().map(|v| bf16::from_f32(*v).to_f32()).collect(),
        };
        let wide = |b: &DeviceBuffer| -> Result<Vec<f32>> {
            Ok(e.cast(b, DType::F32)?.download().values::<f32>().to_vec())
        };
        let what = format!("the sum of {terms} in {dtype:?}");
        hold(&what, &wide(&e.sum(size, &slabs)?)?, &stored(&want))?;
    }
    Ok(())
}

/// A thread has several packs.
fn few_threads(e: Engine) -> Result<()> {
    let v: Vec<f32> = (0..96).map(|i| i as f32).collect();
    let x = DeviceBuffer::upload(e, &Buffer::from_slice(&v))?;
    let y = DeviceBuffer::scratch(e, DType::F32, 96)?;
    let rows = e.constant(&[0, 3, 0, 3, 0, 3, 0, 3])?;
    let mut args = vec![x.arg(); 2];
    args.resize(16, x.arg().null());
    args.extend([rows.arg(), x.arg(), y.arg_out()]);
    args.extend([2, 1, 3].map(Arg::I32));
    args.extend([16, 96].map(Arg::I64));
    e.launch(k::SUM_SLABS_F32, Launch::new([2, 1, 1], [4, 1, 1]), &args)?;
    let want: Vec<f32> = v.iter().map(|v| 3.0 * v).collect();
    hold("few threads", y.download().values::<f32>(), &want)
}

/// Few cases that between them reach every line.
pub fn mutation_cases(e: Engine) -> Result<()> {
    few_threads(e)?;
    // Planes of whole packs, and not; one value; more terms than a launch takes.
    for (i, (size, terms)) in [
        ([2, 5, 16], 3),
        ([3, 4, 7], 2),
        ([1, 1, 33], 2),
        ([2, 3, 8], 1),
        ([1, 6, 24], 35),
        ([2, 3, 5], 17),
        ([2, 2, 4], 16),
    ]
    .into_iter()
    .enumerate()
    {
        check(e, size, terms, i as u64)?;
    }
    Ok(())
}

#[test]
fn mutation_cases_pass() {
    mutation_cases(Engine::emulated(2)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sums_of_slabs_agree(images in 1usize..4, channels in 1usize..7, plane in 1usize..40, terms in 1usize..20, seed in any::<u64>()) {
        check(Engine::emulated(2), [images, channels, plane], terms, seed).unwrap();
    }
}
