//! Where values lie: one arena, laid out from the steps at which each is made and last read, and how much is alive at once.

use std::collections::BTreeMap;

use super::step::{Step, V, Value};
use crate::tape::Sketched;

/// Elements that a value's place is rounded up to: a cache line.
const LINE: usize = 16;

/// The layout for one image; for n images every place and size is n times that.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Of each value the one whose memory it lies in, and where in each image of that.
    pub root: Vec<(V, usize)>,
    /// Where the memory of a root begins.
    pub place: Vec<usize>,
    /// Elements of the arena.
    pub arena: usize,
    /// Most elements that are alive during a step: of values made and still to be read, and of the one that is being made. Two that
    /// share their memory count once.
    pub cut: usize,
}

/// First and last step of a value's life.
type Life = (usize, usize);

impl Memory {
    /// Lays out the values of a program. Value 0 is the image: it is given, not stored.
    pub fn plan(values: &[Value], steps: &[Step], outputs: &[V]) -> Memory {
        let root: Vec<(V, usize)> = (0..values.len()).map(|v| root_of(values, v)).collect();
        let mut made: Vec<Option<usize>> = vec![None; values.len()];
        let mut last = vec![0; values.len()];
        for (t, step) in steps.iter().enumerate() {
            made[step.makes()] = Some(t);
            step.reads().into_iter().for_each(|v| last[v] = t);
            last[step.makes()] = last[step.makes()].max(t);
        }
        outputs.iter().for_each(|&v| last[v] = steps.len());
        // What is another view of a value reads that value.
        for v in (0..values.len()).rev().filter(|&v| made[v].is_none()) {
            if let Some((x, _)) = values[v].part_of {
                last[x] = last[x].max(last[v]);
            }
        }
        let mut life: BTreeMap<V, Life> = BTreeMap::new();
        for v in (0..values.len()).filter(|&v| root[v].0 != 0) {
            let own = life.entry(root[v].0).or_insert((usize::MAX, 0));
            own.0 = own.0.min(made[v].unwrap_or(usize::MAX));
            own.1 = own.1.max(last[v]);
        }
        life.retain(|_, l| l.0 != usize::MAX);
        let (place, arena) = lay_out(values, &life);
        Memory {
            cut: cut(values, &root, &made, &last, steps.len()),
            root,
            place,
            arena,
        }
    }
}

fn root_of(values: &[Value], v: V) -> (V, usize) {
    let (mut v, mut at) = (v, 0);
    while let Some((of, offset)) = values[v].part_of {
        (v, at) = (of, at + offset);
    }
    (v, at)
}

/// Lowest places, in the best of two orders: the largest first, or as they are made.
fn lay_out(values: &[Value], life: &BTreeMap<V, Life>) -> (Vec<usize>, usize) {
    let size = |v: V| values[v].len().next_multiple_of(LINE);
    let mut by_size: Vec<V> = life.keys().copied().collect();
    by_size.sort_by_key(|&v| (std::cmp::Reverse(size(v)), life[&v]));
    let mut by_time = by_size.clone();
    by_time.sort_by_key(|v| life[v]);
    let orders = [by_size, by_time];
    let all = orders.iter().map(|order| {
        let (mut place, mut end, mut put) = (vec![0; values.len()], 0, Vec::<V>::new());
        for &v in order {
            let meets = |o: &&V| life[*o].0 <= life[&v].1 && life[&v].0 <= life[*o].1;
            let mut near: Vec<(usize, usize)> = put
                .iter()
                .filter(meets)
                .map(|&o| (place[o], place[o] + size(o)))
                .collect();
            near.sort_unstable();
            let mut at = 0;
            for (from, to) in near {
                if at + size(v) <= from {
                    break;
                }
                at = at.max(to);
            }
            place[v] = at;
            end = end.max(at + size(v));
            put.push(v);
        }
        (place, end)
    });
    all.min_by_key(|l| l.1).unwrap_or_default()
}

fn cut(
    values: &[Value],
    root: &[(V, usize)],
    made: &[Option<usize>],
    last: &[usize],
    steps: usize,
) -> usize {
    // What contains a value keeps it.
    let kept = |v: V| {
        let (mut v, mut end) = (v, last[v]);
        while let Some((of, _)) = values[v].part_of {
            (v, end) = (of, end.max(last[of]));
        }
        end
    };
    let kept: Vec<usize> = (0..values.len()).map(kept).collect();
    let at = |t: usize| {
        let alive = |&v: &V| root[v].0 != 0 && made[v].is_some_and(|m| m <= t) && t <= kept[v];
        let mut ranges: Vec<(V, usize, usize)> = (0..values.len())
            .filter(alive)
            .map(|v| (root[v].0, root[v].1, root[v].1 + values[v].len()))
            .collect();
        ranges.sort_unstable();
        let (mut sum, mut seen) = (0, (usize::MAX, 0));
        for (of, from, to) in ranges {
            let from = if seen.0 == of { from.max(seen.1) } else { from };
            sum += to.saturating_sub(from);
            seen = (of, if seen.0 == of { to.max(seen.1) } else { to });
        }
        sum
    };
    (0..steps).map(at).max().unwrap_or(0)
}

/// Most elements that the results of recorded operations hold at once, each from the operation that makes it to the last one that reads it;
/// `outputs` stay to the end. What operations read besides results (images, parameters) is left out.
pub fn largest_cut(list: &[Sketched], outputs: &[usize]) -> usize {
    let mut last: BTreeMap<usize, usize> = list.iter().map(|s| (s.id, s.id)).collect();
    for s in list {
        for x in &s.inputs {
            last.entry(*x).and_modify(|l| *l = s.id);
        }
    }
    for o in outputs {
        last.insert(*o, usize::MAX);
    }
    let (mut alive, mut most) = (0, 0);
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    for s in list {
        alive += s.shape.numel();
        most = most.max(alive);
        *ends.entry(last[&s.id]).or_default() += s.shape.numel();
        alive -= ends.remove(&s.id).unwrap_or(0);
    }
    most
}
