//! Keys of data sets with a target for every pixel, where there is nothing that they could change.

use crate::annotation::NormalSpace;
use crate::data::config::DataSetConfig;
use crate::data::dataset::Format;
use crate::data::dense::target::Target;
use crate::search::config::validate::Checks;

pub(super) fn check(name: &str, set: &DataSetConfig, c: &mut Checks) {
    let key = |k: &str| format!("data.{name}.{k}");
    let yielded = targets(set);
    let has = |target: Target| yielded.contains(&target);
    c.that(
        set.normal_space == NormalSpace::True || has(Target::Normals),
        key("normal_space"),
        "the set has no normals to be encoded",
        "remove it, or name \"normals\" in `targets`",
    );
    c.that(
        !set.divide_depth || has(Target::Depth),
        key("divide_depth"),
        "the set has no depth to divide",
        "remove it, or name \"depth\" in `targets`",
    );
    c.that(
        !set.ignore_uncertain || set.format == Format::Taskonomy && has(Target::Segmentation),
        key("ignore_uncertain"),
        "the set has no pixels whose class is marked as uncertain",
        "remove it: the key is for the classes of `format = \"taskonomy\"`",
    );
}

/// What a sample of the set yields: the targets that it names, else all that its format has.
fn targets(set: &DataSetConfig) -> Vec<Target> {
    if !set.targets.is_empty() {
        return set.targets.clone();
    }
    // Without the names of classes, which are looked at when the set is opened.
    let plain = DataSetConfig {
        classes: vec![],
        ..set.clone()
    };
    let form = plain.dataset().form().ok().flatten();
    form.map_or(vec![], |(form, _)| form.targets().to_vec())
}
