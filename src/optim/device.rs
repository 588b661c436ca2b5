//! What the optimisers have in common on a device: one launch for all parameters, over a table of addresses and lengths in device
//! memory (`kernels/optim.cu`). Tables and settings are uploaded when they change; a step that repeats finds them where they are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::driver::{self as k, Arg, DevicePtr, Launch, Scalar};
use crate::error::Result;
use crate::nn::{ParamId, ParamSet};
use crate::tensor::{DType, DeviceBuffer, Engine, Tensor};

/// Values of a parameter that one block takes.
const PIECE: usize = 1 << 13;

/// Threads of a block.
const THREADS: u32 = 256;

type Kept = Mutex<Option<(Vec<u8>, Arc<DeviceBuffer>)>>;

/// `bytes` in the buffer of `kept`, written where they differ from what it holds.
fn mirrored(
    kept: &Kept,
    e: Engine,
    dtype: DType,
    bytes: &[u8],
    write: fn(&DeviceBuffer, &[u8]) -> Result<()>,
) -> Result<Arc<DeviceBuffer>> {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *kept {
        Some((old, on)) if on.engine() == e && old.len() == bytes.len() => {
            if old != bytes {
                write(on, bytes)?;
                bytes.clone_into(old);
            }
            Ok(on.clone())
        }
        _ => {
            let made = Arc::new(DeviceBuffer::lasting(e, dtype, bytes.len() / dtype.size())?);
            write(&made, bytes)?;
            *kept = Some((bytes.to_vec(), made.clone()));
            Ok(made)
        }
    }
}

/// A table of addresses that a step makes and its launches read; uploaded when it differs from the one before. A recording has its own.
#[derive(Debug, Default)]
pub struct Mirror(Kept);

impl Clone for Mirror {
    /// An empty one: what it holds is made again when it is needed.
    fn clone(&self) -> Mirror {
        Mirror::default()
    }
}

impl Mirror {
    /// `bytes` as values of `dtype` on `e`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of(&self, e: Engine, dtype: DType, bytes: &[u8]) -> Result<Arc<DeviceBuffer>> {
        match e.recorded_table(dtype, bytes)? {
            Some(table) => Ok(table),
            None => mirrored(&self.0, e, dtype, bytes, DeviceBuffer::write_table),
        }
    }
}

/// Values that the host decides before each step and a step finds at the same place, recorded or not.
#[derive(Debug, Default)]
pub struct Setting(Kept);

impl Clone for Setting {
    /// An empty one, as of [`Mirror`].
    fn clone(&self) -> Setting {
        Setting::default()
    }
}

impl Setting {
    /// Sets them; uploads them when they differ from those before.
    ///
    /// # Errors
    /// Those of the device.
    pub fn set(&self, e: Engine, dtype: DType, bytes: &[u8]) -> Result<()> {
        mirrored(&self.0, e, dtype, bytes, DeviceBuffer::write).map(drop)
    }

    /// Writes them even where they were the same: the device may have changed them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn reset(&self, e: Engine, dtype: DType, bytes: &[u8]) -> Result<()> {
        self.set(e, dtype, bytes)?;
        self.on().write(bytes)
    }

    /// The buffer; asserts that it was set.
    pub fn on(&self) -> Arc<DeviceBuffer> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, on) = kept.as_ref().expect("set before the step");
        on.clone()
    }
}

/// Rows of the table of `kernels/optim.cu`.
#[derive(Debug, Default)]
pub struct Rows(Vec<i64>);

fn address(a: Arg) -> i64 {
    match a {
        Arg::In(p, _) | Arg::Out(p, _) => p.0 as i64,
        _ => unreachable!("the argument of a buffer is an address"),
    }
}

impl Rows {
    /// Rows for one parameter: its gradient `g`, its number, and the tensors that change, all f32 and as long as `g`.
    pub fn add(&mut self, g: &DeviceBuffer, number: usize, changes: &[&DeviceBuffer]) {
        let bytes = |from: usize| (from * size_of::<f32>()) as i64;
        for from in (0..g.len()).step_by(PIECE) {
            let n = PIECE.min(g.len() - from);
            self.0
                .extend([address(g.arg()) + bytes(from), n as i64, number as i64]);
            for i in 0..3 {
                let at = changes.get(i).map(|c| address(c.arg()) + bytes(from));
                self.0.push(at.unwrap_or(0));
            }
        }
    }

    /// Number of rows: blocks of a launch.
    fn len(&self) -> usize {
        self.0.len() / 6
    }

    /// True without a value to change.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A launch of one block a row.
    pub fn launch(&self) -> Launch {
        Launch::new([self.len() as u32, 1, 1], [THREADS, 1, 1])
    }

    /// The table on the device, as an argument.
    ///
    /// # Errors
    /// Those of the device.
    pub fn table(&self, e: Engine, mirror: &Mirror) -> Result<Arg> {
        table(e, mirror, &self.0)
    }
}

fn table(e: Engine, mirror: &Mirror, words: &[i64]) -> Result<Arg> {
    // The buffer counts in values of eight bytes; the kernels read integers.
    match mirror.of(e, DType::F64, bytemuck::cast_slice(words))?.arg() {
        Arg::In(p, _) => Ok(Arg::In(p, Scalar::I64)),
        other => Ok(other),
    }
}

/// The device that a step over these gradients runs on: where one of them lies, if all are f32 as their parameters are.
pub fn engine_of(set: &ParamSet, grads: &[(ParamId, Tensor)]) -> Option<Engine> {
    let single = |t: &Tensor| t.dtype() == DType::F32;
    let all = grads
        .iter()
        .all(|(id, g)| single(g) && single(set.get(*id)));
    let first = grads.iter().find_map(|(_, g)| g.engine());
    first.filter(|_| all)
}

/// The sum of squares of the gradients in `rows`, a piece each.
fn squares(e: Engine, rows: &Rows, table: Arg) -> Result<DeviceBuffer> {
    let part = DeviceBuffer::scratch(e, DType::F64, rows.len())?;
    e.launch(k::OPTIM_NORM, rows.launch(), &[table, part.arg_out()])?;
    Ok(part)
}

const ONE_BLOCK: Launch = Launch::new([1, 1, 1], [1024, 1, 1]);

/// What a step tells of itself, and whether it goes on.
#[derive(Debug)]
pub struct Figures {
    /// f64: the scalars, the first of them the loss, and the L2 norm of the gradients.
    pub values: DeviceBuffer,
    /// What clipping multiplies gradients by; below 0 nothing changes.
    pub factor: DeviceBuffer,
}

/// What figures are made with from step to step.
#[derive(Debug, Clone, Default)]
pub struct Teller {
    scalars: Mirror,
    halted: Setting,
}

impl Teller {
    /// Before a first step: nothing has halted.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prepare(&self, e: Engine) -> Result<()> {
        self.halted.set(e, DType::I32, &0i32.to_ne_bytes())
    }

    /// Steps go on after one that halted.
    ///
    /// # Errors
    /// Those of the device.
    pub fn go_on(&self, e: Engine) -> Result<()> {
        self.halted.reset(e, DType::I32, &0i32.to_ne_bytes())
    }

    /// The figures of `scalars`, one f32 each, and of the gradients in `rows`, whose table is given; two launches.
    ///
    /// # Errors
    /// Those of the device.
    pub fn tell(
        &self,
        e: Engine,
        scalars: &[Tensor],
        rows: &Rows,
        of: Arg,
        clip: f64,
    ) -> Result<Figures> {
        let mut words = vec![];
        for t in scalars {
            words.push(address(t.arg(e)?));
        }
        let n = words.len();
        if n == 0 {
            words.push(0);
        }
        let part = match rows.len() {
            0 => DeviceBuffer::zeros(e, DType::F64, 1)?,
            _ => squares(e, rows, of)?,
        };
        let values = DeviceBuffer::scratch(e, DType::F64, n + 1)?;
        let factor = DeviceBuffer::scratch(e, DType::F32, 1)?;
        let args = [
            table(e, &self.scalars, &words)?,
            part.arg(),
            values.arg_out(),
            factor.arg_out(),
            self.halted.on().arg_out(),
            Arg::I32(n as i32),
            Arg::I32(part.len() as i32),
            Arg::F32(clip as f32),
        ];
        e.launch(k::OPTIM_FIGURES, ONE_BLOCK, &args)?;
        Ok(Figures { values, factor })
    }
}

/// Running statistics `[mean, variance]` on a device and those of a batch that they move to.
pub struct Moving<'a> {
    /// Where they are; they change in place.
    pub running: [&'a DeviceBuffer; 2],
    /// Where the batch's mean, variance and rest are, f32.
    pub batch: [DevicePtr; 3],
    /// Share of the batch.
    pub momentum: f64,
}

/// Moves all of them in one launch, unless the step halts.
///
/// # Errors
/// Those of the device.
pub fn move_statistics(
    e: Engine,
    mirror: &Mirror,
    all: &[Moving],
    factor: &DeviceBuffer,
) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut words = vec![];
    for m in all {
        let running = m.running.map(DeviceBuffer::address);
        words.extend(m.batch.iter().chain(&running).map(|at| at.0 as i64));
        let momentum = (m.momentum as f32).to_bits();
        words.extend([m.running[0].len() as i64, i64::from(momentum)]);
    }
    let launch = Launch::new([all.len() as u32, 1, 1], [64, 1, 1]);
    let args = [table(e, mirror, &words)?, factor.arg()];
    e.launch(k::OPTIM_STATISTICS, launch, &args)
}

#[cfg(test)]
#[path = "device_tests.rs"]
pub(crate) mod tests;
