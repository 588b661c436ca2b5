//! Operators of ONNX over values of a file.

use super::array::Array;
use super::evaluate::Value;
use super::proto::NodeProto;
use super::read::bad;
use super::suppress;
use crate::error::Result;
use crate::ops::{self, BatchNormParams, Conv2dParams, UpsampleBilinear};
use crate::tape::{Cx, Tape, Var};
use crate::tensor::Tensor;

/// One node with its operands.
pub(super) struct Call<'a> {
    pub node: &'a NodeProto,
    pub x: Vec<Option<&'a Value>>,
    pub cx: Cx,
}

impl Call<'_> {
    fn int(&self, name: &str, otherwise: i64) -> i64 {
        let found = self.node.attribute.iter().find(|a| a.name() == name);
        found.map_or(otherwise, |a| a.i())
    }

    /// The first of a list whose values are all alike: strides, paddings.
    fn side(&self, name: &str, otherwise: usize) -> Result<usize> {
        let Some(a) = self.node.attribute.iter().find(|a| a.name() == name) else {
            return Ok(otherwise);
        };
        let first = a.ints.first().copied().unwrap_or(0);
        match (usize::try_from(first), a.ints.iter().all(|&v| v == first)) {
            (Ok(v), true) => Ok(v),
            _ => Err(bad(format!("{name} {:?}", a.ints))),
        }
    }

    fn text(&self, name: &str) -> &[u8] {
        let found = self.node.attribute.iter().find(|a| a.name() == name);
        found.map_or(&[], |a| a.s())
    }

    fn value(&self, i: usize) -> Result<&Value> {
        let found = self.x.get(i).copied().flatten();
        found.ok_or_else(|| bad(format!("operand {i} is missing")))
    }

    fn floats(&self, i: usize) -> Result<&Array<f32>> {
        self.value(i)?.floats()
    }

    fn list(&self, i: usize) -> Result<&[i64]> {
        Ok(&self.value(i)?.ints()?.data)
    }

    fn axis(&self, otherwise: i64) -> Result<usize> {
        let rank = match self.value(0)? {
            Value::Float(a) => a.dims.len(),
            Value::Int(a) => a.dims.len(),
            Value::Flag(a) => a.dims.len(),
        };
        let axis = self.int("axis", otherwise);
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(axis).map_err(|_| bad(format!("axis {axis}")))
    }

    /// The result of an operation of ours over the float operands.
    fn ours(&self, f: impl Fn(&[Var]) -> Result<Var>) -> Result<Vec<Value>> {
        let tape = Tape::new(self.cx);
        let mut x = vec![];
        for v in self.x.iter().flatten() {
            if let Value::Float(a) = v
                && a.dims.len() <= 4
            {
                x.push(tape.leaf(Tensor::from_f32(&a.dims[..], a.data.clone())?));
            }
        }
        Ok(vec![Value::from(f(&x)?.value())])
    }

    fn map(&self, f: impl Fn(f32) -> f32) -> Result<Vec<Value>> {
        let x = self.floats(0)?;
        let data = x.data.iter().map(|&v| f(v)).collect();
        Ok(vec![Value::Float(Array::new(x.dims.clone(), data)?)])
    }

    fn both(&self, f: impl Fn(f32, f32) -> f32) -> Result<Vec<Value>> {
        Ok(vec![Value::Float(
            self.floats(0)?.with(self.floats(1)?, f)?,
        )])
    }

    /// The results.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for an operator that is not known here and for operands that do not fit; those of our operations.
    pub fn run(&self) -> Result<Vec<Value>> {
        let (stride, padding) = (self.side("strides", 1)?, self.side("pads", 0)?);
        let k = self.side("kernel_shape", 1)?;
        match self.node.op_type() {
            "Conv" => {
                let params = Conv2dParams {
                    stride,
                    padding,
                    dilation: self.side("dilations", 1)?,
                    groups: self.int("group", 1).max(0) as usize,
                };
                self.ours(|x| ops::conv2d(&x[0], &x[1], x.get(2), params))
            }
            "ConvTranspose" => {
                self.ours(|x| ops::conv_transpose2d(&x[0], &x[1], x.get(2), stride, padding))
            }
            "BatchNormalization" => self.normalised(),
            "Relu" => self.ours(|x| ops::relu(&x[0])),
            "MaxPool" => self.ours(|x| ops::max_pool(&x[0], k, stride, padding)),
            "AveragePool" => self.ours(|x| ops::avg_pool(&x[0], k, stride, padding)),
            "GlobalAveragePool" => self.ours(|x| {
                let y = ops::global_avg_pool(&x[0])?;
                ops::reshape(&y, [y.dims()[0], y.dims()[1], 1, 1])
            }),
            "Gemm" => self.ours(|x| ops::linear(&x[0], &x[1], x.get(2))),
            "Resize" => self.resized(),
            "Add" => self.both(|a, b| a + b),
            "Sub" => self.both(|a, b| a - b),
            "Mul" => self.both(|a, b| a * b),
            "Min" => self.both(f32::min),
            "Exp" => self.map(f32::exp),
            "Clip" => {
                let (low, high) = (self.floats(1)?.data[0], self.floats(2)?.data[0]);
                self.map(|v| v.max(low).min(high))
            }
            "Softmax" => self.softmax(),
            "Identity" => Ok(vec![self.value(0)?.clone()]),
            "Flatten" => {
                let n = self.floats(0)?.dims[0] as i64;
                self.viewed(&[n, -1])
            }
            "Reshape" => self.viewed(self.list(1)?),
            "Transpose" => {
                let order = self.node.attribute.first().map_or(&[][..], |a| &a.ints);
                let order: Vec<usize> = order.iter().map(|&d| d as usize).collect();
                Ok(vec![Value::Float(self.floats(0)?.transposed(&order)?)])
            }
            "Concat" => self.joined(),
            "Slice" => self.cut(),
            "Shape" => self.sizes(),
            "ConstantOfShape" => {
                let dims: Vec<usize> = self.list(0)?.iter().map(|&d| d as usize).collect();
                let data = vec![0.0; dims.iter().product()];
                Ok(vec![Value::Float(Array::new(dims, data)?)])
            }
            "TopK" => suppress::top(self.floats(0)?, self.list(1)?, self.axis(-1)?),
            "GreaterOrEqual" => {
                let y = self.floats(0)?.with(self.floats(1)?, |a, b| a >= b)?;
                Ok(vec![Value::Flag(y)])
            }
            "Where" => {
                let Value::Flag(chosen) = self.value(0)? else {
                    return Err(bad("expected truths"));
                };
                let kept = chosen.with(self.floats(1)?, |c, a| c.then_some(a))?;
                let y = kept.with(self.floats(2)?, |a, b| a.unwrap_or(b))?;
                Ok(vec![Value::Float(y)])
            }
            "NonMaxSuppression" => {
                let (most, iou, score) = (self.list(2)?, self.floats(3)?, self.floats(4)?);
                let limits = (
                    most.first().copied().unwrap_or(0),
                    iou.data[0],
                    score.data[0],
                );
                suppress::suppressed(self.floats(0)?, self.floats(1)?, limits)
            }
            other => Err(bad(format!("the operator {other} is not known here"))),
        }
    }

    fn normalised(&self) -> Result<Vec<Value>> {
        let found = self.node.attribute.iter().find(|a| a.name() == "epsilon");
        let eps = f64::from(found.map_or(1e-5, |a| a.f()));
        self.ours(|x| match x {
            [x, scale, shift, mean, var] => {
                let affine = Some((scale, shift));
                let params = BatchNormParams { eps, relu: false };
                ops::batch_norm_eval(x, mean.value(), var.value(), affine, params)
            }
            _ => Err(bad("expected five operands")),
        })
    }

    fn resized(&self) -> Result<Vec<Value>> {
        let (scales, d) = (&self.floats(2)?.data, &self.floats(0)?.dims);
        let side = |i: usize| (d[i] as f32 * scales[i]) as usize;
        if scales.len() != 4 || d.len() != 4 {
            return Err(bad("expected four scales"));
        }
        let (height, width) = (side(2), side(3));
        let corners = self.text("coordinate_transformation_mode") == b"align_corners";
        let tape = Tape::new(self.cx);
        let x = tape.leaf(Tensor::from_f32(&d[..], self.floats(0)?.data.clone())?);
        let y = match self.text("mode") {
            b"nearest" => ops::upsample_nearest(&x, scales[2] as usize)?,
            _ => {
                let to = UpsampleBilinear {
                    height,
                    width,
                    align_corners: corners,
                };
                ops::upsample_bilinear(&x, to)?
            }
        };
        Ok(vec![Value::from(y.value())])
    }

    /// Over the last dimension as the decoding of ours does it, bit for bit.
    fn softmax(&self) -> Result<Vec<Value>> {
        let (x, axis) = (self.floats(0)?, self.axis(-1)?);
        if axis + 1 < x.dims.len() {
            return self.ours(|x| ops::softmax(&x[0], axis));
        }
        let mut y = x.clone();
        for row in y.data.chunks_mut(x.dims[axis].max(1)) {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|v| *v = (*v - top).exp());
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        }
        Ok(vec![Value::Float(y)])
    }

    /// The first operand in another shape: 0 leaves a size, -1 is what is left over.
    fn viewed(&self, shape: &[i64]) -> Result<Vec<Value>> {
        let x = self.floats(0)?;
        let mut dims: Vec<usize> = vec![];
        for (i, &s) in shape.iter().enumerate() {
            dims.push(match s {
                0 => x.dims.get(i).copied().unwrap_or(0),
                -1 => 1,
                s => s as usize,
            });
        }
        if let Some(open) = shape.iter().position(|&s| s == -1) {
            dims[open] = x.data.len() / dims.iter().product::<usize>().max(1);
        }
        Ok(vec![Value::Float(Array::new(dims, x.data.clone())?)])
    }

    fn joined(&self) -> Result<Vec<Value>> {
        let axis = self.axis(0)?;
        let all = || 0..self.x.len();
        if let Ok(Value::Int(_)) = self.value(0) {
            let x = all()
                .map(|i| self.value(i)?.ints())
                .collect::<Result<Vec<_>>>()?;
            return Ok(vec![Value::Int(Array::joined(&x, axis)?)]);
        }
        let x = all().map(|i| self.floats(i)).collect::<Result<Vec<_>>>()?;
        Ok(vec![Value::Float(Array::joined(&x, axis)?)])
    }

    fn cut(&self) -> Result<Vec<Value>> {
        let mut y = self.floats(0)?.clone();
        let [starts, ends, axes, steps] =
            [self.list(1)?, self.list(2)?, self.list(3)?, self.list(4)?];
        for (i, &axis) in axes.iter().enumerate() {
            let at = |list: &[i64]| list.get(i).copied().unwrap_or(-1);
            y = y.sliced(axis.max(0) as usize, at(starts), at(ends), at(steps))?;
        }
        Ok(vec![Value::Float(y)])
    }

    fn sizes(&self) -> Result<Vec<Value>> {
        let dims: Vec<i64> = self.floats(0)?.dims.iter().map(|&d| d as i64).collect();
        let whole = Array::new(vec![dims.len()], dims)?;
        let end = self.int("end", i64::MAX);
        Ok(vec![Value::Int(whole.sliced(
            0,
            self.int("start", 0),
            end,
            1,
        )?)])
    }
}
