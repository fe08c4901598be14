//! Record batches as an `ArrowArrayStream` of the Arrow C data interface.

use arrow2::array::StructArray;
use arrow2::datatypes::{DataType, Field};
use arrow2::ffi;

use super::build::RecordBatch;
use super::schema::schema;
use crate::DatasetMeta;

/// `ArrowArrayStream` of the Arrow C stream interface: a dataset for another library in this
/// process, which takes the arrays as they are.
///
/// A pointer to this value is a pointer to the C structure. Dropped before another library has
/// taken the stream, it releases its batches.
#[repr(transparent)]
pub struct ArrowStream(ffi::ArrowArrayStream);

// SAFETY: the structure owns its iterator, which is `Send`, and nothing else refers to it.
unsafe impl Send for ArrowStream {}

impl ArrowStream {
    /// Creates a stream of batches, or of the error that ends them, with the schema of `meta`.
    pub(crate) fn new<E: std::fmt::Display + 'static>(
        meta: &DatasetMeta,
        batches: impl Iterator<Item = Result<RecordBatch, E>> + Send + 'static,
    ) -> ArrowStream {
        let schema = schema(meta, &[]);
        let row = DataType::Struct(schema.fields);
        let field = Field::new("", row.clone(), false).with_metadata(schema.metadata);
        let arrays = batches.map(move |batch| match batch {
            Ok(batch) => StructArray::try_new(row.clone(), batch.0.into_arrays(), None)
                .map(|array| array.boxed()),
            // Of arrow2's errors, this one shows its text alone.
            Err(error) => Err(arrow2::error::Error::OutOfSpec(error.to_string())),
        });
        ArrowStream(ffi::export_iterator(Box::new(arrays), field))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow2::array::{ListArray, PrimitiveArray, StructArray};

    use super::*;
    use crate::arrow2::RecordBatchBuilder;
    use crate::{BatchWriter, Error, ErrorKind, FlowRow, Tokens};

    fn meta() -> DatasetMeta {
        let options = BTreeMap::from([("keep".to_owned(), "all".to_owned())]);
        DatasetMeta {
            token_code: "field".into(),
            token_version: 2,
            vocab_size: 1024,
            tool: "a test".into(),
            options,
        }
    }

    fn row(tokens: &[u16]) -> FlowRow {
        let tokens = Tokens::U16(tokens.to_vec());
        FlowRow { tokens, identity: Default::default(), summary: None }
    }

    /// Takes a stream as another library would: its field, then its arrays or its error.
    fn take(stream: ArrowStream) -> (Field, Vec<Result<StructArray, String>>) {
        // SAFETY: the stream was exported by arrow2 and nobody has taken it.
        let reader = unsafe { ffi::ArrowArrayStreamReader::try_new(Box::new(stream.0)) };
        let mut reader = reader.unwrap();
        let mut arrays = Vec::new();
        // SAFETY: as above; the arrays are those of the exported field.
        while let Some(array) = unsafe { reader.next() } {
            let array = array.map_err(|error| error.to_string());
            let is_error = array.is_err();
            arrays.push(
                array.map(|array| array.as_any().downcast_ref::<StructArray>().unwrap().clone()),
            );
            if is_error {
                break;
            }
        }
        (reader.field().clone(), arrays)
    }

    #[test]
    fn rows_are_taken_as_they_were_written() {
        let (mut writer, batches) = BatchWriter::new(&meta());
        writer.write(&row(&[1, 2, 3])).unwrap();
        writer.write(&row(&[])).unwrap();
        let written = writer.finish().unwrap();
        assert_eq!((written.flows, written.tokens), (2, 3));
        let (field, arrays) = take(batches.into_stream());
        assert_eq!(field.metadata, schema(&meta(), &[]).metadata);
        let [Ok(array)] = &arrays[..] else { panic!("{arrays:?}") };
        let lists = array.values()[0].as_any().downcast_ref::<ListArray<i32>>().unwrap();
        let tokens = lists.values().as_any().downcast_ref::<PrimitiveArray<u16>>().unwrap();
        assert_eq!(
            (tokens.values().as_slice(), lists.offsets().as_slice()),
            (&[1, 2, 3][..], &[0, 3, 3][..])
        );
        assert_eq!(array.values()[1].null_count(), 2);
    }

    #[test]
    fn an_error_ends_the_stream_with_its_line() {
        let mut batch = RecordBatchBuilder::new("field", &[]);
        batch.push(&row(&[1]), &[]).unwrap();
        let error = ErrorKind::format("row 1", "tokens", "none").at("a.arrow");
        let (_, arrays) = take(ArrowStream::new::<Error>(
            &meta(),
            [batch.finish().map_err(|e| e.at("a")), Err(error)].into_iter(),
        ));
        assert!(arrays[0].is_ok());
        let line = arrays[1].as_ref().unwrap_err();
        assert!(line.contains("a.arrow: row 1: expected tokens, found none"), "{line}");
    }

    #[test]
    fn a_stream_that_nobody_takes_is_released() {
        let (mut writer, batches) = BatchWriter::new(&meta());
        writer.write(&row(&[1])).unwrap();
        drop(batches.into_stream());
        assert!(writer.finish().is_ok());
    }
}
