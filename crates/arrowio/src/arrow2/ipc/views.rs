//! Numbers of data buffers of views: `RecordBatch.variadicBufferCounts` of `Message.fbs`, which the
//! Arrow format has since version 1.4 and arrow-format does not know.

/// Place of the record batch in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// The header of the message.
    RecordBatch,
    /// The data of a dictionary batch, which is the header of the message.
    DictionaryBatch,
}

/// Reads the number of data buffers of each column of views; none if the message has none, or is
/// damaged there.
pub(super) fn view_buffers(message: &[u8], within: Within) -> Vec<i64> {
    read(message, within).unwrap_or_default()
}

fn read(message: &[u8], within: Within) -> Option<Vec<i64>> {
    // `RecordBatch.variadicBufferCounts` is the fifth field.
    let vector = vector_of_batch(message, within, 4)?;
    let count = usize::try_from(u32::from_le_bytes(octets(message, vector)?)).ok()?;
    let end = vector.checked_add(4)?.checked_add(count.checked_mul(8)?)?;
    let numbers = message.get(vector + 4..end)?.chunks_exact(8);
    Some(numbers.filter_map(|n| Some(i64::from_le_bytes(n.try_into().ok()?))).collect())
}

/// Returns the place of the first struct in a vector of a record batch, for a test of its
/// alignment.
#[cfg(test)]
pub(super) fn place_of_structs(message: &[u8], within: Within, number: usize) -> Option<usize> {
    Some(vector_of_batch(message, within, number)? + 4)
}

/// Returns the place of a vector that is a field of a record batch, by the field's number from 0.
fn vector_of_batch(message: &[u8], within: Within, number: usize) -> Option<usize> {
    let root = offset(message, 0)?;
    // `Message.header` and `DictionaryBatch.data`: the third and the second field of their tables.
    let mut batch = offset(message, field(message, root, 2)?)?;
    if within == Within::DictionaryBatch {
        batch = offset(message, field(message, batch, 1)?)?;
    }
    offset(message, field(message, batch, number)?)
}

/// Returns the place of a table's field, by its number from 0; `None` if it is absent.
fn field(message: &[u8], table: usize, number: usize) -> Option<usize> {
    let back = i64::from(i32::from_le_bytes(octets(message, table)?));
    let vtable = usize::try_from(i64::try_from(table).ok()? - back).ok()?;
    let size = usize::from(u16::from_le_bytes(octets(message, vtable)?));
    let entry = 4 + 2 * number;
    if entry + 2 > size {
        return None;
    }
    match u16::from_le_bytes(octets(message, vtable + entry)?) {
        0 => None,
        at => Some(table + usize::from(at)),
    }
}

/// Follows the unsigned offset at a place.
fn offset(message: &[u8], at: usize) -> Option<usize> {
    at.checked_add(usize::try_from(u32::from_le_bytes(octets(message, at)?)).ok()?)
}

fn octets<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..at.checked_add(N)?)?.try_into().ok()
}
