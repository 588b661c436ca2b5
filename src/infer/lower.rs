//! From a graph to steps. What a step can do on the way is no step of its own: a rectifier before or behind a convolution, the sum with
//! another map, a pointwise convolution behind a depthwise one, the concatenation of values that lie side by side from the start.

use std::collections::HashMap;

use super::step::{Act, Body, Conv, Depthwise, Operand, Step, V, Value, Weight};
use crate::backend::host::conv::ConvSizes;
use crate::backend::host::pool::Kind as PoolKind;
use crate::error::{Code, Error, Result};
use crate::portable::{Graph, Id, Kind, Node};

/// A program before its memory is laid out.
#[derive(Debug, Default)]
pub struct Lowered {
    /// All values; the first is the image.
    pub values: Vec<Value>,
    /// The steps in order.
    pub steps: Vec<Step>,
    /// Results by name.
    pub outputs: Vec<(String, V)>,
}

/// Who reads a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reader {
    /// The operand of a node.
    Node(usize),
    /// Whoever asked for it.
    Caller,
}

struct Lowering<'a> {
    g: &'a Graph,
    readers: Vec<Vec<Reader>>,
    /// Of a value of the graph that of the program, and whether it is that one's rectified values.
    known: HashMap<Id, (V, bool)>,
    values: Vec<Value>,
    /// Steps; one that went into another is gone.
    steps: Vec<Option<Step>>,
    /// Which step made a value.
    made: HashMap<V, usize>,
}

/// The steps of `g`, whose normalisations are folded as far as that goes.
///
/// # Errors
/// `Argument` for a graph without exactly one input.
pub fn lower(g: &Graph) -> Result<Lowered> {
    let inputs: Vec<Id> = g.inputs().map(|i| i.1).collect();
    let [image] = inputs[..] else {
        let what = format!("a graph of {} inputs", inputs.len());
        return Err(Error::new(Code::Argument, what));
    };
    let mut readers = vec![vec![]; g.values().count()];
    for (i, n) in g.nodes().iter().enumerate() {
        n.x.iter()
            .for_each(|x| readers[x.index()].push(Reader::Node(i)));
    }
    for (_, id) in g.outputs() {
        readers[id.index()].push(Reader::Caller);
    }
    let mut l = Lowering {
        g,
        readers,
        known: HashMap::new(),
        values: vec![],
        steps: vec![],
        made: HashMap::new(),
    };
    l.value(image);
    for (i, n) in g.nodes().iter().enumerate() {
        l.node(i, n)?;
    }
    let outputs = g.outputs().iter().map(|(name, id)| {
        let found = l.known.get(id).map(|k| k.0);
        let what = || Error::new(Code::Internal, format!("`{name}` is not computed"));
        Ok((name.clone(), found.ok_or_else(what)?))
    });
    Ok(Lowered {
        outputs: outputs.collect::<Result<_>>()?,
        values: l.values,
        steps: l.steps.into_iter().flatten().collect(),
    })
}

impl Lowering<'_> {
    /// A new value of the size of one of the graph, which it is.
    fn value(&mut self, id: Id) -> V {
        let v = self.fresh(self.g.shape(id).dims()[1..].to_vec());
        self.known.insert(id, (v, false));
        v
    }

    fn fresh(&mut self, dims: Vec<usize>) -> V {
        let part_of = None;
        self.values.push(Value { dims, part_of });
        self.values.len() - 1
    }

    fn push(&mut self, step: Step) {
        self.made.insert(step.makes(), self.steps.len());
        self.steps.push(Some(step));
    }

    /// The step that made a value of the graph that only node `by` reads.
    fn own(&self, id: Id, by: usize) -> Option<usize> {
        let alone = self.readers[id.index()] == [Reader::Node(by)];
        let (v, rectified) = *self.known.get(&id)?;
        let of = self.made.get(&v).copied();
        of.filter(|&s| alone && !rectified && self.steps[s].is_some())
    }

    /// Whether all that read the rectifier `n` can rectify by themselves.
    fn absorbed(&self, n: &Node) -> bool {
        let takes = |r: &Reader| match r {
            Reader::Caller => false,
            Reader::Node(i) => {
                let n = &self.g.nodes()[*i];
                matches!(n.kind, Kind::Conv { .. } | Kind::Subsample { .. })
            }
        };
        self.readers[n.y.index()].iter().all(takes)
    }

    /// An operand that is computed.
    fn operand(&self, id: Id) -> Result<(V, bool)> {
        let what = || Error::new(Code::Internal, "an operand is stored where none can be");
        self.known.get(&id).copied().ok_or_else(what)
    }

    fn plain(&self, id: Id) -> Result<V> {
        Ok(self.operand(id)?.0)
    }

    fn stored(&self, id: Id) -> Option<Vec<f32>> {
        self.g.stored(id).map(|s| s.1.to_f32())
    }

    fn node(&mut self, i: usize, n: &Node) -> Result<()> {
        match &n.kind {
            Kind::Relu if self.follows(i, n, Act::Relu) => {}
            Kind::Relu6 if self.follows(i, n, Act::Relu6) => {}
            Kind::Relu if self.absorbed(n) => {
                let (x, _) = self.operand(n.x[0])?;
                self.known.insert(n.y, (x, true));
            }
            Kind::Relu => {
                let x = self.plain(n.x[0])?;
                let y = self.value(n.y);
                let rectify = true;
                self.push(Step::Copy { x, rectify, y });
            }
            Kind::Conv { .. } => self.convolution(i, n)?,
            Kind::Add => self.sum(i, n)?,
            Kind::Concat => self.concat(n)?,
            Kind::Reshape => self.part(n, 0)?,
            Kind::Slice { start, .. } => {
                let plane: usize = self.g.shape(n.y).dims()[2..].iter().product();
                self.part(n, start * plane)?;
            }
            Kind::MaxPool(window) | Kind::AvgPool(window) => {
                let x = self.plain(n.x[0])?;
                let (window, y) = (*window, self.value(n.y));
                let kind = match n.kind {
                    Kind::MaxPool(_) => PoolKind::Max,
                    _ => PoolKind::Average,
                };
                self.push(Step::Pool { x, kind, window, y });
            }
            &Kind::Subsample { stride, offset } => {
                let (x, rectify) = self.operand(n.x[0])?;
                let y = self.value(n.y);
                self.push(Step::Subsample {
                    x,
                    rectify,
                    stride,
                    offset,
                    y,
                });
            }
            &Kind::Nearest { factor } => {
                let x = self.plain(n.x[0])?;
                let (plus, y) = (None, self.value(n.y));
                self.push(Step::Nearest { x, factor, plus, y });
            }
            Kind::ToRows { .. } => {
                let x = self.plain(n.x[0])?;
                let y = self.value(n.y);
                self.push(Step::Rows { x, y });
            }
            kind => {
                let of = |&id: &Id| match self.g.stored(id) {
                    Some((_, t)) => Ok(Operand::Stored(t.clone())),
                    None => Ok(Operand::Value(self.plain(id)?)),
                };
                let x = n.x.iter().map(of).collect::<Result<Vec<_>>>()?;
                let (kind, y) = (kind.clone(), self.value(n.y));
                self.push(Step::Other { kind, x, y });
            }
        }
        Ok(())
    }

    /// Lets the rectifier `n` go into the step before it, if nothing else reads that one's result.
    fn follows(&mut self, i: usize, n: &Node, act: Act) -> bool {
        let step = self.own(n.x[0], i);
        let found = step.and_then(|s| self.steps[s].as_mut());
        let (of, y) = match found {
            Some(Step::Conv(c)) => (&mut c.act, c.y),
            Some(Step::Add { act: of, y, .. }) if act == Act::Relu => (of, *y),
            _ => return false,
        };
        if *of != Act::None {
            return false;
        }
        *of = act;
        self.known.insert(n.y, (y, false));
        true
    }

    fn convolution(&mut self, i: usize, n: &Node) -> Result<()> {
        let &Kind::Conv {
            stride,
            padding,
            dilation,
            groups,
        } = &n.kind
        else {
            return Ok(());
        };
        let (x, rectify) = self.operand(n.x[0])?;
        let (dx, dw, dy) = (
            self.g.shape(n.x[0]).dims(),
            self.g.shape(n.x[1]).dims(),
            self.g.shape(n.y).dims(),
        );
        let sizes = ConvSizes {
            n: 1,
            c_in: dx[1],
            h: dx[2],
            w: dx[3],
            c_out: dy[1],
            ho: dy[2],
            wo: dy[3],
            k: dw[2],
            stride,
            padding,
            dilation,
            groups,
        };
        let what = || Error::new(Code::Argument, "a convolution whose weight is computed");
        let w = self.stored(n.x[1]).ok_or_else(what)?;
        let bias = n.x.get(2).and_then(|&b| self.stored(b));
        let bias = bias.unwrap_or_else(|| vec![0.0; sizes.c_out]);
        let pointwise = (sizes.k, stride, padding, groups) == (1, 1, 0, 1);
        let before = self.own(n.x[0], i).filter(|_| pointwise);
        let first = before.and_then(|s| match &self.steps[s] {
            Some(Step::Conv(c)) if c.plus.is_none() => match &c.body {
                Body::Depthwise(d) => {
                    let (bias, act) = (c.bias.clone(), c.act);
                    let first = Depthwise {
                        bias,
                        act,
                        ..d.clone()
                    };
                    Some((s, c.x, c.rectify, first))
                }
                _ => None,
            },
            _ => None,
        });
        let c_out = sizes.c_out;
        let (x, rectify, body) = if let Some((s, x, rectify, first)) = first {
            self.steps[s] = None;
            let w = Weight::new(w, c_out, 1);
            (x, rectify, Body::Separable { first, c_out, w })
        } else if pointwise {
            let sizes = [sizes.c_in, c_out, sizes.h * sizes.w];
            let w = Weight::new(w, c_out, 1);
            (x, rectify, Body::Pointwise { sizes, w })
        } else if groups > 1 && groups == sizes.c_in && c_out == groups {
            let own = Depthwise {
                sizes,
                taps: w,
                bias: vec![],
                act: Act::None,
            };
            (x, rectify, Body::Depthwise(own))
        } else {
            let w = Weight::new(w, c_out, groups);
            (x, rectify, Body::Dense { sizes, w })
        };
        let y = self.value(n.y);
        self.push(Step::Conv(Box::new(Conv {
            x,
            rectify,
            body,
            bias,
            plus: None,
            act: Act::None,
            y,
        })));
        Ok(())
    }

    /// A sum goes into the step that makes one of its operands, where that can add; the other operand, if nothing else reads it, lies where
    /// the sum will.
    fn sum(&mut self, i: usize, n: &Node) -> Result<()> {
        let [a, b] = [self.plain(n.x[0])?, self.plain(n.x[1])?];
        let y = self.value(n.y);
        let adds = |s: &usize| match &self.steps[*s] {
            Some(Step::Conv(c)) => {
                let depthwise = matches!(c.body, Body::Depthwise(_));
                c.plus.is_none() && c.act == Act::None && !depthwise
            }
            Some(Step::Nearest { factor, plus, .. }) => *factor == 2 && plus.is_none(),
            _ => false,
        };
        let step = |id: Id| self.own(id, i).filter(|_| a != b).filter(adds);
        // The later of two, so that the order stays as it is.
        let found = [(step(n.x[0]), b, n.x[1]), (step(n.x[1]), a, n.x[0])];
        let best = found.into_iter().max_by_key(|f| f.0.map_or(0, |s| s + 1));
        let Some((Some(s), other, id)) = best else {
            let act = Act::None;
            self.push(Step::Add { x: [a, b], act, y });
            return Ok(());
        };
        let alone = self.own(id, i).is_some() && self.values[other].part_of.is_none();
        let mut step = self.steps[s].take().expect("just found");
        match &mut step {
            Step::Conv(c) => {
                (c.plus, c.y) = (Some(other), y);
                if alone {
                    self.values[other].part_of = Some((y, 0));
                }
            }
            Step::Nearest { plus, y: of, .. } => (*plus, *of) = (Some(other), y),
            _ => {}
        }
        self.push(step);
        Ok(())
    }

    fn concat(&mut self, n: &Node) -> Result<()> {
        let y = self.value(n.y);
        let mut at = 0;
        for &id in &n.x {
            let x = self.plain(id)?;
            let free = self.values[x].part_of.is_none() && self.made.contains_key(&x);
            let len = self.values[x].len();
            if free {
                self.values[x].part_of = Some((y, at));
            } else {
                let copy = self.fresh(self.values[x].dims.clone());
                self.values[copy].part_of = Some((y, at));
                let rectify = false;
                self.push(Step::Copy {
                    x,
                    rectify,
                    y: copy,
                });
            }
            at += len;
        }
        Ok(())
    }

    /// A part of the operand, or all of it in another shape.
    fn part(&mut self, n: &Node, at: usize) -> Result<()> {
        let x = self.plain(n.x[0])?;
        let y = self.value(n.y);
        self.values[y].part_of = Some((x, at));
        Ok(())
    }
}
