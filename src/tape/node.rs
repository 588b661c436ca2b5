//! What the tape remembers of a value and of the operation that made it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::op::{Cx, Op, OpTime, Output, Path, Saves};
use crate::backend::engine::labelled;
use crate::error::{Code, Error, Result};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// A value, known or to come. It lives as long as a variable or an operation that has not run asks for it.
pub(super) struct Slot {
    pub shape: Shape,
    pub dtype: DType,
    pub value: OnceLock<Tensor>,
}

impl Slot {
    pub fn empty(shape: Shape, dtype: DType) -> Slot {
        Slot {
            shape,
            dtype,
            value: OnceLock::new(),
        }
    }

    pub fn of(value: Tensor) -> Slot {
        let slot = Slot::empty(*value.shape(), value.dtype());
        let _ = slot.value.set(value);
        slot
    }
}

/// What a backward reads, from the end of the forward to the walk back.
pub(super) struct Kept {
    pub x: Vec<Option<Tensor>>,
    pub y: Option<Tensor>,
    pub saved: Vec<Tensor>,
}

/// One record of the tape.
pub(super) struct Node {
    /// `None`: a leaf or a parameter.
    pub op: Option<Arc<dyn Op>>,
    pub inputs: Vec<usize>,
    pub shapes: Vec<Shape>,
    pub dtypes: Vec<DType>,
    pub needs_grad: bool,
    /// Results of the operation.
    pub results: usize,
    /// Which result of its input it is, if it is one: that takes its gradients over.
    pub result: usize,
    pub kept: Mutex<Option<Kept>>,
}

impl Node {
    pub fn source(needs_grad: bool) -> Node {
        Node {
            op: None,
            inputs: vec![],
            shapes: vec![],
            dtypes: vec![],
            needs_grad,
            results: 1,
            result: 0,
            kept: Mutex::default(),
        }
    }

    pub fn of(
        op: Arc<dyn Op>,
        inputs: Vec<usize>,
        shapes: Vec<Shape>,
        dtypes: Vec<DType>,
        needs_grad: bool,
    ) -> Node {
        Node {
            op: Some(op),
            inputs,
            shapes,
            dtypes,
            needs_grad,
            results: 1,
            result: 0,
            kept: Mutex::default(),
        }
    }

    /// Keeps what the backward of `op` reads of these operands and this result.
    pub fn keep(&self, op: &dyn Op, path: Path, x: &[Tensor], y: &Tensor, saved: Vec<Tensor>) {
        // The reference path recomputes from the operands, whatever the fast path would keep.
        let s = match path {
            Path::Fast | Path::Device(_) => op.saves(),
            Path::Reference => Saves::INPUTS,
        };
        let wanted = |i: usize| s.inputs >> i.min(31) & 1 == 1;
        let kept = Kept {
            x: x.iter()
                .enumerate()
                .map(|(i, v)| wanted(i).then(|| v.clone()))
                .collect(),
            y: s.output.then(|| y.clone()),
            saved,
        };
        *lock(&self.kept) = Some(kept);
    }
}

/// What the threads that run a tape share.
pub(super) struct Shared {
    pub cx: Cx,
    times: Mutex<BTreeMap<&'static str, OpTime>>,
}

impl Shared {
    pub fn new(cx: Cx) -> Shared {
        Shared {
            cx,
            times: Mutex::default(),
        }
    }

    pub fn times(&self) -> BTreeMap<&'static str, OpTime> {
        lock(&self.times).clone()
    }

    pub fn start(&self) -> Option<Instant> {
        self.cx.profile.then(Instant::now)
    }

    pub fn note(
        &self,
        name: &'static str,
        start: Option<Instant>,
        add: impl FnOnce(&mut OpTime, f64),
    ) {
        if let Some(start) = start {
            let seconds = start.elapsed().as_secs_f64();
            add(lock(&self.times).entry(name).or_default(), seconds);
        }
    }
}

/// The guard, also after a panic elsewhere: what is behind our locks is whole at any time.
pub(super) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs an operation on a device, or on the host when it has no kernels for these operands.
///
/// # Errors
/// Those of the operation and of the device.
pub(super) fn forward_on(e: Engine, op: &dyn Op, stored: &[Tensor]) -> Result<Output> {
    labelled(op.name(), || match op.forward_device(e, stored)? {
        Some(out) => Ok(out),
        None => {
            e.note_fallback(op.name());
            let x: Vec<Tensor> = stored.iter().cloned().map(up).collect();
            let out = op.forward(&x);
            e.healthy()?;
            out
        }
    })
}

/// bf16 to f32, anything else unchanged: bf16 is storage, operations compute in f32.
pub(super) fn up(t: Tensor) -> Tensor {
    if t.dtype() == DType::Bf16 {
        t.cast(DType::F32)
    } else {
        t
    }
}

/// The element type of the result: the one that the operands compute in; a map computed from bf16 maps is stored in bf16,
/// a scalar (a loss) stays f32.
///
/// # Errors
/// [`Code::DType`] when operands of f32 and f64 meet.
pub(super) fn output_dtype(op: &str, x: &[DType], shape: &Shape) -> Result<DType> {
    let computes = |d: DType| if d == DType::Bf16 { DType::F32 } else { d };
    let mut floats = x.iter().map(|&d| computes(d)).filter(|d| d.is_float());
    let first = floats.next();
    if let Some(first) = first
        && let Some(other) = floats.find(|d| *d != first)
    {
        return Err(Error::new(
            Code::DType,
            format!("{op}: operands of {} and {}", first.name(), other.name()),
        )
        .help("cast one of them"));
    }
    if x.first() == Some(&DType::Bf16) && shape.rank() > 1 {
        return Ok(DType::Bf16);
    }
    Ok(first.unwrap_or(DType::F32))
}
