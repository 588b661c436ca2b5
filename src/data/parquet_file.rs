//! Columns of Parquet files, by the `parquet` crate, within limits: nothing that a file merely says is allocated.
//!
//! Row groups are read on demand and pages that are not asked for are passed over. Plain and dictionary-coded columns without
//! nesting, uncompressed, Snappy or Zstandard: what pyarrow writes unless told otherwise.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length, SerializedPageReader};

use crate::error::{Code, Error, Result};

/// Most rows of a file. A segment of Waymo has 1,000 pictures and some ten thousand boxes.
pub const MAX_ROWS: usize = 1 << 20;
/// Largest page, not compressed.
pub const MAX_PAGE: u64 = 1 << 30;
/// A page below this size is taken whatever its compressed size says, a larger one if it is at most [`RATIO`] times that.
const SMALL_PAGE: u64 = 16 << 20;
const RATIO: u64 = 64;

fn refused(what: impl Into<String>) -> ParquetError {
    ParquetError::General(what.into())
}

/// A file for reading, with its size.
struct Source {
    path: PathBuf,
    size: u64,
}

impl Source {
    fn at(&self, start: u64) -> ParquetResult<File> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Source {
    type T = PageBytes;

    fn get_read(&self, start: u64) -> ParquetResult<PageBytes> {
        Ok(PageBytes {
            inner: BufReader::with_capacity(1 << 10, self.at(start)?),
            checked: false,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start > self.size || length as u64 > self.size - start {
            return Err(refused("it reaches beyond the end of the file"));
        }
        let mut bytes = vec![0; length];
        self.at(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// The bytes of a page from its header on. The library believes the sizes in it, so they are looked at first.
struct PageBytes {
    inner: BufReader<File>,
    checked: bool,
}

impl Read for PageBytes {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if !self.checked {
            self.checked = true;
            let head = page_sizes(self.inner.fill_buf()?);
            let (whole, packed) = head.ok_or_else(|| std::io::Error::other("no page header"))?;
            if whole > MAX_PAGE || whole > SMALL_PAGE.max(packed.saturating_mul(RATIO)) {
                let text = format!("a page of {whole} bytes out of {packed} is refused");
                return Err(std::io::Error::other(text));
            }
        }
        self.inner.read(buf)
    }
}

/// Sizes of a page, not compressed and compressed, from its header: the second and third of its fields, all of type i32, which
/// every writer puts first (Thrift compact protocol, `PageHeader`).
fn page_sizes(header: &[u8]) -> Option<(u64, u64)> {
    let mut bytes = header.iter().copied();
    let mut field = || {
        let (mut value, mut shift) = (0u64, 0);
        if bytes.next()? != 0x15 {
            return None;
        }
        loop {
            let b = bytes.next()?;
            value |= ((b & 0x7f) as u64) << shift;
            shift += 7;
            match b < 0x80 {
                // Even numbers are twice the value; odd ones are negative.
                true if value % 2 == 0 => return Some(value / 2),
                true => return None,
                false if shift > 28 => return None,
                false => {}
            }
        }
    };
    field()?;
    Some((field()?, field()?))
}

/// Looks at each page before it is decoded.
struct Checked {
    pages: SerializedPageReader<Source>,
    /// The values are texts: each with its length, in four bytes, before it.
    texts: bool,
    /// A dictionary was among them; the library panics at pages coded by one that there is not.
    dictionary: bool,
}

/// So many texts are in the bytes of a page; the library panics at a length that is cut off.
fn has_texts(mut page: &[u8], count: u32) -> bool {
    (0..count).all(|_| {
        let next = page.split_first_chunk();
        let text = next.and_then(|(len, rest)| rest.get(u32::from_le_bytes(*len) as usize..));
        page = text.unwrap_or_default();
        text.is_some()
    })
}

impl Checked {
    fn look(&mut self, page: &Page) -> ParquetResult<()> {
        let of_a_dictionary = [
            Encoding::RLE_DICTIONARY,
            #[allow(deprecated)]
            Encoding::PLAIN_DICTIONARY,
        ]
        .contains(&page.encoding());
        if !of_a_dictionary && page.encoding() != Encoding::PLAIN {
            let text = format!("the encoding {} is not read", page.encoding());
            return Err(refused(text));
        }
        self.dictionary |= matches!(page, Page::DictionaryPage { .. });
        if of_a_dictionary && !self.dictionary {
            return Err(refused("a page without the dictionary that it is coded by"));
        }
        // A value of a dictionary takes four bytes at least.
        match page {
            Page::DictionaryPage {
                buf, num_values, ..
            } if *num_values as usize > buf.len() / 4 => {
                Err(refused("a dictionary of more values than it has room for"))
            }
            Page::DictionaryPage {
                buf, num_values, ..
            } if self.texts && !has_texts(buf, *num_values) => {
                Err(refused("a dictionary that ends within a text"))
            }
            _ => Ok(()),
        }
    }
}

impl Iterator for Checked {
    type Item = ParquetResult<Page>;
    fn next(&mut self) -> Option<ParquetResult<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.as_ref().map_or(Ok(()), |p| self.look(p))?;
        Ok(page)
    }
    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }
    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }
}

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
            dictionary: false,
        });
        let mut reader = ColumnReaderImpl::<T>::new(meta.column_descr_ptr(), pages);
        let (mut levels, mut values) = (vec![], vec![]);
        let skipped = reader.skip_records(skip).map_err(failed)?;
        let (read, full, _) = reader
            .read_records(take, Some(&mut levels), None, &mut values)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_page() {
        let page = b"\x02\0\0\0ab\0\0\0\0";
        assert!(has_texts(page, 0) && has_texts(page, 1) && has_texts(page, 2));
        assert!(!has_texts(page, 3));
        for cut in 0..page.len() {
            assert!(!has_texts(&page[..cut], 2), "{cut} bytes");
        }
        assert!(!has_texts(&u32::MAX.to_le_bytes(), 1));
    }

    #[test]
    fn sizes_of_a_page_header() {
        // Type 0, 300 bytes out of 5.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 10, 0x15, 0];
        assert_eq!(page_sizes(&header), Some((300, 5)));
        for bad in [
            &header[..6],
            &[0x05, 2, 0, 0x15, 1],
            &[0x15, 0, 0x15, 0x01, 0x15, 10],
            &[0x15, 0, 0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert_eq!(page_sizes(bad), None, "{bad:?}");
        }
    }
}
