//! Which data sets a command means: those in a folder, or those of a configuration.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::Context;
use crate::data::check::detect;
use crate::data::dataset::{Dataset, DatasetConfig};
use crate::error::{Code, Error, Result, nearest};
use crate::search::config::Config;

// What `check`, `stats`, `preview` and `convert` begin with. A doc comment here would become what each command says about itself.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Data set, folder of several, or configuration
    target: PathBuf,
    /// Of a configuration, these data sets alone (with commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

/// A data set that is meant.
pub(super) struct Chosen {
    /// Its name in the configuration.
    pub(super) name: Option<String>,
    /// What it is.
    pub(super) config: DatasetConfig,
}

impl Chosen {
    /// A split: `train` and `val` are what the configuration says that they are.
    ///
    /// # Errors
    /// As [`DatasetConfig::open`].
    pub(super) fn open(&self, split: &str) -> Result<Box<dyn Dataset>> {
        match split {
            "train" => self.config.open_train(),
            "val" => self.config.open_val(),
            other => self.config.open(other),
        }
    }

    /// The name of a set that was opened, after that in the configuration.
    pub(super) fn shown(&self, set: &str) -> String {
        match &self.name {
            Some(name) => format!("{name} ({set})"),
            None => set.into(),
        }
    }
}

impl Target {
    /// What was given, for messages.
    pub(super) fn place(&self) -> String {
        self.target.display().to_string()
    }

    /// Was `--only` given?
    pub(super) fn is_part(&self) -> bool {
        !self.only.is_empty()
    }

    /// The data sets, in the order of their names; never none.
    ///
    /// # Errors
    /// `Usage` for a name that the configuration does not have, or where there is none; those of [`detect`] and [`Config::load`].
    pub(super) fn sets(&self, context: &Context) -> Result<Vec<Chosen>> {
        if is_configuration(&self.target) {
            let config = Config::load(&self.target, &context.overrides()?)?;
            return self.of(&config);
        }
        if self.is_part() {
            let text = "--only names data sets of a configuration";
            return Err(Error::new(Code::Usage, text)
                .at(self.place())
                .help("give a configuration, or the folder of the set"));
        }
        let chosen = |config| Chosen { name: None, config };
        Ok(detect(&self.target)?.into_iter().map(chosen).collect())
    }

    fn of(&self, config: &Config) -> Result<Vec<Chosen>> {
        let all = || config.data.keys().map(String::as_str);
        let mut unknown = self.only.iter().filter(|n| !config.data.contains_key(*n));
        if let Some(name) = unknown.next() {
            let text = format!("there is no data set {name:?}");
            let help = match nearest(name, all()) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("it has {}", all().collect::<Vec<_>>().join(", ")),
            };
            return Err(Error::new(Code::Usage, text).at(self.place()).help(help));
        }
        let wanted = config.data.iter();
        let wanted = wanted.filter(|(name, _)| !self.is_part() || self.only.contains(*name));
        let chosen = wanted.map(|(name, data)| Chosen {
            name: Some(name.clone()),
            config: data.dataset(),
        });
        Ok(chosen.collect())
    }
}

/// A file is one, and so is a name that ends like one: its absence is then told as that of a file.
fn is_configuration(path: &Path) -> bool {
    let named = path.extension().is_some_and(|e| e == "toml");
    !path.is_dir() && (named || path.exists())
}
