//! The frame, its sizes, and the search space.

use super::super::Problem;
use super::Checks;
use crate::model::config::{Frame, FrameConfig};
use crate::search::config::{Config, Method};
use crate::space::primitive::Primitive;
use crate::task::config::TaskKind;

pub(super) fn check(config: &Config, c: &mut Checks) {
    let m = &config.model;
    c.count("model.cells", m.cells, 1, 256);
    c.count("model.channels", m.channels, 1, 4096);
    c.count("model.nodes", m.nodes, 1, 16);
    c.count("model.partial_k", m.partial_k, 1, 64);
    c.share("model.drop_path", m.drop_path);
    c.positive("model.bn_eps", m.bn_eps);
    c.within(
        m.bn_momentum > 0.0 && m.bn_momentum <= 1.0,
        "model.bn_momentum",
        m.bn_momentum,
        "(0, 1]",
    );
    if m.is_hand_crafted() {
        hand_crafted(config, c);
    } else {
        widths(m, c);
    }
    loc_values(m, c);
    frame(config, c);
    let before = c.0.len();
    if !m.is_hand_crafted() {
        reductions(m, c);
    }
    if c.0.len() == before && m.cells <= 256 {
        sizes(config, c);
    }
    space(config, c);
}

fn widths(m: &FrameConfig, c: &mut Checks) {
    let unit = match m.searched_branches() {
        true => 4 * m.partial_k,
        false if m.partial_k.is_multiple_of(2) => m.partial_k,
        false => 2 * m.partial_k,
    };
    let why = match m.searched_branches() {
        true => "4 partial_k, because the last segmentation cell is C/4 wide",
        false => "partial_k and of 2",
    };
    c.that(
        unit > 0 && m.channels.is_multiple_of(unit),
        "model.channels",
        format!("{} is not a multiple of {why}", m.channels),
        format!("use a multiple of {unit}"),
    );
    if m.frame == Frame::MtnasPeer {
        let good = m.fpn_width > 0 && m.fpn_width.is_multiple_of(4) && m.fpn_width <= 4096;
        c.that(
            good,
            "model.fpn_width",
            format!("{} is not a multiple of 4 up to 4096", m.fpn_width),
            "use 64",
        );
    }
}

fn loc_values(m: &FrameConfig, c: &mut Checks) {
    c.that(
        m.loc_values == 4 || m.loc_values == 6,
        "model.loc_values",
        format!("{} is neither 4 nor 6", m.loc_values),
        "use 6 as the released network, or 4",
    );
}

/// What a network without cells cannot be asked for.
fn hand_crafted(config: &Config, c: &mut Checks) {
    let m = &config.model;
    c.that(
        config.search.method == Method::Given,
        "search.method",
        format!("the frame {} has no cells to search", m.frame),
        "set \"given\", or use `mtnas train`",
    );
    c.that(
        m.drop_path == 0.0,
        "model.drop_path",
        format!(
            "the frame {} has no cells whose paths could be dropped",
            m.frame
        ),
        "leave it out",
    );
    let g = &config.search.genotypes;
    let given = [("backbone", &g.backbone), ("det", &g.det), ("seg", &g.seg)];
    for (part, text) in given {
        c.that(
            text.is_empty(),
            format!("search.genotypes.{part}"),
            format!("the frame {} has no cells", m.frame),
            "leave the genotype out, or choose a frame of cells",
        );
    }
    c.that(
        !config.search.ablation.random_baseline,
        "search.ablation.random_baseline",
        format!("the frame {} has no cells to draw at random", m.frame),
        "leave it out",
    );
}

fn frame(config: &Config, c: &mut Checks) {
    let m = &config.model;
    let has = |kind| config.task(kind).is_some();
    let classifies = has(TaskKind::Classification);
    let dense = config
        .tasks
        .values()
        .any(|t| t.kind != TaskKind::Classification);
    c.that(
        match m.classifies() {
            true => !dense,
            false => !classifies,
        },
        "model.frame",
        format!(
            "the frame {} does not serve all tasks of this file",
            m.frame
        ),
        match m.classifies() {
            true => "use \"mtnas-release\", \"mtnas-peer\" or \"mtl-resnet18\" for detection, segmentation and values of pixels",
            false => "use \"classification\" or \"trunk\" for a classification task",
        },
    );
    let range = match m.frame {
        Frame::MtnasRelease | Frame::MtlResnet18 => 4..=7,
        Frame::MtnasPeer => 3..=4,
        Frame::Classification | Frame::Trunk => 0..=0,
    };
    let levels = m.detection_levels();
    c.within(
        range.contains(&levels),
        "model.det_levels",
        levels,
        &format!(
            "{} to {} of the frame {}",
            range.start(),
            range.end(),
            m.frame
        ),
    );
    let mtnas = config.search.method == Method::Mtnas;
    c.that(
        !mtnas || m.frame != Frame::Classification,
        "search.method",
        "\"mtnas\" searches a detection and segmentation network, the frame is \"classification\"",
        "use \"pc-darts\", \"darts\", \"darts+\", \"p-darts\" or \"random\", or another frame",
    );
}

fn reductions(m: &FrameConfig, c: &mut Checks) {
    let r = m.reduction_cells();
    let first = usize::from(m.frame == Frame::MtnasRelease);
    let rising = r.windows(2).all(|w| w[0] < w[1]);
    let inside = r.iter().all(|&i| (first..m.cells).contains(&i));
    c.that(
        rising && inside,
        "model.reductions",
        format!("{r:?} are not rising cell indices from {first} to {}", m.cells.max(1) - 1),
        "name cells that exist, each once; too few `cells` leave no room for the frame's own reductions",
    );
    let dense = m.frame != Frame::Classification;
    c.that(
        if dense { r.len() == 3 } else { r.len() <= 5 },
        "model.reductions",
        format!("{} reductions", r.len()),
        if dense {
            "the dense frames have three, down to stride 32"
        } else {
            "use at most five"
        },
    );
}

fn sizes(config: &Config, c: &mut Checks) {
    let presearch = config.search.method == Method::Mtnas && config.search.ablation.presearch;
    // The pre-search classifier reads the backbone alone: its images need not fit the detection cells.
    let backbone = FrameConfig {
        det_levels: Some(4),
        ..config.model.clone()
    };
    let inputs = [
        ("input.size", config.input.size, &config.model),
        (
            "search.presearch.size",
            config.search.presearch.size,
            &backbone,
        ),
    ];
    for (key, size, frame) in inputs.into_iter().take(1 + presearch as usize) {
        if let Err(e) = frame.check_size(size) {
            let help = e
                .render()
                .split("= help: ")
                .nth(1)
                .unwrap_or_default()
                .trim()
                .to_string();
            c.0.push(Problem {
                key: key.into(),
                code: e.code(),
                message: e.message().into(),
                help,
            });
        }
    }
}

fn space(config: &Config, c: &mut Checks) {
    let list = &config.space.primitives;
    let known: Vec<&str> = Primitive::ALL.iter().map(|p| p.name()).collect();
    for (i, name) in list.iter().enumerate() {
        let help = match crate::error::nearest(name, known.iter().copied()) {
            Some(n) => format!("a primitive with a similar name exists: \"{n}\""),
            None => format!("the primitives are {}", known.join(", ")),
        };
        c.that(
            known.contains(&name.as_str()),
            "space.primitives",
            format!("there is no primitive {name:?}"),
            help,
        );
        c.that(
            !list[..i].contains(name),
            "space.primitives",
            format!("{name:?} is listed twice"),
            "list it once",
        );
    }
    let real = list.iter().filter(|n| *n != Primitive::Zero.name()).count();
    c.that(
        real >= 1,
        "space.primitives",
        "no operation besides none",
        "list at least one",
    );
    c.not_negative("space.alpha_init", config.space.alpha_init);
}
