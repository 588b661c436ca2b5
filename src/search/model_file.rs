//! `final/`: the network that a run ends with, as files that stand on their own.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::Config;
use super::pipeline::{Benches, Parts, network_genotype};
use super::session::Session;
use super::stage::Outcome;
use crate::error::{Code, Error, Result};
use crate::export::safetensors::{self, TensorFile};
use crate::files::write_atomic;
use crate::model::{Cells, Network};
use crate::nn::{ParamSet, Store};
use crate::report::records::{EvalRecord, to_file};
use crate::space::NetworkGenotype;
use crate::tensor::Tensor;

/// Writes genotype, weights, cost and metrics into `final/`; the metrics last, because they mark it as complete.
///
/// # Errors
/// A full disk.
pub fn deliver(session: &Session, o: &Outcome, parts: &Parts, record: &EvalRecord) -> Result<()> {
    let dir = session.dir.path().join("final");
    std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
    if let Some(g) = network_genotype(parts) {
        write_atomic(dir.join("genotype.txt"), g.to_string().as_bytes())?;
    }
    let mut tensors = BTreeMap::new();
    for set in [&o.store.weights, &o.store.buffers] {
        for (_, name, t) in set.iter() {
            tensors.insert(name.to_string(), t.clone());
        }
    }
    let metadata = BTreeMap::from([
        ("format".to_string(), "mtnas".to_string()),
        ("config".to_string(), session.config.to_toml()),
    ]);
    safetensors::write(
        dir.join("model.safetensors"),
        &TensorFile { tensors, metadata },
    )?;
    if let Some(cost) = &record.cost {
        write_atomic(dir.join("cost.json"), to_file(cost).as_bytes())?;
    }
    write_atomic(dir.join("metrics.json"), to_file(record).as_bytes())
}

/// Weights and statistics of a `model.safetensors`, all in the weight set and in the buffers by name.
///
/// # Errors
/// A file that does not read.
pub fn read_store(path: &Path) -> Result<Store> {
    let TensorFile { tensors, .. } = safetensors::read(path)?;
    let mut store = Store::default();
    for (name, t) in tensors {
        let set: &mut ParamSet = if name.ends_with("running_mean") || name.ends_with("running_var")
        {
            &mut store.buffers
        } else {
            &mut store.weights
        };
        set.add(name, t);
    }
    Ok(store)
}

/// A finished run's network: configuration, tasks, network and values.
pub struct Final {
    /// Configuration of the run.
    pub config: Config,
    /// Its tasks.
    pub benches: Benches,
    /// The derived network.
    pub net: Network,
    /// Its values.
    pub store: Store,
    /// Its cells.
    pub genotype: NetworkGenotype,
}

impl Final {
    /// Text of every searched part, as records keep it.
    pub fn genotypes(&self) -> BTreeMap<String, String> {
        let g = &self.genotype;
        let parts = [
            ("backbone", Some(&g.backbone)),
            ("det", g.det.as_ref()),
            ("seg", g.seg.as_ref()),
        ];
        parts
            .into_iter()
            .filter_map(|(n, g)| Some((n.to_string(), g?.to_string())))
            .collect()
    }
}

/// Opens `final/` of the run at `path`, whose configuration is `config` (from its `run.toml`).
///
/// # Errors
/// `NotFound` for a run that is not finished; `BadCheckpoint` for weights of another network.
pub fn open(path: &Path, config: Config) -> Result<Final> {
    let dir = path.join("final");
    if !dir.join("metrics.json").is_file() {
        return Err(
            Error::new(Code::NotFound, "the run has no final network yet")
                .at(path.display())
                .help(format!("finish it with: mtnas resume {}", path.display())),
        );
    }
    let text = dir.join("genotype.txt");
    let weights = dir.join("model.safetensors");
    let genotype = NetworkGenotype::from_file(&text)?;
    let cells =
        |g: &Option<crate::space::Genotype>| g.clone().map_or(Cells::HandCrafted, Cells::Derived);
    let parts = Parts {
        backbone: Cells::Derived(genotype.backbone.clone()),
        det: cells(&genotype.det),
        seg: cells(&genotype.seg),
    };
    let benches = Benches::open(&config)?;
    let spec = benches.spec(&config, &parts)?;
    let dtype = super::workbench::parameter_dtype(config.run.precision);
    let cells_of = |e: Error| e.note(format!("the cells are those of {}", text.display()));
    let (net, mut store) =
        Network::build(&spec, 0, dtype).map_err(|e| cells_of(e.at(text.display())))?;
    let TensorFile { tensors, .. } = safetensors::read(&weights)?;
    let pick = |set: &ParamSet| -> BTreeMap<String, Tensor> {
        tensors
            .iter()
            .filter(|(n, _)| set.find(n).is_some())
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect()
    };
    let (w, b) = (pick(&store.weights), pick(&store.buffers));
    let fit = |set: &mut ParamSet, values| {
        set.load(values)
            .map_err(|e| cells_of(e.at(weights.display())))
    };
    fit(&mut store.weights, &w)?;
    fit(&mut store.buffers, &b)?;
    Ok(Final {
        config,
        benches,
        net,
        store,
        genotype,
    })
}
