//! Ranks that are threads of one process, each with a device of its own; what they send passes through host memory.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Communicator, Reduce};
use crate::backend::driver::Stream;
use crate::error::{Code, Error, Result};
use crate::tensor::{Buffer, DType, DeviceBuffer};

/// What a rank brings to a call, and which call it thinks it is.
struct Sent {
    call: &'static str,
    data: Buffer,
}

#[derive(Default)]
struct State {
    round: u64,
    arrived: Vec<Option<Sent>>,
    last: Arc<Vec<Sent>>,
    gone: bool,
}

struct Group {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what a rank sends and waits for what all have sent.
    fn exchange(&self, rank: usize, sent: Sent) -> Result<Arc<Vec<Sent>>> {
        let mut s = self.lock();
        let mine = s.round;
        s.arrived[rank] = Some(sent);
        if s.arrived.iter().all(Option::is_some) {
            let all = s.arrived.iter_mut().filter_map(Option::take).collect();
            s.last = Arc::new(all);
            s.round += 1;
            self.changed.notify_all();
        }
        // The next round cannot end before this rank has come to it, so `last` stays until it is read here.
        while s.round == mine && !s.gone {
            s = self.changed.wait(s).unwrap_or_else(PoisonError::into_inner);
        }
        if s.round == mine {
            let text = format!("rank {rank} waits for a rank that is gone");
            return Err(Error::new(Code::Device, text));
        }
        Ok(s.last.clone())
    }
}

/// One rank of a group within this process.
pub struct InProcess {
    rank: usize,
    group: Arc<Group>,
}

impl InProcess {
    /// The ranks of a new group, to be given to a thread each.
    pub fn group(size: usize) -> Vec<InProcess> {
        let state = State {
            arrived: (0..size).map(|_| None).collect(),
            ..State::default()
        };
        let group = Arc::new(Group {
            size,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let rank = |rank| InProcess {
            rank,
            group: group.clone(),
        };
        (0..size).map(rank).collect()
    }

    fn call(&self, call: &'static str, send: &DeviceBuffer, on: Stream) -> Result<Arc<Vec<Sent>>> {
        if on != Stream::MAIN {
            let text = format!("{call} within a process runs on the main stream only");
            return Err(Error::new(Code::Argument, text));
        }
        let data = send.download();
        send.engine().healthy()?;
        let all = self.group.exchange(self.rank, Sent { call, data })?;
        let differs = |s: &&Sent| {
            s.call != call || s.data.len() != send.len() || s.data.dtype() != send.dtype()
        };
        match all.iter().position(|s| differs(&s)) {
            None => Ok(all),
            Some(other) => Err(Error::new(
                Code::Argument,
                format!(
                    "rank {} calls {call} on {} values, rank {other} {} on {}",
                    self.rank,
                    send.len(),
                    all[other].call,
                    all[other].data.len()
                ),
            )),
        }
    }
}

fn fits(call: &str, recv: &DeviceBuffer, len: usize, dtype: DType) -> Result<()> {
    if recv.len() == len && recv.dtype() == dtype {
        return Ok(());
    }
    let (have, of) = (recv.len(), recv.dtype().name());
    let text = format!("{call} of {len} {} into {have} {of}", dtype.name());
    Err(Error::new(Code::Argument, text))
}

impl Communicator for InProcess {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.size
    }

    fn all_gather(&self, send: &DeviceBuffer, recv: &mut DeviceBuffer, on: Stream) -> Result<()> {
        fits("all_gather", recv, send.len() * self.size(), send.dtype())?;
        let all = self.call("all_gather", send, on)?;
        let bytes: Vec<u8> = all.iter().flat_map(|s| s.data.bytes()).copied().collect();
        recv.write(&bytes)
    }

    fn all_reduce(
        &self,
        send: &DeviceBuffer,
        recv: &mut DeviceBuffer,
        by: Reduce,
        on: Stream,
    ) -> Result<()> {
        fits("all_reduce", recv, send.len(), DType::F32)?;
        fits("all_reduce", send, send.len(), DType::F32)?;
        let all = self.call("all_reduce", send, on)?;
        let of = |i: usize| {
            let v = all.iter().map(|s| f64::from(s.data.values::<f32>()[i]));
            match by {
                Reduce::Sum => v.sum::<f64>() as f32,
                Reduce::Max => v.fold(f64::NEG_INFINITY, f64::max) as f32,
            }
        };
        let v: Vec<f32> = (0..send.len()).map(of).collect();
        recv.write(Buffer::from_slice(&v).bytes())
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.group.lock().gone = true;
        self.group.changed.notify_all();
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank, self.group.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Engine;

    fn on(e: Engine, v: &[f32]) -> DeviceBuffer {
        DeviceBuffer::upload(e, &Buffer::from_slice(v)).unwrap()
    }

    /// Runs `f` on every rank, each with a device of its own.
    fn ranks<R: Send>(size: usize, f: impl Fn(InProcess, Engine) -> R + Sync) -> Vec<R> {
        std::thread::scope(|s| {
            let spawn = |c| s.spawn(|| f(c, Engine::emulated(1)));
            let all: Vec<_> = InProcess::group(size).into_iter().map(spawn).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_has_the_same_in_the_order_of_the_ranks() {
        let all = ranks(3, |c, e| {
            let mut got = vec![];
            for round in 0..5 {
                let v = [c.rank() as f32 + 1.0, round as f32];
                let send = on(e, &v);
                let mut recv = DeviceBuffer::scratch(e, DType::F32, 6).unwrap();
                c.all_gather(&send, &mut recv, Stream::MAIN).unwrap();
                got.extend_from_slice(recv.download().values::<f32>());
                for by in [Reduce::Sum, Reduce::Max] {
                    let mut recv = DeviceBuffer::scratch(e, DType::F32, 2).unwrap();
                    c.all_reduce(&send, &mut recv, by, Stream::MAIN).unwrap();
                    got.extend_from_slice(recv.download().values::<f32>());
                }
            }
            got
        });
        let of = |r: f32| [1.0, r, 2.0, r, 3.0, r, 6.0, 3.0 * r, 3.0, r];
        let want: Vec<f32> = (0..5).flat_map(|r| of(r as f32)).collect();
        assert!(all.iter().all(|got| *got == want), "{all:?}");
    }

    #[test]
    fn a_rank_that_is_gone_or_differs_ends_the_call() {
        let texts = ranks(3, |c, e| {
            let (send, mut recv) = (on(e, &[1.0]), on(e, &[0.0]));
            let mut call = || c.all_reduce(&send, &mut recv, Reduce::Sum, Stream::MAIN);
            call().unwrap();
            if c.rank() == 1 {
                return String::new();
            }
            call().unwrap_err().to_string()
        });
        assert!(texts[0].contains("a rank that is gone"), "{texts:?}");
        let texts = ranks(2, |c, e| {
            let send = on(e, &vec![1.0; 1 + c.rank()]);
            let mut recv = on(e, &vec![1.0; 1 + c.rank()]);
            let done = c.all_reduce(&send, &mut recv, Reduce::Sum, Stream::MAIN);
            done.unwrap_err().to_string()
        });
        assert!(
            texts[0].contains("on 1 values, rank 1 all_reduce on 2"),
            "{texts:?}"
        );
    }
}
