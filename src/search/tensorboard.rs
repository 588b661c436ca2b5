//! TensorBoard event files: records of protocol-buffer messages, each framed with masked CRC-32C sums.
//!
//! An event's wall time is not the clock but its step, in seconds: a run that was killed and resumed must have the same
//! bytes as one that was not. TensorBoard's "relative" axis then shows steps.

use std::io;

use prost::Message;

/// `tensorflow.Event`, the fields used here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "5")]
    histo: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

/// Buckets of a histogram.
const BUCKETS: usize = 30;

/// CRC-32C as TFRecord stores it: rotated and offset, so that sums of data that holds sums stay apart.
pub fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

fn frame(payload: &[u8], out: &mut Vec<u8>) {
    let length = (payload.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(payload);
    out.extend(masked_crc(payload).to_le_bytes());
}

/// Builds the bytes of an event file.
#[derive(Debug, Default)]
pub struct Events(Vec<u8>);

impl Events {
    /// The record that every event file starts with.
    pub fn head() -> Events {
        let mut events = Events::default();
        events.push(0, Some("brain.Event:2".into()), None);
        events
    }

    /// Values of one step, by tag (`a/b` groups charts).
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) {
        let one = |(tag, v): (&str, f64)| SummaryValue {
            tag: tag.to_string(),
            simple_value: Some(v as f32),
            histo: None,
        };
        let value: Vec<SummaryValue> = values.into_iter().map(one).collect();
        if !value.is_empty() {
            self.push(step, None, Some(Summary { value }));
        }
    }

    /// The distribution of `values` at one step. Values that are not finite are left out.
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f64]) {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let (Some(&first), n) = (finite.first(), finite.len()) else {
            return;
        };
        let (min, max) = finite
            .iter()
            .fold((first, first), |(lo, hi), &v| (lo.min(v), hi.max(v)));
        let width = ((max - min) / BUCKETS as f64).max(f64::MIN_POSITIVE);
        let mut bucket = vec![0.0; BUCKETS];
        for v in &finite {
            bucket[(((v - min) / width) as usize).min(BUCKETS - 1)] += 1.0;
        }
        let histo = Histogram {
            min,
            max,
            num: n as f64,
            sum: finite.iter().sum(),
            sum_squares: finite.iter().map(|v| v * v).sum(),
            bucket_limit: (1..=BUCKETS)
                .map(|i| {
                    if i == BUCKETS {
                        max
                    } else {
                        min + width * i as f64
                    }
                })
                .collect(),
            bucket,
        };
        let value = SummaryValue {
            tag: tag.to_string(),
            simple_value: None,
            histo: Some(histo),
        };
        self.push(step, None, Some(Summary { value: vec![value] }));
    }

    fn push(&mut self, step: u64, file_version: Option<String>, summary: Option<Summary>) {
        let event = Event {
            wall_time: step as f64,
            step: step as i64,
            file_version,
            summary,
        };
        frame(&event.encode_to_vec(), &mut self.0);
    }

    /// The bytes so far.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The values in an event file, as (step, tag, value); histograms give their mean.
///
/// # Errors
/// `InvalidData` for a record that is cut off or whose sums do not fit.
pub fn read_scalars(bytes: &[u8]) -> io::Result<Vec<(u64, String, f64)>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_string());
    let sum = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let (mut rest, mut out) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (head, tail) = rest
            .split_at_checked(12)
            .ok_or_else(|| bad("a record is cut off"))?;
        let length = u64::from_le_bytes(
            head[..8]
                .try_into()
                .map_err(|_| bad("a record is cut off"))?,
        );
        if masked_crc(&head[..8]) != sum(&head[8..]) {
            return Err(bad("the sum of a length does not fit"));
        }
        let length = usize::try_from(length).map_err(|_| bad("a record is cut off"))?;
        let (payload, tail) = tail
            .split_at_checked(length)
            .ok_or_else(|| bad("a record is cut off"))?;
        let (crc, tail) = tail
            .split_at_checked(4)
            .ok_or_else(|| bad("a record is cut off"))?;
        if masked_crc(payload) != sum(crc) {
            return Err(bad("the sum of a record does not fit"));
        }
        let event = Event::decode(payload).map_err(|e| bad(&e.to_string()))?;
        for v in event.summary.into_iter().flat_map(|s| s.value) {
            let mean = v.histo.map(|h| h.sum / h.num);
            out.extend(
                v.simple_value
                    .map(f64::from)
                    .or(mean)
                    .map(|x| (event.step as u64, v.tag, x)),
            );
        }
        rest = tail;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_value() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn the_head_is_byte_for_byte_that_of_tensorflow() {
        // Event { wall_time: 0, file_version: "brain.Event:2" } without its wall time, as TensorFlow's EventsWriter frames it:
        // length 15; tag 3, wire type 2; 13 bytes of text.
        let bytes = Events::head().into_bytes();
        assert_eq!(bytes[..8], 15u64.to_le_bytes());
        assert_eq!(&bytes[12..27], b"\x1a\x0dbrain.Event:2");
        assert_eq!(bytes.len(), 12 + 15 + 4);
    }

    #[test]
    fn what_is_written_can_be_read_and_damage_is_noticed() {
        let mut e = Events::head();
        e.scalars(3, [("loss/det", 2.5), ("lr", 0.125)]);
        e.histogram(4, "alpha", &[1.0, 2.0, f64::NAN, 6.0]);
        e.histogram(4, "none", &[]);
        e.histogram(5, "equal", &[2.0, 2.0]);
        let bytes = e.into_bytes();
        let expected = [
            (3, "loss/det", 2.5),
            (3, "lr", 0.125),
            (4, "alpha", 3.0),
            (5, "equal", 2.0),
        ];
        assert_eq!(
            read_scalars(&bytes).unwrap(),
            expected.map(|(s, t, v)| (s, t.to_string(), v))
        );
        for i in 0..bytes.len() {
            let mut b = bytes.clone();
            b[i] ^= 4;
            assert!(read_scalars(&b).is_err(), "byte {i}");
        }
        assert!(read_scalars(&bytes[..bytes.len() - 1]).is_err());
    }
}
