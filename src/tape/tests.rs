use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};

use super::*;
use crate::ops;

/// y = a * x, elementwise by a constant.
#[derive(Debug)]
struct Scale(f64);
impl Op for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }
    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }
    fn saves(&self) -> Saves {
        Saves::NOTHING
    }
    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let v = x[0].to_f64().iter().map(|v| v * self.0).collect();
        Ok(Tensor::from_f64(*x[0].shape(), v)?
            .cast(x[0].dtype())
            .into())
    }
    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(vec![Some(Grad::Whole(
            self.forward(std::slice::from_ref(b.dy))?.y,
        ))])
    }
}

#[test]
fn fan_out_adds_gradients() {
    let tape = Tape::new(Cx::default());
    let x = tape.param(Tensor::from_f64([1], vec![2.0]).unwrap());
    let a = tape.apply(Scale(3.0), &[&x]).unwrap();
    let b = tape.apply(Scale(5.0), &[&a]).unwrap();
    let g = tape.backward(&b).unwrap();
    assert_eq!(g.get(&x).unwrap().item(), 15.0);
}

#[test]
fn no_gradient_is_recorded_for_leaves() {
    let tape = Tape::new(Cx::default());
    let x = tape.leaf(Tensor::from_f32([1], vec![2.0]).unwrap());
    let y = tape.apply(Scale(3.0), &[&x]).unwrap();
    assert!(tape.backward(&y).unwrap().get(&x).is_none());
}

#[test]
fn checked_tape_names_the_op() {
    let tape = Tape::new(Cx {
        check_finite: true,
        ..Cx::default()
    });
    let x = tape.param(Tensor::from_f32([1], vec![3e38]).unwrap());
    let e = tape.apply(Scale(1e10), &[&x]).unwrap_err();
    assert_eq!(e.code(), Code::Diverged);
    assert!(e.message().contains("`scale`"));
}

#[test]
fn loss_must_be_scalar() {
    let tape = Tape::new(Cx::default());
    let x = tape.param(Tensor::zeros([2], DType::F32));
    assert_eq!(tape.backward(&x).err().unwrap().code(), Code::Shape);
}

/// A made-up net of additions and scalings with much fan-out, by a fixed rule; returns parameters and the last value.
fn tangle(tape: &Tape, steps: usize) -> (Vec<Var>, Result<Var>) {
    let value = |i: usize| Tensor::from_f32([3], vec![1.0 + i as f32, 0.3, -0.7]).unwrap();
    let params: Vec<Var> = (0..4).map(|i| tape.param(value(i))).collect();
    let mut all = params.clone();
    let last = (0..steps).try_fold(params[0].clone(), |_, i| {
        let pick = |k: usize| &all[(i * 7 + k * 5 + i * i) % all.len()];
        let scaled = tape.apply(Scale(0.5 + (i % 3) as f64 * 0.1), &[pick(0)])?;
        let y = ops::add(&scaled, pick(1))?;
        let y = ops::add(&y, &all[all.len() - 1])?;
        all.push(tape.apply(Scale(0.4), &[&y])?);
        Ok(all[all.len() - 1].clone())
    });
    (params, last)
}

fn on_threads<R: Send>(n: usize, f: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
    pool.unwrap().install(f)
}

#[test]
fn deferred_operations_give_the_bits_of_eager_ones_on_any_number_of_threads() {
    let bits = |defer: bool| {
        let tape = Tape::new(Cx::default());
        let run = || Ok(tangle(&tape, 200));
        let (params, y) = if defer { tape.deferred(run) } else { run() }.unwrap();
        let y = y.unwrap();
        let dy = Tensor::from_f32([3], vec![1.0, -2.0, 0.5]).unwrap();
        let g = tape.backward_from(&y, dy).unwrap();
        let mut all = vec![y.value().clone()];
        all.extend(params.iter().map(|p| g.get(p).unwrap().clone()));
        all
    };
    let eager = on_threads(1, || bits(false));
    assert!(eager.iter().all(|t| t.all_finite() && t.f32s()[0] != 0.0));
    for threads in [1, 2, 5] {
        for _ in 0..20 {
            assert_eq!(eager, on_threads(threads, || bits(true)));
        }
    }
}

/// y = x, and whether a value was gone when it ran.
#[derive(Debug)]
struct Watch(Mutex<Weak<Slot>>, Arc<AtomicBool>);
impl Op for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }
    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }
    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let gone = self.0.lock().unwrap().upgrade().is_none();
        self.1.store(gone, Ordering::Relaxed);
        Ok(x[0].clone().into())
    }
    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(vec![Some(Grad::Whole(b.dy.clone()))])
    }
}

#[test]
fn a_value_that_nobody_asks_for_any_more_is_freed_at_once() {
    for held in [false, true] {
        let tape = Tape::new(Cx::default());
        let gone = Arc::new(AtomicBool::new(false));
        let x = tape.param(Tensor::from_f32([1], vec![1.0]).unwrap());
        let run = || {
            let y = tape.apply(Scale(2.0), &[&x])?;
            let weak = Mutex::new(Arc::downgrade(&y.slot));
            let z = tape.apply(Scale(3.0), &[&y])?;
            let z = tape.apply(Watch(weak, gone.clone()), &[&z])?;
            Ok((z, held.then_some(y)))
        };
        let (z, _held) = tape.deferred(run).unwrap();
        assert_eq!(z.value().item(), 6.0);
        assert_eq!(gone.load(Ordering::Relaxed), !held);
    }
}

#[test]
fn of_several_failures_the_first_recorded_is_reported() {
    for _ in 0..20 {
        let e = on_threads(4, || {
            let tape = Tape::new(Cx {
                check_finite: true,
                ..Cx::default()
            });
            let x = tape.param(Tensor::from_f32([1], vec![3e38]).unwrap());
            let many = || {
                let mut y = x.clone();
                for i in 0..40 {
                    tape.apply(Scale(if i % 2 == 1 { 1e10 } else { 1.0 }), &[&x])?;
                    y = tape.apply(Scale(1.0), &[&y])?;
                }
                Ok(y)
            };
            tape.deferred(many).unwrap_err()
        });
        assert!(e.message().contains("(node 3)"), "{e}");
    }
}

#[test]
fn a_value_that_nobody_asks_for_any_more_is_freed() {
    let tape = Tape::new(Cx::default());
    let x = tape.param(Tensor::zeros([1 << 10], DType::F32));
    let mut kept = None;
    let y = tape
        .deferred(|| {
            let a = tape.apply(Scale(1.0), &[&x])?;
            let b = tape.apply(Scale(1.0), &[&a])?;
            kept = Some(Arc::downgrade(&a.slot));
            Ok(b)
        })
        .unwrap();
    assert!(kept.unwrap().upgrade().is_none());
    assert_eq!(y.value().f32s()[0], 0.0);
}

#[test]
fn a_failed_record_leaves_the_tape_usable() {
    let tape = Tape::new(Cx::default());
    let x = tape.param(Tensor::zeros([1], DType::F32));
    let e = tape.deferred(|| -> Result<Var> { Err(Error::new(Code::Shape, "planted")) });
    assert!(e.is_err());
    assert_eq!(tape.apply(Scale(2.0), &[&x]).unwrap().value().item(), 0.0);
}
