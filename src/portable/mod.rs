//! A network as other programs know it: values, and nodes of two dozen kinds between them, in the order they are computed. Plain data.
//!
//! An operation says in its own file what it is here ([`crate::tape::Op::portable`]), in one node or several; whoever writes a file for
//! another program (`export`) looks at this graph alone. Every value that a node yields has the batch in front, so that a writer may
//! leave its size open.

mod kind;

pub use kind::{Kind, Window};

use crate::tensor::{Shape, Tensor};

/// A value of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(usize);

impl Id {
    /// Its place among [`Graph::values`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// It is given; under this name.
    Input(String),
    /// It is stored; parameters of a network have their name.
    Constant(Option<String>, Tensor),
    /// A node yields it.
    Node(usize),
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it computes.
    pub kind: Kind,
    /// Operands, in the order that the kind says.
    pub x: Vec<Id>,
    /// The result.
    pub y: Id,
}

#[derive(Debug, Clone)]
struct Value {
    source: Source,
    shape: Shape,
}

/// Values and nodes; every node stands behind those that it reads.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    values: Vec<Value>,
    nodes: Vec<Node>,
    outputs: Vec<(String, Id)>,
}

impl Graph {
    fn push(&mut self, source: Source, shape: Shape) -> Id {
        self.values.push(Value { source, shape });
        Id(self.values.len() - 1)
    }

    /// A value that is given.
    pub fn input(&mut self, name: &str, shape: Shape) -> Id {
        self.push(Source::Input(name.into()), shape)
    }

    /// A parameter under its name.
    pub fn parameter(&mut self, name: &str, value: &Tensor) -> Id {
        let source = Source::Constant(Some(name.into()), value.clone());
        self.push(source, *value.shape())
    }

    /// A stored value; the one that is there already, if it is the same storage.
    pub fn constant(&mut self, value: &Tensor) -> Id {
        let same = |v: &Value| matches!(&v.source, Source::Constant(_, t) if t.shares(value) && t.shape() == value.shape());
        match self.values.iter().position(same) {
            Some(at) => Id(at),
            None => self.push(Source::Constant(None, value.clone()), *value.shape()),
        }
    }

    /// The result, of `shape`, of an operation on `x`; of an equal one that is there already, that one's.
    pub fn node(&mut self, kind: Kind, x: &[Id], shape: Shape) -> Id {
        let like = |n: &&Node| n.x == x && n.kind == kind && *self.shape(n.y) == shape;
        if let Some(same) = self.nodes.iter().find(like) {
            return same.y;
        }
        let y = self.push(Source::Node(self.nodes.len()), shape);
        let x = x.to_vec();
        self.nodes.push(Node { kind, x, y });
        y
    }

    /// Names a value as a result of the whole.
    pub fn output(&mut self, name: &str, value: Id) {
        self.outputs.push((name.into(), value));
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The results of the whole by name.
    pub fn outputs(&self) -> &[(String, Id)] {
        &self.outputs
    }

    /// The values that are given: name and value.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Id)> {
        let all = self.values.iter().enumerate();
        all.filter_map(|(i, v)| match &v.source {
            Source::Input(name) => Some((name.as_str(), Id(i))),
            _ => None,
        })
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = Id> + use<> {
        (0..self.values.len()).map(Id)
    }

    /// The shape of a value, the batch in front as it was traced.
    pub fn shape(&self, value: Id) -> &Shape {
        &self.values[value.0].shape
    }

    /// Where a value comes from.
    pub fn source(&self, value: Id) -> &Source {
        &self.values[value.0].source
    }

    /// The node that yields a value.
    pub fn maker(&self, value: Id) -> Option<&Node> {
        match self.source(value) {
            Source::Node(i) => Some(&self.nodes[*i]),
            _ => None,
        }
    }

    /// The stored value with its name, of a value that is one.
    pub fn stored(&self, value: Id) -> Option<(Option<&str>, &Tensor)> {
        match self.source(value) {
            Source::Constant(name, t) => Some((name.as_deref(), t)),
            _ => None,
        }
    }

    /// How often a value is read; a result of the whole counts as read.
    pub fn readers(&self, value: Id) -> usize {
        let by_nodes = self.nodes.iter().flat_map(|n| &n.x);
        let as_output = self.outputs.iter().map(|o| &o.1);
        by_nodes.chain(as_output).filter(|&&x| x == value).count()
    }

    /// Without what no output asks for; constants stand in the order in which they are first read.
    pub fn pruned(&self) -> Graph {
        let mut wanted = vec![false; self.values.len()];
        self.outputs.iter().for_each(|o| wanted[o.1.0] = true);
        for n in self.nodes.iter().rev() {
            if wanted[n.y.0] {
                n.x.iter().for_each(|x| wanted[x.0] = true);
            }
        }
        let mut rebuilt = Rebuilt::new(self);
        for n in self.nodes.iter().filter(|n| wanted[n.y.0]) {
            rebuilt.copy(n);
        }
        rebuilt.done()
    }
}

/// A graph made of another one, node by node.
pub struct Rebuilt<'a> {
    old: &'a Graph,
    new: Graph,
    moved: Vec<Option<Id>>,
}

impl<'a> Rebuilt<'a> {
    /// The inputs of `old` and nothing else.
    pub fn new(old: &'a Graph) -> Rebuilt<'a> {
        let (mut new, mut moved) = (Graph::default(), vec![None; old.values.len()]);
        for (name, id) in old.inputs() {
            moved[id.0] = Some(new.input(name, *old.shape(id)));
        }
        Rebuilt { old, new, moved }
    }

    /// The graph so far, to add to.
    pub fn graph(&mut self) -> &mut Graph {
        &mut self.new
    }

    /// What stands for a value of the old graph; a constant is taken over when it is first asked for.
    pub fn of(&mut self, old: Id) -> Id {
        if let Some(new) = self.moved[old.0] {
            return new;
        }
        let v = &self.old.values[old.0];
        let new = self.new.push(v.source.clone(), v.shape);
        self.moved[old.0] = Some(new);
        new
    }

    /// Lets `new` stand for `old`.
    pub fn stand_in(&mut self, old: Id, new: Id) {
        self.moved[old.0] = Some(new);
    }

    /// Takes a node over as it is.
    pub fn copy(&mut self, n: &Node) {
        let x: Vec<Id> = n.x.iter().map(|&x| self.of(x)).collect();
        let y = self.new.node(n.kind.clone(), &x, *self.old.shape(n.y));
        self.stand_in(n.y, y);
    }

    /// The new graph with the outputs of the old.
    pub fn done(mut self) -> Graph {
        for (name, id) in &self.old.outputs {
            let id = self.of(*id);
            self.new.output(name, id);
        }
        self.new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_nodes_are_one_and_unread_ones_go() {
        let mut g = Graph::default();
        let s = Shape::from([1, 2, 3, 3]);
        let x = g.input("image", s);
        let (a, b) = (g.node(Kind::Relu, &[x], s), g.node(Kind::Relu, &[x], s));
        assert_eq!(a, b);
        // Zeros of several sizes read the same image.
        let zeros = |g: &mut Graph, c| g.node(Kind::Zeros, &[x], Shape::from([1, c, 3, 3]));
        assert_ne!(zeros(&mut g, 2), zeros(&mut g, 4));
        let w = Tensor::from_f32([2], vec![1.0, 2.0]).unwrap();
        let p = g.parameter("w", &w);
        assert_eq!(g.constant(&w.clone()), p);
        let other = g.constant(&w.detached());
        assert_ne!(other, p);
        let lost = g.node(Kind::Mul, &[a, other], s);
        let y = g.node(Kind::Add, &[a, a], s);
        g.output("y", y);
        assert_eq!((g.readers(a), g.readers(lost), g.readers(y)), (3, 0, 1));
        let g = g.pruned();
        assert_eq!((g.nodes().len(), g.values().count()), (2, 3));
        assert_eq!(g.outputs()[0].0, "y");
        assert!(
            g.maker(g.outputs()[0].1)
                .is_some_and(|n| n.kind == Kind::Add)
        );
    }
}
