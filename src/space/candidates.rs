//! Which operations are searched over on each edge: all eight, a configured subset, or what P-DARTS has left.

use super::derive::Strengths;
use super::primitive::Primitive;
use crate::error::{Code, Error, Result, nearest};

/// One set of operations per edge, never empty. Columns of alpha keep their places; those outside the set take no part in
/// the softmax and get no gradient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates(Vec<Vec<Primitive>>);

impl Candidates {
    /// All primitives on each of `edges` edges.
    pub fn all(edges: usize) -> Candidates {
        Candidates(vec![Primitive::ALL.to_vec(); edges])
    }

    /// The same operations on every edge.
    ///
    /// # Errors
    /// `MT0102` for an empty list, one with only `none`, or a name twice.
    pub fn only(edges: usize, ops: &[Primitive]) -> Result<Candidates> {
        let bad =
            |what: String| Error::new(Code::ConfigValue, format!("candidate operations: {what}"));
        if !ops.iter().any(|&p| p != Primitive::Zero) {
            return Err(bad("at least one besides `none` is needed".into()));
        }
        if let Some(p) = Primitive::ALL
            .iter()
            .find(|p| ops.iter().filter(|q| q == p).count() > 1)
        {
            return Err(bad(format!("`{p}` is given twice")));
        }
        Ok(Candidates(vec![ordered(ops); edges]))
    }

    /// The same operations, by name, on every edge.
    ///
    /// # Errors
    /// As [`Candidates::only`]; `MT0102` for an unknown name.
    pub fn named<S: AsRef<str>>(edges: usize, names: &[S]) -> Result<Candidates> {
        let find = |name: &S| {
            let name = name.as_ref();
            Primitive::from_name(name).ok_or_else(|| {
                let e = Error::new(Code::ConfigValue, format!("unknown operation `{name}`"));
                match nearest(name, Primitive::ALL.iter().map(|p| p.name())) {
                    Some(near) => e.help(format!("did you mean `{near}`?")),
                    None => e,
                }
            })
        };
        let ops = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        Candidates::only(edges, &ops)
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.0.len()
    }

    /// The operations of an edge, in the order of the columns of alpha.
    pub fn of(&self, edge: usize) -> impl ExactSizeIterator<Item = Primitive> + '_ {
        self.0[edge].iter().copied()
    }

    /// Replaces the operations of one edge; asserts that there is one.
    pub fn restrict(&mut self, edge: usize, ops: &[Primitive]) {
        assert!(!ops.is_empty(), "edge {edge} needs an operation");
        self.0[edge] = ordered(ops);
    }

    /// Drops the weakest `drop` operations of every edge, as P-DARTS does after each stage (8, 5, 3 of them left); at
    /// least one stays. Of equals the lower column stays.
    pub fn drop_weakest(&self, strengths: &Strengths, drop: usize) -> Candidates {
        let left = |(edge, ops): (usize, &Vec<Primitive>)| {
            let mut ranked = ops.clone();
            ranked.sort_by(|&a, &b| strengths.of(edge, b).total_cmp(&strengths.of(edge, a)));
            ranked.truncate(ops.len().saturating_sub(drop).max(1));
            ordered(&ranked)
        };
        Candidates(self.0.iter().enumerate().map(left).collect())
    }
}

fn ordered(ops: &[Primitive]) -> Vec<Primitive> {
    let mut ops = ops.to_vec();
    ops.sort();
    ops.dedup();
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::space::derive::CellLogits;
    use crate::space::{EDGES, PRIMITIVES};

    #[test]
    fn names_are_checked() {
        let c = Candidates::named(EDGES, &["sep_conv_3x3", "none"]).unwrap();
        assert_eq!(
            c.of(13).collect::<Vec<_>>(),
            [Primitive::Zero, Primitive::SepConv3]
        );
        let e = Candidates::named(EDGES, &["sep_conv_3x4"])
            .unwrap_err()
            .to_string();
        assert_eq!(
            e,
            "unknown operation `sep_conv_3x4`; did you mean `sep_conv_3x3`?"
        );
        for names in [&["none"][..], &[], &["skip", "skip_connect"]] {
            let e = Candidates::named(EDGES, names).unwrap_err();
            assert_eq!(e.code(), Code::ConfigValue);
        }
    }

    #[test]
    fn p_darts_stages() {
        let mut rng = Rng::new(4, &[]);
        let alpha: Vec<f64> = (0..EDGES * PRIMITIVES).map(|_| rng.normal()).collect();
        let mut c = Candidates::all(EDGES);
        for (drop, left) in [(3, 5), (2, 3), (2, 1), (1, 1)] {
            let logits = CellLogits {
                alpha: &alpha,
                beta: None,
                candidates: Some(&c),
            };
            c = c.drop_weakest(&Strengths::new(logits).unwrap(), drop);
            assert!((0..EDGES).all(|e| c.of(e).len() == left));
        }
        for edge in 0..EDGES {
            let row = &alpha[edge * PRIMITIVES..][..PRIMITIVES];
            let best = (0..PRIMITIVES)
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .unwrap();
            assert_eq!(c.of(edge).collect::<Vec<_>>(), [Primitive::ALL[best]]);
        }
    }
}
