//! Class names of the tasks, as far as they can be known without opening the data.

use super::config::Config;
use super::networks::Heads;
use crate::data::cifar;
use crate::data::class_map::ClassMap;
use crate::data::config::DataSetConfig;
use crate::data::dataset::{Format, Kind};
use crate::data::image_folder;
use crate::data::mixed;
use crate::error::{Code, Error, Result};
use crate::task::config::{TaskConfig, TaskKind};

/// The class names of a data set. Those of an image folder are its folders: `None` where it is not there.
///
/// # Errors
/// `ConfigValue` for classes that the format does not have; an image folder that cannot be read.
pub fn known(data: &DataSetConfig) -> Result<Option<Vec<String>>> {
    let set = data.dataset();
    Ok(match data.format {
        Format::Kitti => Some(set.kitti.classes),
        Format::Cityscapes => Some(
            ClassMap::new(&set.cityscapes.classes, data.labels)?
                .names()
                .to_vec(),
        ),
        Format::Cifar10 => Some(cifar::CLASSES.map(String::from).to_vec()),
        Format::ImageFolder => {
            let train = data.root.join("train");
            match train.is_dir() {
                true => Some(image_folder::class_folders(&train)?),
                false => None,
            }
        }
        Format::Mixed => mixed_classes(data)?,
        _ => set.class_names()?,
    })
}

/// The class names of a data set that is made of others.
///
/// # Errors
/// As [`known`].
pub fn mixed_classes(data: &DataSetConfig) -> Result<Option<Vec<String>>> {
    let first = data.mixed.sources.tables.first();
    match first.filter(|(_, t)| t.kind() != Kind::Detection) {
        None => Ok(Some(mixed::detection_classes(&data.classes))),
        Some((_, source)) => {
            let mut source = source.clone();
            if source.classes.is_empty() {
                source.classes = data.classes.clone();
            }
            known(&source)
        }
    }
}

/// The class names of a task, as [`known`]; a task of values has none.
///
/// # Errors
/// `ConfigValue` if its data set is not configured; those of [`known`].
pub fn of_task(config: &Config, task: &TaskConfig) -> Result<Option<Vec<String>>> {
    let data = config.data.get(&task.data).ok_or_else(|| {
        Error::new(
            Code::ConfigValue,
            format!("there is no data set `{}`", task.data),
        )
        .help(format!("add a table [data.{}]", task.data))
    })?;
    match task.kind.planes() {
        Some(_) => Ok(Some(vec![])),
        None => known(data),
    }
}

/// The class names of a task, as [`known`], or `NotFound`.
///
/// # Errors
/// As [`of_task`]; `NotFound` for an image folder that is not there.
pub fn of_data(config: &Config, task: &TaskConfig) -> Result<Vec<String>> {
    of_task(config, task)?.ok_or_else(|| folder_missing(config, &task.data))
}

/// The heads of a configuration; `given` counts the classes of an image folder that is not there.
///
/// # Errors
/// Those of [`of_task`]; `NotFound` for an image folder that is not there when nothing is given.
pub fn heads(config: &Config, given: Option<usize>) -> Result<Heads> {
    let count = |kind: TaskKind| -> Result<Option<usize>> {
        let Some((_, task)) = config.task(kind) else {
            return Ok(None);
        };
        match (of_task(config, task)?, given) {
            (Some(names), _) => Ok(Some(names.len())),
            (None, Some(n)) => Ok(Some(n)),
            (None, None) => Err(folder_missing(config, &task.data)),
        }
    };
    Heads::of(count)
}

/// Why the classes of an image folder are not known.
fn folder_missing(config: &Config, data: &str) -> Error {
    let root = config
        .data
        .get(data)
        .map(|d| d.root.join("train").display().to_string())
        .unwrap_or_default();
    Error::new(
        Code::NotFound,
        format!("the classes of `data.{data}` are its folders, and it is not there"),
    )
    .at(root)
    .help("bring the folder back; `mtnas arch cost` also takes --classes N")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Config {
        Config::from_toml(include_str!("../../configs/demo.toml"), "demo.toml").unwrap()
    }

    #[test]
    fn formats_with_fixed_classes_need_no_data() {
        let h = heads(&demo(), None).unwrap();
        assert_eq!(h.det, Some(3));
        assert!(h.seg.is_some_and(|n| n >= 16) && h.cls.is_none());
    }

    #[test]
    fn an_image_folder_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataSetConfig {
            format: Format::ImageFolder,
            root: dir.path().to_path_buf(),
            ..Default::default()
        };
        assert_eq!(known(&data).unwrap(), None);
        for name in ["bee", "ant"] {
            std::fs::create_dir_all(dir.path().join("train").join(name)).unwrap();
        }
        assert_eq!(known(&data).unwrap().unwrap(), ["ant", "bee"]);
        data.format = Format::Cifar10;
        assert_eq!(known(&data).unwrap().unwrap().len(), 10);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let mut c = Config::default();
        c.data.insert(
            "pictures".into(),
            DataSetConfig {
                format: Format::ImageFolder,
                root: "no/such".into(),
                ..Default::default()
            },
        );
        c.tasks.insert(
            "cls".into(),
            TaskConfig {
                kind: TaskKind::Classification,
                data: "pictures".into(),
                ..Default::default()
            },
        );
        let e = heads(&c, None).unwrap_err();
        assert!(e.code() == Code::NotFound && e.message().contains("data.pictures"));
        assert_eq!(heads(&c, Some(7)).unwrap().cls, Some(7));
    }
}
