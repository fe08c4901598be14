//! Shows which share of real sessions the constraint `session` lets through, by number of packets,
//! and the rules that refuse the others: `cargo run -p tokenizer --example fits FOLDER...`.
//!
//! A token that is refused is pushed all the same, so that every refusal of a session is seen.
//! The table counts the sessions whose first refusal a rule is.

use std::io::Write;
use std::path::Path;

use testkit::fits::Fits;

fn main() -> std::io::Result<()> {
    let mut fits = Fits::default();
    for folder in std::env::args().skip(1) {
        fits.add_folder(Path::new(&folder));
    }
    let text = format!("{}\n{}", fits.table(), fits.examples(5));
    std::io::stdout().lock().write_all(text.as_bytes())
}
