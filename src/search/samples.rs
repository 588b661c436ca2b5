//! Predictions on held-out images, as pictures for the report and for `mtnas predict`.

use super::session::Session;
use super::stage::Outcome;
use super::viewer::{Viewer, outputs_of_all};
use super::workbench::Workbench;
use crate::annotation::{Annotation, Image};
use crate::data::preview::shaded;
use crate::error::Result;
use crate::model::{Mixing, Network};
use crate::nn::{Mode, Pass, Store};
use crate::report::samples::{self, Sample};
use crate::tape::Cx;
use crate::task::Prediction;
use crate::tensor::{DType, Tensor};

/// Boxes below this score are not drawn: those of a network in doubt would cover the picture.
const SHOWN: f32 = 0.3;

/// Writes predictions beside the truth of the first held-out images of each task into `final/samples`.
///
/// # Errors
/// Those of the data, the ops and of writing.
pub fn write(session: &Session, benches: &[std::rc::Rc<Workbench>], o: &Outcome) -> Result<()> {
    let count = session.config.log.images;
    let mut list = vec![];
    for bench in benches.iter().filter(|_| count > 0) {
        let part = &bench.source.val;
        // Spread over the split: neighbours often look alike.
        let step = (part.indices.len() / count.max(1)).max(1);
        for &index in part.indices.iter().step_by(step).take(count) {
            let s = part.dataset.load(index)?;
            let found = predict(
                &bench.viewer(),
                &o.net,
                &o.store,
                session.cx,
                session.activation_dtype(),
                &s.image,
            )?;
            let classes = bench.task.classes();
            let (task, picture) = match (&s.annotation, found) {
                (Annotation::Objects(truth), Prediction::Objects(mut d)) => {
                    d.retain(|d| d.score >= SHOWN);
                    ("det", samples::detection(&s.image, truth, &d, classes))
                }
                (
                    Annotation::Labels(truth),
                    Prediction::Labels(map) | Prediction::ScoredLabels(map, _),
                ) => (
                    "seg",
                    samples::segmentation(&s.image, truth, &map, classes)?,
                ),
                (Annotation::Values(truth), Prediction::Values(map)) => {
                    let shown = [
                        ("ground truth", shaded(truth)),
                        ("prediction", shaded(&map)),
                    ];
                    (bench.kind().key(), samples::panels(&s.image, shown))
                }
                _ => continue,
            };
            list.push(Sample {
                task: task.into(),
                name: s.id,
                note: String::new(),
                picture,
            });
        }
    }
    samples::write(&session.dir.path().join("final/samples"), &list)
}

/// What a network says of one picture, in the picture's own pixels.
///
/// # Errors
/// Those of the ops.
pub fn predict(
    viewer: &Viewer,
    net: &Network,
    store: &Store,
    cx: Cx,
    dtype: DType,
    image: &Image,
) -> Result<Prediction> {
    let all = predict_all(std::slice::from_ref(viewer), net, store, cx, dtype, image)?;
    Ok(all.into_iter().next().expect("what the one task says"))
}

/// As [`predict`], of several tasks, in their order: those that see the picture alike share one pass, and with it the backbone.
///
/// # Errors
/// Those of the ops.
pub fn predict_all(
    viewers: &[Viewer],
    net: &Network,
    store: &Store,
    cx: Cx,
    dtype: DType,
    image: &Image,
) -> Result<Vec<Prediction>> {
    let mut said: Vec<Option<Prediction>> = viewers.iter().map(|_| None).collect();
    for (i, viewer) in viewers.iter().enumerate() {
        if said[i].is_some() {
            continue;
        }
        let alike: Vec<usize> = (i..viewers.len())
            .filter(|&j| said[j].is_none() && viewers[j].input == viewer.input)
            .collect();
        let kinds: Vec<_> = alike.iter().map(|&j| viewers[j].task.kind()).collect();
        let x = viewer.input_of(image)?;
        let p = Pass::new(store, cx, Mode::EVAL);
        let all = outputs_of_all(&kinds, net, &p, &x, dtype, Mixing::Parameters)?;
        for (j, outputs) in alike.into_iter().zip(all) {
            let values: Vec<Tensor> = outputs.iter().map(|v| v.value().clone()).collect();
            let size = [(image.height, image.width)];
            let of_image = viewers[j].task.predict(&values, &size)?;
            said[j] = of_image.into_iter().next();
        }
    }
    Ok(said.into_iter().flatten().collect())
}
