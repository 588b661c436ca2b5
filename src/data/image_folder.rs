//! An image folder (ImageNet's layout, systems.md 8.2): `ROOT/SPLIT/CLASS/*.jpg`, classes in alphabetical order.

use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::image_file::read_image;
use super::text_file::sorted_names;
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result, nearest};

/// Extensions of pictures, in any case. What a file really is, its content decides: a PNG called `.JPEG` or `.bmp` is read, and a
/// true BMP is an error that says so, not a picture that is silently missing.
pub const EXTENSIONS: [&str; 8] = ["jpeg", "jpg", "png", "bmp", "gif", "tif", "tiff", "webp"];

/// Does the name look like a picture?
pub fn is_picture(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, e)| EXTENSIONS.iter().any(|x| x.eq_ignore_ascii_case(e)))
}

/// Names of the folders in `dir`, sorted.
pub fn class_folders(dir: &Path) -> Result<Vec<String>> {
    Ok(sorted_names(dir)?
        .into_iter()
        .filter(|n| dir.join(n).is_dir())
        .collect())
}

/// A split of an image folder.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    name: String,
    root: PathBuf,
    split: String,
    classes: Vec<String>,
    /// (class, file name)
    files: Vec<(usize, String)>,
}

impl ImageFolder {
    /// Lists the pictures of a split. The classes are the folders of `train`, if there is one, so that indices agree between
    /// splits.
    ///
    /// # Errors
    /// `NotFound` for a missing folder; `EmptyData` without pictures; `EmptyClass` for a class without pictures in `train`;
    /// `BadFormat` for a class folder that `train` does not have.
    pub fn open(root: &Path, split: &str) -> Result<ImageFolder> {
        let dir = root.join(split);
        let own = class_folders(&dir).map_err(|e| {
            e.help("give the folder that holds `train` and `val`, with a folder for each class in both")
        })?;
        let train = root.join("train");
        let classes = if train.is_dir() {
            class_folders(&train)?
        } else {
            own.clone()
        };
        if let Some(extra) = own.iter().find(|c| !classes.contains(c)) {
            let near = nearest(extra, classes.iter().map(String::as_str));
            let help = near.map_or("add it there or take it out here".into(), |n| {
                format!("did you mean {n:?}")
            });
            return Err(Error::new(
                Code::BadFormat,
                format!("the class {extra:?} is not in {}", train.display()),
            )
            .at(dir.join(extra).display())
            .help(help));
        }
        let mut files = vec![];
        for (class, name) in classes.iter().enumerate().filter(|(_, n)| own.contains(n)) {
            let before = files.len();
            files.extend(
                sorted_names(&dir.join(name))?
                    .into_iter()
                    .filter(|n| is_picture(n))
                    .map(|n| (class, n)),
            );
            if files.len() == before && split == "train" {
                return Err(Error::new(
                    Code::EmptyClass,
                    format!("the class {name:?} has no pictures"),
                )
                .at(dir.join(name).display())
                .help("put JPEG or PNG files there, or remove the folder"));
            }
        }
        if files.is_empty() {
            return Err(
                Error::new(Code::EmptyData, "no class folders with pictures")
                    .at(dir.display())
                    .help("put JPEG or PNG files into a folder for each class"),
            );
        }
        Ok(ImageFolder {
            name: format!("image-folder/{split}"),
            root: root.into(),
            split: split.into(),
            classes,
            files,
        })
    }

    /// The file of a picture.
    pub fn image_path(&self, index: usize) -> PathBuf {
        let (class, name) = &self.files[index];
        self.root
            .join(&self.split)
            .join(&self.classes[*class])
            .join(name)
    }
}

impl Dataset for ImageFolder {
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
        self.files.len()
    }
    fn id(&self, index: usize) -> String {
        let (class, name) = &self.files[index];
        format!("{}/{name}", self.classes[*class])
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn class_of(&self, index: usize) -> Result<Option<usize>> {
        Ok(Some(self.files[index].0))
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let image = read_image(&self.image_path(index))?;
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Class(self.files[index].0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::Image;
    use crate::data::image_file::{encode_jpeg, encode_png};

    fn set(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn classes_are_alphabetical_and_shared_by_the_splits() {
        let image = Image {
            height: 8,
            width: 9,
            data: vec![100; 216],
        };
        let (png, jpeg) = (
            encode_png(&image).unwrap(),
            encode_jpeg(&image, 90).unwrap(),
        );
        // The PNG called JPEG is real life: ImageNet has one.
        let dir = set(&[
            ("train/cat/1.JPEG", &jpeg),
            ("train/ant/2.jpg", &png),
            ("train/bee/3.png", &png),
            ("train/bee/notes.txt", b"x"),
            ("train/bee/4.bmp", &jpeg),
            ("val/cat/9.png", &png),
        ]);
        let train = ImageFolder::open(dir.path(), "train").unwrap();
        assert_eq!(train.classes(), ["ant", "bee", "cat"]);
        assert_eq!(
            (0..train.len()).map(|i| train.id(i)).collect::<Vec<_>>(),
            ["ant/2.jpg", "bee/3.png", "bee/4.bmp", "cat/1.JPEG"]
        );
        assert!((0..4).all(|i| train.load(i).unwrap().image.width == 9));
        let val = ImageFolder::open(dir.path(), "val").unwrap();
        assert_eq!(val.load(0).unwrap().annotation, Annotation::Class(2));
    }

    #[test]
    fn other_formats_are_named_whatever_their_extension() {
        let other: [(&[u8], &str); 5] = [
            (b"BM\x46\0\0\0", "a BMP"),
            (b"GIF89a", "a GIF"),
            (b"II*\0\x08\0\0\0", "a TIFF"),
            (b"MM\0*\0\0\0\x08", "a TIFF"),
            (b"RIFF\x04\0\0\0WEBP", "WebP"),
        ];
        for name in ["train/a/x.JPEG", "train/a/x.bmp", "train/a/x.gif"] {
            for (bytes, found) in other {
                let dir = set(&[(name, bytes)]);
                let folder = ImageFolder::open(dir.path(), "train").unwrap();
                let e = folder.load(0).unwrap_err();
                assert_eq!(e.code(), Code::BadImage);
                assert!(e.message().contains(found), "{name}: {e}");
                assert!(e.place().unwrap().ends_with(name), "{e}");
                assert!(e.remedy().unwrap().contains("convert"), "{e}");
            }
        }
    }

    #[test]
    fn defects_are_named() {
        let open = |files: &[(&str, &[u8])], split: &str| {
            ImageFolder::open(set(files).path(), split).unwrap_err()
        };
        assert_eq!(
            open(&[("train/a/x.txt", b"")], "train").code(),
            Code::EmptyClass
        );
        assert_eq!(
            open(&[("train/x.png", b"")], "train").code(),
            Code::EmptyData
        );
        assert_eq!(
            open(&[("train/a/x.png", b"")], "val").code(),
            Code::NotFound
        );
        let e = open(&[("train/tree/x.png", b""), ("val/tre/x.png", b"")], "val");
        assert!(
            e.code() == Code::BadFormat && e.to_string().contains("\"tree\""),
            "{e}"
        );
    }
}
