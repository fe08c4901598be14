//! Compares `docs/dataset.md` with the list of columns.

use arrowio::{COLUMNS, Column};

/// Returns the line of a column in the document.
pub(crate) fn line<R>(column: &Column<R>) -> String {
    let Column { name, kind, nullable, unit, meaning, .. } = column;
    let null = if *nullable { "yes" } else { "no" };
    format!("| `{name}` | `{}` | {null} | {unit} | {meaning} |", kind.arrow_name())
        .replace("|  |", "| |")
}

/// Returns the lines of columns in a section of the document.
pub(crate) fn shown(section: &str) -> Vec<&'static str> {
    let text = include_str!("../../../../docs/dataset.md");
    let section = text
        .lines()
        .skip_while(|line| *line != section)
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    section.filter(|line| line.starts_with("| `")).collect()
}

#[test]
fn the_document_shows_the_columns_as_they_are() {
    let expected: Vec<String> = COLUMNS.iter().map(line).collect();
    let shown = shown("## Columns");
    assert_eq!(shown, expected, "docs/dataset.md should have:\n{}\n", expected.join("\n"));
}
