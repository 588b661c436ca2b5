//! Depthwise convolution: forward, gradients of input and weights.

use proptest::prelude::*;

use super::*;
use crate::backend::host::conv::{ConvSizes, forward, input_gradient, weight_gradient};
use crate::rng::Rng;

#[derive(Debug, Clone, Copy)]
struct Case {
    s: ConvSizes,
    seed: u64,
}

impl Case {
    /// `padding` is cut where it exceeds that of an output as large as the input, and raised where nothing would come out.
    fn new(
        [n, c, h, w]: [usize; 4],
        [k, stride, dilation, padding]: [usize; 4],
        seed: u64,
    ) -> Case {
        let span = (k - 1) * dilation;
        let least = (span + 1).saturating_sub(h.min(w)).div_ceil(2);
        let padding = padding.min(span / 2).max(least);
        let out = |v: usize| (v + 2 * padding - (k - 1) * dilation - 1) / stride + 1;
        let s = ConvSizes {
            n,
            c_in: c,
            h,
            w,
            c_out: c,
            ho: out(h),
            wo: out(w),
            k,
            stride,
            padding,
            dilation,
            groups: c,
        };
        Case { s, seed }
    }

    fn planes(&self) -> usize {
        self.s.n * self.s.c_in
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..4, 1usize..20, 1usize..40);
    let kernel = prop_oneof![Just(3usize), Just(5)];
    (sizes, kernel, 1usize..3, 1usize..3, 0usize..5, any::<u64>())
        .prop_map(|((n, c, h, w), k, s, d, p, seed)| Case::new([n, c, h, w], [k, s, d, p], seed))
}

fn sizes(s: &ConvSizes) -> [Arg; 8] {
    [
        s.c_in, s.h, s.w, s.ho, s.wo, s.stride, s.padding, s.dilation,
    ]
    .map(|v| Arg::I32(v as i32))
}

fn check_forward<T: Stored>(d: &dyn Driver, case: Case, kernels: [k::Kernel; 2]) -> Result<()> {
    let s = case.s;
    let mut r = Rng::new(case.seed, &[1]);
    let planes = case.planes();
    let (x, x64) = random::<T>(&mut r, planes * s.h * s.w);
    let (w, w64) = random::<T>(&mut r, s.c_in * s.k * s.k);
    let len = planes * s.ho * s.wo;
    let (mut want, mut size) = (vec![0.0; len], vec![0.0; len]);
    forward(&s, &x64, &w64, &mut want);
    forward(&s, &abs(&x64), &abs(&w64), &mut size);
    let (x, w, y) = (put(d, &x)?, put(d, &w)?, d.alloc(len * size_of::<T>())?);
    let grid = [
        s.wo.div_ceil(32) as u32,
        s.ho.div_ceil(8) as u32,
        planes.div_ceil(2) as u32,
    ];
    let mut args = vec![
        Arg::In(x, T::SCALAR),
        Arg::In(w, T::SCALAR),
        Arg::Out(y, T::SCALAR),
        Arg::I32(planes as i32),
    ];
    args.extend(sizes(&s));
    let kernel = &kernels[usize::from(s.k == 5)];
    d.launch(kernel, Launch::new(grid, [256, 1, 1]), &args)?;
    agree("y", &get::<T>(d, y, len)?, &want, &size, s.k * s.k)?;
    [x, w, y].into_iter().try_for_each(|p| d.free(p))
}

fn check_gradients(d: &dyn Driver, case: Case) -> Result<()> {
    let s = case.s;
    let mut r = Rng::new(case.seed, &[2]);
    let planes = case.planes();
    let (x, x64) = random::<f32>(&mut r, planes * s.h * s.w);
    let (w, w64) = random::<f32>(&mut r, s.c_in * s.k * s.k);
    let (dy, dy64) = random::<f32>(&mut r, planes * s.ho * s.wo);
    let five = usize::from(s.k == 5);
    let io = |p| Arg::In(p, Scalar::F32);

    let (mut want, mut size) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    input_gradient(&s, &w64, &dy64, &mut want);
    input_gradient(&s, &abs(&w64), &abs(&dy64), &mut size);
    let (xp, wp, dyp) = (put(d, &x)?, put(d, &w)?, put(d, &dy)?);
    let dx = d.alloc(4 * x.len())?;
    let mut args = vec![
        io(dyp),
        io(wp),
        Arg::Out(dx, Scalar::F32),
        Arg::I64(x.len() as i64),
    ];
    args.extend(sizes(&s));
    let kernel = [k::DEPTHWISE3_BWD_X_F32, k::DEPTHWISE5_BWD_X_F32][five];
    d.launch(&kernel, Launch::over(x.len(), 64), &args)?;
    agree("dx", &get::<f32>(d, dx, x.len())?, &want, &size, s.k * s.k)?;

    let (mut want, mut size) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    weight_gradient(&s, &x64, &dy64, &mut want);
    weight_gradient(&s, &abs(&x64), &abs(&dy64), &mut size);
    let chunks = 2;
    let (part, dw) = (d.alloc(4 * chunks * w.len())?, d.alloc(4 * w.len())?);
    let mut args = vec![
        io(xp),
        io(dyp),
        Arg::Out(part, Scalar::F32),
        Arg::I32(s.n as i32),
    ];
    args.extend(sizes(&s));
    let kernel = [k::DEPTHWISE3_BWD_W_F32, k::DEPTHWISE5_BWD_W_F32][five];
    let launch = Launch::new([s.c_in as u32, chunks as u32, 1], [256, 1, 1]);
    d.launch(&kernel, launch, &args)?;
    let args = [
        io(part),
        Arg::Out(dw, Scalar::F32),
        Arg::I32(chunks as i32),
        Arg::I32(w.len() as i32),
    ];
    d.launch(&k::SUM_CHUNKS_F32, Launch::over(w.len(), 32), &args)?;
    let terms = s.n * s.ho * s.wo;
    agree("dw", &get::<f32>(d, dw, w.len())?, &want, &size, terms)?;
    [xp, wp, dyp, dx, part, dw]
        .into_iter()
        .try_for_each(|p| d.free(p))
}

/// Few cases that between them reach every line: more than one tile and channel, more than one product a thread, each kernel, stride, dilation.
pub fn mutation_cases(d: Box<dyn Driver>) -> Result<()> {
    let d = d.as_ref();
    let forward = [
        ([1, 3, 9, 34], [3, 2, 1, 1]),
        ([3, 2, 8, 34], [3, 1, 2, 1]),
        ([1, 2, 8, 33], [5, 1, 1, 2]),
        ([1, 1, 17, 66], [5, 2, 2, 4]),
    ];
    for (i, (shape, how)) in forward.into_iter().enumerate() {
        let case = Case::new(shape, how, i as u64);
        check_gradients(d, case)?;
        check_forward::<f32>(d, case, [k::DEPTHWISE3_F32, k::DEPTHWISE5_F32])?;
        check_forward::<bf16>(d, case, [k::DEPTHWISE3_BF16, k::DEPTHWISE5_BF16])?;
    }
    Ok(())
}

fn device() -> Emulated {
    Emulated::new(Limits::SM_80, 2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn forward_agrees_in_f32(case in cases()) {
        check_forward::<f32>(&device(), case, [k::DEPTHWISE3_F32, k::DEPTHWISE5_F32]).unwrap();
    }

    #[test]
    fn forward_agrees_in_bf16(case in cases()) {
        check_forward::<bf16>(&device(), case, [k::DEPTHWISE3_BF16, k::DEPTHWISE5_BF16]).unwrap();
    }

    #[test]
    fn gradients_agree(case in cases()) {
        check_gradients(&device(), case).unwrap();
    }
}
