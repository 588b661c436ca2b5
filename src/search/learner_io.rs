//! A learner as named tensors: `w.NAME`, `buffer.NAME`, `alpha.NAME`, `momentum.NAME`, `adam_m.NAME`, `adam_v.NAME`. State that
//! an optimiser does not have yet is absent.

use std::collections::BTreeMap;

use super::bilevel::Learner;
use crate::error::{Code, Error, Result};
use crate::nn::ParamSet;
use crate::optim::adam::Moments;
use crate::tensor::Tensor;

/// Every tensor of the learner.
pub fn tensors(l: &Learner) -> BTreeMap<String, Tensor> {
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, set: &ParamSet| {
        for (_, name, t) in set.iter() {
            all.insert(format!("{prefix}.{name}"), t.clone());
        }
    };
    put("w", &l.store.weights);
    put("buffer", &l.store.buffers);
    put("alpha", &l.store.arch);
    for (id, name, _) in l.store.weights.iter() {
        if let Some(m) = &l.sgd.momentum[id.0] {
            all.insert(format!("momentum.{name}"), m.clone());
        }
    }
    for (id, name, _) in l.store.arch.iter() {
        if let Some(m) = &l.adam.moments[id.0] {
            all.insert(format!("adam_m.{name}"), m.m.clone());
            all.insert(format!("adam_v.{name}"), m.v.clone());
        }
    }
    all
}

/// Steps taken by Adam, by parameter.
pub fn adam_steps(l: &Learner) -> BTreeMap<String, u64> {
    let steps = l
        .store
        .arch
        .iter()
        .filter_map(|(id, name, _)| Some((name.to_string(), l.adam.moments[id.0].as_ref()?.t)));
    steps.collect()
}

/// Takes the values of a checkpoint over.
///
/// # Errors
/// [`Code::BadCheckpoint`], naming the tensor that is missing or does not fit.
pub fn load(
    l: &mut Learner,
    tensors: &BTreeMap<String, Tensor>,
    steps: &BTreeMap<String, u64>,
) -> Result<()> {
    let group = |prefix: &str| -> BTreeMap<String, Tensor> {
        let named = tensors
            .iter()
            .filter_map(|(n, t)| Some((n.strip_prefix(prefix)?.to_string(), t.clone())));
        named.collect()
    };
    l.store.weights.load(&group("w."))?;
    l.store.buffers.load(&group("buffer."))?;
    l.store.arch.load(&group("alpha."))?;
    let fits = |name: &str, t: &Tensor, like: &Tensor| {
        let ok = t.shape() == like.shape() && t.dtype() == like.dtype();
        ok.then_some(()).ok_or_else(|| {
            Error::new(
                Code::BadCheckpoint,
                format!("optimiser state of `{name}` has another shape"),
            )
        })
    };
    let momentum = group("momentum.");
    for (id, name, w) in l.store.weights.iter() {
        let m = momentum.get(name);
        if let Some(m) = m {
            fits(name, m, w)?;
        }
        l.sgd.momentum[id.0] = m.cloned();
    }
    let (ms, vs) = (group("adam_m."), group("adam_v."));
    for (id, name, a) in l.store.arch.iter() {
        l.adam.moments[id.0] = match (ms.get(name), vs.get(name), steps.get(name)) {
            (Some(m), Some(v), Some(&t)) => {
                fits(name, m, a)?;
                fits(name, v, a)?;
                Some(Moments {
                    m: m.clone(),
                    v: v.clone(),
                    t,
                })
            }
            (None, None, None) => None,
            _ => {
                return Err(Error::new(
                    Code::BadCheckpoint,
                    format!("optimiser state of `{name}` is incomplete"),
                ));
            }
        };
    }
    Ok(())
}
