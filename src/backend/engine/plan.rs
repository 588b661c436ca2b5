//! Where in one arena each buffer of a sequence lies whose lifetimes are known: buffers that are there at the same time lie apart.

/// A buffer: its size, and when it is there, from the first tick to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Bytes.
    pub bytes: usize,
    /// When it is taken.
    pub from: usize,
    /// When it is given back.
    pub to: usize,
}

/// Offsets in the order of the lives, and the size of the arena.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Multiples of `ALIGN` bytes.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
}

/// As an allocation of its own would be.
pub const ALIGN: usize = 256;
/// Bytes after a buffer that are nobody's, so that the emulated device sees an access past its end.
const GAP: usize = 16;

struct Placed {
    offset: usize,
    end: usize,
    life: Life,
}

/// The largest first, each in the smallest gap that holds it among those that are there at the same time (Pisarchyk, Lee,
/// Efficient Memory Management for Deep Neural Net Inference, 2020).
pub fn plan(lives: &[Life]) -> Plan {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (usize::MAX - lives[i].bytes, lives[i].from));
    let (mut plan, mut placed) = (Plan::default(), Vec::<Placed>::new());
    plan.offsets.resize(lives.len(), 0);
    for i in order {
        let life = lives[i];
        let size = (life.bytes + GAP).next_multiple_of(ALIGN);
        let (mut end, mut best) = (0, None);
        let together = |p: &&Placed| p.life.from < life.to && life.from < p.life.to;
        for p in placed.iter().filter(together) {
            let gap = p.offset.saturating_sub(end);
            if gap >= size && best.is_none_or(|(least, _)| gap < least) {
                best = Some((gap, end));
            }
            end = end.max(p.end);
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        let end = offset + size;
        let at = placed.partition_point(|p| p.offset <= offset);
        placed.insert(at, Placed { offset, end, life });
        plan.offsets[i] = offset;
        plan.bytes = plan.bytes.max(end);
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two lives that are there at the same time and not apart.
    fn clash(lives: &[Life], p: &Plan) -> Option<(usize, usize)> {
        let end = |i: usize| p.offsets[i] + lives[i].bytes;
        let meet = |i: usize, j: usize| {
            let (a, b) = (lives[i], lives[j]);
            let apart = end(i) + GAP <= p.offsets[j] || end(j) + GAP <= p.offsets[i];
            a.from < b.to && b.from < a.to && !apart
        };
        let pairs = (0..lives.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
        pairs.into_iter().find(|&(i, j)| meet(i, j))
    }

    fn life() -> impl Strategy<Value = Life> {
        (0usize..5000, 0usize..60, 1usize..30).prop_map(|(bytes, from, ticks)| Life {
            bytes,
            from,
            to: from + ticks,
        })
    }

    proptest! {
        #[test]
        fn no_two_that_are_there_at_once_overlap(lives in prop::collection::vec(life(), 0..60)) {
            let p = plan(&lives);
            prop_assert_eq!(clash(&lives, &p), None);
            for (l, &at) in lives.iter().zip(&p.offsets) {
                prop_assert!(at % ALIGN == 0 && at + l.bytes <= p.bytes);
            }
            // Not worse than no plan at all, not better than possible.
            let size = |l: &Life| (l.bytes + GAP).next_multiple_of(ALIGN);
            let at_once = |t: usize| lives.iter().filter(|l| l.from <= t && t < l.to).map(size).sum();
            let least: usize = (0..90).map(at_once).max().unwrap_or(0);
            prop_assert!(p.bytes >= least && p.bytes <= lives.iter().map(size).sum());
        }
    }

    #[test]
    fn a_plan_that_is_wrong_is_seen() {
        let all = [(600, 0, 3), (100, 1, 2), (100, 2, 4)];
        let lives = all.map(|(bytes, from, to)| Life { bytes, from, to });
        let mut p = plan(&lives);
        assert_eq!(p.offsets, [0, 768, 768]);
        assert_eq!((p.bytes, clash(&lives, &p)), (1024, None));
        p.offsets[2] = 512;
        assert_eq!(clash(&lives, &p), Some((0, 2)));
    }

    #[test]
    fn a_walk_there_and_back_needs_what_is_there_at_its_turn() {
        // 40 values that are kept from the way there to the way back, and one beside each.
        let n = 40;
        let kept = (0..n).map(|i| Life {
            bytes: 1000,
            from: i,
            to: 2 * n - i,
        });
        let beside = (0..2 * n).map(|i| Life {
            bytes: 900,
            from: i,
            to: i + 1,
        });
        let lives: Vec<Life> = kept.chain(beside).collect();
        assert_eq!(plan(&lives).bytes, (n + 1) * 1024);
    }
}
