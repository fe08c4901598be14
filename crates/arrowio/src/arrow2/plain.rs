//! Values of Parquet data pages in encodings that arrow2 decodes for some types alone, as plain
//! values: the delta encodings and the split into streams of octets (Parquet format,
//! `Encodings.md`).

use parquet2::encoding::Encoding;
use parquet2::page::{DataPage, DataPageHeader, split_buffer};
use parquet2::schema::types::PhysicalType;

use crate::ErrorKind;

type Result<T> = std::result::Result<T, ErrorKind>;

/// Maximum size of one page in octets, both in the file and once decompressed.
pub(super) const MAX_PAGE: usize = 256 << 20;
/// Maximum number of values in a block of deltas; writers have 128 or some thousands.
const MAX_BLOCK: u64 = 1 << 16;

/// Returns a page with the same values in plain encoding; `None` if arrow2 decodes the page itself.
/// The page's levels must be within it.
pub(super) fn as_plain(page: &DataPage) -> Result<Option<DataPage>> {
    let encoding = page.encoding();
    let is_decoded = matches!(
        encoding,
        Encoding::DeltaBinaryPacked
            | Encoding::DeltaLengthByteArray
            | Encoding::DeltaByteArray
            | Encoding::ByteStreamSplit
    );
    if !is_decoded {
        return Ok(None);
    }
    let (_, _, values) =
        split_buffer(page).map_err(|_| ErrorKind::format("page", "levels within it", "more"))?;
    let physical = page.descriptor.primitive_type.physical_type;
    let mut plain = Plain { physical, octets: Vec::new() };
    plain.octets.extend_from_slice(&page.buffer()[..page.buffer().len() - values.len()]);
    let count = page.num_values() as u64;
    match encoding {
        Encoding::DeltaBinaryPacked => deltas(&mut &values[..], count, |n| plain.push_number(n))?,
        Encoding::ByteStreamSplit => plain.join_streams(values)?,
        _ => plain.push_texts(values, count, encoding == Encoding::DeltaByteArray)?,
    }
    let header = match page.header().clone() {
        DataPageHeader::V1(mut v1) => {
            v1.encoding = Encoding::Plain.into();
            DataPageHeader::V1(v1)
        }
        DataPageHeader::V2(mut v2) => {
            v2.encoding = Encoding::Plain.into();
            DataPageHeader::V2(v2)
        }
    };
    Ok(Some(DataPage::new(header, plain.octets, page.descriptor.clone(), None)))
}

/// Levels and plain values of a page.
struct Plain {
    physical: PhysicalType,
    octets: Vec<u8>,
}

impl Plain {
    /// Appends octets of a value.
    fn push(&mut self, octets: &[u8]) -> Result<()> {
        if self.octets.len() + octets.len() > MAX_PAGE {
            return Err(page_error(format!("at most {MAX_PAGE} octets once decoded"), "more"));
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    fn push_number(&mut self, number: i64) -> Result<()> {
        match self.physical {
            // Deltas wrap around in the width of their type.
            PhysicalType::Int32 => self.push(&(number as i32).to_le_bytes()),
            PhysicalType::Int64 => self.push(&number.to_le_bytes()),
            other => Err(page_error("deltas of integers", format!("those of {other:?}"))),
        }
    }

    /// Appends texts that share their first octets with the one before, if `has_prefixes`.
    fn push_texts(&mut self, mut values: &[u8], count: u64, has_prefixes: bool) -> Result<()> {
        let prefixes = if has_prefixes { lengths(&mut values, count)? } else { Vec::new() };
        let suffixes = lengths(&mut values, count)?;
        if has_prefixes && prefixes.len() != suffixes.len() {
            let expected = format!("{} suffixes, as many as prefixes", prefixes.len());
            return Err(page_error(expected, suffixes.len().to_string()));
        }
        let mut text = Vec::new();
        for (i, suffix) in suffixes.into_iter().enumerate() {
            let prefix = prefixes.get(i).copied().unwrap_or(0);
            if prefix > text.len() {
                let expected = format!("a prefix of at most {} octets", text.len());
                return Err(page_error(expected, prefix.to_string()));
            }
            text.truncate(prefix);
            text.extend_from_slice(take(&mut values, suffix)?);
            match self.physical {
                PhysicalType::ByteArray => self.push(&(text.len() as u32).to_le_bytes())?,
                PhysicalType::FixedLenByteArray(len) if len == text.len() => {}
                other => {
                    let found = format!("a text of {} octets", text.len());
                    return Err(page_error(format!("values of {other:?}"), found));
                }
            }
            self.push(&text)?;
        }
        Ok(())
    }

    /// Appends values whose first octets come first, then all second ones, and so on.
    fn join_streams(&mut self, values: &[u8]) -> Result<()> {
        let width = match self.physical {
            PhysicalType::Int32 | PhysicalType::Float => 4,
            PhysicalType::Int64 | PhysicalType::Double => 8,
            PhysicalType::FixedLenByteArray(len) if len > 0 => len,
            other => return Err(page_error("streams of octets", format!("those of {other:?}"))),
        };
        if !values.len().is_multiple_of(width) {
            return Err(page_error(
                format!("a multiple of {width} octets"),
                values.len().to_string(),
            ));
        }
        let count = values.len() / width;
        self.octets.extend((0..values.len()).map(|i| values[i % width * count + i / width]));
        Ok(())
    }
}

/// Reads lengths in octets, encoded as deltas.
fn lengths(octets: &mut &[u8], count: u64) -> Result<Vec<usize>> {
    let mut lengths = Vec::new();
    deltas(octets, count, |length| {
        lengths.push(
            usize::try_from(length)
                .map_err(|_| page_error("0 octets or more", length.to_string()))?,
        );
        Ok(())
    })?;
    Ok(lengths)
}

/// Reads at most `max_count` numbers, encoded as deltas in blocks of bit-packed miniblocks
/// (`DELTA_BINARY_PACKED`).
fn deltas(
    octets: &mut &[u8],
    max_count: u64,
    mut push: impl FnMut(i64) -> Result<()>,
) -> Result<()> {
    let [block, miniblocks, count] = [uleb128(octets)?, uleb128(octets)?, uleb128(octets)?];
    let mut number = zigzag(octets)?;
    let is_sound = block <= MAX_BLOCK && (1..=block / 8).contains(&miniblocks);
    if !is_sound || !block.is_multiple_of(8 * miniblocks) {
        let expected = format!("blocks of at most {MAX_BLOCK} values in miniblocks of eights");
        return Err(page_error(expected, format!("{block} in {miniblocks}")));
    }
    if count > max_count {
        return Err(page_error(format!("at most {max_count} values"), count.to_string()));
    }
    let per_miniblock = (block / miniblocks) as usize;
    if count > 0 {
        push(number)?;
    }
    let mut left = count.saturating_sub(1) as usize;
    while left > 0 {
        let least = zigzag(octets)?;
        for bits in take(octets, miniblocks as usize)? {
            // Miniblocks behind the last value have a width and no octets.
            let bits = usize::from(*bits);
            if left == 0 {
                break;
            }
            if bits > 64 {
                return Err(page_error("deltas of at most 64 bits", bits.to_string()));
            }
            let packed = take(octets, per_miniblock / 8 * bits)?;
            for i in 0..per_miniblock.min(left) {
                number = number.wrapping_add(least).wrapping_add(unpacked(packed, i * bits, bits));
                push(number)?;
            }
            left = left.saturating_sub(per_miniblock);
        }
    }
    Ok(())
}

/// Returns the `bits` bits, 64 at most, from the bit `at` on; the lowest bit of an octet is first.
fn unpacked(octets: &[u8], at: usize, bits: usize) -> i64 {
    let mut word = [0; 16];
    let own = &octets[at / 8..(at + bits).div_ceil(8)];
    word[..own.len()].copy_from_slice(own);
    (u128::from_le_bytes(word) >> (at % 8) & ((1 << bits) - 1)) as i64
}

/// Takes octets from the front.
fn take<'a>(octets: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let found = octets.len();
    octets
        .split_off(..length)
        .ok_or_else(|| page_error(format!("{length} octets more"), found.to_string()))
}

fn uleb128(octets: &mut &[u8]) -> Result<u64> {
    let (number, length) =
        read_uleb128(octets).ok_or_else(|| page_error("a number", "no end of it"))?;
    take(octets, length)?;
    Ok(number)
}

/// Reads an unsigned LEB128 number of at most 64 bits; returns it with its length in octets.
pub(super) fn read_uleb128(octets: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (i, octet) in octets.iter().enumerate().take(10) {
        number |= u64::from(octet & 0x7f) << (7 * i);
        if octet & 0x80 == 0 {
            return Some((number, i + 1));
        }
    }
    None
}

/// Reads a signed number whose lowest bit is its sign.
fn zigzag(octets: &mut &[u8]) -> Result<i64> {
    let number = uleb128(octets)?;
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

fn page_error(expected: impl Into<String>, found: impl Into<String>) -> ErrorKind {
    ErrorKind::format("page", expected, found)
}

#[cfg(test)]
mod tests {
    use parquet_format_safe::{DataPageHeader as Header, Encoding as Code};
    use parquet2::encoding::{delta_bitpacked, delta_length_byte_array};
    use parquet2::metadata::Descriptor;
    use parquet2::schema::types::PrimitiveType;
    use proptest::prelude::*;

    use super::*;

    /// Returns the plain values of a page of `count` values, or its error.
    fn plain(code: Code, physical: PhysicalType, count: i32, values: &[u8]) -> Result<Vec<u8>> {
        let header = DataPageHeader::V1(Header {
            num_values: count,
            encoding: code,
            definition_level_encoding: Code::RLE,
            repetition_level_encoding: Code::RLE,
            statistics: None,
        });
        let descriptor = Descriptor {
            primitive_type: PrimitiveType::from_physical("a".into(), physical),
            max_def_level: 1,
            max_rep_level: 0,
        };
        // Levels of two octets, behind their length.
        let buffer = [&[2, 0, 0, 0, 10, 1], values].concat();
        let page = as_plain(&DataPage::new(header, buffer, descriptor, None))?.unwrap();
        assert_eq!(
            (page.encoding(), &page.buffer()[..6]),
            (Encoding::Plain, &[2, 0, 0, 0, 10, 1][..])
        );
        Ok(page.buffer()[6..].to_vec())
    }

    fn check_error(code: Code, physical: PhysicalType, values: &[u8], expected: &str) {
        let error = plain(code, physical, 3, values).unwrap_err().to_string();
        assert_eq!(error, expected);
    }

    fn plain_texts(texts: &[Vec<u8>]) -> Vec<u8> {
        texts.iter().flat_map(|t| [&(t.len() as u32).to_le_bytes(), &t[..]].concat()).collect()
    }

    #[test]
    fn the_examples_of_the_format() {
        // Blocks of 128 in 4 miniblocks, 5 values from 1, a least delta of 1, no bits.
        let counting = [128, 1, 4, 5, 2, 2, 0, 0, 0, 0];
        let expected: Vec<u8> = (1..=5_i32).flat_map(i32::to_le_bytes).collect();
        let found = plain(Code::DELTA_BINARY_PACKED, PhysicalType::Int32, 5, &counting);
        assert_eq!(found.unwrap(), expected);
        let streams = [1, 2, 3, 10, 20, 30, 0, 0, 0, 4, 5, 6];
        let found = plain(Code::BYTE_STREAM_SPLIT, PhysicalType::Float, 3, &streams);
        assert_eq!(found.unwrap(), [1, 10, 0, 4, 2, 20, 0, 5, 3, 30, 0, 6]);
    }

    #[test]
    fn numbers_of_all_widths_come_back() {
        // Two miniblocks of eight: deltas of 64 bits, then of 3 bits.
        let mut octets = vec![16, 2, 17, 0, 0, 64, 3];
        octets.extend((0..8).flat_map(|i| (i64::MAX - i).to_le_bytes()));
        octets.extend([0b1000_1000, 0b1100_0110, 0b1111_1010]);
        let mut found = Vec::new();
        deltas(&mut &octets[..], 17, |number| {
            found.push(number);
            Ok(())
        })
        .unwrap();
        let mut expected = vec![0_i64];
        let mut push = |delta: i64| expected.push(expected[expected.len() - 1].wrapping_add(delta));
        (0..8).for_each(|i| push(i64::MAX - i));
        (0..8).for_each(&mut push);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_deltas_declare_is_compared_with_their_octets() {
        let check = |octets: &[u8], expected: &str| {
            check_error(Code::DELTA_BINARY_PACKED, PhysicalType::Int32, octets, expected);
        };
        check(&[128, 1, 4, 9, 0], "page: expected at most 3 values, found 9");
        let blocks = "page: expected blocks of at most 65536 values in miniblocks of eights, found";
        check(&[128, 1, 0, 3, 0], &format!("{blocks} 128 in 0"));
        check(&[12, 1, 3, 0], &format!("{blocks} 12 in 1"));
        check(&[255, 255, 255, 255, 15, 1, 3, 0], &format!("{blocks} 4294967295 in 1"));
        check(&[8, 1, 3, 0, 0, 65], "page: expected deltas of at most 64 bits, found 65");
        check(&[8, 1, 3, 0, 0, 7, 1], "page: expected 7 octets more, found 1");
        check(&[8, 1, 3, 0, 0], "page: expected 1 octets more, found 0");
        check(&[8, 1, 3, 128], "page: expected a number, found no end of it");
        let text = PhysicalType::ByteArray;
        let found = "page: expected deltas of integers, found those of ByteArray";
        check_error(Code::DELTA_BINARY_PACKED, text, &[8, 1, 1, 0], found);
    }

    #[test]
    fn texts_and_streams_that_do_not_fit_are_refused() {
        let check = |values: &[u8], expected: &str| {
            check_error(Code::DELTA_BYTE_ARRAY, PhysicalType::ByteArray, values, expected);
        };
        check(
            &[8, 1, 1, 2, 8, 1, 1, 2, 65],
            "page: expected a prefix of at most 0 octets, found 1",
        );
        check(&[8, 1, 1, 0, 8, 1, 0, 0], "page: expected 1 suffixes, as many as prefixes, found 0");
        check(&[8, 1, 1, 0, 8, 1, 1, 4, 65], "page: expected 2 octets more, found 1");
        check(&[8, 1, 1, 0, 8, 1, 1, 1], "page: expected 0 octets or more, found -1");
        let split = "page: expected a multiple of 8 octets, found 9";
        check_error(Code::BYTE_STREAM_SPLIT, PhysicalType::Double, &[0; 9], split);
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(-(1_i64 << 40)..1 << 40, 1..600)) {
            let mut octets = Vec::new();
            delta_bitpacked::encode(numbers.iter().copied(), &mut octets);
            let found = plain(Code::DELTA_BINARY_PACKED, PhysicalType::Int64, 600, &octets);
            let expected: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            prop_assert_eq!(found.unwrap(), expected);
        }

        #[test]
        fn texts_come_back(
            texts in prop::collection::vec(prop::collection::vec(0..3_u8, 0..9), 1..300),
        ) {
            // parquet2's own encoder subtracts with overflow where texts are short.
            let mut prefixes = vec![0];
            prefixes.extend(texts.windows(2).map(|pair| {
                pair[0].iter().zip(&pair[1]).take_while(|(a, b)| a == b).count()
            }));
            let suffixes = texts.iter().zip(&prefixes).map(|(text, prefix)| &text[*prefix..]);
            let mut octets = Vec::new();
            delta_bitpacked::encode(prefixes.iter().map(|prefix| *prefix as i64), &mut octets);
            delta_length_byte_array::encode(suffixes, &mut octets);
            let found = plain(Code::DELTA_BYTE_ARRAY, PhysicalType::ByteArray, 300, &octets);
            prop_assert_eq!(found.unwrap(), plain_texts(&texts));
            octets.clear();
            delta_length_byte_array::encode(texts.iter(), &mut octets);
            let found = plain(Code::DELTA_LENGTH_BYTE_ARRAY, PhysicalType::ByteArray, 300, &octets);
            prop_assert_eq!(found.unwrap(), plain_texts(&texts));
        }

        #[test]
        fn any_octets_are_values_or_an_error(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            code in prop::sample::select(vec![5, 6, 7, 9]),
        ) {
            for physical in [PhysicalType::Int32, PhysicalType::Int64, PhysicalType::ByteArray] {
                let _ = plain(Code(code), physical, 1000, &octets);
            }
        }
    }
}
