//! The devices by the names that people give them.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::cuda::{self, Cuda};
use super::driver::GPU_BINARIES;
use super::engine::Engine;
use crate::error::{Code, Error, Result, nearest};

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// A GPU where there is one and kernels for it are built in, the processor otherwise.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
    /// The emulated device: the kernels of the GPU on the processor, every access checked. For tests; slow.
    Emulated,
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(s: &str) -> Result<Device> {
        match (s, s.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            ("emulated", _) => Ok(Device::Emulated),
            (_, Some(Ok(n))) => Ok(Device::Cuda(n)),
            _ => {
                let e = Error::new(Code::Usage, format!("there is no device `{s}`"));
                let names = ["auto", "cpu", "cuda", "emulated"];
                Err(match nearest(s, names) {
                    Some(n) => e.help(format!("did you mean `{n}`?")),
                    None => e.help("auto, cpu, cuda, cuda:1 or emulated"),
                })
            }
        }
    }
}

impl TryFrom<String> for Device {
    type Error = Error;

    fn try_from(s: String) -> Result<Device> {
        s.parse()
    }
}

impl From<Device> for String {
    fn from(d: Device) -> String {
        d.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(n) => write!(f, "cuda:{n}"),
            Device::Emulated => f.write_str("emulated"),
        }
    }
}

/// Engines that are open: a device is opened once in a process.
static OPEN: Mutex<Vec<(Device, Engine)>> = Mutex::new(vec![]);

impl Device {
    /// What `Auto` stands for on this machine, any other device itself.
    pub fn resolve(self) -> Device {
        match self {
            Device::Auto if !GPU_BINARIES.is_empty() && cuda::count().is_ok() => Device::Cuda(0),
            Device::Auto => Device::Cpu,
            other => other,
        }
    }

    /// The engine of the device, `None` for the processor. With `sync_launches` every launch is waited for; a device that is
    /// open already stays as it is.
    ///
    /// # Errors
    /// `Device` with what is missing and how to mend it.
    pub fn open(self, sync_launches: bool) -> Result<Option<Engine>> {
        let device = self.resolve();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, e)) = open.iter().find(|(d, _)| *d == device) {
            return Ok(Some(*e));
        }
        let engine = match device {
            Device::Auto | Device::Cpu => return Ok(None),
            Device::Cuda(n) => Engine::new(Box::new(Cuda::open(n)?), sync_launches),
            Device::Emulated => Engine::emulated(1),
        };
        open.push((device, engine));
        Ok(Some(engine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, device) in [
            ("auto", Device::Auto),
            ("cpu", Device::Cpu),
            ("cuda:3", Device::Cuda(3)),
            ("emulated", Device::Emulated),
        ] {
            assert_eq!(text.parse::<Device>().unwrap(), device);
            assert_eq!(device.to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
        let e = "cudda".parse::<Device>().unwrap_err().render();
        assert!(e.contains("did you mean `cuda`?"), "{e}");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_says_what_to_do() {
        let Err(e) = Device::Cuda(97).open(false) else {
            panic!("a machine with 98 GPUs");
        };
        assert_eq!(e.code(), Code::Device);
        assert!(e.render().contains("help:"), "{}", e.render());
    }

    #[test]
    fn the_processor_has_no_engine() {
        assert!(Device::Cpu.open(false).unwrap().is_none());
        assert!(Device::Emulated.open(false).unwrap().is_some());
        let open = || Device::Emulated.open(false).unwrap();
        assert_eq!(open(), open());
    }
}
