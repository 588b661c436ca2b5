//! `final/`: the network that a run ends with, as files that stand on their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::classes;
use super::config::Config;
use super::networks::{self, Heads, Parts, network_genotype};
use super::pipeline::Benches;
use super::session::Session;
use super::stage::Outcome;
use super::viewer::Viewer;
use super::workbench::Workbench;
use crate::error::{Code, Error, Result};
use crate::export::safetensors::{self, TensorFile};
use crate::files::write_atomic;
use crate::model::{Network, NetworkSpec};
use crate::nn::{ParamSet, Store};
use crate::report::records::{EvalRecord, read_file, to_file};
use crate::space::{Genotype, NetworkGenotype};
use crate::task::config::TaskKind;
use crate::tensor::Tensor;

/// Class names by task (`det`, `seg`, `cls`), in the order of their ids.
const CLASSES: &str = "classes.json";

/// Writes genotype, class names, weights, cost and metrics into `final/`; the metrics last, because they mark it as complete.
///
/// # Errors
/// A full disk.
pub fn deliver(
    session: &Session,
    benches: &Benches,
    o: &Outcome,
    parts: &Parts,
    record: &EvalRecord,
) -> Result<()> {
    let dir = session.dir.path().join("final");
    std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, e))?;
    if let Some(g) = network_genotype(parts) {
        write_atomic(dir.join("genotype.txt"), g.to_string().as_bytes())?;
    }
    let classes: BTreeMap<String, Vec<String>> = benches
        .all()
        .iter()
        .map(|b| (b.name.clone(), b.task.classes().to_vec()))
        .collect();
    write_atomic(dir.join(CLASSES), to_file(&classes).as_bytes())?;
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

/// A finished run's network. Its data set is not opened.
pub struct Final {
    /// Configuration of the run.
    pub config: Config,
    /// Its tasks: detection, segmentation, classification, as far as they are there.
    pub tasks: Vec<Viewer>,
    /// The derived network.
    pub net: Network,
    /// Its values.
    pub store: Store,
    /// Its cells; `None` for a network made by hand throughout.
    pub genotype: Option<NetworkGenotype>,
}

impl Final {
    /// Text of every searched part, as records keep it.
    pub fn genotypes(&self) -> BTreeMap<String, String> {
        let text = |(n, g): (&str, &Genotype)| (n.to_string(), g.to_string());
        let parts = self.genotype.iter().flat_map(NetworkGenotype::parts);
        parts.map(text).collect()
    }

    /// Refuses held-out data whose classes are not those that the network was trained on.
    ///
    /// # Errors
    /// `ConfigValue` with both lists.
    pub fn check_classes(&self, benches: &[Rc<Workbench>]) -> Result<()> {
        for (viewer, bench) in self.tasks.iter().zip(benches) {
            let (own, found) = (viewer.task.classes(), bench.task.classes());
            if own != found {
                let (own, found) = (own.join(", "), found.join(", "));
                let what = format!("the data of task `{}` has the classes {found}", bench.name);
                return Err(Error::new(Code::ConfigValue, what)
                    .note(format!("the network was trained on {own}"))
                    .help("give the data set of the run"));
            }
        }
        Ok(())
    }
}

/// Opens `final/` of the run at `path`, whose configuration is `config` (from its `run.toml`). Class names are those in `final/`; of
/// a run that has none there, those of its data set.
///
/// # Errors
/// `NotFound` for a run that is not finished; `BadCheckpoint` for weights of another network.
pub fn open(path: &Path, config: Config) -> Result<Final> {
    let planned = plan(path, &config)?;
    let (text, weights) = (
        path.join("final/genotype.txt"),
        path.join("final/model.safetensors"),
    );
    let cells_of = |e: Error| match planned.genotype {
        Some(_) => e.note(format!("the cells are those of {}", text.display())),
        None => e,
    };
    let dtype = super::workbench::parameter_dtype(config.run.precision);
    let (net, mut store) =
        Network::build(&planned.spec, 0, dtype).map_err(|e| cells_of(e.at(text.display())))?;
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
        tasks: planned.tasks,
        net,
        store,
        genotype: planned.genotype,
    })
}

/// A finished run's network before its values are read.
pub struct Plan {
    /// Its tasks.
    pub tasks: Vec<Viewer>,
    /// Its cells; `None` for a network made by hand throughout, whose `final/` has no `genotype.txt`.
    pub genotype: Option<NetworkGenotype>,
    /// What it is built from.
    pub spec: NetworkSpec,
}

/// The network in `final/` of the run at `path`.
///
/// # Errors
/// As [`open`].
pub fn plan(path: &Path, config: &Config) -> Result<Plan> {
    let dir = path.join("final");
    if !dir.join("metrics.json").is_file() {
        return Err(
            Error::new(Code::NotFound, "the run has no final network yet")
                .at(path.display())
                .help(format!("finish it with: mtnas resume {}", path.display())),
        );
    }
    let genotype = match config.model.is_hand_crafted() {
        true => None,
        false => Some(NetworkGenotype::from_file(&dir.join("genotype.txt"))?),
    };
    let file = dir.join(CLASSES);
    let mut stored: BTreeMap<String, Vec<String>> = match file.is_file() {
        true => read_file(&file)?,
        false => BTreeMap::new(),
    };
    let (mut tasks, mut heads) = (vec![], Heads::default());
    for &kind in TaskKind::ALL {
        let Some((name, task)) = config.task(kind) else {
            continue;
        };
        let names = match stored.remove(name) {
            Some(names) => names,
            None => classes::of_data(config, task)?,
        };
        heads.put(kind, names.len());
        tasks.push(Viewer::new(config, task, names)?);
    }
    let parts = genotype.as_ref().map_or(Parts::by_hand(), Parts::derived);
    let spec = networks::spec(config, &parts, &heads)?;
    Ok(Plan {
        tasks,
        genotype,
        spec,
    })
}
