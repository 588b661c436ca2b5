//! The least that a phase of a search could cost: device-memory traffic, arithmetic and launches of a fused implementation of the
//! same supernet, from first principles. `benches/peers/roofline.py` counts the same apart, and the two must agree.
//!
//! Traffic of one edge in units of its active tensor (batch x channels / k x height x width); in brackets what it reads and writes:
//! first halves of all candidates from one x (1 + 4), second halves (2 + 2), the weighted sum with the norms folded in (1 + 4);
//! backward: channel sums for norms and alphas (2 + 4), last halves (8 + 3), first halves (6 + 1); what bypasses is read once an
//! edge and written once a node. Outputs before norms are stored, the rest is computed again.

use crate::model::config::{Frame, Stem};
use crate::model::{Cells, NetworkSpec};
use crate::space::Candidates;
use crate::task::config::TaskKind;

/// Multiply-adds of one image position: depthwise (3x3 and 5x5, twice each, and both dilated) for each active channel.
const DEPTHWISE: f64 = (2 * 9 + 2 * 25 + 9 + 25) as f64;
/// Pointwise convolutions of the candidates.
const POINTWISE: f64 = 6.0;
/// Floating-point operations a second of the cores of an H200 in f32 (data sheet).
const FMA: f64 = 67e12;
/// Launches of a cell, and of what is outside of the layers (optimiser, losses).
const CELL_LAUNCHES: u64 = 28;
const OTHER_LAUNCHES: u64 = 6;

/// What a phase, one forward and backward, costs at least.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Floor {
    /// Elements that are read or written.
    pub elements: f64,
    /// Multiply-adds of depthwise and pointwise convolutions in cells.
    pub multiply_adds: f64,
    /// Launches of the fused design.
    pub launches: u64,
}

/// Maps of all images together: channels and positions.
#[derive(Debug, Clone, Copy)]
struct Maps {
    c: usize,
    n: usize,
}

/// How a cell reads an input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Read {
    /// A pointwise convolution, at stride 2 where the map is larger than the cell's.
    Pointwise,
    /// A 3x3 window without padding, after halving where the map is larger.
    Window,
}

impl Floor {
    /// A dense convolution with norm and ReLU folded into its neighbours.
    fn conv(&mut self, x: Maps, y: Maps, norm: bool) {
        let per = if norm { 5.0 } else { 3.0 };
        self.elements += 3.0 * (x.c * x.n) as f64 + per * (y.c * y.n) as f64;
        self.launches += 4;
    }

    /// What prepares an input of a cell: ReLU, a convolution, a norm.
    fn read(&mut self, x: Maps, y: Maps) {
        self.elements += 3.5 * (x.c * x.n) as f64 + 5.0 * (y.c * y.n) as f64;
    }

    /// A mixed cell of `nodes` nodes, `width` channels each, on maps of `at` positions; what it yields.
    fn cell(
        &mut self,
        inputs: [Maps; 2],
        read: Read,
        at: usize,
        width: usize,
        k: usize,
        nodes: usize,
        halves: bool,
    ) -> Maps {
        for x in inputs {
            let mut x = x;
            if read == Read::Window && x.n > 2 * inputs[1].n {
                let halved = Maps {
                    c: width,
                    n: x.n / 4,
                };
                self.read(x, halved);
                x = halved;
            }
            self.read(x, Maps { c: width, n: at });
        }
        let (active, rest) = ((width / k) as f64, (k - 1) as f64);
        let out = if halves { at / 4 } else { at };
        for node in 0..nodes {
            self.elements += 2.0 * k as f64 * active * out as f64;
            for from in 0..2 + node {
                let strided = halves && from < 2;
                let x = active * if strided { at } else { out } as f64;
                let y = active * out as f64;
                let pointwise = POINTWISE + if strided { 1.0 } else { 0.0 };
                self.multiply_adds += 4.0 * DEPTHWISE * y + 3.0 * pointwise * active * y;
                let skip = if strided { 2.0 } else { 0.0 };
                let forward = x + 4.0 * y + 4.0 * y + x + 4.0 * y + skip * y;
                let sums = y + 4.0 * y + x;
                let last = y + 6.0 * y + x + x + 2.0 * y;
                let first = 4.0 * y + 2.0 * x + x;
                self.elements += forward + sums + last + first + rest * (x + y);
            }
        }
        self.launches += CELL_LAUNCHES;
        Maps {
            c: nodes * width,
            n: out,
        }
    }

    /// Of a phase of `kind` with `batch` images; `None` unless every cell is mixed with all candidates.
    pub fn of(spec: &NetworkSpec, kind: TaskKind, batch: usize) -> Option<Floor> {
        let f = &spec.frame;
        let all = |c: &Candidates| *c == Candidates::all(c.edges());
        let mixed = |cells: &Cells| match cells {
            Cells::Search { options, .. } => all(&options.normal) && all(&options.reduce),
            _ => false,
        };
        let branches = f.frame != Frame::MtnasRelease || mixed(&spec.det) && mixed(&spec.seg);
        if !mixed(&spec.backbone) || !branches {
            return None;
        }
        let mut floor = Floor {
            launches: OTHER_LAUNCHES,
            ..Floor::default()
        };
        let pixels = batch * spec.height * spec.width;
        let (stem, outs) = floor.backbone(spec, pixels);
        match f.frame {
            // Nothing is searched in the others.
            Frame::Classification | Frame::MtlResnet18 | Frame::Trunk => {}
            Frame::MtnasPeer => floor.peer(spec, kind, &outs),
            Frame::MtnasRelease => floor.release(spec, kind, batch, stem, &outs),
        }
        Some(floor)
    }

    /// Stem and backbone: the two maps that cell 0 reads, and those of all cells.
    fn backbone(&mut self, spec: &NetworkSpec, pixels: usize) -> ([Maps; 2], Vec<Maps>) {
        let (f, c) = (&spec.frame, spec.frame.channels);
        let image = Maps { c: 3, n: pixels };
        let stem = match (f.frame, f.stem) {
            (Frame::Classification, Stem::Cifar) => {
                let x = Maps { c: 3 * c, ..image };
                self.conv(image, x, true);
                [x, x]
            }
            (Frame::MtnasPeer, _) => {
                let half = Maps {
                    c: (c / 2).max(8),
                    n: pixels / 4,
                };
                let x = Maps { c, n: pixels / 16 };
                self.conv(image, half, true);
                self.conv(half, x, true);
                [x, x]
            }
            (frame, _) => {
                let stride = if frame == Frame::MtnasRelease { 1 } else { 4 };
                let half = Maps {
                    c: c / 2,
                    n: pixels / 4,
                };
                let s0 = Maps {
                    c,
                    n: half.n / stride,
                };
                let s1 = Maps { c, n: s0.n / 4 };
                self.conv(image, half, true);
                self.conv(half, s0, true);
                self.conv(s0, s1, true);
                [s0, s1]
            }
        };
        let (mut width, mut maps) = (c, stem.to_vec());
        let reductions = f.reduction_cells();
        for i in 0..f.cells {
            let halves = reductions.contains(&i);
            width *= if halves { 2 } else { 1 };
            let inputs = [maps[i], maps[i + 1]];
            let at = inputs[1].n;
            let y = self.cell(
                inputs,
                Read::Pointwise,
                at,
                width,
                f.partial_k,
                f.nodes,
                halves,
            );
            maps.push(y);
        }
        (stem, maps.split_off(2))
    }

    /// Pyramid and heads of `mtnas-peer`.
    fn peer(&mut self, spec: &NetworkSpec, kind: TaskKind, outs: &[Maps]) {
        let (f, reductions) = (spec.frame.fpn_width, spec.frame.reduction_cells());
        let taps = [reductions[1] - 1, reductions[2] - 1, outs.len() - 1].map(|t| outs[t]);
        for x in taps {
            let y = Maps { c: f, n: x.n };
            self.conv(x, y, false);
            self.conv(y, y, true);
        }
        let [fine, .., coarse] = taps;
        let of = |c: usize, n: usize| Maps { c, n };
        if let (TaskKind::Detection, Some(head)) = (kind, &spec.det_head) {
            let mut levels = taps.map(|x| x.n).to_vec();
            if head.anchors.len() > levels.len() {
                self.conv(of(f, coarse.n), of(f, coarse.n / 4), true);
                levels.push(coarse.n / 4);
            }
            for (&n, a) in levels.iter().zip(&head.anchors) {
                self.conv(of(f, n), of(a * (4 + head.classes + 1), n), false);
            }
        } else {
            let (classes, n) = (spec.planes(kind), fine.n);
            self.conv(of(f, n), of(f / 2, 4 * n), true);
            self.conv(of(f / 2, 4 * n), of(f / 4, 16 * n), true);
            self.conv(of(f / 4, 16 * n), of(classes, 64 * n), false);
        }
    }

    /// Branches and heads of `mtnas-release`. Sums with enlarged maps ride on the reads of what follows.
    fn release(
        &mut self,
        spec: &NetworkSpec,
        kind: TaskKind,
        batch: usize,
        stem: [Maps; 2],
        outs: &[Maps],
    ) {
        let f = &spec.frame;
        let reductions = f.reduction_cells();
        let last = outs[outs.len() - 1];
        let taps = [2, 1, 0].map(|i| outs[reductions[i] - 1]);
        let steps = if kind == TaskKind::Detection { 3 } else { 4 };
        let (mut x, mut down) = (last, vec![]);
        for tap in taps.into_iter().chain([stem[0]]).take(steps) {
            let width = tap.c / f.nodes;
            self.cell(
                [x, x],
                Read::Pointwise,
                x.n,
                width,
                f.partial_k,
                f.nodes,
                false,
            );
            x = tap;
            down.push(x);
        }
        if kind != TaskKind::Detection {
            let classes = spec.planes(kind);
            let y = Maps { c: classes, n: x.n };
            return self.conv(x, y, true);
        }
        let Some(head) = &spec.det_head else { return };
        let mut levels = vec![down[2], down[1], down[0], last];
        let [mut h, mut w] = [spec.height / 64, spec.width / 64];
        for i in 0..head.anchors.len().saturating_sub(levels.len()) {
            let s1 = levels[levels.len() - 1];
            let s0 = match i {
                0 => outs[outs.len() - 2],
                1 => last,
                _ => s1,
            };
            let (k, nodes) = (f.partial_k, f.nodes);
            levels.push(match i {
                0 => {
                    let width = last.c / nodes;
                    self.cell([s0, s1], Read::Pointwise, s1.n, width, k, nodes, true)
                }
                _ => {
                    (h, w) = (h.saturating_sub(2), w.saturating_sub(2));
                    let width = last.c / 2 / nodes;
                    let at = batch * h * w;
                    self.cell([s0, s1], Read::Window, at, width, k, nodes, false)
                }
            });
        }
        for (&x, a) in levels.iter().zip(&head.anchors) {
            let y = Maps {
                c: a * (f.loc_values + head.classes + 1),
                n: x.n,
            };
            self.conv(x, y, true);
        }
    }

    /// Seconds at a bandwidth in bytes a second with elements of `size` bytes: of the traffic and of the arithmetic the longer.
    pub fn seconds(&self, size: usize, bandwidth: f64) -> f64 {
        let traffic = self.elements * size as f64 / bandwidth;
        traffic.max(2.0 * self.multiply_adds / FMA)
    }
}

#[cfg(test)]
#[path = "floor_tests.rs"]
mod tests;
