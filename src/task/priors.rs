//! Prior boxes of the SSD head: on every position of every level, boxes of fixed sizes and shapes.
//!
//! At row i, column j of a level with step s (pixels), in this order, sizes in pixels: a square of side `min`; a square of
//! side `sqrt(min * max)`; for every ratio r a box `min sqrt r` wide and `min / sqrt r` high, then one with the two
//! exchanged. Centre ((j + 1/2) s, (i + 1/2) s). Widths and x are divided by the image's width, heights and y by its height.
//! Nothing is clipped: where a map is larger than its share of the image, centres lie outside.

use super::config::PriorConfig;
use crate::error::{Code, Error, Result};
use crate::tensor::Tensor;

/// One level of the pyramid.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorLevel {
    /// Rows of the feature map.
    pub rows: usize,
    /// Columns of the feature map.
    pub cols: usize,
    /// Distance of neighbouring centres in pixels.
    pub step: f32,
    /// Side of the small square in pixels.
    pub min: f32,
    /// The large square has the side `sqrt(min * max)`.
    pub max: f32,
    /// Aspect ratios beside 1; each gives a wide and a high box.
    pub ratios: Vec<f32>,
}

impl PriorLevel {
    /// Priors at each position.
    pub fn anchors(&self) -> usize {
        2 + 2 * self.ratios.len()
    }

    /// Priors of the level.
    pub fn count(&self) -> usize {
        self.rows * self.cols * self.anchors()
    }
}

/// Input size and levels.
#[derive(Debug, Clone, PartialEq)]
pub struct PriorLayout {
    /// Rows of the network's input.
    pub height: usize,
    /// Columns of the network's input.
    pub width: usize,
    /// Levels, finest first.
    pub levels: Vec<PriorLevel>,
}

/// Sizes of the released network: level k has the small side `[k]` and the large limit `[k + 1]` (pixels).
pub const RELEASE_SIZES: [f32; 8] = [10.0, 30.0, 60.0, 100.0, 160.0, 220.0, 280.0, 340.0];

impl PriorLayout {
    /// The layout of the released network: steps 4, 8 .. 256, ratios {2, 3} and on the seventh level {2}, sizes in pixels
    /// whatever the input size; the first `levels` rows of that table. Maps: a quarter to a 64th of the input, then two
    /// levels of which each loses 2 rows and columns (3x3 convolutions without padding).
    ///
    /// Errors: 0 or more than 7 levels, sides that are not multiples of the coarsest halving, a map that vanishes.
    pub fn release(height: usize, width: usize, levels: usize) -> Result<PriorLayout> {
        if !(1..=7).contains(&levels) {
            let message = format!("{levels} detection levels: the layout has 1 to 7");
            return Err(Error::new(Code::NetworkDoesNotFit, message));
        }
        let mut out = vec![];
        for k in 0..levels {
            // Maps at strides 4 .. 64, then 2 pixels lost a level.
            let (stride, lost) = (4usize << k.min(4), 2 * k.saturating_sub(4));
            if k <= 4 && !(height.is_multiple_of(stride) && width.is_multiple_of(stride)) {
                return Err(Error::new(
                    Code::NetworkDoesNotFit,
                    format!("input {height}x{width} is not a multiple of {stride}, the stride of detection level {k}"),
                )
                .help("change the input size or lower the number of detection levels"));
            }
            let map = |side: usize| (side / stride).checked_sub(lost).filter(|&n| n > 0);
            let (Some(rows), Some(cols)) = (map(height), map(width)) else {
                return Err(Error::new(
                    Code::NetworkDoesNotFit,
                    format!("the map of detection level {k} vanishes at input {height}x{width}"),
                )
                .help(format!(
                    "use at most {k} detection levels or a larger input"
                )));
            };
            out.push(PriorLevel {
                rows,
                cols,
                step: (4usize << k) as f32,
                min: RELEASE_SIZES[k],
                max: RELEASE_SIZES[k + 1],
                ratios: if k < 6 { vec![2.0, 3.0] } else { vec![2.0] },
            });
        }
        Ok(PriorLayout {
            height,
            width,
            levels: out,
        })
    }

    /// The layout of the `mtnas-peer` frame: strides 8, 16, 32, 64, the first `levels` of them, with six priors a position.
    /// Sizes are rows two to five of the released table scaled by width / 512, so that a small input gets small priors. The
    /// stride-64 map is half the stride-32 map, rounded up (3x3 convolution, stride 2).
    ///
    /// Errors: sides that are not multiples of 32, 0 or more than 4 levels.
    pub fn peer(height: usize, width: usize, levels: usize) -> Result<PriorLayout> {
        let misfit = |message| Err(Error::new(Code::NetworkDoesNotFit, message));
        if !(1..=4).contains(&levels) {
            return misfit(format!("{levels} detection levels: the layout has 1 to 4"));
        }
        if height == 0 || width == 0 || !height.is_multiple_of(32) || !width.is_multiple_of(32) {
            return misfit(format!("input {height}x{width} is not a multiple of 32"));
        }
        let size = |k: usize| RELEASE_SIZES[k] * width as f32 / 512.0;
        let level = |k: usize| {
            let stride = 8usize << k;
            PriorLevel {
                rows: height.div_ceil(stride),
                cols: width.div_ceil(stride),
                step: stride as f32,
                min: size(k + 1),
                max: size(k + 2),
                ratios: vec![2.0, 3.0],
            }
        };
        Ok(PriorLayout {
            height,
            width,
            levels: (0..levels).map(level).collect(),
        })
    }

    /// The same maps with the lists of `config` that are not empty.
    ///
    /// Errors: a list of another length than there are levels; steps, sizes or ratios that are not positive.
    pub fn with(mut self, config: &PriorConfig) -> Result<PriorLayout> {
        let n = self.levels.len();
        let lists = [
            ("min_sizes", config.min_sizes.len()),
            ("max_sizes", config.max_sizes.len()),
            ("steps", config.steps.len()),
            ("ratios", config.ratios.len()),
        ];
        if let Some((key, len)) = lists.into_iter().find(|&(_, len)| len != 0 && len != n) {
            let message = format!("`priors.{key}` has {len} entries for {n} detection levels");
            return Err(Error::new(Code::ConfigValue, message)
                .help("give one entry a level, or leave the list empty"));
        }
        for (k, l) in self.levels.iter_mut().enumerate() {
            let set = |from: &[f64], to: &mut f32| *to = from.get(k).map_or(*to, |&v| v as f32);
            set(&config.min_sizes, &mut l.min);
            set(&config.max_sizes, &mut l.max);
            set(&config.steps, &mut l.step);
            if let Some(r) = config.ratios.get(k) {
                l.ratios = r.iter().map(|&v| v as f32).collect();
            }
        }
        self.check()?;
        Ok(self)
    }

    /// Number of priors.
    pub fn count(&self) -> usize {
        self.levels.iter().map(PriorLevel::count).sum()
    }

    fn check(&self) -> Result<()> {
        let bad = |message: String| Err(Error::new(Code::ConfigValue, message));
        if self.height == 0 || self.width == 0 || self.count() == 0 {
            return bad(format!(
                "no prior box: input {}x{}, {} levels",
                self.height,
                self.width,
                self.levels.len()
            ));
        }
        for (k, l) in self.levels.iter().enumerate() {
            let fine = |v: f32| v.is_finite() && v > 0.0;
            if !(fine(l.step)
                && fine(l.min)
                && fine(l.max)
                && l.min < l.max
                && l.ratios.iter().all(|&r| fine(r)))
            {
                return bad(format!(
                    "prior level {k}: step {}, sizes {} to {}, ratios {:?} must be positive and the sizes rising",
                    l.step, l.min, l.max, l.ratios
                ));
            }
        }
        Ok(())
    }

    /// The boxes, levels finest first, positions row by row.
    ///
    /// Errors: a step, size or ratio that is not positive, sizes that do not rise, no box at all.
    pub fn priors(&self) -> Result<Priors> {
        self.check()?;
        let (w, h) = (self.width as f64, self.height as f64);
        let mut boxes = Vec::with_capacity(self.count());
        for l in &self.levels {
            let (min, mean) = (l.min as f64, (l.min as f64 * l.max as f64).sqrt());
            let mut shapes = vec![(min, min), (mean, mean)];
            for &r in &l.ratios {
                let r = (r as f64).sqrt();
                shapes.extend([(min * r, min / r), (min / r, min * r)]);
            }
            for i in 0..l.rows {
                for j in 0..l.cols {
                    let (x, y) = (
                        (j as f64 + 0.5) * l.step as f64,
                        (i as f64 + 0.5) * l.step as f64,
                    );
                    boxes.extend(
                        shapes
                            .iter()
                            .map(|&(bw, bh)| [x / w, y / h, bw / w, bh / h]),
                    );
                }
            }
        }
        let table = Tensor::from_f64([boxes.len(), 4], boxes.concat())?;
        Ok(Priors {
            height: self.height,
            width: self.width,
            boxes,
            table,
        })
    }
}

/// Prior boxes, relative to the image's size.
#[derive(Debug, Clone, PartialEq)]
pub struct Priors {
    height: usize,
    width: usize,
    boxes: Vec<[f64; 4]>,
    table: Tensor,
}

impl Priors {
    /// Centre x, centre y, width, height of each prior, relative to the image; in the order of the network's outputs.
    pub fn boxes(&self) -> &[[f64; 4]] {
        &self.boxes
    }

    /// The same as a tensor, `(len, 4)` f64: on a device it stays there.
    pub fn table(&self) -> &Tensor {
        &self.table
    }

    /// Number of priors.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// True without a prior (never, when made by [`PriorLayout::priors`]).
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Height and width of the network's input in pixels.
    pub fn input(&self) -> (usize, usize) {
        (self.height, self.width)
    }
}

#[cfg(test)]
#[path = "priors_tests.rs"]
mod tests;
