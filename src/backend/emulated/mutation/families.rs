//! Which cases tell a right kernel file from a wrong one. Whoever writes a kernel file adds a line. A little over
//! 300 lines: one list.

use std::ops::Range;

use super::super::agreement_tests::{ceiling, elementwise, slabs};
use super::{cases, map_cases};
use crate::backend::driver::Driver;
use crate::backend::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::gradcheck::{DeviceOptions, run_on};
use crate::microbench::check_ceilings;
use crate::ops::batch_norm::many::tests as norm_many;
use crate::ops::batch_norm::rectified::tests as rectified_norm;
use crate::ops::batch_norm::rows::tests as norm_rows;
use crate::ops::batch_norm::tests as batch_norm;
use crate::ops::conv2d::device::tests as convolution;
use crate::ops::head_rows::tests as heads;
use crate::ops::mixed_cell::device::tests as cell;
use crate::ops::pointwise_many::normalised::tests as normalised;
use crate::ops::pointwise_many::tests as pointwise;
use crate::ops::pools::tests as pools;
use crate::ops::rectified_convs::tests as rectified;
use crate::ops::softmax::tests as softmax;
use crate::ops::softmaxes::tests as softmaxes;
use crate::ops::sync_batch_norm::device::tests as merging;
use crate::optim::device::tests as optim;
use crate::search::feed::tests as feed;
use crate::task::decode::device::tests as decoding;
use crate::task::matching::device::tests as matching;
use crate::task::mining::device::tests as mining;
use crate::tensor::DType;

/// A kernel file and its cases.
pub struct Family {
    /// Name within `kernels/`.
    pub file: &'static str,
    /// Files that it includes and whose lines its cases answer for too.
    pub headers: &'static [&'static str],
    /// Runs its cases, few and small; fails where a result is not what it must be.
    pub cases: fn(Box<dyn Driver>) -> Result<()>,
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        file: "ceiling.cu",
        headers: &[],
        cases: ceiling::mutation_cases,
    },
    Family {
        file: "ceiling_mma.cu",
        headers: &[],
        cases: |d| check_ceilings(Engine::new(d, true)),
    },
    Family {
        file: "conv_bwd_w.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            convolution::weight_cases(e, DType::F32)?;
            heads::mutation_cases(e, DType::F32)?;
            rectified::mutation_cases(e, DType::F32)?;
            pointwise::mutation_cases(e, DType::F32)
        },
    },
    Family {
        file: "conv_bwd_w_mma.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            convolution::weight_cases(e, DType::Bf16)?;
            heads::mutation_cases(e, DType::Bf16)?;
            rectified::mutation_cases(e, DType::Bf16)?;
            pointwise::mutation_cases(e, DType::Bf16)
        },
    },
    Family {
        file: "conv_gather.cu",
        headers: &["conv.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            convolution::gather_cases(e, DType::F32)?;
            heads::mutation_cases(e, DType::F32)?;
            rectified::mutation_cases(e, DType::F32)?;
            pointwise::mutation_cases(e, DType::F32)?;
            normalised::mutation_cases(e, DType::F32)
        },
    },
    Family {
        file: "conv_gather_mma.cu",
        headers: &["mma.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            convolution::gather_cases(e, DType::Bf16)?;
            heads::mutation_cases(e, DType::Bf16)?;
            rectified::mutation_cases(e, DType::Bf16)?;
            pointwise::mutation_cases(e, DType::Bf16)?;
            normalised::mutation_cases(e, DType::Bf16)
        },
    },
    Family {
        file: "conv_sums.cu",
        headers: &[],
        cases: |d| convolution::sum_cases(Engine::new(d, true)),
    },
    Family {
        file: "depthwise.cu",
        headers: &["dialect.cuh"],
        cases: convolution::depthwise_cases,
    },
    Family {
        file: "detect_decode.cu",
        headers: &[],
        cases: |d| {
            decoding::mutation_cases(Engine::new(d, true));
            Ok(())
        },
    },
    Family {
        file: "detect_match.cu",
        headers: &["exact.cuh"],
        cases: |d| {
            matching::mutation_cases(Engine::new(d, true));
            Ok(())
        },
    },
    Family {
        file: "detect_mine.cu",
        headers: &["detect_select.cuh"],
        cases: |d| {
            mining::mutation_cases(Engine::new(d, true));
            Ok(())
        },
    },
    Family {
        file: "elementwise.cu",
        headers: &[],
        cases: elementwise::mutation_cases,
    },
    Family {
        file: "enlarge.cu",
        headers: &[],
        cases: |d| map_cases::enlarged(Engine::new(d, true)),
    },
    Family {
        file: "feed.cu",
        headers: &[],
        cases: |d| feed::mutation_cases(Engine::new(d, true)),
    },
    Family {
        file: "loss.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::classes_outside(e)?;
            ops(e, &["cross_entropy", "smooth_l1"], 8)
        },
    },
    Family {
        file: "loss_cosine.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::short_vectors(e)?;
            ops(e, &["cosine"], 8)
        },
    },
    Family {
        file: "loss_multibox.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::labels_outside(e)?;
            cases::terms_of_priors(e)?;
            ops(e, &["multibox", "leave_out"], 8)
        },
    },
    Family {
        file: "maps.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            ops(e, &["scale", "mul", "scale_rows", "to_rows"], 7)
        },
    },
    Family {
        file: "node_first.cu",
        headers: &["node_half.cuh", "norm_tally.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            cell::cases(e)?;
            cell::halving_cases(e)
        },
    },
    Family {
        file: "node_grads.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cell::cases(e)?;
            cell::halving_cases(e)
        },
    },
    Family {
        file: "node_halved_weights.cu",
        headers: &[],
        cases: |d| cell::halving_cases(Engine::new(d, true)),
    },
    Family {
        file: "node_halved_x.cu",
        headers: &["node_halved.cuh"],
        cases: |d| cell::halving_cases(Engine::new(d, true)),
    },
    Family {
        file: "node_last.cu",
        headers: &["node_back.cuh"],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "node_second.cu",
        headers: &["node.cuh"],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "node_sum.cu",
        headers: &[],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "node_sums.cu",
        headers: &[],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "node_weights.cu",
        headers: &["node_weights.cuh"],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "node_x.cu",
        headers: &["node_arms.cuh"],
        cases: |d| cell::cases(Engine::new(d, true)),
    },
    Family {
        file: "norm.cu",
        headers: &["norm.cuh", "norm_maps.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            ops(e, &["batch_norm", "batch_norm_eval"], 7)?;
            cases::statistics_of_one_block(e)?;
            batch_norm::mutation_cases(e);
            rectified_norm::mutation_cases(e)?;
            ops_from(e, &["batch_norm", "batch_norm_eval"], 7..8)
        },
    },
    Family {
        file: "norm_many.cu",
        headers: &["norm_parts.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            norm_many::mutation_cases(e)?;
            normalised::mutation_cases(e, DType::F32)?;
            normalised::mutation_cases(e, DType::Bf16)
        },
    },
    Family {
        file: "norm_rows.cu",
        headers: &[],
        cases: |d| norm_rows::mutation_cases(Engine::new(d, true)),
    },
    Family {
        file: "norm_sync.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            merging::mutation_cases(e);
            ops(e, &["sync_batch_norm"], 5)?;
            batch_norm::mutation_cases(e);
            rectified_norm::mutation_cases(e)?;
            Ok(())
        },
    },
    Family {
        file: "optim.cu",
        headers: &[],
        cases: |d| {
            optim::mutation_cases(Engine::new(d, true));
            Ok(())
        },
    },
    Family {
        file: "pool.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            ops(e, &["avg_pool", "max_pool", "global_avg_pool"], 8)
        },
    },
    Family {
        file: "pool_pair.cu",
        headers: &[],
        cases: |d| pools::mutation_cases(Engine::new(d, true)),
    },
    Family {
        file: "pool_strips.cu",
        headers: &["strips.cuh", "pool.cuh"],
        cases: |d| map_cases::pools(Engine::new(d, true)),
    },
    Family {
        file: "random.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::chances_at_the_edge(e)?;
            ops(e, &["dropout", "drop_path"], 8)
        },
    },
    Family {
        file: "rearrange.cu",
        headers: &["vector.cuh"],
        cases: |d| {
            let copies = [
                "slice",
                "concat",
                "channel_shuffle",
                "concat_shuffle",
                "subsample",
            ];
            let e = Engine::new(d, true);
            cases::divisor_of_many_bits(e)?;
            ops(e, &copies, 8)
        },
    },
    Family {
        file: "reduce.cu",
        headers: &["reduce.cuh"],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::rows_of_one_block(e)?;
            ops(e, &["reduce", "scale_rows"], 8)
        },
    },
    Family {
        file: "resample.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::corners_of_single_lines(e)?;
            cases::any_size_to_any(e)?;
            ops(
                e,
                &["upsample_nearest", "upsample_add", "upsample_bilinear"],
                8,
            )
        },
    },
    Family {
        file: "slabs.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            slabs::mutation_cases(e)?;
            ops(e, &["concat"], 4)
        },
    },
    Family {
        file: "softmax.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            softmaxes::mutation_cases(e)?;
            softmax::more_lines_than_threads(e)?;
            ops(e, &["softmax", "log_softmax", "edge_softmax"], 7)
        },
    },
    Family {
        file: "sum.cu",
        headers: &[],
        cases: |d| {
            let e = Engine::new(d, true);
            cases::more_terms_than_a_launch_takes(e)?;
            cases::some_gradients_of_a_sum(e)?;
            ops(e, &["weighted_sum"], 8)
        },
    },
];

/// Cases for kernels that ops of the table launch: the first `cases` of each op, in f32 and bf16, against the references with their
/// bounds; every op's first, then every op's second.
fn ops(engine: Engine, names: &[&str], cases: usize) -> Result<()> {
    ops_from(engine, names, 0..cases)
}

fn ops_from(engine: Engine, names: &[&str], cases: Range<usize>) -> Result<()> {
    for first in cases {
        for name in names {
            let options = DeviceOptions {
                cases: 1,
                first,
                seed: 1,
                op: Some((*name).into()),
            };
            let report = run_on(engine, &options)?;
            if !report.passed {
                return Err(Error::new(Code::CheckFailed, report.table()));
            }
        }
    }
    Ok(())
}

#[test]
fn ops_run_on_the_driver_that_is_given() {
    use crate::backend::emulated::{Emulated, Limits};
    let device = || Emulated::new(Limits::SM_80, 2);
    ops(Engine::new(Box::new(device()), true), &["relu"], 3).unwrap();
    // A device that gives up at once fails them.
    let impatient = Engine::new(Box::new(device().with_patience(1)), true);
    let e = ops(impatient, &["relu"], 3).unwrap_err();
    assert!(e.to_string().contains("does not come to an end"), "{e}");
}

/// Cases of the file as it is, and the seconds that they take: `MTNAS_MUTANTS_OF=softmax cargo test --lib mutation::families -- --ignored --nocapture`.
#[test]
#[ignore = "a minute and a half, for its timings: the sample of mutants runs each kernel as it is too"]
fn cases_pass_on_the_kernels_as_they_are() {
    use crate::backend::emulated::{Emulated, Limits};
    let only = std::env::var("MTNAS_MUTANTS_OF").unwrap_or_default();
    for f in FAMILIES.iter().filter(|f| f.file.contains(&only)) {
        let begin = std::time::Instant::now();
        let done = (f.cases)(Box::new(Emulated::new(Limits::SM_80, 2)));
        done.unwrap_or_else(|e| panic!("{}: {}", f.file, e.render()));
        println!("{}: {:.1?}", f.file, begin.elapsed());
    }
}

/// Files of kernels that no family answers for.
fn without_family(files: &[String]) -> Vec<&str> {
    let has = |f: &str| {
        FAMILIES
            .iter()
            .any(|own| own.file == f || own.headers.contains(&f))
    };
    let files = files.iter().map(String::as_str);
    files.filter(|f| !has(f)).collect()
}

#[test]
fn every_kernel_file_has_a_family() {
    let Some(folder) = super::kernels() else {
        return;
    };
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|f| f.unwrap().file_name().into_string().unwrap());
    let sources = |n: &String| n.ends_with(".cu") || n.ends_with(".cuh");
    let mut files: Vec<String> = names.filter(sources).collect();
    assert_eq!(without_family(&files), [""; 0], "see kernels/README.md");
    files.push("another.cu".into());
    assert_eq!(without_family(&files), ["another.cu"]);
    for f in FAMILIES {
        let there = |name: &&str| files.iter().any(|f| f == name);
        assert!(there(&f.file) && f.headers.iter().all(there), "{}", f.file);
    }
}
