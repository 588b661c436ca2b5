//! Small tables that an operation needs on the device (class weights, group sizes) and that stay the same from step to step: uploaded
//! once, so that a step that repeats uploads nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DeviceBuffer, Engine, lock};
use crate::backend::buffer::{Buffer, Element};
use crate::backend::driver::Scalar;
use crate::error::Result;

/// Tables by type and bytes.
pub type Constants = HashMap<(u8, Vec<u8>), Arc<DeviceBuffer>>;

impl Engine {
    /// `values` on the device; uploaded the first time, kept for good. For tables of which a run has few.
    ///
    /// # Errors
    /// As [`DeviceBuffer::upload`].
    pub fn constant<T: Element>(&self, values: &[T]) -> Result<Arc<DeviceBuffer>> {
        self.constant_of(&Buffer::from_slice(values))
    }

    /// As [`Engine::constant`].
    ///
    /// # Errors
    /// As there.
    pub fn constant_of(&self, host: &Buffer) -> Result<Arc<DeviceBuffer>> {
        let letter = Scalar::letter(host.dtype().scalar());
        let key = (letter, host.bytes().to_vec());
        let mut all = lock(&self.0.constants);
        if let Some(kept) = all.get(&key) {
            return Ok(kept.clone());
        }
        let made = DeviceBuffer::lasting(*self, host.dtype(), host.len())?;
        made.write(host.bytes())?;
        let made = Arc::new(made);
        all.insert(key, made.clone());
        Ok(made)
    }
}
