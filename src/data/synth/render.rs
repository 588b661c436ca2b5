//! A small renderer: flat faces seen by a pinhole camera, a depth buffer, paint evaluated once per visible point.
//!
//! Each pixel has 2 x 2 points; colours are averaged, the label is the most frequent of the four. World coordinates are
//! metres: X right, Y up from the ground, Z forward. The camera stands at X = 0, Z = 0.

pub use super::geometry::{Camera, V3, v3};
use super::geometry::{NEAR, outside_share, union};
use super::paint::{Paint, Texel};
use crate::annotation::BBox;

/// Points a pixel has per axis.
pub const POINTS: usize = 2;
/// Nothing farther either.
const FAR: f32 = 400.0;

/// A flat patch: the points `origin + u a + v b` with u, v in [0, 1], cut by slants and by its paint. `a` and `b` are
/// perpendicular.
#[derive(Debug, Clone)]
pub struct Face {
    /// Corner.
    pub origin: V3,
    /// First side.
    pub a: V3,
    /// Second side.
    pub b: V3,
    /// The patch begins at `u = slant.0 v` and ends at `u = 1 - slant.1 v`.
    pub slant: (f32, f32),
    /// Its looks and label.
    pub paint: Paint,
    /// Number of the object that it belongs to, from 1; 0 for none. Faces of an object follow one another.
    pub object: u16,
}

impl Face {
    /// A rectangle without slants.
    pub fn new(origin: V3, a: V3, b: V3, paint: Paint, object: u16) -> Face {
        Face {
            origin,
            a,
            b,
            slant: (0.0, 0.0),
            paint,
            object,
        }
    }

    /// An upright patch that faces the camera, its bottom centre at `foot`.
    pub fn upright(foot: V3, width: f32, height: f32, paint: Paint, object: u16) -> Face {
        let origin = foot - v3(width / 2.0, 0.0, 0.0);
        Face::new(
            origin,
            v3(width, 0.0, 0.0),
            v3(0.0, height, 0.0),
            paint,
            object,
        )
    }

    fn corners(&self) -> [V3; 4] {
        [
            self.origin,
            self.origin + self.a,
            self.origin + self.b,
            self.origin + self.a + self.b,
        ]
    }
}

/// What is known of one object after drawing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Points inside the picture that it would cover alone.
    pub covered: u32,
    /// Points that it covers in the finished picture.
    pub visible: u32,
    /// Tight box of its covered points, in pixels.
    pub bbox: BBox,
    /// Share of its full extent (corners of its faces) outside the picture.
    pub truncated: f32,
}

/// A finished drawing.
pub struct Drawing {
    /// Linear colour of each pixel.
    pub colour: Vec<[f32; 3]>,
    /// Label of each pixel.
    pub label: Vec<u8>,
    /// One for each object, in the order of their numbers.
    pub objects: Vec<Seen>,
}

#[derive(Clone, Copy)]
struct Point {
    depth: f32,
    face: u32,
    u: f32,
    v: f32,
}

struct Buffer {
    height: usize,
    width: usize,
    points: Vec<Point>,
    stamp: Vec<u16>,
}

/// Draws `faces`; `shade` turns a surface point into light, `sky` fills the rest.
pub fn draw(
    camera: &Camera,
    faces: &[Face],
    objects: usize,
    shade: impl Fn(Texel, V3, f32) -> [f32; 3],
    sky: impl Fn(V3) -> Texel,
) -> Drawing {
    let (height, width) = (camera.height * POINTS, camera.width * POINTS);
    let none = Point {
        depth: FAR,
        face: u32::MAX,
        u: 0.0,
        v: 0.0,
    };
    let mut buffer = Buffer {
        height,
        width,
        points: vec![none; height * width],
        stamp: vec![0; height * width],
    };
    let mut seen = vec![Seen::default(); objects];
    let mut extent = vec![None; objects];
    for (i, face) in faces.iter().enumerate() {
        buffer.draw_face(camera, face, i as u32, &mut seen, &mut extent);
    }
    for p in &buffer.points {
        let object = faces.get(p.face as usize).map_or(0, |f| f.object);
        if object > 0 {
            seen[object as usize - 1].visible += 1;
        }
    }
    for (s, e) in seen.iter_mut().zip(&extent) {
        s.truncated = e.map_or(1.0, |full| outside_share(&full, camera));
    }
    let (mut colour, mut label) = (
        vec![[0.0; 3]; camera.height * camera.width],
        vec![0; camera.height * camera.width],
    );
    for y in 0..camera.height {
        for x in 0..camera.width {
            let mut labels = [0u8; POINTS * POINTS];
            let mut sum = [0.0; 3];
            for k in 0..POINTS * POINTS {
                let (py, px) = (y * POINTS + k / POINTS, x * POINTS + k % POINTS);
                let ray = camera.ray(
                    (px as f32 + 0.5) / POINTS as f32,
                    (py as f32 + 0.5) / POINTS as f32,
                );
                let p = buffer.points[py * width + px];
                let (c, l) = match faces.get(p.face as usize) {
                    Some(face) => {
                        let at = ray.times(p.depth) + v3(0.0, camera.up, 0.0);
                        let texel = face.paint.at(p.u, p.v, at).unwrap_or_default();
                        let normal = face.a.cross(face.b).unit();
                        let normal = if normal.dot(ray) > 0.0 {
                            normal.times(-1.0)
                        } else {
                            normal
                        };
                        (shade(texel, normal, p.depth), texel.label)
                    }
                    None => {
                        let texel = sky(ray.unit());
                        (texel.colour, texel.label)
                    }
                };
                labels[k] = l;
                (0..3).for_each(|i| sum[i] += c[i] / (POINTS * POINTS) as f32);
            }
            colour[y * camera.width + x] = sum;
            label[y * camera.width + x] = most_frequent(&labels);
        }
    }
    Drawing {
        colour,
        label,
        objects: seen,
    }
}

/// Of equal counts the first wins.
fn most_frequent(labels: &[u8]) -> u8 {
    let count = |l: &&u8| labels.iter().filter(|o| o == l).count();
    let mut best = &labels[0];
    for l in &labels[1..] {
        if count(&l) > count(&best) {
            best = l;
        }
    }
    *best
}

impl Buffer {
    /// Columns and rows of points that a face may cover; all of them if part of it is behind the camera.
    fn bounds(&self, camera: &Camera, face: &Face) -> [usize; 4] {
        let mut all: Option<BBox> = None;
        for corner in face.corners() {
            match camera.project(corner) {
                Some((x, y)) => all = union(all, x, y),
                None => return [0, self.width, 0, self.height],
            }
        }
        let b = all.unwrap_or_default();
        let clip = |v: f32, n: usize| (v.max(0.0) as usize).min(n);
        let p = POINTS as f32;
        [
            clip((b.x1 * p).floor(), self.width),
            clip((b.x2 * p).ceil(), self.width),
            clip((b.y1 * p).floor(), self.height),
            clip((b.y2 * p).ceil(), self.height),
        ]
    }

    fn draw_face(
        &mut self,
        camera: &Camera,
        face: &Face,
        index: u32,
        seen: &mut [Seen],
        extent: &mut [Option<BBox>],
    ) {
        let object = face.object as usize;
        if object > 0 {
            for corner in face.corners() {
                if let Some((x, y)) = camera.project(corner) {
                    extent[object - 1] = union(extent[object - 1], x, y);
                }
            }
        }
        let eye = v3(0.0, camera.up, 0.0);
        let normal = face.a.cross(face.b);
        let to_face = normal.dot(face.origin - eye);
        let from = eye - face.origin;
        let (a2, b2) = (face.a.dot(face.a), face.b.dot(face.b));
        let (a0, b0) = (from.dot(face.a) / a2, from.dot(face.b) / b2);
        let [x0, x1, y0, y1] = self.bounds(camera, face);
        let p = POINTS as f32;
        for y in y0..y1 {
            for x in x0..x1 {
                let ray = camera.ray((x as f32 + 0.5) / p, (y as f32 + 0.5) / p);
                let depth = to_face / normal.dot(ray);
                if !(NEAR..FAR).contains(&depth) {
                    continue;
                }
                let i = y * self.width + x;
                let hidden = depth >= self.points[i].depth;
                if hidden && object == 0 {
                    continue;
                }
                let u = a0 + depth * ray.dot(face.a) / a2;
                let v = b0 + depth * ray.dot(face.b) / b2;
                let inside = (0.0..=1.0).contains(&v)
                    && u >= face.slant.0 * v
                    && u <= 1.0 - face.slant.1 * v;
                if !inside || !face.paint.covers(u, v) {
                    continue;
                }
                if object > 0 && self.stamp[i] != face.object {
                    self.stamp[i] = face.object;
                    let s = &mut seen[object - 1];
                    let (l, t) = (x as f32 / p, y as f32 / p);
                    let known = (s.covered > 0).then_some(s.bbox);
                    s.bbox =
                        union(union(known, l, t), l + 1.0 / p, t + 1.0 / p).unwrap_or_default();
                    s.covered += 1;
                }
                if !hidden {
                    self.points[i] = Point {
                        depth,
                        face: index,
                        u,
                        v,
                    };
                }
            }
        }
    }
}
