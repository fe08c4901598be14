//! A Parquet file on which arrow2 panics: the program reports an error and no panic.

use std::cell::Cell;
use std::panic;

use arrowio::{DatasetFormat, DatasetReader};
use testkit::Scratch;
use testkit::datasets::FIELD;

use crate::{captured, dataset, flow, run, text};

thread_local! {
    /// Number of panics in this thread while they are counted.
    static PANICS: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Reads a file to its end and returns the number of panics that arrowio caught.
fn caught_panics(path: &str) -> u32 {
    PANICS.set(Some(0));
    if let Ok(reader) = DatasetReader::open(path.as_ref(), &[FIELD]) {
        reader.for_each(drop);
    }
    PANICS.take().unwrap_or_default()
}

/// Damages single octets of a Parquet file until arrow2 panics on it.
fn damage_until_panic(path: &str) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| match PANICS.get() {
        Some(count) => PANICS.set(Some(count + 1)),
        None => previous(info),
    }));
    let sound = std::fs::read(path).unwrap();
    // A Parquet file ends with its footer, the footer's length in four octets, and the magic. The
    // last page is in front of the footer.
    let (_, end) = sound.split_at(sound.len() - 8);
    let footer = u32::from_le_bytes(end[..4].try_into().unwrap()) as usize;
    for at in (0..sound.len() - 8 - footer).rev() {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut damaged = sound.clone();
            damaged[at] = value;
            std::fs::write(path, damaged).unwrap();
            if caught_panics(path) > 0 {
                return;
            }
        }
    }
    panic!("arrow2 panics on none of these files");
}

#[test]
fn a_panic_of_arrow2_is_an_error_without_a_message_of_its_own() {
    let scratch = Scratch::new();
    let input = dataset(&scratch, &[captured(&flow(1000, 0, 1), 1)], DatasetFormat::Parquet);
    damage_until_panic(&input);
    let output = run(&[&input, &scratch.path_text("out.pcap")]);
    let error = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{error}");
    assert!(error.contains("octets that mean nothing"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}
