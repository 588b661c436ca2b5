//! Figures against earlier ones of the same device.

use super::{Figures, Row};
use crate::error::{Code, Error, Result};

fn same(a: &Row, b: &Row) -> bool {
    (&a.name, &a.shape, &a.dtype, &a.pass) == (&b.name, &b.shape, &b.dtype, &b.pass)
}

/// Rows that take more than `1 + most` times as long as before, slowest first, with that ratio; and the number of rows that
/// both have.
///
/// # Errors
/// `Argument` when the figures are of another device, or have no row in common.
pub fn regressions<'a>(
    now: &'a Figures,
    before: &Figures,
    most: f64,
) -> Result<(Vec<(&'a Row, f64)>, usize)> {
    if now.device != before.device {
        let text = format!(
            "figures of {} cannot be held against those of {}",
            now.device, before.device
        );
        return Err(Error::new(Code::Argument, text));
    }
    let ratio = |r: &'a Row| {
        let old = before.rows.iter().find(|o| same(o, r))?;
        Some((r, r.us / old.us))
    };
    let common: Vec<_> = now.rows.iter().filter_map(ratio).collect();
    let n = common.len();
    if n == 0 {
        return Err(Error::new(
            Code::Argument,
            "the two sets of figures have no row in common",
        ));
    }
    let mut slower: Vec<_> = common
        .into_iter()
        .filter(|(_, q)| *q > 1.0 + most)
        .collect();
    slower.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok((slower, n))
}
