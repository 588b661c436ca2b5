//! Learning rate as a function of the step.

use super::config::{Schedule, ScheduleKind};

/// The rate at `step` of `steps` (`step < steps`), starting from `lr`.
///
/// With `t = step / steps`: cosine `min + (lr - min)(1 + cos(pi t))/2` (DARTS, PC-DARTS); linear-cosine
/// `lr ((alpha + 1 - t)(1 + cos(2 pi periods t))/2 + beta)` (TensorFlow's `linear_cosine_decay`); step, poly, exponential and
/// constant as their names say; linear `lr (n - 5 - e) / (n - 5)` at distance `e` of `n`, `lr (n - e) / (5 (n - 5))` over the last five
/// (systems.md 2.6; without the five where there are no more). During the first `warmup` share of the steps the rate is also multiplied by
/// `(step + 1) / warm steps`, of linear by `(e + 1) / warm distances`.
pub fn rate(s: &Schedule, lr: f64, step: u64, steps: u64) -> f64 {
    let t = step as f64 / steps.max(1) as f64;
    // In whole numbers: the first step of a distance is in it.
    let passed = u128::from(step) * s.times as u128 / u128::from(steps.max(1));
    let decayed = match s.kind {
        ScheduleKind::Constant => lr,
        ScheduleKind::Cosine => {
            s.min + (lr - s.min) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0
        }
        ScheduleKind::LinearCosine => {
            let cosine = (1.0 + (std::f64::consts::TAU * s.periods * t).cos()) / 2.0;
            lr * ((s.alpha + 1.0 - t) * cosine + s.beta)
        }
        ScheduleKind::Step => {
            lr * s
                .factor
                .powi(s.milestones.iter().filter(|&&m| t >= m).count() as i32)
        }
        ScheduleKind::Poly => lr * (1.0 - t).powf(s.power),
        ScheduleKind::Exponential => lr * s.factor.powi(passed as i32),
        ScheduleKind::Linear => return linear(s, lr, passed as f64),
    };
    let warm = (s.warmup * steps as f64).floor();
    if (step as f64) < warm {
        decayed * (step + 1) as f64 / warm
    } else {
        decayed
    }
}

/// Distances at the end of `linear` over which the slope is smaller.
const TAIL: f64 = 5.0;

/// The rate of `linear` at distance `e`.
fn linear(s: &Schedule, lr: f64, e: f64) -> f64 {
    let n = s.times as f64;
    let decayed = match n > TAIL {
        true if n - e > TAIL => lr * (n - TAIL - e) / (n - TAIL),
        true => lr * (n - e) / ((n - TAIL) * TAIL),
        false => lr * (n - e) / n,
    };
    let warm = (s.warmup * n).round();
    match e < warm {
        true => decayed * (e + 1.0) / warm,
        false => decayed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: ScheduleKind) -> Schedule {
        Schedule {
            kind,
            ..Schedule::default()
        }
    }

    #[test]
    fn known_points() {
        let cosine = of(ScheduleKind::Cosine);
        assert_eq!(rate(&cosine, 0.1, 0, 100), 0.1);
        assert!((rate(&cosine, 0.1, 50, 100) - 0.05).abs() < 1e-15);
        // linear_cosine_decay(0.01, 25 of 100) with TensorFlow's defaults: 0.75 (1 + cos(pi/4))/2 + 0.001
        let linear = of(ScheduleKind::LinearCosine);
        let expect = 0.01 * (0.75 * (1.0 + std::f64::consts::FRAC_1_SQRT_2) / 2.0 + 0.001);
        assert!((rate(&linear, 0.01, 25, 100) - expect).abs() < 1e-15);
        let step = of(ScheduleKind::Step);
        assert!((rate(&step, 1.0, 5000, 10000) - 0.1).abs() < 1e-15);
        assert!((rate(&step, 1.0, 9999, 10000) - 0.001).abs() < 1e-15);
        assert!((rate(&of(ScheduleKind::Poly), 1.0, 50, 100) - 0.5f64.powf(0.9)).abs() < 1e-15);
        // 0.97 an epoch: 10 epochs of 7 steps.
        let epochs = Schedule {
            factor: 0.97,
            times: 10,
            ..of(ScheduleKind::Exponential)
        };
        let at = |step| rate(&epochs, 0.1, step, 70);
        assert_eq!([at(0), at(6), at(7)], [0.1, 0.1, 0.1 * 0.97]);
        assert!((at(69) - 0.1 * 0.97f64.powi(9)).abs() < 1e-15);
        // PC-DARTS on ImageNet: 0.5, 250 epochs, here of 4 steps; five of them warm up.
        let linear = Schedule {
            warmup: 0.02,
            times: 250,
            ..of(ScheduleKind::Linear)
        };
        let at = |step| rate(&linear, 0.5, step, 1000);
        for (step, want) in [
            (0, 0.5 * 0.2),
            (3, 0.5 * 0.2),
            (4, 0.5 * 244.0 / 245.0 * 0.4),
            (16, 0.5 * 241.0 / 245.0),
            (20, 0.5 * 240.0 / 245.0),
            (979, 0.5 * 1.0 / 245.0),
            (980, 0.5 * 5.0 / (245.0 * 5.0)),
            (999, 0.5 * 1.0 / (245.0 * 5.0)),
        ] {
            assert!((at(step) - want).abs() < 1e-15, "{step}: {}", at(step));
        }
        let few = Schedule {
            times: 4,
            ..of(ScheduleKind::Linear)
        };
        assert_eq!([0, 1, 3].map(|s| rate(&few, 1.0, s, 4)), [1.0, 0.75, 0.25]);
        let warm = Schedule {
            warmup: 0.1,
            ..of(ScheduleKind::Constant)
        };
        assert_eq!(
            [0, 4, 9, 10].map(|s| rate(&warm, 1.0, s, 100)),
            [0.1, 0.5, 1.0, 1.0]
        );
    }
}
