//! Arrays of integers of any width and of text in any layout.

use arrow2::array::{
    Array, BinaryArray, DictionaryArray, DictionaryKey, PrimitiveArray, Utf8Array,
};
use arrow2::datatypes::DataType;
use arrow2::types::NativeType;

/// Expected and found content of one cell.
pub(super) type Mismatch = (&'static str, String);

/// Array of integers of any width, or of other numbers that are whole. Times and durations count as
/// 64-bit integers.
pub(super) enum Integers {
    I8(PrimitiveArray<i8>),
    I16(PrimitiveArray<i16>),
    I32(PrimitiveArray<i32>),
    I64(PrimitiveArray<i64>),
    U8(PrimitiveArray<u8>),
    U16(PrimitiveArray<u16>),
    U32(PrimitiveArray<u32>),
    U64(PrimitiveArray<u64>),
    F32(PrimitiveArray<f32>),
    F64(PrimitiveArray<f64>),
    /// Decimal numbers with the power of ten that they are multiples of.
    Decimal(PrimitiveArray<i128>, i128),
}

/// Evaluates `$body` with `$array` bound to the array of whichever type.
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
            Integers::F32($array) => $body,
            Integers::F64($array) => $body,
            Integers::Decimal($array, _) => $body,
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
            D::Float32 => downcast(array, Integers::F32),
            D::Float64 => downcast(array, Integers::F64),
            D::Decimal(_, scale) => {
                let unit = 10_i128.checked_pow(u32::try_from(*scale).ok()?)?;
                let array = array.as_any().downcast_ref::<PrimitiveArray<i128>>()?;
                Some(Integers::Decimal(array.clone(), unit))
            }
            _ => None,
        }
    }

    /// Returns the number of rows.
    pub(super) fn len(&self) -> usize {
        with_integers!(self, array => array.len())
    }

    /// Returns the number of a row, `None` if it is null; NaN is null too, as pandas writes it.
    ///
    /// # Errors
    /// If the number exceeds 63 bits or is not whole.
    pub(super) fn get(&self, row: usize) -> Result<Option<i64>, Mismatch> {
        fn number<T: TryInto<i64> + ToString + Copy>(
            v: Option<T>,
        ) -> Result<Option<i64>, Mismatch> {
            v.map(|v| v.try_into().map_err(|_| ("a number in 63 bits", v.to_string()))).transpose()
        }
        match self {
            Integers::I8(array) => number(array.get(row)),
            Integers::I16(array) => number(array.get(row)),
            Integers::I32(array) => number(array.get(row)),
            Integers::I64(array) => number(array.get(row)),
            Integers::U8(array) => number(array.get(row)),
            Integers::U16(array) => number(array.get(row)),
            Integers::U32(array) => number(array.get(row)),
            Integers::U64(array) => number(array.get(row)),
            Integers::F32(array) => array.get(row).map_or(Ok(None), |v| whole(v.into())),
            Integers::F64(array) => array.get(row).map_or(Ok(None), whole),
            Integers::Decimal(array, unit) => match array.get(row) {
                Some(v) if v % unit != 0 => Err((WHOLE, format!("{v} of {unit}"))),
                v => number(v.map(|v| v / unit)),
            },
        }
    }
}

/// Expected content of a cell whose type has fractions.
const WHOLE: &str = "a whole number";

/// Returns a floating point number that is whole, `None` for NaN.
fn whole(v: f64) -> Result<Option<i64>, Mismatch> {
    /// From here on neighbouring numbers are 2 apart: the number that was meant is not known.
    const END: f64 = 9_007_199_254_740_992.0;
    if v.is_nan() {
        return Ok(None);
    }
    if v.fract() != 0.0 {
        return Err((WHOLE, v.to_string()));
    }
    if v.abs() > END {
        return Err(("a whole number of at most 2^53 in floating point", v.to_string()));
    }
    Ok(Some(v as i64))
}

/// Array of text, with 32-bit or 64-bit offsets, or dictionary-encoded.
pub(super) enum TextArray {
    Small(Utf8Array<i32>),
    Large(Utf8Array<i64>),
    /// Octets that hold text, as some programs write it.
    Octets(BinaryArray<i32>),
    LargeOctets(BinaryArray<i64>),
    Dictionary {
        keys: Vec<Option<usize>>,
        values: Box<TextArray>,
    },
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
        if let Some(octets) = any.downcast_ref::<BinaryArray<i32>>() {
            return Some(TextArray::Octets(octets.clone()));
        }
        if let Some(octets) = any.downcast_ref::<BinaryArray<i64>>() {
            return Some(TextArray::LargeOctets(octets.clone()));
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
            TextArray::Octets(octets) => octets.len(),
            TextArray::LargeOctets(octets) => octets.len(),
            TextArray::Dictionary { keys, .. } => keys.len(),
        }
    }

    /// Returns the text of a row, `None` if it is null.
    ///
    /// # Errors
    /// If octets are no text in UTF-8.
    pub(super) fn get(&self, row: usize) -> Result<Option<&str>, Mismatch> {
        fn text(octets: Option<&[u8]>) -> Result<Option<&str>, Mismatch> {
            let text = octets.map(std::str::from_utf8).transpose();
            text.map_err(|_| ("text in UTF-8", "other octets".to_owned()))
        }
        match self {
            TextArray::Small(text) => Ok(text.get(row)),
            TextArray::Large(text) => Ok(text.get(row)),
            TextArray::Octets(octets) => text(octets.get(row)),
            TextArray::LargeOctets(octets) => text(octets.get(row)),
            TextArray::Dictionary { keys, values } => match keys[row] {
                Some(key) => values.get(key),
                None => Ok(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads each number of an array; `Err` is the expected content.
    fn check(array: &dyn Array, expected: &[Result<Option<i64>, &str>]) {
        let integers = Integers::new(array).unwrap();
        assert_eq!(integers.len(), expected.len());
        for (row, expected) in expected.iter().enumerate() {
            let found = integers.get(row);
            assert_eq!(
                found.as_ref().map_err(|(what, _)| *what),
                expected.as_ref().map_err(|e| *e)
            );
        }
    }

    #[test]
    fn whole_numbers_of_any_type_are_taken() {
        let doubles = [Some(443.0), None, Some(f64::NAN), Some(-0.0), Some(1.5), Some(1e300)];
        let above = "a whole number of at most 2^53 in floating point";
        check(
            &PrimitiveArray::from(doubles),
            &[Ok(Some(443)), Ok(None), Ok(None), Ok(Some(0)), Err(WHOLE), Err(above)],
        );
        let infinite = [Some(f64::INFINITY), Some(9_007_199_254_740_992.0)];
        let infinity = if f64::INFINITY.fract() == 0.0 { above } else { WHOLE };
        check(&PrimitiveArray::from(infinite), &[Err(infinity), Ok(Some(1 << 53))]);
        check(&PrimitiveArray::from([Some(2.0_f32), Some(0.1)]), &[Ok(Some(2)), Err(WHOLE)]);
        let cents = PrimitiveArray::from([Some(700_i128), Some(701), None, Some(i128::MAX - 27)]);
        check(
            &cents.to(DataType::Decimal(20, 2)),
            &[Ok(Some(7)), Err(WHOLE), Ok(None), Err("a number in 63 bits")],
        );
        let units = PrimitiveArray::from([Some(i128::from(i64::MAX)), Some(-1)]);
        check(&units.to(DataType::Decimal(20, 0)), &[Ok(Some(i64::MAX)), Ok(Some(-1))]);
        check(&PrimitiveArray::from([Some(u64::MAX)]), &[Err("a number in 63 bits")]);
    }

    #[test]
    fn octets_are_text_if_they_are() {
        let array = BinaryArray::<i32>::from([Some(&b"192.0.2.1"[..]), None, Some(&[0xff])]);
        let text = TextArray::new(&array).unwrap();
        assert_eq!(text.get(0), Ok(Some("192.0.2.1")));
        assert_eq!(text.get(1), Ok(None));
        assert_eq!(text.get(2).unwrap_err().0, "text in UTF-8");
    }
}
