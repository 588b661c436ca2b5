//! The way back. One pass over `dy` and every candidate's last map gives the sums of the normalisations and the gradients of
//! alpha and beta; then last halves; then, once the sums of the inner normalisations are known, first halves.

mod gradients;
mod halves;
mod walk;

use self::gradients::gradients;
use self::halves::{first_halves, folded, jobs, last_halves};
use self::walk::Walk;
use super::MixedNode;
use super::forward::{Norm, groups, maps_again};
use super::plan::{EdgePlan, Plan};
use crate::backend::host::Float;
use crate::backend::threads::{map, map_tasks, shards, tree_fold};
use crate::error::Result;
use crate::tape::{Backward, Grad};
use crate::tensor::{Buffer, Tensor};

/// Gradients of the operands that need one.
///
/// # Errors
/// None; those of tensors that do not fit their shapes.
pub fn run<T: Float>(op: &MixedNode, p: &Plan, b: &Backward) -> Result<Vec<Option<Grad>>> {
    let x: Vec<&Tensor> = (0..b.x.len()).map(|i| b.input(i)).collect();
    let norms = p
        .statistics()
        .map(|at| Norm::new(&b.saved[at..at + 2], op.eps));
    let norms: Vec<Norm> = norms.collect();
    let again = match op.recompute {
        true => maps_again::<T>(p, &x, &norms)?,
        false => vec![],
    };
    let maps = if op.recompute {
        &again
    } else {
        &b.saved[..p.maps]
    };
    let walk = Walk {
        p,
        dy: b.dy.data::<T>(),
        maps: maps.iter().map(|t| t.data()).collect(),
        norms,
        mixture: p.mixture(x[p.alpha], x[p.beta]),
        arch: b.need[p.alpha] || b.need[p.beta],
        weights: p
            .units
            .iter()
            .any(|u| u.candidate.operands() > 1 && b.need[u.own]),
        x,
    };
    let runs: Vec<_> = shards(p.n).collect();
    let work = 200 * p.n * p.active() * p.units.len().max(1);
    let of_shards = map(runs.len() * p.c, work, |j| {
        walk.sums(j % p.c, &runs[j / p.c])
    });
    let add = |mut a: Vec<[f64; 2]>, b: Vec<[f64; 2]>| {
        for (a, b) in a.iter_mut().zip(b) {
            a[0] += b[0];
            a[1] += b[1];
        }
        a
    };
    let channel = |c: usize| {
        let parts = of_shards.iter().skip(c).step_by(p.c).cloned().collect();
        tree_fold(parts, add).unwrap_or_default()
    };
    let sums: Vec<Vec<[f64; 2]>> = (0..p.c).map(channel).collect();

    let row = p.n * p.active();
    let fused = |e: &EdgePlan| {
        let len = p.n * p.reached(e) * p.plane_of(e);
        (!e.units.is_empty()).then(|| Buffer::scratch(T::DTYPE, len))
    };
    let mut dx: Vec<Option<Buffer>> = p.edges.iter().map(fused).collect();
    let double = |u: usize| (p.units[u].maps.len() == 2).then(|| Buffer::scratch(T::DTYPE, row));
    let mut g: Vec<Option<Buffer>> = (0..p.units.len()).map(double).collect();
    let edges = p.edges.iter().filter(|e| !e.units.is_empty()).count();
    let groups = groups(p.n, edges);
    let all = jobs(p, &groups, &mut dx, &mut g);
    let last = folded(
        p,
        map_tasks(all, work, |job| last_halves(&walk, &sums, job)),
    );
    let all = jobs(p, &groups, &mut dx, &mut g);
    let first = folded(
        p,
        map_tasks(all, work, |job| first_halves(&walk, &last, job)),
    );
    Ok(gradients(&walk, b, &sums, dx, first, last))
}
