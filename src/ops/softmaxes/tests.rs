//! Several at once against one at a time.

use super::*;
use crate::error::{Code, Error};
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::tensor::DType;

/// A tensor `(rows, length)`, a row a stretch, or a vector in stretches of these sizes; whether some values are struck, and whether the
/// result is read.
struct Source {
    shape: Vec<usize>,
    sizes: Vec<usize>,
    struck: bool,
    read: bool,
}

fn rows(rows: usize, length: usize, struck: bool, read: bool) -> Source {
    Source {
        shape: vec![rows, length],
        sizes: vec![length; rows],
        struck,
        read,
    }
}

fn groups(sizes: &[usize], struck: bool, read: bool) -> Source {
    Source {
        shape: vec![sizes.iter().sum()],
        sizes: sizes.to_vec(),
        struck,
        read,
    }
}

/// Values of the results, then gradients of the tensors, zeros where there is none; `together` by the op, otherwise by those of one.
fn run(path: Path, all: &[Source], dtype: DType, together: bool) -> [Vec<Tensor>; 2] {
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let mut r = Rng::new(7, &[]);
    let mut draw = |shape: &[usize]| {
        let v = (0..shape.iter().product()).map(|_| 3.0 * r.normal());
        Tensor::from_f64(Shape::new(shape), v.collect()).unwrap()
    };
    let parts: Vec<Stretches> = (all.iter())
        .map(|s| {
            let n = s.shape.iter().product();
            let mask = (0..n).map(|i| if i % 3 == 1 { -1e30 } else { 0.25 });
            let mask = Tensor::from_f64(Shape::new(&s.shape), mask.collect()).unwrap();
            let mask = s.struck.then(|| tape.constant(mask.cast(dtype)).unwrap());
            // Far from 0, so that powers overflow where the maximum is not taken off.
            let mut x = draw(&s.shape);
            x.data_mut::<f64>().iter_mut().for_each(|x| *x -= 200.0);
            Stretches {
                x: tape.param(x.cast(dtype)),
                mask,
                sizes: s.sizes.clone(),
            }
        })
        .collect();
    let apart = |s: &Stretches| {
        let x = match &s.mask {
            Some(mask) => ops::add(&s.x, mask).unwrap(),
            None => s.x.clone(),
        };
        match x.dims() {
            [_] => ops::edge_softmax(&x, &s.sizes).unwrap(),
            _ => ops::softmax(&x, 1).unwrap(),
        }
    };
    let results = match together {
        true => softmaxes(&parts).unwrap(),
        false => parts.iter().map(apart).collect(),
    };
    let mut loss: Option<Var> = None;
    for (y, s) in results.iter().zip(all) {
        // Two readers of each, whose gradients meet.
        for _ in 0..2 {
            let by = tape.leaf(draw(&s.shape).cast(dtype));
            let part = ops::sum(&ops::mul(y, &by).unwrap()).unwrap();
            loss = match loss {
                _ if !s.read => loss,
                Some(l) => Some(ops::add(&l, &part).unwrap()),
                None => Some(part),
            };
        }
    }
    let mut grads = tape.backward(&loss.unwrap()).unwrap();
    let mut gradient = |s: &Stretches| {
        let zeros = || Tensor::zeros(*s.x.shape(), dtype);
        grads.take(&s.x).unwrap_or_else(zeros).detached()
    };
    [
        results.iter().map(|y| y.value().detached()).collect(),
        parts.iter().map(&mut gradient).collect(),
    ]
}

/// The bits of those of one, and near those of the processor.
fn check(path: Path, all: &[Source], dtype: DType) -> Result<()> {
    let [got, apart] = [true, false].map(|together| run(path, all, dtype, together));
    let want = run(Path::Fast, all, dtype, false);
    if let Path::Device(e) = path {
        e.healthy()?;
    }
    let wrong = |what: &str| {
        let text = format!("{what} together");
        Err(Error::new(Code::CheckFailed, text))
    };
    if got != apart {
        return wrong("other bits");
    }
    for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
        let far = |(a, b): (f64, f64)| (a - b).abs() > 1e-5;
        if got.shape() != want.shape() || got.to_f64().into_iter().zip(want.to_f64()).any(far) {
            return wrong("other values");
        }
    }
    Ok(())
}

/// What `softmaxes` of `kernels/softmax.cu` computes; few cases that between them reach every line.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    let path = Path::Device(e);
    let several = [
        rows(3, 8, false, true),
        groups(&[2, 3, 4], false, true),
        rows(2, 5, true, true),
        groups(&[4, 2, 1], true, true),
    ];
    check(path, &several, DType::F32)?;
    let some_read = [
        rows(2, 3, true, false),
        groups(&[1, 5], false, true),
        rows(40, 2, false, true),
    ];
    check(path, &some_read, DType::F32)?;
    let full: Vec<Source> = (1..=VECTORS)
        .map(|i| rows(i, 2, i % 2 == 0, true))
        .collect();
    check(path, &full, DType::F32)
}

#[test]
fn together_they_have_the_bits_of_each() {
    mutation_cases(Engine::emulated(2)).unwrap();
    let all = || {
        [
            rows(14, 8, true, true),
            groups(&[2, 3, 4, 5], false, true),
            rows(2, 8, false, false),
            groups(&[3], true, true),
        ]
    };
    check(Path::Fast, &all(), DType::F32).unwrap();
    check(Path::Fast, &all(), DType::F64).unwrap();
    // Kernels take f32: computed by the processor.
    check(Path::Device(Engine::emulated(1)), &all(), DType::F64).unwrap();
}

#[test]
fn more_than_a_launch_takes_are_two() {
    let all: Vec<Source> = (0..=VECTORS).map(|_| rows(2, 3, false, true)).collect();
    check(Path::Device(Engine::emulated(1)), &all, DType::F32).unwrap();
}

#[test]
fn all_take_one_launch_each_way() {
    let launches = |all: &[Source], together| {
        let e = Engine::emulated(1);
        run(Path::Device(e), all, DType::F32, together);
        e.counts().launches
    };
    let saved = |all: &[Source]| launches(all, false) - launches(all, true);
    let plain = [
        rows(3, 8, false, true),
        groups(&[2, 3], false, true),
        rows(2, 4, false, true),
    ];
    assert_eq!(saved(&plain), 2 * (3 - 1));
    // A sum less for each mask, and none to read.
    let masked = [rows(3, 8, true, true), groups(&[2, 3], false, false)];
    assert_eq!(saved(&masked), 1 + 1);
    let more: Vec<Source> = (0..=VECTORS).map(|_| rows(1, 2, false, true)).collect();
    assert_eq!(saved(&more), 2 * (VECTORS as u64 + 1 - 2));
}

#[test]
fn what_does_not_fit_is_refused() {
    let tape = Tape::new(Cx::default());
    let leaf = |d: [usize; 2]| tape.leaf(Tensor::zeros(d, DType::F32));
    let of = |x, mask: Option<[usize; 2]>, sizes: &[usize]| Stretches {
        x: leaf(x),
        mask: mask.map(leaf),
        sizes: sizes.to_vec(),
    };
    for (other, says) in [
        (of([2, 3], None, &[3, 4]), "need 7 values, got (2, 3)"),
        (of([2, 3], None, &[6, 0]), "none empty"),
        (of([2, 3], Some([3, 2]), &[3, 3]), "(3, 2)"),
    ] {
        let e = softmaxes(&[of([1, 2], None, &[2]), other]).unwrap_err();
        assert_eq!(e.code(), Code::Shape);
        assert!(e.to_string().contains(says), "{e}");
    }
    assert!(softmaxes(&[]).unwrap().is_empty());
}
