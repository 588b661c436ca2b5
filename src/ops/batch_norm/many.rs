//! Maps of one size normalised by their own statistics, without scale and shift, rectified or not: on a device two launches for up to sixteen forward, and two
//! backward (`kernels/norm_many.cu`), in the bits of [`super::BatchNorm`] of each.

use super::device::{Sizes, supported};
use super::{BatchNorm, BatchNormParams, BatchStats};
use crate::backend::driver::{self as k, Arg, DevicePtr, Kernel, Scalar};
use crate::error::Result;
use crate::ops::on_device::{int, list, one_type, pick};
use crate::ops::shape_rules::same;
use crate::tape::{Aside, Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Maps of a launch (`NORM_MAPS` of norm_many.cu).
pub const MAPS: usize = 16;

/// The op; operands maps `(N, C, H, W)`, as many results. Saves the statistics of all, `(maps, 4, C)`: mean, variance, low part of the
/// mean, count.
#[derive(Debug)]
pub(in crate::ops) struct BatchNorms {
    params: BatchNormParams,
    further: Aside,
}

/// Normalises each with the batch's statistics and returns these.
///
/// # Errors
/// [`crate::Code::Shape`] when they are not of one shape. Asserts that there are 1 to [`MAPS`].
pub fn batch_norms(x: &[&Var], params: BatchNormParams) -> Result<(Vec<Var>, Vec<BatchStats>)> {
    assert!((1..=MAPS).contains(&x.len()), "{} maps", x.len());
    let op = BatchNorms::new(params);
    let (y, saved) = x[0].tape().apply_many(op, x, x.len())?;
    let count = x[0].shape().numel() / x[0].dims()[1].max(1);
    let stats = |row| BatchStats::row(saved.clone(), [0, row], x[0], count);
    let stats = (0..x.len()).map(stats).collect();
    Ok((y, stats))
}

impl BatchNorms {
    pub(in crate::ops) fn new(params: BatchNormParams) -> BatchNorms {
        let further = Aside::default();
        BatchNorms { params, further }
    }

    /// The forward on a device, in one launch, of maps whose partial statistics `(maps, C, chunks, 4)` were gathered as they were written; they
    /// are not rectified.
    ///
    /// # Errors
    /// Those of the device.
    pub(in crate::ops) fn of_parts(
        &self,
        e: Engine,
        x: &[Tensor],
        part: &Tensor,
    ) -> Result<Output> {
        let (s, dtype) = (Sizes::of(x[0].shape()), x[0].dtype());
        let kernel = pick(
            dtype,
            k::NORM_MANY_FWD_PARTS_F32,
            k::NORM_MANY_FWD_PARTS_BF16,
        );
        let chunks = int(part.dims()[2]);
        let [_, eps] = self.args();
        let tail = [&[chunks][..], &s.args(), &[eps]].concat();
        self.normalised(e, x, kernel.expect("supported"), part, &tail)
    }

    /// Launches what normalises by partial statistics; `tail`: the arguments behind the statistics.
    fn normalised(
        &self,
        e: Engine,
        x: &[Tensor],
        kernel: Kernel,
        part: &Tensor,
        tail: &[Arg],
    ) -> Result<Output> {
        let (s, maps) = (Sizes::of(x[0].shape()), x.len());
        let mut launch = s.grid();
        launch.grid[2] = maps as u32;
        let mut stats = Tensor::scratch_on(e, [maps, 4, s.channels], DType::F32)?;
        let scratch = |x: &Tensor| Tensor::scratch_on(e, *x.shape(), x.dtype());
        let mut all = x.iter().map(scratch).collect::<Result<Vec<_>>>()?;
        let from = x.iter().map(|x| x.arg(e)).collect::<Result<Vec<_>>>()?;
        let to = all.iter_mut().map(|t| t.arg_out(e));
        let to = to.collect::<Result<Vec<_>>>()?;
        let args = [
            &pointers(&from)[..],
            &[part.arg(e)?],
            &pointers(&to),
            &[stats.arg_out(e)?],
            tail,
        ];
        e.launch(kernel, launch, &args.concat())?;
        let y = all.remove(0);
        self.further.put(all);
        Ok(Output {
            y,
            saved: vec![stats],
        })
    }

    /// The op of each.
    fn single(&self) -> BatchNorm {
        BatchNorm(self.params)
    }

    /// Whether to rectify, and eps.
    fn args(&self) -> [Arg; 2] {
        let BatchNormParams { eps, relu } = self.params;
        [int(usize::from(relu)), Arg::F32(eps as f32)]
    }
}

/// Pointers for one parameter of a kernel.
fn pointers(all: &[Arg]) -> Vec<Arg> {
    list(all, MAPS, all[0])
}

impl Op for BatchNorms {
    fn name(&self) -> &'static str {
        "batch_norms"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        for other in &x[1..] {
            same(self.name(), &x[0], other)?;
        }
        self.single().infer(&x[..1])
    }

    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let c = x[0].dims()[1];
        let count = (x[0].numel() / c.max(1)) as f64;
        let (mut all, mut stats) = (vec![], vec![]);
        for x in x {
            let one = self.single().forward(std::slice::from_ref(x))?;
            all.push(one.y);
            stats.extend([one.saved[0].to_f64(), one.saved[1].to_f64()].concat());
            stats.extend([vec![0.0; c], vec![count; c]].concat());
        }
        let y = all.remove(0);
        self.further.put(all);
        let stats = Tensor::from_f64([x.len(), 4, c], stats)?;
        Ok(Output {
            y,
            saved: vec![stats.cast(x[0].dtype())],
        })
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let (all, c) = (b.saved[0].to_f64(), b.shapes[0].dims()[1]);
        let mut grads = vec![];
        for (i, terms) in b.terms.iter().enumerate() {
            let [dy] = &terms[..] else {
                grads.push(None);
                continue;
            };
            let part = |part: usize| {
                let values = all[(4 * i + part) * c..][..c].to_vec();
                Ok(Tensor::from_f64([c], values)?.cast(b.saved[0].dtype()))
            };
            let own = Backward {
                x: &b.x[i..=i],
                shapes: &b.shapes[i..=i],
                y: None,
                saved: &[part(0)?, part(1)?],
                dy,
                terms: &[vec![dy.clone()]],
                so_far: &[],
                need: &b.need[i..=i],
            };
            grads.extend(self.single().backward(&own)?);
        }
        Ok(grads)
    }

    fn aside(&self) -> Option<&Aside> {
        Some(&self.further)
    }

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (s, maps) = (Sizes::of(x[0].shape()), x.len());
        if !supported(&x[..1]) || !one_type(x) || s.empty() {
            return Ok(None);
        }
        let dtype = x[0].dtype();
        let statistics = pick(dtype, k::NORM_MANY_STATS_F32, k::NORM_MANY_STATS_BF16);
        let forward = pick(dtype, k::NORM_MANY_FWD_F32, k::NORM_MANY_FWD_BF16);
        let mut launch = s.grid();
        launch.grid[2] = maps as u32;
        let from = x.iter().map(|x| x.arg(e)).collect::<Result<Vec<_>>>()?;
        let mut part = Tensor::scratch_on(e, [maps, s.chunks(), s.channels, 3], DType::F32)?;
        let args = [&pointers(&from)[..], &[part.arg_out(e)?], &s.args()].concat();
        e.launch(statistics.expect("supported"), launch, &args)?;
        let tail = [&[int(s.chunks())][..], &s.args(), &self.args()].concat();
        self.normalised(e, x, forward.expect("supported"), &part, &tail)
            .map(Some)
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let (s, dtype) = (Sizes::of(&b.shapes[0]), b.dy.dtype());
        let sums = pick(dtype, k::NORM_MANY_BWD_SUMS_F32, k::NORM_MANY_BWD_SUMS_BF16);
        let to_x = pick(dtype, k::NORM_MANY_BWD_X_F32, k::NORM_MANY_BWD_X_BF16);
        let (Some(sums), Some(to_x)) = (sums, to_x) else {
            return Ok(None);
        };
        let stored = b.terms.iter().flatten().all(|t| t.dtype() == dtype);
        if b.saved[0].dtype() != DType::F32 || !stored || s.empty() {
            return Ok(None);
        }
        let row = 4 * s.channels * DType::F32.size();
        let base = b.saved[0].on(e)?.address().0;
        let mut grads: Vec<Option<Tensor>> = vec![];
        let (mut x, mut dy, mut stats, mut to) = (vec![], vec![], vec![], vec![]);
        for (i, terms) in b.terms.iter().enumerate() {
            let mut dx = None;
            if let (true, [g]) = (b.need[i], &terms[..]) {
                x.push(b.input(i).arg(e)?);
                dy.push(g.arg(e)?);
                stats.push(Arg::In(DevicePtr(base + i * row), Scalar::F32));
                let mut made = Tensor::scratch_on(e, b.shapes[i], dtype)?;
                to.push(made.arg_out(e)?);
                dx = Some(made);
            }
            grads.push(dx);
        }
        if !x.is_empty() {
            let mut launch = s.grid();
            launch.grid[2] = x.len() as u32;
            let parts = [x.len(), s.chunks(), s.channels, 2];
            let mut part = Tensor::scratch_on(e, parts, DType::F32)?;
            let maps = [pointers(&x), pointers(&dy), pointers(&stats)].concat();
            let args = [&maps[..], &[part.arg_out(e)?], &s.args(), &self.args()];
            e.launch(sums, launch, &args.concat())?;
            let args = [
                &maps[..],
                &[part.arg(e)?],
                &pointers(&to),
                &[int(s.chunks())],
                &s.args(),
                &self.args(),
            ];
            e.launch(to_x, launch, &args.concat())?;
        }
        Ok(Some(
            grads.into_iter().map(|g| g.map(Grad::Whole)).collect(),
        ))
    }
}

#[cfg(test)]
#[path = "many_tests.rs"]
pub(crate) mod tests;
