//! A launch: held against the limits and the signature, then run in several orders of its threads and blocks.

use super::block::{self, Stacks};
use super::{Emulated, ONE, State, Traffic, lock, memory, outside, table};
use crate::backend::driver::{Arg, Kernel, Launch};
use crate::error::{Code, Error, Result};
use crate::rng::Rng;

impl Emulated {
    /// Runs a kernel in every order.
    pub(super) fn execute(&self, kernel: &Kernel, launch: Launch, args: &[Arg]) -> Result<()> {
        self.check(kernel, launch)?;
        let entry = table::find(kernel, self.kernels)?;
        entry.check(args)?;
        let _one = lock(&ONE);
        let s = &mut *lock(&self.state);
        for a in args {
            if let Arg::In(p, _) | Arg::Out(p, _) = a
                && !a.is_null()
            {
                s.memory.find(p.0, 0).ok_or_else(|| outside(*p, 0))?;
            }
        }
        let mut values: Vec<u64> = args.iter().map(|a| a.bits()).collect();
        let pointers = parameters(&mut values, &entry.groups().collect::<Vec<_>>());
        let threads: usize = launch.block.iter().map(|&v| v as usize).product();
        let blocks: usize = launch.grid.iter().map(|&v| v as usize).product();
        s.memory.begin(args, self.orders > 1);
        let done = self.orders(kernel, launch, entry, &pointers, s, threads, blocks);
        s.memory.end();
        done
    }

    fn check(&self, kernel: &Kernel, l: Launch) -> Result<()> {
        let refuse = |text: String| {
            let text = format!(
                "kernel `{}`, grid {:?}, block {:?}: {text}",
                kernel.name, l.grid, l.block
            );
            Err(Error::new(Code::Device, text))
        };
        let m = self.limits;
        for (what, have, most) in [("grid", l.grid, m.grid), ("block", l.block, m.block)] {
            for (axis, (h, m)) in have.into_iter().zip(most).enumerate() {
                if h == 0 || h > m {
                    let axis = ["x", "y", "z"][axis];
                    return refuse(format!("{what} {axis} is {h}, must be 1 to {m}"));
                }
            }
        }
        let threads: u64 = l.block.iter().map(|&v| u64::from(v)).product();
        if threads > u64::from(m.threads) {
            return refuse(format!(
                "{threads} threads a block, the limit is {}",
                m.threads
            ));
        }
        if l.shared as usize > m.shared_opt_in {
            return refuse(format!(
                "{} bytes of dynamic shared memory, the limit is {}",
                l.shared, m.shared_opt_in
            ));
        }
        Ok(())
    }

    /// Runs a launch in every order of its threads and blocks; the memory that it wrote must be the same after each.
    fn orders(
        &self,
        kernel: &Kernel,
        launch: Launch,
        entry: &table::Entry,
        args: &[*mut u8],
        s: &mut State,
        threads: usize,
        blocks: usize,
    ) -> Result<()> {
        let (mut first, mut stacks) = (vec![], Stacks::default());
        for which in 0..self.orders {
            if which > 0 {
                s.memory.restore();
            }
            (s.memory.read, s.memory.written) = (0, 0);
            let thread_order = order(threads, which, 1);
            for b in order(blocks, which, 2) {
                let [gx, gy, _] = launch.grid.map(|v| v as usize);
                let block = [b % gx, b / gx % gy, b / (gx * gy)].map(|v| v as u32);
                block::run(
                    entry,
                    args,
                    &mut s.memory,
                    &mut stacks,
                    self.limits,
                    self.patience,
                    launch,
                    block,
                    &thread_order,
                )
                .map_err(|text| {
                    let at = format!("{} `{}`", kernel.file, kernel.name);
                    let note = format!("grid {:?}, block {:?}", launch.grid, launch.block);
                    Error::new(Code::Device, text).at(at).note(note)
                })?;
            }
            if which == 0 {
                s.traffic = Traffic {
                    read: s.memory.read,
                    written: s.memory.written,
                };
            }
            if let (0, Some(total)) = (which, &self.touched) {
                let (read, written) = s.memory.accessed();
                let mut t = lock(total);
                (t.read, t.written) = (t.read + read, t.written + written);
            }
            if self.orders == 1 {
                break;
            }
            let after = s.memory.written();
            if which == 0 {
                first = after;
            } else if let Some(name) = memory::differs(&first, &after) {
                let text = format!(
                    "{name} depends on the order of threads and blocks (order {which} against the ascending one)"
                );
                return Err(
                    Error::new(Code::Device, text).at(format!("{} `{}`", kernel.file, kernel.name))
                );
            }
        }
        Ok(())
    }
}

/// Pointers to the parameters of a kernel: every value lies in its own eight bytes, those of a list behind each other.
pub fn parameters(values: &mut [u64], groups: &[usize]) -> Vec<*mut u8> {
    let mut rest = values;
    let first = |&n: &usize| {
        let own = rest.split_off_mut(..n).expect("as many as the signature");
        own.as_mut_ptr().cast()
    };
    groups.iter().map(first).collect()
}

/// The index of a step in an order: 0 ascending, 1 descending, then random.
fn order(n: usize, which: u64, salt: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    match which {
        0 => {}
        1 => all.reverse(),
        seed => all = Rng::new(seed, &[salt]).permutation(n),
    }
    all
}
