//! A network of several tasks beside networks of one task each (systems.md 9.5): per task the mean relative change of its figures, and the
//! mean over the tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::records::{DeltaEval, EvalRecord, read_file};
use crate::error::{Code, Error, Result};
use crate::metrics::{Compared, Figure, delta_m, delta_task};

/// The figures of a task and the size at which they were measured.
struct Task {
    size: Option<[usize; 2]>,
    figures: Vec<Figure>,
    /// Weights of classes in a cross entropy.
    weights: Vec<f64>,
}

/// All figures, by task; those that count are marked: of detection mAP, of segmentation mIoU and the share of right pixels, or the
/// cross entropy where there is one, of classification top-1, each under the main rule; of values those that papers compare.
fn tasks(e: &EvalRecord) -> BTreeMap<String, Task> {
    let mut all = BTreeMap::new();
    let mut put = |name: &str, size, figures: Vec<Figure>| {
        let weights = match (name, &e.segmentation) {
            ("seg", Some(s)) => s.weights.clone(),
            _ => vec![],
        };
        let task = Task {
            size,
            figures,
            weights,
        };
        all.insert(name.to_string(), task);
    };
    if let Some(d) = &e.detection {
        let mean = d.protocols.get(&d.main).and_then(|p| p.mean);
        let name = format!("mAP {}", d.main);
        put("det", d.size, vec![Figure::share(name, mean)]);
    }
    if let Some(s) = &e.segmentation {
        let miou = Figure::share(format!("mIoU {}", s.main), s.miou.get(&s.main).copied());
        let right = Figure::share("pixels right", Some(s.pixel_accuracy));
        let all = match s.more.iter().any(|f| f.compared) {
            true => [vec![miou.beside(), right.beside()], s.more.clone()].concat(),
            false => vec![miou, right],
        };
        put("seg", s.size, all);
    }
    if let Some(c) = &e.classification {
        put("cls", None, vec![Figure::share("top-1", Some(c.top1))]);
    }
    for (name, v) in &e.values {
        put(name, v.size, v.figures.clone());
    }
    all
}

/// Where figures were measured, in words.
fn place(size: Option<[usize; 2]>) -> String {
    match size {
        Some([h, w]) => format!("{h}x{w}"),
        None => "the pictures' own sizes".into(),
    }
}

/// The results of these runs.
///
/// # Errors
/// Those of reading their `final/metrics.json`.
pub fn read(runs: &[PathBuf]) -> Result<Vec<EvalRecord>> {
    let one = |run: &PathBuf| read_file(&run.join("final/metrics.json"));
    let all: Result<Vec<EvalRecord>> = runs.iter().map(one).collect();
    all.map_err(|e| e.note("--baseline names finished runs"))
}

/// The changes of `e` against the baseline of each of its tasks: the first of `baselines` that has it.
///
/// # Errors
/// `Argument` for a task that no baseline has, one measured at another size or by other rules, and a figure without a value or with a
/// reference of 0.
pub fn against(e: &EvalRecord, baselines: &[EvalRecord]) -> Result<DeltaEval> {
    let references: Vec<BTreeMap<String, Task>> = baselines.iter().map(tasks).collect();
    let (mut changes, mut all) = (BTreeMap::new(), vec![]);
    for (name, own) in tasks(e) {
        let refuse = |what: String, help: &str| {
            let text = format!("task `{name}`: {what}");
            Err(Error::new(Code::Argument, text).at("--baseline").help(help))
        };
        let Some(reference) = references.iter().find_map(|r| r.get(&name)) else {
            return refuse("no baseline has it".into(), "name a run of this task alone");
        };
        if own.size != reference.size {
            return refuse(
                format!(
                    "compared at {}, the baseline at {}",
                    place(own.size),
                    place(reference.size)
                ),
                "leave --size out, and give both runs the same `input.size`",
            );
        }
        if own.weights != reference.weights {
            return refuse(
                "the cross entropies have other weights of classes".into(),
                "give both runs the same `segmentation.class_weights`",
            );
        }
        let mut compared: Vec<Compared> = vec![];
        for f in own.figures.iter().filter(|f| f.compared) {
            let Some(r) = reference.figures.iter().find(|r| r.name == f.name) else {
                let what = format!("the baseline has no `{}`", f.name);
                return refuse(what, "evaluate both runs with the same rules");
            };
            match f.beside_reference(r) {
                Some(c) if c.change().is_some() => compared.push(c),
                _ => {
                    let what = format!(
                        "`{}` has no value to compare with: {} here, {} of the baseline",
                        f.name,
                        f.text(),
                        r.text()
                    );
                    return refuse(what, "a relative change needs a baseline other than 0");
                }
            }
        }
        changes.extend(delta_task(&compared).map(|d| (name.clone(), d)));
        all.push(compared);
    }
    let all: Vec<&[Compared]> = all.iter().map(Vec::as_slice).collect();
    Ok(DeltaEval {
        tasks: changes,
        mean: delta_m(&all),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Unit;
    use crate::report::records::{SegmentationEval, ValuesEval, Which};

    fn record(miou: Option<f64>, depth: Option<[f64; 2]>) -> EvalRecord {
        let seg = |v: f64| SegmentationEval {
            main: "all-classes".into(),
            miou: [("all-classes".to_string(), v)].into(),
            pixel_accuracy: 0.8,
            ..Default::default()
        };
        let values = |[abs, near]: [f64; 2]| ValuesEval {
            figures: vec![
                Figure::error("abs (pixels)", Some(abs), Unit::Plain),
                Figure::share("within 1.25", Some(near)),
                Figure::error("abs (batch-means)", Some(9.0), Unit::Plain).beside(),
            ],
            ..Default::default()
        };
        EvalRecord {
            which: Which::Given,
            genotypes: BTreeMap::new(),
            detection: None,
            segmentation: miou.map(seg),
            classification: None,
            values: depth
                .map(|d| ("depth".to_string(), values(d)))
                .into_iter()
                .collect(),
            delta: None,
            cost: None,
        }
    }

    /// mIoU .4 to .5 is +25 %, pixels the same: 12.5. Depth .02 to .01 is +50 %, .5 to .6 +20 %: 35. Their mean is 23.75.
    #[test]
    fn changes_by_hand() {
        let joint = record(Some(0.5), Some([0.01, 0.6]));
        let alone = [record(Some(0.4), None), record(None, Some([0.02, 0.5]))];
        let d = against(&joint, &alone).unwrap();
        assert!((d.tasks["seg"] - 12.5).abs() < 1e-9 && (d.tasks["depth"] - 35.0).abs() < 1e-9);
        assert!((d.mean.unwrap() - 23.75).abs() < 1e-9);
    }

    /// AutoMTL's "err" on Taskonomy alone counts where it was measured, .575 to .558: +2.956521739 %.
    #[test]
    fn a_cross_entropy_stands_for_segmentation() {
        let with = |err: f64| {
            let mut e = record(Some(0.4), None);
            e.segmentation.as_mut().unwrap().more = vec![
                Figure::error("cross-entropy (pixels)", Some(err), Unit::Plain),
                Figure::error("cross-entropy (batch-means)", Some(9.0), Unit::Plain).beside(),
            ];
            e
        };
        let d = against(&with(0.558), &[with(0.575)]).unwrap();
        assert!((d.mean.unwrap() - 100.0 * 0.017 / 0.575).abs() < 1e-9);
        let e = against(&with(0.558), &[record(Some(0.4), None)]).unwrap_err();
        let words = "the baseline has no `cross-entropy (pixels)`";
        assert!(e.to_string().contains(words), "{e}");
        let mut other = with(0.575);
        other.segmentation.as_mut().unwrap().weights = vec![0.5];
        let e = against(&with(0.558), &[other]).unwrap_err();
        assert!(e.to_string().contains("other weights of classes"), "{e}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let joint = record(Some(0.5), Some([0.01, 0.6]));
        let seg = record(Some(0.4), None);
        let e = against(&joint, std::slice::from_ref(&seg)).unwrap_err();
        assert!(
            e.to_string().contains("task `depth`: no baseline has it"),
            "{e}"
        );
        let e = against(&seg, &[record(Some(0.0), None)]).unwrap_err();
        assert!(e.to_string().contains("no value to compare with"), "{e}");
        let mut other = seg.clone();
        other.segmentation.as_mut().unwrap().size = Some([64, 96]);
        let e = against(&other, &[seg]).unwrap_err();
        let words = "compared at 64x96, the baseline at the pictures' own sizes";
        assert!(e.to_string().contains(words), "{e}");
        let mut old = record(None, Some([0.02, 0.5]));
        old.values.get_mut("depth").unwrap().figures.remove(0);
        let e = against(&record(None, Some([0.01, 0.6])), &[old]).unwrap_err();
        let words = "the baseline has no `abs (pixels)`";
        assert!(e.to_string().contains(words), "{e}");
    }
}
