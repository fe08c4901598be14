//! Statistics and column orders of Parquet files, which arrow2 and parquet2 leave to be mended.
//!
//! parquet2 compares unsigned integers as if they were signed, so that the least and the greatest
//! value of a `uint32` column may be exchanged, and writes no column orders, without which readers
//! differ in what these values mean.

use arrow2::array::{Array, FixedSizeListArray, ListArray, PrimitiveArray};
use arrow2::error::{Error, Result};
use arrow2::io::parquet::write as pq;
use parquet_format_safe::thrift::protocol::TCompactOutputProtocol;
use parquet_format_safe::{ColumnOrder, Statistics, TypeDefinedOrder};
use parquet2::error::Error as ParquetError;
use parquet2::page::{DataPage, DataPageHeader, Page};

use super::build::RecordBatch;

/// Returns a row group of a record batch, with types and options of the file.
pub(super) fn row_group(
    RecordBatch(batch): RecordBatch,
    types: Vec<pq::ParquetType>,
    options: pq::WriteOptions,
) -> pq::RowGroupIter<'static, Error> {
    let columns = batch.into_arrays().into_iter().zip(types);
    pq::DynIter::new(columns.map(move |(array, of)| {
        let bounds = unsigned_bounds(&*array);
        let array = with_offsets(array)?;
        let columns = pq::array_to_columns(array, of, options, &[pq::Encoding::Plain])?;
        // No type of a dataset's column has more than one leaf.
        let pages = columns.into_iter().flatten().map(move |page| {
            let page = page.map_err(|e| ParquetError::OutOfSpec(e.to_string()))?;
            Ok(match (page, bounds) {
                (Page::Data(page), Some(bounds)) => Page::Data(with_bounds(page, bounds)),
                (page, _) => page,
            })
        });
        let pages = pq::Compressor::new(pq::DynIter::new(pages), options.compression, Vec::new());
        Ok(pq::DynStreamingIterator::new(map_error(pages)))
    }))
}

/// Returns vectors as lists, which Parquet has them as: arrow2 writes no others. The schema that
/// Arrow's readers find in the file says how long they are.
fn with_offsets(array: Box<dyn Array>) -> Result<Box<dyn Array>> {
    let Some(vectors) = array.as_any().downcast_ref::<FixedSizeListArray>() else {
        return Ok(array);
    };
    let ends = (0..=vectors.len()).map(|row| row * vectors.size());
    let ends: std::result::Result<Vec<i32>, _> = ends.map(i32::try_from).collect();
    let ends = ends.map_err(|_| Error::Overflow)?.try_into()?;
    let list_type = ListArray::<i32>::default_datatype(vectors.values().data_type().clone());
    Ok(ListArray::try_new(list_type, ends, vectors.values().clone(), None)?.boxed())
}

fn map_error(
    pages: pq::Compressor<pq::DynIter<'static, std::result::Result<Page, ParquetError>>>,
) -> impl pq::FallibleStreamingIterator<Item = pq::CompressedPage, Error = Error> {
    use pq::FallibleStreamingIterator as _;
    pages.map_err(Error::from)
}

/// Returns the least and the greatest value of a `uint32` array; `None` for other types and without
/// a value. Values of other unsigned types are the same as signed ones.
fn unsigned_bounds(array: &dyn Array) -> Option<[u32; 2]> {
    let values = array.as_any().downcast_ref::<PrimitiveArray<u32>>()?;
    let each = || values.iter().flatten().copied();
    Some([each().min()?, each().max()?])
}

/// Replaces the least and the greatest value in the header of a page by those of its whole column
/// chunk, which bound the page's too.
fn with_bounds(mut page: DataPage, [min, max]: [u32; 2]) -> DataPage {
    let mut header = page.header().clone();
    let statistics: Option<&mut Statistics> = match &mut header {
        DataPageHeader::V1(header) => header.statistics.as_mut(),
        DataPageHeader::V2(header) => header.statistics.as_mut(),
    };
    if let Some(statistics) = statistics {
        statistics.min_value = Some(min.to_le_bytes().to_vec());
        statistics.max_value = Some(max.to_le_bytes().to_vec());
    }
    let octets = std::mem::take(page.buffer_mut());
    let rows = page.selected_rows().map(|rows| rows.iter().map(|r| r.length).sum());
    DataPage::new(header, octets, page.descriptor.clone(), rows)
}

/// Writes the footer of a file once more, with the order of its columns' values: that of their
/// types.
pub(super) fn footer_with_orders(mut metadata: pq::ThriftFileMetaData) -> Result<Vec<u8>> {
    // A group has children instead of values.
    let leaves = metadata.schema.iter().filter(|element| element.num_children.is_none()).count();
    metadata.column_orders = Some(vec![ColumnOrder::TYPEORDER(TypeDefinedOrder {}); leaves]);
    let mut footer = Vec::new();
    let mut protocol = TCompactOutputProtocol::new(&mut footer);
    let length = metadata
        .write_to_out_protocol(&mut protocol)
        .map_err(|e| Error::OutOfSpec(e.to_string()))?;
    footer.extend_from_slice(&(length as u32).to_le_bytes());
    footer.extend_from_slice(super::parquet_footer::MAGIC);
    Ok(footer)
}

#[cfg(test)]
mod tests {
    use parquet2::read::read_metadata;
    use parquet2::statistics::PrimitiveStatistics;

    use crate::{
        Compression, DatasetFormat, DatasetMeta, DatasetWriter, FlowRow, Tokens, WriteOptions,
    };

    /// Writes rows with these sequence numbers; returns the file.
    fn file(bases: &[Option<u32>]) -> Vec<u8> {
        let meta = DatasetMeta {
            token_code: "field".into(),
            token_version: 1,
            vocab_size: 1,
            tool: String::new(),
            options: Default::default(),
        };
        let options = WriteOptions {
            format: DatasetFormat::Parquet,
            compression: Compression::None,
            ..WriteOptions::default()
        };
        let mut writer = DatasetWriter::new("test", Vec::new(), &meta, &options).unwrap();
        for base in bases {
            let tokens = Tokens::U16(vec![1]);
            let mut row = FlowRow { tokens, identity: Default::default(), summary: None };
            row.identity.client.seq_base = *base;
            writer.write(&row).unwrap();
        }
        let (written, octets) = writer.finish().unwrap();
        assert_eq!(written.octets, octets.len() as u64);
        octets
    }

    #[test]
    fn statistics_of_unsigned_columns_are_in_their_order() {
        let check = |bases: &[Option<u32>], expected: [Option<u32>; 2]| {
            let metadata = read_metadata(&mut std::io::Cursor::new(file(bases))).unwrap();
            let leaves = metadata.schema().columns().len();
            assert_eq!(metadata.column_orders.as_ref().map(Vec::len), Some(leaves));
            let columns = metadata.row_groups[0].columns();
            let column = columns
                .iter()
                .find(|c| c.descriptor().path_in_schema == ["client_seq_base"])
                .unwrap();
            let statistics = column.statistics().unwrap().unwrap();
            let found = statistics.as_any().downcast_ref::<PrimitiveStatistics<i32>>().unwrap();
            let bounds = [found.min_value, found.max_value].map(|v| v.map(|v| v as u32));
            assert_eq!(bounds, expected);
            assert_eq!(found.null_count, Some(bases.iter().filter(|b| b.is_none()).count() as i64));
        };
        let (low, high) = (2_064_354_583, 2_210_267_267);
        check(&[Some(high), None, Some(low)], [Some(low), Some(high)]);
        check(&[Some(u32::MAX), Some(0), Some(1)], [Some(0), Some(u32::MAX)]);
        check(&[None, None], [None, None]);
    }
}
