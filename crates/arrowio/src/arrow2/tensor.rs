//! Ragged tensors: a struct of the values of each row and of its shape, as Ray Data writes what was
//! in NumPy arrays of several lengths (`ArrowVariableShapedTensorType`).

use arrow2::array::{Array, StructArray};
use arrow2::datatypes::{DataType, Field};

/// Name of the list of values.
pub(super) const TENSOR_DATA: &str = "data";
/// Name of the list of lengths, one for each dimension.
const TENSOR_SHAPE: &str = "shape";

/// Returns whether a column holds ragged tensors.
pub(super) fn is_tensor(field: &Field) -> bool {
    data(field.data_type()).is_some()
}

/// Removes the shape from a column of ragged tensors: lists of tokens have one dimension.
pub(super) fn data_alone(mut field: Field) -> Field {
    if let Some(data) = data(field.data_type()) {
        field.data_type = DataType::Struct(vec![data.clone()]);
    }
    field
}

/// Returns the lists in an array of ragged tensors.
pub(super) fn lists_of(array: &dyn Array) -> Option<&dyn Array> {
    data(array.data_type())?;
    array.as_any().downcast_ref::<StructArray>()?.values().first().map(|lists| &**lists)
}

fn data(data_type: &DataType) -> Option<&Field> {
    let DataType::Struct(fields) = data_type.to_logical_type() else { return None };
    let is_list =
        |field: &Field| matches!(field.data_type, DataType::List(_) | DataType::LargeList(_));
    match &fields[..] {
        [data] if data.name == TENSOR_DATA && is_list(data) => Some(data),
        [data, shape]
            if data.name == TENSOR_DATA && shape.name == TENSOR_SHAPE && is_list(data) =>
        {
            Some(data)
        }
        _ => None,
    }
}
