use std::collections::BTreeSet;

use super::*;
use crate::export::{fold_norms, trace};
use crate::model::preset::Preset;
use crate::model::{Cells, Network};
use crate::rng::Rng;
use crate::space::random::{NoneDraws, random_genotype};
use crate::tensor::DType;

fn graph(seed: u64, preset: Preset) -> Graph {
    let cells = |part| {
        let rng = &mut Rng::new(seed, &[part]);
        Cells::Derived(random_genotype(rng, 4, NoneDraws::Include))
    };
    let (det, seg) = match preset.frame.searched_branches() {
        true => (cells(2), cells(3)),
        false => (Cells::HandCrafted, Cells::HandCrafted),
    };
    let mut preset = preset;
    preset.frame.channels = 8;
    preset.frame.cells = 5;
    let (net, store) = Network::build(&preset.spec(cells(1), det, seg), 0, DType::F32).unwrap();
    trace(&net, &store).unwrap()
}

/// The forward of a file, and what its `__init__` puts.
fn parts(text: &str) -> (Vec<&str>, String) {
    let (init, rest) = text.split_once("    def forward(self, image):\n").unwrap();
    let (forward, _) = rest.split_once("\n\ndef read").unwrap();
    (
        forward.trim_end().lines().map(str::trim).collect(),
        init.into(),
    )
}

/// Words of an expression that are variables: not after a dot, not keywords of a call.
fn variables(code: &str) -> Vec<String> {
    let mut found = vec![];
    let bytes: Vec<char> = code.chars().collect();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] == '"' {
            i += 1 + bytes[i + 1..].iter().position(|&c| c == '"').unwrap() + 1;
        } else if word(bytes[i]) {
            let end = (i..bytes.len())
                .find(|&j| !word(bytes[j]))
                .unwrap_or(bytes.len());
            let keyword = bytes.get(end) == Some(&'=');
            let member = i > 0 && bytes[i - 1] == '.';
            if !keyword && !member && !bytes[i].is_ascii_digit() {
                found.push(bytes[i..end].iter().collect());
            }
            i = end;
        } else {
            i += 1;
        }
    }
    found
}

#[test]
fn every_name_is_known_before_it_is_read() {
    let known = ["self", "F", "torch", "rows", "image", "True", "False"];
    for seed in 0..6 {
        let preset = [Preset::release(), Preset::peer(), Preset::cifar(false)];
        let graph = graph(seed, preset[seed as usize % 3].clone());
        let text = model_py(&graph, "A test.");
        let (forward, _) = parts(&text);
        let mut defined: BTreeSet<String> = known.map(String::from).into();
        for line in &forward {
            let (name, code) = match line.split_once(" = ") {
                _ if line.starts_with('#') => continue,
                Some((name, code)) => (Some(name), code),
                None => (None, line.strip_prefix("return ").unwrap()),
            };
            for v in variables(code) {
                assert!(defined.contains(&v), "{v} in `{line}`\n{text}");
            }
            defined.extend(name.map(String::from));
        }
        assert!(forward.last().unwrap().starts_with("return {"));
    }
}

#[test]
fn every_parameter_has_its_module() {
    for (seed, preset) in [Preset::release(), Preset::peer(), Preset::cifar(false)]
        .into_iter()
        .enumerate()
    {
        let plain = graph(seed as u64, preset);
        let folded = fold_norms(&plain).unwrap();
        for g in [&plain, &folded] {
            let text = model_py(g, "A test.");
            let (forward, init) = parts(&text);
            // A module that is put is called, and the other way about.
            let put = init.matches("self.put(\"").count();
            let calls = forward.join("\n").matches("self.").count();
            assert!(put > 10 && put == calls, "{put} {calls}\n{text}");
            // No module is put into another one that is no group.
            let paths = init.split("self.put(\"").skip(1);
            let paths: Vec<&str> = paths.map(|p| p.split('"').next().unwrap()).collect();
            for p in &paths {
                let inside = paths.iter().find(|q| q.starts_with(&format!("{p}.")));
                assert!(inside.is_none(), "{p} and {inside:?}");
            }
            let layers: BTreeSet<String> = weights(g, BTreeMap::new())
                .tensors
                .keys()
                .map(|n| n.rsplit_once('.').unwrap().0.to_string())
                .collect();
            let built = [
                "nn.Conv2d(",
                "nn.ConvTranspose2d(",
                "nn.BatchNorm2d(",
                "nn.Linear(",
            ];
            let built: usize = built.iter().map(|b| init.matches(b).count()).sum();
            assert_eq!(built, layers.len());
        }
    }
}

#[test]
fn a_separable_convolution_is_one_sequential_as_in_darts() {
    let backbone = Cells::Derived(crate::space::published::by_name("PC_DARTS_cifar").unwrap());
    let mut preset = Preset::cifar(false);
    preset.auxiliary = false;
    let spec = preset.spec(backbone, Cells::HandCrafted, Cells::HandCrafted);
    let (net, store) = Network::build(&spec, 0, DType::F32).unwrap();
    let text = model_py(&trace(&net, &store).unwrap(), "A test.");
    let wanted = "        self.put(\"cells.0.ops.0.op\", nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(36, 36, 3, padding=1, groups=36, bias=False),
            nn.Conv2d(36, 36, 1, bias=False),
            nn.BatchNorm2d(36),
            nn.ReLU(),
            nn.Conv2d(36, 36, 3, padding=1, groups=36, bias=False),
            nn.Conv2d(36, 36, 1, bias=False),
            nn.BatchNorm2d(36),
        ))
";
    assert!(text.contains(wanted), "{text}");
}
