//! Where the elements of a tensor lie: in host memory, on a device, or, the same, in both.

use std::sync::{Arc, OnceLock};

use crate::backend::{Buffer, DType, DeviceBuffer, Engine};
use crate::error::{Code, Error, Result};

/// At least one of the two is there; each is made from the other when it is asked for.
pub struct Storage {
    dtype: DType,
    len: usize,
    host: OnceLock<Buffer>,
    device: OnceLock<Arc<DeviceBuffer>>,
}

impl From<Buffer> for Storage {
    fn from(b: Buffer) -> Storage {
        Storage {
            dtype: b.dtype(),
            len: b.len(),
            host: OnceLock::from(b),
            device: OnceLock::new(),
        }
    }
}

impl From<DeviceBuffer> for Storage {
    fn from(b: DeviceBuffer) -> Storage {
        Storage {
            dtype: b.dtype(),
            len: b.len(),
            host: OnceLock::new(),
            device: OnceLock::from(Arc::new(b)),
        }
    }
}

impl From<Arc<DeviceBuffer>> for Storage {
    fn from(b: Arc<DeviceBuffer>) -> Storage {
        Storage {
            dtype: b.dtype(),
            len: b.len(),
            host: OnceLock::new(),
            device: OnceLock::from(b),
        }
    }
}

impl Storage {
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The elements in host memory; waits for the device when they are only there.
    pub fn host(&self) -> &Buffer {
        self.host.get_or_init(|| {
            let device = self.device.get();
            device.expect("elements are somewhere").download()
        })
    }

    /// Takes over what the elements are in host memory, if they are on a device only.
    pub fn know(&self, host: Buffer) {
        assert_eq!((host.dtype(), host.len()), (self.dtype, self.len));
        let _ = self.host.set(host);
    }

    /// The elements in host memory, to be changed: a copy on a device is dropped.
    pub fn host_mut(&mut self) -> &mut Buffer {
        self.host();
        self.device.take();
        self.host.get_mut().expect("just made")
    }

    /// The elements on the device, if that is the only place where they are.
    pub fn only_device(&self) -> Option<&DeviceBuffer> {
        match self.host.get() {
            Some(_) => None,
            None => self.device.get().map(Arc::as_ref),
        }
    }

    /// The device that holds the elements, too or only.
    pub fn engine(&self) -> Option<Engine> {
        self.device.get().map(|d| d.engine())
    }

    /// The elements on `e`, uploaded when they are not there.
    ///
    /// # Errors
    /// Those of the device; `Internal` when the elements lie on another one.
    pub fn device(&self, e: Engine) -> Result<&DeviceBuffer> {
        if self.device.get().is_none() {
            let uploaded = DeviceBuffer::upload(e, self.host())?;
            // Of two threads that came here at once one keeps its copy.
            let _ = self.device.set(Arc::new(uploaded));
        }
        match self.device.get() {
            Some(d) if d.engine() == e => Ok(d),
            _ => Err(Error::new(
                Code::Internal,
                format!("a tensor of another device than {}", e.name()),
            )),
        }
    }

    /// The elements on `e`, to be changed there: the copy in host memory is dropped, one on the device that others hold is left to them.
    ///
    /// # Errors
    /// As [`Storage::device`].
    pub fn device_mut(&mut self, e: Engine) -> Result<&mut DeviceBuffer> {
        self.device(e)?;
        self.host.take();
        let held = self.device.get_mut().expect("just found");
        if Arc::get_mut(held).is_none() {
            *held = Arc::new(held.duplicate()?);
        }
        Ok(Arc::get_mut(held).expect("just made unique"))
    }
}

impl super::Tensor {
    /// A number that tensors of one storage have in common, as long as one of them is there.
    pub fn storage_id(&self) -> usize {
        Arc::as_ptr(&self.data).addr()
    }
}
