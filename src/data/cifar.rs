//! CIFAR-10, binary version (systems.md 8.1): records of a label byte and 32 x 32 R, G and B planes.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::text_file::sorted_names;
use crate::annotation::{Annotation, Image};
use crate::error::{Code, Error, Result};

/// Rows and columns of a picture.
pub const SIDE: usize = 32;
/// Bytes of a record.
pub const RECORD: usize = 1 + 3 * SIDE * SIDE;
/// The classes, in order.
pub const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// A split of CIFAR-10.
#[derive(Debug, Clone)]
pub struct Cifar10 {
    name: String,
    /// Each file with the index of its first record.
    files: Vec<(PathBuf, usize)>,
    len: usize,
    classes: Vec<String>,
}

/// The files of a split (`train`: `data_batch_*.bin`; `val` or `test`: `test_batch.bin`).
///
/// # Errors
/// `NotFound`, `Io`; `ConfigValue` for another split.
pub fn files_of(root: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let prefix = match split {
        "train" => "data_batch_",
        "val" | "test" => "test_batch",
        other => {
            return Err(Error::new(
                Code::ConfigValue,
                format!("CIFAR-10 has no split {other:?}"),
            )
            .help("use train or val"));
        }
    };
    let root = [root.join("cifar-10-batches-bin"), root.into()]
        .into_iter()
        .find(|p| p.is_dir())
        .unwrap_or(root.into());
    let names = sorted_names(&root)
        .map_err(|e| e.help("give the folder that holds data_batch_1.bin ... and test_batch.bin"))?
        .into_iter()
        .filter(|n| n.starts_with(prefix) && n.ends_with(".bin"));
    Ok(names.map(|n| root.join(n)).collect())
}

impl Cifar10 {
    /// Opens `train` or `val`; `root` holds the `.bin` files or their folder `cifar-10-batches-bin`.
    ///
    /// # Errors
    /// `NotFound`, `EmptyData`; `BadFormat` for a file whose size is not a multiple of 3073 bytes.
    pub fn open(root: &Path, split: &str) -> Result<Cifar10> {
        let mut files = vec![];
        let mut len = 0;
        for path in files_of(root, split)? {
            let size = std::fs::metadata(&path)
                .map_err(|e| Error::io(&path, e))?
                .len() as usize;
            if !size.is_multiple_of(RECORD) {
                return Err(Error::new(
                    Code::BadFormat,
                    format!("{size} bytes are not a multiple of the record size {RECORD}"),
                )
                .at(path.display())
                .help("the file is cut off or is not the binary version"));
            }
            files.push((path, len));
            len += size / RECORD;
        }
        if len == 0 {
            return Err(Error::new(
                Code::EmptyData,
                format!("no CIFAR-10 records for the split {split:?}"),
            )
            .at(root.display())
            .help("expected data_batch_1.bin ... and test_batch.bin"));
        }
        let classes = CLASSES.map(String::from).to_vec();
        Ok(Cifar10 {
            name: format!("cifar10/{split}"),
            files,
            len,
            classes,
        })
    }

    /// The first `N` bytes of a record, its label checked.
    fn read<const N: usize>(&self, index: usize) -> Result<[u8; N]> {
        let (path, record) = self.locate(index);
        let io = |e| Error::io(path, e);
        let mut file = std::fs::File::open(path).map_err(io)?;
        file.seek(SeekFrom::Start((record * RECORD) as u64))
            .map_err(io)?;
        let mut bytes = [0u8; N];
        file.read_exact(&mut bytes).map_err(|_| {
            Error::new(Code::BadFormat, "the file ends inside a record")
                .at(self.place(index))
                .help("fetch the file again")
        })?;
        if bytes[0] as usize >= CLASSES.len() {
            let text = format!("label {} is not one of 0 to 9", bytes[0]);
            return Err(Error::new(Code::BadLabelId, text)
                .at(self.place(index))
                .help("the file is damaged or not the binary version: fetch it again"));
        }
        Ok(bytes)
    }

    /// File and record number of a sample.
    fn locate(&self, index: usize) -> (&Path, usize) {
        let k = self.files.partition_point(|f| f.1 <= index) - 1;
        (&self.files[k].0, index - self.files[k].1)
    }
}

impl Dataset for Cifar10 {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Classification
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn len(&self) -> usize {
        self.len
    }
    fn id(&self, index: usize) -> String {
        let (path, record) = self.locate(index);
        format!(
            "{}-{record}",
            path.file_stem().unwrap_or_default().to_string_lossy()
        )
    }
    fn place(&self, index: usize) -> String {
        let (path, record) = self.locate(index);
        format!("{}, record {record}", path.display())
    }
    fn class_of(&self, index: usize) -> Result<Option<usize>> {
        self.read::<1>(index).map(|bytes| Some(bytes[0] as usize))
    }
    /// `BadLabelId` for a label above 9, with the record.
    fn load(&self, index: usize) -> Result<Sample> {
        let bytes = self.read::<RECORD>(index)?;
        let plane = SIDE * SIDE;
        let pixel = |i: usize| [bytes[1 + i], bytes[1 + plane + i], bytes[1 + 2 * plane + i]];
        let image = Image {
            height: SIDE,
            width: SIDE,
            data: (0..plane).flat_map(pixel).collect(),
        };
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Class(bytes[0] as usize),
        })
    }
}

/// The record of a 32 x 32 picture.
///
/// # Errors
/// `Argument` for another size or a class above 9.
pub fn encode_record(image: &Image, class: usize) -> Result<Vec<u8>> {
    if (image.height, image.width) != (SIDE, SIDE) || class >= CLASSES.len() {
        let got = format!("{} x {}, class {class}", image.height, image.width);
        return Err(Error::new(
            Code::Argument,
            format!("a CIFAR-10 record is 32 x 32 with a class of 0 to 9, got {got}"),
        ));
    }
    let mut record = vec![class as u8];
    for c in 0..3 {
        record.extend(image.data.iter().skip(c).step_by(3));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(seed: usize) -> Image {
        Image {
            height: SIDE,
            width: SIDE,
            data: (0..3 * SIDE * SIDE).map(|i| (i * 7 + seed) as u8).collect(),
        }
    }

    /// As the page of the set says: a label byte; 1,024 bytes of red, row by row, as many of green and of blue.
    #[test]
    fn a_record_written_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![7];
        for (top, side) in [(0, 0), (100, 1), (200, 2)] {
            // Rows count up, and each plane has one column of its own that is white.
            for y in 0..32 {
                bytes.extend((0..32).map(|x| if x == side { 255 } else { top + y }));
            }
        }
        assert_eq!(bytes.len(), 3073);
        // The second record of its file.
        let file = [vec![9; 3073], bytes.clone()].concat();
        std::fs::write(dir.path().join("data_batch_1.bin"), file).unwrap();
        let s = Cifar10::open(dir.path(), "train").unwrap().load(1).unwrap();
        assert_eq!(s.annotation, Annotation::Class(7));
        assert_eq!(CLASSES[7], "horse");
        assert_eq!((s.image.height, s.image.width), (32, 32));
        let pixel = |x: usize, y: usize| &s.image.data[(32 * y + x) * 3..][..3];
        assert_eq!(pixel(0, 0), [255, 100, 200]);
        assert_eq!(pixel(1, 0), [0, 255, 200]);
        assert_eq!(pixel(2, 31), [31, 131, 255]);
        assert_eq!(pixel(31, 5), [5, 105, 205]);
        assert_eq!(encode_record(&s.image, 7).unwrap(), bytes);
    }

    #[test]
    fn records_come_back_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let record = |k: usize| encode_record(&picture(k), k).unwrap();
        std::fs::write(
            dir.path().join("data_batch_1.bin"),
            [record(0), record(1)].concat(),
        )
        .unwrap();
        std::fs::write(dir.path().join("data_batch_2.bin"), record(2)).unwrap();
        std::fs::write(dir.path().join("test_batch.bin"), record(3)).unwrap();
        let train = Cifar10::open(dir.path(), "train").unwrap();
        assert_eq!(train.len(), 3);
        for k in 0..3 {
            let s = train.load(k).unwrap();
            assert_eq!((s.image, s.annotation), (picture(k), Annotation::Class(k)));
        }
        assert_eq!(train.id(2), "data_batch_2-0");
        assert_eq!(
            Cifar10::open(dir.path(), "val")
                .unwrap()
                .load(0)
                .unwrap()
                .annotation,
            Annotation::Class(3)
        );
    }

    #[test]
    fn defects_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            Cifar10::open(dir.path(), "train").unwrap_err().code(),
            Code::EmptyData
        );
        assert_eq!(
            Cifar10::open(dir.path(), "dev").unwrap_err().code(),
            Code::ConfigValue
        );
        let path = dir.path().join("data_batch_1.bin");
        std::fs::write(&path, vec![11; RECORD]).unwrap();
        let e = Cifar10::open(dir.path(), "train")
            .unwrap()
            .load(0)
            .unwrap_err();
        assert!(
            e.code() == Code::BadLabelId && e.to_string().contains("data_batch_1.bin, record 0"),
            "{e}"
        );
        std::fs::write(&path, vec![1; RECORD + 1]).unwrap();
        assert_eq!(
            Cifar10::open(dir.path(), "train").unwrap_err().code(),
            Code::BadFormat
        );
        assert!(encode_record(&picture(0), 10).is_err());
    }
}
