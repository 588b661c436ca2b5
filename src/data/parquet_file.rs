//! Columns of Parquet files, by the `parquet` crate, within limits: nothing that a file merely says is allocated.
//!
//! Row groups are read on demand and pages that are not asked for are passed over. Plain and dictionary-coded columns without
//! nesting, uncompressed, Snappy or Zstandard: what pyarrow writes unless told otherwise.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Type;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::SerializedPageReader;

use super::parquet_pages::{Checked, Source, refused};
use crate::error::{Code, Error, Result};

/// Most rows of a file. A segment of Waymo has 1,000 pictures and some ten thousand boxes.
pub const MAX_ROWS: usize = 1 << 20;

/// A file and its index.
pub struct Table {
    source: Arc<Source>,
    meta: ParquetMetaData,
}

impl Table {
    /// Reads the index at the end of a file.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `BadFormat` for a file that is not Parquet or damaged, `TooLarge` above [`MAX_ROWS`].
    pub fn open(path: &Path) -> Result<Table> {
        let io = |e| Error::io(path, e);
        let file = std::fs::metadata(path).map_err(io)?;
        if !file.is_file() {
            return Err(Error::new(Code::Io, "not a regular file")
                .at(path.display())
                .help("put a Parquet file there"));
        }
        let source = Source {
            path: path.into(),
            size: file.len(),
        };
        let opened = File::open(path).map_err(io)?;
        let meta = ParquetMetaDataReader::new()
            .parse_and_finish(&opened)
            .map_err(|e| damaged(path.display(), &e))?;
        let table = Table {
            source: Arc::new(source),
            meta,
        };
        let rows = table.meta.row_groups().iter().map(|g| g.num_rows());
        let rows = rows.map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        let rows = rows.fold(0u64, u64::saturating_add);
        if rows > MAX_ROWS as u64 {
            let text = format!("{rows} rows, more than the limit of {MAX_ROWS}");
            return Err(Error::new(Code::TooLarge, text)
                .at(path.display())
                .help("see that it is the file of one segment"));
        }
        Ok(table)
    }

    /// Number of row groups.
    pub fn groups(&self) -> usize {
        self.meta.num_row_groups()
    }

    /// Rows of a group.
    pub fn rows(&self, group: usize) -> usize {
        self.meta.row_group(group).num_rows() as usize
    }

    /// `FILE, row group 3, column "type"`.
    fn place(&self, group: usize, column: &str) -> String {
        let path = self.source.path.display();
        format!("{path}, row group {group}, column {column:?}")
    }

    /// Whole numbers of rows `skip..skip + take` of a group.
    ///
    /// # Errors
    /// `BadFormat` without such a column, for another type, for an empty value, for damage; with group and column.
    pub fn integers(&self, group: usize, name: &str, skip: usize, take: usize) -> Result<Vec<i64>> {
        match self.column(group, name)? {
            (i, Type::INT32) => {
                let values = self.values::<Int32Type>(group, i, name, skip, take)?;
                Ok(values.into_iter().map(i64::from).collect())
            }
            (i, Type::INT64) => self.values::<Int64Type>(group, i, name, skip, take),
            (_, other) => Err(self.of_type(group, name, other, "whole numbers")),
        }
    }

    /// As [`Table::integers`], of numbers.
    ///
    /// # Errors
    /// As [`Table::integers`].
    pub fn numbers(&self, group: usize, name: &str, skip: usize, take: usize) -> Result<Vec<f64>> {
        match self.column(group, name)? {
            (i, Type::FLOAT) => {
                let values = self.values::<FloatType>(group, i, name, skip, take)?;
                Ok(values.into_iter().map(f64::from).collect())
            }
            (i, Type::DOUBLE) => self.values::<DoubleType>(group, i, name, skip, take),
            (_, other) => Err(self.of_type(group, name, other, "numbers")),
        }
    }

    /// As [`Table::integers`], of text or other bytes.
    ///
    /// # Errors
    /// As [`Table::integers`].
    pub fn bytes(
        &self,
        group: usize,
        name: &str,
        skip: usize,
        take: usize,
    ) -> Result<Vec<Vec<u8>>> {
        match self.column(group, name)? {
            (i, Type::BYTE_ARRAY) => {
                let values = self.values::<ByteArrayType>(group, i, name, skip, take)?;
                Ok(values.iter().map(|v| v.data().to_vec()).collect())
            }
            (_, other) => Err(self.of_type(group, name, other, "bytes")),
        }
    }

    fn of_type(&self, group: usize, name: &str, found: Type, wanted: &str) -> Error {
        let text = format!("the column is of type {found}, not of {wanted}");
        Error::new(Code::BadFormat, text)
            .at(self.place(group, name))
            .help("see that the file is of this component")
    }

    /// Number and type of a column.
    fn column(&self, group: usize, name: &str) -> Result<(usize, Type)> {
        let columns = self.meta.row_group(group).columns();
        let found = columns
            .iter()
            .position(|c| c.column_path().string() == name);
        let flat = |&i: &usize| columns[i].column_descr().max_rep_level() == 0;
        let i = found.filter(flat).ok_or_else(|| {
            Error::new(Code::BadFormat, "the file has no such column")
                .at(self.place(group, name))
                .help("see that the file is of this component")
        })?;
        Ok((i, columns[i].column_type()))
    }

    fn values<T: DataType>(
        &self,
        group: usize,
        column: usize,
        name: &str,
        skip: usize,
        take: usize,
    ) -> Result<Vec<T::T>> {
        let failed = |e: ParquetError| damaged(self.place(group, name), &e);
        let meta = self.meta.row_group(group).column(column);
        let start = meta
            .dictionary_page_offset()
            .unwrap_or(meta.data_page_offset());
        if start < 0 || meta.compressed_size() < 0 {
            return Err(failed(refused("it lies before the file")));
        }
        let rows = self.rows(group);
        let source = self.source.clone();
        let pages = SerializedPageReader::new(source, meta, rows, None).map_err(failed)?;
        let pages = Box::new(Checked {
            pages,
            texts: T::get_physical_type() == Type::BYTE_ARRAY,
            nullable: meta.column_descr().max_def_level() > 0,
            dictionary: false,
        });
        let (mut levels, mut values) = (vec![], vec![]);
        // What the pages' own look does not catch: the library indexes by what a file says here and there.
        let decode = || {
            let mut reader = ColumnReaderImpl::<T>::new(meta.column_descr_ptr(), pages);
            let skipped = reader.skip_records(skip)?;
            let (read, full, _) =
                reader.read_records(take, Some(&mut levels), None, &mut values)?;
            Ok((skipped, read, full))
        };
        let (skipped, read, full) = catch_unwind(AssertUnwindSafe(decode))
            .unwrap_or_else(|_| Err(refused("its values cannot be decoded")))
            .map_err(failed)?;
        if (skipped, read) != (skip, take) {
            let text = format!("{} rows where there should be {rows}", skipped + read);
            return Err(failed(refused(text)));
        }
        if full != take {
            let empty = levels.iter().position(|&l| l == 0).unwrap_or(0);
            let text = format!("the value of row {} is missing", skip + empty);
            return Err(failed(refused(text)));
        }
        Ok(values)
    }
}

fn damaged(place: impl std::fmt::Display, e: &ParquetError) -> Error {
    let text = match e {
        ParquetError::General(text) => text.clone(),
        other => other.to_string(),
    };
    let text = text.replace(['\n', '\r'], " ");
    Error::new(Code::BadFormat, format!("damaged Parquet file: {text}"))
        .at(place)
        .help("fetch the file again")
}
