//! Arrays of any rank: what the check of an exported file computes with. Plain loops.

use super::read::bad;
use crate::error::Result;

/// Sizes and elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Sizes.
    pub dims: Vec<usize>,
    /// Elements.
    pub data: Vec<T>,
}

impl<T: Copy> Array<T> {
    /// An array over elements.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] when there are not as many as the sizes say.
    pub fn new(dims: Vec<usize>, data: Vec<T>) -> Result<Array<T>> {
        match dims.iter().product::<usize>() == data.len() {
            true => Ok(Array { dims, data }),
            false => Err(bad(format!("{} values for the sizes {dims:?}", data.len()))),
        }
    }

    /// The element of each place of the result: `of` says which.
    fn gather(&self, dims: Vec<usize>, mut of: impl FnMut(&[usize]) -> usize) -> Array<T> {
        let count = dims.iter().product();
        let mut data = Vec::with_capacity(count);
        let mut at = vec![0; dims.len()];
        for _ in 0..count {
            data.push(self.data[of(&at)]);
            step(&mut at, &dims);
        }
        Array { dims, data }
    }

    /// How far apart neighbours along each dimension lie.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.dims.len()];
        for i in (1..self.dims.len()).rev() {
            strides[i - 1] = strides[i] * self.dims[i];
        }
        strides
    }

    /// With the dimensions in another order.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for no order of its dimensions.
    pub fn transposed(&self, order: &[usize]) -> Result<Array<T>> {
        let mut sorted = order.to_vec();
        sorted.sort();
        if sorted != (0..self.dims.len()).collect::<Vec<_>>() {
            return Err(bad(format!("the order {order:?} of {:?}", self.dims)));
        }
        let strides = self.strides();
        let dims = order.iter().map(|&d| self.dims[d]).collect();
        Ok(self.gather(dims, |at| {
            at.iter().zip(order).map(|(i, &d)| i * strides[d]).sum()
        }))
    }

    /// The elements `start`, `start + step`, ... below `end` along `axis`.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for no axis of it, or places outside.
    pub fn sliced(&self, axis: usize, start: i64, end: i64, step: i64) -> Result<Array<T>> {
        let side = self.dims.get(axis).copied().unwrap_or(0) as i64;
        let (start, end) = (start.min(side), end.min(side));
        if axis >= self.dims.len() || start < 0 || end < start || step < 1 {
            return Err(bad(format!(
                "{start}..{end} in steps of {step} along {axis} of {:?}",
                self.dims
            )));
        }
        let strides = self.strides();
        let mut dims = self.dims.clone();
        dims[axis] = (end - start).unsigned_abs().div_ceil(step.unsigned_abs()) as usize;
        let (start, step) = (start as usize, step as usize);
        Ok(self.gather(dims, |at| {
            let place = |(d, &i): (usize, &usize)| match d == axis {
                true => (start + i * step) * strides[d],
                false => i * strides[d],
            };
            at.iter().enumerate().map(place).sum()
        }))
    }

    /// Both repeated along dimensions of size 1 or not there, so that they have one size, and combined element by element.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for sizes that do not fit.
    pub fn with<U: Copy, V>(&self, other: &Array<U>, f: impl Fn(T, U) -> V) -> Result<Array<V>> {
        let rank = self.dims.len().max(other.dims.len());
        let padded = |dims: &[usize]| [&vec![1; rank - dims.len()][..], dims].concat();
        let (a, b) = (padded(&self.dims), padded(&other.dims));
        let fits = a.iter().zip(&b).all(|(a, b)| a == b || *a == 1 || *b == 1);
        if !fits {
            return Err(bad(format!("{:?} with {:?}", self.dims, other.dims)));
        }
        let dims: Vec<usize> = a
            .iter()
            .zip(&b)
            .map(|(&a, &b)| if a == 1 { b } else { a })
            .collect();
        let (sa, sb) = (repeating(&a), repeating(&b));
        let mut at = vec![0; rank];
        let mut data = vec![];
        for _ in 0..dims.iter().product() {
            let of = |s: &[usize]| at.iter().zip(s).map(|(i, s)| i * s).sum::<usize>();
            data.push(f(self.data[of(&sa)], other.data[of(&sb)]));
            step(&mut at, &dims);
        }
        Ok(Array { dims, data })
    }

    /// All one after the other along `axis`.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for none, or sizes that differ elsewhere.
    pub fn joined(all: &[&Array<T>], axis: usize) -> Result<Array<T>> {
        let same = |a: &Array<T>| {
            let others =
                |d: &[usize]| [&d[..axis.min(d.len())], &d[(axis + 1).min(d.len())..]].concat();
            a.dims.len() > axis && others(&a.dims) == others(&all[0].dims)
        };
        if all.is_empty() || !all.iter().all(|a| same(a)) {
            let dims: Vec<_> = all.iter().map(|a| &a.dims).collect();
            return Err(bad(format!("joining {dims:?} along {axis}")));
        }
        let outer: usize = all[0].dims[..axis].iter().product();
        let mut dims = all[0].dims.clone();
        dims[axis] = all.iter().map(|a| a.dims[axis]).sum();
        let mut data = vec![];
        for o in 0..outer {
            for a in all {
                let row: usize = a.dims[axis..].iter().product();
                data.extend_from_slice(&a.data[o * row..][..row]);
            }
        }
        Ok(Array { dims, data })
    }
}

/// Strides of a row-major array that do not move along dimensions of size 1.
fn repeating(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; dims.len()];
    let mut next = 1;
    for i in (0..dims.len()).rev() {
        if dims[i] > 1 {
            strides[i] = next;
        }
        next *= dims[i];
    }
    strides
}

/// The next place, row-major.
fn step(at: &mut [usize], dims: &[usize]) {
    for i in (0..at.len()).rev() {
        at[i] += 1;
        if at[i] < dims[i] {
            return;
        }
        at[i] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upto(dims: &[usize]) -> Array<i64> {
        Array::new(
            dims.to_vec(),
            (0..dims.iter().product::<usize>() as i64).collect(),
        )
        .unwrap()
    }

    #[test]
    fn by_hand() {
        let a = upto(&[2, 3]);
        assert_eq!(a.transposed(&[1, 0]).unwrap().data, [0, 3, 1, 4, 2, 5]);
        assert_eq!(a.sliced(1, 0, 9, 2).unwrap().data, [0, 2, 3, 5]);
        assert_eq!(a.sliced(0, 1, 2, 1).unwrap().dims, [1, 3]);
        let b = Array::new(vec![3], vec![10, 20, 30]).unwrap();
        assert_eq!(
            a.with(&b, |a, b| a + b).unwrap().data,
            [10, 21, 32, 13, 24, 35]
        );
        assert_eq!(b.with(&upto(&[]), |a, b| a - b).unwrap().data, [10, 20, 30]);
        let both = Array::joined(&[&a, &upto(&[2, 1])], 1).unwrap();
        assert_eq!(
            (both.dims, both.data),
            (vec![2, 4], vec![0, 1, 2, 0, 3, 4, 5, 1])
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let a = upto(&[2, 3]);
        assert!(a.transposed(&[0, 0]).is_err() && a.sliced(2, 0, 1, 1).is_err());
        assert!(a.sliced(0, -1, 1, 1).is_err() && a.with(&upto(&[2]), |a, _| a).is_err());
        assert!(Array::joined(&[&a, &upto(&[3, 3])], 1).is_err());
        assert!(Array::new(vec![2], vec![1.0]).is_err());
    }
}
