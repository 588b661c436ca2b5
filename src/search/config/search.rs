//! Keys of the search: method, bi-level step, stop rule, stages and ablations. The rows named here are those of the register of
//! choices in `docs/decisions.md`: the paper leaves them open.

use super::ConstraintConfig;
use crate::model::Memory;
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::{choices, settings};

choices! {
    /// How architectures are found.
    pub enum Method {
        /// Branch search, pre-search, backbone search (the paper's Algorithm 1).
        Mtnas = "mtnas",
        /// One task; all channels, no edge normalisation unless the keys say otherwise.
        Darts = "darts",
        /// One task; partial channels and edge normalisation.
        PcDarts = "pc-darts",
        /// DARTS with the skip-count or ranking stop rule.
        DartsPlus = "darts+",
        /// Progressive: the network grows, the candidates get fewer.
        PDarts = "p-darts",
        /// Random search with weight sharing (Li and Talwalkar).
        Random = "random",
        /// No search: the cells of `genotypes`, or a network made by hand, are trained and judged (`mtnas train`).
        Given = "given",
    }
}

choices! {
    /// Which task's loss a step of the backbone search uses.
    pub enum Alternate {
        /// One task after the other, in the order of their names ("one loss from a single task per iteration"; row 8).
        RoundRobin = "round-robin",
        /// A seeded draw.
        Random = "random",
        /// A seeded draw with the sizes of the training sets as weights.
        Proportional = "proportional",
        /// All tasks' gradients added before one update (the hand-crafted baseline's rule).
        Accumulate = "accumulate",
    }
}

choices! {
    /// What the host backbone of a branch search is made of (row 4).
    pub enum BranchHost {
        /// Mixed cells that use the branch's own alpha: "initialised with the same cells as the current branch".
        Tied = "tied",
        /// Discrete cells derived from the branch's alpha, renewed whenever the derived genotype changes.
        Derived = "derived",
    }
}

choices! {
    /// Which derived cells the skip-connection count looks at (row 6).
    pub enum SkipCells {
        /// The normal cell, all its edges.
        Normal = "normal",
        /// Normal and reduction cell together.
        Both = "both",
    }
}

choices! {
    /// The genotype a search ends with when the skip count is exceeded (row 7).
    pub enum OnTrip {
        /// The last one whose count was allowed.
        LastAllowed = "last-allowed",
        /// The one that tripped the rule.
        Current = "current",
    }
}

choices! {
    /// The stop rule of DARTS+.
    pub enum DartsPlusRule {
        /// The derived normal cell has `max_skip` skip connections or more.
        SkipCount = "skip-count",
        /// The order of the learnable operations has not changed for `stable_checks` checks.
        StableRanking = "stable-ranking",
    }
}

settings! {
    /// When a search stage ends early. Everything counts architecture steps after the warm-up: alphas that do not move yet would
    /// trip both rules at once (row 5).
    pub struct StopConfig {
        /// K: stop once the derived genotype has been the same at this many checks in a row; 0 switches the rule off (paper: 10).
        pub unchanged: usize = 10,
        /// T: pre-search goes on while the derived genotype has at most this many skip connections (paper: 2).
        pub max_skip: usize = 2,
        /// Architecture steps between two checks (the paper counts iterations: 1).
        pub check_every: usize = 1,
        /// No stop before this share of a stage's architecture steps, 0 to 1.
        pub minimum_fraction: f64 = 0.2,
        /// Which cells the skip count looks at.
        pub skip_cells: SkipCells = SkipCells::Normal,
        /// The genotype kept when the skip count is exceeded.
        pub on_trip: OnTrip = OnTrip::LastAllowed,
    }
}

settings! {
    /// Length of the stages, in iterations (one architecture step and one weight step each).
    pub struct ItersConfig {
        /// Branch search of each task (paper: at most 5000).
        pub branch: usize = 5000,
        /// Pre-search (the paper states no number; 50 epochs of the ImageNet sample at batch 1024 are 6250).
        pub presearch: usize = 6250,
        /// Backbone search, and the whole of a single-task search (paper: at most 10000).
        pub backbone: usize = 10000,
    }
}

settings! {
    /// Pre-search of the backbone with a classifier (Algorithm 1, lines 9 to 13).
    pub struct PreSearchConfig {
        /// Name of its data set, a table `[data.NAME]`.
        pub data: String = String::new(),
        /// Height and width of its images in pixels, multiples of 32 (row 17: ImageNet's 224).
        pub size: [usize; 2] = [224, 224],
        /// Images of each half of a step.
        pub batch: usize = 32,
        /// Optimiser of the weights (PC-DARTS on ImageNet uses 0.5 at batch 1024; 0.1 at 32 to 256).
        pub weights: SgdConfig = SgdConfig::default(),
        /// Optimiser of the architecture (row 11: PC-DARTS on ImageNet).
        pub alpha: AdamConfig = AdamConfig { lr: 6e-3, ..AdamConfig::default() },
        /// Share of the iterations before the first architecture step (row 11: 35 of 50 epochs).
        pub warmup_fraction: f64 = 0.7,
        /// Share of the images that train weights, the rest trains alpha (PC-DARTS: 10 % against 2.5 % of ImageNet).
        pub weight_split: f64 = 0.8,
    }
}

settings! {
    /// Stages switched off or changed: the rows of Tables 1 and 2.
    pub struct AblationConfig {
        /// Search branches; false takes `genotypes` or hand-crafted branches ("w/o branch search").
        pub branch_search: bool = true,
        /// Search the backbone on classification first (PS of Table 2).
        pub presearch: bool = true,
        /// Search the backbone with the tasks' losses (BS of Table 2); with neither, the backbone is `genotypes.backbone`.
        pub backbone_search: bool = true,
        /// Search backbone and branches at once, in one stage ("Co-search").
        pub co_search: bool = false,
        /// After the searched network, train a random genotype with the same finetune and report both.
        pub random_baseline: bool = false,
        /// Shuffle the labels of the data that architecture steps see: a control, after which nothing should be found.
        pub shuffle_labels: bool = false,
    }
}

settings! {
    /// Genotypes of stages that are not searched: a built-in name (`mtnas arch show` lists them), genotype text, a file, or
    /// "random" for a seeded draw. Empty: searched or hand-crafted.
    pub struct GenotypesConfig {
        /// Of the backbone.
        pub backbone: String = String::new(),
        /// Of the detection branch.
        pub det: String = String::new(),
        /// Of the segmentation branch.
        pub seg: String = String::new(),
    }
}

choices! {
    /// What random search ranks its candidates by, on the architecture half (row 31).
    pub enum Fitness {
        /// The mean of the tasks' headline metrics, each from 0 to 1: mAP, mIoU, top-1; the errors of depth, normals, keypoints and edges count negated, in their own units.
        Metric = "metric",
        /// Minus the sum of the tasks' losses.
        Loss = "loss",
    }
}

settings! {
    /// Random search with weight sharing (Li and Talwalkar); `iters.backbone` steps train the shared weights.
    pub struct RandomSearchConfig {
        /// Draw the operation `none` too; a cell may then have dead edges.
        pub allow_none: bool = false,
        /// Random architectures ranked on a few batches (Li and Talwalkar: 1000).
        pub candidates: usize = 1000,
        /// Batches of that ranking (10).
        pub batches: usize = 10,
        /// What they are ranked by (the paper states no fitness).
        pub fitness: Fitness = Fitness::Metric,
        /// Best of them ranked again on the whole architecture half of the training data (10).
        pub finalists: usize = 10,
        /// One round of ranking for each this many iterations, at least one (10000).
        pub iters_per_round: usize = 10000,
    }
}

settings! {
    /// DARTS+.
    pub struct DartsPlusConfig {
        /// Which of the two published rules.
        pub rule: DartsPlusRule = DartsPlusRule::SkipCount,
        /// Stop at this many skip connections in the derived normal cell (DARTS+: 2).
        pub max_skip: usize = 2,
        /// Checks without a change of the ranking (DARTS+: 10 epochs).
        pub stable_checks: usize = 10,
    }
}

settings! {
    /// P-DARTS. All lists have one entry for each of its stages.
    pub struct PDartsConfig {
        /// Cells of the network (P-DARTS: 5, 11, 17).
        pub cells: Vec<usize> = vec![5, 11, 17],
        /// Candidate operations on each edge (P-DARTS: 8, 5, 3).
        pub operations: Vec<usize> = vec![8, 5, 3],
        /// Dropout after skip connections at the start of a stage, decaying over it (paper: 0, 0.4, 0.7).
        pub skip_dropout: Vec<f64> = vec![0.0, 0.4, 0.7],
        /// Share of a stage before its first architecture step (10 of 25 epochs).
        pub warmup_fraction: f64 = 0.4,
        /// Largest number of skip connections in the final normal cell (2).
        pub max_skip: usize = 2,
    }
}

settings! {
    /// The search.
    pub struct SearchConfig {
        /// How architectures are found.
        pub method: Method = Method::Mtnas,
        /// Order of the architecture gradient: 1, or 2 for the unrolled step (row 10: PC-DARTS is first order).
        pub order: u8 = 1,
        /// Step of the finite difference in the unrolled gradient, over the norm of the vector (DARTS: 0.01).
        pub unroll_epsilon: f64 = 0.01,
        /// Images of each half of a step (paper: 32).
        pub batch: usize = 32,
        /// Optimiser of the weights (rows 12 and 13).
        pub weights: SgdConfig = SgdConfig::default(),
        /// Optimiser of the architecture (row 11).
        pub alpha: AdamConfig = AdamConfig::default(),
        /// Share of a stage's iterations before the first architecture step, 0 to below 1 (row 11: 15 of 50 epochs).
        pub warmup_fraction: f64 = 0.3,
        /// Share of each training set that trains weights; the rest trains the architecture (row 9: halves).
        pub weight_split: f64 = 0.5,
        /// Which task's loss a step uses.
        pub alternate: Alternate = Alternate::RoundRobin,
        /// Host backbone of the branch search.
        pub branch_host: BranchHost = BranchHost::Tied,
        /// Early stop.
        pub stop: StopConfig = StopConfig::default(),
        /// Length of the stages.
        pub iters: ItersConfig = ItersConfig::default(),
        /// Classification pre-search.
        pub presearch: PreSearchConfig = PreSearchConfig::default(),
        /// Stages switched off or changed.
        pub ablation: AblationConfig = AblationConfig::default(),
        /// Genotypes of stages that are not searched.
        pub genotypes: GenotypesConfig = GenotypesConfig::default(),
        /// A penalty on what the searched cells are expected to cost, in the loss of the architecture steps (not in the paper; as ProxylessNAS,
        /// section 3.3.1).
        pub constraint: ConstraintConfig = ConstraintConfig::default(),
        /// For `method = "random"`.
        pub random: RandomSearchConfig = RandomSearchConfig::default(),
        /// For `method = "darts+"`.
        pub darts_plus: DartsPlusConfig = DartsPlusConfig::default(),
        /// For `method = "p-darts"`.
        pub p_darts: PDartsConfig = PDartsConfig::default(),
        /// What search cells keep from the way there for the way back; the rest is computed once more. No bit of a result depends on it
        /// (`mtnas plan` shows the memory of each).
        pub memory: Memory = Memory::Fast,
        /// How often a stage may go back to its last good checkpoint after a loss that is not finite, before the run ends.
        pub max_rollbacks: usize = 3,
    }
}
