//! Records of results from what the metrics give.

use super::results::{
    ClassificationEval, DetectionEval, PrCurve, ProtocolResult, SegmentationEval,
};
use crate::metrics::{ApReport, Average, ClassAp, Confusion, Protocol, TopK};
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

impl DetectionEval {
    /// From the reports of one set of images, at least one, all over the same classes. `main` is the protocol whose mean is
    /// `mAP`; the curves are those of its report, at IoU 0.5. Errors: `main` is not among the reports, or classes differ.
    pub fn new(main: Protocol, reports: &[ApReport]) -> Result<DetectionEval> {
        let Some(first) = reports.iter().find(|r| r.protocol == main) else {
            return Err(Error::new(
                Code::Argument,
                format!("no report of the main protocol `{main}`"),
            ));
        };
        let classes: Vec<String> = first.classes.iter().map(|c| c.name.clone()).collect();
        if let Some(r) = reports
            .iter()
            .find(|r| !r.classes.iter().map(|c| &c.name).eq(&classes))
        {
            let message = format!(
                "the reports of `{main}` and `{}` are of different classes",
                r.protocol
            );
            return Err(Error::new(Code::Argument, message));
        }
        let curve = |(class, c): (usize, &ClassAp)| PrCurve {
            class,
            recall: c.curve.iter().map(|p| p.recall).collect(),
            precision: c.curve.iter().map(|p| p.precision).collect(),
            score: c.curve.iter().map(|p| f64::from(p.score)).collect(),
        };
        Ok(DetectionEval {
            images: first.images,
            size: None,
            objects: first.classes.iter().map(|c| c.objects).collect(),
            main: main.name().to_string(),
            protocols: reports
                .iter()
                .map(|r| (r.protocol.name().to_string(), ProtocolResult::new(r)))
                .collect(),
            curves: first.classes.iter().enumerate().map(curve).collect(),
            classes,
        })
    }
}

impl ProtocolResult {
    /// From a report; further figures are those of COCO, or KITTI's three difficulties of each class, as far as an object counts for
    /// them.
    pub fn new(report: &ApReport) -> ProtocolResult {
        let mut more = BTreeMap::new();
        if let Some(c) = &report.coco {
            let named = [
                ("AP50", c.ap50),
                ("AP75", c.ap75),
                ("AP small", c.ap_area.small),
                ("AP medium", c.ap_area.medium),
                ("AP large", c.ap_area.large),
                ("AR 1", c.ar1),
                ("AR 10", c.ar10),
                ("AR 100", c.ar100),
                ("AR small", c.ar_area.small),
                ("AR medium", c.ar_area.medium),
                ("AR large", c.ar_area.large),
            ];
            more.extend(
                named
                    .into_iter()
                    .filter_map(|(name, v)| v.map(|v| (name.to_string(), v))),
            );
        }
        if let Some(k) = &report.kitti {
            let levels = [
                ("easy", &k.easy),
                ("moderate", &k.moderate),
                ("hard", &k.hard),
            ];
            for (level, ap) in levels {
                let named = report.classes.iter().zip(ap);
                more.extend(
                    named.filter_map(|(c, v)| v.map(|v| (format!("{} {level}", c.name), v))),
                );
            }
        }
        ProtocolResult {
            ap: report.classes.iter().map(|c| c.ap).collect(),
            mean: report.map,
            more,
        }
    }
}

impl SegmentationEval {
    /// From the confusion matrix over `images` images, compared at `size`. Errors: not one name a class, or no counted pixel.
    pub fn new<S: AsRef<str>>(
        main: Average,
        confusion: &Confusion,
        classes: &[S],
        images: usize,
        size: Option<[usize; 2]>,
    ) -> Result<SegmentationEval> {
        let n = confusion.classes();
        if classes.len() != n {
            let message = format!(
                "{} names for a confusion matrix of {n} classes",
                classes.len()
            );
            return Err(Error::new(Code::Argument, message));
        }
        let Some(pixel_accuracy) = confusion.pixel_accuracy() else {
            return Err(Error::new(
                Code::EmptyData,
                "not one labelled pixel to compare with",
            ));
        };
        let mean = |rule: Average| confusion.miou(rule).map(|v| (rule.name().to_string(), v));
        Ok(SegmentationEval {
            classes: classes.iter().map(|c| c.as_ref().to_string()).collect(),
            images,
            size,
            iou: (0..n).map(|c| confusion.iou(c)).collect(),
            main: main.name().to_string(),
            miou: Average::ALL.into_iter().filter_map(mean).collect(),
            pixel_accuracy,
            weights: vec![],
            more: vec![],
            confusion: (0..n)
                .map(|t| (0..n).map(|p| confusion.count(t, p)).collect())
                .collect(),
        })
    }
}

impl ClassificationEval {
    /// From the counts; none without an image.
    pub fn new(counts: &TopK) -> Option<ClassificationEval> {
        Some(ClassificationEval {
            images: counts.images as usize,
            top1: counts.top1()?,
            top5: counts.top5()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{BBox, Detection, LabelMap, Object};
    use crate::metrics::evaluate;

    #[test]
    fn results_of_the_metrics_become_a_record() {
        let bbox = BBox {
            x1: 10.0,
            y1: 10.0,
            x2: 60.0,
            y2: 50.0,
        };
        let objects = [
            vec![Object {
                class: 0,
                bbox,
                ignore: false,
            }],
            vec![],
        ];
        let detections = [
            vec![Detection {
                class: 0,
                score: 0.9,
                bbox,
            }],
            vec![Detection {
                class: 1,
                score: 0.5,
                bbox,
            }],
        ];
        let classes = ["car", "person"];
        let reports: Vec<ApReport> = Protocol::ALL
            .iter()
            .map(|p| evaluate(*p, &detections, &objects, &classes).unwrap())
            .collect();
        let d = DetectionEval::new(Protocol::Voc10, &reports).unwrap();
        assert_eq!(
            (d.main.as_str(), d.images, &d.objects[..]),
            ("voc10", 2, &[1, 0][..])
        );
        assert_eq!(d.protocols["voc10"].ap, [Some(1.0), None]);
        assert_eq!(
            (d.protocols["voc10"].mean, d.curves[0].recall.last()),
            (Some(1.0), Some(&1.0))
        );
        assert!(d.protocols["coco"].more["AP50"] > 0.99 && d.protocols["voc10"].more.is_empty());
        assert_eq!(
            DetectionEval::new(Protocol::Coco, &reports[..2])
                .unwrap_err()
                .code(),
            Code::Argument
        );

        let map = |data: [u8; 4]| LabelMap {
            height: 2,
            width: 2,
            data: data.to_vec(),
        };
        let mut confusion = Confusion::new(3).unwrap();
        confusion
            .add(&map([0, 1, 1, 0]), &map([0, 1, 0, 255]))
            .unwrap();
        let s = SegmentationEval::new(
            Average::AllClasses,
            &confusion,
            &["road", "sky", "car"],
            1,
            None,
        )
        .unwrap();
        assert_eq!((s.iou[0], s.iou[1], s.iou[2]), (Some(0.5), Some(0.5), None));
        assert_eq!((s.confusion[0][1], s.confusion[1][1]), (1, 1));
        assert!(
            (s.miou["all-classes"] - 1.0 / 3.0).abs() < 1e-12
                && (s.pixel_accuracy - 2.0 / 3.0).abs() < 1e-12
        );
        assert!(
            SegmentationEval::new(Average::AllClasses, &confusion, &["road"], 1, None).is_err()
        );
        assert!(ClassificationEval::new(&TopK::default()).is_none());
    }
}
