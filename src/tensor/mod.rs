//! Tensors: shape, dtype, contiguous storage. Images are `(N, C, H, W)`.

mod storage;

use std::fmt;
use std::sync::Arc;

use half::bf16;

use self::storage::Storage;
use crate::backend::driver::Arg;
pub use crate::backend::{Buffer, DType, DeviceBuffer, Element, Engine};
use crate::error::{Code, Error, Result};

/// Sizes of at most four dimensions, run-time values.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: u8,
}

impl Shape {
    /// The shape with these dimensions; asserts at most four.
    pub fn new(dims: &[usize]) -> Shape {
        assert!(
            dims.len() <= 4,
            "a shape has at most 4 dimensions, got {dims:?}"
        );
        let mut d = [1; 4];
        d[..dims.len()].copy_from_slice(dims);
        Shape {
            dims: d,
            rank: dims.len() as u8,
        }
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Number of dimensions; 0 for a scalar.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements; 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.dims().iter().product()
    }

    /// `(N, C, H, W)`, or an error that names `op`.
    pub fn nchw(&self, op: &str) -> Result<(usize, usize, usize, usize)> {
        match *self.dims() {
            [n, c, h, w] => Ok((n, c, h, w)),
            _ => Err(Error::new(
                Code::Shape,
                format!("{op}: expected (N, C, H, W), got {self}"),
            )),
        }
    }
}

impl<const R: usize> From<[usize; R]> for Shape {
    fn from(d: [usize; R]) -> Shape {
        Shape::new(&d)
    }
}

impl From<&[usize]> for Shape {
    fn from(d: &[usize]) -> Shape {
        Shape::new(d)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let s: Vec<String> = self.dims().iter().map(|d| d.to_string()).collect();
        write!(f, "({})", s.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tensor. Cloning shares the storage; storage is never written once shared. The elements lie in host memory, on a device, or
/// in both, and move when they are asked for elsewhere.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    data: Arc<Storage>,
}

impl Tensor {
    /// A tensor over `data`; asserts that the sizes agree.
    pub fn from_buffer(shape: impl Into<Shape>, data: Buffer) -> Tensor {
        let shape = shape.into();
        assert_eq!(
            shape.numel(),
            data.len(),
            "shape {shape} does not hold {} elements",
            data.len()
        );
        Tensor {
            shape,
            data: Arc::new(data.into()),
        }
    }

    /// A tensor over elements on a device; asserts that the sizes agree.
    pub fn from_device(shape: impl Into<Shape>, data: DeviceBuffer) -> Tensor {
        let shape = shape.into();
        assert_eq!(shape.numel(), data.len(), "{shape} over {data:?}");
        Tensor {
            shape,
            data: Arc::new(data.into()),
        }
    }

    /// A tensor on a device whose elements are undefined: for outputs that are written whole.
    ///
    /// # Errors
    /// Those of the device.
    pub fn scratch_on(e: Engine, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        let data = DeviceBuffer::scratch(e, dtype, shape.numel())?;
        Ok(Tensor::from_device(shape, data))
    }

    /// All zeros, on a device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn zeros_on(e: Engine, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        let data = DeviceBuffer::zeros(e, dtype, shape.numel())?;
        Ok(Tensor::from_device(shape, data))
    }

    /// A constant on a device, uploaded once for all tensors of these values ([`Engine::constant`]).
    ///
    /// # Errors
    /// Those of the device.
    pub fn constant_on(e: Engine, values: &Tensor) -> Result<Tensor> {
        let on = e.constant_of(values.data.host())?;
        Ok(Tensor {
            shape: values.shape,
            data: Arc::new(on.into()),
        })
    }

    /// A copy in host memory that shares nothing with this tensor.
    pub fn detached(&self) -> Tensor {
        let mut copy = Buffer::scratch(self.dtype(), self.numel());
        copy.bytes_mut().copy_from_slice(self.bytes());
        Tensor::from_buffer(self.shape, copy)
    }

    /// The elements on `e`; uploads them when they are not there.
    ///
    /// # Errors
    /// Those of the device.
    pub fn on(&self, e: Engine) -> Result<&DeviceBuffer> {
        self.data.device(e)
    }

    /// The elements on `e` for changing them there: copies first when the storage is shared.
    ///
    /// # Errors
    /// Those of the device.
    pub fn on_mut(&mut self, e: Engine) -> Result<&mut DeviceBuffer> {
        if Arc::get_mut(&mut self.data).is_none() {
            let copy = self.data.device(e)?.duplicate()?;
            self.data = Arc::new(copy.into());
        }
        let own = Arc::get_mut(&mut self.data).expect("just made unique");
        own.device_mut(e)
    }

    /// As an argument that a kernel on `e` reads.
    ///
    /// # Errors
    /// Those of the device.
    pub fn arg(&self, e: Engine) -> Result<Arg> {
        Ok(self.on(e)?.arg())
    }

    /// As an argument that a kernel on `e` writes.
    ///
    /// # Errors
    /// Those of the device.
    pub fn arg_out(&mut self, e: Engine) -> Result<Arg> {
        Ok(self.on_mut(e)?.arg_out())
    }

    /// True when the elements are on a device and not in host memory.
    pub fn only_on_device(&self) -> bool {
        self.data.only_device().is_some()
    }

    /// The device that holds the elements, too or only.
    pub fn engine(&self) -> Option<Engine> {
        self.data.engine()
    }

    fn from_slice<T: Element>(shape: impl Into<Shape>, data: &[T]) -> Result<Tensor> {
        let shape = shape.into();
        if shape.numel() != data.len() {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "shape {shape} needs {} values, got {}",
                    shape.numel(),
                    data.len()
                ),
            ));
        }
        Ok(Tensor::from_buffer(shape, Buffer::from_slice(data)))
    }

    /// An f32 tensor; error when the number of values is not that of the shape.
    pub fn from_f32(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Tensor> {
        Tensor::from_slice(shape, &data)
    }

    /// An f64 tensor; error as [`Tensor::from_f32`].
    pub fn from_f64(shape: impl Into<Shape>, data: Vec<f64>) -> Result<Tensor> {
        Tensor::from_slice(shape, &data)
    }

    /// An i32 tensor; error as [`Tensor::from_f32`].
    pub fn from_i32(shape: impl Into<Shape>, data: Vec<i32>) -> Result<Tensor> {
        Tensor::from_slice(shape, &data)
    }

    /// All zeros.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Tensor {
        let shape = shape.into();
        Tensor::from_buffer(shape, Buffer::zeros(dtype, shape.numel()))
    }

    /// All `value`.
    pub fn full(shape: impl Into<Shape>, dtype: DType, value: f64) -> Tensor {
        let shape = shape.into();
        let mut b = Buffer::scratch(dtype, shape.numel());
        match dtype {
            DType::F32 => b.values_mut::<f32>().fill(value as f32),
            DType::F64 => b.values_mut::<f64>().fill(value),
            DType::Bf16 => b.values_mut::<bf16>().fill(bf16::from_f64(value)),
            DType::I32 => b.values_mut::<i32>().fill(value as i32),
        }
        Tensor::from_buffer(shape, b)
    }

    /// A scalar (rank 0).
    pub fn scalar(dtype: DType, value: f64) -> Tensor {
        Tensor::full(Shape::new(&[]), dtype, value)
    }

    /// Shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Dimensions.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.data.len()
    }

    /// The elements; asserts the dtype.
    pub fn data<T: Element>(&self) -> &[T] {
        self.data.host().values()
    }

    /// The elements of an f32 tensor; asserts the dtype.
    pub fn f32s(&self) -> &[f32] {
        self.data()
    }

    /// The elements of an f64 tensor; asserts the dtype.
    pub fn f64s(&self) -> &[f64] {
        self.data()
    }

    /// The elements of an i32 tensor; asserts the dtype.
    pub fn i32s(&self) -> &[i32] {
        self.data()
    }

    /// The elements for writing: copies first when the storage is shared.
    pub fn data_mut<T: Element>(&mut self) -> &mut [T] {
        if Arc::get_mut(&mut self.data).is_none() {
            let copy = Buffer::from_slice(self.data.host().values::<T>());
            self.data = Arc::new(copy.into());
        }
        let own = Arc::get_mut(&mut self.data).expect("just made unique");
        own.host_mut().values_mut()
    }

    /// Takes over what the elements are, fetched from the device; asserts type and number.
    pub fn know(&self, fetched: Buffer) {
        self.data.know(fetched);
    }

    /// True when both are the same storage: as long as neither is written to.
    pub fn shares(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
    }

    /// True when no other tensor shares the storage.
    pub fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.data).is_some()
    }

    /// The little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        self.data.host().bytes()
    }

    /// The values as f64, whatever the dtype; waits for the device when they are only there.
    pub fn to_f64(&self) -> Vec<f64> {
        match self.dtype() {
            DType::F32 => self.data::<f32>().iter().map(|&v| v as f64).collect(),
            DType::F64 => self.data::<f64>().to_vec(),
            DType::Bf16 => self.data::<bf16>().iter().map(|v| v.to_f64()).collect(),
            DType::I32 => self.data::<i32>().iter().map(|&v| v as f64).collect(),
        }
    }

    /// The values as f32, whatever the dtype.
    pub fn to_f32(&self) -> Vec<f32> {
        match self.dtype() {
            DType::F32 => self.data::<f32>().to_vec(),
            DType::F64 => self.data::<f64>().iter().map(|&v| v as f32).collect(),
            DType::Bf16 => self.data::<bf16>().iter().map(|v| v.to_f32()).collect(),
            DType::I32 => self.data::<i32>().iter().map(|&v| v as f32).collect(),
        }
    }

    /// The same values in another dtype, rounded to nearest even; shares storage when nothing changes.
    pub fn cast(&self, dtype: DType) -> Tensor {
        if dtype == self.dtype() {
            return self.clone();
        }
        if let Some(d) = self.data.only_device()
            && [self.dtype(), dtype]
                .iter()
                .all(|t| [DType::F32, DType::Bf16].contains(t))
            && let Ok(y) = d.engine().cast(d, dtype)
        {
            return Tensor::from_device(self.shape, y);
        }
        let mut b = Buffer::scratch(dtype, self.numel());
        match (self.dtype(), dtype) {
            (DType::Bf16, DType::F32) => {
                convert(self.data::<bf16>(), b.values_mut::<f32>(), |v| v.to_f32())
            }
            (DType::F32, DType::Bf16) => {
                convert(self.data::<f32>(), b.values_mut::<bf16>(), bf16::from_f32)
            }
            (DType::F32, DType::F64) => {
                convert(self.data::<f32>(), b.values_mut::<f64>(), |v| v as f64)
            }
            (DType::F64, DType::F32) => {
                convert(self.data::<f64>(), b.values_mut::<f32>(), |v| v as f32)
            }
            (_, DType::F32) => convert(&self.to_f64(), b.values_mut::<f32>(), |v| v as f32),
            (_, DType::F64) => b.values_mut::<f64>().copy_from_slice(&self.to_f64()),
            (_, DType::Bf16) => convert(&self.to_f64(), b.values_mut::<bf16>(), bf16::from_f64),
            (_, DType::I32) => convert(&self.to_f64(), b.values_mut::<i32>(), |v| v as i32),
        }
        Tensor::from_buffer(self.shape, b)
    }

    /// The single value of a tensor with one element; asserts that there is one.
    pub fn item(&self) -> f64 {
        assert_eq!(
            self.numel(),
            1,
            "item() of a tensor of shape {}",
            self.shape
        );
        self.to_f64()[0]
    }

    /// The same elements under another shape; error when the sizes differ.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.numel() != self.numel() {
            return Err(Error::new(
                Code::Shape,
                format!("cannot view {} as {shape}", self.shape),
            ));
        }
        Ok(Tensor {
            shape,
            data: self.data.clone(),
        })
    }

    /// True when every element is finite.
    pub fn all_finite(&self) -> bool {
        match self.dtype() {
            // A sum of products with zero is NaN exactly if an element is not finite; it vectorises, unlike `all`.
            DType::F32 => lanes_finite(self.data::<f32>()),
            DType::F64 => self.data::<f64>().iter().all(|v| v.is_finite()),
            DType::Bf16 => self.data::<bf16>().iter().all(|v| v.is_finite()),
            DType::I32 => true,
        }
    }
}

fn lanes_finite(x: &[f32]) -> bool {
    let mut acc = [0.0f32; 16];
    let mut chunks = x.chunks_exact(16);
    for c in &mut chunks {
        for (a, v) in acc.iter_mut().zip(c) {
            *a += v * 0.0;
        }
    }
    acc.iter().all(|v| v.is_finite()) && chunks.remainder().iter().all(|v| v.is_finite())
}

fn convert<A: Copy, B>(x: &[A], y: &mut [B], f: impl Fn(A) -> B) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let v = self.to_f64();
        let head: Vec<String> = v.iter().take(8).map(|x| format!("{x:.6}")).collect();
        let more = if v.len() > 8 { ", ..." } else { "" };
        write!(
            f,
            "Tensor {} {} [{}{more}]",
            self.dtype().name(),
            self.shape,
            head.join(", ")
        )
    }
}

impl PartialEq for Tensor {
    /// Same shape, dtype and bits.
    fn eq(&self, other: &Tensor) -> bool {
        self.shape == other.shape && self.dtype() == other.dtype() && self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_on_write() {
        let a = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let mut b = a.clone();
        b.data_mut::<f32>()[0] = 5.0;
        assert_eq!(a.f32s(), &[1.0, 2.0]);
        assert_eq!(b.f32s(), &[5.0, 2.0]);
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let t = Tensor::from_f32([2], vec![1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]).unwrap();
        assert_eq!(t.cast(DType::Bf16).to_f32(), vec![1.0, 1.0 + 4.0 / 256.0]);
    }

    #[test]
    fn finite() {
        let mut v = vec![1.0f32; 37];
        assert!(Tensor::from_f32([37], v.clone()).unwrap().all_finite());
        v[36] = f32::INFINITY;
        assert!(!Tensor::from_f32([37], v.clone()).unwrap().all_finite());
        v[36] = 0.0;
        v[3] = f32::NAN;
        assert!(!Tensor::from_f32([37], v).unwrap().all_finite());
    }

    #[test]
    fn wrong_size_is_an_error() {
        let e = Tensor::from_f32([2, 3], vec![0.0; 5]).unwrap_err();
        assert_eq!(e.message(), "shape (2, 3) needs 6 values, got 5");
    }
}
