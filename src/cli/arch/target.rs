//! What a command about architectures is given: a configuration, a run, or a genotype.

use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::search::model_file;
use crate::search::run_dir::RunDir;
use crate::space::NetworkGenotype;

/// A target, told apart by its name.
#[derive(Debug)]
pub(in crate::cli) enum Target {
    /// A configuration file.
    Config(PathBuf),
    /// A run directory.
    Run(PathBuf),
    /// The word `supernet`.
    Supernet,
    /// A network made by hand, by name.
    Hand(&'static str),
    /// A genotype.
    Genotype(Box<NetworkGenotype>),
}

impl Target {
    /// # Errors
    /// A genotype that does not parse; `NotFound`.
    pub fn new(what: &str) -> Result<Target> {
        let path = Path::new(what);
        if what == "supernet" {
            Ok(Target::Supernet)
        } else if let Some(name) = super::hand::named(what).filter(|_| !path.exists()) {
            Ok(Target::Hand(name))
        } else if path.is_dir() {
            Ok(Target::Run(path.to_path_buf()))
        } else if path.extension().is_some_and(|e| e == "toml") {
            Ok(Target::Config(path.to_path_buf()))
        } else {
            Ok(Target::Genotype(Box::new(NetworkGenotype::resolve(what)?)))
        }
    }

    /// The genotype of a run, a file, a name or text.
    ///
    /// # Errors
    /// `Usage` for a configuration; a run that is not finished.
    pub fn genotype(what: &str) -> Result<NetworkGenotype> {
        match Target::new(what)? {
            Target::Genotype(g) => Ok(*g),
            Target::Run(path) => {
                let config = RunDir::config_of(&path)?;
                let genotype = model_file::plan(&path, &config)?.genotype;
                genotype.ok_or_else(|| {
                    let text = format!("{what} is a network made by hand, without cells");
                    Error::new(Code::Usage, text).help("give a run that ended with a genotype")
                })
            }
            Target::Config(_) | Target::Supernet | Target::Hand(_) => Err(Error::new(
                Code::Usage,
                format!("{what} has no genotype"),
            )
            .help("give a run, a genotype file, a published name (`mtnas arch show`), or text")),
        }
    }
}
