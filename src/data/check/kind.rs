//! Kinds of defects.

use serde::Serialize;

use crate::error::{Code, Error};

/// What kind of defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A picture that neither exists nor has a label, named by a list.
    AbsentId,
    /// A label whose picture is missing.
    MissingImage,
    /// A picture whose label is missing.
    MissingLabel,
    /// A file that is not a picture, or damaged.
    Undecodable,
    /// A picture that is cut off.
    Truncated,
    /// A label map of the wrong depth or kind.
    WrongFormat,
    /// Beyond the limits that protect memory.
    TooLarge,
    /// Label map and picture of different sizes.
    SizeMismatch,
    /// A label id outside the class map.
    LabelId,
    /// A box that reaches outside its picture.
    BoxOutside,
    /// A box whose edges are exchanged.
    BoxInverted,
    /// A box without area.
    BoxEmpty,
    /// A box with NaN or infinity.
    BoxNotFinite,
    /// A label line with a wrong number of fields.
    FieldCount,
    /// A field that is not a number, or outside its range.
    BadNumber,
    /// An object type that the format does not have.
    UnknownType,
    /// An id that a list names twice.
    DuplicateId,
    /// A list line that is not a plain id.
    BadId,
    /// A list without ids.
    EmptyList,
    /// A file that is not UTF-8 text.
    NotText,
    /// A class without examples in the training split.
    EmptyClass,
    /// A folder of a class that training does not know.
    UnknownClass,
    /// The same picture in training and held-out split.
    Leakage,
    /// The same picture twice in one split.
    DuplicateImage,
    /// A file that does not belong there.
    StrayFile,
    /// A binary file that ends inside a record.
    RecordSize,
    /// Anything that the system refuses to read.
    Unreadable,
    /// Bytes that do not have their checksum.
    Checksum,
}

impl Kind {
    /// The error code that a run would stop with.
    pub fn code(self) -> Code {
        match self {
            Kind::AbsentId | Kind::MissingImage | Kind::MissingLabel => Code::NotFound,
            Kind::Undecodable | Kind::Truncated => Code::BadImage,
            Kind::WrongFormat | Kind::UnknownClass | Kind::StrayFile | Kind::RecordSize => {
                Code::BadFormat
            }
            Kind::TooLarge => Code::TooLarge,
            Kind::SizeMismatch => Code::SizeMismatch,
            Kind::LabelId => Code::BadLabelId,
            Kind::BoxOutside | Kind::BoxInverted | Kind::BoxEmpty | Kind::BoxNotFinite => {
                Code::BadBox
            }
            Kind::FieldCount | Kind::BadNumber | Kind::UnknownType => Code::BadLine,
            Kind::DuplicateId | Kind::BadId | Kind::NotText => Code::BadLine,
            Kind::EmptyList => Code::EmptyData,
            Kind::EmptyClass => Code::EmptyClass,
            Kind::Leakage | Kind::DuplicateImage => Code::CheckFailed,
            Kind::Unreadable => Code::Io,
            Kind::Checksum => Code::BadFormat,
        }
    }

    /// How such a defect is mended.
    pub fn help(self) -> &'static str {
        match self {
            Kind::AbsentId => "take the line out, or add picture and label",
            Kind::MissingImage => "add the picture, or remove the label",
            Kind::MissingLabel => {
                "add the label; in KITTI a picture without objects has an empty file"
            }
            Kind::Undecodable | Kind::Truncated => {
                "fetch the file again, or take it out of the set"
            }
            Kind::WrongFormat => "use the id picture (`labelIds`), one channel of 8 bits",
            Kind::TooLarge => "scale the picture down, or split the file",
            Kind::SizeMismatch => "export picture and label map at the same size",
            Kind::LabelId => "correct the label, or name the coding of the files",
            Kind::BoxOutside => "clip the box to the picture",
            Kind::BoxInverted => "exchange the edges: the order is left, top, right, bottom",
            Kind::BoxEmpty => "give the box an area, or remove the line",
            Kind::BoxNotFinite => "write the edges as plain numbers of pixels",
            Kind::FieldCount => "a line has 15 fields, or 16 with a score",
            Kind::BadNumber => "write a plain number within its range",
            Kind::UnknownType => "use one of the types of the format",
            Kind::DuplicateId => "keep one of the two lines",
            Kind::BadId => "write one file name a line, without folder and extension",
            Kind::EmptyList => "write one id a line",
            Kind::NotText => "save it as UTF-8 text",
            Kind::EmptyClass => "take the class out of `classes`, or add examples of it",
            Kind::UnknownClass => "rename the folder, or add the class to the training split",
            Kind::Leakage => "take the picture out of one of the splits",
            Kind::DuplicateImage => "keep one of the copies",
            Kind::StrayFile => "move it out of the data set",
            Kind::RecordSize => "the file is cut off or not the binary version: fetch it again",
            Kind::Unreadable => "see that the file can be read",
            Kind::Checksum => "the file is damaged: fetch it again",
        }
    }

    /// The kind of a reader's error.
    pub(super) fn of(e: &Error) -> Kind {
        let says = |word: &str| e.message().contains(word);
        match e.code() {
            Code::BadImage if says("cut off") => Kind::Truncated,
            Code::BadImage => Kind::Undecodable,
            Code::BadFormat if says("cut off") => Kind::RecordSize,
            Code::BadFormat if says("checksum") => Kind::Checksum,
            Code::BadFormat => Kind::WrongFormat,
            Code::TooLarge => Kind::TooLarge,
            Code::BadLabelId => Kind::LabelId,
            Code::SizeMismatch => Kind::SizeMismatch,
            Code::BadBox if says("not finite") => Kind::BoxNotFinite,
            Code::BadBox if says("inverted") => Kind::BoxInverted,
            Code::BadBox if says("empty") => Kind::BoxEmpty,
            Code::BadBox => Kind::BoxOutside,
            Code::BadLine if says("UTF-8") => Kind::NotText,
            Code::BadLine if says("is already in line") => Kind::DuplicateId,
            Code::BadLine if says("unknown object type") => Kind::UnknownType,
            Code::BadLine if says("fields") => Kind::FieldCount,
            Code::BadLine => Kind::BadNumber,
            _ => Kind::Unreadable,
        }
    }
}
