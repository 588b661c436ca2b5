//! Batches made by kernels against those of the host, bit by bit.

use std::sync::Arc;

use super::kernels::Recipe;
use super::table::{Place, ROW, check, row, taps, tensor};
use crate::annotation::{Annotation, BBox, Image, LabelMap, Object};
use crate::data::augment::{Augmentation, Crop};
use crate::data::batch::Batches;
use crate::data::dataset::{Dataset, Kind, Sample};
use crate::data::input::Input;
use crate::data::sight::{Kept, Sights};
use crate::error::{Code, Error, Result};
use crate::rng::Rng;
use crate::tensor::{Buffer, DType, DeviceBuffer, Engine, Tensor};

const SAMPLES: usize = 6;

/// Network input of a case that shows what it is about in few pixels.
const RARE: (usize, usize) = (23, 24);

/// Noise of several sizes with label maps or boxes.
struct Noise {
    kind: Kind,
    /// Of every picture; several where there is none.
    size: Option<(usize, usize)>,
    classes: Vec<String>,
}

impl Dataset for Noise {
    fn name(&self) -> &str {
        "noise"
    }
    fn kind(&self) -> Kind {
        self.kind
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn len(&self) -> usize {
        SAMPLES
    }
    fn id(&self, index: usize) -> String {
        index.to_string()
    }
    fn place(&self, index: usize) -> String {
        format!("noise/{index}")
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let r = &mut Rng::new(5, &[index as u64]);
        let (height, width) = self.size.unwrap_or((5 + r.below(20), 5 + r.below(40)));
        // Runs of one colour beside noise: greys, near greys and equal channels are cases of their own.
        let mut data: Vec<u8> = (0..3 * height * width)
            .map(|_| r.below(256) as u8)
            .collect();
        data[..3 * width].fill(r.below(256) as u8);
        data[3 * width..6 * width]
            .chunks_mut(3)
            .enumerate()
            .for_each(|(i, p)| p.copy_from_slice(&[[0, 255, 255], [100, 101, 100]][i / 4 % 2]));
        let ids = (0..height * width).map(|_| r.below(4) as u8).collect();
        let annotation = match self.kind {
            Kind::Segmentation => Annotation::Labels(LabelMap {
                height,
                width,
                data: ids,
            }),
            _ => Annotation::Objects(vec![Object {
                class: 0,
                bbox: BBox {
                    x1: 1.0,
                    y1: 1.0,
                    x2: width as f32 / 2.0,
                    y2: 4.0,
                },
                ignore: false,
            }]),
        };
        Ok(Sample {
            id: index.to_string(),
            image: Image {
                height,
                width,
                data,
            },
            annotation,
        })
    }
}

struct Case {
    what: &'static str,
    kind: Kind,
    from: Option<(usize, usize)>,
    to: (usize, usize),
    augment: Augmentation,
}

fn cases() -> Vec<Case> {
    let change = |crop, photometric| Augmentation {
        flip: true,
        photometric,
        crop,
        ..Augmentation::default()
    };
    let case = |what, kind, from, to, augment| Case {
        what,
        kind,
        from,
        to,
        augment,
    };
    let cutout = Augmentation {
        cutout: 6,
        ..change(Crop::Pad4, false)
    };
    vec![
        case(
            "detection",
            Kind::Detection,
            None,
            (9, 14),
            change(Crop::Ssd, true),
        ),
        case(
            "segmentation",
            Kind::Segmentation,
            None,
            (12, 7),
            change(Crop::None, true),
        ),
        case(
            "segmentation in expanded crops",
            Kind::Segmentation,
            None,
            (9, 14),
            change(Crop::Ssd, false),
        ),
        case(
            "large pictures",
            Kind::Detection,
            Some((61, 40)),
            (5, 4),
            change(Crop::None, false),
        ),
        case("shifts", Kind::Detection, Some((8, 8)), (8, 8), cutout),
        case(
            "random areas",
            Kind::Detection,
            None,
            (8, 8),
            change(Crop::RandomResized, true),
        ),
        case(
            "areas within large pictures, where pixels at the border are not the heaviest",
            Kind::Detection,
            Some((60, 70)),
            RARE,
            change(Crop::RandomResized, false),
        ),
        case(
            "nothing",
            Kind::Segmentation,
            Some((8, 11)),
            (8, 11),
            Augmentation::default(),
        ),
    ]
}

fn batches(c: &Case) -> Batches {
    let set = Arc::new(Noise {
        kind: c.kind,
        size: c.from,
        classes: vec!["a".into()],
    });
    let (height, width) = c.to;
    let (input, augment) = (Input::new(height, width), c.augment.clone());
    let all = (0..SAMPLES).collect();
    Batches::train(set, all, input, SAMPLES, augment, (3, 1)).unwrap()
}

/// The pixels of a batch on a device: every other picture lies there, the others come with it.
fn made(e: Engine, c: &Case, s: &Sights, dtype: DType) -> Result<(Tensor, Option<Tensor>)> {
    let (mut rows, mut sent, mut there, mut most): (Vec<[i64; ROW]>, _, _, _) =
        (vec![], vec![], vec![], 3);
    for (i, image) in s.images.iter().enumerate() {
        let sample = image.sample.as_ref().expect("nothing is kept");
        let mut bytes = sample.image.data.clone();
        let labels = bytes.len();
        if let Annotation::Labels(l) = &sample.annotation {
            bytes.extend(&l.data);
        }
        let place = match i % 2 {
            0 => {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                let words = DeviceBuffer::scratch(e, DType::I32, bytes.len() / 4)?;
                words.write_part(0, &bytes)?;
                there.push(words);
                Place::Resident(there.last().expect("just put").address().0)
            }
            _ => {
                sent.extend(&bytes);
                Place::Sent(sent.len() - bytes.len())
            }
        };
        rows.push(row(&image.seen, place, labels, SAMPLES - 1 - i));
        most = most.max(taps(&image.seen));
    }
    let mut b = Buffer::zeros(DType::I32, sent.len().div_ceil(4));
    b.bytes_mut()[..sent.len()].copy_from_slice(&sent);
    let bytes = Tensor::from_buffer([b.len()], b);
    let recipe = Recipe {
        size: c.to,
        normalise: Input::new(1, 1).normalise,
        dtype,
        taps: most,
        labels: c.kind == Kind::Segmentation,
    };
    recipe.make(e, &tensor(&rows)?, Some(&bytes))
}

/// What `kernels/feed.cu` computes against what the host does; an error where it is not the same.
pub(crate) fn mutation_cases(e: Engine) -> Result<()> {
    for c in cases() {
        let b = batches(&c);
        // Such pictures differ rarely: a bit of precision more changes one value in a thousand.
        let steps = if c.to == RARE { 8 } else { 2 };
        for step in 0..steps {
            let host = b.get(step, &|| false)?;
            let kept = Kept::new(SAMPLES);
            let sights = b.sights(step, &kept, &|_| Ok(()), &|| false)?;
            for dtype in [DType::F32, DType::Bf16] {
                let (images, labels) = made(e, &c, &sights, dtype)?;
                let wrong = |what: &str| {
                    let text = format!("{} of {}, {}", what, c.what, dtype.name());
                    Err(Error::new(Code::Internal, text))
                };
                let (images, wanted) = (images.detached(), host.images.cast(dtype));
                e.healthy()?;
                if images.bytes() != wanted.bytes() {
                    return wrong("images");
                }
                for (i, a) in host.annotations.iter().enumerate() {
                    let (Annotation::Labels(map), Some(labels)) = (a, &labels) else {
                        if *a != sights.images[i].annotation {
                            return wrong("annotations");
                        }
                        continue;
                    };
                    let n = map.data.len();
                    let own = &labels.i32s()[(SAMPLES - 1 - i) * n..][..n];
                    if !own.iter().zip(&map.data).all(|(a, &b)| *a == i32::from(b)) {
                        return wrong("label maps");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn kernels_make_the_batches_of_the_host() {
    mutation_cases(Engine::emulated(2)).unwrap();
}

/// Never without the jitter that was asked for.
#[test]
fn images_with_a_colour_jitter_are_refused() {
    for colour_jitter in [false, true] {
        let mut case = cases().swap_remove(7);
        case.augment.colour_jitter = colour_jitter;
        let kept = Kept::new(SAMPLES);
        let sights = batches(&case).sights(0, &kept, &|_| Ok(()), &|| false);
        for s in sights.unwrap().images {
            let refused = check(&s.seen).map_err(|e| e.code());
            let want = if colour_jitter {
                Err(Code::ConfigValue)
            } else {
                Ok(())
            };
            assert_eq!(refused, want);
        }
    }
}

#[test]
fn samples_whose_pixels_are_kept_are_not_read_again() {
    let b = batches(&cases()[1]);
    let kept = Kept::new(SAMPLES);
    let take = |step| b.sights(step, &kept, &|_| Ok(()), &|| false).unwrap();
    let first = take(0);
    assert!(first.images.iter().all(|i| i.sample.is_some()));
    kept.keep(first.images[2].index);
    let again = take(0);
    for (i, (a, b)) in first.images.iter().zip(&again.images).enumerate() {
        assert_eq!(b.sample.is_none(), i == 2);
        assert_eq!((a.index, &a.id), (b.index, &b.id));
        assert_eq!(a.seen.view.axes(), b.seen.view.axes());
        assert_eq!(a.seen.photometric, b.seen.photometric);
    }
    let refused = b.sights(
        0,
        &Kept::new(SAMPLES),
        &|_| Err(Error::new(Code::BadLabelId, "no")),
        &|| false,
    );
    let e = refused.unwrap_err();
    assert!(
        e.code() == Code::BadLabelId && e.to_string().contains("noise/"),
        "{e}"
    );
}
