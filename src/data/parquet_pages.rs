//! Pages of Parquet files within limits: their sizes are looked at before anything is allocated, their encodings before they are decoded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length, SerializedPageReader};

/// Largest page, not compressed.
pub const MAX_PAGE: u64 = 1 << 30;
/// A page below this size is taken whatever its compressed size says, a larger one if it is at most [`RATIO`] times that.
const SMALL_PAGE: u64 = 16 << 20;
const RATIO: u64 = 64;

/// An error of this reader in the words of the crate.
pub(super) fn refused(what: impl Into<String>) -> ParquetError {
    ParquetError::General(what.into())
}

/// A file for reading, with its size.
pub(super) struct Source {
    pub path: PathBuf,
    pub size: u64,
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
pub(super) struct PageBytes {
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
pub(super) struct Checked(pub SerializedPageReader<Source>);

impl Checked {
    fn look(page: &Page) -> ParquetResult<()> {
        let plain = [
            Encoding::PLAIN,
            Encoding::RLE_DICTIONARY,
            #[allow(deprecated)]
            Encoding::PLAIN_DICTIONARY,
        ];
        if !plain.contains(&page.encoding()) {
            let text = format!("the encoding {} is not read", page.encoding());
            return Err(refused(text));
        }
        // A value of a dictionary takes four bytes at least.
        match page {
            Page::DictionaryPage {
                buf, num_values, ..
            } if *num_values as usize > buf.len() / 4 => {
                Err(refused("a dictionary of more values than it has room for"))
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
        let page = self.0.get_next_page()?;
        page.as_ref().map_or(Ok(()), Checked::look)?;
        Ok(page)
    }
    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.0.peek_next_page()
    }
    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.0.skip_next_page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
