//! Typed memory of a device.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::graph::{Arena, Block};
use super::{Engine, lock};
use crate::backend::buffer::{Buffer, DType};
use crate::backend::driver::{Arg, DevicePtr, Fetch, Scalar};
use crate::error::Result;

/// `len` elements on a device; the memory goes back to the device's pool when this is dropped.
pub struct DeviceBuffer {
    engine: Engine,
    at: DevicePtr,
    dtype: DType,
    len: usize,
    /// What it is a part of, if it is not the pool's.
    arena: Option<Arc<Arena>>,
}

impl DType {
    /// The type in a kernel's signature.
    pub fn scalar(self) -> Scalar {
        match self {
            DType::F32 => Scalar::F32,
            DType::F64 => Scalar::F64,
            DType::Bf16 => Scalar::Bf16,
            DType::I32 => Scalar::I32,
        }
    }
}

impl DeviceBuffer {
    /// Memory for `len` elements of undefined value: for outputs that are written whole.
    ///
    /// # Errors
    /// `OutOfMemory`; a fault of an earlier launch.
    pub fn scratch(engine: Engine, dtype: DType, len: usize) -> Result<DeviceBuffer> {
        engine.healthy()?;
        let Block { at, arena } = lock(&engine.0.pool).take(engine.driver(), len * dtype.size())?;
        Ok(DeviceBuffer {
            engine,
            at,
            dtype,
            len,
            arena,
        })
    }

    /// As [`DeviceBuffer::scratch`], for what outlives a step and is no part of its recording.
    ///
    /// # Errors
    /// As there; `Device` while a step is recorded.
    pub fn lasting(engine: Engine, dtype: DType, len: usize) -> Result<DeviceBuffer> {
        engine.healthy()?;
        engine.outside_recording("makes memory that outlives it")?;
        let at = lock(&engine.0.pool).take_lasting(engine.driver(), len * dtype.size())?;
        let arena = None;
        Ok(DeviceBuffer {
            engine,
            at,
            dtype,
            len,
            arena,
        })
    }

    /// A copy of host memory.
    ///
    /// # Errors
    /// As [`DeviceBuffer::scratch`].
    pub fn upload(engine: Engine, from: &Buffer) -> Result<DeviceBuffer> {
        let b = DeviceBuffer::scratch(engine, from.dtype(), from.len())?;
        b.write(from.bytes())?;
        Ok(b)
    }

    /// All bytes zero.
    ///
    /// # Errors
    /// As [`DeviceBuffer::scratch`].
    pub fn zeros(engine: Engine, dtype: DType, len: usize) -> Result<DeviceBuffer> {
        let b = DeviceBuffer::scratch(engine, dtype, len)?;
        let on = crate::backend::driver::Stream::MAIN;
        let filled = engine.driver().fill(on, b.at, 0, len * dtype.size());
        filled.map_err(|e| engine.fault(e))?;
        Ok(b)
    }

    /// A copy on the same device.
    ///
    /// # Errors
    /// As [`DeviceBuffer::scratch`].
    pub fn duplicate(&self) -> Result<DeviceBuffer> {
        let b = DeviceBuffer::scratch(self.engine, self.dtype, self.len)?;
        let on = crate::backend::driver::Stream::MAIN;
        let bytes = self.len * self.dtype.size();
        let done = self.engine.driver().copy(on, b.at, self.at, bytes);
        done.map_err(|e| self.engine.fault(e))?;
        Ok(b)
    }

    /// Replaces the contents; asserts the number of bytes.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        self.engine.0.uploads.fetch_add(1, Ordering::Relaxed);
        self.write_table(bytes)
    }

    /// Replaces the bytes from byte `from` on; asserts that there are as many.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn write_part(&self, from: usize, bytes: &[u8]) -> Result<()> {
        let e = self.engine;
        e.outside_recording("uploads values")?;
        assert!(from + bytes.len() <= self.len * self.dtype.size());
        e.0.uploads.fetch_add(1, Ordering::Relaxed);
        e.0.uploaded
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let at = DevicePtr(self.at.0 + from);
        e.driver().upload(at, bytes).map_err(|x| e.fault(x))
    }

    /// As [`DeviceBuffer::write`], for a table of addresses that a recording has of its own: it does not count as an upload of a step.
    ///
    /// # Errors
    /// As there.
    pub fn write_table(&self, bytes: &[u8]) -> Result<()> {
        self.engine.outside_recording("uploads values")?;
        assert_eq!(bytes.len(), self.len * self.dtype.size());
        let e = self.engine;
        e.0.uploaded
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        e.driver().upload(self.at, bytes).map_err(|x| e.fault(x))
    }

    /// A copy in host memory. A device that fails gives NaN; its fault comes with the next [`Engine::healthy`].
    pub fn download(&self) -> Buffer {
        let (mut b, e) = (Buffer::scratch(self.dtype, self.len), self.engine);
        let bytes = b.bytes_mut();
        e.0.downloaded
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let done = e.healthy().and_then(|()| {
            e.outside_recording("reads values back")?;
            let done = e.driver().download(self.at, bytes);
            done.map_err(|x| e.fault(x))
        });
        if done.is_err() {
            bytes.fill(0xff);
        }
        b
    }

    /// Begins a copy to host memory, which nobody waits for.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn fetch(&self) -> Result<Fetching> {
        let e = self.engine;
        e.healthy()?;
        e.outside_recording("reads values back")?;
        let bytes = self.len * self.dtype.size();
        e.0.downloaded.fetch_add(bytes as u64, Ordering::Relaxed);
        let fetch = e.driver().fetch(self.at, bytes).map_err(|x| e.fault(x))?;
        Ok(Fetching {
            engine: e,
            fetch: Some(fetch),
            into: Buffer::scratch(self.dtype, self.len),
        })
    }

    /// The device.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its address.
    pub fn address(&self) -> DevicePtr {
        self.at
    }

    /// As an argument that the kernel reads.
    pub fn arg(&self) -> Arg {
        Arg::In(self.at, self.dtype.scalar())
    }

    /// As an argument that the kernel writes.
    pub fn arg_out(&self) -> Arg {
        Arg::Out(self.at, self.dtype.scalar())
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if self.arena.is_none() {
            lock(&self.engine.0.pool).put(self.at);
        }
    }
}

/// A copy to the host that is under way.
pub struct Fetching {
    engine: Engine,
    fetch: Option<Fetch>,
    into: Buffer,
}

impl Fetching {
    /// The device that it comes from.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Waits for it.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(mut self) -> Result<Buffer> {
        let e = self.engine;
        e.healthy()?;
        let fetch = self.fetch.take().expect("waited for once");
        let done = e.driver().fetched(fetch, self.into.bytes_mut());
        done.map_err(|x| e.fault(x))?;
        Ok(std::mem::replace(
            &mut self.into,
            Buffer::scratch(DType::F32, 0),
        ))
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            // Nobody wants it any more.
            let _ = (self.engine.driver()).fetched(fetch, self.into.bytes_mut());
        }
    }
}

impl fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (n, t) = (self.len, self.dtype.name());
        write!(f, "{n} {t} on {:?}", self.engine)
    }
}
