//! Keys of optimisers and learning-rate schedules.

use crate::{choices, settings};

choices! {
    /// How the learning rate falls with t = step / steps.
    pub enum ScheduleKind {
        /// The same rate at every step.
        Constant = "constant",
        /// min + (lr - min) (1 + cos(pi t)) / 2, as DARTS and PC-DARTS.
        Cosine = "cosine",
        /// TensorFlow's linear_cosine_decay: lr ((alpha + 1 - t) (1 + cos(2 pi periods t)) / 2 + beta), the "linear cosine" of the
        /// MTNAS recipe in the only reading with a published definition.
        LinearCosine = "linear-cosine",
        /// lr times `factor` for every milestone passed, as the released hand-crafted baseline.
        Step = "step",
        /// lr (1 - t)^power, as MTL-NAS.
        Poly = "poly",
        /// lr times `factor` at each of `times` equal distances, as DARTS on ImageNet (0.97 after every one of 250 epochs).
        Exponential = "exponential",
        /// Falls linearly from one of `times` equal distances to the next and to zero, with a smaller slope over the last five; `warmup`
        /// rises from distance to distance too. As P-DARTS and PC-DARTS on ImageNet, over 250 epochs.
        Linear = "linear",
    }
}

settings! {
    /// A learning-rate schedule over the steps of one stage.
    pub struct Schedule {
        /// The rule.
        pub kind: ScheduleKind = ScheduleKind::Cosine,
        /// Lowest rate of `cosine`, in units of the learning rate itself (0: falls to zero, as PC-DARTS; DARTS ends at 0.001).
        pub min: f64 = 0.0,
        /// Share of the steps over which the rate first rises linearly from zero, 0 to 1 (PC-DARTS on ImageNet: 0.1).
        pub warmup: f64 = 0.0,
        /// Cosine periods of `linear-cosine` (TensorFlow's default).
        pub periods: f64 = 0.5,
        /// Constant added to the linear factor of `linear-cosine` (TensorFlow's default).
        pub alpha: f64 = 0.0,
        /// Constant added to the product of `linear-cosine` (TensorFlow's default).
        pub beta: f64 = 0.001,
        /// Where `step` multiplies the rate, as shares of all steps, rising (released baseline: 5000, 7000, 9000 of 10000).
        pub milestones: Vec<f64> = vec![0.5, 0.7, 0.9],
        /// What `step` multiplies the rate by at each milestone, `exponential` at each distance.
        pub factor: f64 = 0.1,
        /// Into how many equal distances `exponential` and `linear` divide the stage: its epochs.
        pub times: usize = 250,
        /// Exponent of `poly`.
        pub power: f64 = 0.9,
    }
}

settings! {
    /// Stochastic gradient descent with momentum, for network weights.
    pub struct SgdConfig {
        /// Learning rate at the start (MTNAS search: 0.1, as PC-DARTS on CIFAR).
        pub lr: f64 = 0.1,
        /// Momentum, without dampening or Nesterov's look-ahead (all papers here: 0.9).
        pub momentum: f64 = 0.9,
        /// L2 decay added to the gradient of every weight, bias and batch-norm parameter included (MTNAS: 3e-5).
        pub weight_decay: f64 = 3e-5,
        /// Largest L2 norm of all weight gradients together, before decay; 0 switches clipping off (DARTS: 5).
        pub clip: f64 = 5.0,
        /// How the rate changes over the stage.
        pub schedule: Schedule = Schedule::default(),
    }
}

settings! {
    /// Adam with coupled L2 decay, for architecture parameters.
    pub struct AdamConfig {
        /// Learning rate (PC-DARTS on CIFAR: 6e-4; MTNAS states none).
        pub lr: f64 = 6e-4,
        /// Decay rates of the two moment estimates (DARTS: 0.5, 0.999).
        pub betas: [f64; 2] = [0.5, 0.999],
        /// Added to the root of the second moment.
        pub eps: f64 = 1e-8,
        /// L2 decay added to the gradient (DARTS: 1e-3).
        pub weight_decay: f64 = 1e-3,
        /// Largest L2 norm of all architecture gradients together; 0 switches clipping off (DARTS: off; PC-DARTS on ImageNet: 5).
        pub clip: f64 = 0.0,
        /// How the rate changes over the stage.
        pub schedule: Schedule = Schedule { kind: ScheduleKind::Constant, ..Schedule::default() },
    }
}
