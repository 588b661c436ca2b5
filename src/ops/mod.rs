//! Differentiable operations: one file each, always in the same order: formula, op, free function, reference, fast path,
//! registry entry. [`table::OPS`] is the only list.
//!
//! **Invariant:** no op knows a network, and no op asks which driver it runs on.

pub mod add;
pub mod batch_norm;
pub mod channel_shuffle;
pub mod concat;
pub mod concat_shuffle;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod cosine;
pub mod cross_entropy;
pub mod drop_path;
pub mod dropout;
pub mod edge_softmax;
mod enlarge_device;
pub mod global_avg_pool;
pub mod head_rows;
pub mod leave_out;
pub mod linear;
pub mod log_softmax;
pub mod mixed_cell;
pub mod mixed_node;
pub mod mul;
pub mod multibox;
pub mod on_device;
pub mod pointwise_many;
pub mod pool;
pub mod pools;
pub mod rectified_convs;
pub mod reduce;
pub mod reference;
pub mod relu;
pub mod relu6;
pub mod reshape;
pub mod scale;
pub mod scale_rows;
pub mod shape_rules;
pub mod slice;
pub mod smooth_l1;
pub mod softmax;
pub mod softmaxes;
pub mod subsample;
pub mod sync_batch_norm;
pub mod table;
pub mod to_rows;
pub mod upsample_add;
pub mod upsample_bilinear;
pub mod upsample_nearest;
pub mod weighted_sum;

pub use add::add;
pub use batch_norm::{
    BatchNormParams, BatchStats, NORMS, batch_norm, batch_norm_eval, batch_norms,
    rectified_batch_norm, rows_batch_norm,
};
pub use channel_shuffle::channel_shuffle;
pub use concat::concat;
pub use concat_shuffle::concat_shuffle;
pub use conv_transpose2d::conv_transpose2d;
pub use conv2d::{Conv2dParams, conv2d, conv2d_shape};
pub use cosine::{Cosine, cosine};
pub use cross_entropy::{CrossEntropy, Denominator, cross_entropy};
pub use drop_path::{DropPath, drop_path, drop_path_drawn};
pub use dropout::{Dropout, draw_words, dropout, dropout_drawn};
pub use edge_softmax::edge_softmax;
pub use global_avg_pool::global_avg_pool;
pub use head_rows::{Head, head_rows};
pub use leave_out::{LeaveOut, leave_out};
pub use linear::linear;
pub use log_softmax::log_softmax;
pub use mixed_cell::{MixedCell, mixed_cell};
pub use mixed_node::{MixedNode, mixed_node};
pub use mul::mul;
pub use multibox::{Multibox, MultiboxTargets, multibox, multibox_saving};
pub use pointwise_many::{Convolved, normalised_pointwise, pointwise_many};
pub use pool::{avg_pool, max_pool};
pub use pools::pools;
pub use rectified_convs::rectified_convs;
pub use reduce::{mean, sum};
pub use relu::relu;
pub use relu6::relu6;
pub use reshape::reshape;
pub use scale::scale;
pub use scale_rows::scale_rows;
pub use slice::slice;
pub use smooth_l1::{SmoothL1, smooth_l1};
pub use softmax::softmax;
pub use softmaxes::{Stretches, softmaxes};
pub use subsample::subsample;
pub use sync_batch_norm::{RankBatchNorm, SyncBatchNorm, rank_batch_norm, sync_batch_norm};
pub use to_rows::to_rows;
pub use upsample_add::upsample_add;
pub use upsample_bilinear::{UpsampleBilinear, upsample_bilinear};
pub use upsample_nearest::upsample_nearest;
pub use weighted_sum::{Term, scale_by, weighted_sum, weighted_sum_of};
