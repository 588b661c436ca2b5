//! What GPUs there are and what they are like, before one is opened.

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::{failed, refuse};
use crate::error::Result;

/// The driver library must be at least of this CUDA version: binaries of 13.x run on it.
const NEEDED: i32 = 13000;

/// What is known of a GPU before it is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuInfo {
    /// Name that NVIDIA gives it.
    pub name: String,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Bytes of its memory.
    pub memory: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
}

/// Number of GPUs.
///
/// # Errors
/// `Device` without the driver library, with one that is too old, or without a GPU: each says what to do.
#[allow(unsafe_code)]
pub fn count() -> Result<usize> {
    // SAFETY: looks for the library and opens it.
    if !unsafe { sys::is_culib_present() } {
        return Err(
            refuse("there is no CUDA driver (libcuda.so.1) on this machine")
                .help("install NVIDIA's driver, 580 or newer, or run with --device cpu"),
        );
    }
    result::init().map_err(|e| {
        failed("CUDA does not start", e).help("nvidia-smi tells whether the driver sees a GPU")
    })?;
    let mut version = 0;
    // SAFETY: writes one number.
    let asked = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    asked.map_err(|e| failed("the driver's version", e))?;
    if version < NEEDED {
        return Err(refuse(format!(
            "the CUDA driver is of version {}.{}, needed is {}.{}",
            version / 1000,
            version % 1000 / 10,
            NEEDED / 1000,
            NEEDED % 1000 / 10
        ))
        .help("install NVIDIA's driver 580 or newer"));
    }
    match result::device::get_count().map_err(|e| failed("the number of GPUs", e))? {
        0 => Err(refuse("there is no GPU on this machine").help("run with --device cpu")),
        n => Ok(n as usize),
    }
}

#[allow(unsafe_code)]
pub(super) fn attribute(device: sys::CUdevice, what: Attribute) -> Result<u32> {
    // SAFETY: a device that the driver gave.
    let value = unsafe { result::device::get_attribute(device, what) };
    value
        .map(|v| v.max(0) as u32)
        .map_err(|e| failed("an attribute of the GPU", e))
}

pub(super) fn device(index: usize) -> Result<sys::CUdevice> {
    let n = count()?;
    if index >= n {
        let text = format!("there is no GPU {index}: this machine has {n}");
        return Err(refuse(text).help("count from 0: --device cuda:0"));
    }
    result::device::get(index as i32).map_err(|e| failed("the GPU", e))
}

/// Describes a GPU without opening it.
///
/// # Errors
/// As [`count`]; `Device` for an index that is too large.
#[allow(unsafe_code)]
pub fn describe(index: usize) -> Result<GpuInfo> {
    let d = device(index)?;
    // SAFETY: a device that the driver gave.
    let memory = unsafe { result::device::total_mem(d) };
    Ok(GpuInfo {
        name: result::device::get_name(d).map_err(|e| failed("the GPU's name", e))?,
        capability: (
            attribute(d, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(d, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        memory: memory.map_err(|e| failed("the GPU's memory", e))? as u64,
        multiprocessors: attribute(d, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}
