//! Arrays of integers of any width and of text in any layout.

use arrow2::array::{Array, DictionaryArray, DictionaryKey, PrimitiveArray, Utf8Array};
use arrow2::datatypes::DataType;
use arrow2::types::NativeType;

/// Expected and found content of one cell.
pub(super) type Mismatch = (&'static str, String);

/// Array of integers of any width. Times and durations count as 64-bit integers.
pub(super) enum Integers {
    I8(PrimitiveArray<i8>),
    I16(PrimitiveArray<i16>),
    I32(PrimitiveArray<i32>),
    I64(PrimitiveArray<i64>),
    U8(PrimitiveArray<u8>),
    U16(PrimitiveArray<u16>),
    U32(PrimitiveArray<u32>),
    U64(PrimitiveArray<u64>),
}

/// Evaluates `$body` with `$array` bound to the array of whichever width.
macro_rules! with_integers {
    ($integers:expr, $array:ident => $body:expr) => {
        match $integers {
            Integers::I8($array) => $body,
            Integers::I16($array) => $body,
            Integers::I32($array) => $body,
            Integers::I64($array) => $body,
            Integers::U8($array) => $body,
            Integers::U16($array) => $body,
            Integers::U32($array) => $body,
            Integers::U64($array) => $body,
        }
    };
}

impl Integers {
    /// Shares the values of an array of integers; `None` if the array is of another type.
    pub(super) fn new(array: &dyn Array) -> Option<Integers> {
        fn downcast<T: NativeType>(
            array: &dyn Array,
            make: fn(PrimitiveArray<T>) -> Integers,
        ) -> Option<Integers> {
            array.as_any().downcast_ref::<PrimitiveArray<T>>().map(|array| make(array.clone()))
        }
        use DataType as D;
        match array.data_type() {
            D::Int8 => downcast(array, Integers::I8),
            D::Int16 => downcast(array, Integers::I16),
            D::Int32 => downcast(array, Integers::I32),
            D::Int64 | D::Timestamp(..) | D::Duration(_) => downcast(array, Integers::I64),
            D::UInt8 => downcast(array, Integers::U8),
            D::UInt16 => downcast(array, Integers::U16),
            D::UInt32 => downcast(array, Integers::U32),
            D::UInt64 => downcast(array, Integers::U64),
            _ => None,
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        with_integers!(self, array => array.len())
    }

    /// Returns the number of a row, `None` if it is null.
    ///
    /// # Errors
    /// If the number exceeds 63 bits.
    pub(super) fn get(&self, row: usize) -> Result<Option<i64>, Mismatch> {
        fn number<T: TryInto<i64> + ToString + Copy>(
            v: Option<T>,
        ) -> Result<Option<i64>, Mismatch> {
            v.map(|v| v.try_into().map_err(|_| ("a number in 63 bits", v.to_string()))).transpose()
        }
        with_integers!(self, array => number(array.get(row)))
    }
}

/// Array of text, with 32-bit or 64-bit offsets, or dictionary-encoded.
pub(super) enum TextArray {
    Small(Utf8Array<i32>),
    Large(Utf8Array<i64>),
    Dictionary { keys: Vec<Option<usize>>, values: Box<TextArray> },
}

impl TextArray {
    /// Shares the text of an array; `None` if the array is of another type.
    pub(super) fn new(array: &dyn Array) -> Option<TextArray> {
        let any = array.as_any();
        if let Some(text) = any.downcast_ref::<Utf8Array<i32>>() {
            return Some(TextArray::Small(text.clone()));
        }
        if let Some(text) = any.downcast_ref::<Utf8Array<i64>>() {
            return Some(TextArray::Large(text.clone()));
        }
        fn dictionary<K: DictionaryKey>(array: &dyn Array) -> Option<TextArray> {
            let array = array.as_any().downcast_ref::<DictionaryArray<K>>()?;
            let values = Box::new(TextArray::new(&**array.values())?);
            Some(TextArray::Dictionary { keys: array.keys_iter().collect(), values })
        }
        dictionary::<i8>(array)
            .or_else(|| dictionary::<i16>(array))
            .or_else(|| dictionary::<i32>(array))
            .or_else(|| dictionary::<i64>(array))
            .or_else(|| dictionary::<u8>(array))
            .or_else(|| dictionary::<u16>(array))
            .or_else(|| dictionary::<u32>(array))
            .or_else(|| dictionary::<u64>(array))
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        match self {
            TextArray::Small(text) => text.len(),
            TextArray::Large(text) => text.len(),
            TextArray::Dictionary { keys, .. } => keys.len(),
        }
    }

    /// Returns the text of a row, `None` if it is null.
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        match self {
            TextArray::Small(text) => text.get(row),
            TextArray::Large(text) => text.get(row),
            TextArray::Dictionary { keys, values } => values.get(keys[row]?),
        }
    }
}
