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
        let [boxes, kinds] = self.objects(batch, size, classes)?;
        self.match_on(e, &boxes, &kinds)
    }

    /// The objects of a batch as the kernels read them: edges relative to the input, `(N, rows, 4)` f64, and kinds, `(N, rows)` i32.
    ///
    /// # Errors
    /// As [`Matcher::targets`], with the image in a note.
    pub fn objects(
        &self,
        batch: &[&[Object]],
        size: (usize, usize),
        classes: usize,
    ) -> Result<[Tensor; 2]> {
        let longest = batch.iter().map(|o| o.len()).max().unwrap_or(0);
        let n = batch.len();
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
        Ok([
            Tensor::from_f64([n, rows, 4], boxes)?,
            Tensor::from_i32([n, rows], kinds)?,
        ])
    }

    /// The targets of [`Matcher::objects`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn match_on(&self, e: Engine, boxes: &Tensor, kinds: &Tensor) -> Result<MatchedOn> {
        let (n, rows, p) = (kinds.dims()[0], kinds.dims()[1], self.priors.len());
        let mut labels = Tensor::scratch_on(e, [n, p], DType::I32)?;
        let mut offsets = Tensor::scratch_on(e, [n, p, 4], DType::F32)?;
        let mut positives = Tensor::zeros_on(e, Shape::new(&[]), DType::I32)?;
        if n * p > 0 {
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
    use crate::task::priors::{PriorLayout, PriorLevel};

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
        claims(e);
        at_the_thresholds(e);
        at_random(e);
    }

    /// Among copies of a few priors the first is claimed, whichever thread meets it; nothing by what is no object or lies outside.
    fn claims(e: Engine) {
        let (count, mut r) = (600, Rng::new(6, &[]));
        let eighth = |r: &mut Rng, least: usize| (least + r.below(8)) as f64 / 8.0;
        let one = |r: &mut Rng| [eighth(r, 0), eighth(r, 0), eighth(r, 1), eighth(r, 1)];
        let few: Vec<[f64; 4]> = (0..12).map(|_| one(&mut r)).collect();
        let priors: Vec<[f64; 4]> = (0..count).map(|_| few[r.below(few.len())]).collect();
        let mut boxes = vec![[2.0, 2.0, 3.0, 3.0]];
        for _ in 0..14 {
            let (x, y) = (eighth(&mut r, 0), eighth(&mut r, 0));
            boxes.push([x, y, x + eighth(&mut r, 1), y + eighth(&mut r, 1)]);
        }
        let kinds = [0, 1, 0, IGNORED, 0, 1, PADDING, 2, 0, 1, 0, 0, 1, 2, 0];
        let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
        let iou = |p: &[f64; 4], b: [f64; 4]| {
            let edge = |k: usize, sign: f64| (p[k] + sign * p[k + 2] / 2.0).clamp(0.0, 1.0);
            let p = [edge(0, -1.0), edge(1, -1.0), edge(0, 1.0), edge(1, 1.0)];
            let side = |k: usize| (p[k + 2].min(b[k + 2]) - p[k].max(b[k])).max(0.0);
            let both = side(0) * side(1);
            both / (area(p) + area(b) - both)
        };
        let claim = |(&b, &kind): (&[f64; 4], &i32)| {
            let (mut best, mut first) = (0.0, -1);
            for (i, p) in priors.iter().enumerate().filter(|_| kind >= 0) {
                if iou(p, b) > best {
                    (best, first) = (iou(p, b), i as i32);
                }
            }
            first
        };
        let want: Vec<i32> = boxes.iter().zip(&kinds).map(claim).collect();
        let table = Tensor::from_f64([count, 4], priors.concat()).unwrap();
        let objects = Tensor::from_f64([kinds.len(), 4], boxes.concat()).unwrap();
        let mut got = Tensor::scratch_on(e, [kinds.len()], DType::I32).unwrap();
        let of = Tensor::from_i32([kinds.len()], kinds.to_vec()).unwrap();
        let read = [&table, &objects, &of].map(|t| t.arg(e).unwrap());
        let rest = [got.arg_out(e).unwrap(), Arg::I32(count as i32)];
        let launch = Launch::new([kinds.len() as u32, 1, 1], [256, 1, 1]);
        e.launch(k::DETECT_CLAIMS, launch, &[&read[..], &rest].concat())
            .unwrap();
        assert_eq!(got.i32s(), want);
    }

    /// An overlap of exactly the least of a positive, a share of exactly the least of an ignored one, both at 0 too; as many objects
    /// as there are rows for.
    fn at_the_thresholds(e: Engine) {
        let level = PriorLevel {
            rows: 4,
            cols: 4,
            step: 16.0,
            min: 16.0,
            max: 36.0,
            ratios: vec![],
        };
        let priors = PriorLayout {
            height: 64,
            width: 64,
            levels: vec![level],
        };
        let priors = priors.priors().unwrap();
        let object = |class: usize, ignore: bool, [x1, y1, x2, y2]: [f32; 4]| Object {
            class,
            bbox: BBox { x1, y1, x2, y2 },
            ignore,
        };
        let two_small = object(1, false, [0.0, 0.0, 16.0, 32.0]);
        let half = object(0, true, [0.0, 0.0, 8.0, 64.0]);
        let small = |i: usize| {
            let (x, y) = ((i % 4 * 16) as f32, (i / 4 * 14) as f32);
            object(i % 3, i % 5 == 1, [x, y, x + 9.0, y + 7.0])
        };
        let full: Vec<Object> = (0..LEAST_ROWS).map(small).collect();
        let batch = vec![vec![half], vec![two_small], vec![two_small, half], full];
        for (positive, ignore) in [(0.5, 0.5), (0.0, 0.5), (0.5, 0.0)] {
            let config = MatchConfig {
                positive,
                ignore,
                ..MatchConfig::default()
            };
            let counts = as_the_host(e, &Matcher::new(priors.clone(), config), &batch);
            assert!(counts.iter().all(|&n| n > 5), "{counts:?}");
        }
    }

    /// Matches on both; how many priors are neither, background and positive.
    fn as_the_host(e: Engine, matcher: &Matcher, batch: &[Vec<Object>]) -> [usize; 3] {
        let lists: Vec<&[Object]> = batch.iter().map(|o| &o[..]).collect();
        let got = matcher.targets_on(e, &lists, (64, 64), 3).unwrap();
        let (p, mut seen) = (matcher.priors().len(), [0; 3]);
        for (i, list) in lists.iter().enumerate() {
            let want = matcher.targets(list, (64, 64), 3).unwrap();
            assert_eq!(got.labels.i32s()[i * p..][..p], want.labels[..]);
            let offsets = &got.offsets.f32s()[4 * i * p..][..4 * p];
            for (g, w) in offsets.iter().zip(&want.offsets) {
                assert!((*g as f64 - w).abs() <= 1e-7 * w.abs(), "{g} {w}");
            }
            for l in want.labels {
                seen[(1 + l.signum()) as usize] += 1;
            }
        }
        assert_eq!(got.positives.i32s(), [seen[2] as i32]);
        seen
    }

    fn at_random(e: Engine) {
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
            let of_batch = as_the_host(e, &matcher, &batch);
            seen.iter_mut().zip(of_batch).for_each(|(s, n)| *s += n);
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
