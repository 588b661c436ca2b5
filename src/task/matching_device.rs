//! Matching by launches: the objects of a batch, padded to one number an image, go up; labels and offsets stay on the device.

use super::{Matcher, check, relative};
use crate::annotation::Object;
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Kinds of the rows of objects besides the classes, as `kernels/detect_match.cu` has them.
const IGNORED: i32 = -1;
const PADDING: i32 = -2;

/// Least number of rows of objects for an image: few numbers occur, so that steps look alike.
const LEAST_ROWS: usize = 16;

/// What the priors of a batch shall predict, on a device.
#[derive(Debug, Clone)]
pub struct MatchedOn {
    /// `(N, P)` i32, as [`super::Matched::labels`].
    pub labels: Tensor,
    /// `(N, P, 4)` f32, as [`super::Matched::offsets`].
    pub offsets: Tensor,
    /// One i32: positive priors of the batch.
    pub positives: Tensor,
}

impl Matcher {
    /// [`Matcher::targets`] of a batch, one list of objects an image, on a device.
    ///
    /// # Errors
    /// As [`Matcher::targets`], with the image in a note; those of the device.
    pub fn targets_on(
        &self,
        e: Engine,
        batch: &[&[Object]],
        size: (usize, usize),
        classes: usize,
    ) -> Result<MatchedOn> {
        let longest = batch.iter().map(|o| o.len()).max().unwrap_or(0);
        let (n, p) = (batch.len(), self.priors.len());
        let rows = longest.max(LEAST_ROWS).next_power_of_two();
        let (mut boxes, mut kinds) = (vec![0.0; n * rows * 4], vec![PADDING; n * rows]);
        for (i, objects) in batch.iter().enumerate() {
            check(objects, size, classes).map_err(|e| e.note(format!("image {i} of the batch")))?;
            for (j, o) in objects.iter().enumerate().map(|(j, o)| (i * rows + j, o)) {
                kinds[j] = if o.ignore { IGNORED } else { o.class as i32 };
                let edges = relative(&o.bbox, size, self.priors.input());
                boxes[4 * j..4 * j + 4].copy_from_slice(&edges);
            }
        }
        let mut labels = Tensor::scratch_on(e, [n, p], DType::I32)?;
        let mut offsets = Tensor::scratch_on(e, [n, p, 4], DType::F32)?;
        let mut positives = Tensor::zeros_on(e, Shape::new(&[]), DType::I32)?;
        if n * p > 0 {
            let boxes = Tensor::from_f64([n, rows, 4], boxes)?;
            let kinds = Tensor::from_i32([n, rows], kinds)?;
            let mut claims = Tensor::scratch_on(e, [n, rows], DType::I32)?;
            let (priors, count) = (self.priors.table().arg(e)?, Arg::I32(p as i32));
            let objects = [priors, boxes.arg(e)?, kinds.arg(e)?];
            let args = [&objects[..], &[claims.arg_out(e)?, count]].concat();
            let launch = Launch::new([(n * rows) as u32, 1, 1], [256, 1, 1]);
            e.launch(k::DETECT_CLAIMS, launch, &args)?;
            let [v0, v1] = self.config.variances;
            let config = e.constant(&[self.config.positive, self.config.ignore, v0, v1])?;
            let out = [
                labels.arg_out(e)?,
                offsets.arg_out(e)?,
                positives.arg_out(e)?,
            ];
            let sizes = [count, Arg::I32(rows as i32), Arg::I32(n as i32)];
            let read = [claims.arg(e)?, config.arg()];
            let args = [&objects[..], &read, &out, &sizes].concat();
            let across = Launch::over(p, 128).grid[0];
            let launch = Launch::new([across, n.min(65535) as u32, 1], [128, 1, 1]);
            e.launch(k::DETECT_MATCH, launch, &args)?;
        }
        Ok(MatchedOn {
            labels,
            offsets,
            positives,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::*;
    use super::*;
    use crate::annotation::BBox;
    use crate::rng::Rng;
    use crate::task::priors::PriorLayout;

    /// Objects on a grid of few positions, so that overlaps tie; thin boxes, the whole image, copies, ignored ones.
    fn objects(r: &mut Rng, side: f32) -> Vec<Object> {
        let mut all: Vec<Object> = vec![];
        for _ in 0..r.below(9) {
            let mut at = || (r.below(9) as f32 / 8.0) * side;
            let (a, b, c, d) = (at(), at(), at(), at());
            let mut o = Object {
                class: r.below(3),
                bbox: BBox {
                    x1: a.min(b),
                    y1: c.min(d),
                    x2: a.max(b),
                    y2: c.max(d),
                },
                ignore: r.coin(0.2),
            };
            if r.coin(0.2)
                && let Some(last) = all.last()
            {
                o.bbox = last.bbox;
            }
            all.push(o);
        }
        all
    }

    #[test]
    fn the_device_matches_as_the_host() {
        mutation_cases(Engine::emulated(2));
    }

    /// What `kernels/detect_match.cu` computes; panics where it is not what the host does.
    pub(crate) fn mutation_cases(e: Engine) {
        let priors = PriorLayout::peer(64, 64, 3).unwrap().priors().unwrap();
        let (mut r, mut seen) = (Rng::new(5, &[]), [0; 3]);
        for round in 0..6 {
            let matcher = Matcher::new(
                priors.clone(),
                MatchConfig {
                    positive: [0.5, 0.3][round % 2],
                    ..MatchConfig::default()
                },
            );
            let batch: Vec<Vec<Object>> = (0..3).map(|_| objects(&mut r, 64.0)).collect();
            let lists: Vec<&[Object]> = batch.iter().map(|o| &o[..]).collect();
            let got = matcher.targets_on(e, &lists, (64, 64), 3).unwrap();
            let (p, mut positives) = (priors.len(), 0);
            for (i, list) in lists.iter().enumerate() {
                let want = matcher.targets(list, (64, 64), 3).unwrap();
                assert_eq!(got.labels.i32s()[i * p..][..p], want.labels[..]);
                let offsets = &got.offsets.f32s()[4 * i * p..][..4 * p];
                for (g, w) in offsets.iter().zip(&want.offsets) {
                    assert!((*g as f64 - w).abs() <= 1e-7 * w.abs(), "{g} {w}");
                }
                positives += want.positives();
                for l in want.labels {
                    seen[(1 + l.signum()) as usize] += 1;
                }
            }
            assert_eq!(got.positives.i32s(), [positives as i32]);
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
        let wrong = [Object {
            class: 3,
            bbox: BBox::default(),
            ignore: false,
        }];
        let error = matcher_error(e, &priors, &wrong);
        assert!(error.contains("class 3"), "{error}");
    }

    fn matcher_error(e: Engine, priors: &Priors, objects: &[Object]) -> String {
        let m = Matcher::new(priors.clone(), MatchConfig::default());
        m.targets_on(e, &[objects], (64, 64), 3)
            .unwrap_err()
            .to_string()
    }
}
