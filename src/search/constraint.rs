//! `[search.constraint]`: what the searched cells are expected to cost ([`crate::model::expected`]) as a part of the loss of architecture
//! steps.
//!
//! The penalty is `weight * E / E0`: linear in the expected cost, as in ProxylessNAS (Cai et al., ICLR 2019, section 3.3.1), and over the
//! cost E0 of the uniform architecture, so that one weight means the same in every stage, for multiply-adds and for microseconds. With a
//! target only what is above it counts, as the hard form of MnasNet's reward has it (Tan et al., CVPR 2019, section 3.1). FBNet's product
//! with the cross entropy (Wu et al., CVPR 2019, section 3.2) is not offered: the losses of several tasks are of different sizes.

use super::bilevel::Loss;
use super::config::{Config, CostMetric, Method};
use super::latency_table::LatencyTable;
use super::networks::Heads;
use super::planned::{self, Planned};
use crate::error::{Code, Error, Result};
use crate::model::{ExpectedCost, Network, Place, searched_places};
use crate::nn::{Pass, Store};
use crate::ops;
use crate::tensor::Tensor;

/// Name of the penalty among the parts of a loss.
pub const PART: &str = "cost";

/// The constraint of a stage.
#[derive(Debug, Clone)]
pub struct Constraint {
    cost: ExpectedCost,
    metric: CostMetric,
    weight: f64,
    target: f64,
    /// What the costs are from: SHA-256 of the table, if there is one, and where it was measured.
    source: String,
    measured: String,
}

/// What an operation costs.
enum Costs {
    Macs,
    Measured(LatencyTable, usize),
}

impl Costs {
    fn open(config: &Config) -> Result<Costs> {
        let c = &config.search.constraint;
        Ok(match c.metric {
            CostMetric::Macs => Costs::Macs,
            CostMetric::Latency => Costs::Measured(LatencyTable::load_all(&c.table)?, c.batch),
        })
    }

    fn of(&self, place: &Place) -> Result<f64> {
        match self {
            Costs::Macs => Ok(place.macs()? as f64),
            Costs::Measured(table, batch) => table.of(place, *batch),
        }
    }
}

impl Constraint {
    /// That of a stage whose network is `net`; `None` where the configuration has none, or nothing that is searched will be in a network
    /// (a branch search without branch cells, which leaves the cells of the host).
    ///
    /// # Errors
    /// Those of the table; `MT0102` for an operation that was not measured, or where nothing that is searched costs anything.
    pub fn open(config: &Config, net: &Network) -> Result<Option<Constraint>> {
        let c = &config.search.constraint;
        let places = searched_places(net);
        if c.weight == 0.0 || places.is_empty() {
            return Ok(None);
        }
        let costs = Costs::open(config)?;
        let (source, measured) = match &costs {
            Costs::Macs => Default::default(),
            Costs::Measured(table, batch) => {
                let covered = table.covers(&places, *batch);
                covered.map_err(|e| e.at(&c.table))?;
                (table.sha256.clone(), table.measured.clone())
            }
        };
        Ok(Some(Constraint {
            cost: ExpectedCost::new(net, |place| costs.of(place))?,
            metric: c.metric,
            weight: c.weight,
            target: c.target,
            source,
            measured,
        }))
    }

    /// The loss with the penalty as a part of it.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn add(&self, net: &Network, p: &Pass, loss: Loss) -> Result<Loss> {
        let share = self.cost.share(net, p)?;
        let penalty = match self.target {
            0.0 => ops::scale(&share, self.weight)?,
            target => {
                let of_target = ops::scale(&share, 1.0 / target)?;
                let one = p.tape.constant(Tensor::scalar(share.dtype(), -1.0))?;
                ops::scale(&ops::relu(&ops::add(&of_target, &one)?)?, self.weight)?
            }
        };
        let mut parts = loss.parts;
        parts.push((PART, penalty.value().clone()));
        Ok(Loss {
            total: ops::add(&loss.total, &penalty)?,
            parts,
        })
    }

    /// The expected cost at the values in `store`, in [`Constraint::unit`].
    ///
    /// # Errors
    /// `MT0403` for another network than that of [`Constraint::open`].
    pub fn at(&self, net: &Network, store: &Store) -> Result<f64> {
        self.cost.at(net, store)
    }

    /// The expected cost of the uniform architecture.
    pub fn uniform(&self) -> f64 {
        self.cost.uniform()
    }

    /// What the costs are from, to know it again: SHA-256 of the table, or empty.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Multiply-adds, or microseconds and where they were measured.
    pub fn unit(&self) -> String {
        match self.metric {
            CostMetric::Macs => "MACs".into(),
            CostMetric::Latency => format!("us on {}", self.measured),
        }
    }
}

/// Checks before anything runs that all stages of a search find what they need in the table of latencies.
///
/// # Errors
/// Those of the table; `MT0102` that lists all operations of all stages that were not measured.
pub fn check(config: &Config) -> Result<()> {
    let c = &config.search.constraint;
    let searches = !matches!(config.search.method, Method::Given | Method::Random);
    if c.weight == 0.0 || c.metric != CostMetric::Latency || !searches {
        return Ok(());
    }
    let table = LatencyTable::load_all(&c.table)?;
    let mut all: Vec<Place> = vec![];
    for planned in stages(config)? {
        all.extend(searched_places(&Network::plan(&planned.spec)?));
    }
    all.sort();
    all.dedup();
    let covered = table.covers(&all, c.batch);
    covered.map_err(|e| e.at(&c.table))
}

/// The stages of a search: of P-DARTS all its networks. Where an operation stands does not depend on numbers of classes.
fn stages(config: &Config) -> Result<Vec<Planned>> {
    let heads = Heads::of(|kind| Ok(config.task(kind).map(|_| 1)))?;
    if config.search.method != Method::PDarts {
        return planned::networks(config, &heads, Some(1));
    }
    let mut all = vec![];
    for &cells in &config.search.p_darts.cells {
        let mut c = config.clone();
        c.search.p_darts.cells = vec![cells];
        all.extend(planned::networks(&c, &heads, None)?);
    }
    Ok(all)
}

/// A stage that goes on must go on with the costs it was started with.
///
/// # Errors
/// `MT0104` where they are others.
pub fn check_source(started: &str, constraint: Option<&Constraint>) -> Result<()> {
    let now = constraint.map_or("", |c| c.source());
    if started == now {
        return Ok(());
    }
    let text = "the table of latencies is not the one that the run was started with";
    Err(Error::new(Code::ConfigChanged, text)
        .at("search.constraint.table")
        .help("restore the file, or start the search again"))
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;
