//! Prior boxes of the SSD head: on every position of every level, boxes of fixed sizes and shapes.
//!
//! At row i, column j of a level with step s (pixels), in this order, sizes in pixels: a square of side `min`; a square of
//! side `sqrt(min * max)`; for every ratio r a box `min sqrt r` wide and `min / sqrt r` high, then one with the two
//! exchanged. Centre ((j + 1/2) s, (i + 1/2) s). Widths and x are divided by the image's width, heights and y by its height.
//! Nothing is clipped: where a map is larger than its share of the image, centres lie outside.

use super::config::PriorConfig;
use crate::error::{Code, Error, Result};

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
                            .map(|&(bw, bh)| [x / w, y / h, bw / w, bh / h].map(|v| v as f32)),
                    );
                }
            }
        }
        Ok(Priors {
            height: self.height,
            width: self.width,
            boxes,
        })
    }
}

/// Prior boxes, relative to the image's size.
#[derive(Debug, Clone, PartialEq)]
pub struct Priors {
    height: usize,
    width: usize,
    boxes: Vec<[f32; 4]>,
}

impl Priors {
    /// Centre x, centre y, width, height of each prior, relative to the image; in the order of the network's outputs.
    pub fn boxes(&self) -> &[[f32; 4]] {
        &self.boxes
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
mod tests {
    use super::*;

    fn close(a: [f32; 4], b: [f64; 4]) {
        for k in 0..4 {
            assert!((a[k] as f64 - b[k]).abs() < 1e-6, "{a:?} against {b:?}");
        }
    }

    #[test]
    fn the_released_layout_has_81964_priors() {
        let c = PriorLayout::release(320, 512, 7).unwrap();
        let counts: Vec<usize> = c.levels.iter().map(PriorLevel::count).collect();
        assert_eq!(counts, [61440, 15360, 3840, 960, 240, 108, 16]);
        let maps: Vec<_> = c.levels.iter().map(|l| (l.rows, l.cols)).collect();
        assert_eq!(
            maps,
            [
                (80, 128),
                (40, 64),
                (20, 32),
                (10, 16),
                (5, 8),
                (3, 6),
                (1, 4)
            ]
        );
        let p = c.priors().unwrap();
        assert_eq!((p.len(), c.count()), (81_964, 81_964));
    }

    #[test]
    fn first_and_last_boxes() {
        let p = PriorLayout::release(320, 512, 7).unwrap().priors().unwrap();
        let at = [2.0 / 512.0, 2.0 / 320.0];
        let shape = |w: f64, h: f64| [at[0], at[1], w / 512.0, h / 320.0];
        let (r2, r3) = (2f64.sqrt(), 3f64.sqrt());
        close(p.boxes()[0], shape(10.0, 10.0));
        close(p.boxes()[1], shape(300f64.sqrt(), 300f64.sqrt()));
        close(p.boxes()[2], shape(10.0 * r2, 10.0 / r2));
        close(p.boxes()[3], shape(10.0 / r2, 10.0 * r2));
        close(p.boxes()[4], shape(10.0 * r3, 10.0 / r3));
        close(p.boxes()[5], shape(10.0 / r3, 10.0 * r3));
        // Columns run before rows.
        close(
            p.boxes()[6],
            [6.0 / 512.0, at[1], 10.0 / 512.0, 10.0 / 320.0],
        );
        close(
            p.boxes()[6 * 128],
            [at[0], 6.0 / 320.0, 10.0 / 512.0, 10.0 / 320.0],
        );
        // The last levels run past the image.
        close(
            p.boxes()[81_960],
            [3.5 * 256.0 / 512.0, 0.4, 280.0 / 512.0, 280.0 / 320.0],
        );
        let sixth = 61440 + 15360 + 3840 + 960 + 240;
        close(
            p.boxes()[sixth + 5 * 6],
            [1.375, 0.2, 220.0 / 512.0, 220.0 / 320.0],
        );
        let largest = p.boxes().iter().map(|b| b[0]).fold(0.0, f32::max);
        assert_eq!(largest, 1.75);
    }

    #[test]
    fn fewer_levels_are_a_prefix_and_other_sizes_keep_pixels() {
        let all = PriorLayout::release(320, 512, 7).unwrap().priors().unwrap();
        let four = PriorLayout::release(320, 512, 4).unwrap().priors().unwrap();
        assert_eq!(four.boxes(), &all.boxes()[..four.len()]);
        let small = PriorLayout::release(128, 192, 4).unwrap().priors().unwrap();
        close(
            small.boxes()[0],
            [2.0 / 192.0, 2.0 / 128.0, 10.0 / 192.0, 10.0 / 128.0],
        );
    }

    #[test]
    fn maps_that_vanish_are_refused_by_level() {
        let e = PriorLayout::release(128, 192, 6).unwrap_err();
        assert_eq!(e.code(), Code::NetworkDoesNotFit);
        assert!(e.message().contains("level 5"), "{e}");
        assert!(PriorLayout::release(320, 320, 7).is_ok());
        assert!(
            PriorLayout::release(256, 320, 7)
                .unwrap_err()
                .message()
                .contains("level 6")
        );
        assert!(PriorLayout::release(0, 0, 1).is_err());
        assert!(
            PriorLayout::release(96, 96, 5)
                .unwrap_err()
                .message()
                .contains("64")
        );
        assert!(
            PriorLayout::release(320, 512, 8).is_err()
                && PriorLayout::release(320, 512, 0).is_err()
        );
    }

    #[test]
    fn the_peer_layout_counts_like_its_network() {
        for (h, w, positions) in [
            (128, 192, 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3),
            (96, 160, 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3),
        ] {
            let c = PriorLayout::peer(h, w, 4).unwrap();
            assert_eq!(c.count(), positions * 6);
            assert!(c.levels.iter().all(|l| l.anchors() == 6));
        }
        let p = PriorLayout::peer(128, 192, 4).unwrap().priors().unwrap();
        close(
            p.boxes()[0],
            [4.0 / 192.0, 4.0 / 128.0, 11.25 / 192.0, 11.25 / 128.0],
        );
        assert_eq!(PriorLayout::peer(128, 192, 3).unwrap().levels.len(), 3);
        assert!(PriorLayout::peer(100, 192, 4).is_err() && PriorLayout::peer(0, 32, 4).is_err());
        assert!(PriorLayout::peer(128, 192, 5).is_err() && PriorLayout::peer(128, 192, 0).is_err());
    }

    #[test]
    fn lists_of_the_configuration_replace_the_table() {
        let layout = || PriorLayout::peer(128, 192, 3).unwrap();
        assert_eq!(layout().with(&PriorConfig::default()).unwrap(), layout());
        let own = PriorConfig {
            min_sizes: vec![8.0, 16.0, 32.0],
            ratios: vec![vec![], vec![2.0], vec![2.0, 3.0]],
            ..Default::default()
        };
        let l = layout().with(&own).unwrap();
        let anchors: Vec<usize> = l.levels.iter().map(PriorLevel::anchors).collect();
        assert_eq!(
            (l.levels[1].min, l.levels[1].max, anchors),
            (16.0, 37.5, vec![2, 4, 6])
        );
        let short = PriorConfig {
            steps: vec![8.0],
            ..Default::default()
        };
        let e = layout().with(&short).unwrap_err();
        assert!(
            e.message().contains("`priors.steps` has 1 entries for 3"),
            "{e}"
        );
        let negative = PriorConfig {
            max_sizes: vec![-1.0; 3],
            ..Default::default()
        };
        assert_eq!(
            layout().with(&negative).unwrap_err().code(),
            Code::ConfigValue
        );
    }

    #[test]
    fn hand_made_levels_are_checked() {
        let good = PriorLayout::peer(64, 64, 4).unwrap();
        let spoil = |f: &dyn Fn(&mut PriorLevel)| {
            let mut c = good.clone();
            f(&mut c.levels[1]);
            c.priors().unwrap_err().message().to_string()
        };
        assert!(spoil(&|l| l.step = 0.0).contains("level 1"));
        assert!(spoil(&|l| l.max = l.min).contains("level 1"));
        assert!(spoil(&|l| l.ratios = vec![f32::INFINITY]).contains("level 1"));
        assert!(
            PriorLayout {
                levels: vec![],
                ..good
            }
            .priors()
            .is_err()
        );
    }
}
