//! Who may go on: warps whose lanes all wait at one operation, a block whose threads all wait at one barrier.

use super::{Running, Site, State, WARP, WarpOp};
use crate::backend::emulated::shadow::Instant;

/// `EMU_SYNC` of the header.
const SYNC: i32 = 7;

impl Running<'_> {
    pub(super) fn who(&self, t: usize) -> String {
        let [bx, by, _] = self.launch.block.map(|v| v as usize);
        let at = [t % bx, t / bx % by, t / (bx * by)];
        format!("thread {at:?} of block {:?}", self.block)
    }

    pub(super) fn instant(&self) -> Instant {
        Instant {
            block: self.number,
            thread: self.current as u32,
            epoch: self.epoch,
            clock: self.threads[self.current].seen[self.current % WARP],
        }
    }

    /// Lets every warp go on whose lanes all wait at the same operation; whether there was one.
    pub(super) fn resolve_warps(&mut self) -> Result<bool, String> {
        let mut any = false;
        for first in (0..self.threads.len()).step_by(WARP) {
            while let Some((t, op)) = self.pending(first) {
                self.exchange(first, t, op)?;
                any = true;
            }
        }
        Ok(any)
    }

    fn pending(&self, first: usize) -> Option<(usize, WarpOp)> {
        let last = (first + WARP).min(self.threads.len());
        (first..last).find_map(|t| match self.threads[t].state {
            State::Warp(op) => Some((t, op)),
            _ => None,
        })
    }

    fn exchange(&mut self, first: usize, t: usize, op: WarpOp) -> Result<(), String> {
        let at = op.site;
        if op.mask >> (t - first) & 1 == 0 {
            return Err(format!(
                "the warp operation at {at} has a mask {:#x} without its own lane, {}",
                op.mask,
                self.who(t)
            ));
        }
        let named: Vec<usize> = (0..WARP).filter(|l| op.mask >> l & 1 == 1).collect();
        let mut values = [None; WARP];
        for &l in &named {
            let other = first + l;
            let lane = self.threads.get(other).map(|o| o.state);
            match lane {
                Some(State::Warp(o)) if o.site != at || o.kind != op.kind => {
                    return Err(format!(
                        "divergent warp operations: {} at {at}, {} at {}",
                        self.who(t),
                        self.who(other),
                        o.site
                    ));
                }
                Some(State::Warp(o)) if o.mask != op.mask => {
                    return Err(format!(
                        "the lanes of the warp operation at {at} name different masks, {:#x} ({}) and {:#x} ({})",
                        op.mask,
                        self.who(t),
                        o.mask,
                        self.who(other)
                    ));
                }
                Some(State::Warp(o)) => values[l] = Some(o),
                Some(State::Barrier(b)) => {
                    return Err(format!(
                        "{} waits for its warp at {at}, {} at the barrier at {b}",
                        self.who(t),
                        self.who(other)
                    ));
                }
                Some(State::Done) => {
                    return Err(format!(
                        "the warp operation at {at} names lane {l}, which has returned, {}",
                        self.who(t)
                    ));
                }
                None => {
                    return Err(format!(
                        "the warp operation at {at} names lane {l}, which the block does not have, {}",
                        self.who(t)
                    ));
                }
                Some(State::Ready) => unreachable!("every runnable thread has run"),
            }
        }
        let ballot = named
            .iter()
            .filter(|&&l| values[l].is_some_and(|o| o.bits != 0))
            .fold(0u64, |b, l| b | 1 << l);
        for &l in &named {
            let own = values[l].expect("filled above");
            let from = match own.kind {
                0 => Some((own.lane & 31) as usize),
                1 => Some(l ^ own.lane as usize).filter(|&s| s < WARP),
                2 => Some(l + own.lane as usize).filter(|&s| s < WARP),
                3 => l.checked_sub(own.lane as usize),
                _ => None,
            };
            let result = match own.kind {
                0..=3 => match from {
                    None => own.bits,
                    Some(s) => match values[s] {
                        Some(v) => v.bits,
                        None => {
                            let text = format!(
                                "lane {l} shuffles from lane {s}, which takes no part, at {at}"
                            );
                            return Err(format!("{text}, {}", self.who(first + l)));
                        }
                    },
                },
                4 => ballot,
                5 => u64::from(ballot == u64::from(op.mask)),
                6 => u64::from(ballot != 0),
                _ => 0,
            };
            let thread = &mut self.threads[first + l];
            (thread.result, thread.state) = (result, State::Ready);
        }
        if op.kind == SYNC {
            let mut joint = [0; WARP];
            for &l in &named {
                let seen = self.threads[first + l].seen;
                joint.iter_mut().zip(seen).for_each(|(j, s)| *j = s.max(*j));
            }
            for &l in &named {
                self.threads[first + l].seen = joint;
                self.threads[first + l].seen[l] += 1;
            }
        }
        Ok(())
    }

    /// Lets the block go on when all its threads wait at one barrier; false when all have returned.
    pub(super) fn resolve_barrier(&mut self) -> Result<bool, String> {
        let waiting: Vec<(usize, Site)> = self
            .threads
            .iter()
            .enumerate()
            .filter_map(|(t, s)| match s.state {
                State::Barrier(site) => Some((t, site)),
                _ => None,
            })
            .collect();
        let Some(&(t, site)) = waiting.first() else {
            return Ok(false);
        };
        if let Some((other, s)) = waiting.iter().find(|(_, s)| *s != site) {
            return Err(format!(
                "divergent barriers: {} at {site}, {} at {s}",
                self.who(t),
                self.who(*other)
            ));
        }
        if let Some(gone) = self
            .threads
            .iter()
            .position(|s| matches!(s.state, State::Done))
        {
            return Err(format!(
                "{} waits at the barrier at {site}, {} has returned",
                self.who(t),
                self.who(gone)
            ));
        }
        self.threads.iter_mut().for_each(|s| s.state = State::Ready);
        self.epoch += 1;
        Ok(true)
    }
}
