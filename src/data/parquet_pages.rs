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
pub(super) struct Checked {
    pub pages: SerializedPageReader<Source>,
    /// The values are texts: each with its length, in four bytes, before it.
    pub texts: bool,
    /// Rows may be without a value; levels before the values say which are.
    pub nullable: bool,
    /// A dictionary was among them; the library panics at pages coded by one that there is not.
    pub dictionary: bool,
}

/// Number of the texts that fill the bytes of a page; none where they end within one, at which the library panics.
fn count_texts(mut page: &[u8]) -> Option<u32> {
    let mut count = 0;
    while !page.is_empty() {
        let (len, rest) = page.split_first_chunk()?;
        page = rest.get(u32::from_le_bytes(*len) as usize..)?;
        count += 1;
    }
    Some(count)
}

/// The bytes of a page of data behind the levels of its rows; none where the levels do not end within it.
fn behind_levels(page: &Page, nullable: bool) -> Option<&[u8]> {
    match page {
        Page::DataPage { buf, .. } if nullable => {
            let (len, rest) = buf.split_first_chunk()?;
            rest.get(u32::from_le_bytes(*len) as usize..)
        }
        Page::DataPageV2 {
            buf,
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => buf
            .get(*def_levels_byte_len as usize..)?
            .get(*rep_levels_byte_len as usize..),
        _ => Some(page.buffer()),
    }
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
        let is_dictionary = matches!(page, Page::DictionaryPage { .. });
        self.dictionary |= is_dictionary;
        if of_a_dictionary && !self.dictionary {
            return Err(refused("a page without the dictionary that it is coded by"));
        }
        // A value of a dictionary takes four bytes at least.
        if is_dictionary && page.num_values() as usize > page.buffer().len() / 4 {
            return Err(refused("a dictionary of more values than it has room for"));
        }
        let values = behind_levels(page, self.nullable)
            .ok_or_else(|| refused("a page that ends within the levels of its rows"))?;
        if !self.texts || (of_a_dictionary && !is_dictionary) {
            return Ok(());
        }
        let what = if is_dictionary { "dictionary" } else { "page" };
        match count_texts(values) {
            None => Err(refused(format!("a {what} that ends within a text"))),
            Some(n) if n < page.num_values() && (is_dictionary || !self.nullable) => {
                let text = format!(
                    "a {what} of {n} texts that should have {}",
                    page.num_values()
                );
                Err(refused(text))
            }
            Some(_) => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn data(buf: &[u8], num_values: u32, encoding: Encoding) -> Page {
        Page::DataPage {
            buf: Bytes::copy_from_slice(buf),
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        }
    }

    fn second(buf: &[u8], def_levels_byte_len: u32) -> Page {
        Page::DataPageV2 {
            buf: Bytes::copy_from_slice(buf),
            num_values: 1,
            encoding: Encoding::PLAIN,
            num_nulls: 0,
            num_rows: 1,
            def_levels_byte_len,
            rep_levels_byte_len: 0,
            is_compressed: false,
            statistics: None,
        }
    }

    #[test]
    fn texts_of_a_page() {
        let page = b"\x02\0\0\0ab\0\0\0\0";
        assert_eq!(count_texts(page), Some(2));
        assert_eq!(count_texts(b""), Some(0));
        for cut in (1..page.len()).filter(|&cut| cut != 6) {
            assert_eq!(count_texts(&page[..cut]), None, "{cut} bytes");
        }
        assert_eq!(count_texts(&u32::MAX.to_le_bytes()), None);
    }

    #[test]
    fn values_of_a_page() {
        let page = b"\x02\0\0\0abc";
        let of = |page: &Page, nullable| behind_levels(page, nullable).map(<[u8]>::to_vec);
        let plain = |cut: usize| data(&page[..cut], 1, Encoding::PLAIN);
        assert_eq!(of(&plain(7), false).as_deref(), Some(&page[..]));
        assert_eq!(of(&plain(7), true).as_deref(), Some(&b"c"[..]));
        assert_eq!(of(&plain(6), true).as_deref(), Some(&b""[..]));
        assert_eq!(of(&plain(5), true), None);
        assert_eq!(of(&plain(3), true), None);
        assert_eq!(of(&second(page, 3), true).as_deref(), Some(&b"\0abc"[..]));
        assert_eq!(of(&second(page, 8), true), None);
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
