//! Genotypes that the configuration gives instead of searching them.

use std::path::Path;

use super::closing::{self, Found};
use super::config::Config;
use super::darts;
use super::networks::{Parts, genotype};
use super::session::Session;
use crate::error::{Code, Error, Result};
use crate::model::Cells;
use crate::report::records::EvalRecord;
use crate::rng::{Rng, word};
use crate::space::random::{NoneDraws, random_genotype};
use crate::space::{Genotype, NetworkGenotype};

/// Genotype files beyond this size are refused unread.
const MAX_BYTES: u64 = 1 << 20;

/// `search.genotypes.PART` (`backbone`, `det` or `seg`): a published name, genotype text, a file such as a run's
/// `final/genotype.txt`, or "random" for the seeded draw that `ablation.random_baseline` also takes. `None` when it is empty.
///
/// # Errors
/// Text or a file that does not parse, a file without this part; all name the key.
pub(super) fn given(c: &Config, part: &str) -> Result<Option<Genotype>> {
    let g = &c.search.genotypes;
    let text = match part {
        "det" => &g.det,
        "seg" => &g.seg,
        _ => &g.backbone,
    };
    let key = format!("search.genotypes.{part}");
    match text.as_str() {
        "" => Ok(None),
        "random" => Ok(Some(drawn(c, part))),
        path if Path::new(path).is_file() => from_file(Path::new(path), part)
            .map(Some)
            .map_err(|e| e.note(key)),
        text => genotype(text).map(Some).map_err(|e| e.within(key)),
    }
}

/// Trains, judges and delivers the network of `search.genotypes`: `method = "given"`.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub(super) fn run(session: &mut Session) -> Result<EvalRecord> {
    let c = session.config.clone();
    let parts = cells(&c)?;
    let benches = darts::open(&c)?;
    let found = Found {
        parts,
        start: None,
        supernet: None,
    };
    closing::close(session, &benches, found)
}

/// The cells of `search.genotypes`; a branch that is not given is made by hand, and all of a frame without cells.
///
/// # Errors
/// `ConfigValue` without a backbone; as [`given`].
pub(super) fn cells(c: &Config) -> Result<Parts> {
    if c.model.is_hand_crafted() {
        return Ok(Parts::by_hand());
    }
    let backbone = given(c, "backbone")?.ok_or_else(|| {
        Error::new(Code::ConfigValue, "no genotype is given to train")
            .at("search.genotypes.backbone")
            .help("`mtnas train CONFIG --genotype PC_DARTS_cifar`, or set the key")
    })?;
    darts::around(c, Cells::Derived(backbone))
}

/// Puts the text of every given genotype into the configuration, so that a run depends on no other file and no draw.
///
/// # Errors
/// Those of an unknown genotype.
pub fn written_out(mut c: Config) -> Result<Config> {
    let text = |part: &str| -> Result<String> {
        Ok(given(&c, part)?.map_or(String::new(), |g| g.to_string()))
    };
    let (backbone, det, seg) = (text("backbone")?, text("det")?, text("seg")?);
    let g = &mut c.search.genotypes;
    (g.backbone, g.det, g.seg) = (backbone, det, seg);
    Ok(c)
}

/// The random genotype of a part: the same for a seed wherever it is asked for.
pub(super) fn drawn(c: &Config, part: &str) -> Genotype {
    random_genotype(
        &mut Rng::new(c.run.seed, &[word("random-genotype"), word(part)]),
        c.model.nodes,
        none_draws(c),
    )
}

/// Whether random architectures may have `none`.
pub(super) fn none_draws(c: &Config) -> NoneDraws {
    if c.search.random.allow_none {
        NoneDraws::Include
    } else {
        NoneDraws::Exclude
    }
}

fn from_file(path: &Path, part: &str) -> Result<Genotype> {
    let io = |e| Error::io(path, e);
    if std::fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
        return Err(Error::new(Code::TooLarge, "too large for genotype text").at(path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    if let Ok(one) = text.parse::<Genotype>() {
        return Ok(one);
    }
    let all: NetworkGenotype = text.parse().map_err(|e: Error| e.within(path.display()))?;
    let found = match part {
        "det" => all.det,
        "seg" => all.seg,
        _ => Some(all.backbone),
    };
    found.ok_or_else(|| {
        Error::new(
            Code::BadGenotype,
            format!("the file has no genotype of `{part}`"),
        )
        .at(path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    fn with(backbone: &str) -> Config {
        let mut c = Config::default();
        c.search.genotypes.backbone = backbone.into();
        c
    }

    #[test]
    fn written_out_a_configuration_needs_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("g.json");
        let pdarts = published::by_name("PDARTS").unwrap();
        std::fs::write(&path, serde_json::to_string(&pdarts).unwrap()).unwrap();
        let mut c = with(path.to_str().unwrap());
        c.search.genotypes.seg = "random".into();
        let c = written_out(c).unwrap();
        assert_eq!(c.search.genotypes.backbone, pdarts.to_string());
        assert_eq!(c.search.genotypes.seg, drawn(&c, "seg").to_string());
        assert_eq!(c.search.genotypes.det, "");
        assert_eq!(cells(&c).unwrap().backbone, Cells::Derived(pdarts));
        let e = cells(&Config::default()).unwrap_err();
        assert!(e.render().contains("--genotype"), "{}", e.render());
    }

    #[test]
    fn names_text_files_and_draws() {
        let pdarts = published::by_name("PDARTS").unwrap();
        assert_eq!(given(&with(""), "backbone").unwrap(), None);
        assert_eq!(
            given(&with("PDARTS"), "backbone").unwrap(),
            Some(pdarts.clone())
        );
        assert_eq!(
            given(&with(&pdarts.to_string()), "backbone").unwrap(),
            Some(pdarts.clone())
        );
        let random = given(&with("random"), "backbone").unwrap().unwrap();
        assert_eq!(random, drawn(&Config::default(), "backbone"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("genotype.txt");
        let document = NetworkGenotype {
            backbone: pdarts.clone(),
            det: Some(random.clone()),
            seg: None,
        };
        std::fs::write(&path, document.to_string()).unwrap();
        let mut c = with(path.to_str().unwrap());
        assert_eq!(given(&c, "backbone").unwrap(), Some(pdarts.clone()));
        (c.search.genotypes.det, c.search.genotypes.seg) = (
            c.search.genotypes.backbone.clone(),
            c.search.genotypes.backbone.clone(),
        );
        assert_eq!(given(&c, "det").unwrap(), Some(random));
        let e = given(&c, "seg").unwrap_err().render();
        assert!(e.contains("genotype.txt") && e.contains("`seg`"), "{e}");
        std::fs::write(&path, pdarts.to_string()).unwrap();
        assert_eq!(given(&c, "seg").unwrap(), Some(pdarts));
        std::fs::write(&path, "Genotype(normal=[(").unwrap();
        assert!(
            given(&c, "seg")
                .unwrap_err()
                .render()
                .contains("genotype.txt")
        );
        assert!(
            given(&with("PDART"), "backbone")
                .unwrap_err()
                .render()
                .contains("search.genotypes.backbone")
        );
    }
}
