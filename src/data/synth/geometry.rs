//! Vectors, the camera, boxes.

use crate::annotation::BBox;

/// Nothing nearer than this is drawn, in metres.
pub const NEAR: f32 = 0.4;

/// A vector in metres.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct V3 {
    /// Right.
    pub x: f32,
    /// Up.
    pub y: f32,
    /// Forward.
    pub z: f32,
}

/// Short for a vector.
pub const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    /// Scalar product.
    pub fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }
    /// Vector product.
    pub fn cross(self, o: V3) -> V3 {
        v3(
            self.y * o.z - self.z * o.y,
            self.z * o.x - self.x * o.z,
            self.x * o.y - self.y * o.x,
        )
    }
    /// Scaled.
    pub fn times(self, k: f32) -> V3 {
        v3(self.x * k, self.y * k, self.z * k)
    }
    /// Of length 1.
    pub fn unit(self) -> V3 {
        self.times(1.0 / self.dot(self).sqrt().max(1e-9))
    }
}

impl std::ops::Add for V3 {
    type Output = V3;
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl std::ops::Sub for V3 {
    type Output = V3;
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

/// A pinhole camera that looks along Z.
#[derive(Debug, Clone, Copy)]
pub struct Camera {
    /// Rows of the picture.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Focal length in pixels.
    pub focal: f32,
    /// Column of the direction Z.
    pub cx: f32,
    /// Row of the horizon.
    pub cy: f32,
    /// Metres above the ground.
    pub up: f32,
}

impl Camera {
    /// Pixel of a point; `None` behind the camera.
    pub fn project(&self, p: V3) -> Option<(f32, f32)> {
        let k = self.focal / p.z;
        (p.z > NEAR).then_some((self.cx + p.x * k, self.cy + (self.up - p.y) * k))
    }

    /// Direction of a pixel, its Z being 1.
    pub fn ray(&self, x: f32, y: f32) -> V3 {
        v3((x - self.cx) / self.focal, (self.cy - y) / self.focal, 1.0)
    }
}

/// Share of a box, in pixels, that lies outside the picture.
pub fn outside_share(b: &BBox, camera: &Camera) -> f32 {
    let inside = BBox {
        x1: b.x1.max(0.0),
        y1: b.y1.max(0.0),
        x2: b.x2.min(camera.width as f32),
        y2: b.y2.min(camera.height as f32),
    };
    (1.0 - inside.area() / b.area().max(1e-6)).clamp(0.0, 1.0)
}

/// The smallest box around `a` and the point (x, y).
pub fn union(a: Option<BBox>, x: f32, y: f32) -> Option<BBox> {
    let b = a.unwrap_or(BBox {
        x1: x,
        y1: y,
        x2: x,
        y2: y,
    });
    Some(BBox {
        x1: b.x1.min(x),
        y1: b.y1.min(y),
        x2: b.x2.max(x),
        y2: b.y2.max(y),
    })
}
