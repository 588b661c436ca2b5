//! What the optimisers have in common on a device: one launch for all parameters, over a table of addresses and lengths in device
//! memory (`kernels/optim.cu`). Tables and rates are uploaded when they change; a step that repeats finds them where they are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::driver::{self as k, Arg, Launch, Scalar};
use crate::error::Result;
use crate::nn::{ParamId, ParamSet};
use crate::tensor::{DType, DeviceBuffer, Engine, Tensor};

/// Values of a parameter that one block takes.
const PIECE: usize = 1 << 13;

/// Threads of a block.
const THREADS: u32 = 256;

/// Bytes that the host decides and the device reads; uploaded when they differ from those before, to the same place.
#[derive(Debug, Default)]
pub struct Mirror(Mutex<Option<(Vec<u8>, Arc<DeviceBuffer>)>>);

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
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *kept {
            Some((old, on)) if on.engine() == e && old.len() == bytes.len() => {
                if old != bytes {
                    on.write(bytes)?;
                    bytes.clone_into(old);
                }
                Ok(on.clone())
            }
            _ => {
                let made = Arc::new(DeviceBuffer::scratch(e, dtype, bytes.len() / dtype.size())?);
                made.write(bytes)?;
                *kept = Some((bytes.to_vec(), made.clone()));
                Ok(made)
            }
        }
    }
}

/// Rows of the table of `kernels/optim.cu`.
#[derive(Default)]
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

/// L2 norm of all gradients in `rows`, and the factor of clipping to `clip`, both on the device.
///
/// # Errors
/// Those of the device.
pub fn clipping(e: Engine, rows: &Rows, table: Arg, clip: f64) -> Result<[DeviceBuffer; 2]> {
    let part = squares(e, rows, table)?;
    let norm = DeviceBuffer::scratch(e, DType::F64, 1)?;
    let factor = DeviceBuffer::scratch(e, DType::F32, 1)?;
    let args = [
        part.arg(),
        norm.arg_out(),
        factor.arg_out(),
        Arg::I32(rows.len() as i32),
        Arg::F32(clip as f32),
    ];
    e.launch(k::OPTIM_FACTOR, ONE_BLOCK, &args)?;
    Ok([norm, factor])
}

const ONE_BLOCK: Launch = Launch::new([1, 1, 1], [1024, 1, 1]);

/// What a step tells of itself, fetched from the device in one piece.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    gradients: Mirror,
    scalars: Mirror,
}

impl Figures {
    /// The values of `scalars`, one element each, and whether every value of `gradients` (f32) is finite.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fetch<'a>(
        &self,
        e: Engine,
        scalars: &[&Tensor],
        gradients: impl Iterator<Item = &'a Tensor>,
    ) -> Result<(Vec<f64>, bool)> {
        let mut rows = Rows::default();
        for g in gradients {
            rows.add(g.on(e)?, 0, &[]);
        }
        let there = |t: &&&Tensor| t.only_on_device() && t.dtype() == DType::F32;
        let mut words = vec![];
        for t in scalars.iter().filter(there) {
            words.push(address(t.arg(e)?));
        }
        let n = words.len();
        if n == 0 {
            words.push(0);
        }
        let out = DeviceBuffer::scratch(e, DType::F64, n + 1)?;
        let part = match rows.len() {
            0 => DeviceBuffer::zeros(e, DType::F64, 1)?,
            _ => squares(e, &rows, rows.table(e, &self.gradients)?)?,
        };
        let args = [
            table(e, &self.scalars, &words)?,
            part.arg(),
            out.arg_out(),
            Arg::I32(n as i32),
            Arg::I32(part.len() as i32),
        ];
        e.launch(k::OPTIM_FIGURES, ONE_BLOCK, &args)?;
        let fetched = out.download();
        e.healthy()?;
        let mut from_device = fetched.values::<f64>().iter().copied();
        let value = |t: &&Tensor| match there(&t) {
            true => from_device.next().expect("one for each scalar"),
            false => t.item(),
        };
        let values = scalars.iter().map(value).collect();
        Ok((values, fetched.values::<f64>()[n].is_finite()))
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
pub(crate) mod tests;
