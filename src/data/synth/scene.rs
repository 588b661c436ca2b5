//! A whole scene: conditions, street, road users at plausible places; its picture, label map and objects.

use std::f32::consts::PI;

use super::ground::Ground;
use super::light::Light;
use super::paint::Paint;
use super::render::{Camera, Drawing, Face, POINTS, Seen, draw, v3};
use super::street::{self, Furniture};
use super::town::Town;
use super::users::{User, populate};
use crate::annotation::{Image, LabelMap};
use crate::data::kitti_label::KittiObject;
use crate::rng::Rng;

/// Less than this share visible: the object becomes `DontCare`.
const LEAST_VISIBLE: f32 = 0.3;
/// More than this share outside the picture, likewise.
const MOST_TRUNCATED: f32 = 0.6;

/// What a scene shows.
#[derive(Debug, Clone, Copy)]
pub struct Contents {
    /// Picture (height, width).
    pub size: (usize, usize),
    /// Cyclists among the road users.
    pub cyclists: bool,
    /// Lamp posts, sign posts as poles, grass.
    pub poles: bool,
}

/// A drawn scene.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The picture.
    pub image: Image,
    /// Cityscapes label ids.
    pub labels: LabelMap,
    /// KITTI lines, near ones last.
    pub objects: Vec<KittiObject>,
}

/// The camera of a picture of this size: its field of view suits the aspect, its horizon varies a little.
pub fn camera(rng: &mut Rng, (height, width): (usize, usize)) -> Camera {
    let (h, w) = (height as f32, width as f32);
    Camera {
        height,
        width,
        focal: (1.35 * h).max(0.6 * w) * rng.range(0.92, 1.1) as f32,
        cx: w * (0.5 + rng.range(-0.08, 0.08) as f32),
        cy: h * rng.range(0.36, 0.46) as f32,
        up: rng.range(1.45, 1.75) as f32,
    }
}

/// Draws one scene of a town.
pub fn scene(rng: &mut Rng, town: &Town, contents: Contents) -> Scene {
    let light = Light::draw(rng);
    let camera = camera(rng, contents.size);
    let mut g = street::ground(rng, town, &light, contents.poles);
    let mut faces = vec![];
    let furniture = Furniture {
        signs: [0, 1, 1, 2][rng.below(4)],
        poles: contents.poles,
    };
    street::build(rng, town, &light, &mut g, furniture, &mut faces);
    let users = populate(rng, town, &light, &g, &camera, contents.cyclists);
    g.shadows.extend(users.iter().map(User::shadow));
    for (i, user) in users.iter().enumerate() {
        user.faces(i as u16 + 1, &mut faces);
    }
    faces.push(floor(g));
    let drawing = draw(
        &camera,
        &faces,
        users.len(),
        |t, n, d| light.shade(t, n, d),
        |ray| light.sky(ray),
    );
    let objects = users
        .iter()
        .zip(&drawing.objects)
        .filter_map(|(u, s)| line(u, s, &camera))
        .collect();
    let (height, width) = contents.size;
    let image = light.expose(&drawing.colour, height, width);
    let Drawing { label, .. } = drawing;
    Scene {
        image,
        labels: LabelMap {
            height,
            width,
            data: label,
        },
        objects,
    }
}

/// The face of the ground.
pub fn floor(g: Ground) -> Face {
    Face::new(
        v3(-200.0, 0.0, 0.5),
        v3(400.0, 0.0, 0.0),
        v3(0.0, 0.0, 400.0),
        Paint::Ground(Box::new(g)),
        0,
    )
}

fn turn(angle: f32) -> f32 {
    (angle + PI).rem_euclid(2.0 * PI) - PI
}

/// The label line of a road user; `None` if nothing of it is in the picture.
fn line(user: &User, seen: &Seen, camera: &Camera) -> Option<KittiObject> {
    let full = seen.covered as f32;
    if seen.covered < (6 * POINTS * POINTS) as u32 {
        return None;
    }
    let visible = seen.visible as f32 / full;
    if visible == 0.0 {
        return None;
    }
    if visible < LEAST_VISIBLE || seen.truncated > MOST_TRUNCATED {
        return Some(KittiObject {
            kind: "DontCare",
            truncated: -1.0,
            occluded: -1,
            alpha: -10.0,
            bbox: seen.bbox,
            size: [-1.0; 3],
            location: [-1000.0; 3],
            rotation: -10.0,
            score: None,
        });
    }
    // KITTI turns around the axis that points down, 0 being to the right.
    let rotation = turn((-user.yaw.cos()).atan2(user.yaw.sin()));
    Some(KittiObject {
        kind: user.kind,
        truncated: seen.truncated,
        occluded: [0.9, 0.6].iter().filter(|&&least| visible < least).count() as i32,
        alpha: turn(rotation - user.x.atan2(user.z)),
        bbox: seen.bbox,
        size: user.size,
        location: [user.x, camera.up, user.z],
        rotation,
        score: None,
    })
}
