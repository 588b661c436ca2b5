//! Damaged genotype files.

use std::path::Path;

use super::{Genotype, NetworkGenotype, published};
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, run_all};

fn one(root: &Path) -> Result<()> {
    let read = Genotype::resolve(&root.join("one.txt").to_string_lossy())?;
    prints_to_itself(&read)
}

fn named(root: &Path) -> Result<()> {
    let path = root.join("genotypes.py");
    let read = Genotype::resolve(&format!("{}:DARTS_V2", path.display()))?;
    prints_to_itself(&read)
}

fn network(root: &Path) -> Result<()> {
    let read = NetworkGenotype::from_file(&root.join("genotype.txt"))?;
    assert_eq!(read.to_string().parse::<NetworkGenotype>()?, read);
    Ok(())
}

fn prints_to_itself(g: &Genotype) -> Result<()> {
    assert_eq!(g.to_string().parse::<Genotype>()?, *g);
    Ok(())
}

const TARGETS: [Target; 3] = [
    Target {
        name: "genotype",
        file: "one.txt",
        mend: None,
        read: one,
    },
    Target {
        name: "module of genotypes",
        file: "genotypes.py",
        mend: None,
        read: named,
    },
    Target {
        name: "genotype of a network",
        file: "genotype.txt",
        mend: None,
        read: network,
    },
];

fn valid(root: &Path) {
    let write = |name: &str, text: String| std::fs::write(root.join(name), text).unwrap();
    let text = |name: &str| published::by_name(name).unwrap().to_string();
    write("one.txt", text("PDARTS"));
    let module = "from collections import namedtuple\n\nGenotype = namedtuple('Genotype', 'normal normal_concat')\n";
    write(
        "genotypes.py",
        format!(
            "{module}\nDARTS_V2 = {}\nPC = {}\nDARTS = DARTS_V2  # the same\n",
            text("DARTS_V2"),
            text("PC_DARTS_cifar")
        ),
    );
    write("genotype.txt", published::mtnas().to_string());
}

#[test]
fn damaged_genotypes_are_refused_by_name() {
    run_all(&TARGETS, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_genotypes() {
    run_all(&TARGETS, MANY, valid);
}
