//! Pages of a Parquet column chunk, each checked before it is decoded.
//!
//! The header of a page declares its size, its size once decompressed, and its number of values.
//! parquet2 allocates by these numbers without a check.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::io::parquet::read as pq;
use parquet_format_safe::thrift::protocol::TCompactInputProtocol;
use parquet_format_safe::{DictionaryPageHeader, PageHeader};
use parquet2::FallibleStreamingIterator;
use parquet2::compression::Compression;
use parquet2::encoding::Encoding;
use parquet2::error::Error as ParquetError;
use parquet2::metadata::Descriptor;
use parquet2::page::{
    CompressedDataPage, CompressedDictPage, CompressedPage, DataPage, DataPageHeader, Page,
    PageType, split_buffer,
};
use parquet2::read::levels::get_bit_width;
use parquet2::schema::types::PhysicalType;

use super::plain::{MAX_PAGE, as_plain, read_uleb128};
use crate::ErrorKind;

/// Maximum size of a page header in octets. It may contain the smallest and the largest value.
const MAX_HEADER: usize = 16 << 20;
/// Maximum number of values in the pages of one batch: a run-length encoding repeats one value any
/// number of times in a few octets.
const MAX_VALUES: u64 = 1 << 26;

type Result<T> = std::result::Result<T, ErrorKind>;

/// Remaining value budget for the pages of a batch, and the last error found in one.
#[derive(Default)]
pub(super) struct PageBudget {
    values: AtomicU64,
    error: Mutex<Option<ErrorKind>>,
}

impl PageBudget {
    /// Restores the full budget for a new batch.
    pub(super) fn reset(&self) {
        self.values.store(MAX_VALUES, Ordering::Relaxed);
    }

    /// Subtracts the values of a page from the budget.
    fn charge(&self, values: u64) -> Result<()> {
        let left = self.values.load(Ordering::Relaxed).checked_sub(values).ok_or_else(|| {
            let expected = format!("at most {MAX_VALUES} values in a batch of rows");
            ErrorKind::format("page", expected, "more")
        })?;
        self.values.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the error of a page and returns an error of parquet2 that ends the reading.
    fn keep_error(&self, kind: ErrorKind) -> ParquetError {
        let text = kind.to_string();
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
        ParquetError::OutOfSpec(text)
    }

    /// Takes the error of a page, if one was found.
    pub(super) fn take_error(&self) -> Option<ErrorKind> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Decompressed pages whose levels are at least as many as their values; any other page is an
/// error. arrow2 would wait for more levels in an endless loop. Values are in an encoding that
/// arrow2 decodes.
pub(super) struct CheckedPages<P> {
    pages: P,
    budget: Arc<PageBudget>,
    /// Current page, if its values were encoded in another way.
    plain: Option<Page>,
}

impl<P> CheckedPages<P> {
    /// Creates the checks of `pages`, which keep their errors in `budget`.
    pub(super) fn new(pages: P, budget: Arc<PageBudget>) -> CheckedPages<P> {
        CheckedPages { pages, budget, plain: None }
    }
}

impl<P: FallibleStreamingIterator<Item = Page, Error = ParquetError>> FallibleStreamingIterator
    for CheckedPages<P>
{
    type Item = Page;
    type Error = ParquetError;

    fn advance(&mut self) -> std::result::Result<(), ParquetError> {
        self.plain = None;
        self.pages.advance()?;
        let Some(Page::Data(page)) = self.pages.get() else { return Ok(()) };
        let plain = check_levels(page).and_then(|()| as_plain(page));
        self.plain = plain.map_err(|kind| self.budget.keep_error(kind))?.map(Page::Data);
        Ok(())
    }

    fn get(&self) -> Option<&Page> {
        self.plain.as_ref().or_else(|| self.pages.get())
    }
}

/// Checks that a page has at least as many repetition and definition levels as values.
fn check_levels(page: &DataPage) -> Result<()> {
    let too_long = || ErrorKind::format("page", "levels within it", "levels that are longer");
    // `split_buffer` slices a page of version 2 by these lengths without a check.
    if let DataPageHeader::V2(header) = page.header() {
        let lengths = [header.repetition_levels_byte_length, header.definition_levels_byte_length]
            .map(usize::try_from);
        let [Ok(repetition), Ok(definition)] = lengths else {
            return Err(negative_error("octets of levels", -1));
        };
        if repetition.saturating_add(definition) > page.buffer().len() {
            return Err(too_long());
        }
    }
    let (repetition, definition, _) = split_buffer(page).map_err(|_| too_long())?;
    let levels =
        [(repetition, page.descriptor.max_rep_level), (definition, page.descriptor.max_def_level)];
    // A column whose maximum level is 0 stores no levels of that kind.
    for (octets, max_level) in levels.into_iter().filter(|(_, max_level)| *max_level > 0) {
        let found = count_hybrid_rle(octets, get_bit_width(max_level) as usize);
        if found < page.num_values() {
            let expected = format!("{} levels, as many as values", page.num_values());
            return Err(ErrorKind::format("page", expected, found.to_string()));
        }
    }
    Ok(())
}

/// Counts the values of `bits` bits in Parquet's hybrid of run-length encoding and bit-packing.
fn count_hybrid_rle(mut octets: &[u8], bits: usize) -> usize {
    let mut count = 0_usize;
    while !octets.is_empty() {
        let Some((run, length)) = read_uleb128(octets) else { break };
        octets = &octets[length..];
        // The lowest bit of a run's header tells groups of eight bit-packed values (1), of which
        // the rest is the number, from a repeated value (0), of which the rest is the count.
        let (values, taken) = if run & 1 == 1 {
            let taken = usize::try_from(run >> 1)
                .unwrap_or(usize::MAX)
                .saturating_mul(bits)
                .min(octets.len());
            (taken * 8 / bits, taken)
        } else {
            let taken = bits.div_ceil(8);
            if taken > octets.len() {
                break;
            }
            (usize::try_from(run >> 1).unwrap_or(usize::MAX), taken)
        };
        count = count.saturating_add(values);
        octets = &octets[taken..];
    }
    count
}

/// Iterator over the compressed pages of one column chunk, from front to back.
pub(super) struct PageReader<R> {
    input: R,
    descriptor: Descriptor,
    compression: Compression,
    values_left: i64,
    budget: Arc<PageBudget>,
}

impl<R: Read> PageReader<R> {
    /// Creates a reader; `input` ends at the end of the chunk.
    pub(super) fn new(
        input: R,
        metadata: &pq::ColumnChunkMetaData,
        budget: Arc<PageBudget>,
    ) -> PageReader<R> {
        PageReader {
            input,
            descriptor: metadata.descriptor().descriptor.clone(),
            compression: metadata.compression(),
            values_left: metadata.num_values(),
            budget,
        }
    }

    fn next_page(&mut self) -> Result<CompressedPage> {
        let mut protocol = TCompactInputProtocol::new(&mut self.input, MAX_HEADER);
        let header = PageHeader::read_from_in_protocol(&mut protocol)
            .map_err(|_| ErrorKind::format("page", "a header", "octets that are none"))?;
        let size = checked_size("octets", header.compressed_page_size)?;
        let unpacked = checked_size("octets once decompressed", header.uncompressed_page_size)?;
        let page_type = PageType::try_from(header.type_)
            .map_err(|_| unknown_error("type of page", header.type_.0))?;
        // Memory grows only as octets arrive, not by the size that the header declares.
        let mut octets = Vec::new();
        let read = self.input.by_ref().take(size as u64).read_to_end(&mut octets)?;
        if read < size {
            return Err(ErrorKind::format("page", format!("{size} octets"), format!("{read}")));
        }
        let (header, values) =
            match (page_type, header.data_page_header, header.data_page_header_v2) {
                (PageType::DictionaryPage, ..) => {
                    return self.dictionary(header.dictionary_page_header, octets, unpacked);
                }
                (PageType::DataPage, Some(v1), _) => {
                    let values = v1.num_values;
                    (DataPageHeader::V1(v1), values)
                }
                (PageType::DataPageV2, _, Some(v2)) => {
                    let values = v2.num_values;
                    (DataPageHeader::V2(v2), values)
                }
                _ => return Err(missing_header_error()),
            };
        let charge = u64::try_from(values).map_err(|_| negative_error("values", values))?;
        self.budget.charge(charge)?;
        self.values_left -= i64::from(values);
        check_encodings(&header)?;
        let page = CompressedDataPage::new(
            header,
            octets,
            self.compression,
            unpacked,
            self.descriptor.clone(),
            None,
        );
        Ok(CompressedPage::Data(page))
    }

    fn dictionary(
        &self,
        header: Option<DictionaryPageHeader>,
        octets: Vec<u8>,
        unpacked: usize,
    ) -> Result<CompressedPage> {
        let header = header.ok_or_else(missing_header_error)?;
        let count = usize::try_from(header.num_values)
            .map_err(|_| negative_error("values", header.num_values))?;
        // A plain byte array is preceded by its length in four octets.
        let min_octets = match self.descriptor.primitive_type.physical_type {
            PhysicalType::ByteArray => 4,
            _ => 1,
        };
        let size =
            if self.compression == Compression::Uncompressed { octets.len() } else { unpacked };
        let max_count = size / min_octets;
        if count > max_count {
            let expected = format!("a dictionary of at most {max_count} values in {size} octets");
            return Err(ErrorKind::format("page", expected, count.to_string()));
        }
        let is_sorted = header.is_sorted.unwrap_or(false);
        let page = CompressedDictPage::new(octets, self.compression, unpacked, count, is_sorted);
        Ok(CompressedPage::Dict(page))
    }
}

impl<R: Read> Iterator for PageReader<R> {
    type Item = std::result::Result<CompressedPage, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.values_left <= 0 {
            return None;
        }
        Some(self.next_page().map_err(|kind| {
            // After an invalid page the start of the next one is unknown.
            self.values_left = 0;
            self.budget.keep_error(kind)
        }))
    }
}

fn checked_size(unit: &str, found: i32) -> Result<usize> {
    usize::try_from(found).ok().filter(|size| *size <= MAX_PAGE).ok_or_else(|| {
        ErrorKind::format("page", format!("at most {MAX_PAGE} {unit}"), found.to_string())
    })
}

fn check_encodings(header: &DataPageHeader) -> Result<()> {
    let encodings = match header {
        DataPageHeader::V1(v1) => {
            vec![v1.encoding, v1.definition_level_encoding, v1.repetition_level_encoding]
        }
        DataPageHeader::V2(v2) => vec![v2.encoding],
    };
    encodings.into_iter().try_for_each(|encoding| {
        Encoding::try_from(encoding).map(drop).map_err(|_| unknown_error("encoding", encoding.0))
    })
}

fn unknown_error(subject: &str, found: i32) -> ErrorKind {
    ErrorKind::format("page", format!("a known {subject}"), found.to_string())
}

fn negative_error(subject: &str, found: i32) -> ErrorKind {
    ErrorKind::format("page", format!("0 {subject} or more"), found.to_string())
}

fn missing_header_error() -> ErrorKind {
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
        let own =
            DictionaryPageHeader { num_values: values, encoding: Code::PLAIN, is_sorted: None };
        PageHeader {
            dictionary_page_header: Some(own),
            ..header(Kind::DICTIONARY_PAGE, unpacked, 4)
        }
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

    /// Reads a page of this header and four octets; compares its error, empty for none.
    fn check(header: &PageHeader, expected: &str) {
        let mut octets = Vec::new();
        header.write_to_out_protocol(&mut TCompactOutputProtocol::new(&mut octets)).unwrap();
        octets.extend([0; 4]);
        let budget = Arc::new(PageBudget::default());
        budget.reset();
        let mut pages = PageReader {
            input: &octets[..],
            descriptor: Descriptor {
                primitive_type: PrimitiveType::from_physical("a".into(), PhysicalType::ByteArray),
                max_def_level: 0,
                max_rep_level: 0,
            },
            compression: Compression::Zstd,
            values_left: i64::MAX,
            budget: budget.clone(),
        };
        let is_page = pages.next().unwrap().is_ok();
        let error = budget.take_error().map_or_else(String::new, |kind| kind.to_string());
        assert_eq!((is_page, error.as_str()), (expected.is_empty(), expected));
        assert!(is_page || pages.next().is_none());
    }

    #[test]
    fn levels_are_counted() {
        // A run of 5 ones, then one bit-packed group of eight values.
        assert_eq!(count_hybrid_rle(&[10, 1, 3, 0xaa], 1), 13);
        // Three bits each: a group of eight takes three octets, of which one is there.
        assert_eq!(count_hybrid_rle(&[3, 0xaa], 3), 2);
        assert_eq!(count_hybrid_rle(&[10], 1), 0);
        assert_eq!(count_hybrid_rle(&[0xff; 20], 1), 0);
        assert_eq!(count_hybrid_rle(&[], 1), 0);
    }

    #[test]
    fn sound_pages_pass() {
        check(&dictionary(1, 4), "");
        check(&data(4), "");
    }

    #[test]
    fn what_a_page_declares_is_compared_with_its_octets() {
        check(
            &dictionary(1, 1 << 30),
            "page: expected at most 268435456 octets once decompressed, found 1073741824",
        );
        check(
            &dictionary(1, -1),
            "page: expected at most 268435456 octets once decompressed, found -1",
        );
        check(
            &dictionary(1_000_000, 4),
            "page: expected a dictionary of at most 1 values in 4 octets, found 1000000",
        );
        check(&dictionary(-1, 4), "page: expected 0 values or more, found -1");
        check(
            &data(i32::MAX),
            "page: expected at most 67108864 values in a batch of rows, found more",
        );
        check(&data(-1), "page: expected 0 values or more, found -1");
        check(&header(Kind::DATA_PAGE, 4, 4), "page: expected a header of its type, found none");
        check(&header(Kind(9), 4, 4), "page: expected a known type of page, found 9");
        check(
            &PageHeader { compressed_page_size: 5, ..data(1) },
            "page: expected 5 octets, found 4",
        );
        check(
            &PageHeader { compressed_page_size: -5, ..data(1) },
            "page: expected at most 268435456 octets, found -5",
        );
    }
}
