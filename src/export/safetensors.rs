//! Safetensors: named tensors with a map of text. Reading is by the format's own crate; writing is ours, because that crate
//! orders the metadata by a random hash and equal content must give equal bytes.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};
use serde_json::json;

use crate::error::{Code, Error, Result};
use crate::tensor::{Buffer, DType, Shape, Tensor};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 8 << 30;

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct TensorFile {
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Text by name.
    pub metadata: BTreeMap<String, String>,
}

fn tag(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::Bf16 => "BF16",
        DType::I32 => "I32",
    }
}

/// The order of tensors in a file: wide dtypes first, so that all are aligned; then by name.
pub fn in_order<'a>(
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Vec<(&'a str, &'a Tensor)> {
    let mut list: Vec<_> = tensors.into_iter().collect();
    list.sort_by_key(|(name, t)| (std::cmp::Reverse(t.dtype().size()), *name));
    list
}

/// Length and header of a file with these tensors; their bytes follow in the order given.
///
/// # Errors
/// `Argument` for a name given twice.
pub fn header(tensors: &[(&str, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut entries = serde_json::Map::new();
    let mut offset = 0;
    for (name, t) in tensors {
        let end = offset + t.bytes().len();
        let entry =
            json!({"dtype": tag(t.dtype()), "shape": t.dims(), "data_offsets": [offset, end]});
        offset = end;
        if *name == "__metadata__" || entries.insert(name.to_string(), entry).is_some() {
            return Err(Error::new(
                Code::Argument,
                format!("the tensor name {name:?} is taken"),
            ));
        }
    }
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut text = serde_json::Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    Ok(out)
}

/// Writes a whole file, safely ([`crate::files::write_atomic`]).
///
/// # Errors
/// As [`crate::files::write_atomic`].
pub fn write(path: impl AsRef<Path>, file: &TensorFile) -> Result<()> {
    let list = in_order(file.tensors.iter().map(|(n, t)| (n.as_str(), t)));
    let head = header(&list, &file.metadata)?;
    let parts: Vec<&[u8]> = [head.as_slice()]
        .into_iter()
        .chain(list.iter().map(|(_, t)| t.bytes()))
        .collect();
    crate::files::write_atomic_on(&crate::files::RealDisk, path.as_ref(), &parts)
}

/// Reads a whole file.
///
/// # Errors
/// `NotFound`, `Io`, `TooLarge`; `BadFormat` with the path, and the tensor where one is at fault.
pub fn read(path: impl AsRef<Path>) -> Result<TensorFile> {
    read_but(path, |_| false)
}

/// Reads a file but for the tensors whose names are `skipped`, of any dtype.
///
/// # Errors
/// As [`read`].
pub fn read_but(path: impl AsRef<Path>, skipped: impl Fn(&str) -> bool) -> Result<TensorFile> {
    let path = path.as_ref();
    let io = |e| Error::io(path, e);
    let meta = std::fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(Error::new(Code::BadFormat, "not a file").at(path.display()));
    }
    if meta.len() > MAX_BYTES {
        let what = format!("{} bytes are too many for weights", meta.len());
        return Err(Error::new(Code::TooLarge, what).at(path.display()));
    }
    parse_but(&std::fs::read(path).map_err(io)?, path, skipped)
}

/// Reads the bytes of a file; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<TensorFile> {
    parse_but(bytes, path, |_| false)
}

fn parse_but(bytes: &[u8], path: &Path, skipped: impl Fn(&str) -> bool) -> Result<TensorFile> {
    let bad = |what: String| {
        Error::new(Code::BadFormat, what)
            .at(path.display())
            .help("the file is damaged or not safetensors: get it again")
    };
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|e| bad(format!("not a safetensors file: {e}")))?;
    let content =
        SafeTensors::deserialize(bytes).map_err(|e| bad(format!("not a safetensors file: {e}")))?;
    let mut out = TensorFile::default();
    out.metadata
        .extend(header.metadata().clone().unwrap_or_default());
    for (name, view) in content.iter().filter(|(name, _)| !skipped(name)) {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::BF16 => DType::Bf16,
            Dtype::I32 => DType::I32,
            // Read as f32, which holds every value exactly.
            Dtype::F16 => DType::F32,
            other => {
                return Err(bad(format!(
                    "tensor {name:?} has the dtype {other:?}, not f32, f64, f16, bf16 or i32"
                )));
            }
        };
        let dims = view.shape();
        if dims.len() > 4 {
            return Err(bad(format!(
                "tensor {name:?} has {} dimensions, at most 4 are known",
                dims.len()
            )));
        }
        let shape = Shape::new(dims);
        let data = match view.dtype() {
            Dtype::F16 => Buffer::from_slice(&halves(view.data())),
            _ => {
                let mut data = Buffer::scratch(dtype, shape.numel());
                data.bytes_mut().copy_from_slice(view.data());
                data
            }
        };
        out.tensors
            .insert(name.to_string(), Tensor::from_buffer(shape, data));
    }
    Ok(out)
}

/// Values of IEEE half precision.
fn halves(bytes: &[u8]) -> Vec<f32> {
    let one = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
    bytes.chunks_exact(2).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{CASES, MANY, Target, run_all};

    fn sample() -> TensorFile {
        let mut f = TensorFile::default();
        f.tensors.insert(
            "w.0".into(),
            Tensor::from_f32([2, 3], vec![1.0, -2.5, f32::NAN, 0.0, 1e-40, f32::INFINITY]).unwrap(),
        );
        f.tensors
            .insert("a".into(), Tensor::from_f64([1], vec![0.1]).unwrap());
        f.tensors.insert(
            "half".into(),
            Tensor::from_f32([3], vec![1.0, 2.0, 3.0])
                .unwrap()
                .cast(DType::Bf16),
        );
        f.tensors
            .insert("step".into(), Tensor::from_i32([0; 0], vec![-7]).unwrap());
        f.tensors
            .insert("none".into(), Tensor::from_f32([0, 4], vec![]).unwrap());
        f.metadata = [("b", "x"), ("a", "é\n\"")]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into();
        f
    }

    fn same(a: &TensorFile, b: &TensorFile) -> bool {
        let key = |f: &TensorFile| -> Vec<_> {
            f.tensors
                .iter()
                .map(|(n, t)| (n.clone(), t.dims().to_vec(), t.dtype(), t.bytes().to_vec()))
                .collect()
        };
        key(a) == key(b) && a.metadata == b.metadata
    }

    #[test]
    fn what_is_written_comes_back_and_equal_content_gives_equal_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (p, q) = (dir.path().join("a"), dir.path().join("b"));
        write(&p, &sample()).unwrap();
        write(&q, &sample()).unwrap();
        assert_eq!(std::fs::read(&p).unwrap(), std::fs::read(&q).unwrap());
        assert!(same(&read(&p).unwrap(), &sample()));
        assert_eq!(
            read(dir.path().join("c")).unwrap_err().code(),
            Code::NotFound
        );
    }

    fn valid(root: &Path) {
        write(root.join("w.safetensors"), &sample()).unwrap();
    }

    fn mutation(cases: u64) {
        let target = Target {
            name: "safetensors",
            file: "w.safetensors",
            mend: None,
            read: |root| read(root.join("w.safetensors")).map(drop),
        };
        run_all(&[target], cases, valid);
    }

    #[test]
    fn mutation_is_refused_by_name() {
        mutation(2 * CASES);
    }

    #[test]
    #[ignore = "10,000 damaged files"]
    fn mutation_ten_thousand_times() {
        mutation(MANY);
    }
}
