//! The pages of a column in a Parquet file, each looked at before anything is made of it.
//!
//! A page says itself how large it is, how large once decompressed, and how many values it holds.
//! parquet2 takes all three at their word.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow2::io::parquet::read as pq;
use parquet_format_safe::thrift::protocol::TCompactInputProtocol;
use parquet_format_safe::{DictionaryPageHeader, PageHeader};
use parquet2::FallibleStreamingIterator;
use parquet2::compression::Compression;
use parquet2::encoding::Encoding;
use parquet2::error::Error as Refused;
use parquet2::metadata::Descriptor;
use parquet2::page::{
    CompressedDataPage, CompressedDictPage, CompressedPage, DataPage, DataPageHeader, Page,
    PageType, split_buffer,
};
use parquet2::read::levels::get_bit_width;
use parquet2::schema::types::PhysicalType;

use crate::ErrorKind;

/// One page may take so many octets, as it stands in the file and once decompressed.
const MAX_PAGE: usize = 256 << 20;
/// Its header, which may hold the smallest and the largest value.
const MAX_HEADER: usize = 16 << 20;
/// The pages of one batch may hold so many values: a few octets can stand for any number of the
/// same one.
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
            ErrorKind::format(
                "page",
                format!("at most {MAX_VALUES} values in a batch of rows"),
                "more",
            )
        })?;
        self.values.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps what was wrong with a page; what is returned ends the reading.
    fn refuse(&self, kind: ErrorKind) -> Refused {
        let text = kind.to_string();
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(kind);
        Refused::OutOfSpec(text)
    }

    /// What was wrong with a page, once.
    pub(crate) fn complaint(&self) -> Option<ErrorKind> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Pages once decompressed: those whose levels end before their values do are refused. arrow2 would
/// wait for more without end.
pub(crate) struct Checked<P> {
    pub(crate) pages: P,
    pub(crate) purse: Arc<Purse>,
}

impl<P: FallibleStreamingIterator<Item = Page, Error = Refused>> FallibleStreamingIterator
    for Checked<P>
{
    type Item = Page;
    type Error = Refused;

    fn advance(&mut self) -> std::result::Result<(), Refused> {
        self.pages.advance()?;
        let Some(Page::Data(page)) = self.pages.get() else { return Ok(()) };
        check_levels(page).map_err(|kind| self.purse.refuse(kind))
    }

    fn get(&self) -> Option<&Page> {
        self.pages.get()
    }
}

/// Whether there are as many repetition and definition levels as the page says it has values.
fn check_levels(page: &DataPage) -> Result<()> {
    if let DataPageHeader::V2(own) = page.header() {
        let lengths = [own.repetition_levels_byte_length, own.definition_levels_byte_length]
            .map(usize::try_from);
        let [Ok(repetition), Ok(definition)] = lengths else {
            return Err(negative("octets of levels", -1));
        };
        if repetition.saturating_add(definition) > page.buffer().len() {
            return Err(ErrorKind::format("page", "levels within it", "levels that are longer"));
        }
    }
    let short = || ErrorKind::format("page", "levels within it", "levels that are longer");
    let (repetition, definition, _) = split_buffer(page).map_err(|_| short())?;
    let levels =
        [(repetition, page.descriptor.max_rep_level), (definition, page.descriptor.max_def_level)];
    for (octets, most) in levels.into_iter().filter(|(_, most)| *most > 0) {
        let bits = get_bit_width(most) as usize;
        let found = count_of(octets, bits);
        if found < page.num_values() {
            let expected = format!("{} levels, as many as values", page.num_values());
            return Err(ErrorKind::format("page", expected, found.to_string()));
        }
    }
    Ok(())
}

/// How many values a run-length encoding of so many bits holds.
fn count_of(mut octets: &[u8], bits: usize) -> usize {
    let mut count = 0_usize;
    while !octets.is_empty() {
        let Some((run, length)) = varint(octets) else { break };
        octets = &octets[length..];
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

/// A number in groups of seven bits, the lowest first, and how many octets it takes.
fn varint(octets: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (i, octet) in octets.iter().enumerate().take(9) {
        number |= u64::from(octet & 0x7f) << (7 * i);
        if octet & 0x80 == 0 {
            return Some((number, i + 1));
        }
    }
    None
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
        let page_type = PageType::try_from(header.type_)
            .map_err(|_| unknown("type of page", header.type_.0))?;
        let mut octets = Vec::new();
        let read = self.input.by_ref().take(size as u64).read_to_end(&mut octets)?;
        if read < size {
            return Err(ErrorKind::format("page", format!("{size} octets"), format!("{read}")));
        }
        let (own, values) = match (page_type, header.data_page_header, header.data_page_header_v2) {
            (PageType::DictionaryPage, ..) => {
                return self.dictionary(header.dictionary_page_header, octets, unpacked);
            }
            (PageType::DataPage, Some(own), _) => (DataPageHeader::V1(own.clone()), own.num_values),
            (PageType::DataPageV2, _, Some(own)) => {
                (DataPageHeader::V2(own.clone()), own.num_values)
            }
            _ => return Err(headless()),
        };
        self.purse.spend(u64::try_from(values).map_err(|_| negative("values", values))?)?;
        self.values_left -= i64::from(values);
        check_encodings(&own)?;
        let page = CompressedDataPage::new(
            own,
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
        let own = header.ok_or_else(headless)?;
        let count =
            usize::try_from(own.num_values).map_err(|_| negative("values", own.num_values))?;
        let least = match self.descriptor.primitive_type.physical_type {
            PhysicalType::ByteArray => 4,
            _ => 1,
        };
        let holds =
            if self.compression == Compression::Uncompressed { octets.len() } else { unpacked };
        if count > holds / least {
            let expected =
                format!("a dictionary of at most {} values in {holds} octets", holds / least);
            return Err(ErrorKind::format("page", expected, count.to_string()));
        }
        let page = CompressedDictPage::new(
            octets,
            self.compression,
            unpacked,
            count,
            own.is_sorted.unwrap_or(false),
        );
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
            // No page follows one that is not to be trusted.
            self.values_left = 0;
            self.purse.refuse(kind)
        }))
    }
}

fn size_of(what: &str, found: i32) -> Result<usize> {
    usize::try_from(found).ok().filter(|size| *size <= MAX_PAGE).ok_or_else(|| {
        ErrorKind::format("page", format!("at most {MAX_PAGE} {what}"), found.to_string())
    })
}

fn check_encodings(header: &DataPageHeader) -> Result<()> {
    let used = match header {
        DataPageHeader::V1(own) => {
            vec![own.encoding, own.definition_level_encoding, own.repetition_level_encoding]
        }
        DataPageHeader::V2(own) => vec![own.encoding],
    };
    used.into_iter()
        .try_for_each(|e| Encoding::try_from(e).map(drop).map_err(|_| unknown("encoding", e.0)))
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
    fn levels_are_counted() {
        // A run of 5 ones, then one group of eight, bit by bit.
        assert_eq!(count_of(&[10, 1, 3, 0xaa], 1), 13);
        // Three bits each: a group of eight takes three octets, of which one is there.
        assert_eq!(count_of(&[3, 0xaa], 3), 2);
        assert_eq!(count_of(&[10], 1), 0);
        assert_eq!(count_of(&[0xff; 20], 1), 0);
        assert_eq!(count_of(&[], 1), 0);
    }

    #[test]
    fn sound_pages_pass() {
        check(&dictionary(1, 4), "");
        check(&data(4), "");
    }

    #[test]
    fn what_a_page_says_of_itself_is_held_against_what_is_there() {
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
