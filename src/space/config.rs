//! Keys of the search space.

use crate::settings;

settings! {
    /// What may stand on an edge of a cell.
    pub struct SpaceConfig {
        /// Candidate operations; columns of alpha keep the DARTS order, those of operations that are left out take no part. The
        /// default is the eight that MTNAS searches over.
        pub primitives: Vec<String> = [
            "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5",
        ].map(String::from).to_vec(),
        /// Standard deviation of the normal numbers that alpha and beta start from (DARTS, PC-DARTS: 1e-3).
        pub alpha_init: f64 = 1e-3,
    }
}
