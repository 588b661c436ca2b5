//! A step beside its floor: bytes, launches and time against those of the fused design.

use serde::Serialize;

use super::floor::Floor;
use crate::model::NetworkSpec;
use crate::model::config::Frame;

/// A step beside the least that it could cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BesideFloor {
    /// Bytes of the fused design.
    pub bytes: u64,
    /// Bytes of the step in units of those; at most [`MOST_TRAFFIC`] is wanted.
    pub traffic: f64,
    /// Launches of the fused design.
    pub launches: u64,
    /// Launches that are wanted at most, where the project has set itself a mark.
    pub most_launches: Option<u64>,
    /// Seconds of the fused design without launches: the floor.
    pub seconds: f64,
    /// The floor as a share of the time that is expected of the step.
    pub share: f64,
}

/// Most bytes of a step in units of the fused design's.
pub const MOST_TRAFFIC: f64 = 1.25;

impl BesideFloor {
    /// A step of `phases` phases that moves `bytes` and is expected to take `seconds`; `size`: bytes of an element.
    pub fn new(
        spec: &NetworkSpec,
        floor: &Floor,
        phases: u64,
        size: usize,
        bandwidth: f64,
        [bytes, seconds]: [f64; 2],
    ) -> BesideFloor {
        let least = phases as f64 * floor.elements * size as f64;
        let at_least = phases as f64 * floor.seconds(size, bandwidth);
        BesideFloor {
            bytes: least as u64,
            traffic: bytes / least,
            launches: phases * floor.launches,
            most_launches: match spec.frame.frame {
                Frame::MtnasPeer => Some(700),
                Frame::MtnasRelease => Some(1400),
                Frame::Classification | Frame::MtlResnet18 | Frame::Trunk => None,
            },
            seconds: at_least,
            share: at_least / seconds,
        }
    }

    /// One line; `bytes` and `launches` are those of the step, `seconds` what is expected of it.
    pub fn line(&self, bytes: u64, launches: u64, seconds: f64) -> String {
        let most = self
            .most_launches
            .map_or(String::new(), |n| format!(", at most {n}"));
        format!(
            "{:.2} GB against {:.2} of the fused design ({:.2}x, at most {MOST_TRAFFIC}), {launches} launches against {}{most}; {:.2} ms expected, floor {:.2} ms ({:.0} %)",
            bytes as f64 * 1e-9,
            self.bytes as f64 * 1e-9,
            self.traffic,
            self.launches,
            1e3 * seconds,
            1e3 * self.seconds,
            1e2 * self.share
        )
    }
}
