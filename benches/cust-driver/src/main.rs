//! The same launches and copies through cust and through the engine's driver, in turn.

use std::error::Error;
use std::time::Instant;

use cust::context::Context;
use cust::device::Device;
use cust::event::{Event, EventFlags};
use cust::memory::{CopyDestination, DeviceBuffer};
use cust::module::Module;
use cust::stream::{Stream, StreamFlags};
use cust::{CudaFlags, launch};
use mtnas::backend::cuda::Cuda;
use mtnas::backend::driver::{ADD_F32, Arg, Driver, GPU_BINARIES, Launch, Scalar, Stream as Own};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Launches of one measurement.
const BATCH: usize = 1000;
/// Measurements of each kind, in turn.
const ROUNDS: usize = 15;

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Host time and device time of a launch, seconds, and the bandwidth of a large one, bytes a second.
#[derive(Default)]
struct Times {
    host: Vec<f64>,
    device: Vec<f64>,
    bandwidth: Vec<f64>,
    upload: Vec<f64>,
}

impl Times {
    fn json(self) -> serde_json::Value {
        serde_json::json!({
            "host_us_a_launch": 1e6 * median(self.host),
            "device_us_a_launch": 1e6 * median(self.device),
            "add_gb_per_s": 1e-9 * median(self.bandwidth),
            "upload_gb_per_s": 1e-9 * median(self.upload),
        })
    }
}

struct Second {
    module: Module,
    stream: Stream,
}

impl Second {
    fn add(
        &self,
        a: &DeviceBuffer<f32>,
        b: &DeviceBuffer<f32>,
        y: &DeviceBuffer<f32>,
        n: usize,
    ) -> Result<()> {
        let f = self.module.get_function("add_f32")?;
        let stream = &self.stream;
        let grid = (n.div_ceil(256) as u32).clamp(1, 1 << 20);
        // SAFETY: the kernel's parameters are (const float *, const float *, float *, long long).
        unsafe {
            launch!(f<<<grid, 256, 0, stream>>>(
                a.as_device_ptr(),
                b.as_device_ptr(),
                y.as_device_ptr(),
                n as i64
            ))?;
        }
        Ok(())
    }

    fn time(&self, run: impl Fn() -> Result<()>) -> Result<(f64, f64)> {
        let (from, to) = (
            Event::new(EventFlags::DEFAULT)?,
            Event::new(EventFlags::DEFAULT)?,
        );
        let start = Instant::now();
        from.record(&self.stream)?;
        run()?;
        to.record(&self.stream)?;
        let host = start.elapsed().as_secs_f64();
        to.synchronize()?;
        Ok((host, f64::from(to.elapsed_time_f32(&from)?) * 1e-3))
    }
}

struct First {
    gpu: Cuda,
}

impl First {
    fn time(&self, run: impl Fn() -> Result<()>) -> Result<(f64, f64)> {
        let start = Instant::now();
        let from = self.gpu.event(Own::MAIN)?;
        run()?;
        let to = self.gpu.event(Own::MAIN)?;
        let host = start.elapsed().as_secs_f64();
        Ok((host, self.gpu.elapsed(from, to)? * 1e-3))
    }
}

fn main() -> Result<()> {
    let (_, binary) = GPU_BINARIES
        .iter()
        .find(|(name, _)| *name == "elementwise")
        .ok_or("built without nvcc: there are no kernels for a GPU")?;
    cust::init(CudaFlags::empty())?;
    let device = Device::get_device(0)?;
    let _context = Context::new(device)?;
    let second = Second {
        module: Module::from_fatbin(binary, &[])?,
        stream: Stream::new(StreamFlags::NON_BLOCKING, None)?,
    };
    let first = First {
        gpu: Cuda::open(0)?,
    };

    let large = 64 << 20;
    let values: Vec<f32> = (0..large).map(|i| (i % 1021) as f32 + 0.5).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let (a, b) = (
        DeviceBuffer::from_slice(&values)?,
        DeviceBuffer::from_slice(&values)?,
    );
    let mut y = DeviceBuffer::from_slice(&vec![0f32; large])?;
    let own = |_| first.gpu.alloc(4 * large);
    let [oa, ob, oy] = [own(0)?, own(1)?, own(2)?];
    first.gpu.upload(oa, &bytes)?;
    first.gpu.upload(ob, &bytes)?;
    let arguments = |n: usize| {
        [
            Arg::In(oa, Scalar::F32),
            Arg::In(ob, Scalar::F32),
            Arg::Out(oy, Scalar::F32),
            Arg::I64(n as i64),
        ]
    };
    let launch_own = |n: usize| -> Result<()> {
        Ok(first
            .gpu
            .launch(&ADD_F32, Launch::over(n, 256), &arguments(n))?)
    };

    // The same bits from both.
    second.add(&a, &b, &y, large)?;
    second.stream.synchronize()?;
    launch_own(large)?;
    let (mut one, mut two) = (vec![0u8; 4 * large], vec![0f32; large]);
    first.gpu.download(oy, &mut one)?;
    y.copy_to(&mut two)?;
    let two: Vec<u8> = two.iter().flat_map(|v| v.to_ne_bytes()).collect();
    if one != two {
        return Err("the two bindings give different results".into());
    }

    let (mut cudarc, mut cust) = (Times::default(), Times::default());
    let moved = 12.0 * large as f64;
    for _ in 0..ROUNDS {
        let (h, d) = first.time(|| (0..BATCH).try_for_each(|_| launch_own(256)))?;
        cudarc.host.push(h / BATCH as f64);
        cudarc.device.push(d / BATCH as f64);
        let (h, d) = second.time(|| (0..BATCH).try_for_each(|_| second.add(&a, &b, &y, 256)))?;
        cust.host.push(h / BATCH as f64);
        cust.device.push(d / BATCH as f64);
        cudarc
            .bandwidth
            .push(moved / first.time(|| launch_own(large))?.1);
        cust.bandwidth
            .push(moved / second.time(|| second.add(&a, &b, &y, large))?.1);
        let start = Instant::now();
        first.gpu.upload(oa, &bytes)?;
        first.gpu.synchronize()?;
        cudarc
            .upload
            .push(4.0 * large as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        y.copy_from(&values)?;
        cust.upload
            .push(4.0 * large as f64 / start.elapsed().as_secs_f64());
    }
    let all = serde_json::json!({
        "device": device.name()?,
        "same_bits": true,
        "cudarc": cudarc.json(),
        "cust": cust.json(),
    });
    println!("{}", serde_json::to_string_pretty(&all)?);
    Ok(())
}
