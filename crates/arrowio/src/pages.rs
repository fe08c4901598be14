//! The pages of a column in a Parquet file, each looked at before anything is made of it.
//!
//! A page says itself how large it is, how large once decompressed, and how many values it holds. parquet2 takes all
//! three at their word.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::io::parquet::read as pq;
use parquet_format_safe::thrift::protocol::TCompactInputProtocol;
use parquet_format_safe::{DictionaryPageHeader, PageHeader};
use parquet2::compression::Compression;
use parquet2::encoding::Encoding;
use parquet2::error::Error as Refused;
use parquet2::metadata::Descriptor;
use parquet2::page::{CompressedDataPage, CompressedDictPage, CompressedPage, DataPageHeader, PageType};
use parquet2::schema::types::PhysicalType;

use crate::ErrorKind;

/// One page may take so many octets, as it stands in the file and once decompressed.
const MAX_PAGE: usize = 256 << 20;
/// Its header, which may hold the smallest and the largest value.
const MAX_HEADER: usize = 16 << 20;
/// The pages of one batch may hold so many values: a few octets can stand for any number of the same one.
const MAX_VALUES: u64 = 1 << 26;

type Result<T> = std::result::Result<T, ErrorKind>;

/// What the pages of a batch may still cost, and what was wrong with one of them.
#[derive(Default)]
pub(crate) struct Purse {
    values: AtomicU64,
    complaint: Mutex<Option<ErrorKind>>,
}

impl Purse {
    /// Begins a batch.
    pub(crate) fn fill(&self) {
        self.values.store(MAX_VALUES, Ordering::Relaxed);
    }

    fn spend(&self, values: u64) -> Result<()> {
        let left = self.values.load(Ordering::Relaxed).checked_sub(values).ok_or_else(|| {
            ErrorKind::format("page", format!("at most {MAX_VALUES} values in a batch of rows"), "more")
        })?;
        self.values.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// What was wrong with a page, once.
    pub(crate) fn complaint(&self) -> Option<ErrorKind> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The pages of one column of a row group, from front to back.
pub(crate) struct Pages<R> {
    input: R,
    descriptor: Descriptor,
    compression: Compression,
    values_left: i64,
    purse: Arc<Purse>,
}

impl<R: Read> Pages<R> {
    /// `input` ends where the column does.
    pub(crate) fn new(input: R, metadata: &pq::ColumnChunkMetaData, purse: Arc<Purse>) -> Pages<R> {
        Pages {
            input,
            descriptor: metadata.descriptor().descriptor.clone(),
            compression: metadata.compression(),
            values_left: metadata.num_values(),
            purse,
        }
    }

    fn page(&mut self) -> Result<CompressedPage> {
        let mut protocol = TCompactInputProtocol::new(&mut self.input, MAX_HEADER);
        let header = PageHeader::read_from_in_protocol(&mut protocol)
            .map_err(|_| ErrorKind::format("page", "a header", "octets that are none"))?;
        let size = size_of("octets", header.compressed_page_size)?;
        let unpacked = size_of("octets once decompressed", header.uncompressed_page_size)?;
        let page_type = PageType::try_from(header.type_).map_err(|_| unknown("type of page", header.type_.0))?;
        let mut octets = Vec::new();
        let read = self.input.by_ref().take(size as u64).read_to_end(&mut octets)?;
        if read < size {
            return Err(ErrorKind::format("page", format!("{size} octets"), format!("{read}")));
        }
        let (own, values) = match (page_type, header.data_page_header, header.data_page_header_v2) {
            (PageType::DictionaryPage, ..) => return self.dictionary(header.dictionary_page_header, octets, unpacked),
            (PageType::DataPage, Some(own), _) => (DataPageHeader::V1(own.clone()), own.num_values),
            (PageType::DataPageV2, _, Some(own)) => (DataPageHeader::V2(own.clone()), own.num_values),
            _ => return Err(headless()),
        };
        self.purse.spend(u64::try_from(values).map_err(|_| negative("values", values))?)?;
        self.values_left -= i64::from(values);
        check_encodings(&own)?;
        let page = CompressedDataPage::new(own, octets, self.compression, unpacked, self.descriptor.clone(), None);
        Ok(CompressedPage::Data(page))
    }

    fn dictionary(
        &self,
        header: Option<DictionaryPageHeader>,
        octets: Vec<u8>,
        unpacked: usize,
    ) -> Result<CompressedPage> {
        let own = header.ok_or_else(headless)?;
        let count = usize::try_from(own.num_values).map_err(|_| negative("values", own.num_values))?;
        let least = match self.descriptor.primitive_type.physical_type {
            PhysicalType::ByteArray => 4,
            _ => 1,
        };
        let holds = if self.compression == Compression::Uncompressed { octets.len() } else { unpacked };
        if count > holds / least {
            let expected = format!("a dictionary of at most {} values in {holds} octets", holds / least);
            return Err(ErrorKind::format("page", expected, count.to_string()));
        }
        let page = CompressedDictPage::new(octets, self.compression, unpacked, count, own.is_sorted.unwrap_or(false));
        Ok(CompressedPage::Dict(page))
    }
}

impl<R: Read> Iterator for Pages<R> {
    type Item = std::result::Result<CompressedPage, Refused>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.values_left <= 0 {
            return None;
        }
        Some(self.page().map_err(|kind| {
            let text = kind.to_string();
            *self.purse.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
            // No page follows one that is not to be trusted.
            self.values_left = 0;
            Refused::OutOfSpec(text)
        }))
    }
}

fn size_of(what: &str, found: i32) -> Result<usize> {
    usize::try_from(found)
        .ok()
        .filter(|size| *size <= MAX_PAGE)
        .ok_or_else(|| ErrorKind::format("page", format!("at most {MAX_PAGE} {what}"), found.to_string()))
}

fn check_encodings(header: &DataPageHeader) -> Result<()> {
    let used = match header {
        DataPageHeader::V1(own) => vec![own.encoding, own.definition_level_encoding, own.repetition_level_encoding],
        DataPageHeader::V2(own) => vec![own.encoding],
    };
    used.into_iter().try_for_each(|e| Encoding::try_from(e).map(drop).map_err(|_| unknown("encoding", e.0)))
}

fn unknown(what: &str, found: i32) -> ErrorKind {
    ErrorKind::format("page", format!("a known {what}"), found.to_string())
}

fn negative(what: &str, found: i32) -> ErrorKind {
    ErrorKind::format("page", format!("0 {what} or more"), found.to_string())
}

fn headless() -> ErrorKind {
    ErrorKind::format("page", "a header of its type", "none")
}

#[cfg(test)]
mod tests {
    use parquet_format_safe::thrift::protocol::TCompactOutputProtocol;
    use parquet_format_safe::{DataPageHeader as Data, Encoding as Code, PageType as Kind};
    use parquet2::schema::types::PrimitiveType;

    use super::*;

    fn header(kind: Kind, unpacked: i32, packed: i32) -> PageHeader {
        PageHeader::new(kind, unpacked, packed, None, None, None, None, None)
    }

    fn dictionary(values: i32, unpacked: i32) -> PageHeader {
        let own = DictionaryPageHeader { num_values: values, encoding: Code::PLAIN, is_sorted: None };
        PageHeader { dictionary_page_header: Some(own), ..header(Kind::DICTIONARY_PAGE, unpacked, 4) }
    }

    fn data(values: i32) -> PageHeader {
        let own = Data {
            num_values: values,
            encoding: Code::PLAIN,
            definition_level_encoding: Code::RLE,
            repetition_level_encoding: Code::RLE,
            statistics: None,
        };
        PageHeader { data_page_header: Some(own), ..header(Kind::DATA_PAGE, 4, 4) }
    }

    /// What is said of a page with this header and four octets.
    fn check(header: &PageHeader, expected: &str) {
        let mut octets = Vec::new();
        header.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut octets)).unwrap();
        octets.extend([0; 4]);
        let purse = Arc::new(Purse::default());
        purse.fill();
        let mut pages = Pages {
            input: &octets[..],
            descriptor: Descriptor {
                primitive_type: PrimitiveType::from_physical("a".into(), PhysicalType::ByteArray),
                max_def_level: 0,
                max_rep_level: 0,
            },
            compression: Compression::Zstd,
            values_left: i64::MAX,
            purse: purse.clone(),
        };
        let is_page = pages.next().unwrap().is_ok();
        let said = purse.complaint().map_or_else(String::new, |kind| kind.to_string());
        assert_eq!((is_page, said.as_str()), (expected.is_empty(), expected));
        assert!(is_page || pages.next().is_none());
    }

    #[test]
    fn sound_pages_pass() {
        check(&dictionary(1, 4), "");
        check(&data(4), "");
    }

    #[test]
    fn what_a_page_says_of_itself_is_held_against_what_is_there() {
        check(&dictionary(1, 1 << 30), "page: expected at most 268435456 octets once decompressed, found 1073741824");
        check(&dictionary(1, -1), "page: expected at most 268435456 octets once decompressed, found -1");
        check(&dictionary(1_000_000, 4), "page: expected a dictionary of at most 1 values in 4 octets, found 1000000");
        check(&dictionary(-1, 4), "page: expected 0 values or more, found -1");
        check(&data(i32::MAX), "page: expected at most 67108864 values in a batch of rows, found more");
        check(&data(-1), "page: expected 0 values or more, found -1");
        check(&header(Kind::DATA_PAGE, 4, 4), "page: expected a header of its type, found none");
        check(&header(Kind(9), 4, 4), "page: expected a known type of page, found 9");
        check(&PageHeader { compressed_page_size: 5, ..data(1) }, "page: expected 5 octets, found 4");
        check(&PageHeader { compressed_page_size: -5, ..data(1) }, "page: expected at most 268435456 octets, found -5");
    }
}
