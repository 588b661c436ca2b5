//! Traffic signs on posts: a triangle, a disc or a square with a border.

use super::paint::{Rgb, Texel, label, scale};
use crate::rng::Rng;

/// Outline of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Warning.
    Triangle,
    /// Ban or order.
    Disc,
    /// Information.
    Square,
}

/// A sign whose board fills the top of its face, above the post.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    /// Outline.
    pub shape: Shape,
    /// Width and height of the board, metres; the face is as wide.
    pub board: f32,
    /// Height of the top, metres.
    pub height: f32,
    /// Border.
    pub rim: Rgb,
    /// Field.
    pub field: Rgb,
    /// Mark on the field: 0 none, 1 bar, 2 stroke, 3 dot.
    pub mark: u8,
    /// Label of the post.
    pub post: u8,
}

impl Sign {
    /// The point at (u, v).
    pub fn at(&self, u: f32, v: f32) -> Option<Texel> {
        let x = u * 2.0 - 1.0;
        let y = (v * self.height - (self.height - self.board)) / self.board * 2.0 - 1.0;
        if y < -1.0 {
            let metres = x.abs() * self.board / 2.0;
            return (metres < 0.05).then_some(Texel::plain([0.3, 0.3, 0.31], self.post));
        }
        // 0 in the middle, 1 at the outline.
        let d = match self.shape {
            Shape::Disc => (x * x + y * y).sqrt(),
            Shape::Square => x.abs().max(y.abs()),
            Shape::Triangle => (-y).max(2.0 * x.abs() + y),
        };
        if d > 1.0 {
            return None;
        }
        let mark = match self.mark {
            1 => y.abs() < 0.16 && x.abs() < 0.55,
            2 => x.abs() < 0.12 && (-0.4..0.4).contains(&y),
            3 => x * x + (y + 0.1) * (y + 0.1) < 0.07,
            _ => false,
        };
        let colour = if d > 0.72 || mark {
            self.rim
        } else {
            self.field
        };
        Some(Texel::plain(colour, label::SIGN))
    }
}

/// Any traffic sign.
pub fn any_sign(rng: &mut Rng, shape: Option<Shape>) -> Sign {
    let shape = shape.unwrap_or([Shape::Triangle, Shape::Disc, Shape::Square][rng.below(3)]);
    let (red, blue, white, yellow) = (
        [0.5, 0.03, 0.03],
        [0.03, 0.1, 0.45],
        [0.75; 3],
        [0.7, 0.5, 0.05],
    );
    let (rim, field) = match (shape, rng.below(3)) {
        (Shape::Triangle, 0) => (red, yellow),
        (Shape::Triangle, _) => (red, white),
        (Shape::Disc, 0) => (white, blue),
        (Shape::Disc, 1) => (white, red),
        (Shape::Disc, _) => (red, white),
        (Shape::Square, 0) => (white, yellow),
        (Shape::Square, _) => (white, blue),
    };
    let tone = rng.range(0.7, 1.1) as f32;
    let board = rng.range(0.8, 1.15) as f32;
    let height = board + rng.range(1.7, 2.3) as f32;
    let mark = rng.below(4) as u8;
    Sign {
        shape,
        board,
        height,
        rim: scale(rim, tone),
        field: scale(field, tone),
        mark,
        post: label::STATIC,
    }
}
